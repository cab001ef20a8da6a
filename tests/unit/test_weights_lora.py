"""LoRAs of every dialect, added to weights while they load."""

import json
import math

import pytest
import torch
from loras import (
    ALPHA,
    DIT,
    EXPERTS,
    KEYS,
    RANK,
    TRAINED,
    base,
    deltas,
    draw,
    expected,
    lightx2v,
    merged,
    module,
    near,
    pairs,
    theirs,
    written,
)
from safetensors.torch import load_file, save_file
from tiny import tiny_speech_variant

from wan22.weights.lora import LoRA, fit, open_adapters
from wan22.weights.lora.fitting import shapes_of
from wan22.weights.lora.names import read_key

__all__ = ["base"]  # the fixture


@pytest.mark.parametrize("form", KEYS)
def test_a_lora_of_every_dialect_equals_the_explicit_sum(tmp_path, base, form):
    lora = pairs()
    path = written(tmp_path / "x.safetensors", lora, form)
    scale = ALPHA / RANK if KEYS[form](TRAINED[0])[2] else 1.0
    got = merged(base, LoRA(path, 0.7))
    assert near(got, expected(base, deltas(lora, 0.7 * scale)))
    untouched = shapes_of(DIT).keys() - lora.keys()
    weights = load_file(base)
    assert all(torch.equal(got[name], weights[name]) for name in untouched)
    (adapter,) = open_adapters(path)
    assert (adapter.pairs, adapter.ranks) == (len(TRAINED), {RANK: len(TRAINED)})


def test_every_parameter_of_the_network_can_be_changed_under_every_naming(tmp_path, base):
    matrices = [name for name, shape in shapes_of(DIT).items() if name.endswith(".weight") and len(shape) > 1]
    assert {"patch_embedding.weight", "time_projection.1.weight", "head.head.weight"} <= set(matrices)
    lora = pairs(matrices)
    for form in ("diffusers", "comfy", "kohya"):
        path = written(tmp_path / f"{form}.safetensors", lora, form, alpha=RANK)
        assert near(merged(base, path), expected(base, deltas(lora, 1.0))), form


def test_full_differences_of_weights_biases_norms_and_modulation_are_added(tmp_path, base):
    lora, extra, changes = lightx2v()
    path = written(tmp_path / "x.safetensors", lora, "down and up", extra=extra)
    assert changes.keys() == shapes_of(DIT).keys()  # every tensor of the network
    assert near(merged(base, LoRA(path, 0.5)), expected(base, {n: 0.5 * c for n, c in changes.items()}))
    (adapter,) = open_adapters(path)
    assert (adapter.dialect, adapter.pairs, adapter.differences) == ("lightx2v", len(lora), len(extra))


def test_the_settings_of_peft_scale_it(tmp_path, base):
    lora = pairs(TRAINED[:2])
    folder = tmp_path / "style"
    written(folder / "adapter_model.safetensors", lora, "peft")
    settings = {"r": RANK, "lora_alpha": 12, "alpha_pattern": {theirs(TRAINED[1]): 2}}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    changes = {
        **deltas({TRAINED[0]: lora[TRAINED[0]]}, 12 / RANK),
        **deltas({TRAINED[1]: lora[TRAINED[1]]}, 2 / RANK),
    }
    assert near(merged(base, folder), expected(base, changes))

    said = {
        "lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 12, "transformer.use_rslora": True})
    }
    path = written(tmp_path / "y.safetensors", lora, "diffusers", metadata=said)
    assert near(merged(base, path), expected(base, deltas(lora, 12 / math.sqrt(RANK))))


def test_the_bias_of_the_second_matrix_is_scaled_as_the_pair(tmp_path, base):
    lora, bias = pairs(TRAINED[:1]), draw(128, seed=9)
    said = {"lora_adapter_metadata": json.dumps({"lora_alpha": 12})}
    extra = {f"transformer.{theirs(TRAINED[0])}.lora_B.bias": bias}
    path = written(tmp_path / "x.safetensors", lora, "diffusers", metadata=said, extra=extra)
    changes = {**deltas(lora, 12 / RANK), "blocks.0.self_attn.q.bias": 12 / RANK * bias}
    assert near(merged(base, path), expected(base, changes))


