"""The recipe comes out of every container as it went in; the hash of the frames depends on pixels alone."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wan22.errors import MediaError, OutputError
from wan22.media.image import write_image
from wan22.media.recipe import RECIPE_KEY, FrameHasher, frames_hash, read_recipe
from wan22.media.video import VideoWriter

FRAMES = np.full((2, 16, 16, 3), 120, np.uint8)
VIDEOS = ["video.mp4", "video.mov", "video.webm", "video.gif", "shots/", "shot-%02d.png"]
IMAGES = ["a.png", "a.jpg", "a.webp"]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
recipes = st.dictionaries(st.text(max_size=20), values, max_size=5)


def store(path, recipe, when="end"):
    if path.endswith(tuple(IMAGES)):
        write_image(path, FRAMES[0], recipe)
        return
    early = {"recipe": recipe if when == "start" else {"other": 1}}
    with VideoWriter(path, fps=8, size=(16, 16), **early) as writer:
        writer.add(FRAMES)
        writer.close(recipe if when == "end" else None)


@pytest.mark.parametrize("name", VIDEOS + IMAGES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipe=recipes)
def test_any_recipe_survives_every_container(tmp_path, name, recipe):
    store(f"{tmp_path}/{name}", recipe)
    assert read_recipe(f"{tmp_path}/{name}") == recipe


@pytest.mark.parametrize("name", [*VIDEOS, "a.png", "a.webp"])
def test_long_prompts_with_every_kind_of_letter_survive(tmp_path, name):
    prompt = (
        "A \"fox\" & a 'hen'\r\n\t<b>비 오는 밤</b> 雨の夜 🦊👩‍👩‍👧 \\u0041 ; = # \0 \u2028 \udc80" * 2500
    )
    recipe = {"prompt": prompt, "seeds": [0, 2**63], "shift": 5.0, "ünï": None}
    store(f"{tmp_path}/{name}", recipe)
    assert len(json.dumps(prompt)) > 100_000
    assert read_recipe(f"{tmp_path}/{name}") == recipe


@pytest.mark.parametrize("name", VIDEOS)
def test_a_recipe_given_at_the_beginning_is_written_and_the_last_one_wins(tmp_path, name):
    store(f"{tmp_path}/{name}", {"seed": 3}, when="start")
    assert read_recipe(f"{tmp_path}/{name}") == {"seed": 3}
    store(f"{tmp_path}/{name}", {"seed": 4}, when="end")
    assert read_recipe(f"{tmp_path}/{name}") == {"seed": 4}


@pytest.mark.parametrize("name", VIDEOS + IMAGES)
def test_a_file_without_recipe_has_none(tmp_path, name):
    path = f"{tmp_path}/{name}"
    if name in IMAGES:
        write_image(path, FRAMES[0])
    else:
        with VideoWriter(path, fps=8, size=(16, 16)) as writer:
            writer.add(FRAMES)
    assert read_recipe(path) is None


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_damaged_recipe_is_an_error_not_a_crash(tmp_path, text):
    from PIL import Image, PngImagePlugin

    notes = PngImagePlugin.PngInfo()
    notes.add_text(RECIPE_KEY, text)
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.png", pnginfo=notes)
    with pytest.raises(MediaError, match="damaged recipe"):
        read_recipe(tmp_path / "a.png")


def test_files_without_media_are_refused(tmp_path):
    with pytest.raises(MediaError, match="no images named like frame"):
        read_recipe(tmp_path)
    with pytest.raises(MediaError, match="does not exist"):
        read_recipe(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(MediaError, match="is text"):
        read_recipe(tmp_path / "a.mp4")


def test_a_recipe_that_does_not_fit_is_refused_and_leaves_no_file(tmp_path):
    for name, letters in [
        ("a.mp4", 1_000_001),
        ("a.gif", 1_000_001),
        ("a.png", 1_000_001),
        ("a.jpg", 60_000),
    ]:
        with pytest.raises(OutputError, match="recipe"):
            store(f"{tmp_path}/{name}", {"prompt": "x" * letters})
    with pytest.raises(TypeError):
        store(f"{tmp_path}/b.mp4", {"frames": FRAMES})
    with pytest.raises(ValueError, match="JSON"):
        store(f"{tmp_path}/b.mp4", {"shift": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_hash_tells_pixels_and_shape_and_nothing_else():
    frames = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
    hasher = FrameHasher()
    hasher.update(frames[:1])
    hasher.update(frames[1:])
    assert hasher.hexdigest() == frames_hash(frames) == frames_hash(np.asfortranarray(frames))
    assert hasher.frames == 6
    changed = frames.copy()
    changed[3, 2, 1, 0] ^= 1
    others = [changed, frames[:5], frames[::-1], frames.reshape(6, 10, 8, 3), frames.reshape(3, 16, 10, 3)]
    assert len({frames_hash(other) for other in [*others, frames]}) == 6
    with pytest.raises(ValueError, match="uint8"):
        hasher.update(frames.astype(np.float32))
    with pytest.raises(ValueError, match="after frames"):
        hasher.update(frames[:, :4])
