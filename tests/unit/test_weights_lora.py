"""LoRAs of every dialect, added to weights while they load; and everything that must be refused."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_speech_variant, tiny_variant, write_tiny

import wan22
from wan22.arch import DiTArch
from wan22.cli.__main__ import main
from wan22.cli.options import parse_lora
from wan22.errors import CheckpointError, KeysError, OptionError, OutputError
from wan22.types import Frames, Notice, Request
from wan22.weights.load import load_module, meta_module
from wan22.weights.lora import LoRA, fit, merging, open_adapters
from wan22.weights.lora.fitting import shapes_of
from wan22.weights.lora.names import diffusers_name, read_key
from wan22.weights.lora.write import TARGETS, convert_lora, write_lora
from wan22.weights.reader import Reader, open_reader

DIT = DiTArch(16, 16, 128, 64, heads=1, layers=2, text_dim=32, freq_dim=16)
RANK = 4
TRAINED = [
    f"blocks.{i}.{module}.weight"
    for i in range(DIT.layers)
    for module in (*(f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"), "ffn.0", "ffn.2")
]
EXPERTS = ("high", "low")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pairs(names=TRAINED, rank=RANK, seed=0, arch=DIT):
    """A LoRA: (down, up) by official name."""
    shapes = shapes_of(arch)
    made = {}
    for i, name in enumerate(names):
        out, *into = shapes[name]
        made[name] = (
            draw(rank, *into, seed=seed + 2 * i),
            draw(out, rank, *(1 for _ in into[1:]), seed=seed + 2 * i + 1),
        )
    return made


def deltas(lora, scale):
    return {
        name: scale * (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])
        for name, (down, up) in lora.items()
    }


def module(name: str) -> str:
    return name.removesuffix(".weight")


def theirs(name: str) -> str:
    return module(diffusers_name(name))


def flat(name: str) -> str:
    return module(name).replace(".", "_")


KEYS = {
    "diffusers": lambda n: (
        f"transformer.{theirs(n)}.lora_A.weight",
        f"transformer.{theirs(n)}.lora_B.weight",
        None,
    ),
    "peft": lambda n: (
        f"base_model.model.{theirs(n)}.lora_A.weight",
        f"base_model.model.{theirs(n)}.lora_B.weight",
        None,
    ),
    "bare": lambda n: (f"{module(n)}.lora_A.default.weight", f"{module(n)}.lora_B.default.weight", None),
    "dit": lambda n: (f"pipe.dit.{module(n)}.lora_A.weight", f"pipe.dit.{module(n)}.lora_B.weight", None),
    "comfy": lambda n: (
        f"diffusion_model.{module(n)}.lora_A.weight",
        f"diffusion_model.{module(n)}.lora_B.weight",
        f"diffusion_model.{module(n)}.alpha",
    ),
    "down and up": lambda n: (
        f"diffusion_model.{module(n)}.lora_down.weight",
        f"diffusion_model.{module(n)}.lora_up.weight",
        None,
    ),
    "kohya": lambda n: (
        f"lora_unet_{flat(n)}.lora_down.weight",
        f"lora_unet_{flat(n)}.lora_up.weight",
        f"lora_unet_{flat(n)}.alpha",
    ),
    "kohya of Diffusers' names": lambda n: (
        f"lora_unet_{theirs(n).replace('.', '_')}.lora_down.weight",
        f"lora_unet_{theirs(n).replace('.', '_')}.lora_up.weight",
        f"lora_unet_{theirs(n).replace('.', '_')}.alpha",
    ),
    "old Diffusers": lambda n: (
        f"transformer.{theirs(n)}.lora.down.weight",
        f"transformer.{theirs(n)}.lora.up.weight",
        None,
    ),
}
ALPHA = 2.0


def written(path, lora, form="comfy", alpha=ALPHA, metadata=None, extra=None):
    """A file of some dialect, written here and not by the code that is tested."""
    tensors = dict(extra or {})
    for name, (down, up) in lora.items():
        keys = KEYS[form](name)
        tensors[keys[0]], tensors[keys[1]] = down.contiguous(), up.contiguous()
        if keys[2] is not None:
            tensors[keys[2]] = torch.tensor(alpha)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_file({name: draw(*shape, seed=i) for i, (name, shape) in enumerate(shapes_of(DIT).items())}, path)
    return path


def merged(base, *loras, expert="high", dtype=torch.float32, experts=EXPERTS, arch=DIT):
    fitted = fit(loras, experts, arch, "tiny")
    with open_reader(base) as reader, merging(fitted.on(expert)) as edit:
        return load_module(meta_module(arch), reader, dtype=dtype, edit=edit).state_dict()


def expected(base, changes):
    weights = load_file(base)
    return {name: weight + changes[name] if name in changes else weight for name, weight in weights.items()}


def near(a, b):
    return a.keys() == b.keys() and all(torch.allclose(a[n], b[n], rtol=1e-5, atol=1e-5) for n in a)


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


def lightx2v(lora=None):
    """Pairs and full differences as LightX2V extracts them; and what they add."""
    shapes = shapes_of(DIT)
    lora = pairs() if lora is None else lora
    extra, changes = {}, deltas(lora, 1.0)
    for i, name in enumerate(n for n in shapes if n not in lora):
        owner, _, leaf = name.rpartition(".")
        ending = {"weight": "diff", "bias": "diff_b", "modulation": "diff_m"}[leaf]
        changes[name] = draw(*shapes[name], seed=100 + i)
        extra[f"diffusion_model.{owner}.{ending}"] = changes[name]
    return lora, extra, changes


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


def test_an_expert_that_no_lora_changes_is_said(tmp_path):
    path = written(tmp_path / "x.safetensors", pairs())
    fitted = fit([LoRA(path, expert="high")], EXPERTS, DIT, "tiny")
    assert [use.expert for use in fitted.on("high")] == ["high"] and fitted.on("low") == ()
    assert any("no LoRA changes the low-noise expert" in notice for notice in fitted.notices)


def know(monkeypatch, models):
    """Let the catalogue be these."""
    monkeypatch.setattr("wan22.weights.lora.fitting._catalogue", lambda: models)


def uses(*loras, experts=EXPERTS):
    return [(use.adapter.path.stem, use.expert) for use in fit(loras, experts, DIT, "tiny").uses]


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


def added(path, base):
    """What a LoRA adds, by its merge."""
    weights = load_file(base)
    return {name: tensor - weights[name] for name, tensor in merged(base, path, expert="high").items()}


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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny")


def style(path, names=("blocks.0.self_attn.q.weight", "blocks.0.ffn.0.weight"), seed=0):
    return written(path, pairs(names, seed=seed, arch=tiny_variant().dit), "comfy", alpha=RANK)


def video(engine):
    request = Request(prompt="a red ball rolls left at sunset", size=(32, 32), frames=5, steps=2)
    events = list(engine.generate(request))
    frames = torch.cat([torch.from_numpy(event.frames) for event in events if isinstance(event, Frames)])
    return frames, events[-1].recipe, [event.text for event in events if isinstance(event, Notice)]


def test_an_engine_merges_loras_as_if_its_weights_had_been_so(tmp_path, tiny):
    path = style(tmp_path / "style.safetensors")
    lora = pairs(("blocks.0.self_attn.q.weight", "blocks.0.ffn.0.weight"), arch=tiny_variant().dit)
    explicit = tmp_path / "explicit"
    shutil.copytree(tiny, explicit)
    for expert, strength in (("high", 0.5), ("low", 0.25)):
        file = explicit / f"{expert}_noise_model.safetensors"
        save_file(expected(file, deltas(lora, strength)), file)
    wanted, _, _ = video(wan22.load(explicit, device="cpu"))
    got, recipe, notices = video(
        wan22.load(tiny, device="cpu", loras=[LoRA(path, 0.5, "high"), LoRA(path, 0.25, "low")])
    )
    assert (got.int() - wanted.int()).abs().max() <= 1
    assert recipe["loras"]["style.safetensors"]["high"] == 0.5
    assert any("strength 0.25" in notice for notice in notices)
    plain, recipe, notices = video(wan22.load(tiny, device="cpu"))
    assert not torch.equal(got, plain)
    assert "loras" not in recipe and not any("LoRA" in notice for notice in notices)


@pytest.mark.parametrize(("half", "number"), [(0, math.nan), (1, math.inf)])
def test_numbers_that_are_not_finite_are_blamed_on_the_lora_and_not_on_the_model(
    tmp_path, tiny, half, number
):
    name = "blocks.0.self_attn.q.weight"
    lora = pairs((name,), arch=tiny_variant().dit)
    lora[name][half][0, 0] = number
    path = written(tmp_path / "broken.safetensors", lora, "comfy", alpha=RANK)
    tensor = KEYS["comfy"](name)[half]
    with pytest.raises(
        CheckpointError, match=rf"broken\.safetensors: {tensor} holds numbers that are not finite"
    ):
        video(wan22.load(tiny, device="cpu", loras=[path]))


def test_loras_come_and_go_without_opening_the_model_again(tmp_path, tiny):
    path = style(tmp_path / "style.safetensors")
    engine = wan22.load(tiny, device="cpu")
    plain, _, _ = video(engine)
    vae = engine.vae()
    engine.use_loras([path])
    changed, recipe, _ = video(engine)
    assert recipe["loras"]["style.safetensors"] | {"weights": ""} == {
        "file": "style.safetensors",
        "weights": "",
        "high": 1.0,
        "low": 1.0,
    }
    with pytest.raises(CheckpointError):
        engine.use_loras([tiny / "vae.safetensors"])
    assert torch.equal(video(engine)[0], changed)  # a refusal changes nothing
    engine.use_loras([])
    assert torch.equal(video(engine)[0], plain)
    assert engine.vae() is vae


def test_a_lora_that_does_not_fit_is_refused_before_a_weight_is_read(tmp_path, tiny, monkeypatch):
    path = written(tmp_path / "x.safetensors", pairs(TRAINED[:1]), "down and up")
    know(monkeypatch, {})
    monkeypatch.setattr(Reader, "read", lambda self, name: pytest.fail("data was read"))
    monkeypatch.setattr("wan22.assembly.fingerprint", lambda path: pytest.fail("weights were read"))
    with pytest.raises(
        KeysError, match=r"was made for another model than tiny.*\[128, 128\], tiny has \[24, 24\]"
    ):
        wan22.load(tiny, device="cpu", loras=[path])


def test_the_pipeline_takes_loras_and_lets_them_go(tmp_path, tiny):
    path = style(tmp_path / "style.safetensors")
    pipe = wan22.Wan22Pipeline.from_pretrained(tiny, device="cpu")
    pipe.load_lora(path, 0.5, "high")
    pipe.load_lora(path, strength=0.25)
    with pytest.raises(CheckpointError):
        pipe.load_lora(tiny / "vae.safetensors")
    strengths = pipe.engine.recipe(Request(prompt="a cube"))["loras"]["style.safetensors"]
    assert (strengths["high"], strengths["low"]) == (0.75, 0.25)
    pipe.unload_loras()
    assert "loras" not in pipe.engine.recipe(Request(prompt="a cube"))


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command in `tmp_path`; return exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_a_video_with_loras_is_made_again_from_its_recipe(tmp_path, tiny, run):
    one, two = style(tmp_path / "style.safetensors"), style(tmp_path / "other.safetensors", seed=9)
    machine = ("--model", tiny, "--device", "cpu")
    asked = ("a red ball", "--size", "32x32", "--steps", 2, "-o", "a.png", *machine)
    code, _, err = run("image", *asked, "--lora", f"{one}:0.5@high", "--lora", two)
    assert code == 0, err
    assert "added to both" in err and "at strength 0.5" in err
    again = ("image", "--from", "a.png", "-o", "b.png", *machine)
    code, _, err = run(*again)
    assert code == 0 and "identical: every frame has the same bits" in err
    code, _, err = run(*again, "--lora", f"{one}:0.4@high", "--lora", two)
    assert code == 0 and "loras.style.safetensors.high 0.5 -> 0.4" in err
    style(one, seed=3)
    code, _, err = run(*again)
    assert (
        code == 2
        and "made with the LoRA style.safetensors" in err
        and "is another one; give it with --lora" in err
    )
    one.unlink()
    assert "which is not beside it" in run(*again)[2]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.safetensors", ("a.safetensors", 1.0, None)),
        ("a.safetensors:0.8", ("a.safetensors", 0.8, None)),
        ("a b/c:d.safetensors:-.5@low", ("a b/c:d.safetensors", -0.5, "low")),
        ("pair@high", ("pair", 1.0, "high")),
        ("C:\\loras\\a.safetensors:1", ("C:\\loras\\a.safetensors", 1.0, None)),
        ("a@2x.safetensors", ("a@2x.safetensors", 1.0, None)),
        ("a:strong", ("a:strong", 1.0, None)),
    ],
)
def test_a_lora_on_the_command_line_is_a_path_a_strength_and_an_expert(text, value):
    assert parse_lora(text) == value


def test_inspect_says_what_a_lora_is(tmp_path, run, monkeypatch):
    know(monkeypatch, {"tiny-t2v": DIT})
    _, extra, _ = lightx2v()
    path = written(tmp_path / "pair" / "a_high_noise.safetensors", pairs(), "down and up", extra=extra)
    code, out, _ = run("inspect", path)
    assert code == 0
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
    assert (said["part"], said["dialect"]) == ("lora", "lightx2v")
    assert said["expert"] == "high-noise (its name)"
    assert said["pairs"] == f"{len(TRAINED)} ({len(TRAINED)} of rank {RANK})"
    assert said["fits"] == "tiny-t2v"
    assert "self_attn.q 2x" in said["changes"] and "modulation 2x" in said["changes"]

    written(tmp_path / "pair" / "a_low_noise.safetensors", pairs(), "kohya")
    code, out, _ = run("inspect", tmp_path / "pair", "--json")
    found = json.loads(out)
    assert found["layout"] == "lora pair"
    assert found["parts"]["low"]["lora"][0]["ranks"] == {str(RANK): len(TRAINED)}

    odd = written(
        tmp_path / "odd.safetensors", {}, extra={"lora_unet_blocks_0_self_attn_q.hada_w1_a": draw(2, 2)}
    )
    code, out, _ = run("inspect", odd)
    assert code == 0 and "LoHa" in out


def test_convert_knows_a_lora_from_a_network(tmp_path, run, base):
    path = written(tmp_path / "a.safetensors", pairs(), "kohya")
    code, out, err = run("convert", path, "b.safetensors", "--to", "diffusers")
    assert (code, out.strip()) == (0, "b.safetensors"), err
    assert open_adapters(tmp_path / "b.safetensors")[0].dialect == "diffusers"
    assert "unknown LoRA dialect 'official'" in run("convert", path, "c.safetensors", "--to", "official")[2]
    refused = run("convert", base, "c.safetensors", "--to", "kohya")[2]
    assert f"{base} is no LoRA, and kohya is a dialect of LoRAs alone" in refused
    assert "other weights convert to official, diffusers, comfy" in refused
    assert "keep theirs" in run("convert", path, "c.safetensors", "--to", "comfy", "--dtype", "float16")[2]


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
