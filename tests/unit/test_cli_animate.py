# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""`wan22 generate` with a driving video: as a prepared folder, as files, again from the recipe; and what is refused."""

import shutil

import numpy as np
import pytest
import torch
from tiny import FACE, tiny_animate_variant, write_tiny_animate
from unit.fake_engine import run  # noqa: F401 - a fixture

import wan22
from wan22.media.image import write_image
from wan22.media.recipe import read_recipe
from wan22.media.video import read_clip
from wan22.media.writer import VideoWriter
from wan22.types import Notice


def frames(count, width, height, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def write(path, values):
    with VideoWriter(path, fps=8.0, size=values.shape[2:0:-1]) as writer:
        for frame in values:
            writer.add(frame)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_animate(tmp_path_factory.mktemp("animate") / "tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the official preprocessing leaves it."""
    place = tmp_path_factory.mktemp("prepared")
    for name, side, seed in (
        ("pose", (48, 32), 0),
        ("face", (FACE, FACE), 1),
        ("bg", (48, 32), 2),
        ("mask", (48, 32), 3),
    ):
        write(place / f"src_{name}.mp4", frames(14, *side, seed))
    write_image(place / "src_ref.png", frames(1, 40, 40, 4)[0])
    return place


def animate(run, model, out, *options):
    return run(
        "generate", "--task", "animate", "--model", str(model), "--device", "cpu", "-o", str(out), *options
    )


@pytest.mark.parametrize("replaces", [False, True])
def test_a_prepared_folder_drives_a_video_and_its_recipe_makes_it_again(
    run, model, folder, tmp_path, replaces
):
    out = folder / f"made-{replaces}.mp4"
    more = ("--replace",) if replaces else ()
    code, _, said = animate(run, model, out, "--video", str(folder), *more)
    assert code == 0, said
    made = read_clip(out)
    assert made.frames.shape == (14, 32, 48, 3) and made.fps == 8
    recipe = read_recipe(out)
    assert recipe["task"] == "animate" and recipe["replace"] is replaces
    assert ("mask" in recipe["inputs"]) is replaces
    again = tmp_path / "again.mp4"
    code, _, said = run(
        "generate", "--from", str(out), "--model", str(model), "--device", "cpu", "-o", str(again)
    )
    assert code == 0, said
    assert read_recipe(again)["clips_sha256"] == recipe["clips_sha256"]


def test_files_that_were_drawn_elsewhere_drive_a_video(run, model, folder, tmp_path):
    parts = {"image": "src_ref.png", "pose": "src_pose.mp4", "face": "src_face.mp4"}
    named = [word for name, file in parts.items() for word in (f"--{name}", str(folder / file))]
    out = tmp_path / "out.mp4"
    code, _, said = animate(
        run, model, out, "a blue cube", *named, "--frames", "9", "--carried", "1", "--seed", "2"
    )
    assert code == 0, said
    assert len(read_clip(out).frames) == 9 and read_recipe(out)["prompt"] == "a blue cube"


def test_the_audio_of_nothing_is_needed_and_the_prompt_is_the_models(run, model, folder, tmp_path):
    out = tmp_path / "out.mp4"
    code, _, said = animate(run, model, out, "--video", str(folder), "--frames", "9")
    assert code == 0, said
    assert read_recipe(out)["prompt"] == tiny_animate_variant().defaults.prompt


REFUSED = {
    "no image": (("--pose", "src_pose.mp4", "--face", "src_face.mp4"), "--image"),
    "no face": (("--image", "src_ref.png", "--pose", "src_pose.mp4"), "--face"),
    "both ways": (("--image", "src_ref.png", "--video", "src_pose.mp4", "--face", "src_face.mp4"), "not both"),
    "no mask": (
        ("--image", "src_ref.png", "--pose", "src_pose.mp4", "--face", "src_face.mp4", "--replace"), "--mask",
    ),
    "three carried": (("--video", ".", "--carried", "3"), "carried must be 1"),
    "nothing": (("--image", "src_ref.png"), "driving video"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_one_error(run, model, folder, tmp_path, name):
    options, message = REFUSED[name]
    named = [str(folder / word) if word.startswith(("src_", ".")) else word for word in options]
    code, _, said = animate(run, model, tmp_path / "out.mp4", *named)
    assert code != 0 and message in said
    assert not (tmp_path / "out.mp4").exists()


def test_a_folder_without_its_files_is_named(run, model, tmp_path):
    code, _, said = animate(run, model, tmp_path / "out.mp4", "--video", str(tmp_path))
    assert code != 0 and "src_pose.mp4" in said and "wan22 preprocess" in said


def test_replace_needs_a_driving_video(run, tmp_path):
    code, _, said = run("generate", "a ball", "--replace", "-o", str(tmp_path / "out.mp4"))
    assert code != 0 and "driving video" in said


@pytest.mark.parametrize("option", ["--refert-num", "--replace-flag", "--use-relighting-lora"])
def test_options_of_the_release_are_named(run, option):
    code, _, said = run("generate", "a ball", option)
    assert code != 0 and "Here it is --" in said


def test_the_adapter_for_light_is_used_where_someone_is_replaced(model, folder, tmp_path):
    from wan22.preprocess import Prepared
    from wan22.types import Driving, Request

    place = tmp_path / "lit"
    place.mkdir()
    for file in model.iterdir():
        (place / file.name).symlink_to(file)
    pairs = {
        f"blocks.{i}.self_attn.q.lora_{side}.weight": torch.randn(shape) for i in range(2)
        for side, shape in (("A", (2, 24)), ("B", (24, 2)))
    }  # fmt: skip
    torch.save({"state_dict": pairs}, place / "relighting_lora.ckpt")
    prepared = Prepared.open(folder)
    driving = Driving(prepared.pose, prepared.face, prepared.background, prepared.mask)
    request = Request(prompt="", image=prepared.reference, driving=driving, frames=9)
    engine = wan22.load(place, device="cpu")
    events = list(engine.generate(request))
    assert any("relighting_lora.ckpt" in event.text for event in events if isinstance(event, Notice))
    assert "relighting" in engine.recipe(request) and engine.recipe(request)["relight"] == 1.0
    from dataclasses import replace

    for change in ({"relight": 0.0}, {"driving": Driving(prepared.pose, prepared.face)}):
        assert "relighting" not in engine.recipe(replace(request, **change))


@pytest.mark.parametrize("replaces", [False, True])
def test_what_is_found_in_a_driving_video_is_kept_beside_the_output_and_taken_from_there(
    run, model, folder, tmp_path, monkeypatch, replaces
):
    asked = []

    class Found:
        notices = ("nobody was found at 0.5 s",)

        def save(self, place):
            shutil.copytree(folder, place)

    def prepare(driving, reference, *, replace, **more):
        asked.append((driving, reference.shape, replace, more["fps"]))
        return Found()

    monkeypatch.setattr("wan22.preprocess.prepare", prepare)
    monkeypatch.setattr("wan22.preprocess.installed.open_networks", object)
    driving, who, out = tmp_path / "dance.mp4", tmp_path / "who.png", tmp_path / "out.mp4"
    write(driving, frames(14, 48, 32, 5))
    write_image(who, frames(1, 40, 40, 6)[0])
    words = ("--image", str(who), "--video", str(driving), *(("--replace",) if replaces else ()))
    code, _, said = animate(run, model, out, *words)
    assert code == 0, said
    assert asked == [(str(driving), (40, 40, 3), replaces, 30.0)]
    assert "nobody was found at 0.5 s" in said and read_clip(out).frames.shape[0] == 14
    kept = tmp_path / read_recipe(out)["driving"]
    assert kept.is_dir() and str(kept) in said
    code, _, said = animate(run, model, out, *words, "--seed", "1", "--overwrite")
    assert code == 0, said
    assert len(asked) == 1  # what was found is not looked for again