def test_several_add_up_to_the_same_bits_in_any_order_with_a_strength_for_each_expert(tmp_path, base):
    loras = [pairs(seed=100 * i) for i in range(3)]
    files = [
        written(tmp_path / f"{i}.safetensors", lora, form)
        for i, (lora, form) in enumerate(zip(loras, ("kohya", "diffusers", "comfy"), strict=True))
    ]
    asked = [
        LoRA(files[0], 1.0, "high"),
        LoRA(files[0], 0.25, "low"),
        LoRA(files[1], 0.5, "high"),
        LoRA(files[2], -1),
    ]
    for expert, strengths in (("high", (1.0 * 0.5, 0.5, -0.5)), ("low", (0.25 * 0.5, 0.0, -0.5))):
        parts = [deltas(lora, strength) for lora, strength in zip(loras, strengths, strict=True)]
        summed = {name: sum(part[name] for part in parts) for name in parts[0]}
        one, other = merged(base, *asked, expert=expert), merged(base, *asked[::-1], expert=expert)
        assert near(one, expected(base, summed))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_sum_is_taken_in_float32_before_the_cast_and_after_dequantising(tmp_path, base):
    name = TRAINED[0]
    weights, lora = load_file(base), pairs([name])
    scale = torch.tensor(0.03)
    stored = (weights[name] / scale).to(torch.float8_e4m3fn)
    quantised = tmp_path / "fp8.safetensors"
    save_file(
        {
            **weights,
            name: stored,
            f"{module(name)}.scale_weight": scale,
            "scaled_fp8": torch.zeros(0).to(stored.dtype),
        },
        quantised,
    )
    small = written(
        tmp_path / "small.safetensors", {n: (d, u * 1e-3) for n, (d, u) in lora.items()}, "diffusers"
    )
    got = merged(quantised, small, dtype=torch.bfloat16)[name]
    wanted = stored.float() * scale + deltas(lora, 1e-3)[name]
    assert torch.equal(got, wanted.to(torch.bfloat16))


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q5_1"])
def test_a_lora_is_added_to_what_a_gguf_base_is_dequantised_to(tmp_path, base, kind):
    gguf = pytest.importorskip("gguf")
    weights, lora = load_file(base), pairs()
    packed = gguf.GGMLQuantizationType[kind]
    writer, wide = gguf.GGUFWriter(tmp_path / "base.gguf", "wan"), {}
    for name, tensor in weights.items():
        data = tensor.numpy()
        if name.startswith("blocks.") and name.endswith(".weight") and tensor.ndim == 2:
            data = gguf.quants.quantize(data, packed)
            wide[name] = torch.from_numpy(gguf.quants.dequantize(data, packed))
            writer.add_tensor(name, data, raw_dtype=packed)
        elif tensor.ndim == 5:  # GGUF has four axes
            writer.add_tensor(name, data.reshape(-1, *data.shape[2:]))
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(data.shape))
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    got = merged(tmp_path / "base.gguf", written(tmp_path / "x.safetensors", lora, alpha=RANK))
    changes = deltas(lora, 1.0)
    assert len(wide) == len(changes) and got.keys() == weights.keys()
    for name, tensor in got.items():
        wanted = wide.get(name, weights[name]) + changes.get(name, 0)
        assert float((tensor - wanted).norm() / wanted.norm()) < 1e-6


def test_an_expert_that_no_lora_changes_is_said(tmp_path):
    path = written(tmp_path / "x.safetensors", pairs())
    fitted = fit([LoRA(path, expert="high")], EXPERTS, DIT, "tiny")
    assert [use.expert for use in fitted.on("high")] == ["high"] and fitted.on("low") == ()
    assert any("no LoRA changes the low-noise expert" in notice for notice in fitted.notices)


def test_every_matrix_of_a_network_that_audio_drives_has_its_name_in_every_dialect():
    shapes = shapes_of(tiny_speech_variant().dit)
    matrices = [name for name, shape in shapes.items() if name.endswith(".weight") and len(shape) > 1]
    assert any("audio_injector" in name for name in matrices)
    for form, keys in KEYS.items():
        for name in matrices:
            for key, role in zip(keys(name), ("down", "up", "alpha"), strict=True):
                if key is not None:
                    found = read_key(key)
                    assert found and (found.parameter, found.role) == (name, role), (form, key)
