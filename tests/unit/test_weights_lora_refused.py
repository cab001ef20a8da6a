"""Which expert a LoRA is for, and LoRAs that must be refused."""

from dataclasses import replace

import pytest
from loras import (
    DIT,
    EXPERTS,
    RANK,
    TRAINED,
    base,
    deltas,
    draw,
    expected,
    flat,
    know,
    merged,
    near,
    pairs,
    theirs,
    uses,
    written,
)
from safetensors.torch import load_file, save_file

from wan22.errors import CheckpointError, KeysError, OptionError
from wan22.weights.lora import LoRA, fit, open_adapters
from wan22.weights.reader import Reader

__all__ = ["base"]  # the fixture


@pytest.mark.parametrize(
    ("name", "expert"),
    [
        ("wan2.2_t2v_A14b_high_noise_lora_rank64_lightx2v_4step_1217", "high"),
        ("wan2.2_i2v_lightx2v_4steps_lora_v1.1_low_noise", "low"),
        ("Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16", "high"),
        ("low_noise_model", "low"),
        ("style-HighNoise", "high"),
        ("low", "low"),
        ("high-angle_v2", None),
        ("low_light_cinema", None),
        ("high_noise_and_low_noise", None),
        ("slow-motion", None),
    ],
)
def test_a_name_tells_the_expert(tmp_path, name, expert):
    path = written(tmp_path / f"{name}.safetensors", pairs(TRAINED[:1]))
    assert [e for _, e in uses(path)] == ([expert] if expert else ["high", "low"])


def test_metadata_tells_the_expert_before_the_name(tmp_path):
    path = written(
        tmp_path / "x_low_noise.safetensors", pairs(TRAINED[:1]), metadata={"wan22.expert": "high"}
    )
    assert uses(path) == [("x_low_noise", "high")]
    path = written(
        tmp_path / "x.safetensors", pairs(TRAINED[:1]), metadata={"ss_output_name": "cat_low_noise"}
    )
    assert uses(path) == [("x", "low")]


def test_a_file_for_one_expert_is_refused_on_the_other(tmp_path):
    path = written(tmp_path / "style_high_noise.safetensors", pairs())
    with pytest.raises(
        CheckpointError, match=r"for the high-noise expert \(its name\), and is asked for on the low"
    ):
        fit([LoRA(path, expert="low")], EXPERTS, DIT, "tiny")
    assert uses(LoRA(path, expert="high")) == [("style_high_noise", "high")]


def test_a_file_that_says_no_expert_is_added_to_both_with_a_notice(tmp_path):
    path = written(tmp_path / "style.safetensors", pairs())
    fitted = fit([path], EXPERTS, DIT, "tiny")
    assert [use.expert for use in fitted.uses] == ["high", "low"]
    assert "added to both" in fitted.notices[0]
    assert (
        "20 pairs, all of its, change 20 tensors of the high-noise expert, at strength 1" in fitted.notices[1]
    )
    assert uses(path, experts=("dit",)) == [("style", "dit")]


@pytest.mark.parametrize(
    "names",
    [("a_high_noise", "a_low_noise"), ("high/lora", "low/lora"), ("low_noise_model", "high_noise_model")],
)
def test_a_folder_with_a_file_for_each_expert_is_a_pair(tmp_path, names):
    for i, name in enumerate(names):
        written(tmp_path / "pair" / f"{name}.safetensors", pairs(seed=i))
    stems = {name.rpartition("/")[2]: ("high" if "high" in name else "low") for name in names}
    assert sorted(expert for _, expert in uses(tmp_path / "pair")) == ["high", "low"]
    assert all(stem in stems for stem, _ in uses(tmp_path / "pair"))
    assert [expert for _, expert in uses(LoRA(tmp_path / "pair", expert="low"))] == ["low"]
    with pytest.raises(CheckpointError, match="is a pair for two experts, and tiny has one transformer"):
        uses(tmp_path / "pair", experts=("dit",))


def test_one_file_can_hold_both_experts(tmp_path, base):
    high, low = pairs(seed=1), pairs(seed=2)
    tensors = {}
    for prefix, lora in (("transformer", high), ("transformer_2", low)):
        for name, (down, up) in lora.items():
            tensors[f"{prefix}.{theirs(name)}.lora_A.weight"] = down
            tensors[f"{prefix}.{theirs(name)}.lora_B.weight"] = up
    path = tmp_path / "both.safetensors"
    save_file(tensors, path)
    assert near(merged(base, path, expert="high"), expected(base, deltas(high, 1.0)))
    assert near(merged(base, path, expert="low"), expected(base, deltas(low, 1.0)))
    (adapter,) = open_adapters(written(tmp_path / "one.safetensors", high, "diffusers"))
    assert adapter.expert is None  # `transformer.` alone is every Diffusers file's
    save_file(
        {k: v for k, v in tensors.items() if k.startswith("transformer_2.")}, tmp_path / "two.safetensors"
    )
    assert open_adapters(tmp_path / "two.safetensors")[0].expert == "low"


