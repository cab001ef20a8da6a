"""What is measured, an item each: the most telling first. An item yields rows of the table."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.gpu import networks
from bench.gpu.cases import Case
from bench.gpu.machine import Rates, precision, seconds_of
from wan22.assembly import STREAMED, compiled
from wan22.memory import workload
from wan22.memory.device import free_memory, wait
from wan22.memory.meter import Counts, metered
from wan22.memory.scheme import CHUNK_TOKENS
from wan22.models.dit import TextMemory, WanDiT
from wan22.models.meta import meta_module
from wan22.ops import fused
from wan22.ops.attention import ATTENTION, sdpa
from wan22.ops.gpu import why_no_compiler
from wan22.ops.kernels import why_no_triton
from wan22.ops.rope import rotation
from wan22.ops.rows import Rows


@dataclass(frozen=True)
class Row:
    """One measurement. Bytes are beside the weights unless the note says otherwise; `roof` is a share of 1; `error` is
    relative, by norms.
    """

    item: str
    case: str
    seconds: float | None = None
    roof: float | None = None
    peak: int | None = None
    planned: int | None = None
    error: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """Where and at which sizes is measured."""

    device: torch.device
    rates: Rates
    cases: Mapping[str, Case]

    def seconds(self, call: Callable[[], Any], repeats: int = 2) -> float:
        return seconds_of(self.device, call, repeats)

    def peak_of(self, call: Callable[[], Any]) -> int | None:
        """The most that a call takes beside what was there."""
        if self.device.type != "cuda":
            call()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        call()
        return torch.cuda.max_memory_allocated(self.device) - before

    def counts(self, name: str, chunk: int | None = None) -> Counts:
        """What one prediction of a case is counted to take, `chunk` tokens at a time after the keys and values."""
        case = self.cases[name]
        asked = workload.Forward(case.grid, prompt=min(128, case.dit.text_len - 1), chunk=chunk)
        return workload.forward(case.dit, asked, networks.dtype_of, "cuda")


@dataclass(frozen=True)
class Item:
    """Something that is measured. `estimate` is its seconds on an H200: first those that any machine takes, then those
    that grow as a card multiplies slower.
    """

    name: str
    measure: Callable[[Bench], Iterator[Row]]
    estimate: tuple[float, float]

    def seconds(self, slower: float) -> float:
        """What it will take about on a card that is so much slower."""
        return self.estimate[0] + self.estimate[1] * slower


def error_of(ours: Tensor, theirs: Tensor) -> float:
    """The relative error."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def correctness(bench: Bench) -> Iterator[Row]:
    """The embedded model on the device against the CPU, in float32: latents and frames."""
    import wan22

    ask = wan22.Request(prompt="a red ball rolls left in the desert at sunset", seed=2, frames=5, steps=4)
    found = {}
    for device in ("cpu", str(bench.device)):
        events = list(wan22.load(device=device, dtype="float32").generate(ask))
        latents = next(e.tensors["latents"] for e in events if isinstance(e, wan22.types.Latents))
        frames = torch.cat([torch.from_numpy(e.frames) for e in events if isinstance(e, wan22.types.Frames)])
        found[device] = latents, frames.float()
    here, there = found["cpu"], found[str(bench.device)]
    yield Row(
        "correctness", "nano, latents", error=error_of(there[0], here[0]), note="against the CPU, float32"
    )
    yield Row(
        "correctness", "nano, frames", error=error_of(there[1], here[1]), note="against the CPU, float32"
    )


