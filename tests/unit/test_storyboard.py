"""The storyboard with an engine that draws discs: what is made, what is kept, what is made again, what is refused."""

import base64
import io
import json
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from unit.tiny import write_tiny

from wan22.catalog import VARIANTS, Defaults, Trained
from wan22.cli.__main__ import main
from wan22.director.shot import ShotSpec
from wan22.errors import CheckpointError
from wan22.media import provenance
from wan22.media.certificate import SELF_MADE
from wan22.media.image import read_image
from wan22.media.recipe import read_recipe
from wan22.media.video import read_clip
from wan22.production import shots
from wan22.request import resolve
from wan22.storyboard.sheet import write_sheet
from wan22.types import Finished, Frames, Latents

VARIANT = replace(
    VARIANTS["ti2v-5B"],
    name="fake",
    defaults=Defaults((64, 32), 5, 8, steps=2, shift=5.0, guidance=(5.0, 5.0), negative=""),
    trained=Trained(((64, 32),), (5,)),
)
SCRIPT = """\
Subject: a red ball
Seed: 1

Shot 1: {subject} rests.
Time: night

Shot 2: {subject} rolls.

Shot 3: It spins.
"""


class Engine:
    """Real checks and recipes; a disc whose brightness is the seed's. `stop` raises before that many videos
    are made.
    """

    name, variant = "fake", VARIANT

    def __init__(self):
        self.requests, self.stop, self.decoded = [], {}, 0

    def check(self, request):
        return resolve(request, self.variant).canvas

    def recipe(self, request):
        return {"wan22": "0", "model": "fake", "threads": 1, **resolve(request, self.variant).as_recipe()}

    def generate(self, request):
        self.requests.append(request)
        if error := self.stop.pop(("denoise", len(self.requests)), None):
            raise error
        tensors = {"latents": torch.tensor([float(request.seed)])}
        yield Latents(tensors, self.recipe(request))
        if error := self.stop.pop(("decode", len(self.requests)), None):
            raise error
        yield from self.decode_latents(tensors, self.recipe(request))

    def decode_latents(self, tensors, recipe):
        self.decoded += 1
        width, height = recipe["size"]
        frames = np.full((recipe["frames"], height, width, 3), (60, 120, 60), np.uint8)
        frames[:, 8:24, 20:40] = (min(255, 40 * int(tensors["latents"][0])), 20, 20)
        yield Frames(0, len(frames), frames)
        yield Finished(recipe["fps"], recipe)


