"""Weights that rest on several gloo processes, a part of each block on each: the bits of one process."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from launch import run
from test_tasks import REQUESTS, made
from torch import nn
from unit.loras import DIT, pairs
from unit.test_weights_kept import DIT as DIT_KEPT
from unit.test_weights_kept import write_gguf
from unit.tiny import random_weights, tiny_speech_variant, tiny_variant, write_tiny, write_tiny_speech

from wan22.arch import DiTArch, UMT5Arch
from wan22.assembly import PartSource
from wan22.engine import load
from wan22.errors import ParallelError
from wan22.memory.placement import Placement
from wan22.memory.scheme import Scheme, ordered
from wan22.memory.stream import Stream
from wan22.models.meta import meta_module
from wan22.ops.stored import Keep
from wan22.parallel.layout import Layout
from wan22.parallel.lead import Together
from wan22.parallel.mesh import Mesh
from wan22.parallel.ranks import Ranks
from wan22.parallel.weights import SharedWeights
from wan22.weights.load import Weights
from wan22.weights.reader import reader_of_tensors

CPU = torch.device("cpu")
SPEECH = tiny_speech_variant().dit
TEXT = UMT5Arch(vocab=16, dim=32, dim_attn=32, ffn_dim=64, heads=2, layers=3)


class Added:
    """An edit that adds a product of two factors to every large matrix of a block."""

    def rank(self, name: str) -> int | None:
        return 4 if name.startswith("blocks.") and name.endswith("weight") else 0

    def factors(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        down, up = pairs([name], arch=DIT)[name]
        return down, up

    def __call__(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not (self.rank(name) and tensor.dim() == 2):
            return tensor
        down, up = self.factors(name)
        return tensor + (up @ down).to(tensor)


def lend():
    from contextlib import nullcontext

    return nullcontext(Added())


def part(arch: DiTArch | UMT5Arch, dtype: torch.dtype = torch.float32, **how: object) -> PartSource:
    tensors = random_weights(meta_module(arch), torch.Generator().manual_seed(0))
    return PartSource(lambda: reader_of_tensors("random", tensors), arch, dtype, **how)


PARTS: Mapping[str, Callable[[], PartSource]] = {
    "float32": partial(part, DIT),
    "bfloat16": partial(part, DIT, torch.bfloat16),
    "int8": partial(part, DIT, torch.bfloat16, keep=Keep(torch.float32, "int8")),
    "int4": partial(part, DIT, torch.bfloat16, keep=Keep(torch.float32, "int4")),
    "fp8": partial(part, DIT, torch.bfloat16, keep=Keep(torch.float32, "fp8")),
    "a LoRA, merged": partial(part, DIT, torch.bfloat16, lend=lend),
    "a LoRA, beside int8": partial(part, DIT, torch.bfloat16, keep=Keep(torch.float32, "int8"), lend=lend),
    "text": partial(part, TEXT, torch.bfloat16),
    "audio drives it": partial(part, SPEECH, torch.bfloat16),
    "one block": partial(part, tiny_variant().dit, torch.bfloat16),
}


def streams(module: nn.Module) -> dict[str, Stream]:
    return {name: each for name, each in module.named_modules() if isinstance(each, Stream)}


def tensors_of(block: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.detach().clone() for n, t in (*block.named_parameters(), *block.named_buffers())}


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    def bits(x: torch.Tensor) -> tuple[object, ...]:
        return x.dtype, tuple(x.shape), bytes(x.contiguous().view(-1).view(torch.uint8).tolist())

    return a.keys() == b.keys() and all(bits(a[name]) == bits(b[name]) for name in a)


def blocks_of(rank: int) -> dict[str, list[object]]:
    """Of every kind: whether each block, twice over, has the bits of the whole part, and what the share takes."""
    ranks, found = Ranks(None, CPU), {}
    shared = SharedWeights(ranks)
    for name, make in PARTS.items():
        whole = make()(CPU)
        divided = replace(make(), shared=shared).stream(CPU, "ranks")
        lists = streams(divided)
        assert lists, name
        for path, stream in lists.items():
            right = [tensors_of(block) for block in whole.get_submodule(path)]
            for _ in range(2):
                alike = [same(tensors_of(block), right[i]) for i, block in enumerate(stream)]
                found.setdefault(name, []).extend(alike)
            kept = sum(share.nbytes for share in stream._kept.values())
            all_bytes = sum(t.nbytes for block in right for t in block.values())
            # Each tensor begins at a multiple of 256 bytes, and so does each part.
            room = 256 * (len(right) + sum(map(len, right)))
            found[name].append(
                all_bytes // ranks.size <= kept <= (all_bytes + room) // ranks.size + 256 * len(right)
            )
            stream.release()
            found[name].append(all(t.is_meta for block in stream._blocks for t in tensors_of(block).values()))
    return found


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_block_comes_with_the_bits_that_were_read(size):
    for found in run(size, blocks_of):
        assert found.keys() == PARTS.keys()
        assert all(all(each) for each in found.values()), found


def from_gguf(rank: int, path: Path) -> list[bool]:
    shared = SharedWeights(Ranks(None, CPU))
    source = PartSource(path, DIT_KEPT, torch.bfloat16, Keep(torch.float32))
    divided = replace(source, shared=shared).stream(CPU, "ranks")
    right = [tensors_of(block) for block in source(CPU).blocks]
    assert any(t.dtype == torch.uint8 for t in right[0].values())
    return [same(tensors_of(block), right[i]) for i, block in enumerate(divided.blocks)]


def test_the_blocks_of_gguf_come_as_the_file_has_them(tmp_path):
    path = tmp_path / "net.gguf"
    write_gguf(path, "Q4_K")
    assert run(2, from_gguf, path) == [[True] * DIT_KEPT.layers] * 2


def reads_some(rank: int) -> tuple[list[str], list[str]]:
    read, real = [], Weights.read

    def noted(self: Weights, name: str, device: str = "cpu") -> dict[str, torch.Tensor]:
        read.append(name)
        return real(self, name, device)

    Weights.read = noted
    try:
        divided = replace(part(DIT), shared=SharedWeights(Ranks(None, CPU))).stream(CPU, "ranks")
        list(divided.blocks)
    finally:
        Weights.read = real
    return [name for name in read if name.startswith("blocks.0.")], list(divided.state_dict())


def test_a_rank_reads_only_tensors_of_which_it_keeps_something():
    (one, names), (two, _) = run(2, reads_some)
    every = {name for name in names if name.startswith("blocks.0.")}
    assert set(one) | set(two) == every
    assert len(set(one) & set(two)) <= 1  # the one that is cut


def placed(rank: int) -> list[object]:
    ranks = Ranks(None, CPU)
    shared = SharedWeights(ranks)
    load = replace(part(DIT), shared=shared)
    place = Placement(
        {"high": load, "low": load}, ordered(["high", "low"], "ranks", "cpu", host=True, ranks=2), CPU
    )
    high = place.bring("high")
    list(high.blocks)
    place.bring("low")
    released = high.blocks._here is None and high.blocks._lane._buffers == [None, None]
    return [released, place.bring("high") is high, len(high.blocks._kept), ranks.traffic["weights"] > 0]


def test_shares_stay_while_another_part_is_at_work():
    assert run(2, placed) == [[True, True, DIT.layers, True]] * 2


def test_there_must_be_several_ranks():
    with pytest.raises(
        ParallelError, match="divides weights among several devices, and there is one: say --gpus N"
    ):
        ordered(["high"], "ranks", "cpu", host=True)
    with pytest.raises(ParallelError, match="there is one process"):
        part(DIT).stream(CPU, "ranks")


def test_small_parts_are_whole_on_each_rank():
    found = ordered(["high", "text", "vae", "audio"], "ranks", "cuda", host=True, ranks=2)
    assert {name: (s.rest, s.stream) for name, s in found.items()} == {
        "high": ("ranks", True), "text": ("ranks", True), "vae": ("device", False), "audio": ("device", False),
    }  # fmt: skip
    assert "on all ranks, streamed block by block" in str(found["high"])
    assert Scheme("ranks", stream=True) in [replace(found["high"], chunk=None, host_history=False)]


def engines(rank: int, folder: Path, names: list[str], options: dict[str, str]) -> dict[object, list[float]]:
    """How far what ranks make from divided weights is off what one process makes, and how large the parts are."""
    alone = load(folder, device="cpu", memory="device", **options)
    meshes = [Mesh.make(layout, CPU) for layout in (Layout(2, 1, 1), Layout(1, 2, 1))]
    control, found = meshes[0].control, {}
    together = Together(meshes[0], lambda find: control.broadcast(find() if rank == 0 else None))
    divided = load(folder, device="cpu", memory="ranks", ranks=together, **options)
    for name in names:
        frames, latents = made(alone, REQUESTS[name])
        for mesh in meshes:
            if name == "without guidance" and mesh.layout.guidance > 1:
                continue
            divided.ranks = mesh
            f, x = made(divided, REQUESTS[name])
            found[name, str(mesh.layout)] = [
                float((x - latents).norm() / latents.norm()),
                abs(f - frames).max(),
            ]
    assert meshes[0].world.traffic["weights"] > 0
    return found


def check(results: list[dict[object, list[float]]]) -> None:
    for found in results:
        assert found
        for name, (latents, frames) in found.items():
            assert latents <= 1e-4 and frames <= 1, (name, latents, frames)


def test_a_video_from_divided_weights_is_that_of_one_process(tmp_path):
    """Also where guidance begins or ends, when some ranks have another text to read and all walk the blocks."""
    folder = write_tiny(tmp_path / "tiny", layers=3)
    check(run(2, engines, folder, ["text", "guided in some steps", "step cache"], {}))


@pytest.mark.slow
def test_other_videos_from_divided_weights_are_those_of_one_process(tmp_path):
    folder = write_tiny(tmp_path / "tiny", layers=2)
    check(run(2, engines, folder, ["image", "several clips", "without guidance"], {"quantize": "int8"}))
    check(run(2, engines, write_tiny_speech(tmp_path / "speech"), ["speech"], {}))
