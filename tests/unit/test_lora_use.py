"""LoRAs in the engine, the pipeline and on the command line."""

import json
import math
import shlex
import shutil

import pytest
import torch
from loras import (
    DIT,
    KEYS,
    RANK,
    TRAINED,
    base,
    deltas,
    draw,
    expected,
    know,
    lightx2v,
    pairs,
    written,
)
from PIL import Image
from safetensors.torch import save_file
from tiny import tiny_variant, write_tiny

import wan22
from wan22.cli.__main__ import main
from wan22.errors import CheckpointError, KeysError
from wan22.media.recipe import read_recipe
from wan22.production.options import parse_lora
from wan22.types import Frames, Notice, Request
from wan22.weights.lora import LoRA, open_adapters
from wan22.weights.reader import Reader

__all__ = ["base"]  # the fixture


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


def test_a_lora_of_text_to_video_is_used_on_image_to_video_without_its_patch_embedding(
    tmp_path, run, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = write_tiny(tmp_path / "tiny", "channels")  # its patch embedding reads an image beside the noise
    arch = tiny_variant("channels").dit
    lora = pairs(("blocks.0.self_attn.q.weight",), arch=arch)
    theirs = {"diffusion_model.patch_embedding.diff": draw(arch.dim, arch.out_channels, 1, 2, 2)}
    path = written(tmp_path / "x.safetensors", lora, alpha=RANK, extra=theirs)
    Image.new("RGB", (32, 32), "red").save("a.png")
    command = "generate 'a red ball' --image a.png --size 32x32 --frames 5 --steps 2 --device cpu --model"
    words = [*shlex.split(command), str(model)]
    code, _, err = run(*words, "--lora", str(path))
    assert code == 2 and "leave that out with --lora FILE~patch_embedding" in err
    assert run(*words, "-o", "plain.mp4")[0] == 0
    code, _, err = run(*words, "--lora", f"{path}:0.5~patch_embedding", "-o", "with.mp4")
    assert code == 0 and "1 tensors of patch_embedding are left out, as asked" in err
    made, plain = (read_recipe(name) for name in ("with.mp4", "plain.mp4"))
    assert made["frames_sha256"] != plain["frames_sha256"]
    (entry,) = made["loras"].values()
    assert (entry["skip"], entry["high"], entry["low"]) == (["patch_embedding"], 0.5, 0.5)
    code, _, err = run("generate", "--from", "with.mp4", "--model", str(model), "-o", "again.mp4")
    assert code == 0 and read_recipe("again.mp4")["frames_sha256"] == made["frames_sha256"]
    assert "~PART" in " ".join(run("generate", "--help")[1].split())


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
