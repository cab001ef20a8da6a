"""Sizes: any size and length is served exactly, or refused with the nearest that works."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_variant

from wan22 import postprocess
from wan22.canvas import MAX_SIDE, fit, fit_speech, image_size
from wan22.catalog import VARIANTS, Speech
from wan22.errors import CheckpointError, SizeError
from wan22.postprocess import canvas_of, deliver, resample_frames, to_frames
from wan22.types import Clip

FREE, ONLY = tiny_variant(), tiny_variant(only=True)
ROWS = [FREE, ONLY, *VARIANTS.values()]


def canvas(row, size=None, frames=None, **rest):
    return fit(row, size=size, frames=frames, **{"seconds": None, "fps": None, **rest})


def fake_decoder(canvas, chunk):
    """What a VAE would stream: parts of drawn frames, the first latent frame being one pixel frame."""
    width, height = canvas.draw
    done = 0
    while done < canvas.drawn_frames:
        count = chunk * canvas.stride_time - (canvas.stride_time - 1 if done == 0 else 0)
        count = min(count, canvas.drawn_frames - done)
        shade = torch.arange(done, done + count).float() / max(1, canvas.drawn_frames - 1) * 2 - 1
        yield shade.view(1, -1, 1, 1).expand(3, -1, height, width)
        done += count


@settings(max_examples=60, deadline=None, database=None)
@given(
    row=st.sampled_from([FREE, ONLY]),
    frames=st.integers(1, 60),
    width=st.integers(16, 120),
    height=st.integers(16, 120),
    chunk=st.integers(1, 4),
    ends=st.booleans(),
)
def test_exactly_what_was_asked_is_delivered(row, frames, width, height, chunk, ends):
    made = canvas(row, (width, height), frames, ends=ends, chain=False)
    parts = list(deliver(fake_decoder(made, chunk), made))
    video = np.concatenate([part.frames for part in parts])
    assert video.shape == (frames, height, width, 3)
    assert video.dtype == np.uint8
    assert [part.start for part in parts] == np.cumsum([0, *(len(p.frames) for p in parts)])[:-1].tolist()
    assert all(part.total == frames and len(part.frames) for part in parts)
    shades = video[:, 0, 0, 0].astype(int)
    assert (np.diff(shades) >= 0).all()  # time runs forward
    if row.trained.only and ends and made.drawn_frames > 1 and frames > 1:
        assert (shades[0], shades[-1]) == (0, 255)


@settings(max_examples=100, deadline=None, database=None)
@given(
    row=st.sampled_from(ROWS),
    frames=st.integers(1, 4093),
    width=st.integers(32, MAX_SIDE),
    height=st.integers(32, MAX_SIDE),
)
def test_what_is_drawn_lies_on_the_models_grid_and_covers_what_is_asked(row, frames, width, height):
    made = canvas(row, (width, height), frames, chain=False)
    side, step = row.grid
    assert made.out == (width, height)
    assert made.frames == frames
    assert all(s % side == 0 for s in made.draw)
    assert (made.drawn_frames - 1) % step == 0
    assert made.drawn_frames >= frames or made.stretched
    assert all(d >= o for d, o in zip(made.draw, made.out, strict=True)) or made.scaled
    t, h, w = made.latent
    assert h % 2 == w % 2 == 0
    assert (made.drawn_frames, made.draw) == (
        (t - 1) * step + 1, (w * row.vae.stride_space, h * row.vae.stride_space),
    )  # fmt: skip
    if row.trained.only:
        assert made.draw in row.trained.sizes
        assert made.drawn_frames in row.trained.frames
    else:
        assert not made.scaled and not made.stretched
        assert max(d - o for d, o in zip(made.draw, made.out, strict=True)) < side
        assert made.drawn_frames - frames < step
    assert bool(made.notices) or (made.draw == made.out and not made.stretched)


def test_thirty_two_frames_asked_are_thirty_two():
    made = canvas(VARIANTS["t2v-A14B"], None, 32)
    assert (made.frames, made.drawn_frames, made.latent[0]) == (32, 33, 9)
    assert canvas(FREE, None, None, seconds=4, fps=8).frames == 32


def test_the_nearest_size_that_works_is_named_and_works():
    with pytest.raises(SizeError, match="nearest size that works is 8192x16") as caught:
        canvas(FREE, (100_000, 3))
    assert canvas(FREE, (8192, 16)).out == (8192, 16)
    assert "width must be a whole number from 16 to 8192, not 100000" in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "drawn"), [((480, 320), (48, 32)), ((320, 480), (32, 48)), ((300, 310), (32, 32))]
)
def test_a_model_kept_to_its_sizes_draws_the_nearest_in_shape(asked, drawn):
    made = canvas(ONLY, asked)
    assert (made.draw, made.out, made.scaled) == (drawn, asked, True)


@pytest.mark.parametrize(("asked", "drawn"), [(1, 1), (2, 5), (5, 5), (6, 9), (9, 9), (13, 9)])
def test_a_model_kept_to_its_lengths_draws_the_shortest_that_is_long_enough(asked, drawn):
    made = canvas(ONLY, None, asked)
    assert (made.drawn_frames, made.stretched) == (drawn, asked > drawn)


@pytest.mark.parametrize("row", [r for r in ROWS if r.image], ids=lambda r: f"{r.name}-{r.trained.only}")
@settings(max_examples=50, deadline=None, database=None)
@given(width=st.integers(1, 6000), height=st.integers(1, 6000))
def test_an_image_without_a_size_is_served_near_the_models_own_area(row, width, height):
    area = row.defaults.size[0] * row.defaults.size[1]
    try:
        size = image_size(row, (width, height), area)
    except SizeError as error:
        assert f"{width}x{height}" in str(error)
        assert max(width, height) > 20 * min(width, height) or area < 10_000
        return
    side = row.grid[0]
    assert all(s % side == 0 and s >= side for s in size)
    if max(width, height) <= 3 * min(width, height) and area > 10_000:
        assert 0.8 * area < size[0] * size[1] <= 1.001 * area
    assert canvas(row, image=(width, height)).out == size


def test_a_video_that_audio_drives_is_not_cut_to_an_image_that_was_cut_already():
    row = replace(ONLY, speech=Speech(clip_frames=8, side=16))
    ask = {"size": None, "frames": None, "seconds": None, "fps": None, "audio_seconds": 1.0}
    made = fit_speech(row, image=(600, 130), **ask)
    assert made.draw[0] / made.draw[1] == pytest.approx(made.out[0] / made.out[1], rel=0.02)
    seen = round(130 * made.draw[0] / made.draw[1])
    assert f"of the 600x130 image the middle {seen}x130 is shown" in made.notices
    assert not any("image" in notice for notice in fit_speech(row, image=made.draw, **ask).notices)


def test_a_large_photo_does_not_make_a_small_model_paint_a_large_video():
    assert canvas(ONLY, image=(6000, 4000)).out == (48, 32)
    assert canvas(ONLY, image=(333, 500)).out == (32, 48)


def test_a_video_is_cut_from_the_centre_of_what_was_drawn():
    made = canvas(FREE, (20, 30), 1)
    drawn = torch.arange(32 * 32).view(1, 1, 32, 32).expand(3, -1, -1, -1) / (32 * 32) * 2 - 1
    (part,) = deliver(iter([drawn]), made)
    assert np.array_equal(part.frames, to_frames(drawn[:, :, 1:31, 6:26]))


def test_a_video_is_scaled_from_the_centre_without_bending_its_shape():
    made = canvas(ONLY, (96, 40), 1)
    assert made.draw == (48, 32)
    drawn = torch.full((3, 1, 32, 48), -1.0)
    drawn[:, :, 12:20, 20:28] = 1.0
    (part,) = deliver(iter([drawn]), made)
    bright = part.frames[0, :, :, 0] > 127
    rows, columns = bright.any(axis=1).sum(), bright.any(axis=0).sum()
    assert rows == columns == 16
    assert np.array_equal(bright, bright[::-1, ::-1])


def test_a_long_large_video_is_scaled_a_few_frames_at_a_time(monkeypatch):
    made = canvas(ONLY, (96, 64), 25)
    whole = np.concatenate([part.frames for part in deliver(fake_decoder(made, 9), made)])
    monkeypatch.setattr(postprocess, "_PIXELS_AT_ONCE", 2 * 96 * 64)
    parts = [part.frames for part in deliver(fake_decoder(made, 9), made)]
    assert max(map(len, parts)) <= 2 and np.array_equal(np.concatenate(parts), whole)


def test_pixels_are_rounded_and_clamped():
    values = torch.tensor([-2.0, -1.0, -0.9985, 0.0, 0.999, 1.0, 3.0]).view(1, 1, 1, 7).expand(3, -1, -1, -1)
    assert to_frames(values)[0, 0, :, 0].tolist() == [0, 0, 0, 128, 255, 255, 255]


@pytest.mark.parametrize(
    ("fps", "frames", "expected"),
    [(8.0, 5, [0, 1, 2, 3, 4]), (16.0, 5, [0, 2, 4, 6, 8]), (4.0, 5, [0, 0, 1, 1, 2]), (8.0, 13, None)],
)
def test_a_clip_is_shown_at_the_times_of_the_video(fps, frames, expected):
    clip = Clip(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1).repeat(3, axis=3), fps)
    shown = resample_frames(clip, canvas(FREE, None, frames))[:, 0, 0, 0].tolist()
    assert shown == (expected or [*range(10), 9, 9, 9])


def test_a_clip_is_spread_as_the_video_made_of_it_will_be():
    clip = Clip(np.arange(36, dtype=np.uint8).reshape(36, 1, 1, 1).repeat(3, axis=3), 8.0)
    assert resample_frames(clip, canvas(ONLY, None, 36, chain=False))[:, 0, 0, 0].tolist() == [
        *range(0, 36, 4)
    ]


def test_the_canvas_of_a_recipe_is_the_one_that_made_it():
    made = canvas(ONLY, (70, 50), 7, ends=True)
    said = {"size": [70, 50], "frames": 7, "fps": 8.0, "inputs": {"last_image": "sha256:0"}}
    assert canvas_of(said, ONLY) == made
    assert canvas_of({**said, "inputs": {}}, ONLY) == replace(made, stretched=False, notices=made.notices[:1])
    with pytest.raises(CheckpointError, match="'fps' is missing"):
        canvas_of({"size": [70, 50], "frames": 7}, ONLY)
