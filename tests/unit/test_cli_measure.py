# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""`wan22 measure` and `wan22 generate --best-of`: a video beside its prompt, and the best of several takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from unit.fake_engine import engine, everything, run  # noqa: F401 - fixtures

from wan22.media.recipe import read_recipe
from wan22.media.video import VideoWriter, read_clip
from wan22.types import Frames

cv2 = pytest.importorskip("cv2")


def video(speed=0.0, frames=9, size=(64, 48), seed=0):
    """A soft texture that goes `speed` pixels a frame to the right: a camera that turns left, if it is positive."""
    width, height = size
    wide = np.random.default_rng(seed).uniform(0, 255, (height, width * 3, 3)).astype(np.float32)
    wide = cv2.GaussianBlur(wide, (0, 0), 3)
    wide = ((wide - wide.mean()) / wide.std() * 35 + 120).clip(0, 255)
    shift = [np.float32([[1, 0, speed * t - width], [0, 1, 0]]) for t in range(frames)]
    return np.stack([cv2.warpAffine(wide, each, size) for each in shift]).astype(np.uint8)


def write(path, frames, recipe=None):
    with VideoWriter(str(path), fps=8, size=(frames.shape[2], frames.shape[1])) as writer:
        writer.add(frames)
        writer.close(recipe)
    return path


def test_a_table_says_what_is_shown(run, tmp_path):
    code, out, err = run("measure", write(tmp_path / "video.mp4", video(1.0)))
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["axis", "asked", "measured", "sure", "as", "asked"]
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines()[1:] if line}
    assert rows["direction"] == "left"


def test_against_a_prompt_it_says_what_was_obeyed(run, tmp_path):
    path = write(tmp_path / "video.mp4", video(1.0))
    code, out, _ = run("measure", path, "--against", "the camera pans right", "--json")
    values = json.loads(out)
    assert code == 0
    assert [(v["axis"], v["asked"], v["matches"]) for v in values["verdicts"]] == [
        ("camera", "pan-right", False)
    ]
    assert values["score"] == 0.0


def test_the_table_names_what_was_asked_and_not_checked(run, tmp_path):
    path = write(tmp_path / "video.mp4", video(1.0))
    _, out, _ = run("measure", path, "--against", "the camera pans right, fisheye lens, claymation")
    assert out.splitlines()[-1] == "0 of 1 as asked; not checked: style, lens"


def test_the_prompt_of_the_recipe_is_what_was_asked(run, tmp_path):
    path = write(tmp_path / "video.mp4", video(), {"prompt": "static camera, at night"})
    _, out, _ = run("measure", path, "--json")
    assert {v["axis"] for v in json.loads(out)["verdicts"]} == {"camera", "time"}


def test_a_spec_may_be_json_or_a_file_of_it(run, tmp_path):
    path, spec = write(tmp_path / "video.mp4", video()), '{"subject": "a dog", "camera": ["static"]}'
    (tmp_path / "spec.json").write_text(spec)
    for against in (spec, tmp_path / "spec.json"):
        _, out, _ = run("measure", path, "--json", "--against", against)
        assert [(v["axis"], v["matches"]) for v in json.loads(out)["verdicts"]] == [("camera", True)]


def drawing(text):
    """A stand-in for what draws plots, which takes seconds."""
    return lambda found, frames, part, lines: part.write_text(text)


