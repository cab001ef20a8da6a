"""What the VAE's precision costs, and what working frame by frame takes.

    python -m bench.vae                 the loss of TF32 and bfloat16 against float32; seconds of both ways to work
    python -m bench.vae --peaks         the memory of full-size videos on an accelerator, counted without running

Both are simulated on the CPU, which goes the way of an accelerator: TF32 rounds what goes into products to 10 bits of
mantissa, bfloat16 rounds the weights and what every operator gives; sums are float32. The embedded VAE is measured on a
rendered clip (PSNR against the float32 result, in dB of the range -1..1), those of the official sizes with random
weights on random inputs (relative norm of the difference).
"""

import argparse
import copy
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from wan22.arch import VAEArch
from wan22.catalog import VAE_21, VAE_22
from wan22.codec import Codec
from wan22.engine import load
from wan22.memory.meter import metered
from wan22.models.meta import meta_module
from wan22.models.vae import WanVAE
from wan22.stage.labels import sample
from wan22.stage.render import render

_PRODUCTS = (
    "aten::conv2d", "aten::conv3d", "aten::conv_transpose2d", "aten::convolution", "aten::linear", "aten::mm",
    "aten::addmm", "mkldnn::_linear_pointwise",
)  # fmt: skip
_FULL = {
    "TI2V-5B, 1280x704": (VAE_22, (44, 80)),
    "A14B, 1280x720": (VAE_21, (90, 160)),
    "A14B, 832x480": (VAE_21, (60, 104)),
}
_STEADY = 4
"""Latent frames after which memory does not grow any more."""


class TF32(TorchDispatchMode):
    """Rounds what goes into products as CUDA's TF32 does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _PRODUCTS:
            args = tuple(_rounded(a) if isinstance(a, Tensor) and a.dim() > 1 else a for a in args)
        return func(*args, **(kwargs or {}))


class BFloat16(TorchDispatchMode):
    """Rounds what every operator gives to bfloat16."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not isinstance(out, Tensor) or out.dtype != torch.float32 or func.is_view:
            return out
        rounded = out.bfloat16().float()
        return out.copy_(rounded) if func._schema.is_mutable else rounded


def _rounded(x: Tensor) -> Tensor:
    if x.dtype != torch.float32:
        return x
    return ((x.contiguous().view(torch.int32) + 0x1000) & -0x2000).view(torch.float32).view_as(x)


def losses(vae: nn.Module, video: Tensor) -> Iterator[tuple[str, str, float, float]]:
    """Way, precision, relative error, PSNR; the decoder gets the same latents every time."""
    z = vae.encode(video, chunk=1)
    exact = {"encode": z, "decode": vae.decode(z, chunk=1)}
    half = copy.deepcopy(vae).bfloat16().float()
    for name, net, mode in (("TF32", vae, TF32()), ("bfloat16", half, BFloat16())):
        with mode:
            found = {"encode": net.encode(video, chunk=1), "decode": net.decode(z, chunk=1)}
        for way, y in found.items():
            error = (y - exact[way]).double()
            psnr = -10 * torch.log10((error / 2).square().mean()).item()
            yield way, name, (error.norm() / exact[way].double().norm()).item(), psnr


def _random(arch: VAEArch) -> WanVAE:
    torch.manual_seed(0)
    return WanVAE(arch).requires_grad_(False)


def _print_losses(nano: nn.Module, clip: Tensor) -> None:
    print("| VAE | way | precision | relative error | PSNR dB |\n|---|---|---|--:|--:|")
    noise = torch.rand(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for name, make, video in (
        ("nano, a rendered clip", lambda: nano, clip[:, :, :9]),
        ("2.1, random weights", lambda: _random(VAE_21), noise),
        ("2.2, random weights", lambda: _random(VAE_22), noise),
    ):
        for way, precision, error, psnr in losses(make(), video):
            shown = f"{psnr:.1f}" if name.startswith("nano") and way == "decode" else ""
            print(f"| {name} | {way} | {precision} | {error:.1e} | {shown} |", flush=True)


def _print_ways(nano: nn.Module, clip: Tensor) -> None:
    print("\n| nano, 128x80, 17 frames | all at once s | frame by frame s |\n|---|--:|--:|")
    z = nano.encode(clip[:1])
    for way, call in (
        ("encode", lambda chunk: nano.encode(clip[:1], chunk=chunk)),
        ("decode", lambda chunk: nano.decode(z, chunk=chunk)),
    ):
        taken: dict[int | None, list[float]] = {None: [], 1: []}
        for _ in range(5):
            for chunk, seconds in taken.items():
                start = time.process_time()
                call(chunk)
                seconds.append(time.process_time() - start)
        print(f"| {way} | {min(taken[None]):.3f} | {min(taken[1]):.3f} |", flush=True)


def peak(
    arch: VAEArch, way: str, side: tuple[int, int], dtype: torch.dtype, host_history: bool
) -> tuple[int, int]:
    """Bytes of the weights, and at the peak beside them, on an accelerator."""
    network = meta_module(arch)
    weights = sum(p.numel() for p in network.parameters()) * dtype.itemsize
    with metered("cuda") as meter:
        meter.place(network, dtype)
        codec = Codec(meter.device, host_history=host_history)
        if way == "decode":
            for pixels in codec.decode(network, meter.empty(1, arch.z, _STEADY, *side)):
                del pixels
        else:
            frames = 1 + (_STEADY - 1) * arch.stride_time
            codec.encode(network, torch.empty(1, 3, frames, *(n * arch.stride_space for n in side)))
    return weights, meter.counts.peak


def _print_peaks() -> None:
    print("| video | way | past frames | float32 GB | bfloat16 GB |\n|---|---|---|--:|--:|")
    for name, (arch, side) in _FULL.items():
        for way in ("decode", "encode"):
            for host in (False, True):
                cells = []
                for dtype in (torch.float32, torch.bfloat16):
                    weights, beside = peak(arch, way, side, dtype, host)
                    cells.append(f"{weights / 1e9:.2f} + {beside / 1e9:.2f} = {(weights + beside) / 1e9:.2f}")
                where = "on the host" if host else "on the device"
                print(f"| {name} | {way} | {where} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.vae", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peaks", action="store_true", help="count memory instead")
    if parser.parse_args().peaks:
        _print_peaks()
        return
    nano = load("nano", device="cpu", dtype="float32").vae()
    clips = [render([shot], seed=i)[0] for i, shot in enumerate(sample(1, seed=1, split="held-out"))]
    video = torch.stack(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    _print_losses(nano.requires_grad_(False), video)  # no inference mode: that is for the CPU's own kernels
    with torch.inference_mode():
        _print_ways(nano, video)


if __name__ == "__main__":
    main()
