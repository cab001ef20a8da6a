# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""The visible label: in every frame, legible on any background, kept by the recipe, refused before any work."""

import numpy as np
import pytest
from unit.fake_engine import engine, everything, run  # noqa: F401 - fixtures

from wan22.errors import OptionError
from wan22.media import fonts
from wan22.media.image import read_image
from wan22.media.label import check_label, labelled
from wan22.media.recipe import frames_hash, read_recipe
from wan22.media.sequence import images_of

TEXT = "AI generated"


def plain(value, size=(320, 180), count=2):
    return np.full((count, size[1], size[0], 3), value, np.uint8)


def brightness(frames):
    """Of each pixel, linear: WCAG 2.2, relative luminance of greys."""
    value = frames.astype(float).mean(-1) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("value", [0, 90, 128, 200, 255])
def test_it_can_be_read_on_any_background(value):
    made = labelled(plain(value), TEXT)
    strip = brightness(made[0, -20:, -60:])
    contrast = (strip.max() + 0.05) / (strip.min() + 0.05)
    assert contrast > 7


@pytest.mark.parametrize("size", [(64, 32), (320, 180), (180, 320), (1280, 720), (833, 481)])
def test_it_is_in_the_corner_of_every_frame_and_nowhere_else(size):
    frames = np.random.default_rng(0).integers(0, 255, (3, size[1], size[0], 3), dtype=np.uint8)
    before, made = frames.copy(), labelled(frames, TEXT)
    assert (frames == before).all(), "the frames that are given stay"
    changed = np.argwhere((made != frames).any(-1))
    assert set(changed[:, 0]) == {0, 1, 2}
    top, left = changed[:, 1].min(), changed[:, 2].min()
    assert changed[:, 1].max() >= size[1] - 2 and changed[:, 2].max() >= size[0] - 2
    assert top >= size[1] // 2 or min(size) < 100
    assert (size[1] - top) / min(size) < 0.12 or min(size) < 100
    assert left >= 0


def test_without_a_text_frames_are_as_they_are():
    frames = plain(100)
    assert labelled(frames, None) is frames and labelled(frames, "") is frames


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  ", "one line of 1 to 80"),
        ("a\nb", "one line"),
        ("x" * 81, "one line"),
        ("a\x00b", "one line"),
        ("a\u202eb", "one line"),
    ],
)
def test_what_is_no_line_of_text_is_refused(text, said):
    with pytest.raises(OptionError, match=said) as error:
        check_label(text)
    assert len(str(error.value)) < 200


def test_what_does_not_fit_is_refused():
    check_label("x" * 80, (1280, 720))
    with pytest.raises(OptionError, match="cannot be read in frames of 64x32"):
        check_label("made by a model of many parameters", (64, 32))


def test_other_letters_are_drawn_by_a_font_that_has_them(monkeypatch):
    check_label("KI-erzeugt für Ödön", (320, 180))
    made = labelled(plain(0), "создано ИИ")
    assert (made != plain(0)).any()
    monkeypatch.setattr(fonts, "FAMILIES", ("DejaVu Sans", "no such family"))
    fonts._font_file.cache_clear()
    with pytest.raises(OptionError, match="no font of this machine has the letters 생성"):
        check_label("AI 생성")
    fonts._font_file.cache_clear()


def corner(frame):
    return frame[-8:, -20:]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--label"], TEXT),
        (["--label", "--seed", 0], TEXT),
        (["--label", "made"], "made"),
        (["--label=KI"], "KI"),
    ],
)
def test_a_command_draws_it_and_notes_it(engine, run, tmp_path, words, text):
    assert run("image", "p", "-o", "plain.png", "--seed", 0)[0] == 0
    code, _, err = run("image", "p", "-o", "x.png", *words)
    assert code == 0, err
    unlabelled = read_image("plain.png")
    assert (read_image("x.png") == labelled(unlabelled[None], text)[0]).all()
    assert read_recipe("x.png")["label"] == text and "label" not in read_recipe("plain.png")


def test_the_hash_of_the_frames_is_that_of_what_is_seen(engine, run, tmp_path):
    assert run("generate", "p", "-o", "shots/", "--label")[0] == 0
    frames = np.stack([read_image(path) for path in images_of("shots")])
    assert read_recipe("shots")["frames_sha256"] == frames_hash(frames)


