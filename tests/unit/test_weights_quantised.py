"""Quantised files as the world has them: read exactly, or refused by name; never read as something else."""

import json

import pytest
import torch
from safetensors.torch import save_file

from wan22.arch import DiTArch
from wan22.cli.__main__ import main
from wan22.errors import CheckpointError
from wan22.weights.convert import convert
from wan22.weights.inspect import describe
from wan22.weights.load import load_module, meta_module
from wan22.weights.reader import open_reader
from wan22.weights.verify import verify

DIT = DiTArch(16, 16, 256, 512, heads=2, layers=1, text_dim=32, freq_dim=16)
BASE = "blocks.0.ffn.0"  # [512, 256]
NAME = f"{BASE}.weight"
TAKE = "Take the bf16, fp16, fp8_scaled or GGUF file instead"


def weights():
    generator = torch.Generator().manual_seed(0)
    shapes = meta_module(DIT).state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}


def loaded(path):
    with open_reader(path) as reader:
        return load_module(meta_module(DIT), reader, dtype=torch.float32).state_dict()


def as_bytes(said):
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def rotation(size):
    """The regular Hadamard matrix, entry by entry: the product of those of its digits to base 4."""
    matrix = torch.empty(size, size)
    for i in range(size):
        for j in range(size):
            sign, a, b = 1, i, j
            for _ in range(size.bit_length() // 2):
                sign *= -1 if a % 4 + b % 4 == 3 else 1
                a, b = a // 4, b // 4
            matrix[i, j] = sign
    return matrix / size**0.5


def stored_int8(weight, group=0):
    """What a quantiser writes: int8 [out, in] with a scale per row, each group of inputs rotated first."""
    if group:
        out, into = weight.shape
        weight = (weight.view(out, into // group, group) @ rotation(group)).view(out, into)
    scale = weight.abs().amax(1, keepdim=True) / 127
    return (weight / scale).round().to(torch.int8), scale


def error_of(got, wanted):
    return float((got - wanted).norm() / wanted.norm())


def save(path, tensors=None, header=None, drop=()):
    """The network's file with these tensors in place of its own."""
    kept = {name: tensor for name, tensor in (weights() | (tensors or {})).items() if name not in drop}
    save_file(kept, path, metadata=None if header is None else {"_quantization_metadata": json.dumps(header)})
    return path


CONVROT = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 256}


@pytest.mark.parametrize(
    ("marker", "header", "group"),
    [
        (CONVROT, None, 256),
        (CONVROT | {"per_row": True, "orig_dtype": "torch.bfloat16", "orig_shape": [512, 256]}, None, 256),
        ({"format": "int8_tensorwise", "convrot": True}, None, 256),
        ({"format": "int8_tensorwise", "params": {"convrot": True, "convrot_groupsize": 64}}, None, 64),
        (None, {"layers": {BASE: CONVROT}}, 256),
        (None, {"format_version": "1.0", "layers": {f"model.diffusion_model.{BASE}": CONVROT}}, 256),
        (CONVROT, {"layers": {BASE: CONVROT}}, 256),
        ({"format": "int8_tensorwise", "convrot": False, "full_precision_matrix_mult": True}, None, 0),
        (None, {"layers": {BASE: {"format": "int8_tensorwise"}}}, 0),
    ],
)
def test_int8_is_read_wherever_its_rotation_is_said(tmp_path, marker, header, group):
    wanted = weights()[NAME]
    stored, scale = stored_int8(wanted, group)
    tensors = {NAME: stored, f"{BASE}.weight_scale": scale}
    if marker is not None:
        tensors[f"{BASE}.comfy_quant"] = as_bytes(marker)
    path = save(tmp_path / "x.safetensors", tensors, header)
    assert error_of(loaded(path)[NAME], wanted) < 0.02
    assert (describe(path)["quantised"], describe(path)["problem"]) == ("int8", None)
    assert verify(path).ok
    convert(path, tmp_path / "out.safetensors", "official", dtype=torch.float32)
    assert error_of(loaded(tmp_path / "out.safetensors")[NAME], wanted) < 0.02


def test_a_header_without_the_prefix_of_the_file_is_of_its_layers(tmp_path):
    wanted = weights()
    stored, scale = stored_int8(wanted[NAME], 256)
    tensors = wanted | {NAME: stored, f"{BASE}.weight_scale": scale}
    said = {"_quantization_metadata": json.dumps({"layers": {BASE: CONVROT}})}
    path = tmp_path / "x.safetensors"
    save_file(
        {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}, path, metadata=said
    )
    assert error_of(loaded(path)[NAME], wanted[NAME]) < 0.02


def refused_everywhere(path, tmp_path, words):
    """Loading, inspecting, verifying and converting say the same."""
    with pytest.raises(CheckpointError, match=words) as caught:
        loaded(path)
    assert TAKE in str(caught.value) or "Download it again" in str(caught.value)
    with pytest.raises(CheckpointError, match=words):
        convert(path, tmp_path / "out.safetensors", "official")
    assert not (tmp_path / "out.safetensors").exists()
    assert describe(path)["problem"] == str(caught.value)
    assert verify(path).problems == [str(caught.value)]


INT8 = {"format": "int8_tensorwise"}


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ({"format": "nvfp4"}, "'nvfp4'"),
        ({"format": "mxfp8", "group_size": 32}, "'mxfp8'"),
        ({"format": "int8_blockwise", "group_size": 128}, "'int8_blockwise'"),
        ({"format": "convrot_w4a4", "convrot_groupsize": 256}, "'convrot_w4a4'"),
        ({"format": "asym_w4a8_int8"}, "'asym_w4a8_int8'"),
        ({"format": "float8_e4m3fn_rowwise"}, "'float8_e4m3fn_rowwise'"),
        ({"convrot": True, "per_row": True}, "without a format"),
        (INT8 | {"hadamard": True}, "hadamard = True is not understood"),
        (INT8 | {"group_size": 128}, "group_size = 128 is not understood"),
        (INT8 | {"zero_point": 3}, "zero_point = 3"),
        (INT8 | {"transposed": True}, "transposed = True"),
        (INT8 | {"params": {"smooth": 0.5}}, "smooth = 0.5"),
        (INT8 | {"convrot": "yes"}, "convrot = 'yes'"),
        (INT8 | {"convrot": 1}, "convrot = 1"),
        (CONVROT | {"convrot_groupsize": 128}, "convrot_groupsize = 128"),
        (CONVROT | {"convrot_groupsize": 1024}, "groups of 1024 inputs do not divide"),
        (CONVROT | {"params": {"convrot": False}}, "two things of convrot"),
        (INT8 | {"orig_shape": [512, 512]}, r"was \[512, 512\] and is \[512, 256\]"),
        (INT8 | {"per_row": False}, "per_row is False"),
        ({"format": "float8_e4m3fn"}, "marked as float8_e4m3fn and is stored as I8"),
    ],
)
@pytest.mark.parametrize("place", ["tensor", "header"])
def test_a_marker_that_is_not_understood_is_refused_by_name(tmp_path, marker, words, place):
    stored, scale = stored_int8(weights()[NAME])
    tensors = {NAME: stored, f"{BASE}.weight_scale": scale}
    if place == "tensor":
        tensors[f"{BASE}.comfy_quant"] = as_bytes(marker)
    path = save(
        tmp_path / "x.safetensors", tensors, {"layers": {BASE: marker}} if place == "header" else None
    )
    refused_everywhere(path, tmp_path, words)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"layers": {BASE: CONVROT}, "rotation": "quarot"}, "not understood: rotation"),
        ({"format_version": "2.0", "layers": {}}, "format_version 2.0"),
        ({"layers": [BASE]}, "not understood"),
        ({"layers": {"blocks.7.ffn.0": CONVROT}}, "of 0 weights"),
        ({"layers": {BASE: CONVROT}}, "contradicts"),
    ],
)
def test_a_header_that_is_not_understood_is_refused(tmp_path, header, words):
    stored, scale = stored_int8(weights()[NAME])
    tensors = {NAME: stored, f"{BASE}.weight_scale": scale, f"{BASE}.comfy_quant": as_bytes(INT8)}
    refused_everywhere(save(tmp_path / "x.safetensors", tensors, header), tmp_path, words)