def test_it_draws_a_plot(run, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    path, plot = write(tmp_path / "video.mp4", video(0.5)), tmp_path / "plot.png"
    code, out, _ = run("measure", path, "-o", plot)
    assert (code, out.splitlines()[-1]) == (0, str(plot))
    with Image.open(plot) as image:
        assert image.size[0] > 1000
    monkeypatch.setattr("wan22.director.measure_plot.plot_measurement", drawing("anew"))
    assert run("measure", path, "-o", plot)[0] == 0  # its own plot is replaced
    assert plot.read_text() == "anew" and everything(tmp_path) == ["plot.png", "video.mp4"]


def test_a_plot_replaces_no_file_of_a_person(run, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    write("video.mp4", video(0.5))
    Image.new("RGB", (8, 8)).save("photo.png")
    Path("text.png").write_text("mine")
    Path("link.png").symlink_to("photo.png")
    before = {name: Path(name).read_bytes() for name in ("photo.png", "text.png", "video.mp4")}
    monkeypatch.setattr("wan22.director.measure.measure", None)  # it is said before any work
    for name in ("photo.png", "text.png", "link.png"):
        code, out, err = run("measure", "video.mp4", "-o", name)
        assert (code, out) == (2, "") and f"{name} exists and is no plot of wan22" in err
    assert before == {name: Path(name).read_bytes() for name in before} and Path("link.png").is_symlink()


def test_a_plot_goes_into_a_folder_under_the_default_name(run, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    write("video.mp4", video(0.5))
    monkeypatch.setattr("wan22.director.measure_plot.plot_measurement", drawing("plot"))
    Path("plots").mkdir()
    Path("plots/video.mp4.measure.png").write_text("mine")
    assert run("measure", "video.mp4", "-o", "plots")[1].splitlines()[-1] == "plots/video.mp4.measure-2.png"
    assert Path("plots/video.mp4.measure.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.mp4",), "does not exist"),
        (("short.mp4",), "5 frames"),
        (("video.mp4", "-o", "plot.jpg"), ".png"),
        (("video.mp4", "--against", "{no json"), "JSON"),
        (("video.mp4", "--against", '{"mood": "sad"}'), "mood"),
        (("video.mp4", "--against", "day time, night time"), "exclude"),
        (("video.mp4", "--against", ""), "--against '' says nothing that is measured"),
        (("video.mp4", "--against", "hello"), "--against 'hello' says nothing that is measured"),
        (("video.mp4", "--against", '{"subject": "a dog"}'), "says nothing that is measured"),
        (("video.mp4", "--against", "nofile.json"), "nofile.json does not exist"),
        (("video.mp4", "--against", "shot.toml"), "shot.toml does not exist"),
        (("video.mp4", "--against", "shot.yaml"), "shot.yaml is no shot as JSON"),
        (("video.mp4", "--against", "binary.json"), "is no UTF-8 text"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shot.yaml").write_text("subject: a dog")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    write(tmp_path / "short.mp4", video(frames=3))
    write(tmp_path / "video.mp4", video())
    code, out, err = run("measure", *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err


# The best of several takes


@pytest.fixture
def takes(engine):
    """An engine whose videos turn by their seed: 0 not at all, 1 right, 2 left, 3 left."""

    def decode(tensors, recipe):
        seed = int(tensors["latents"][0, 0])
        frames = video((0, -1.0, 1.0, 1.0)[seed], recipe["frames"], tuple(recipe["size"]), seed)
        yield Frames(0, len(frames), frames)
        yield from list(type(engine).decode_latents(engine, tensors, recipe))[-1:]

    engine.decode_latents = decode
    return engine


PAN = ("generate", "The camera pans left.", "--frames", 5)


def test_the_first_of_the_best_takes_is_kept_and_the_scores_are_in_its_recipe(takes, run, tmp_path):
    code, out, err = run(*PAN, "--best-of", 4, "-o", "video.mp4")
    assert (code, out.strip(), everything(tmp_path)) == (0, "video.mp4", ["video.mp4"])
    recipe = read_recipe("video.mp4") or {}
    assert (recipe["seed"], recipe["best_of"]["kept"]) == (2, 2)
    assert [take["seed"] for take in recipe["best_of"]["takes"]] == [0, 1, 2, 3]
    scores = [take["score"] for take in recipe["best_of"]["takes"]]
    assert scores[0] == scores[1] == 0
    assert "seed 1: 0% as asked" in err
    assert len(read_clip("video.mp4").frames) == 5


def test_takes_are_kept_if_asked(takes, run, tmp_path):
    run(*PAN, "--best-of", 2, "--seed", 1, "--keep-takes", "-o", "video.mp4")
    assert everything(tmp_path) == ["video-take-1.mp4", "video-take-2.mp4", "video.mp4"]


@pytest.mark.parametrize("keep", [(), ("--keep-takes",)], ids=["not kept", "kept"])
def test_a_file_with_the_name_of_a_take_is_neither_replaced_nor_removed(takes, run, tmp_path, keep):
    (tmp_path / "video-take-0.mp4").write_bytes(b"mine")
    (tmp_path / "video-take-1.mp4").symlink_to("video-take-0.mp4")
    assert run(*PAN, "--best-of", 2, *keep, "-o", "video.mp4")[0] == 0
    assert (tmp_path / "video-take-0.mp4").read_bytes() == b"mine" and (
        tmp_path / "video-take-1.mp4"
    ).is_symlink()
    kept = ["video-take-0-2.mp4", "video-take-0.mp4", "video-take-1-2.mp4", "video-take-1.mp4", "video.mp4"]
    assert everything(tmp_path) == [name for name in kept if keep or "-2" not in name]


def test_a_folder_with_the_name_of_a_take_keeps_what_is_in_it(takes, run, tmp_path):
    (tmp_path / "shots-take-0").mkdir()
    (tmp_path / "shots-take-0" / "notes.txt").write_text("mine")
    assert run(*PAN, "--best-of", 2, "-o", "shots/")[0] == 0
    assert [path for path in everything(tmp_path) if "take" in path] == ["shots-take-0/notes.txt"]
    assert {path.split("/")[0] for path in everything(tmp_path)} == {"shots", "shots-take-0"}


def test_the_best_take_can_be_made_again(takes, run):
    run(*PAN, "--best-of", 3, "-o", "video.mp4")
    code, _, err = run("generate", "--from", "video.mp4", "-o", "again.mp4")
    assert code == 0 and "identical" in err


def test_takes_stay_if_the_best_cannot_be_written(takes, run, tmp_path, monkeypatch):
    close = VideoWriter.close

    def full(self, recipe=None, finish=None):
        if recipe and "best_of" in recipe:
            raise OSError("no space left on device")
        return close(self, recipe, finish)

    monkeypatch.setattr(VideoWriter, "close", full)
    code, _, _ = run(*PAN, "--best-of", 2, "-o", "video.mp4")
    assert code != 0
    assert {"video-take-0.mp4", "video-take-1.mp4"} <= set(everything(tmp_path))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--best-of", 1), "2 or more"),
        (("--best-of", 2, "--count", 2), "--count"),
        (("--best-of", 2, "--frames", 1), "frames"),
    ],
)
def test_takes_that_cannot_be_compared_are_refused(takes, run, tmp_path, more, words):
    code, _, err = run(*PAN, *more)
    assert code == 2 and words in err and takes.requests == []


def test_a_prompt_that_says_nothing_measurable_is_refused(takes, run):
    code, _, err = run("generate", "a dog, anime", "--best-of", 2)
    assert code == 2 and "nothing that is measured" in err and takes.requests == []
