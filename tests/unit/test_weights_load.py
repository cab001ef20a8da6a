"""Loading: strict, one tensor at a time, out of every dialect and quantisation."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from safetensors.torch import save_file

from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.catalog import VAE_21
from wan22.errors import CheckpointError, KeysError
from wan22.weights.dialects import DIALECTS
from wan22.weights.load import load_module, meta_module
from wan22.weights.reader import Reader, open_reader
from wan22.weights.recognise import ARCH_KEY, recognise

DIT = DiTArch(16, 16, 128, 64, heads=1, layers=2, text_dim=32, freq_dim=16)
VAE = replace(VAE_21, encoder_width=4, decoder_width=4)
VAE_NESTED = replace(VAE, decoder_width=8, patch=2, residual=True, blocks=1)
TEXT = UMT5Arch(vocab=16, dim=32, dim_attn=32, ffn_dim=48, heads=2, layers=2)


def weights(arch: DiTArch | VAEArch | UMT5Arch) -> dict[str, torch.Tensor]:
    """Random weights of a network: the same tensors each time, so a test never writes to them."""
    return dict(_weights(arch))


@cache
def _weights(arch: DiTArch | VAEArch | UMT5Arch) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = meta_module(arch).state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}


def loaded(arch, path, **options):
    with open_reader(path) as reader:
        module = load_module(meta_module(arch), reader, **{"dtype": torch.float32, **options})
    return module.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("arch", [DIT, VAE, VAE_NESTED, replace(VAE, blocks=1), TEXT])
def test_every_dialect_of_every_part_loads_to_the_same_values(tmp_path, arch):
    native = weights(arch)
    part = {DiTArch: "dit", VAEArch: "vae", UMT5Arch: "text"}[type(arch)]
    names = []
    for dialect in DIALECTS[part]:
        theirs = {dialect.from_native(name): tensor for name, tensor in native.items()}
        if None in theirs:
            continue
        names.append(dialect.name)
        path = tmp_path / f"{len(names)}.safetensors"
        extra = {name: torch.zeros(4, dtype=torch.uint8) for name in dialect.ignored}
        save_file({**theirs, **extra}, path)
        assert equal(loaded(arch, path), native), dialect
        with open_reader(path) as reader:
            found = recognise(reader)
        assert (found.part, found.dialect, found.arch) == (part, dialect.name, arch)
    assert {"official", "diffusers"} <= set(names)


def test_a_plain_dtype_casts_all_and_a_function_casts_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    native = weights(DIT)
    save_file(native, path)
    assert {t.dtype for t in loaded(DIT, path, dtype=torch.bfloat16).values()} == {torch.bfloat16}

    def dtype_of(name: str) -> torch.dtype:
        return torch.float32 if "norm" in name or "modulation" in name else torch.bfloat16

    mixed = loaded(DIT, path, dtype=dtype_of)
    assert all(mixed[name].dtype == dtype_of(name) for name in mixed)
    assert torch.equal(mixed["blocks.1.modulation"], native["blocks.1.modulation"])


def test_progress_reaches_the_end_and_nothing_requires_gradients(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(weights(DIT), path)
    seen = []
    with open_reader(path) as reader:
        module = load_module(
            meta_module(DIT),
            reader,
            dtype=torch.float32,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert seen[-1][0] == seen[-1][1] == sum(t.nbytes for t in weights(DIT).values())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not module.training


def test_tensors_are_read_one_at_a_time_and_once(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_file(weights(DIT), path)
    alive, most = [], 0
    read = Reader.read

    def counted(self, name):
        nonlocal most
        import weakref

        tensor = read(self, name)
        alive.append((name, weakref.ref(tensor)))
        most = max(most, sum(ref() is not None for _, ref in alive))
        return tensor

    monkeypatch.setattr(Reader, "read", counted)
    # In another dtype every tensor is made anew, so those that were read must be gone.
    loaded(DIT, path, dtype=torch.bfloat16)
    assert sorted(name for name, _ in alive) == sorted(weights(DIT))
    assert most <= 2


def test_wrong_tensors_are_one_error_with_five_of_each_before_data_is_read(tmp_path, monkeypatch):
    native = weights(DIT)
    for i in range(7):
        native.pop(list(native)[10])
        native[f"extra.{i}"] = torch.zeros(1)
    native["head.head.bias"] = torch.zeros(3)
    save_file(native, tmp_path / "x.safetensors")
    monkeypatch.setattr(Reader, "read", lambda self, name: pytest.fail("data was read"))
    with pytest.raises(KeysError) as caught:
        loaded(DIT, tmp_path / "x.safetensors")
    message = str(caught.value)
    assert "7 missing: " in message and "7 unexpected: " in message and "..." in message
    assert "1 misshapen: head.head.bias is [3], not [64]" in message
    assert message.count("extra.") == 5
    assert "Nearest dialect: official" in message


def test_a_file_of_another_dialect_and_part_says_which_dialect_is_nearest(tmp_path):
    diffusers = next(d for d in DIALECTS["dit"] if d.name == "diffusers")
    theirs = {diffusers.from_native(name): tensor for name, tensor in weights(DIT).items()}
    theirs.pop("proj_out.bias")
    save_file(theirs, tmp_path / "x.safetensors")
    with pytest.raises(KeysError, match=r"1 missing: head.head.bias.*Nearest dialect: diffusers"):
        loaded(DIT, tmp_path / "x.safetensors")


def test_what_is_no_wan_model_is_not_recognised(tmp_path):
    save_file({"unet.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with (
        open_reader(tmp_path / "x.safetensors") as reader,
        pytest.raises(CheckpointError, match="not recognised"),
    ):
        recognise(reader)


def _fp8(native, style):
    """Quantise the linears of the blocks as the producers do; returns the file's tensors and true values."""
    stored, true = {}, dict(native)
    for name, tensor in native.items():
        if not (name.startswith("blocks.") and name.endswith(".weight") and tensor.ndim == 2):
            stored[name] = tensor
            continue
        base, (out, into) = name.removesuffix(".weight"), tensor.shape
        blocks = tensor.reshape(out, into // 16, 16)
        scale = {
            "legacy": tensor.abs().max(),
            "comfy": tensor.abs().max().reshape(1),
            "channel": tensor.abs().amax(1, keepdim=True),
            "block": blocks.abs().amax(2, keepdim=True),
        }[style] / 448
        wide = scale if style != "block" else scale.expand(blocks.shape).reshape(out, into)
        stored[name] = (tensor / wide).to(torch.float8_e4m3fn)
        true[name] = stored[name].float() * wide
        stored[base + (".weight_scale" if style in ("comfy", "channel") else ".scale_weight")] = scale
        if style == "comfy":
            raw = json.dumps({"format": "float8_e4m3fn"}).encode()
            stored[f"{base}.comfy_quant"] = torch.tensor(list(raw), dtype=torch.uint8)
            stored[f"{base}.input_scale"] = torch.tensor(1.0)
    if style == "legacy":
        stored["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    return stored, true


@pytest.mark.parametrize("style", ["legacy", "comfy", "channel", "block"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_scaled_fp8_of_every_producer_is_multiplied_out(tmp_path, style, prefix):
    stored, true = _fp8(weights(DIT), style)
    save_file({prefix + name: tensor for name, tensor in stored.items()}, tmp_path / "x.safetensors")
    assert equal(loaded(DIT, tmp_path / "x.safetensors"), true)
    with open_reader(tmp_path / "x.safetensors") as reader:
        assert recognise(reader).quantised == "fp8"


@pytest.mark.parametrize("style", ["Comfy-Org", "LightX2V", "Kijai"])
def test_a_text_encoder_in_fp8_is_read_exactly(tmp_path, style):
    """Comfy-Org's umt5_xxl_fp8_e4m3fn_scaled, LightX2V's models_t5_umt5-xxl-enc-fp8.pth, Kijai's plain casts."""
    from wan22.weights.dialects import comfy

    own, fp8 = weights(TEXT), torch.float8_e4m3fn
    matrices = {
        n for n, t in own.items() if n.startswith("blocks.") and t.ndim == 2 and "pos_embedding" not in n
    }
    stored, true = {}, {}
    for name, tensor in own.items():
        theirs = comfy.TEXT.from_native(name) if style == "Comfy-Org" else name
        scale = {"Comfy-Org": tensor.abs().max(), "LightX2V": tensor.abs().amax(-1, keepdim=True)}.get(style)
        if name not in matrices and style != "Kijai":
            stored[theirs] = tensor.half() if style == "Comfy-Org" else tensor.bfloat16()
            true[name] = stored[theirs].float()
            continue
        scale = torch.ones(()) if scale is None else scale / 448
        stored[theirs] = (tensor / scale).to(fp8)
        true[name] = stored[theirs].float() * scale
        if style == "Comfy-Org":
            stored[f"{theirs.removesuffix('.weight')}.scale_weight"] = scale
        if style == "LightX2V":
            stored[f"{theirs}_scale"] = scale
    if style == "Comfy-Org":
        stored |= {"scaled_fp8": torch.empty(0, dtype=fp8), "spiece_model": torch.zeros(8, dtype=torch.uint8)}
    path = tmp_path / ("x.pth" if style == "LightX2V" else "x.safetensors")
    torch.save(stored, path) if style == "LightX2V" else save_file(stored, path)
    got = loaded(TEXT, path)
    assert got.keys() == true.keys()
    assert all(float((got[name] - true[name]).norm() / true[name].norm()) < 1e-6 for name in true)
    with open_reader(path) as reader:
        found = recognise(reader)
    assert (found.part, found.quantised, found.problem) == ("text", "fp8", None)


def test_int8_with_a_scale_per_channel_is_multiplied_out_and_without_one_refused(tmp_path):
    native = weights(DIT)
    name = "blocks.0.ffn.0.weight"
    stored = native | {name: torch.full(native[name].shape, 3, dtype=torch.int8)}
    save_file({**stored, "blocks.0.ffn.0.weight_scale": torch.full((64, 1), 0.5)}, tmp_path / "x.safetensors")
    assert loaded(DIT, tmp_path / "x.safetensors")[name].unique().tolist() == [1.5]
    save_file(stored, tmp_path / "y.safetensors")
    with pytest.raises(CheckpointError, match="int8 without a scale"):
        loaded(DIT, tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"blocks.0.ffn.0.weight_scale": torch.zeros(5, 1)}, "does not fit its weight"),
        ({"blocks.0.ffn.0.weight_scale": torch.zeros(64, 4, dtype=torch.uint8)}, "not known"),
        (
            {"blocks.0.ffn.0.comfy_quant": torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8)},
            "nvfp4",
        ),
    ],
)
def test_quantisation_that_is_not_known_is_refused_before_loading(tmp_path, extra, says):
    native = weights(DIT)
    native["blocks.0.ffn.0.weight"] = native["blocks.0.ffn.0.weight"].to(torch.float8_e4m3fn)
    save_file({**native, **extra}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=says):
        loaded(DIT, tmp_path / "x.safetensors")


def test_numbers_that_tensors_do_not_show_come_from_beside_or_are_asked_for(tmp_path):
    arch = replace(DIT, dim=96, heads=4, eps=1e-5, text_len=16)
    path = tmp_path / "x.safetensors"
    save_file(weights(arch), path)
    with open_reader(path) as reader, pytest.raises(CheckpointError, match="num_heads"):
        recognise(reader)
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 4, "eps": 1e-5, "text_len": 16}))
    with open_reader(path) as reader:
        assert recognise(reader).arch == arch
    own = json.dumps({"heads": 2, "eps": 1e-5, "text_len": 16})
    save_file(weights(arch), path, metadata={ARCH_KEY: own})
    with open_reader(path) as reader:
        assert recognise(reader).arch == replace(arch, heads=2)
