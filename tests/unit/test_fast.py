"""A model that ships adapters for few steps: its row, its videos, what is refused."""

import json
import shutil

import pytest
import torch
from unit.tiny import write_tiny

from wan22.catalog import Fast, from_json, to_json
from wan22.cli.__main__ import main
from wan22.engine import load
from wan22.errors import CheckpointError, OptionError
from wan22.media.recipe import read_recipe
from wan22.pipeline import Wan22Pipeline, collect
from wan22.production import rerender
from wan22.production.audio import AudioOptions
from wan22.train.adapt import attach
from wan22.types import Clip, Latents, Progress, Request
from wan22.weights.convert import convert
from wan22.weights.lora.write import write_lora

SIGMAS = (1.0, 0.95, 0.85, 0.5)
PROMPT = "a red ball rolls left at sunset"


def add_fast(folder, sigmas=SIGMAS):
    """Give a tiny model adapters of random factors."""
    network = load(folder, device="cpu").expert("high")
    draw = torch.Generator().manual_seed(3)
    for name in ("high", "low"):
        adapters = attach(network, rank=2, alpha=2.0)
        pairs = {
            key: tuple(torch.randn(t.shape, generator=draw) * 0.1 for t in pair)
            for key, pair in adapters.factors().items()
        }
        adapters.detach()
        write_lora(folder / f"fast_{name}.safetensors", pairs, alpha=2.0, expert=name)
    row = json.loads((folder / "variant.json").read_text())
    files = {name: f"fast_{name}.safetensors" for name in ("high", "low")}
    row["fast"] = {"loras": files, "sigmas": list(sigmas), "guidance": 1, "steps": len(sigmas)}
    (folder / "variant.json").write_text(json.dumps(row))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return add_fast(write_tiny(tmp_path_factory.mktemp("fast") / "tiny"))


@pytest.fixture
def engine(folder):
    return load(folder, device="cpu")


def latents(engine, **asked):
    events = list(engine.generate(Request(prompt=PROMPT, **asked)))
    return next(e for e in events if isinstance(e, Latents)), [e for e in events if isinstance(e, Progress)]


def test_a_fast_video_takes_the_levels_of_the_row_and_no_guidance(engine):
    made, steps = latents(engine, fast=True)
    assert [step.sigma for step in steps] == pytest.approx(SIGMAS)
    assert [step.expert for step in steps] == ["high", "high", "low", "low"]
    assert (made.recipe["steps"], made.recipe["solver"], made.recipe["guidance"]) == (4, "euler", 1)
    assert made.recipe["sigmas"] == pytest.approx(SIGMAS)
    assert set(made.recipe["fast"]) == {"fast_high.safetensors", "fast_low.safetensors"}
    assert "loras" not in made.recipe


def test_the_adapters_are_at_work_in_fast_videos_alone(engine, folder):
    before = latents(engine)[0].tensors["latents"]
    fast = latents(engine, fast=True)[0].tensors["latents"]
    after = latents(engine)[0].tensors["latents"]
    assert torch.equal(before, after)
    assert not torch.equal(before, fast)
    assert torch.equal(engine.expert("low").head.head.weight, load(folder).expert("low").head.head.weight)
    q = "blocks.0.self_attn.q.weight"
    latents(engine, fast=True)
    assert torch.equal(engine.expert("low").state_dict()[q], load(folder).expert("low").state_dict()[q])


def test_the_adapters_do_what_they_do_as_loras(engine, folder):
    fast = latents(engine, fast=True)[1]
    engine.use_loras([folder / "fast_high.safetensors", folder / "fast_low.safetensors"])
    first = next(e for e in engine.generate(Request(prompt=PROMPT, solver="euler", guidance=1, steps=4))
                 if isinstance(e, Progress))  # fmt: skip
    assert torch.equal(first.x0, fast[0].x0)  # both ask at level 1 first
    assert set(engine.recipe(Request(prompt=PROMPT, fast=True))) >= {"loras", "fast"}


def test_a_fast_video_may_start_from_a_clip_or_an_image(engine):
    image = torch.full((32, 48, 3), 90, dtype=torch.uint8).numpy()
    video = collect(engine.generate(Request(prompt=PROMPT, fast=True, image=image)))
    assert len(video) == 5
    clip = Clip(video.frames, 8.0)
    steps = latents(engine, fast=True, video=clip, strength=0.5)[1]
    assert [step.sigma for step in steps] == pytest.approx(SIGMAS[-1:])


def test_a_long_fast_video_is_made_of_fast_clips(engine):
    events = list(engine.generate(Request(prompt=PROMPT, fast=True, frames=20)))
    steps = [e for e in events if isinstance(e, Progress)]
    assert steps[-1].clips > 1
    assert len(steps) == 4 * steps[-1].clips


