"""The puppet: labels and captions, a performance that follows the audio alone, and videos that draw it."""

import random

import numpy as np
import pytest
import torch

from wan22.errors import SizeError, Wan22Error
from wan22.stage.puppet import PUPPET_AXES, PuppetShot, perform, puppet_caption, sample_puppets
from wan22.stage.puppet_render import render_puppet
from wan22.stage.voice import RATE, noise, quiet, singing

FPS, FRAMES = 16.0, 48
SUNG = singing(FRAMES / FPS, seed=2)


def shot(**labels):
    return PuppetShot(
        **{**{axis: values[0] for axis, values in PUPPET_AXES.items()}, "camera": "static", **labels}
    )


def act(**parts):
    silent = perform(np.zeros(RATE, np.float32), RATE, FRAMES, FPS, seed=0)
    return silent._replace(**{name: np.full(FRAMES, value, np.float32) for name, value in parts.items()})


def videos(shots, acts, **options):
    settings = {"height": 64, "width": 64, "frames": FRAMES, "fps": FPS, "seed": 1, **options}
    return render_puppet(shots, acts, **settings).numpy().astype(int)


def test_samples_keep_to_their_split_and_to_the_seed():
    train, held = sample_puppets(40, 3), sample_puppets(40, 3, split="held-out")
    assert not any(s.held_out for s in train) and all(s.held_out for s in held)
    assert train == sample_puppets(40, 3)
    assert {s.camera for s in sample_puppets(100, 0)} == set(PUPPET_AXES["camera"])


def test_an_unknown_label_or_count_is_refused():
    with pytest.raises(Wan22Error, match="Known"):
        shot(coat="plaid")
    with pytest.raises(Wan22Error, match="-1"):
        sample_puppets(-1)


def test_captions_always_tell_a_camera_that_moves_and_vary():
    words = {
        "pan left": ("pan left", "pans left", "pans to the left"),
        "pan right": ("pan right", "pans right", "pans to the right"),
        "dolly in": ("dolly in", "dollies in", "closer"),
        "dolly out": ("dolly out", "dollies out", "away"),
    }
    for camera, phrases in words.items():
        said = [puppet_caption(shot(camera=camera), random.Random(i)) for i in range(30)]
        assert all(any(phrase in text for phrase in phrases) for text in said)
        assert len(set(said)) > 20
    everything = [puppet_caption(s, random.Random(i)) for i, s in enumerate(sample_puppets(300, 0))]
    assert len({word.strip(",").lower() for text in everything for word in text.split()}) < 150


def test_a_voice_opens_the_mouth_over_its_whole_range():
    mouth = perform(SUNG, RATE, FRAMES, FPS, seed=0).mouth
    assert mouth.shape == (FRAMES,) and mouth.dtype == np.float32
    assert mouth.min() < 0.1 and mouth.max() > 0.9 and mouth.std() > 0.25


def test_only_the_shape_of_the_audio_counts():
    loud, soft = (perform(SUNG * gain, RATE, FRAMES, FPS, seed=0) for gain in (1.0, 0.1))
    assert np.abs(loud.mouth - soft.mouth).max() < 0.02


@pytest.mark.parametrize("seed", range(6))
def test_silence_noise_and_clicks_leave_the_mouth_closed(seed):
    still = quiet(3.0, seed=seed)
    assert perform(still, RATE, FRAMES, FPS, seed=0).mouth.max() < 0.05
    hiss = 0.1 * noise(3 * RATE, np.random.default_rng(seed))
    assert perform(hiss, RATE, FRAMES, FPS, seed=0).mouth.max() < 0.05


def test_the_mouth_moves_with_the_audio_within_a_frame():
    seconds = np.arange(3 * RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 150 * k * seconds) / k for k in range(1, 12))
    burst = (0.1 * tone * ((seconds >= 1) & (seconds < 2))).astype(np.float32)
    mouth = perform(burst, RATE, FRAMES, FPS, seed=0).mouth
    assert mouth[:15].max() < 0.1 and mouth[18:31].min() > 0.9 and mouth[34:].max() < 0.1
    assert abs(np.interp(0.5, mouth[12:20], np.arange(12, 20)) - 16) < 1