@pytest.fixture
def engine(monkeypatch, tmp_path):
    fake = Engine()
    monkeypatch.setattr("wan22.engine.load", lambda *_, **__: fake)
    monkeypatch.setattr("wan22.storyboard.sheet.write_sheet", lambda _, path: path.write_bytes(b"%PDF"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "video.txt").write_text(SCRIPT)
    judge_as(monkeypatch, lambda frames, spec: True)
    return fake


def judge_as(monkeypatch, matches):
    """A judge of one axis; `obeyed` says of frames and spec whether they agree."""

    def judged(frames, fps, spec):
        assert fps == 8 and frames.dtype == np.uint8
        agrees = bool(matches(frames, spec))
        return [
            {"axis": "time", "asked": spec.time or "", "measured": "day", "matches": agrees, "why": ""},
            {"axis": "lens", "asked": "<fisheye>", "measured": "unknown", "matches": None, "why": "not told"},
        ]

    monkeypatch.setattr(shots, "judged", judged)


@pytest.fixture
def run(capsys, engine):
    def call(*arguments, script="video.txt"):
        code = main(["storyboard", script, *arguments])
        return code, *capsys.readouterr()

    return call


def board():
    return json.loads(Path("out/video/board.json").read_text())


def edit(tmp_path, old, new):
    file = tmp_path / "video.txt"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_each_shot_has_a_video_a_still_and_a_place_on_the_board(run, engine, tmp_path):
    code, out, err = run()
    assert code == 0, err
    assert out.strip() == "out/video/board.html"
    folder = tmp_path / "out/video"
    assert {path.name for path in folder.iterdir()} - {".wan22-files.json"} == {
        *(f"shot-0{n}.{kind}" for n in (1, 2, 3) for kind in ("mp4", "png")),
        "board.json", "board.html", "board.pdf", "takes",
    }  # fmt: skip
    assert [r.prompt for r in engine.requests] == [
        "Night time. a red ball rests.", "a red ball rolls.", "a red ball; It spins.",
    ]  # fmt: skip
    found = board()
    assert [shot["video"] for shot in found["shots"]] == ["shot-01.mp4", "shot-02.mp4", "shot-03.mp4"]
    assert found["of"] == 3 and found["subject"] == "a red ball" and 0.9 < found["consistency"]["score"] <= 1
    assert (read_image("out/video/shot-02.png") == read_clip("out/video/shot-02.mp4").frames[0]).all()
    assert read_recipe("out/video/shot-02.png")["prompt"] == "a red ball rolls."


def test_the_page_holds_its_images_and_the_sheet_its_pages(run, monkeypatch):
    monkeypatch.setattr("wan22.storyboard.sheet.write_sheet", write_sheet)
    run()
    page = Path("out/video/board.html").read_text()
    images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(images) == 9 and "src=" not in re.sub(r'src="data:[^"]+"', "", page)
    assert Image.open(io.BytesIO(base64.b64decode(images[0]))).size == (64, 32)
    assert "&lt;fisheye&gt;" in page and "<fisheye>" not in page and 'href="shot-03.mp4"' in page
    sheet = Path("out/video/board.pdf").read_bytes()
    assert sheet.count(b"/Type /Page ") == 2  # three shots, and the matrix


def test_the_same_command_makes_nothing_again(run, engine, tmp_path):
    run()
    before = {p: p.read_bytes() for p in (tmp_path / "out/video").rglob("*") if p.suffix in (".mp4", ".png")}
    code, _, err = run()
    assert code == 0 and len(engine.requests) == 3 and err.count("kept") == 3
    assert before == {p: p.read_bytes() for p in before}


def test_an_edited_shot_alone_is_made_again_and_what_was_made_stays(run, engine, tmp_path):
    run()
    edit(tmp_path, "rolls.", "rolls left.")
    run()
    assert [r.prompt for r in engine.requests[3:]] == ["a red ball rolls left."]
    edit(tmp_path, "rolls left.", "rolls.")
    run()
    assert len(engine.requests) == 4  # the video from before is still there


def test_a_shot_put_between_others_leaves_those_as_they_are(run, engine, tmp_path):
    run()
    edit(tmp_path, "Shot 3: It spins.", "Shot 3: It glows.\n\nShot 4: It spins.")
    run()
    assert [r.prompt for r in engine.requests[3:]] == ["a red ball; It glows."] and len(board()["shots"]) == 4
    edit(tmp_path, "\n\nShot 4: It spins.", "")
    _, _, err = run()
    assert "shot-04.mp4 is of an earlier script" in err and len(engine.requests) == 4


def test_a_damaged_or_missing_take_is_made_again(run, engine, tmp_path):
    run()
    takes = {shot["shot"]: tmp_path / f"out/video/takes/{shot['recipe']}.mp4" for shot in board()["shots"]}
    takes[1].write_bytes(takes[1].read_bytes()[:-100])
    takes[2].unlink()
    (tmp_path / "out/video/shot-03.mp4").unlink()
    run()
    assert [r.prompt for r in engine.requests[3:]] == ["Night time. a red ball rests.", "a red ball rolls."]
    assert (tmp_path / "out/video/shot-03.mp4").is_file()


def test_a_failing_shot_is_made_again_with_other_seeds_and_the_best_is_kept(run, engine, monkeypatch):
    judge_as(monkeypatch, lambda frames, spec: spec.time != "night" or frames[0, 16, 30, 0] > 100)
    run("--retry", "4")
    assert [r.seed for r in engine.requests] == [1, 2, 3, 1, 1]
    first = board()["shots"][0]
    assert (first["seed"], first["take"], first["takes"], first["failed"]) == (3, 3, 3, [])
    assert read_clip("out/video/shot-01.mp4").frames[0, 16, 30, 0] > 100


def test_a_shot_that_goes_on_failing_keeps_its_first_take_and_more_retries_go_on(run, engine, monkeypatch):
    judge_as(monkeypatch, lambda frames, spec: spec.time != "night")
    run()
    run("--retry", "2")
    assert [r.seed for r in engine.requests] == [1, 1, 1, 2, 3]
    first = board()["shots"][0]
    assert (first["take"], first["takes"], first["failed"]) == (1, 3, ["time"])
    run("--retry", "2")
    assert len(engine.requests) == 5


@pytest.mark.parametrize("when", ["denoise", "decode"])
def test_stopped_at_any_moment_the_same_command_goes_on(run, engine, when, tmp_path):
    engine.stop[when, 2] = KeyboardInterrupt()
    code, _, _ = run()
    assert code == 130 and len(board()["shots"]) == 1
    assert not list((tmp_path / "out/video").glob("*.part"))
    code, _, err = run()
    assert code == 0, err
    again = ["a red ball rolls."] if when == "denoise" else []  # its latents were kept, and are decoded
    assert [r.prompt for r in engine.requests[2:]] == [*again, "a red ball; It spins."]
    assert engine.decoded == 3 and not list((tmp_path / "out/video/takes").glob("*.latents.*"))


def test_what_a_killed_run_left_is_cleared_away(run, engine, tmp_path):
    run()
    takes = tmp_path / "out/video/takes"
    key = board()["shots"][0]["recipe"]
    dead = subprocess.check_output(
        [sys.executable, "-c", "from wan22.atomic import owner; print(owner())"], text=True
    ).strip()
    for stray in (
        takes / f".{key}.mp4.{dead}-00000000.part",
        takes / f"{key}.mp4.latents.safetensors",
        takes.parent / f".board.json.{dead}-00000000.part",
    ):
        stray.write_bytes(b"half")
    assert run()[0] == 0 and len(engine.requests) == 3
    assert not [
        path for path in takes.parent.rglob("*") if path.name.endswith((".part", ".latents.safetensors"))
    ]


def test_a_video_whose_record_was_not_written_is_measured_and_not_made_again(run, engine, tmp_path):
    run()
    for record in (tmp_path / "out/video/takes").glob("*.json"):
        record.unlink()
    run()
    assert len(engine.requests) == 3 and board()["shots"][0]["verdicts"]


def test_a_record_of_an_earlier_version_is_read(run, engine, tmp_path):
    run()
    before = board()["shots"]
    for record in (tmp_path / "out/video/takes").glob("*.json"):
        record.write_text(record.read_text().replace('"matches"', '"obeyed"'))
    assert run()[0] == 0 and len(engine.requests) == 3 and board()["shots"] == before


def test_a_video_can_begin_with_a_still_of_the_same_prompt(run, engine):
    code, _, err = run("--from-stills")
    assert code == 0, err
    stills, videos = engine.requests[::2], engine.requests[1::2]
    assert all(resolve(r, VARIANT).canvas.frames == 1 for r in stills)
    assert [r.prompt for r in stills] == [r.prompt for r in videos]
    assert (videos[0].image == read_image("out/video/shot-01.png")).all()
    run("--from-stills")
    assert len(engine.requests) == 6


def test_an_image_of_the_script_is_found_beside_it(run, engine, tmp_path):
    Image.new("RGB", (64, 32), "teal").save(tmp_path / "first.png")
    edit(tmp_path, "Shot 2: {subject} rolls.", "Shot 2: {subject} rolls.\nImage: first.png")
    assert run()[0] == 0
    assert [r.image is not None for r in engine.requests] == [False, True, False]
    edit(tmp_path, "first.png", "second.png")
    code, _, err = run()
    assert code == 2 and "video.txt, shot 2, line 7: image: " in err and "second.png" in err
    assert run("--plan") == (2, "", err)


@pytest.mark.parametrize(
    "image", ["http://127.0.0.1:9/a.png", "//127.0.0.1/a.png", "data:,x", "concat:a.png|b.png"]
)
def test_a_script_asks_no_server(run, engine, tmp_path, monkeypatch, image):
    """What stands in a script may be a path; servers are named on the command line alone."""
    monkeypatch.setattr(socket, "socket", None)
    edit(tmp_path, "Shot 2: {subject} rolls.", f"Shot 2: {{subject}} rolls.\nImage: {image}")
    code, _, err = run()
    assert code == 2 and "video.txt, shot 2, line 7: image: " in err and "does not exist" in err
    edit(tmp_path, f"\nImage: {image}", "")
    (tmp_path / "video.txt").write_text(f"Model: {image}\n" + (tmp_path / "video.txt").read_text())
    code, _, err = run()
    assert code == 2 and "video.txt, line 1: model: " in err and not engine.requests


def test_a_model_of_the_script_is_found_beside_it(run, tmp_path, monkeypatch):
    (tmp_path / "scripts" / "mine").mkdir(parents=True)
    (tmp_path / "scripts" / "video.txt").write_text("Model: mine\n" + SCRIPT)
    code, _, err = run("--plan", script="scripts/video.txt")
    assert code == 2 and "video.txt, line 1: model: scripts/mine" in err


def test_the_plan_prints_prompts_and_makes_nothing(run, engine, tmp_path):
    code, out, _ = run("--plan")
    assert code == 0 and out.splitlines()[0] == "shot 1 (seed 1): Night time. a red ball rests."
    code, out, _ = run("--plan", "--json", "--seed", "5")
    assert json.loads(out.splitlines()[0])["asked"] == {"subject": "a red ball rests", "time": "night"}
    assert json.loads(out.splitlines()[2])["seed"] == 5
    assert not engine.requests and not (tmp_path / "out").exists()


def test_a_video_is_planned_for_a_model_that_is_not_here(run):
    code, out, err = run("--plan", "--model", "t2v-A14B")
    assert (code, err) == (0, "") and len(out.splitlines()) == 3


def test_files_of_a_model_can_be_named_one_by_one(run, engine, tmp_path, monkeypatch):
    write_tiny(tmp_path / "tiny")
    loaded = []
    monkeypatch.setattr(
        "wan22.engine.load", lambda name, **how: loaded.append((name, how["parts"])) or engine
    )
    high = "tiny/low_noise_model.safetensors"
    code, _, err = run("--model", "tiny", "--high", high)
    assert (code, err.count("error")) == (0, 0)
    assert loaded == [("tiny", {"high": high})]
    code, _, err = run("--plan", "--model", "tiny", "--vae", high)
    assert code == 2 and "low_noise_model.safetensors does not fit WanVAE" in err
    code, _, err = run("--high", high, "--low", high)  # they are the model, which is not nano's rest
    assert code == 2 and "by name --vae FILE" in err


def test_options_come_before_the_script(run, engine):
    run("--seed", "4", "--steps", "3", "--size", "96x64")
    assert {(r.seed, r.steps, r.size) for r in engine.requests} == {(4, 3, (96, 64))}


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (SCRIPT.replace("Time", "Tiem"), [], "line 5: unknown key 'tiem'. Did you mean 'time'"),
        (SCRIPT, ["--still-model", "nano"], "give both"),
        (SCRIPT, ["-o", "video.txt"], "video.txt is a file"),
        (SCRIPT, ["--steps", "0"], "video.txt, shot 1, line 4: "),
        (SCRIPT, ["--steps", "0", "--plan"], "video.txt, shot 1, line 4: "),
        (
            "Model: nanno\n" + SCRIPT,
            [],
            "video.txt, line 1: model: unknown model 'nanno'. Did you mean 'nano'?",
        ),
        ("Model: nanno\n" + SCRIPT, ["--plan"], "video.txt, line 1: model: unknown model 'nanno'"),
        (SCRIPT, ["--plan", "--model", "nanno"], "error: unknown model 'nanno'"),
        ("Model: ./gone\n" + SCRIPT, ["--plan"], "video.txt, line 1: model: there is no folder gone"),
        ("Model: t2v-A14B\n" + SCRIPT, [], "video.txt, line 1: model: t2v-A14B is not on this machine"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(run, engine, tmp_path, script, options, message):
    (tmp_path / "video.txt").write_text(script)
    code, out, err = run(*options)
    assert code == 2 and message in err and not out and not engine.requests


def test_a_model_that_takes_no_image_cannot_begin_with_stills(run, engine):
    engine.variant = VARIANTS["t2v-A14B"]
    code, _, err = run("--from-stills")
    assert code == 2 and "takes no image" in err and not engine.requests


def test_a_script_that_is_no_file_or_no_text_is_said(run, tmp_path):
    (tmp_path / "video.txt").write_bytes(b"\xff\xfe\x00")
    assert "is no UTF-8 text" in run()[2]
    (tmp_path / "video.txt").unlink()
    assert "video.txt does not exist" in run()[2]


@pytest.mark.parametrize("option", ["--join", "--film"])
def test_the_shots_are_joined_into_one_video(run, engine, option):
    code, _, err = run(option)
    assert code == 0, err
    parts = [read_clip(f"out/video/shot-0{n}.mp4").frames for n in (1, 2, 3)]
    assert (read_clip("out/video/video.mp4").frames == np.concatenate(parts)).all()
    recipe = read_recipe("out/video/video.mp4")
    assert [one["prompt"] for one in recipe["joined"]] == [r.prompt for r in engine.requests]
    assert board()["video"] == "video.mp4" and 'href="video.mp4"' in Path("out/video/board.html").read_text()
    assert run(option)[0] == 0  # its own video is replaced
    code = main(["generate", "--from", "out/video/video.mp4"])
    assert code == 2


def test_a_file_of_that_name_that_is_not_ours_is_not_replaced(run, engine):
    Path("out/video").mkdir(parents=True)
    Path("out/video/video.mp4").write_bytes(b"mine")
    code, _, err = run("--join")
    assert code == 2 and "was not joined by wan22" in err and not engine.requests
    assert Path("out/video/video.mp4").read_bytes() == b"mine"


def test_shots_of_two_sizes_are_not_joined(run, engine, tmp_path):
    Image.new("RGB", (32, 64), "teal").save(tmp_path / "first.png")
    edit(tmp_path, "Shot 2: {subject} rolls.", "Shot 2: {subject} rolls.\nImage: first.png")
    code, _, err = run("--join")
    assert code == 2 and "video.txt, shot 2" in err and "do not join them" in err and not engine.requests


def test_a_shot_that_fails_after_all_retries_is_exit_code_1_and_all_is_there(run, engine, monkeypatch):
    judge_as(monkeypatch, lambda frames, spec: spec.time != "night")
    code, out, err = run("--retry", "1", "--join")
    assert code == 1 and out.strip() == "out/video/board.html" and board()["failed"] == [1]
    assert Path("out/video/board.pdf").exists() and Path("out/video/video.mp4").exists()
    assert "shot 1: 0 of 1 as asked; not as asked: time; not checked: lens" in err


@pytest.mark.parametrize("error", [CheckpointError("weights/x ends early"), torch.OutOfMemoryError("CUDA")])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_shot_that_cannot_be_made_does_not_stop_the_others(run, engine, error, number):
    engine.stop["denoise", number] = error
    code, out, err = run("--join", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 1, err
    assert events[-1]["recipe"]["failed"] == [number] and board()["not_made"][0]["shot"] == number
    rest = [n for n in (1, 2, 3) if n != number]
    assert [shot["shot"] for shot in board()["shots"]] == rest
    assert board()["consistency"]["pairs"][0]["shots"] == rest
    assert "could not be made" in Path("out/video/board.html").read_text()
    assert not Path("out/video/video.mp4").exists()
    assert run("--join")[0] == 0 and Path("out/video/video.mp4").exists()


def test_where_no_shot_can_be_made_the_reason_is_the_answer(run, engine):
    engine.stop |= {("denoise", n): CheckpointError("weights/x ends early") for n in (1, 2, 3)}
    code, out, err = run()
    assert code == 2 and "error: weights/x ends early" in err and not out


def test_a_defect_of_ours_stops_at_once(run, engine):
    engine.stop["denoise", 1] = KeyError("x")
    code, _, err = run()
    assert code == 1 and "a defect of wan22" in err and len(engine.requests) == 1


def test_a_video_too_short_to_be_measured_says_what_was_asked_and_not_checked(engine):
    rows = shots.not_checked(ShotSpec("a ball", camera=["static"], time="night"), "too short")
    assert [(row["axis"], row["matches"], row["why"]) for row in rows] == [
        ("time", None, "too short"),
        ("camera", None, "too short"),
    ]


# Marks of provenance, and the label


@pytest.fixture
def signing(monkeypatch, tmp_path):
    monkeypatch.delenv("WAN22_PROVENANCE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("signing")
def test_every_shot_its_still_and_the_joined_video_are_signed_and_stay_so(run, engine, tmp_path):
    assert run("--join")[0] == 0
    folder = tmp_path / "out/video"
    made = sorted(p for p in folder.rglob("*") if p.suffix in (".mp4", ".png"))
    assert len(made) == 3 * 3 + 1
    for path in made:
        found = provenance.read(path)
        assert found.signer == SELF_MADE and not found.problems, path
    before = {p: p.read_bytes() for p in made if p.name != "video.mp4"}
    assert run("--join")[0] == 0 and len(engine.requests) == 3
    assert before == {p: p.read_bytes() for p in before}


@pytest.mark.usefixtures("signing")
def test_no_file_of_a_storyboard_is_signed_if_that_is_off(run, tmp_path):
    assert run("--join", "--no-provenance")[0] == 0
    made = [p for p in (tmp_path / "out/video").rglob("*") if p.suffix in (".mp4", ".png")]
    assert made and not any(map(provenance.read, made))


def test_a_label_is_on_every_shot_and_another_one_makes_them_again(run, engine):
    run()
    plain = read_clip("out/video/shot-01.mp4").frames
    assert run("--label", "made", "--join")[0] == 0 and len(engine.requests) == 6
    video, still = read_clip("out/video/shot-01.mp4").frames, read_image("out/video/shot-01.png")
    assert (video != plain)[:, -14:].any((1, 2, 3)).all() and (still == video[0]).all()
    assert read_recipe("out/video/shot-01.mp4")["label"] == "made"
    assert len(read_clip("out/video/video.mp4").frames) == 3 * len(plain)


def test_a_still_that_a_video_begins_with_has_no_label_and_its_place_on_the_board_has(run, engine):
    assert run("--from-stills", "--label", "made")[0] == 0
    image = engine.requests[1].image
    assert image is not None and (image[-14:, -20:] == (60, 120, 60)).all()
    assert (read_image("out/video/shot-01.png")[-14:, -20:] != (60, 120, 60)).any()
    assert read_recipe("out/video/shot-01.png")["label"] == "made"