def test_the_pipeline_asks_for_few_steps(folder):
    video = Wan22Pipeline.from_pretrained(folder, device="cpu")(PROMPT, fast=True)
    assert video.recipe["steps"] == 4


def test_a_model_without_adapters_says_how_to_give_it_some(tmp_path):
    engine = load(write_tiny(tmp_path / "plain"), device="cpu")
    with pytest.raises(OptionError, match=r"ships no adapters for few steps.*--lora FILE@high"):
        engine.check(Request(prompt=PROMPT, fast=True))


@pytest.mark.parametrize(
    "asked", [{"steps": 8}, {"solver": "unipc"}, {"guidance": 3.0}, {"guidance_rescale": 0.5}, {"shift": 2.0}]
)
def test_what_the_adapters_fix_cannot_be_asked_for_otherwise(engine, asked):
    with pytest.raises(OptionError, match=f"{next(iter(asked))} is .* asked for; leave"):
        engine.check(Request(prompt=PROMPT, fast=True, **asked))


def test_what_the_adapters_fix_may_be_said(engine):
    said = Request(prompt=PROMPT, fast=True, steps=4, solver="euler", guidance=1)
    assert engine.recipe(said) == engine.recipe(Request(prompt=PROMPT, fast=True))


def test_a_recipe_of_a_fast_video_is_fast_again(engine):
    recipe = latents(engine, fast=True)[0].recipe
    found = rerender.settings(recipe, {}, AudioOptions())
    assert found["fast"] is True
    assert engine.recipe(Request(**found)) == recipe


def test_a_full_video_can_be_made_again_in_few_steps(engine):
    recipe = latents(engine, steps=3, guidance=2.0)[0].recipe
    assert not rerender.settings(recipe, {}, AudioOptions()).get("fast")
    found = rerender.settings(recipe, {"fast": True}, AudioOptions())
    assert engine.recipe(Request(**found))["steps"] == 4


@pytest.mark.parametrize(("command", "name"), [("image", "ball.png"), ("generate", "ball.mp4")])
def test_images_and_videos_are_asked_for_in_few_steps_alike(folder, tmp_path, command, name):
    made = str(tmp_path / name)
    assert main([command, "--fast", PROMPT, "--model", str(folder), "--device", "cpu", "-o", made]) == 0
    recipe = read_recipe(made)
    assert (recipe["steps"], recipe["solver"], recipe["guidance"]) == (4, "euler", 1)
    assert set(recipe["fast"]) == {"fast_high.safetensors", "fast_low.safetensors"}


def test_an_image_cannot_be_fast_with_other_steps_or_without_adapters(folder, tmp_path, capsys):
    made = tmp_path / "ball.png"
    command = ["image", "--fast", PROMPT, "--device", "cpu", "-o", str(made), "--model"]
    assert main([*command, str(folder), "--steps", "8"]) == 2
    assert "steps is 4 in the 4 steps of" in capsys.readouterr().err
    assert main([*command, str(write_tiny(tmp_path / "plain"))]) == 2
    assert "ships no adapters for few steps" in capsys.readouterr().err
    assert not made.exists()


def test_a_row_says_its_few_steps_and_reads_them_back(engine):
    row = engine.variant
    assert row.fast == Fast({"high": "fast_high.safetensors", "low": "fast_low.safetensors"}, SIGMAS, 1)
    assert to_json(row)["fast"]["steps"] == 4
    assert from_json(json.loads(json.dumps(to_json(row)))) == row


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sigmas": [0.5, 0.9], "steps": 2}, "must fall"),
        ({"sigmas": [1.5, 0.9], "steps": 2}, "must fall"),
        ({"sigmas": [], "steps": 0}, "must fall"),
        ({"steps": 8}, "as many as its steps"),
        ({"loras": {"dit": "a.safetensors"}}, "experts are high, low"),
        ({"loras": {}}, "for nothing"),
        ({"speed": 2}, "does not describe a model"),
    ],
)
def test_a_row_with_impossible_few_steps_is_refused(engine, change, says):
    values = to_json(engine.variant)
    values["fast"] = values["fast"] | change
    with pytest.raises(CheckpointError, match=says):
        from_json(values)


def test_a_missing_adapter_is_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / "fast_low.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"few steps are fast_low\.safetensors, and there is none"):
        load(tmp_path / "broken")


def test_a_converted_model_keeps_its_adapters(engine, folder, tmp_path):
    made = convert(folder, tmp_path / "there", "diffusers")
    there = load(made, device="cpu")
    assert torch.allclose(
        latents(there, fast=True)[0].tensors["latents"], latents(engine, fast=True)[0].tensors["latents"]
    )
