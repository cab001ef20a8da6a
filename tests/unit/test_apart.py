"""The text encoder and the VAE on a device of their own, beside the transformers: a second CPU stands for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.tiny import write_tiny

import wan22
from wan22 import planner
from wan22.errors import DeviceError, OptionError, ParallelError
from wan22.memory import device
from wan22.types import Frames, Request

REQUEST = Request(prompt="a red ball", frames=5, steps=2, image=np.zeros((32, 48, 3), np.uint8))
SECOND = torch.device("cpu:1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "devices", lambda: ["cpu", "cpu:1"])
    return write_tiny(tmp_path / "tiny")


def frames(engine):
    return np.concatenate([event.frames for event in engine.generate(REQUEST) if isinstance(event, Frames)])


def test_parts_on_a_device_of_their_own_make_the_same_video_and_stay_there(folder, monkeypatch):
    monkeypatch.setattr(planner, "SMALL_FREE", 2**60)  # so that the video is planned
    one = wan22.load(folder, device="cpu", memory="disk")
    two = wan22.load(folder, device="cpu", memory="disk", text_device="cpu:1", vae_device="cpu:1")
    place, read = two._placement, []
    for part, load in place._loaders.items():
        place._loaders[part] = lambda where, part=part, load=load: (read.append((part, where)), load(where))[
            1
        ]
    assert np.array_equal(frames(one), frames(two)) and np.array_equal(frames(one), frames(two))
    assert read.count(("text", SECOND)) == read.count(("vae", SECOND)) == 1
    assert {where for part, where in read if part in ("high", "low")} == {torch.device("cpu")}
    assert place.is_here("vae") and place.is_here("text") and not place.is_here("high")
    assert not one._placement.is_here("text")
    assert {stage.part for stage in two.plan(REQUEST).stages} == {"high", "low"}
    assert {stage.part for stage in one.plan(REQUEST).stages} == {"text", "vae", "high", "low"}


def test_a_part_that_its_own_device_cannot_hold_is_refused_before_it_is_read(folder, monkeypatch):
    real = planner.here

    def small(where, ours=0):
        return replace(
            real(torch.device("cpu"), ours), free=10**3 if where == SECOND else 2**40, name=f"{where}"
        )

    monkeypatch.setattr(planner, "here", small)
    monkeypatch.setattr(planner, "SMALL_FREE", 2**60)
    engine = wan22.load(folder, device="cpu", vae_device="cpu:1")
    with pytest.raises(DeviceError, match="are free on cpu:1"):
        next(engine.generate(REQUEST))
    assert not engine._placement.is_here("vae")


def test_the_same_device_is_no_other(folder):
    assert wan22.load(folder, device="cpu", text_device="cpu")._placement.apart == {}


@pytest.mark.parametrize(
    ("said", "error", "says"),
    [
        ({"text_device": "cuda:7"}, DeviceError, "no device 'cuda:7'"),
        (
            {"vae_device": "cpu:1", "gpus": 2},
            ParallelError,
            "vae_device is for a video that one device makes",
        ),
        ({"text_device": "cpu:1", "dtype": "float15"}, (DeviceError, OptionError), "float15"),
    ],
)
def test_what_cannot_be_is_refused(folder, said, error, says):
    with pytest.raises(error, match=says):
        wan22.load(folder, device="cpu", **said)