def attention(bench: Bench) -> Iterator[Row]:
    """Every backend at the sizes of the models; the error is that of some queries against float32."""
    for i, case in enumerate(bench.cases.values()):
        heads, length = case.dit.heads, case.tokens
        shape = (1, length, heads, case.dit.dim // heads)
        q, k, v = (torch.randn(shape, device=bench.device).to(torch.bfloat16) for _ in range(3))
        some = q[:, : min(64, length)]
        exact = sdpa(some.float(), k.float(), v.float())
        work = {("attention", torch.bfloat16): 4.0 * length**2 * case.dit.dim}
        for name, backend in ATTENTION.items():
            case_name = f"{name}, {case.name}"
            if why := backend.why_not(bench.device, torch.bfloat16, shape[-1]):
                yield Row("attention", case_name, note=why)
                continue
            if name == "flex" and (bench.device.type == "cpu" or i > 0):
                continue  # its compiler takes long: once is enough
            took = bench.seconds(partial(backend, q, k, v))
            wrong = error_of(backend(q, k, v)[:, : some.shape[1]].float(), exact)
            yield Row("attention", case_name, took, bench.rates.roof(work) / took, error=wrong)


def kernels(bench: Bench) -> Iterator[Row]:
    """The fused functions: plain PyTorch beside Triton. The roof is the memory's: one read and one write."""
    for case in bench.cases.values():
        d, heads, tokens = case.dit.dim, case.dit.heads, case.tokens
        x = torch.randn(1, tokens, d, device=bench.device)
        y = x.to(torch.bfloat16)
        rows = [Rows(torch.randn(1, 1, d, device=bench.device)) for _ in range(3)]
        affine = [torch.randn(d, device=bench.device) for _ in range(2)]
        table = rotation(
            tuple(s // p for s, p in zip(case.grid, (1, 2, 2), strict=True)), d // heads, bench.device
        )
        calls: dict[str, tuple[tuple[Any, ...], float]] = {
            "norm_modulate": ((x, *rows[:2], 1e-6, torch.bfloat16), 6),
            "gated_add_norm": ((x, y, rows[0], *affine, 1e-6, torch.bfloat16), 12),
            "add_norm_modulate": ((x, y, *rows[:2], 1e-6, torch.bfloat16), 12),
            "gated_add": ((x, y, rows[2]), 10),
            "norm_rotate": ((y.view(1, tokens, heads, d // heads), affine[0], table, 1e-6), 4),
        }
        for name, (args, traffic) in calls.items():
            yield from _kernel(bench, name, case.name, args, traffic * tokens * d)
        del x, y
    for dtype in (torch.float32, torch.bfloat16):
        case = list(bench.cases.values())[-1]
        width = case.vae.decoder_width
        x = torch.randn(1, width, 1, 8 * case.grid[1], 8 * case.grid[2], device=bench.device).to(dtype)
        gamma = torch.randn(width, 1, 1, 1, device=bench.device).to(dtype)
        yield from _kernel(bench, "norm_silu", f"{dtype}, {tuple(x.shape)}", (x, gamma), 2.0 * x.nbytes)


def _kernel(bench: Bench, name: str, case: str, args: tuple[Any, ...], traffic: float) -> Iterator[Row]:
    function = getattr(fused, name)
    reference, best = function.__wrapped__, traffic / bench.rates.memory
    took = bench.seconds(lambda: reference(*args), 5)
    yield Row("kernels", f"{name}, PyTorch, {case}", took, best / took)
    if why := why_no_triton(bench.device):
        yield Row("kernels", f"{name}, Triton, {case}", note=why)
        return
    took = bench.seconds(lambda: function(*args), 5)
    ours, theirs = (f(*args) for f in (function, reference))
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    wrong = max(error_of(a, b) for a, b in pairs)
    yield Row("kernels", f"{name}, Triton, {case}", took, best / took, error=wrong)


def forward(name: str) -> Callable[[Bench], Iterator[Row]]:
    """One prediction of a transformer, of as many blocks as fit on the device."""

    def measure(bench: Bench) -> Iterator[Row]:
        case, counts = bench.cases[name], bench.counts(name)
        network = _fitting(bench, case, counts)
        given = networks.inputs(case.grid, case.dit, bench.device)
        text = networks.read(network, given)
        peak = bench.peak_of(lambda: networks.call(network, given, text))
        took, note = _whole(bench, network, case, given, text)
        yield Row("forward", name, took, bench.rates.roof(counts.flops) / took, peak, counts.peak, note=note)

    return measure


def _fitting(bench: Bench, case: Case, counts: Counts) -> WanDiT:
    """The transformer with the blocks for which there is room: at least two."""
    one = networks.nbytes(replace(case.dit, layers=2)) - networks.nbytes(replace(case.dit, layers=1))
    rest = networks.nbytes(replace(case.dit, layers=1)) - one
    room = free_memory(bench.device) * 0.92 - counts.peak - rest
    layers = min(case.dit.layers, max(2, int(room // one)))
    return networks.transformer(replace(case.dit, layers=layers), bench.device)


def _whole(
    bench: Bench, network: WanDiT, case: Case, given: Mapping[str, Tensor], text: TextMemory
) -> tuple[float, str]:
    """Seconds of all blocks, and how they were found if not all are there."""
    took, layers, every = (
        bench.seconds(lambda: networks.call(network, given, text), 1),
        len(text),
        case.dit.layers,
    )
    if layers == every:
        return took, ""
    network.blocks = network.blocks[: layers // 2]
    half = bench.seconds(lambda: networks.call(network, given, text), 1)
    each = (took - half) / (layers - layers // 2)
    return took + (every - layers) * each, f"extrapolated from {layers} and {layers // 2} of {every} blocks"


def decode(name: str) -> Callable[[Bench], Iterator[Row]]:
    """Decoding a video, from a few latent frames: each further one costs the same."""

    def measure(bench: Bench) -> Iterator[Row]:
        case = bench.cases[name]
        dtypes = {"bfloat16": torch.bfloat16, "tf32": torch.float32, "float32": torch.float32}
        counted = {dtype: _decode_counts(case, dtype) for dtype in set(dtypes.values())}
        for kind, dtype in dtypes.items():
            counts = counted[dtype]
            for last in (False, True):
                network = networks.vae(case.vae, bench.device, dtype, last)
                with precision(kind):
                    took, peak = _decoded(bench, network, case)
                roof = bench.rates.roof(counts.flops, "float32" if kind == "float32" else "tf32") / took
                label = f"{case.model}, {kind}, {'channels last' if last else 'channels first'}"
                yield Row(
                    "decode", label, took, roof, peak, counts.peak, note=f"{case.grid[0]} latent frames"
                )
                del network

    return measure


def _decode_counts(case: Case, dtype: torch.dtype) -> Counts:
    def at(frames: int) -> Counts:
        network = meta_module(case.vae)
        with metered("cuda") as meter:
            meter.place(network, dtype)
            for pixels in network.decode_stream(meter.empty(1, case.vae.z, frames, *case.grid[1:]), chunk=1):
                del pixels
        return meter.counts

    return workload.of_frames(at, case.grid[0])


def _decoded(bench: Bench, network: Any, case: Case) -> tuple[float, int | None]:
    latents = torch.randn(1, case.vae.z, 4, *case.grid[1:], device=bench.device)

    def run(frames: int) -> float:
        wait(bench.device)
        start = time.perf_counter()
        for pixels in network.decode_stream(latents[:, :, :frames], chunk=1):
            del pixels
        wait(bench.device)
        return time.perf_counter() - start

    run(2)
    few, more = run(2), [0.0]
    peak = bench.peak_of(lambda: more.append(run(4)))
    return few + max(more[-1] - few, 1e-9) / 2 * (case.grid[0] - 2), peak


def streaming(name: str) -> Callable[[Bench], Iterator[Row]]:
    """A prediction whose blocks come from pinned memory: seconds, and all memory, weights too."""

    def measure(bench: Bench) -> Iterator[Row]:
        case, counts = bench.cases[name], bench.counts(name, CHUNK_TOKENS)
        gpu = bench.device.type == "cuda"
        before = torch.cuda.memory_allocated(bench.device) if gpu else 0
        network, block = networks.streamed(case.dit, bench.device)
        network.chunk = CHUNK_TOKENS
        resident = sum(p.nbytes for p in network.parameters() if not p.is_meta)
        given = networks.inputs(case.grid, case.dit, bench.device)
        text = networks.read(network, given)
        if gpu:
            torch.cuda.reset_peak_memory_stats(bench.device)
        took = bench.seconds(lambda: networks.call(network, given, text), 1)
        peak = torch.cuda.max_memory_allocated(bench.device) - before if gpu else None
        copied = block * case.dit.layers
        note = f"weights included; {copied / 1e9:.1f} GB copied, {copied / bench.rates.pinned:.2f} s at the pinned rate"
        planned = counts.peak + resident + 2 * block
        yield Row("streaming", name, took, bench.rates.roof(counts.flops) / took, peak, planned, note=note)
        network.blocks.release()

    return measure


def compiling(name: str) -> Callable[[Bench], Iterator[Row]]:
    """The same prediction with compiled blocks."""

    def measure(bench: Bench) -> Iterator[Row]:
        if why := why_no_compiler(bench.device):
            yield Row("compile", name, note=why)
            return
        case, counts = bench.cases[name], bench.counts(name)
        network = _fitting(bench, case, counts)
        given = networks.inputs(case.grid, case.dit, bench.device)
        text = networks.read(network, given)
        exact = networks.call(network, given, text)
        network.attention = torch.compiler.disable(network.attention)
        for block in network.get_submodule(STREAMED[0]).children():
            block.__class__ = compiled(type(block))
        wait(bench.device)
        start = time.perf_counter()
        first = networks.call(network, given, text)
        wait(bench.device)
        compiling = time.perf_counter() - start
        took, how = _whole(bench, network, case, given, text)
        note = f"the first call, which compiles, took {compiling:.0f} s" + (how and f"; {how}")
        roof = bench.rates.roof(counts.flops) / took
        yield Row("compile", name, took, roof, error=error_of(first, exact), note=note)

    return measure


def video(bench: Bench) -> Iterator[Row]:
    """A whole video of the engine's own code, in two steps with guidance; the steps are extrapolated to fifty."""
    from bench.gpu.video import made

    yield from made(bench.device, next(iter(bench.cases.values())))


FIRST, SMALL, LARGE = "5B 1280x704x121", "A14B 832x480x81", "A14B 1280x720x81"

ITEMS: tuple[Item, ...] = (
    Item("correctness", correctness, (20, 2)),
    Item("forward 5B", forward(FIRST), (6, 4)),
    Item("attention", attention, (25, 8)),
    Item("decode 5B", decode(FIRST), (10, 22)),
    Item("forward A14B 480p", forward(SMALL), (6, 10)),
    Item("forward A14B 720p", forward(LARGE), (6, 36)),
    Item("streaming 5B", streaming(FIRST), (8, 4)),
    Item("streaming A14B 720p", streaming(LARGE), (10, 26)),
    Item("kernels", kernels, (20, 3)),
    Item("decode A14B", decode(LARGE), (10, 12)),
    Item("video 5B", video, (20, 18)),
    Item("compile 5B", compiling(FIRST), (90, 5)),
)
"""The most telling first."""