def test_it_is_made_again_with_the_recipe_unless_another_is_said(engine, run, tmp_path):
    assert run("generate", "p", "-o", "x.mp4", "--label", "made")[0] == 0
    code, _, err = run("generate", "--from", "x.mp4", "-o", "y.mp4")
    assert code == 0 and "identical" in err and read_recipe("y.mp4")["label"] == "made"
    code, _, err = run("generate", "--from", "x.mp4", "-o", "z.mp4", "--label", "")
    assert code == 0 and "label made -> (nothing)" in err and "label" not in read_recipe("z.mp4")


def test_a_video_that_is_decoded_later_has_it(engine, run, tmp_path):
    assert run("generate", "p", "-o", "x.mp4", "--label", "made")[0] == 0
    engine.fail["decode"] = RuntimeError("no")
    assert run("generate", "p", "-o", "y.mp4", "--label", "made")[0] == 1
    engine.fail.clear()
    assert run("decode", "y.mp4.latents.safetensors")[0] == 0
    recipes = [read_recipe(name) for name in ("x.mp4", "y.mp4")]
    assert recipes[0]["frames_sha256"] == recipes[1]["frames_sha256"] and recipes[1]["label"] == "made"


def test_a_long_video_has_it_in_every_clip_and_goes_on_only_with_the_same(engine, run, tmp_path):
    long = ("generate", "p", "-o", "x.mp4", "--frames", 21)
    assert run(*long, "--label", "made")[0] == 0
    whole = read_recipe("x.mp4")
    assert whole["label"] == "made"
    (tmp_path / "x.mp4").unlink()
    engine.fail["clip 3"] = RuntimeError("no")
    assert run(*long, "--label", "made")[0] != 0
    engine.fail.clear()
    code, _, err = run(*long, "--label", "other")
    assert code == 2 and "label" in err, err
    code, _, err = run(*long, "--label", "made")
    assert code == 0 and "going on after clip 2" in err
    assert read_recipe("x.mp4")["clips_sha256"] == whole["clips_sha256"]


def test_takes_are_measured_without_it_and_written_with_it(engine, run, tmp_path, monkeypatch):
    command = ("generate", "a close-up at night", "--best-of", 2)
    assert run(*command, "-o", "x.mp4")[0] == 0
    assert run(*command, "-o", "y.mp4", "--label", "made")[0] == 0
    plain, marked = read_recipe("x.mp4"), read_recipe("y.mp4")
    assert plain["best_of"] == marked["best_of"] and marked["label"] == "made"
    assert plain["frames_sha256"] != marked["frames_sha256"]


@pytest.mark.parametrize("words", [("generate", "p"), ("image", "p"), ("storyboard", "s.txt")])
def test_a_label_that_cannot_be_drawn_is_one_error_before_any_work(engine, run, tmp_path, words):
    (tmp_path / "s.txt").write_text("A ball.\n")
    code, out, err = run(*words, "--label", "x" * 100)
    assert (code, out) == (2, "") and "one line of 1 to 80" in err
    assert not engine.requests and not engine.loaded


def test_a_recipe_whose_label_is_no_text_is_refused(engine, run, tmp_path):
    from wan22.media.image import write_image

    write_image("x.png", plain(0, (64, 32), 1)[0], {"prompt": "p", "model": "nano", "label": {"a": 1}})
    code, _, err = run("image", "--from", "x.png", "-o", "y.png")
    assert code == 2 and "label" in err


def test_a_label_alone_takes_no_option_for_its_text(engine, run, tmp_path):
    assert run("generate", "p", "--label", "-o", "x.mp4")[0] == 0
    assert read_recipe("x.mp4")["label"] == TEXT and everything(tmp_path) == ["x.mp4"]


def test_the_server_may_be_asked_for_it():
    from wan22 import fields
    from wan22.production.options import as_work, from_json

    assert fields.json_schema()["properties"]["label"]["type"] == "string"
    assert as_work(from_json("generate", {"prompt": "p", "label": "made"}, str)).label == "made"
    assert not {"provenance", "certificate"} & set(fields.json_schema()["properties"])


def test_a_font_that_was_installed_since_the_list_was_made_is_found(monkeypatch):
    from matplotlib import font_manager

    manager = font_manager.fontManager
    there = [entry for entry in manager.ttflist if entry.name == "STIXGeneral"]
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist if entry not in there])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [entry.fname for entry in there])
    monkeypatch.setattr(fonts, "FAMILIES", ("STIXGeneral",))
    fonts._font_file.cache_clear()
    fonts.add_new.cache_clear()
    try:
        check_label("Ödön, ψ")
        assert [name for name, *_ in fonts.faces("normal")] == ["STIXGeneral"]
    finally:
        fonts._font_file.cache_clear()
        fonts.add_new.cache_clear()
