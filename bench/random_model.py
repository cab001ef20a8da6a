"""Write a model of a catalogue's sizes with random weights: what measures memory and speed needs no real ones.

    python -m bench.random_model ti2v-5B /somewhere/random-5b
    python -m bench.random_model t2v-A14B /somewhere/random-14b --one-expert
    python -m bench.random_model ti2v-5B /somewhere/random-5b-q4 --gguf

Weights are bfloat16, of about unit gain. They take as much disk as the real ones: 24 GB for ti2v-5B, 69 GB for
t2v-A14B (41 GB with --one-expert, whose low-noise expert is the same file). With --gguf the transformers are GGUF files
in Q4_K, and the other parts zeros that take no disk: enough for what a step takes, not for a video.
"""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from wan22.arch import DiTArch
from wan22.assembly import Arch
from wan22.catalog import VARIANTS, Variant, to_json
from wan22.nano.tokenizer import build_word_tokenizer
from wan22.weights.load import meta_module
from wan22.weights.tensors import TensorInfo
from wan22.weights.writer import write_safetensors

PROMPT = "a red ball rolls left at sunset"
_TILE = 1 << 24
_FILES = {
    "vae": "vae",
    "text": "text_encoder",
    "high": "high_noise_model",
    "low": "low_noise_model",
    "dit": "transformer",
}


def write_model(folder: Path, row: Variant, *, one_expert: bool = False, packed: bool = False) -> Path:
    """Write the model `row` into `folder`, which must not exist, tensor by tensor, and return it.

    packed: the transformers in Q4_K, the other parts as zeros.
    """
    folder.mkdir(parents=True)
    tokenizer = build_word_tokenizer([PROMPT], 100)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "variant.json").write_text(json.dumps(to_json(replace(row, hub=None))))
    arches: dict[str, Arch] = {**dict.fromkeys(row.experts, row.dit), "vae": row.vae, "text": row.text}
    for part, arch in arches.items():
        path = folder / f"{_FILES[part]}{'.gguf' if packed and part in row.experts else '.safetensors'}"
        if one_expert and part == "low":
            path.symlink_to(f"{_FILES['high']}{path.suffix}")
        elif packed and part in row.experts:
            write_gguf(path, row.dit)
        elif packed:
            write_zeros(path, arch)
        else:
            write_part(path, arch)
    return folder


def write_part(path: Path, arch: Arch) -> None:
    """Write one network of these sizes in bfloat16, the VAE in float32."""
    dtype, item = (torch.bfloat16, 2) if not hasattr(arch, "z") else (torch.float32, 4)
    shapes = {name: tuple(tensor.shape) for name, tensor in meta_module(arch).state_dict().items()}
    kind = {2: "BF16", 4: "F32"}[item]
    infos = {
        name: TensorInfo(shape, kind, item * torch.Size(shape).numel()) for name, shape in shapes.items()
    }
    tile = torch.randn(_TILE, generator=torch.Generator().manual_seed(0)).to(dtype)

    def draw(name: str) -> Tensor:
        shape = torch.Size(shapes[name])
        count = shape.numel()
        if len(shape) < 2:
            fill = 0.0 if name.endswith("bias") else 1.0
            return torch.full(shape, fill, dtype=dtype)
        numbers = tile.repeat(-(-count // _TILE))[:count] if count > _TILE else tile[:count]
        head = isinstance(arch, DiTArch) and name.startswith("head.")
        gain = 0.1 if head else 1.0
        return (numbers * (gain / math.prod(shape[1:]) ** 0.5)).view(shape)

    write_safetensors(path, infos, draw, {})


def write_zeros(path: Path, arch: Arch) -> None:
    """Write one network of these sizes as a hole: zeros in bfloat16, which take no disk where files can be sparse."""
    header, end = {}, 0
    for name, tensor in meta_module(arch).state_dict().items():
        begin, end = end, end + 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def write_gguf(path: Path, arch: DiTArch) -> None:
    """Write a transformer of these sizes as a GGUF file: the matrices of its blocks in Q4_K, all else in float16."""
    import gguf
    import numpy as np

    kind = gguf.GGMLQuantizationType.Q4_K
    width, nbytes = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (_TILE // width, nbytes), dtype=np.uint8)
    # The first two numbers of a block scale all others: a random one could be infinite.
    blocks[:, :4] = np.array([2e-5, 2e-4], dtype=np.float16).view(np.uint8)
    numbers = rng.normal(size=_TILE).astype(np.float16)
    writer = gguf.GGUFWriter(path, "wan")
    shapes = {name: tuple(tensor.shape) for name, tensor in meta_module(arch).state_dict().items()}
    packed = {
        name
        for name, shape in shapes.items()
        if name.startswith("blocks.") and len(shape) == 2 and not shape[1] % width
    }
    for name, shape in shapes.items():
        if len(shape) > 4:  # GGUF has four axes at most
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(shape))
        flat = shape if len(shape) <= 4 else (shape[0], torch.Size(shape[1:]).numel())
        count = torch.Size(shape).numel()
        if name in packed:
            stored = (*shape[:-1], shape[-1] // width * nbytes)
            writer.add_tensor_info(name, stored, np.dtype(np.uint8), count // width * nbytes, kind)
        else:
            writer.add_tensor_info(name, flat, np.dtype(np.float16), 2 * count)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in shapes.items():
        count = torch.Size(shape).numel()
        if name in packed:
            rows = np.resize(blocks, (count // width, nbytes))
            writer.write_tensor_data(rows)
        else:
            fan = torch.Size(shape[1:]).numel() if len(shape) > 1 else 1
            writer.write_tensor_data(np.resize(numbers * np.float16(0.3 / fan**0.5), count))
    writer.close()


def main() -> None:
    """Read the command line and write the model."""
    parser = argparse.ArgumentParser(prog="python -m bench.random_model", description=__doc__)
    parser.add_argument("model", choices=sorted(VARIANTS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--one-expert", action="store_true", help="both experts are one file")
    parser.add_argument(
        "--gguf", action="store_true", help="transformers in Q4_K, all else zeros that take no disk"
    )
    options = parser.parse_args()
    row = VARIANTS[options.model]
    write_model(options.folder, row, one_expert=options.one_expert, packed=options.gguf)


if __name__ == "__main__":
    main()
