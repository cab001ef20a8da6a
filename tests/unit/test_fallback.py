"""A device that runs out of memory in any phase: once more by a smaller scheme, and the video is the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.tiny import write_tiny

import wan22
from wan22.errors import DecodeError, DeviceError
from wan22.memory.placement import Placement
from wan22.memory.scheme import LADDER, Scheme, smaller
from wan22.types import Frames, Latents, Notice, Request

ASK = Request(prompt="a red ball", seed=3, frames=5, size=(48, 32), steps=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny")


def picture():
    return np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)


def frames_of(events):
    return np.concatenate([event.frames for event in events if isinstance(event, Frames)])


def notices(events):
    return [event.text for event in events if isinstance(event, Notice) and "ran out of memory" in event.text]


def failing(monkeypatch, owner, name, calls):
    """Make the calls of a method with these numbers (from 0) exhaust the device."""
    real, count = getattr(owner, name), iter(range(1000))

    def method(self, *args, **kwargs):
        if next(count) in calls:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, method)


PHASES = {
    "text": ("wan22.models.umt5", "UMT5Encoder", "contexts", 0),
    "condition": ("wan22.models.vae", "WanVAE", "encode", 0),
    "load": ("wan22.models.dit", "WanDiT", "read_text", 0),
    "second expert": ("wan22.models.dit", "WanDiT", "read_text", 1),
    "denoise": ("wan22.models.dit", "WanDiT", "embed", 2),
}  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_that_exhausts_the_device_is_made_again_by_a_smaller_scheme(phase, folder, monkeypatch):
    import importlib

    module, owner, method, call = PHASES[phase]
    request = replace(ASK, image=picture())
    expected = frames_of(list(wan22.load(folder, device="cpu").generate(request)))
    engine = wan22.load(folder, device="cpu")
    failing(monkeypatch, getattr(importlib.import_module(module), owner), method, {call})
    events = list(engine.generate(request))
    assert np.array_equal(frames_of(events), expected)
    (said,) = notices(events)
    assert "cpu ran out of memory in the part" in said and "on disk" in said


def test_a_decode_that_exhausts_the_device_goes_on_after_the_frames_that_were_made(folder, monkeypatch):
    expected = list(wan22.load(folder, device="cpu").generate(ASK))
    engine = wan22.load(folder, device="cpu")
    monkeypatch.setattr("wan22.codec.WHOLE_LATENTS", 0)  # frame by frame
    real, left = type(engine.vae()).decode_stream, [2]

    def stream(self, *args, **kwargs):
        for part in real(self, *args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            yield part

    monkeypatch.setattr(type(engine.vae()), "decode_stream", stream)
    events = list(engine.generate(ASK))
    assert [event.start for event in events if isinstance(event, Frames)] == sorted(
        {event.start for event in events if isinstance(event, Frames)}
    )
    got, wanted = frames_of(events).astype(int), frames_of(expected).astype(int)
    assert got.shape == wanted.shape and abs(got - wanted).max() <= 1
    assert len(notices(events)) == 1


def test_what_fails_twice_says_what_would_work_and_keeps_the_latents(folder, monkeypatch):
    engine = wan22.load(folder, device="cpu")
    failing(monkeypatch, type(engine.vae()), "decode_stream", {0, 1})
    seen = []
    with pytest.raises(
        DecodeError, match=r"ran out of memory in the part 'vae' .*fewer frames or a smaller size"
    ):
        for event in engine.generate(ASK):
            seen.append(event)
    assert any(isinstance(event, Latents) for event in seen)
    failing(monkeypatch, type(engine.expert("high")), "embed", {0, 1})
    with pytest.raises(DeviceError, match=r"in the part 'high' .*CUDA out of memory.*wan22 plan"):
        list(engine.generate(ASK))


def test_the_smallest_scheme_has_none_below():
    assert smaller(LADDER[-1], host=True) is None
    assert smaller(Scheme("device"), host=True) == Scheme("host")
    assert smaller(Scheme("device"), host=False) == Scheme("disk")
    assert smaller(Scheme("disk", stream=True), host=True) == LADDER[-1]
    place = Placement({}, {"high": LADDER[-1]}, torch.device("cpu"))
    assert not place.shrink("high")


def test_all_parts_follow_the_one_that_failed_and_smaller_ones_stay():
    place = Placement(
        {}, {"high": "device", "low": "device", "text": LADDER[-1]}, torch.device("cuda"), host_room=True
    )
    assert place.shrink("high")
    assert (place.scheme("high"), place.scheme("low"), place.scheme("text")) == (
        LADDER[1],
        LADDER[1],
        LADDER[-1],
    )
