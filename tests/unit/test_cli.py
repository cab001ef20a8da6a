# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""The command line: what is made, what is kept, and what is made again."""

import json
from pathlib import Path

import pytest
from PIL import Image
from unit.fake_engine import engine, everything, run  # noqa: F401 - fixtures

from wan22.cli.__main__ import main
from wan22.media.recipe import read_recipe
from wan22.media.video import read_clip
from wan22.production import rerender
from wan22.production.publish import LATENTS_SUFFIX, Target
from wan22.production.work import slug

# What is made


def test_generate_prints_only_the_path_and_writes_the_video_with_its_recipe(engine, run, tmp_path):
    code, out, err = run("generate", "a red ball", "-o", "ball.mp4", "--seed", 3, "--steps", 4)
    assert (code, out) == (0, "ball.mp4\n")
    assert everything(tmp_path) == ["ball.mp4"], "the latents are removed once the video is there"
    assert read_clip("ball.mp4").frames.shape == (5, 32, 64, 3)
    recipe = read_recipe("ball.mp4")
    assert (recipe["prompt"], recipe["seed"], recipe["steps"]) == ("a red ball", 3, 4)
    assert len(recipe["frames_sha256"]) == 64
    for words in (
        "step 4 of 4",
        "high-noise expert",
        "s/step",
        "left",
        "note: a word of warning",
        "frame 5 of 5",
    ):
        assert words in err


def test_options_reach_the_request_and_the_engine(engine, run):
    code, _, err = run(
        "generate", "p", "-o", "x.mp4", "--size", "96x64", "--frames", 9, "--fps", 12, "--solver", "euler", "--shift",
        3, "--guidance", "3,4", "--guidance-rescale", 0.7, "--negative", "", "--device", "cpu", "--dtype", "float32",
        "--model", "fake",
    )  # fmt: skip
    assert code == 0, err
    request = engine.requests[0]
    assert (request.size, request.frames, request.fps, request.solver) == ((96, 64), 9, 12, "euler")
    assert (request.shift, request.guidance, request.negative, request.steps) == (3, (3, 4), "", None)
    assert request.guidance_rescale == 0.7
    machine = {"model": "fake", "device": "cpu", "dtype": "float32"}
    assert engine.loaded == machine | {"parts": {}, "task": "t2v"}


def test_files_that_are_named_as_parts_reach_the_engine(engine, run):
    code, _, err = run(
        "generate",
        "p",
        "-o",
        "x.mp4",
        "--high",
        "a",
        "--low",
        "b",
        "--vae",
        "c",
        "--text",
        "d",
        "--tokenizer",
        "e",
    )
    assert code == 0, err
    assert engine.loaded["model"] is None  # the files are all of it
    assert engine.loaded["parts"] == {"high": "a", "low": "b", "vae": "c", "text": "d", "tokenizer": "e"}


def test_without_a_name_the_video_is_called_after_the_prompt(engine, run):
    code, out, _ = run("generate", "A red ball: bounces!", "--seed", 7)
    assert (code, out) == (0, "out/a-red-ball-bounces-7.mp4\n")
    assert Path(out.strip()).is_file()


@pytest.mark.parametrize(
    ("prompt", "name"), [("$(rm -rf) `x`", "rm-rf-x"), ("빨간 공", "빨간-공"), ("!?", "video")]
)
def test_a_prompt_of_any_language_becomes_a_file_name(prompt, name):
    assert slug(prompt) == name


def test_count_makes_videos_of_successive_seeds(engine, run, tmp_path):
    code, out, _ = run("generate", "p", "-o", "out.mp4", "--seed", 5, "--count", 3)
    assert (code, out.split()) == (0, ["out-1.mp4", "out-2.mp4", "out-3.mp4"])
    assert [request.seed for request in engine.requests] == [5, 6, 7]
    assert everything(tmp_path) == ["out-1.mp4", "out-2.mp4", "out-3.mp4"]


