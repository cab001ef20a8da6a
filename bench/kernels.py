"""Compile every Triton kernel ahead of time for every generation of GPU, without one.

    python -m bench.kernels --aot

Each kernel is compiled as the official models call it: a stream of float32 or bfloat16, widths 3072 and 5120, the
channels of the VAEs. The result is a program for the card (cubin); nothing runs. Their speed: `python -m bench.gpu`.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from wan22.ops import triton_block, triton_vae

CAPABILITIES = (80, 89, 90, 100, 120)
"""Ampere (A100), Ada (RTX 40), Hopper (H100, H200), Blackwell (B200), Blackwell (RTX 50)."""

WIDTHS = (3072, 5120)


@dataclass(frozen=True)
class Call:
    """A kernel, the dtypes of its tensors by argument ("fp32" where none is said), and its constants."""

    name: str
    kernel: Any
    dtypes: dict[str, str]
    constants: dict[str, Any]

    def compile(self, capability: int) -> bytes:
        """The program for a card of this compute capability (90 for 9.0)."""
        wide = {name for name in self.kernel.arg_names if name.endswith("_b")}
        small = {
            "tokens",
            "positions",
            "tiles",
            "x_l",
            "y_l",
            "total_l",
            "x_c",
            "x_p",
            "gate_k",
            "shift_k",
            "scale_k",
        }

        def kind(name: str) -> str:
            if name in self.constants:
                return "constexpr"
            if name == "eps":
                return "fp32"
            return "i64" if name in wide else "i32" if name in small else "*" + self.dtypes.get(name, "fp32")

        source = ASTSource(self.kernel, {name: kind(name) for name in self.kernel.arg_names}, self.constants)
        warps = 8 if self.constants["BLOCK"] >= 4096 else 4
        done = triton.compile(
            source,
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": warps, "enable_fp_fusion": True},
        )
        return done.asm["cubin"]


def calls() -> Iterator[Call]:
    """Every kernel as the networks call it."""
    for d in WIDTHS:
        size = {"D": d, "BLOCK": triton.next_power_of_2(d)}
        flags = {"ADD": False, "GATED": False, "INDEXED": False, "NORM": False, "ONE": 1.0}
        narrow = {"y": "bf16", "out": "bf16", "index": "i64"}
        for name, chosen in {
            "norm_modulate": {"NORM": True},
            "norm_modulate, a row for each token": {"NORM": True, "INDEXED": True},
            "gated_add": {"ADD": True, "GATED": True},
            "gated_add_norm": {"ADD": True, "GATED": True, "NORM": True, "ONE": 0.0},
            "add_norm_modulate": {"ADD": True, "NORM": True},
        }.items():
            yield Call(f"{name} {d}", triton_block.add_norm_kernel, narrow, {**size, **flags, **chosen})
        first = {"x": "bf16", "total": "bf16", "out": "bf16"}
        yield Call(
            f"norm_modulate {d} bf16", triton_block.add_norm_kernel, first, {**size, **flags, "NORM": True}
        )
        heads = {"x": "bf16", "out": "bf16"}
        for turned in (True, False):
            constants = {**size, "E": 128, "PRODUCT": tl.float32, "ROTATE": turned}
            yield Call(f"norm_rotate {d} {turned}", triton_block.norm_rotate_kernel, heads, constants)
    for channels in (96, 384, 1024):
        block = triton.next_power_of_2(channels)
        size = {"C": channels, "BLOCK": block, "TILE": triton_vae.tile(block)}
        for dtype in ("fp32", "bf16"):
            dtypes = dict.fromkeys(("x", "gamma", "out"), dtype)
            yield Call(f"norm_silu {channels} {dtype}", triton_vae.norm_silu_kernel, dtypes, size)


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("--aot", action="store_true", required=True, help="compile ahead of time")
    parser.add_argument(
        "--only", nargs="*", default=[""], metavar="TEXT", help="kernels whose name contains this"
    )
    parser.add_argument(
        "--capability", type=int, nargs="*", default=CAPABILITIES, help="compute capabilities, as 90 for 9.0"
    )
    options = parser.parse_args()
    chosen = [call for call in calls() if any(text in call.name for text in options.only)]
    if not chosen:
        parser.error(
            f"no kernel contains {options.only!r}. Known: {', '.join(call.name for call in calls())}"
        )
    print("| kernel |" + "".join(f" sm_{c} |" for c in options.capability))
    print("|---|" + "--:|" * len(options.capability))
    for call in chosen:
        sizes = [len(call.compile(capability)) for capability in options.capability]
        print(f"| {call.name} |" + "".join(f" {size:,} |" for size in sizes), flush=True)
    print(f"\ntriton {triton.__version__}: {len(chosen)} kernels, bytes of each program")
    return 0


if __name__ == "__main__":
    sys.exit(main())
