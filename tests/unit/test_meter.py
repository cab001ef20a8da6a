"""What is counted of a network without running it: the counts of small ones are exact, those of the large ones are the
figures of the page on memory.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.unit.tiny import tiny_speech_variant, tiny_variant
from wan22.assembly import FLOAT32
from wan22.catalog import VARIANTS
from wan22.memory import effects, workload
from wan22.memory.meter import Counts, Meter, extrapolated, metered
from wan22.memory.scheme import CHUNK_TOKENS
from wan22.memory.workload import Forward
from wan22.models.dit import NoiseLevels
from wan22.models.meta import meta_module
from wan22.ops import fused
from wan22.ops.attention import sdpa
from wan22.ops.rope import rotation
from wan22.ops.rows import Rows

MB = 10**6


def dtype_of(name):
    return torch.float32 if any(part in name for part in FLOAT32) else torch.bfloat16


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_product_and_a_sum_are_counted_to_the_byte(device):
    layer = nn.Linear(1000, 2000, device="meta")
    with metered(device) as meter:
        meter.place(layer, torch.bfloat16)
        x = meter.empty(500, 1000, dtype=torch.bfloat16)
        y = layer(x) + 1
        del x, y
    assert meter.counts.flops == {("matmul", torch.bfloat16): 2 * 500 * 1000 * 2000}
    assert meter.counts.peak == 2 * (500 * 1000 + 2 * 500 * 2000)  # not the weights
    assert meter.counts.traffic == 2 * (2 * 500 * 2000)
    assert meter.counts.kernels == 2
    assert meter.counts.largest[0] == (2 * MB, "addmm (500, 2000) bfloat16")


def test_what_is_one_kernel_on_a_gpu_reads_and_writes_once():
    """A norm with its modulation, and a sum over its own input, which has another one within."""
    found = {}
    for device in ("cuda", "cpu"):
        with metered(device) as meter:
            x, y = meter.empty(1, 500, 64), meter.empty(1, 500, 64)
            rows = Rows(meter.empty(1, 1, 64))
            fused.norm_modulate(x, rows, rows, 1e-6, torch.bfloat16)
            fused.gated_add_norm(x, y, rows, meter.empty(64), meter.empty(64), 1e-6, torch.bfloat16, x)
        found[device] = meter.counts
    row, tokens = 4 * 64, 4 * 500 * 64
    assert found["cuda"].kernels == 2 < found["cpu"].kernels
    one = tokens + row + tokens // 2  # the same row is shift and scale
    assert found["cuda"].traffic == one + 2 * tokens + 3 * row + tokens + tokens // 2
    assert found["cuda"].traffic < found["cpu"].traffic and found["cuda"].peak > 3 * tokens


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_views_take_no_memory_and_live_as_long_as_what_they_show(device):
    with metered(device) as meter:
        x = meter.empty(100, 100)
        x.mul_(2)
        part = x.view(10, 1000)[:5].t()
        del x
        part.add_(1)
        again = part.clone()
        del part
        again.add_(1)
    assert meter.counts.peak == 4 * 10_000 + 4 * 5000
    assert meter.counts.kernels == 4


def test_what_is_repeated_is_counted_as_often_but_lives_once():
    with metered("cuda") as meter:
        x = meter.empty(100)
        with meter.times(7):
            x + 1
    assert (meter.counts.kernels, meter.counts.traffic, meter.counts.peak) == (7, 7 * 800, 800)


def test_host_and_device_wait_for_one_another_where_tensors_or_numbers_cross():
    with metered("cuda", scalar=3) as meter:
        x = meter.empty(4)
        assert x.cpu().device.type == "cpu"
        x.to("cpu", torch.float64)
        x + torch.ones(4).to("meta")
        assert int(x.sum()) == 3
        torch.ones(4).to("meta", non_blocking=True)
        x.to(torch.float16)
    assert meter.counts.syncs == 4
    with metered("cuda") as meter, pytest.raises(RuntimeError, match="say what it is by `scalar`"):
        meter.empty(1).item()


def test_nothing_of_it_is_remembered():
    x = torch.zeros(1, 4, 2, 4, 4)
    row = tiny_variant()
    network = meta_module(row.dit).to_empty(device="cpu")
    for device in ("cpu", "cuda"):
        workload.forward(row.dit, Forward((2, 4, 4), prompt=3), torch.float32, device)
    table = rotation((2, 2, 2), 12, torch.device("cpu"))[0]
    assert type(table) is torch.Tensor and not table.is_meta and table.isfinite().all()
    with torch.no_grad():
        text = network.read_text([torch.zeros(3, 8)])
        assert network(x, NoiseLevels(torch.ones(1, 1)), text).shape == x.shape


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_operations_are_those_of_a_real_run(device):
    row = tiny_variant()
    network = meta_module(row.dit).to_empty(device="cpu")
    network.attention = sdpa
    x, levels = torch.zeros(1, 4, 3, 4, 6), NoiseLevels(torch.ones(1, 1))
    with torch.no_grad():
        text = network.read_text([torch.zeros(3, 8)])
        with FlopCounterMode(display=False) as real:
            network(x, levels, text)
    counted = workload.forward(row.dit, Forward((3, 4, 6), prompt=3), torch.float32, device)
    kind = "matmul", torch.float32  # PyTorch's own count leaves out the CPU's attention
    assert counted.flops[kind] == real.get_total_flops()
    assert counted.flops["attention", torch.float32] == 4 * 24 * 18 * (
        18 + 4
    )  # own tokens; prompt and its padding


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_few_layers_stand_for_all(device):
    six = replace(tiny_speech_variant().dit, layers=6, dim=48)
    for arch in (replace(six, speech=None), six):
        call = Forward((2, 8, 8), prompt=5)
        whole = workload._forward(arch, call, torch.float32, device)
        told = workload.forward(arch, call, torch.float32, device)
        assert told.total_flops == whole.total_flops
        assert (told.kernels, told.syncs, told.traffic) == (whole.kernels, whole.syncs, whole.traffic)
        assert told.peak == pytest.approx(whole.peak, rel=0.02)


def work_of_many_kinds(meter):
    """Products, sums of several dtypes, views, writes in place, operators made of others."""
    x = meter.empty(2, 6, 8, 8)
    y = torch.nn.functional.conv2d(x, meter.empty(4, 6, 3, 3), padding=1).transpose(1, 3)
    z = torch.nn.functional.silu(y.reshape(2, -1)).view(2, 8, 32)
    z[:, 2:4] = z[:, 4:6].contiguous() + 1
    q, k, v = z.unsqueeze(1).chunk(3, dim=-1)[0], *meter.empty(2, 1, 2, 8, 11).unbind(2)
    z = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    counted = meter.empty(3, dtype=torch.int64)
    return [
        x,
        y,
        z.flatten(2).mul_(2),
        counted + 1,
        counted + 1.0,
        counted + True,
        z.to(torch.float16),
        z.to(z.dtype),
    ]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_what_was_counted_once_counts_the_same_again_and_is_not_run(device, monkeypatch):
    def seen():
        with metered(device) as meter:
            made = work_of_many_kinds(meter)
            told = [(tuple(t.shape), t.stride(), t.storage_offset(), t.dtype, type(t)) for t in made]
        return meter.counts, meter.counts.largest, told

    monkeypatch.setattr(effects, "_EFFECTS", {})
    first = seen()
    monkeypatch.setattr("wan22.memory.meter.recall", lambda key: None)
    assert seen() == first
    monkeypatch.undo()
    seen()
    run = []
    count = Meter._count
    monkeypatch.setattr(
        Meter, "_count", lambda self, func, *rest: run.append(func) or count(self, func, *rest)
    )
    assert seen() == first
    assert {func._schema.name for func in run} == {"aten::empty"}


def test_few_effects_are_remembered(monkeypatch):
    monkeypatch.setattr(effects, "_EFFECTS", {})
    monkeypatch.setattr(effects, "_MOST", 5)
    with metered("cuda") as meter:
        for size in range(1, 20):
            meter.empty(size).neg()
            assert 1 <= len(effects._EFFECTS) <= 5
    assert meter.counts.kernels == 19


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_in_chunks_are_counted_in_every_dtype(device, dtype):
    arch = tiny_variant().dit
    whole, parts = (
        workload.forward(arch, Forward((4, 32, 32), prompt=3, chunk=chunk), dtype, device)
        for chunk in (None, 256)
    )
    assert parts.total_flops == whole.total_flops
    assert parts.peak < 0.8 * whole.peak


def frames_of(vae, device, frames):
    network = meta_module(vae)
    with metered(device) as meter:
        meter.place(network, torch.float32)
        for pixels in network.decode_stream(meter.empty(1, vae.z, frames, 4, 6), chunk=1):
            del pixels
    return meter.counts


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_few_frames_stand_for_all(device):
    vae = tiny_variant().vae
    whole = frames_of(vae, device, 9)
    told = workload.of_frames(partial(frames_of, vae, device), 9)
    assert (told.total_flops, told.kernels, told.peak) == (whole.total_flops, whole.kernels, whole.peak)


def test_counts_add_up():
    one = Counts(10, {("conv", torch.float32): 4.0}, 2, 100, 1)
    two = Counts(15, {("conv", torch.float32): 6.0, ("matmul", torch.float32): 1.0}, 3, 150, 1)
    many = extrapolated(one, two, 10)
    assert many == Counts(60, {("conv", torch.float32): 24.0, ("matmul", torch.float32): 10.0}, 12, 600, 1)


FORWARD = {
    ("ti2v-5B", (31, 44, 80)): (513, 2.85, 1.6),
    ("t2v-A14B", (21, 90, 160)): (6498, 11.9, 5.2),
    ("t2v-A14B", (21, 60, 104)): (1666, 5.3, 2.8),
}
"""TFLOP, and at most so many GB beside the weights: of all tokens at once, and in chunks."""


@pytest.mark.slow
@pytest.mark.parametrize("case", FORWARD)
def test_a_forward_pass_of_the_released_networks(case):
    (name, grid), (tflop, *most) = case, FORWARD[case]
    for chunk, gigabytes in zip((None, CHUNK_TOKENS), most, strict=True):
        counts = workload.forward(VARIANTS[name].dit, Forward(grid, chunk=chunk), dtype_of, "cuda")
        assert counts.total_flops / 1e12 == pytest.approx(tflop, rel=0.01)
        assert counts.peak / 1e9 <= gigabytes
        assert counts.syncs <= 2


def test_reading_text():
    counts = workload.text(VARIANTS["t2v-A14B"].text, 512, torch.bfloat16, "cuda")
    assert counts.peak / 1e9 <= 0.3