def test_each_shard_says_its_own(tmp_path):
    wanted = weights()
    stored, scale = stored_int8(wanted[NAME], 256)
    rest = {name: tensor for name, tensor in wanted.items() if name != NAME}
    said = {"_quantization_metadata": json.dumps({"layers": {BASE: CONVROT}})}
    first, second = (tmp_path / f"m-0000{i}-of-00002.safetensors" for i in (1, 2))
    save_file({NAME: stored, f"{BASE}.weight_scale": scale}, first, metadata=said)
    save_file(rest, second, metadata={"_quantization_metadata": json.dumps({"layers": {}})})
    assert error_of(loaded(first)[NAME], wanted[NAME]) < 0.02


E4M3, E8M0 = torch.float8_e4m3fn, torch.float8_e8m0fnu
ONE, ROW, MANY = torch.ones(()), torch.ones(512, 1), torch.ones(512, 8)
INT, FP8, BYTES = (torch.zeros(512, 256).to(dtype) for dtype in (torch.int8, E4M3, torch.uint8))
HALF, WORDS = torch.zeros(512, 128, dtype=torch.uint8), torch.zeros(512, 32, dtype=torch.int32)
SCHEMES = {
    "ComfyUI's nvfp4": ({"weight": HALF, "weight_scale": HALF.to(E4M3), "weight_scale_2": ONE}, "nvfp4"),
    "LightX2V's": ({"weight": HALF, "weight_scale": HALF.to(E4M3), "weight_global_scale": ONE}, "nvfp4"),
    "without its second scale": ({"weight": HALF, "weight_scale": HALF.to(E4M3)}, "nvfp4"),
    "mxfp8": ({"weight": FP8, "weight_scale": MANY.to(E8M0)}, "mxfp8"),
    "mxfp4": ({"weight": HALF, "weight_scale": MANY.to(E8M0)}, "mxfp4"),
    "quanto": (
        {"weight._data": INT, "weight._scale": ROW, "input_scale": ONE, "output_scale": ONE},
        "quanto",
    ),
    "quanto, 4 bit": ({"weight._data": HALF, "weight._scale": ROW, "weight._shift": ROW}, "quanto"),
    "nf4": ({"weight": HALF, "weight.absmax": MANY, "weight.quant_map": MANY}, "bitsandbytes"),
    "LLM.int8": ({"weight": INT, "SCB": ROW}, "bitsandbytes"),
    "svdquant": ({"qweight": HALF, "wscales": MANY, "smooth_factor": MANY}, "SVDQuant"),
    "awq": ({"qweight": WORDS, "qzeros": WORDS, "scales": MANY}, "AWQ"),
    "vLLM's": ({"weight_packed": WORDS, "weight_scale": MANY, "weight_shape": ROW}, "compressed-tensors"),
    "zero points": ({"weight": INT, "weight_scale": ROW, "weight_zero_point": ROW}, "zero points"),
    "smoothquant": ({"weight": INT, "weight_scale": ROW, "pre_quant_scale": MANY}, "SmoothQuant"),
    "block scales": ({"weight": FP8, "weight_scale_inv": torch.ones(4, 2)}, "scale_inv"),
    "torchao": ({"weight._weight_qdata": HALF, "weight._weight_scale": ROW}, "torchao"),
    "w4a8": ({"weight": HALF.to(torch.int8), "weight_s_rel": ROW}, "W4A8"),
    "a rotation beside it": ({"weight": INT, "weight_scale": ROW, "hadamard_matrix": MANY}, "a rotation"),
    "two scales": ({"weight": FP8, "weight_scale": ONE, "scale_weight": ONE}, "two scales"),
    "a scale on its side": ({"weight": INT, "weight_scale": torch.ones(1, 256)}, "does not fit"),
    "2-d blocks": ({"weight": INT, "weight_scale": torch.ones(4, 2)}, "does not fit"),
    "groups": ({"weight": INT, "weight_scale": MANY}, "does not fit"),
    "bytes": ({"weight": BYTES}, "stored as U8"),
    "fp8 in bytes": ({"weight": BYTES, "weight_scale": ONE}, "not known"),
    "int8 alone": ({"weight": INT}, "int8 without a scale"),
    "a scale beside bf16": ({"weight": INT.bfloat16(), "weight_scale": 0.5 * ONE}, "multiplied already"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_other_scheme_is_refused_by_name_before_shapes_are_compared(tmp_path, scheme):
    parts, words = SCHEMES[scheme]
    tensors = {f"{BASE}.{part}": tensor.clone() for part, tensor in parts.items()}
    path = save(tmp_path / "x.safetensors", tensors, drop=() if "weight" in parts else (NAME,))
    refused_everywhere(path, tmp_path, words)


def matrices():
    return {
        n: t for n, t in weights().items() if t.ndim == 2 and n.startswith("blocks.") and n.endswith("weight")
    }


@pytest.mark.parametrize("names", [dict.fromkeys([BASE]), None], ids=["one", "all"])
def test_int4_that_says_it_is_int8_is_named_by_its_shapes(tmp_path, names):
    tensors = {}
    for name, tensor in matrices().items():
        if names is None or name.removesuffix(".weight") in names:
            tensors[name] = torch.zeros(tensor.shape[0], tensor.shape[1] // 2, dtype=torch.int8)
            tensors[f"{name.removesuffix('weight')}weight_scale"] = torch.ones(tensor.shape[0], 1)
    path = save(tmp_path / "x.safetensors", tensors)
    refused_everywhere(
        path, tmp_path, r"has 256 inputs: these are two numbers of 4 bits in each byte \(int4\)"
    )


@pytest.mark.parametrize(("parts", "words"), [
    (("weight._data", "weight._scale"), "quanto"), (("qweight", "scales"), "AWQ"), (("weight_packed",), "compressed-"),
])  # fmt: skip
def test_a_file_without_any_plain_weight_is_named_by_its_scheme(tmp_path, parts, words):
    own = {n: t for n, t in weights().items() if t.ndim >= 2 and n.endswith("weight")}
    tensors = {
        f"{n.removesuffix('weight')}{part}": t.to(torch.int8) for n, t in own.items() for part in parts
    }
    path = save(tmp_path / "x.safetensors", tensors, drop=own)
    for said in (describe(path)["problem"], *verify(path).problems):
        assert words in said and TAKE in said
    save_file({"single_blocks.0.linear1.weight._data": torch.zeros(4, dtype=torch.int8)}, path)
    assert "is not recognised as a Wan transformer" in describe(path)["problem"]


@pytest.mark.parametrize("said", ["quantization_map", "quantization_config"])
def test_a_header_of_another_library_is_refused(tmp_path, said):
    save_file(weights(), tmp_path / "x.safetensors", metadata={said: '{"blocks": "qint8"}'})
    refused_everywhere(tmp_path / "x.safetensors", tmp_path, said)


@pytest.mark.parametrize("name", [NAME, "blocks.0.norm3.weight", "patch_embedding.weight"])
@pytest.mark.parametrize("suffix", ["scale_weight", "weight_scale"])
def test_a_scale_of_one_beside_a_weight_that_is_not_quantised_says_nothing(tmp_path, name, suffix):
    own = weights()[name].to(torch.bfloat16)
    tensors = {name: own, f"{name.removesuffix('weight')}{suffix}": torch.ones(1)}
    tensors[f"{name.removesuffix('weight')}comfy_quant"] = as_bytes({"format": "float8_e4m3fn"})
    path = save(tmp_path / "x.safetensors", tensors)
    assert torch.equal(loaded(path)[name], own.float())


def test_a_scaled_convolution_is_multiplied_out(tmp_path):
    name = "patch_embedding.weight"
    own = weights()[name]
    stored = (own * 50).to(E4M3)
    path = save(
        tmp_path / "x.safetensors", {name: stored, "patch_embedding.scale_weight": torch.tensor(0.02)}
    )
    assert torch.allclose(loaded(path)[name], stored.float() * 0.02)


def test_the_command_line_says_it(tmp_path, capsys):
    stored, scale = stored_int8(weights()[NAME], 256)
    marker = as_bytes(CONVROT | {"quip": True})
    path = save(
        tmp_path / "x.safetensors",
        {NAME: stored, f"{BASE}.weight_scale": scale, f"{BASE}.comfy_quant": marker},
    )
    assert main(["verify", str(path)]) == 1
    assert "quip = True is not understood" in capsys.readouterr().err
