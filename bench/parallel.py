"""Two processes of one thread each against one, on the CPU: denoising by a stack of blocks as wide as A14B's.

    python -m bench.parallel                   # what is measured: seconds of a call, and the speed-up of two processes
    python -m bench.parallel --layers 4 --tokens 4096 --ranks 2 --repeat 3 --ring 1

Run it where nothing else runs. Each process has one thread, so that two of them have twice the arithmetic of one, not
twice the threads. The calls are those of a video: latents in, a velocity out, by ContextParallel. It also says
how far the velocity is from that of one process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wan22.arch import DiTArch
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.parallel.context import ContextParallel
from wan22.parallel.layout import Layout

WIDTH, HEADS, FFN = 5120, 40, 13824


def main() -> None:
    """Measure, and print a line for one process and one for several."""
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("--layers", type=int, default=2)
    read.add_argument("--tokens", type=int, default=4096, help="about so many: frames of 16x16 tokens")
    read.add_argument("--ranks", type=int, default=2)
    read.add_argument("--ring", type=int, default=1)
    read.add_argument("--repeat", type=int, default=3)
    read.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    asked = read.parse_args()
    one, velocity = _measured(asked, 1)[0]
    print(f"one process: {one:.2f} s a call of {asked.layers} blocks, {asked.tokens} tokens")
    found = _measured(asked, asked.ranks)
    several = max(seconds for seconds, _ in found)
    far = float((found[0][1] - velocity).norm() / velocity.norm())
    print(
        f"{asked.ranks} processes: {several:.2f} s, {one / several:.2f} times as fast; "
        f"the velocity differs by {far:.1e}"
    )


def _measured(asked: argparse.Namespace, ranks: int) -> list[tuple[float, Tensor]]:
    """The median seconds of a call, and the velocity, of each process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(ranks) as pool:
        store = str(Path(folder) / "store")
        work = [(vars(asked), rank, ranks, store) for rank in range(ranks)]
        return pool.starmap(_rank, work, chunksize=1)


def _rank(asked: dict[str, Any], rank: int, ranks: int, store: str) -> tuple[float, Tensor]:
    import torch.distributed as dist  # noqa: TID251 - the processes that are measured

    from wan22.parallel.mesh import Mesh

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    try:
        mesh = Mesh.make(Layout(context=ranks, ring=asked["ring"] if ranks > 1 else 1), torch.device("cpu"))
        network = _network(asked["layers"], getattr(torch, asked["dtype"]))
        call: Callable[..., Tensor] = ContextParallel(network, mesh) if ranks > 1 else network
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 16, max(asked["tokens"] // 256, 1), 32, 32, generator=generator)
        with torch.inference_mode():
            text = network.read_text(
                [torch.randn(64, 4096, generator=generator).to(network.text_embedding[0].dtype)]
            )
            took = []
            for _ in range(asked["repeat"] + 1):  # the first warms up
                mesh.world.mean(torch.zeros(()), 1)  # all begin together
                begun = time.perf_counter()
                velocity = call(x, NoiseLevels.uniform(torch.tensor([500.0])), text)
                took.append(time.perf_counter() - begun)
        return sorted(took[1:])[len(took[1:]) // 2], velocity
    finally:
        dist.destroy_process_group()


def _network(layers: int, dtype: torch.dtype) -> WanDiT:
    """A stack as wide as A14B's; its weights are small numbers, the same in every process."""
    arch = DiTArch(16, 16, WIDTH, FFN, heads=HEADS, layers=layers, text_dim=4096, text_len=512, freq_dim=256)
    with torch.device("meta"):
        network = WanDiT(arch)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(1)
    for name, weight in network.named_parameters():
        weight.data.normal_(0, 0.02, generator=generator)
        if weight.ndim > 1 and name.startswith("blocks"):
            weight.data = weight.data.to(dtype)
    network.text_embedding.to(dtype)
    return network.eval().requires_grad_(False)


if __name__ == "__main__":
    main()
