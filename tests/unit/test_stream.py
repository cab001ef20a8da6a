"""Blocks that pass through the device one after the other: the same numbers, two blocks at once."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from unit import tiny
from unit.test_vae import LAYOUTS
from unit.tiny import write_tiny, write_tiny_speech

import wan22
from wan22.assembly import PartSource
from wan22.catalog import Variant
from wan22.memory.stream import BlockStream, CopyLane, HostLane, LayerStream
from wan22.models.vae import WanVAE, layers
from wan22.types import Audio, Clip, Driving, Frames, Latents, Progress, Request
from wan22.weights.reader import reader_of_tensors

COUNT = 5


def weight(i):
    return torch.full((2, 2), float(i + 1))


class Reads:
    """Blocks in a file; it counts what is read, and knows which tensors are alive."""

    def __init__(self):
        self.order = []

    def __call__(self, i):
        self.order.append(i)
        return {"weight": weight(i), "bias": torch.zeros(2)}


def stream(read, lane=None, keep=False):
    with torch.device("meta"):
        blocks = [nn.Linear(2, 2) for _ in range(COUNT)]
    return BlockStream(blocks, read, lane or HostLane(), keep=keep)


def here(blocks):
    return [i for i, block in enumerate(blocks._blocks) if not block.weight.is_meta]


def test_a_block_is_there_alone_while_it_works_and_comes_again_in_the_next_pass():
    read = Reads()
    blocks = stream(read)
    for _ in range(2):
        for i, block in enumerate(blocks):
            assert here(blocks) == [i]
            assert torch.equal(block.weight, weight(i)) and not block.weight.requires_grad
    blocks.release()
    assert here(blocks) == []
    assert read.order == [*range(COUNT), *range(COUNT), 0]


def test_what_is_kept_on_the_host_is_read_once():
    read = Reads()
    blocks = stream(read, keep=True)
    for _ in range(3):
        list(blocks)
    assert read.order == list(range(COUNT))


def test_a_pass_that_stops_early_begins_again():
    blocks = stream(Reads())
    for i in (0, 1, 0, 3, 3):
        assert torch.equal(blocks[i].weight, weight(i))
        assert here(blocks) == [i]


def test_an_error_while_reading_ahead_comes_when_the_block_is_needed():
    def read(i):
        if i == 2:
            raise OSError("the disk is gone")
        return {"weight": weight(i), "bias": torch.zeros(2)}

    blocks = stream(read)
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for block in blocks:
            seen.append(block)
    assert len(seen) == 2
    blocks[1]
    blocks.release()  # the block that was on its way failed, and nobody needs it
    assert here(blocks) == []


class Streams:
    """What stands for torch.cuda: streams that note what they are told, in order."""

    def __init__(self):
        self.log = []
        outer = self

        class Stream:
            def __init__(self, device=None, name="copies"):
                self.name = name

            def wait_event(self, event):
                outer.log.append(("wait", self.name, event.label))

        class Event:
            def record(self, stream):
                self.label = f"{stream.name}{sum(entry[0] == 'record' for entry in outer.log)}"
                outer.log.append(("record", stream.name, self.label))

        self.Stream, self.Event = Stream, Event
        self._main = Stream(name="main")

    def stream(self, stream):
        from contextlib import nullcontext

        return nullcontext()

    def current_stream(self, device):
        return self._main


def test_copies_wait_for_the_block_that_used_the_buffer_and_the_block_for_its_copy():
    streams = Streams()
    lane = CopyLane(torch.device("cpu"), streams)
    blocks = stream(Reads(), lane)
    blocks._lane = lane
    for i, block in enumerate(blocks):
        assert torch.equal(block.weight, weight(i))
    blocks.release()
    copies = [label for kind, who, label in streams.log if (kind, who) == ("record", "copies")]
    awaited = [label for kind, who, label in streams.log if (kind, who) == ("wait", "main")]
    assert awaited == copies[:COUNT]  # every block waits for its own copy
    computed = [label for kind, who, label in streams.log if (kind, who) == ("record", "main")]
    reused = [label for kind, who, label in streams.log if (kind, who) == ("wait", "copies")]
    waits = COUNT + 1 - 2  # all but the first two buffers
    assert reused[:waits] == computed[:waits]
    # And what comes after a release, for its buffers may lie where these two were.
    assert sorted(reused[waits:]) == sorted(computed[waits:])
    assert lane._buffers == [None, None]


def test_two_buffers_serve_all_blocks():
    lane = CopyLane(torch.device("cpu"), Streams())
    blocks = stream(Reads(), lane)
    places = {block.weight.untyped_storage().data_ptr() for block in blocks}
    assert len(places) == 2


class Chain(nn.Module):
    """Layers here and there, of which each is filled by a number; it notes which are there while one works."""

    def __init__(self):
        super().__init__()
        with torch.device("meta"):
            self.first = nn.Linear(2, 2)
            self.rest = nn.ModuleList([nn.Linear(2, 2) for _ in range(COUNT - 1)])
        self.layers = [self.first, *self.rest]
        self.seen = []

    def forward(self, x, order):
        for i in order:
            x = self.layers[i](x)
            self.seen.append([j for j, layer in enumerate(self.layers) if not layer.weight.is_meta])
        return x


def test_layers_anywhere_in_a_network_come_when_they_are_called():
    chain, read = Chain(), Reads()
    state = set(chain.state_dict())
    chain.add_module(
        "stream", LayerStream([chain.layers[:2], chain.layers[2:]], read, HostLane(), keep=False)
    )
    assert set(chain.state_dict()) == state
    x = torch.eye(2)[None]
    order = [0, 1, 2, 3, 4, 3, 4, 0]
    expected = x
    for i in order:
        expected = expected @ weight(i).T
    assert torch.equal(chain(x, order), expected)
    assert chain.seen == [[i] for i in order]
    # Within a chain the next one is read ahead; after the last of one nothing is.
    assert read.order[: len(order)] == order
    chain.stream.release()
    assert all(layer.weight.is_meta for layer in chain.layers)
    gone = weakref.ref(chain)
    del chain
    assert gone() is None  # the hooks do not hold it


def test_a_tensor_keeps_its_layout_on_the_way_to_the_device():
    lane = CopyLane(torch.device("cpu"), Streams())
    given = torch.randn(4, 3, 2, 5, 5).contiguous(memory_format=torch.channels_last_3d)
    there, _ = lane.send({"weight": given, "bias": torch.ones(3)})
    assert torch.equal(there["weight"], given) and there["weight"].stride() == given.stride()


@pytest.mark.parametrize("layout", ["2.1", "2.2"])
@pytest.mark.parametrize("rest", ["disk", "host"])
def test_a_streamed_vae_gives_the_same_bits_with_two_layers_there(layout, rest):
    arch = LAYOUTS[layout]
    torch.manual_seed(0)
    tensors = WanVAE(arch).state_dict()
    part = PartSource(lambda: reader_of_tensors("a VAE", tensors), arch, torch.float32)
    whole, streamed = part(torch.device("cpu")), part.stream(torch.device("cpu"), rest)
    latents, there = torch.randn(1, arch.z, 3, 2, 2), []
    stream = streamed.stream
    names = {
        layer: name
        for half in ("encoder", "decoder")
        for name, layer in layers(getattr(streamed, half), half)
    }
    for layer in names:
        layer.register_forward_hook(
            lambda *_: there.append([n for n in names if not next(n.parameters()).is_meta])
        )
    with torch.inference_mode():
        pixels = whole.decode(latents, chunk=1)
        for _ in range(2):
            assert torch.equal(streamed.decode(latents, chunk=1), pixels)
            assert torch.equal(streamed.encode(pixels, chunk=1), whole.encode(pixels, chunk=1))
    assert {len(found) for found in there} == {1}  # and one on its way
    assert {names[found[0]].partition(".")[0][:7] for found in there} == {"encoder", "decoder"}
    stream.release()
    assert all(next(layer.parameters()).is_meta for layer in names)


ASK = Request(prompt="a red ball", seed=3, frames=5, size=(48, 32), steps=3)


def video(engine, request):
    return np.concatenate([event.frames for event in engine.generate(request) if isinstance(event, Frames)])


def alike(ours, theirs):
    """The VAE works frame by frame where memory is short, which rounds otherwise: by one level here and there."""
    difference = abs(ours.astype(int) - theirs.astype(int))
    assert ours.shape == theirs.shape and difference.max() <= 1 and difference.mean() < 0.01


def test_the_latents_of_a_streamed_model_have_the_same_bits(tmp_path):
    folder = write_tiny(tmp_path / "tiny", None)
    whole, streamed = (
        next(event.tensors["latents"] for event in engine.generate(ASK) if isinstance(event, Latents))
        for engine in (wan22.load(folder, device="cpu", memory=how) for how in ("device", "stream"))
    )
    assert torch.equal(whole, streamed)


@pytest.mark.parametrize("image", ["known", "channels"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_streamed_model_makes_the_same_video(tmp_path, image, dtype):
    folder = write_tiny(tmp_path / "tiny", image)
    picture = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    request = replace(ASK, image=picture)
    whole = wan22.load(folder, device="cpu", dtype=dtype, memory="device")
    streamed = wan22.load(folder, device="cpu", dtype=dtype, memory="stream")
    for _ in range(2):  # the experts come again
        alike(video(streamed, request), video(whole, request))
    streamed.release()


def test_a_streamed_model_that_audio_drives_makes_the_same_video(tmp_path):
    folder = write_tiny_speech(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    request = Request(
        prompt="a red ball",
        seed=3,
        steps=2,
        size=(48, 32),
        image=rng.integers(0, 255, (32, 48, 3), dtype=np.uint8),
        audio=Audio(rng.normal(size=8000).astype(np.float32) * 0.1, 16_000),
    )
    whole, streamed = (wan22.load(folder, device="cpu", memory=how) for how in ("device", "stream"))
    alike(video(streamed, request), video(whole, request))


def test_a_streamed_model_that_a_driving_video_moves_makes_the_same_video(tmp_path, monkeypatch):
    real = tiny.tiny_animate_variant

    def longer(vocab: int) -> Variant:  # two taps, of which one is there at a time
        row = real(vocab)
        return replace(row, dit=replace(row.dit, layers=4))

    monkeypatch.setattr(tiny, "tiny_animate_variant", longer)
    folder = tiny.write_tiny_animate(tmp_path / "tiny")
    rng = np.random.default_rng(0)

    def drawn(side: tuple[int, int]) -> Clip:
        return Clip(rng.integers(0, 255, (9, *side, 3), dtype=np.uint8), 8.0)

    request = Request(
        prompt="a red ball",
        seed=3,
        steps=2,
        image=rng.integers(0, 255, (32, 48, 3), dtype=np.uint8),
        driving=Driving(pose=drawn((32, 48)), face=drawn((tiny.FACE, tiny.FACE))),
    )
    whole, streamed = (wan22.load(folder, device="cpu", memory=how) for how in ("device", "stream"))
    alike(video(streamed, request), video(whole, request))


@pytest.mark.parametrize("memory", ["disk", "stream"])
def test_the_files_of_the_next_expert_are_read_ahead_in_the_last_step_of_the_one_before(
    tmp_path, monkeypatch, memory
):
    engine = wan22.load(write_tiny(tmp_path / "tiny"), device="cpu", memory=memory)
    asked, real = [], PartSource.read_ahead
    monkeypatch.setattr(PartSource, "read_ahead", lambda self: (asked.append(self.source.name), real(self)))
    steps = [(event.expert, list(asked)) for event in engine.generate(ASK) if isinstance(event, Progress)]
    experts = [name for name, _ in steps]
    last = experts.index("low") - 1
    assert [told for _, told in steps[:last]] == [[]] * last
    assert [told for _, told in steps[last:]] == [["low_noise_model.safetensors"]] * (len(steps) - last)
