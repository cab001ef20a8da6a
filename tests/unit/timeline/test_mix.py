"""The sound of a timeline: at its sample, at its level, at its loudness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.timeline.media import (
    RATE,
    SIZE,
    audio_clip,
    clicks,
    clip,
    dissolve,
    gap,
    rendered,
    samples_of,
    sound,
    timeline,
    tone,
    track,
    video,
)

from wan22.errors import MediaError
from wan22.media.audio import AudioReader
from wan22.timeline.loudness import Meter, limited
from wan22.timeline.mix import BLOCK, mixed, sample_at
from wan22.timeline.render import Rendering, render
from wan22.timeline.sources import Sources, files_beside

FRAME = RATE // 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("audio")
    sound(place / "clicks.wav", clicks(10, 0, 1000, 24000, 100_000, 479_999))
    sound(place / "tone.wav", tone(10))
    sound(place / "loud.wav", tone(10, level=0.9))
    sound(place / "peaks.wav", tone(10, level=0.02) + clicks(10, *range(5000, 480_000, 24_000)) * 1.9)
    sound(place / "speech.wav", np.concatenate([np.zeros(RATE * 2), tone(3, level=0.2), np.zeros(RATE * 5)]))
    return place


def heard(cut, folder, first=0, last=None):
    sources = Sources(cut, files_beside(folder))
    return np.concatenate(list(mixed(cut, sources, first, last or cut.length)))


def audio(*items, rate=(24, 1), **more):
    return timeline(track("a", *items, kind="audio"), rate=rate, **more)


def found(samples):
    return np.flatnonzero(np.abs(samples[:, 0]) > 0.2).tolist()


def rms(samples):
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_clicks_are_heard_at_their_samples(folder):
    cut = audio(gap("g", 5), audio_clip("c", "clicks.wav", 0, 60), audio_clip("d", "clicks.wav", 12, 24))
    whole = heard(cut, folder)
    assert whole.shape == (77 * FRAME, 2) and (whole[:, 0] == whole[:, 1]).all()
    assert found(whole) == [5 * FRAME, 5 * FRAME + 1000, 5 * FRAME + 24_000, 5 * FRAME + 100_000, 65 * FRAME]
    # A range of it is a piece of the whole.
    assert (heard(cut, folder, 7, 33) == whole[7 * FRAME : 33 * FRAME]).all()


@settings(deadline=None, max_examples=15)
@given(
    start=st.integers(0, 30),
    before=st.integers(1, 40),
    rate=st.sampled_from([(24, 1), (25, 1), (30000, 1001)]),
)
def test_any_click_is_heard_at_its_sample_at_any_rate(folder, start, before, rate):
    from fractions import Fraction

    fps = Fraction(*rate)
    source = {"frames": 200, "rate": list(rate), "size": None, "audio": True}
    piece = audio_clip("c", "clicks.wav", start, 100, source=source, duration=100 - start)
    got = found(heard(audio(gap("g", before), piece, rate=rate), folder))
    expected = [
        place - start * RATE / fps + before * RATE / fps
        for place in (0, 1000, 24_000, 100_000)
        if start * RATE / fps <= place + 0.5 < 100 * RATE / fps
    ]
    assert len(got) == len(expected) and all(
        abs(one - other) <= 1 for one, other in zip(got, expected, strict=True)
    )


def test_the_sound_of_a_video_is_heard_with_its_images(folder, tmp_path):
    video(tmp_path / "a.mp4", audio=clicks(40 / 24, 20 * FRAME))
    source = {"frames": 40, "rate": [24, 1], "size": list(SIZE), "audio": True}
    shown = clip("c", "a.mp4", 10, 40, source=source)
    (place,) = {round(each / 50) for each in found(heard(timeline(track("v", shown)), tmp_path) * 3)}
    assert abs(place * 50 - 10 * FRAME) <= 50  # AAC smears a click
    muted = timeline(track("v", shown | {"mute": True}))
    assert not heard(muted, tmp_path).any()
    assert not heard(timeline(track("v", shown, muted=True)), tmp_path).any()


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.mp4", "h264"), ("b.mp4", "hevc"), ("c.mp4", "av1"), ("d.mov", "prores"), ("e.webm", "webm")],
)
def test_audio_lies_at_its_sample_in_every_container(folder, tmp_path, name, form):
    video(tmp_path / "long.mp4", frames=60)
    sound(tmp_path / "two.wav", clicks(3, 24_000, 72_000))
    cut = timeline(
        track("v", clip("c", "long.mp4", 0, 60, frames=60)),
        track("a", audio_clip("d", "two.wav", 0, 60, frames=72), kind="audio"),
    )
    rendered(cut, tmp_path / name, format=form)
    reader = AudioReader(tmp_path / name)
    samples = np.abs(np.concatenate(list(reader.pieces(mono=True))))[:, 0]
    assert reader.lead == 0 and abs(len(samples) - 60 * FRAME) <= 48
    assert [int(half.argmax()) for half in np.split(samples[:96_000], 2)] == [24_000, 24_000]


def test_levels_and_fades(folder):
    cut = timeline(
        track(
            "a",
            audio_clip("c", "tone.wav", 0, 96, gain_db=-6.0, fade_in=24, fade_out=48),
            kind="audio",
            gain_db=-6.0,
        )
    )
    got = heard(cut, folder)
    plain = heard(audio(audio_clip("c", "tone.wav", 0, 96)), folder)
    gain = 10 ** (-12 / 20)
    assert np.allclose(got[RATE : 2 * RATE], plain[RATE : 2 * RATE] * gain, atol=1e-5)
    ramp = (np.arange(RATE) + 0.5)[:, None] / RATE
    assert np.allclose(got[:RATE], plain[:RATE] * gain * ramp, atol=1e-5)
    assert rms(got[-RATE // 10 :]) < 0.04 * rms(plain)


def test_a_crossfade_has_equal_power_and_uses_the_handles(folder):
    cut = audio(
        audio_clip("c", "tone.wav", 0, 48),
        dissolve("t", 12, 12),
        audio_clip("d", "loud.wav", 48, 96, gain_db=-60.0),
    )
    got = heard(cut, folder)
    plain = heard(audio(audio_clip("c", "tone.wav", 0, 96)), folder)
    share = np.clip((np.arange(len(got)) - 36 * FRAME + 0.5) / (24 * FRAME), 0, 1)
    assert np.allclose(got[:, 0], plain[:, 0] * np.cos(share * np.pi / 2), atol=2e-3)


def test_another_speed_keeps_the_pitch_and_the_length(folder):
    for speed, length in (((1, 2), 192), ((2, 1), 48), ((4, 1), 24), ((1, 4), 384)):
        cut = audio(audio_clip("c", "tone.wav", 0, 96, speed=speed))
        got = heard(cut, folder)[:, 0]
        assert len(got) == length * FRAME
        middle = got[len(got) // 4 : len(got) * 3 // 4]
        pitch = np.abs(np.fft.rfft(middle)).argmax() * RATE / len(middle)
        assert abs(pitch - 997) < 10 and abs(rms(middle) / (0.1 / np.sqrt(2)) - 1) < 0.1, speed


def test_a_click_at_another_speed_is_near_its_place(folder):
    got = found(heard(audio(audio_clip("c", "clicks.wav", 24, 72, speed=(1, 2))), folder) * 2)
    expected = (100_000 - RATE) * 2  # atempo moves what it repeats by less than its window
    assert got and all(abs(place - expected) < 0.06 * RATE for place in got)


def test_a_track_is_turned_down_under_another_one(folder):
    cut = timeline(
        track("speech", audio_clip("s", "speech.wav", 0, 192), kind="audio"),
        track(
            "music",
            audio_clip("m", "tone.wav", 0, 192),
            kind="audio",
            duck={"under": "speech", "by_db": 12.0},
        ),
    )
    alone = heard(timeline(track("speech", audio_clip("s", "speech.wav", 0, 192), kind="audio")), folder)
    music = heard(cut, folder) - alone

    def level(second, length=0.1):
        piece = music[round(second * RATE) : round((second + length) * RATE)]
        return 20 * np.log10(rms(piece) / (0.1 / np.sqrt(2)))

    assert abs(level(1.8)) < 0.1  # before it
    assert -8 < level(2.03, 0.02) < -1  # on its way: 100 ms
    assert abs(level(2.2) + 12) < 0.2 and abs(level(4.8) + 12) < 0.2  # under it
    assert abs(level(5.1) + 12) < 0.2  # a pause of speech is waited for
    assert -11 < level(5.45) < -1 and abs(level(6.0)) < 0.2  # up again


def test_where_nothing_is_there_is_silence(folder, tmp_path):
    end = rendered(
        audio(gap("g", 24), audio_clip("c", "tone.wav", 0, 24), gap("h", 24)), tmp_path / "o.wav", folder
    )
    samples, rate = samples_of(tmp_path / "o.wav")
    assert rate == RATE and samples.shape == (72 * FRAME, 2)
    assert not samples[:RATE].any() and not samples[2 * RATE :].any() and rms(samples[RATE : 2 * RATE]) > 0.05
    assert end.notes == ()


def test_a_file_without_any_audio_has_no_stream_of_it_and_a_wav_is_silent(folder, tmp_path):
    video(tmp_path / "a.mp4")
    cut = timeline(track("v", clip("c", "a.mp4", 0, 12)), loudness=-14)
    rendered(cut, tmp_path / "o.mp4")
    from wan22.media.video import probe

    assert not probe(tmp_path / "o.mp4").has_audio
    end = rendered(cut, tmp_path / "o.wav")
    samples, _ = samples_of(tmp_path / "o.wav")
    assert len(samples) == 12 * FRAME and not samples.any() and "silent" in end.notes[0]


def measured(samples):
    meter = Meter(RATE, "stereo")
    for at in range(0, len(samples), BLOCK):
        meter.push(samples[at : at + BLOCK])
    return meter.measured()


def test_the_meter_knows_ebu_3341s_tone():
    """A stereo sine of 1 kHz at -23 dBFS has -23 LUFS (EBU Tech 3341, test 1)."""
    found = measured(np.stack([tone(20, level=10 ** (-23 / 20), pitch=1000)] * 2, 1).astype(np.float32))
    assert abs(found.integrated + 23) < 0.1 and abs(found.true_peak + 23) < 0.2


@pytest.mark.parametrize("name", ["tone.wav", "loud.wav", "peaks.wav"])
def test_the_loudness_is_what_was_asked_and_peaks_stay_below(folder, tmp_path, name):
    cut = audio(audio_clip("c", name, 0, 120), loudness=-23)
    steps = list(render(cut, tmp_path / "o.wav", files_beside(folder)))
    assert steps[0].stage == "measure" and isinstance(steps[0], Rendering)
    found = measured(samples_of(tmp_path / "o.wav")[0].astype(np.float32))
    assert abs(found.integrated + 23) < 0.5 and found.true_peak <= -0.95


def test_what_is_asked_of_the_render_wins_and_what_cannot_be_reached_is_said(folder, tmp_path):
    cut = audio(audio_clip("c", "tone.wav", 0, 120), loudness=-23)
    rendered(cut, tmp_path / "o.wav", folder, loudness=-16)
    assert abs(measured(samples_of(tmp_path / "o.wav")[0].astype(np.float32)).integrated + 16) < 0.5
    end = rendered(audio(audio_clip("c", "tone.wav", 0, 4)), tmp_path / "p.wav", folder, loudness=-16)
    assert "too short" in end.notes[0]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 7000), min_size=1, max_size=5))
def test_the_limiter_keeps_length_and_place_and_never_lets_a_peak_pass(seed, lengths):
    random = np.random.default_rng(seed)
    blocks = [random.normal(0, 0.3, (length, 2)).astype(np.float32) for length in lengths]
    blocks[0][0] = 3.0
    whole, out = np.concatenate(blocks), np.concatenate(list(limited(iter(blocks), -1.0)))
    assert out.shape == whole.shape
    assert np.abs(out).max() <= 10 ** (-1 / 20)
    assert (np.sign(out) == np.sign(whole)).all() and (np.abs(out) <= np.abs(whole)).all()
    quiet = [block * np.float32(0.01) for block in blocks]
    assert (np.concatenate(list(limited(iter(quiet), -1.0))) == np.concatenate(quiet)).all()


def test_audio_that_is_shorter_than_its_clip_is_refused(folder, tmp_path):
    cut = audio(audio_clip("c", "tone.wav", 0, 260, frames=260))
    with pytest.raises(MediaError, match=r'"c" on track "a".*lasts 10.00 s, and 10.83 s are needed'):
        render(cut, tmp_path / "o.wav", files_beside(folder))


def test_places_of_frames_are_the_nearest_samples():
    from fractions import Fraction

    assert [sample_at(frame, Fraction(30000, 1001)) for frame in (0, 1, 5)] == [0, 1602, 8008]
