"""Compare what a plan predicts on the CPU with what a process takes: `python -m bench.memory`.

Every case runs in a process of its own: random weights, one stage of the work, or a whole video of the embedded model.
Predicted is what the process has before, the weights, and what the plan counts for the stage; measured is the highest
resident memory. `beyond` is the error of what comes to the process, without what it had before.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
import torch
from torch import Tensor, nn

from bench.measure import peak, reset_peak
from wan22.arch import DiTArch, UMT5Arch
from wan22.catalog import VAE_21, VAE_22
from wan22.codec import Codec
from wan22.memory import workload
from wan22.memory.device import keep_no_freed_memory
from wan22.memory.meter import Counts
from wan22.memory.scheme import Scheme
from wan22.memory.workload import Forward
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.meta import meta_module
from wan22.planning import PartDtype, _encode, decoding, part_size

CPU = torch.device("cpu")
DIT = DiTArch(16, 16, 768, 3072, heads=6, layers=5, text_dim=256, text_len=64)
TEXT = UMT5Arch(vocab=32000, dim=768, dim_attn=768, ffn_dim=2048, heads=12, layers=5)
F32, BF16 = torch.float32, torch.bfloat16


@dataclass(frozen=True)
class Prepared:
    """A case that is ready: bytes that are predicted beside what the process has, and the work."""

    predicted: int
    work: Callable[[], object]


def weighed(arch: object, dtype: torch.dtype | PartDtype) -> nn.Module:
    """A network of random weights, every page of them written."""
    network = meta_module(arch)
    for p in network.parameters():
        p.requires_grad_(False)
    named = dict(network.named_parameters())
    for name, p in named.items():
        there = torch.empty(p.shape, dtype=dtype if isinstance(dtype, torch.dtype) else dtype(name)).normal_(
            std=0.02
        )
        owner, _, leaf = name.rpartition(".")
        network.get_submodule(owner)._parameters[leaf] = nn.Parameter(there, requires_grad=False)
    return network


def dit(grid: tuple[int, int, int], dtype: torch.dtype, chunk: int | None = None) -> Prepared:
    """One call of a transformer."""
    call = Forward(grid, prompt=20, chunk=chunk)
    counts = workload.forward(DIT, call, PartDtype(dtype), "cpu")
    size = part_size(DIT, PartDtype(dtype), "cpu").whole

    def work() -> Tensor:
        network = weighed(DIT, PartDtype(dtype))
        assert isinstance(network, WanDiT)
        network.chunk = chunk
        text = network.read_text([torch.zeros(20, DIT.text_dim, dtype=dtype)])
        return network(torch.zeros(1, 16, *grid), NoiseLevels(torch.ones(1, 1)), text)

    return Prepared(size + counts.peak, work)


def vae(
    arch_of: str, latent: tuple[int, int, int], *, encode: bool = False, dtype: torch.dtype = F32
) -> Prepared:
    """Encoding or decoding a video."""
    arch = {"2.1": VAE_21, "2.2": VAE_22}[arch_of]
    t, h, w = latent
    video = 1 + (t - 1) * arch.stride_time, h * arch.stride_space, w * arch.stride_space
    counts: Counts = (_encode if encode else decoding)(
        arch, video if encode else latent, dtype, "cpu", Scheme("device")
    )
    codec = Codec(CPU, host_history=False)

    def work() -> None:
        network = weighed(arch, dtype)
        if encode:
            codec.encode(network, torch.zeros(1, 3, *video))
            return
        for pixels in codec.decode(network, torch.zeros(1, arch.z, *latent)):
            del pixels

    return Prepared(part_size(arch, dtype, "cpu").whole + counts.peak, work)


def text(tokens: int, dtype: torch.dtype) -> Prepared:
    """Encoding a prompt."""
    counts = workload.text(TEXT, tokens, dtype, "cpu")

    def work() -> Tensor:
        network = weighed(TEXT, dtype)
        return network(torch.ones(1, tokens, dtype=torch.int64), torch.ones(1, tokens, dtype=torch.int64))

    return Prepared(part_size(TEXT, dtype, "cpu").whole + counts.peak, work)


def nano(frames: int, dtype: str) -> Prepared:
    """A whole video of the embedded model."""
    import wan22
    from wan22.types import Request

    engine = wan22.load("nano", device="cpu", dtype=dtype)
    request = Request(prompt="a red ball rolls left", frames=frames, steps=2, size=(128, 80))  # not scaled
    predicted = engine.plan(request).peak
    return Prepared(predicted, lambda: [None for _ in engine.generate(request)])


CASES: dict[str, Callable[[], Prepared]] = {
    "nano, 5 frames, float32": lambda: nano(5, "float32"),
    "nano, 17 frames, float32": lambda: nano(17, "float32"),
    "transformer 768 wide, 512 tokens, float32": lambda: dit((2, 32, 32), F32),
    "transformer 768 wide, 3,072 tokens, float32": lambda: dit((4, 48, 64), F32),
    "transformer 768 wide, 6,144 tokens, float32": lambda: dit((8, 48, 64), F32),
    "the same, 2,048 tokens at a time": lambda: dit((8, 48, 64), F32, 2048),
    "transformer 768 wide, 512 tokens, bfloat16": lambda: dit((2, 32, 32), BF16),
    "VAE of Wan2.1 decodes 128x96, 5 frames": lambda: vae("2.1", (2, 12, 16)),
    "VAE of Wan2.1 decodes an image of 256x192": lambda: vae("2.1", (1, 24, 32)),
    "VAE of Wan2.1 encodes 256x192, 5 frames": lambda: vae("2.1", (2, 24, 32), encode=True),
    "VAE of Wan2.2 decodes an image of 128x128": lambda: vae("2.2", (1, 8, 8)),
    "text encoder 768 wide, 64 tokens, float32": lambda: text(64, F32),
    "text encoder 768 wide, 512 tokens, float32": lambda: text(512, F32),
}


def warm() -> None:
    """Run every network in miniature, and the product of a real size: code that is loaded when it is first used, and
    what libraries keep for themselves, belong to what a process has before. Freed memory is given back to the system.
    """
    small = replace(DIT, dim=96, ffn_dim=128, layers=1, heads=2)
    with torch.inference_mode():
        for dtype in (F32, BF16):
            network = weighed(small, PartDtype(dtype))
            assert isinstance(network, WanDiT)
            text = network.read_text([torch.zeros(20, DIT.text_dim, dtype=dtype)])
            network(torch.zeros(1, 16, 2, 32, 32), NoiseLevels(torch.ones(1, 1)), text)
            ids = torch.ones(1, 64, dtype=torch.int64)
            weighed(replace(TEXT, vocab=8, dim=64, dim_attn=64, ffn_dim=64, heads=2, layers=1), dtype)(
                ids, ids
            )
            x = torch.ones(512, 768, dtype=dtype)
            x @ x.T
        for arch in (VAE_21, VAE_22):
            network = weighed(replace(arch, encoder_width=8, decoder_width=8), F32)
            codec = Codec(CPU, host_history=False)
            side = 4 * arch.stride_space
            latents = codec.encode(network, torch.zeros(1, 3, 5, side, side))
            for _ in codec.decode(network, latents):
                pass
    del network, latents, text
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def run(name: str) -> dict[str, float]:
    """Measure one case in this process. Returns bytes."""
    prepared = CASES[name]()
    if not name.startswith("nano"):
        keep_no_freed_memory()  # as the engine does where memory is short
    warm()
    before = psutil.Process().memory_info().rss
    reset_peak()
    with torch.inference_mode():
        prepared.work()
    return {"before": before, "predicted": before + prepared.predicted, "measured": peak()}


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.memory", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run(options.case)))
        return 0
    print(
        "| case | before, MB | predicted, MB | measured, MB | error | beyond |\n|---|--:|--:|--:|--:|--:|",
        flush=True,
    )
    for name in CASES:
        if options.only in name:
            command = [sys.executable, "-m", "bench.memory", "--case", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            b, p, m = (
                json.loads(done.stdout.splitlines()[-1])[key] / 1e6
                for key in ("before", "predicted", "measured")
            )
            print(
                f"| {name} | {b:.0f} | {p:.0f} | {m:.0f} | {p / m - 1:+.1%} | {(p - b) / max(m - b, 1) - 1:+.0%} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