def test_audio_that_ends_early_is_silence_from_there():
    mouth = perform(SUNG, RATE, 2 * FRAMES, FPS, seed=0).mouth
    assert mouth[:FRAMES].max() > 0.9 and mouth[FRAMES + 2 :].max() < 0.05 and mouth[FRAMES + 6 :].max() == 0


def test_bright_audio_widen_the_mouth():
    seconds = np.arange(3 * RATE) / RATE
    bright = [1.0 / (1 + abs(150 * k - 2300) / 300) for k in range(1, 22)]
    dark = [1.0 / (1 + abs(150 * k - 350) / 200) for k in range(1, 22)]
    ee, oo = (
        sum(a * np.sin(2 * np.pi * 150 * k * seconds) for k, a in enumerate(gains, 1))
        for gains in (bright, dark)
    )
    audio = (0.1 * np.where(seconds < 1.5, ee / ee.std(), oo / oo.std())).astype(np.float32)
    width = perform(audio, RATE, FRAMES, FPS, seed=0).width
    assert width[4:20].mean() > width[28:44].mean() + 0.3


def test_all_parts_are_in_range_and_the_seed_moves_no_speech():
    one, two = (perform(SUNG, RATE, FRAMES, FPS, seed=seed) for seed in (0, 1))
    for name in ("mouth", "width", "brow", "hands", "blink"):
        part = getattr(one, name)
        assert part.dtype == np.float32 and len(part) == FRAMES and 0 <= part.min() and part.max() <= 1
    assert one.hands.shape == (FRAMES, 2) and max(np.abs(one.nod).max(), np.abs(one.tilt).max()) < 0.5
    assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("mouth", "width", "hands"))


def test_videos_are_the_same_for_the_same_seed_at_any_size():
    for height, width in ((64, 64), (96, 64), (64, 96)):
        video = videos([shot()], [act()], height=height, width=width)
        assert video.shape == (1, FRAMES, height, width, 3)
        assert np.array_equal(video, videos([shot()], [act()], height=height, width=width))


def test_a_video_does_not_depend_on_its_neighbours():
    shots, acts = sample_puppets(3, 1), [perform(SUNG, RATE, FRAMES, FPS, seed=i) for i in range(3)]
    assert np.array_equal(videos(shots, acts)[:2], videos(shots[:2], acts[:2]))


def test_the_mouth_changes_the_mouth_alone():
    shut, wide = videos([shot()], [act(mouth=0)])[0, 0], videos([shot()], [act(mouth=1)])[0, 0]
    rows, columns = np.nonzero(np.abs(shut - wide).max(-1) > 8)
    assert 6 <= np.ptp(rows) <= 14 and 8 <= np.ptp(columns) <= 22
    assert rows.min() > 28 and abs(columns.mean() - 32) < 6


@pytest.mark.parametrize("part", ["brow", "blink", "width", "nod", "tilt"])
def test_every_part_of_a_performance_shows(part):
    rest, moved = (
        videos([shot()], [act(mouth=0.7)])[0, 0],
        videos([shot()], [act(mouth=0.7, **{part: 0.4})])[0, 0],
    )
    assert (np.abs(rest - moved).max(-1) > 8).sum() >= 4


def test_a_static_camera_does_not_move():
    video = videos([shot()], [act(blink=0)])[0]
    assert (video == video[:1]).all()


def test_bad_sizes_and_lengths_are_refused():
    with pytest.raises(SizeError, match="at least"):
        render_puppet([shot()], [act()], height=8, width=64, frames=FRAMES, seed=0)
    with pytest.raises(SizeError, match="performance"):
        render_puppet([shot()], [act()], frames=FRAMES + 1, seed=0)
    assert isinstance(render_puppet([shot()], [act()], frames=FRAMES, seed=0), torch.Tensor)