def test_image_makes_one_image(engine, run):
    code, out, _ = run("image", "a red ball", "-o", "ball.png")
    assert (code, out) == (0, "ball.png\n")
    with Image.open("ball.png") as image:
        assert image.size == (64, 32)
    assert read_recipe("ball.png")["frames"] == 1


def test_a_sequence_is_written_into_a_folder(engine, run, tmp_path):
    code, out, _ = run("generate", "p", "-o", "shots/")
    assert (code, out) == (0, "shots/\n")
    assert everything(tmp_path) == [f"shots/frame-{i:04d}.png" for i in range(5)]


def test_json_is_one_object_for_each_event_and_stderr_is_silent(engine, run):
    code, out, err = run("generate", "p", "-o", "x.mp4", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    kinds = [event["event"] for event in events]
    assert kinds[:5] == ["phase", "notice", "phase", "progress", "progress"]
    assert kinds[-1] == "finished"
    assert {"step": 1, "steps": 2, "expert": "high", "seconds": 0.1}.items() <= events[3].items()
    assert events[-1]["path"] == "x.mp4"
    assert events[-1]["recipe"] == read_recipe("x.mp4")


@pytest.mark.parametrize(
    ("path", "tagged"),
    [
        ("a.mp4", "a-2.mp4"), ("/x/a.b.mp4", "/x/a.b-2.mp4"), ("shots/", "shots-2/"),
        ("d/s-%04d.png", "d/s-2-%04d.png"), ("%03d.png", "2-%03d.png"),
    ],
)  # fmt: skip
def test_a_tag_goes_before_the_extension_or_the_number(path, tagged):
    assert Target(path).tagged("2").path == tagged


# What is kept


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        (["--model", "my models"], " --model 'my models'"),
        (["--high", "a", "--low", "b"], " --high a --low b"),
        (["--model", "t2v-A14B"], ""),
    ],
)
def test_a_failed_decode_names_the_model_that_a_recipe_alone_does_not_find(engine, run, machine, named):
    engine.fail["decode"] = RuntimeError("out of memory")
    code, _, err = run("generate", "p", "-o", "out.mp4", *machine)
    assert code == 1 and f"-o out.mp4{named}` finishes the job" in err


def test_a_failed_decode_keeps_the_latents_and_decode_finishes_the_same_video(engine, run, tmp_path):
    run("generate", "p", "-o", "whole.mp4", "--seed", 4)
    engine.fail["decode"] = RuntimeError("out of memory")
    code, out, err = run("generate", "p", "-o", "out.mp4", "--seed", 4)
    assert (code, out) == (1, "")
    kept = f"out.mp4{LATENTS_SUFFIX}"
    assert f"wan22 decode {kept} -o out.mp4" in err and "out of memory" in err
    assert everything(tmp_path) == [kept, "whole.mp4"]

    engine.fail.clear()
    code, out, _ = run("decode", kept)
    assert (code, out) == (0, "out.mp4\n")
    assert Path("out.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_a_full_disk_while_writing_keeps_the_latents(engine, run, monkeypatch, tmp_path):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wan22.media.writer._Video.finish", full)
    code, _, err = run("generate", "p", "-o", "out.mp4")
    assert code == 1 and "No space left on device" in err
    assert everything(tmp_path) == [f"out.mp4{LATENTS_SUFFIX}"]


def test_cancelling_while_denoising_leaves_nothing(engine, run, tmp_path):
    engine.fail["denoise"] = KeyboardInterrupt()
    code, out, err = run("generate", "p", "-o", "out.mp4")
    assert (code, out, err.splitlines()[-1]) == (130, "", "cancelled, nothing was written")
    assert everything(tmp_path) == []


def test_cancelling_while_decoding_keeps_the_latents(engine, run, tmp_path):
    engine.fail["decode"] = KeyboardInterrupt()
    code, _, err = run("generate", "p", "-o", "out.mp4")
    assert code == 130 and "wan22 decode" in err.splitlines()[-1]
    assert everything(tmp_path) == [f"out.mp4{LATENTS_SUFFIX}"]


