"""What each way to keep weights costs: bytes, time of one layer, error of a network call, and of nano's videos.

    python -m bench.quantised [--model nano] [--only TEXT] [--videos 2] [--json FILE]

Everything is compared with bfloat16 weights. GGUF files are written here, by the package gguf, whose encoders are those
of the older kinds; a K or IQ kind is read bit for bit as ggml reads it, and its error is whoever's who made the file.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

import wan22
from bench.__main__ import machine
from wan22.engine import Engine
from wan22.models.dit import NoiseLevels
from wan22.models.linear import Linear, StoredLinear
from wan22.ops.stored import GGUF, Cast, Form, Scaled, form_for
from wan22.sampling import draw_noise
from wan22.types import Frames, Request
from wan22.weights.lora.fitting import shapes_of

PROMPTS = ("a red ball rolls left at sunset", "a blue cube spins on a table, close-up")
TIMESTEPS = (950.0, 750.0, 450.0, 150.0)
LAYER = (2048, 3072, 3072)
"""Tokens, inputs and outputs of the layer that is timed: one of TI2V-5B."""


@dataclass(frozen=True)
class Row:
    """`bits` of a matrix's number with its scales; `layer` seconds of LAYER; `call` and `worst` the relative error of a
    network call, in the mean and at most; `psnr` of the videos in dB.
    """

    kind: str
    bits: float
    layer: float
    call: float
    worst: float
    psnr: float


def write_file(path: Path, engine: Engine, expert: str, kind: str) -> Path:
    """An expert's file with its matrices in a kind of GGUF, or in fp8 by a cast or a scale of the tensor."""
    network = engine.expert(expert)
    large = {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, Linear)}
    tensors = {name: t.float().contiguous() for name, t in network.state_dict().items()}
    if not kind.startswith("fp8"):
        return _write_gguf(path.with_suffix(".gguf"), tensors, large, kind)
    for name in large:
        scale = torch.tensor(1.0) if kind == "fp8 cast" else tensors[name].abs().max() / 448
        tensors[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
        if kind != "fp8 cast":
            tensors[f"{name.removesuffix('weight')}scale_weight"] = scale
    save_file(tensors, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def _write_gguf(path: Path, tensors: Mapping[str, Tensor], large: set[str], kind: str) -> Path:
    import gguf

    packed, writer = gguf.GGMLQuantizationType[kind], gguf.GGUFWriter(path, "wan")
    for name, tensor in tensors.items():
        data = tensor.numpy()
        if name in large:
            writer.add_tensor(name, gguf.quants.quantize(data, packed), raw_dtype=packed)
        elif data.ndim == 5:  # GGUF has four axes
            writer.add_tensor(name, data.reshape(-1, *data.shape[2:]))
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(data.shape))
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


QUANTIZE = ("fp8", "int8", "int8-weights", "int4")
"""`--quantize` of these; fp8 multiplies in 8 bits on cards that can, and so is fp8-weights here."""

FILES = ("fp8 cast", "fp8 of the tensor", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")


def form_of(kind: str) -> tuple[Form, bool]:
    """How a kind keeps a matrix, and whether it multiplies in 8 bits."""
    if kind in QUANTIZE:
        return form_for(kind.removesuffix("-weights"), 256) or Cast(torch.bfloat16), kind == "int8"
    if kind.startswith("fp8"):
        return Cast(torch.float8_e4m3fn) if kind == "fp8 cast" else Scaled(
            torch.float8_e4m3fn, per_row=False
        ), False
    return GGUF(kind), False


def bits_of(form: Form, width: int) -> float:
    rows = 1024
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in form.layout(rows, width).values()]
    return 8 * sum(sizes) / (rows * width)


def seconds_of(form: Form | None, products: bool) -> float:
    """Of one layer, float32 activations; None is bfloat16 weights that compute in float32."""
    tokens, width, out = LAYER
    layer: torch.nn.Module = Linear(width, out, bias=False)
    if form is None:
        layer = layer.bfloat16()
        setattr(layer, "compute", torch.float32)  # noqa: B010 - typed as a module
    else:
        layer = StoredLinear(Linear(width, out, bias=False), form, torch.float32, products=products)
        for buffer in layer.buffers():
            buffer.copy_((torch.rand(buffer.shape) * 20).to(buffer.dtype))
    x, taken = torch.randn(tokens, width), []
    for _ in range(4):
        start = time.process_time()
        layer(x)
        taken.append(time.process_time() - start)
    return median(taken[1:])


def velocities(engine: Engine, text: Tensor) -> list[Tensor]:
    """What every expert predicts of the same noise at a few noise levels, told the same text."""
    arch, made = engine.variant.dit, []
    for expert in engine.variant.experts:
        network = engine.expert(expert)
        memory = network.read_text([text])
        for i, timestep in enumerate(TIMESTEPS):
            x = draw_noise((arch.in_channels, 3, 8, 8), 50 + i)[None]
            made.append(network(x, NoiseLevels.uniform(torch.tensor([timestep])), memory).float())
    return made


def videos(engine: Engine, count: int) -> list[np.ndarray]:
    made = []
    for i in range(count):
        request = Request(prompt=PROMPTS[i % len(PROMPTS)], seed=i)
        events = engine.generate(request)
        made.append(np.concatenate([e.frames for e in events if isinstance(e, Frames)]))
    return made


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def open_engine(model: str, plain: Engine, kind: str, folder: Path) -> Engine:
    """The model with weights of a kind."""
    if kind in QUANTIZE:
        return wan22.load(model, device="cpu", dtype="bfloat16", quantize=kind)
    experts = plain.variant.experts
    parts = {
        expert: write_file(folder / f"{kind.replace(' ', '-')}-{expert}", plain, expert, kind)
        for expert in experts
    }
    return wan22.load(
        model, device="cpu", dtype="bfloat16", parts={name: str(file) for name, file in parts.items()}
    )


def measure(model: str, only: str, count: int) -> list[Row]:
    plain = wan22.load(model, device="cpu", dtype="bfloat16")
    text = plain.encode_text(PROMPTS[:1])[0]
    width = shapes_of(plain.variant.dit)["blocks.0.self_attn.q.weight"][1]
    exact, films = velocities(plain, text), videos(plain, count)
    rows = [Row("bfloat16", 16, seconds_of(None, False), 0.0, 0.0, math.inf)]
    with tempfile.TemporaryDirectory() as folder:
        for kind in (*QUANTIZE, *FILES):
            if only not in kind:
                continue
            print(f"{kind} ...", file=sys.stderr, flush=True)
            engine = open_engine(model, plain, kind, Path(folder))
            errors = [
                float((got - wanted).norm() / wanted.norm())
                for got, wanted in zip(velocities(engine, text), exact, strict=True)
            ]
            found = [psnr(a, b) for a, b in zip(videos(engine, count), films, strict=True)]
            form, products = form_of(kind)
            row = Row(
                kind, bits_of(form, width), seconds_of(form, products), mean(errors), max(errors), mean(found)
            )
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| weights | bits | seconds of a layer | error of a call, mean | at most | PSNR of videos, dB |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for r in rows:
        quality = "-" if math.isinf(r.psnr) else f"{r.psnr:.1f}"
        lines.append(
            f"| {r.kind} | {r.bits:.2f} | {r.layer:.2f} | {r.call:.2%} | {r.worst:.2%} | {quality} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.quantised", description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name contains this")
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    options = parser.parse_args()
    with torch.inference_mode():
        rows = measure(options.model, options.only, options.videos)
    about: dict[str, Any] = machine(torch.get_num_threads(), "cpu")
    print("\n".join(f"{key}: {value}" for key, value in about.items()), table(rows), sep="\n\n")
    if options.json:
        said = {"machine": about, "model": options.model, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(said, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