@pytest.mark.parametrize(
    ("lora", "error", "words"),
    [
        (LoRA("x", float("nan")), OptionError, "finite"),
        (LoRA("x", "strong"), OptionError, "is a number"),
        (LoRA("x", 1.0, "hihg"), OptionError, "Did you mean 'high'"),
        (LoRA("nowhere.safetensors"), CheckpointError, "there is no"),
    ],
)
def test_what_cannot_be_asked_is_refused(lora, error, words):
    with pytest.raises(error, match=words):
        fit([lora], EXPERTS, DIT, "tiny")


def test_an_expert_of_a_model_that_has_one_is_refused(tmp_path):
    path = written(tmp_path / "x.safetensors", pairs())
    with pytest.raises(OptionError, match="tiny has one transformer"):
        fit([LoRA(path, expert="high")], ("dit",), DIT, "tiny")


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("LoHa", "hada_w1_a"),
        ("LoKr", "lokr_w1"),
        ("DoRA", "dora_scale"),
        ("DoRA", "lora_magnitude_vector"),
        ("OFT", "oft_blocks"),
        ("LoCon", "lora_mid.weight"),
    ],
)
def test_other_kinds_of_adapters_are_recognised_and_refused(tmp_path, kind, ending):
    extra = {f"lora_unet_blocks_0_self_attn_q.{ending}": draw(2, 2)}
    path = written(tmp_path / "x.safetensors", pairs(TRAINED[:1]), "kohya", extra=extra)
    with pytest.raises(CheckpointError, match=rf"is a {kind}.*Plain LoRA"):
        open_adapters(path)


def test_a_file_with_names_that_are_not_known_is_refused_and_its_model_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Reader, "read", lambda self, name: pytest.fail("data was read"))
    extra = {
        f"diffusion_model.vace_blocks.{i}.proj.lora_{side}.weight": draw(RANK, 128)
        for i in range(2)
        for side in "AB"
    }
    path = written(tmp_path / "x.safetensors", pairs(), "down and up", extra=extra)
    with pytest.raises(CheckpointError, match=r"4 of 44 tensors belong to no parameter.*vace_blocks.*VACE"):
        open_adapters(path)


def test_no_lora_at_all_is_said(tmp_path, base):
    with pytest.raises(CheckpointError, match="is no LoRA: it holds"):
        open_adapters(base)


@pytest.mark.parametrize(
    ("drop", "words"),
    [("lora_up", "half of a pair"), ("lora_down", "half of a pair"), ("lora_", "without its matrices")],
)
def test_half_a_pair_is_refused(tmp_path, drop, words):
    path = written(tmp_path / "x.safetensors", pairs(TRAINED[:3]), "kohya")
    whole = load_file(path)
    lost = f"lora_unet_{flat(TRAINED[1])}.{drop}"
    save_file({name: t for name, t in whole.items() if not name.startswith(lost)}, path)
    with pytest.raises(CheckpointError, match=words):
        open_adapters(path)


def test_matrices_that_do_not_multiply_are_refused(tmp_path):
    (down, up) = pairs(TRAINED[:1])[TRAINED[0]]
    path = written(tmp_path / "x.safetensors", {TRAINED[0]: (down, up[:, :2])})
    with pytest.raises(CheckpointError, match="do not multiply"):
        open_adapters(path)


def test_a_lora_of_another_model_is_refused_with_both_shapes_and_the_model_that_it_fits(
    tmp_path, monkeypatch
):
    i2v = replace(DIT, in_channels=36)
    know(monkeypatch, {"tiny-t2v": DIT, "tiny-i2v": i2v})
    extra = {"diffusion_model.patch_embedding.diff": draw(128, 36, 1, 2, 2)}
    path = written(tmp_path / "x.safetensors", pairs(), "down and up", extra=extra)
    monkeypatch.setattr(Reader, "read", lambda self, name: pytest.fail("data was read"))
    with pytest.raises(
        KeysError, match=r"\[128, 36, 1, 2, 2\], tiny-t2v has \[128, 16, 1, 2, 2\].*It fits tiny-i2v. Half"
    ):
        fit([path], EXPERTS, DIT, "tiny-t2v")
    assert fit([path], EXPERTS, i2v, "tiny-i2v").uses


def test_a_lora_of_a_deeper_network_is_refused(tmp_path, monkeypatch):
    know(monkeypatch, {})
    deeper = replace(DIT, layers=3)
    path = written(tmp_path / "x.safetensors", pairs(["blocks.2.self_attn.q.weight"], arch=deeper))
    with pytest.raises(
        KeysError, match=r"1 that it has not \(blocks.2.self_attn.q.weight\). It fits no model"
    ):
        fit([path], EXPERTS, DIT, "tiny")
