"""Audio files for the puppet: reproducible, within bounds, and two splits that share no sentence and no voice."""

import shutil

import numpy as np
import pytest

from wan22.errors import OptionError, SpeechError
from wan22.stage import voice
from wan22.stage.voice import RATE, VOICES, audio_track, quiet, singing, speech

speaks = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")


def test_singing_is_as_long_as_asked_and_the_same_for_the_same_seed():
    sung = singing(1.5, seed=4)
    assert sung.shape == (24000,) and sung.dtype == np.float32
    assert 0.3 < np.abs(sung).max() <= 1
    assert np.array_equal(sung, singing(1.5, seed=4))
    assert not np.array_equal(sung, singing(1.5, seed=5))


def test_singing_audio_at_the_partials_of_its_notes():
    spectrum = np.abs(np.fft.rfft(singing(4.0, seed=1) * np.hanning(4 * RATE)))
    frequency = np.fft.rfftfreq(4 * RATE, 1 / RATE)
    assert spectrum[(frequency > 80) & (frequency < 4500)].sum() > 10 * spectrum[frequency > 5000].sum()


def test_quiet_is_zero_a_room_or_clicks():
    levels = [float(np.sqrt((quiet(1.0, seed=seed) ** 2).mean())) for seed in range(12)]
    assert min(levels) == 0
    assert 0 < max(levels) < 0.05


def test_a_missing_program_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(voice.shutil, "which", lambda _: None)
    with pytest.raises(SpeechError, match="install"):
        speech("hello")


@pytest.mark.parametrize("seconds", [0, -1, 4000])
def test_a_track_of_impossible_length_is_refused(seconds):
    with pytest.raises(OptionError, match="must be more than 0"):
        audio_track(0, seconds)


def test_an_unknown_split_is_refused():
    with pytest.raises(OptionError, match="held-out"):
        audio_track(0, 1, split="test")


def test_held_out_tracks_have_other_voices_and_other_words():
    assert not set(VOICES["train"]) & set(VOICES["held-out"])
    words = {split: {word for text in table.values() for word in text.split()} for split, table in (
        ("train", voice._WORDS), ("held-out", voice._HELD_OUT_WORDS)
    )}  # fmt: skip
    shared = words["train"] & words["held-out"]
    # Sentences are at least two random words, and the few shared ones are the smallest of their language.
    assert all(len(word) <= 5 for word in shared) and len(shared) < 0.1 * len(words["held-out"])
    for split, table in (("train", voice._WORDS), ("held-out", voice._HELD_OUT_WORDS)):
        assert {name[:2] for name in VOICES[split]} == set(table)


@speaks
def test_speech_is_resampled_to_the_rate_asked_for():
    slow, fast = speech("a short sentence", rate=16000), speech("a short sentence", rate=48000)
    assert len(fast) == pytest.approx(3 * len(slow), abs=3)
    assert np.corrcoef(slow, fast[::3][: len(slow)])[0, 1] > 0.95


@speaks
def test_an_unknown_voice_is_told():
    with pytest.raises(SpeechError, match="no-such"):
        speech("hello", voice="no-such")


@speaks
@pytest.mark.parametrize("split", ["train", "held-out"])
def test_a_track_is_reproducible_and_within_bounds(split):
    track = audio_track(3, 5.0, split=split)
    assert track.shape == (80000,) and track.dtype == np.float32
    assert np.isfinite(track).all() and 0.05 < np.abs(track).max() <= 1
    assert np.array_equal(track, audio_track(3, 5.0, split=split))
    assert not np.array_equal(track, audio_track(4, 5.0, split=split))


@speaks
@pytest.mark.parametrize("name", [*VOICES["train"], *VOICES["held-out"]])
def test_every_voice_speaks(name):
    assert np.abs(speech("one two", voice=name)).max() > 0.05
