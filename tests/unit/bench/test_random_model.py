"""Models with random weights: they load and make a video like any other, from safetensors and from a GGUF file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.tiny import tiny_variant

import wan22
from bench.random_model import PROMPT, write_gguf, write_model
from wan22.types import Frames, Request
from wan22.weights.reader import open_reader

ASK = Request(prompt=PROMPT, seed=0, frames=5, size=(48, 32), steps=2)


def row():
    tiny = tiny_variant(None, vocab=16)
    dit = replace(tiny.dit, dim=256, ffn_dim=512, layers=2)  # rows that Q4_K can hold
    return replace(
        tiny, experts=("dit",), boundary=None, dit=dit, defaults=replace(tiny.defaults, guidance=(3.0, 3.0))
    )


@pytest.fixture(scope="module", autouse=True)
def few_numbers():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bench.random_model._TILE", 1 << 16)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("random") / "model", row())


def frames(engine):
    return np.concatenate([event.frames for event in engine.generate(ASK) if isinstance(event, Frames)])


def test_a_random_model_makes_a_video_whole_and_streamed(folder):
    whole, streamed = (frames(wan22.load(folder, device="cpu", memory=how)) for how in ("device", "stream"))
    assert whole.shape == (5, 32, 48, 3) and whole.std() > 0
    assert abs(whole.astype(int) - streamed.astype(int)).max() <= 1  # the VAE goes frame by frame


def test_its_blocks_are_packed_in_a_gguf_file(folder, tmp_path):
    path = tmp_path / "dit.gguf"
    write_gguf(path, row().dit)
    with open_reader(path) as reader:
        kinds = {name: info.dtype for name, info in reader.infos.items()}
        assert bool(torch.isfinite(reader.read("blocks.0.ffn.0.weight")).all())
    assert {kind for name, kind in kinds.items() if name.endswith("attn.q.weight")} == {"Q4_K"}
    assert frames(wan22.load(folder, parts={"dit": str(path)}, device="cpu")).std() > 0
