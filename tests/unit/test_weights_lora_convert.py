"""LoRAs from one dialect to another, and what is kept of them in recipes."""

import math

import pytest
import torch
from loras import (
    DIT,
    EXPERTS,
    RANK,
    base,
    deltas,
    expected,
    lightx2v,
    merged,
    near,
    pairs,
    uses,
    written,
)
from safetensors.torch import load_file

from wan22.errors import CheckpointError, OptionError, OutputError
from wan22.weights.lora import LoRA, fit, open_adapters
from wan22.weights.lora.write import TARGETS, convert_lora, write_lora

__all__ = ["base"]  # the fixture


@pytest.mark.parametrize("dialect", TARGETS)
@pytest.mark.parametrize("form", ["comfy", "kohya", "diffusers"])
def test_dialects_convert_to_one_another_and_back(tmp_path, base, form, dialect):
    lora = pairs()
    path = written(tmp_path / "a_high_noise.safetensors", lora, form)
    there = convert_lora(path, tmp_path / "b.safetensors", dialect)
    (adapter,) = open_adapters(there)
    assert adapter.dialect == (
        "comfy" if dialect == "lightx2v" else dialect
    )  # without differences they are alike
    assert adapter.expert == "high"
    back = convert_lora(there, tmp_path / "c.safetensors", "comfy")
    got, wanted = merged(base, back), merged(base, path)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)  # the scale, 1/2, is exact
    for target in (there, back):
        assert near(merged(base, target), wanted)


@pytest.mark.parametrize("dialect", ["comfy", "lightx2v"])
def test_full_differences_survive_conversion_or_refuse_it(tmp_path, base, dialect):
    lora, extra, changes = lightx2v()
    path = written(tmp_path / "a.safetensors", lora, "down and up", extra=extra)
    there = convert_lora(path, tmp_path / "b.safetensors", dialect)
    assert near(merged(base, there), expected(base, changes))
    endings = {name.rpartition(".")[2] for name in load_file(there)}
    assert ("diff_m" in endings) == (dialect == "lightx2v")
    for narrow in ("diffusers", "kohya"):
        with pytest.raises(CheckpointError, match=f"full differences.*the {narrow} dialect has no word"):
            convert_lora(path, tmp_path / "c.safetensors", narrow)
        assert not (tmp_path / "c.safetensors").exists()


def test_a_pair_converts_to_a_folder_that_is_a_pair(tmp_path):
    for expert in EXPERTS:
        written(tmp_path / "pair" / f"{expert}_noise.safetensors", pairs(), "kohya")
    there = convert_lora(tmp_path / "pair", tmp_path / "out", "diffusers")
    assert sorted(file.name for file in there.iterdir()) == [
        "high_noise.safetensors",
        "low_noise.safetensors",
    ]
    assert sorted(expert for _, expert in uses(there)) == ["high", "low"]


def test_a_pair_with_numbers_that_are_not_finite_is_not_converted_at_all(tmp_path):
    for expert in EXPERTS:
        lora = pairs()
        if expert == "low":
            next(iter(lora.values()))[0][0, 0] = math.nan
        written(tmp_path / "pair" / f"{expert}_noise.safetensors", lora, "kohya")
    with pytest.raises(CheckpointError, match=r"low_noise\.safetensors: .* numbers that are not finite"):
        convert_lora(tmp_path / "pair", tmp_path / "out", "diffusers")
    assert not (tmp_path / "out").exists()


def test_conversion_refuses_places_and_dialects(tmp_path):
    path = written(tmp_path / "a.safetensors", pairs())
    with pytest.raises(OutputError, match="exists already"):
        convert_lora(path, path, "kohya")
    with pytest.raises(OutputError, match=r"one \.safetensors file"):
        convert_lora(path, tmp_path / "folder", "kohya")
    with pytest.raises(OptionError, match=r"unknown LoRA dialect 'koya'.*Did you mean 'kohya'"):
        convert_lora(path, tmp_path / "b.safetensors", "koya")


@pytest.mark.parametrize("dialect", TARGETS)
def test_what_a_trainer_writes_is_what_loads(tmp_path, base, dialect):
    lora = {name: (down, up) for name, (down, up) in pairs().items()}
    path = write_lora(tmp_path / "x.safetensors", lora, alpha=2 * RANK, expert="low", dialect=dialect)
    assert open_adapters(path)[0].expert == "low"
    assert near(merged(base, path, expert="low"), expected(base, deltas(lora, 2.0)))


def test_the_recipe_names_file_fingerprint_and_strengths(tmp_path):
    one = written(tmp_path / "a" / "x.safetensors", pairs())
    two = written(tmp_path / "b" / "x.safetensors", pairs(seed=5))
    recipe = fit([LoRA(one, 0.5, "high"), LoRA(one, 0.25, "low"), two], EXPERTS, DIT, "tiny").recipe()
    assert list(recipe) == ["x.safetensors", "x.safetensors (2)"]
    assert recipe["x.safetensors"] | {"weights": ""} == {
        "file": "x.safetensors",
        "weights": "",
        "high": 0.5,
        "low": 0.25,
    }
    assert recipe["x.safetensors (2)"]["high"] == 1.0
    assert recipe["x.safetensors"]["weights"].startswith("sha256:")