def test_a_defect_is_one_line_without_a_traceback(engine, run, monkeypatch):
    engine.fail["denoise"] = ZeroDivisionError("ours")
    code, _, err = run("generate", "p", "-o", "out.mp4")
    assert code == 1
    assert err.splitlines()[-1].startswith("error: ZeroDivisionError: ours") and "Traceback" not in err
    monkeypatch.setenv("WAN22_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["generate", "p", "-o", "out.mp4"])


def test_the_same_command_takes_away_the_latents_that_a_killed_one_left(engine, run, tmp_path):
    engine.fail["decode"] = RuntimeError("no memory")
    assert run("generate", "p", "-o", "x.mp4")[0] == 1
    assert everything(tmp_path) == ["x.mp4.latents.safetensors"]
    kept = Path("x.mp4.latents.safetensors").read_bytes()
    engine.fail.clear()
    assert run("generate", "p", "--seed", 7, "-o", "x.mp4")[0] == 0  # another video
    assert everything(tmp_path) == ["x.mp4", "x.mp4.latents.safetensors"]
    assert Path("x.mp4.latents.safetensors").read_bytes() == kept
    assert run("generate", "p", "-o", "x.mp4")[0] == 0
    assert everything(tmp_path) == ["x.mp4"]


def test_an_old_video_stays_when_overwriting_is_forbidden_or_the_new_one_fails(engine, run):
    Path("out.mp4").write_bytes(b"old")
    code, _, err = run("generate", "p", "-o", "out.mp4", "--no-overwrite")
    assert code == 2 and "exists already" in err
    engine.fail["denoise"] = RuntimeError("no")
    assert run("generate", "p", "-o", "out.mp4")[0] == 1
    assert Path("out.mp4").read_bytes() == b"old"


# What is made again


def test_from_makes_the_same_video_and_says_so(engine, run):
    run("generate", "p", "-o", "out.mp4", "--seed", 9, "--frames", 6, "--guidance", "2,3")
    code, out, err = run("generate", "--from", "out.mp4")
    assert (code, out) == (0, "out-again.mp4\n")
    assert "identical: every frame has the same bits as in out.mp4" in err
    assert read_recipe("out-again.mp4") == read_recipe("out.mp4")


def test_from_names_what_differs(engine, run):
    run("generate", "p", "-o", "out.mp4")
    engine.version = "1"
    code, out, _ = run("generate", "--from", "out.mp4", "--steps", 3, "-o", "new.mp4", "--json")
    compared = next(e for e in map(json.loads, out.splitlines()) if e["event"] == "compared")
    assert code == 0 and not compared["identical"]
    assert set(compared["differences"]) == {"wan22 0 -> 1", "steps 2 -> 3"}


def test_from_finds_the_image_beside_the_video_or_asks_for_it(engine, run):
    Image.new("RGB", (64, 32), "red").save("red.png")
    assert run("generate", "p", "--image", "red.png", "-o", "out.mp4")[0] == 0
    assert read_recipe("out.mp4")["files"] == {"image": "red.png"}
    assert "identical: " in run("generate", "--from", "out.mp4")[2]
    Path("red.png").rename("moved.png")
    code, _, err = run("generate", "--from", "out.mp4")
    assert code == 2 and "made from red.png" in err and "--image" in err
    assert "identical: " in run("generate", "--from", "out.mp4", "--image", "moved.png")[2]


def test_equal_recipes_with_other_frames_point_at_the_machine():
    old, new = {"steps": 2, "frames_sha256": "a"}, {"steps": 2, "frames_sha256": "b"}
    assert "it is the machine" in rerender.differences(old, new)[0]
    assert rerender.differences(old, old) is None


def test_show_prints_the_recipe_of_videos_and_latents(engine, run):
    engine.fail["decode"] = RuntimeError("no")
    run("generate", "a red ball", "-o", "out.mp4")
    assert "a red ball" in run("show", f"out.mp4{LATENTS_SUFFIX}")[1]
    engine.fail.clear()
    run("generate", "a red ball", "-o", "out.mp4")
    assert json.loads(run("show", "out.mp4", "--json")[1])["prompt"] == "a red ball"
