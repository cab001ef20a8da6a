"""Audio in and out: true samples at the true time, from any file; and under a video, in sync."""

import math
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from wan22.errors import MediaError, OptionError, OutputError
from wan22.media.audio import AudioReader, probe_audio, read_audio, resample, write_audio
from wan22.media.audio_track import add_audio, can_carry_audio
from wan22.media.image import write_image
from wan22.media.recipe import read_recipe
from wan22.media.video import VideoWriter, probe, read_clip
from wan22.types import Audio

FILES = [  # name, encoder, rate
    ("a.wav", "pcm_s16le", 44100),
    ("b.wav", "pcm_s24le", 192000),
    ("c.wav", "pcm_f32le", 8000),
    ("d.flac", "flac", 44100),
    ("e.mp3", "libmp3lame", 44100),
    ("f.m4a", "aac", 44100),
    ("g.ogg", "libopus", 48000),
    ("h.webm", "libopus", 48000),
    ("i.mkv", "aac", 44100),
    ("j.aiff", "pcm_s16be", 22050),
]
CLICK = 0.005  # seconds from the beginning of a click to its middle


def tone(hertz, rate, seconds=1.0, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def clicks(rate, seconds):
    """A short burst at every half second of the clock: 0.5, 1.5, 2.5, ..."""
    burst = tone(1500, rate, 2 * CLICK, 0.7) * np.hanning(round(2 * CLICK * rate)).astype(np.float32)
    samples = np.zeros(round(seconds * rate), np.float32)
    for second in range(int(seconds)):
        at = round((second + 0.5) * rate)
        samples[at : at + len(burst)] = burst
    return samples


def heard(audio):
    """Seconds at which clicks are heard: the centre of energy of every second that has one."""
    found = []
    for second in range(int(audio.seconds)):
        energy = audio.samples[second * audio.rate : (second + 1) * audio.rate].astype(np.float64) ** 2
        if energy.max() > 0.01:
            found.append(second + (energy @ np.arange(audio.rate)) / energy.sum() / audio.rate - CLICK)
    return np.array(found)


def encode(path, codec, rate, samples, *, layout="mono", late=0.0, images=0):
    """Write mono samples to every channel of a file, `late` seconds after its images (two a second)."""
    channels = av.AudioLayout(layout).nb_channels
    packed = np.repeat(samples[:, None], channels, 1)
    with av.open(str(path), "w") as container:
        if images:
            video = container.add_stream("libx264" if path.suffix != ".webm" else "libvpx-vp9", rate=2)
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for index in range(images):
            image = av.VideoFrame.from_ndarray(np.full((32, 32, 3), index * 9, np.uint8))
            image.pts, image.time_base = index, Fraction(1, 2)
            container.mux(video.encode(image))
        for at in range(0, len(samples), rate):
            piece = np.ascontiguousarray(packed[at : at + rate]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at + round(late * rate), Fraction(1, rate)
            container.mux(stream.encode(frame))
        if images:
            container.mux(video.encode(None))
        container.mux(stream.encode(None))
    return path


def wav(path, samples, rate=48000, channels=1):
    """A WAV of 16 bits, written by hand: for channel counts that no encoder here writes."""
    content = np.repeat((samples * 32767).astype("<i2")[:, None], channels, 1).tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(content)) + content
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


def video(path, frames=6, recipe=None):
    noise = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    with VideoWriter(path, fps=2, size=(32, 32)) as writer:
        for index in range(frames):
            writer.add(noise[index % 4])
        writer.close(recipe)
    return path


@pytest.mark.parametrize(("name", "codec", "rate"), FILES)
def test_every_kind_of_file_is_heard_at_the_right_time(tmp_path, name, codec, rate):
    path = encode(tmp_path / name, codec, rate, clicks(rate, 3), layout="stereo")
    info, audio = probe_audio(path), read_audio(path)
    assert (info.rate, info.channels) == (rate, 2)
    assert info.seconds == pytest.approx(3, abs=0.025)
    assert audio.rate == 16000
    assert audio.samples.dtype == np.float32
    assert audio.seconds == pytest.approx(3, abs=0.025)
    tolerance = 0.0015 if name.endswith((".mkv", ".webm")) else 1 / 16000  # Matroska counts in milliseconds
    assert heard(audio) == pytest.approx([0.5, 1.5, 2.5], abs=tolerance)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 44117, 48000, 192000])
def test_a_tone_survives_resampling(rate):
    audio = resample(Audio(tone(1000, rate), rate), 16000)
    assert len(audio.samples) == pytest.approx(16000, abs=1)
    inner = slice(1600, 14400)
    wanted = tone(1000, 16000)[inner]
    noise = audio.samples[inner] - wanted
    assert 10 * np.log10((wanted**2).mean() / (noise**2).mean()) > 100  # so it is neither late nor early


@pytest.mark.parametrize("rate", [44100, 48000, 192000])
def test_what_the_new_rate_cannot_hold_is_taken_away(rate):
    assert np.abs(resample(Audio(tone(10000, rate), rate), 16000).samples[1600:-1600]).max() < 0.5 * 10**-4.5


def test_a_high_tone_that_fits_is_kept():
    audio = resample(Audio(tone(7000, 48000), 48000), 16000)
    assert np.abs(audio.samples[1600:-1600]).max() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("length", [1, 7, 200, 201, 9600])
def test_short_audio_are_resampled_whole(length):
    assert len(resample(Audio(np.ones(length, np.float32) / 2, 48000), 16000).samples) == -(-length // 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 10, 16, 64])
def test_any_number_of_channels_is_mixed_to_one_at_the_same_level(tmp_path, channels):
    path = wav(tmp_path / "audio.wav", tone(440, 48000, 0.1), channels=channels)
    assert probe_audio(path).channels == channels
    assert read_audio(path, rate=None).samples == pytest.approx(tone(440, 48000, 0.1), abs=1e-4)


def test_in_and_out_points_are_exact(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 48000).astype(np.float32)
    path = tmp_path / "noise.wav"
    write_audio(path, Audio(samples, 48000), exact=True)
    assert np.array_equal(read_audio(path, rate=None).samples, samples)
    piece = read_audio(path, rate=None, start=0.3, seconds=0.2)
    assert np.array_equal(piece.samples, samples[14400:24000])
    assert read_audio(path, start=0.9, seconds=5).seconds == pytest.approx(0.1)


def test_an_audio_file_of_two_tenths_of_a_second_is_read(tmp_path):
    assert len(read_audio(wav(tmp_path / "short.wav", tone(440, 8000, 0.2), 8000)).samples) == 3200


def test_sixteen_bits_come_back_as_they_were(tmp_path):
    samples = np.array([-1, -0.5, 0, 1 / 32768, 0.5, 32767 / 32768] * 100, np.float32)
    write_audio(tmp_path / "a.wav", Audio(samples, 16000))
    assert np.array_equal(read_audio(tmp_path / "a.wav").samples, samples)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_a_late_audio_has_silence_in_front(tmp_path, name):
    path = encode(tmp_path / name, "aac", 48000, clicks(48000, 3), late=0.7, images=7)
    audio = read_audio(path)
    assert heard(audio) == pytest.approx([1.2, 2.2], abs=0.0015)  # mp4 writes a late start in milliseconds
    assert not audio.samples[:10000].any()


def test_a_wav_that_was_written_to_a_pipe_has_its_true_length(tmp_path):
    path = wav(tmp_path / "pipe.wav", tone(440, 16000), 16000)
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = struct.pack("<I", 0x7FFFF024), struct.pack("<I", 0x7FFFF000)
    path.write_bytes(content)
    assert probe_audio(path).seconds == pytest.approx(1, abs=0.01)
    assert read_audio(path).samples == pytest.approx(tone(440, 16000), abs=1e-4)


def test_bad_files_are_refused_with_one_clear_error(tmp_path):
    write_image(tmp_path / "image.png", np.zeros((32, 32, 3), np.uint8))
    video(tmp_path / "silent.mp4")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.mp3").write_text("not an audio file")
    (tmp_path / "list.wav").write_text("#EXTM3U\nhttp://example.org/a.ts\n")
    wav(tmp_path / "blink.wav", tone(440, 48000, 0.002))
    wav(tmp_path / "slow.wav", tone(100, 500), 500)
    wav(tmp_path / "fast.wav", tone(100, 2000), 4_000_000)
    wav(tmp_path / "wide.wav", tone(100, 2000, 0.1), channels=65)
    whole = wav(tmp_path / "whole.wav", tone(100, 48000)).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:30000])
    for name, words in {
        "absent.wav": "does not exist",
        "image.png": "image and holds no audio",
        "silent.mp4": "no audio, only images",
        "empty.wav": "is empty",
        "text.mp3": "is text, not an audio file",
        "list.wav": "playlist",
        "blink.wav": "2.00 ms, less than one frame",
        "slow.wav": "500 samples a second; 1000 to 768000",
        "fast.wav": "4000000 samples a second",
        "wide.wav": "65 channels; 1 to 64",
        "cut.wav": "is cut off",
    }.items():
        with pytest.raises(MediaError, match=words):
            probe_audio(tmp_path / name)
        with pytest.raises(MediaError, match=words):
            read_audio(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.ogg", "libopus")]
)
def test_half_an_audio_file_never_passes_for_a_whole_one(tmp_path, name, codec):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 96000).astype(np.float32)
    path = encode(tmp_path / name, codec, 48000, noise)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 + 7])
    with pytest.raises(MediaError, match=r"cut off|damaged after (0\.9|1\.0) s"):
        read_audio(path)


def test_damage_on_the_way_says_after_how_many_seconds(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * 48000).astype(np.float32)
    path = encode(tmp_path / "a.flac", "flac", 48000, noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40000] = bytes(40000)
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"damaged after (1\.[89]|2\.0) s"):
        read_audio(path)
    assert read_audio(path, seconds=1.5).seconds == 1.5  # what lies before it can be used


def test_samples_that_are_no_numbers_are_damage(tmp_path):
    samples = tone(440, 16000)
    samples[8000] = np.nan
    write_audio(tmp_path / "a.wav", Audio(samples, 16000), exact=True)
    with pytest.raises(MediaError, match="no numbers"):
        read_audio(tmp_path / "a.wav")


def test_impossible_pieces_are_refused(tmp_path):
    path = wav(tmp_path / "a.wav", tone(440, 48000))
    with pytest.raises(MediaError, match=r"lasts 1.00 s, so it cannot be read from 1.5 s on"):
        read_audio(path, start=1.5)
    no_number = [{"start": math.nan}, {"start": math.inf}, {"seconds": math.nan}]
    for options in (*no_number, {"start": -1}, {"seconds": 0}, {"seconds": 0.001}, {"rate": 500}):
        with pytest.raises(OptionError):
            read_audio(path, **options)
    with pytest.raises(OutputError, match="ends in"):
        write_audio(tmp_path / "a.mp3", Audio(tone(440, 16000), 16000))


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "libmp3lame", "libopus"])
def test_a_video_keeps_its_images_and_recipe_and_gets_audio_in_sync(tmp_path, kind, codec):
    suffix = {"pcm_s16le": "wav", "aac": "m4a", "libmp3lame": "mp3", "libopus": "ogg"}[codec]
    recipe = {"prompt": "Ä", "seed": 7}
    silent = video(tmp_path / f"silent.{kind}", 20, recipe)
    source = encode(tmp_path / f"s.{suffix}", codec, 48000, clicks(48000, 10), layout="stereo")
    result = tmp_path / f"result.{kind}"
    add_audio(silent, source, result)
    assert read_recipe(result) == recipe
    assert probe(result).frames == 20
    assert np.array_equal(read_clip(result, 9).frames, read_clip(silent, 9).frames)
    assert probe_audio(result).channels == 2
    assert probe_audio(result).seconds == pytest.approx(10, abs=0.025)
    assert heard(read_audio(result)) == pytest.approx(np.arange(10) + 0.5, abs=0.001)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([silent.name, source.name, result.name])


@pytest.mark.parametrize(
    ("name", "codec", "size"),
    [
        ("f.mp4", "hevc", (34, 32)),
        ("f.mp4", "av1", (64, 64)),
        ("f.mov", "prores", (33, 35)),
        ("f.mov", "hevc", (32, 32)),
        ("f.webm", "av1", (64, 64)),
    ],
)
def test_images_are_copied_to_the_byte(tmp_path, name, codec, size):
    with VideoWriter(tmp_path / name, fps=Fraction(24000, 1001), size=size, codec=codec) as writer:
        writer.add(np.random.default_rng(0).integers(0, 255, (30, size[1], size[0], 3), dtype=np.uint8))
    source = wav(tmp_path / "s.wav", clicks(48000, 2))
    result = tmp_path / f"r{name[1:]}"
    add_audio(tmp_path / name, source, result)

    def images(path):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            told = (stream.codec_tag, stream.width, stream.height, stream.average_rate, stream.pix_fmt)
            context = stream.codec_context
            colours = (context.color_range, context.colorspace, context.color_primaries, context.color_trc)
            packets = [
                (packet.pts, packet.dts, packet.is_keyframe, bytes(packet))
                for packet in container.demux(stream)
                if packet.size
            ]
            return told, colours, stream.time_base, packets

    assert images(result) == images(tmp_path / name)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_audio_does_not_drift_in_a_minute(tmp_path, kind):
    source = encode(tmp_path / "s.wav", "pcm_s16le", 12000, clicks(12000, 60))
    silent = video(tmp_path / f"f.{kind}", 120)
    add_audio(silent, source, silent)
    assert heard(read_audio(silent, rate=None)) == pytest.approx(np.arange(60) + 0.5, abs=0.001)


def test_the_original_packets_are_copied_where_the_container_takes_them(tmp_path):
    source = encode(tmp_path / "s.m4a", "aac", 44100, clicks(44100, 3), layout="stereo")
    add_audio(video(tmp_path / "video.mp4"), source, tmp_path / "video.mp4")

    def packets(path):
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]

    assert packets(tmp_path / "video.mp4") == packets(source)
    with av.open(str(tmp_path / "video.mp4")) as container:  # without our reader: what players make of it
        first = next(container.decode(container.streams.audio[0]))
        assert (first.pts, first.samples) == (0, 1024)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_audio_can_be_cut_and_delayed(tmp_path, kind):
    source = encode(tmp_path / "s.wav", "pcm_s16le", 44100, clicks(44100, 5))
    result = tmp_path / f"r.{kind}"
    add_audio(video(tmp_path / f"f.{kind}", 8), source, result, start=1.25, seconds=2, offset=1.1)
    assert heard(read_audio(result)) == pytest.approx([1.35, 2.35], abs=0.001)
    assert probe_audio(result).seconds == pytest.approx(3.1, abs=0.025)
    add_audio(tmp_path / f"f.{kind}", source, result, start=0.5)  # longer than the video: it ends with it
    assert probe_audio(result).seconds == pytest.approx(4, abs=0.025)


def test_copied_audio_ends_with_the_video_and_can_be_late(tmp_path):
    source = encode(tmp_path / "s.m4a", "aac", 48000, clicks(48000, 5))
    add_audio(video(tmp_path / "f.mp4", 6), source, tmp_path / "r.mp4", offset=0.2)
    assert heard(read_audio(tmp_path / "r.mp4")) == pytest.approx([0.7, 1.7, 2.7], abs=0.001)
    assert probe_audio(tmp_path / "r.mp4").seconds == pytest.approx(3, abs=0.025)


@pytest.mark.parametrize(
    ("rate", "channels", "kind", "told"),
    [
        (192000, 2, "mp4", (48000, 2)),
        (44100, 2, "webm", (48000, 2)),
        (8000, 1, "mp4", (8000, 1)),
        (48000, 6, "mp4", (48000, 6)),
        (48000, 6, "webm", (48000, 6)),
        (48000, 10, "mp4", (48000, 1)),
    ],
)
def test_rates_and_channels_stay_where_the_codec_has_them(tmp_path, rate, channels, kind, told):
    source = wav(tmp_path / "s.wav", clicks(rate, 3), rate, channels)
    add_audio(video(tmp_path / f"f.{kind}"), source, tmp_path / f"r.{kind}")
    info = probe_audio(tmp_path / f"r.{kind}")
    assert (info.rate, info.channels) == told
    assert heard(read_audio(tmp_path / f"r.{kind}")) == pytest.approx([0.5, 1.5, 2.5], abs=0.001)


def test_the_audio_of_a_clip_is_taken_and_replaces_another(tmp_path):
    source = encode(tmp_path / "s.mp4", "aac", 48000, clicks(48000, 3), images=6)
    late = video(tmp_path / "f.mp4")
    add_audio(late, source, late, offset=0.3)
    add_audio(late, source, late)
    with av.open(str(late)) as container:
        assert len(container.streams.audio) == 1
    assert heard(read_audio(late)) == pytest.approx([0.5, 1.5, 2.5], abs=0.001)


def test_a_video_that_cannot_have_audio_says_so_and_stays(tmp_path):
    source = wav(tmp_path / "s.wav", tone(440, 48000))
    silent = video(tmp_path / "f.mp4")
    before = silent.read_bytes()
    assert [can_carry_audio(name) for name in ("a.mp4", "a.mov", "a.webm", "a.gif", "a/", "a.png")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(OutputError, match="gif carries no audio"):
        add_audio(silent, source, tmp_path / "f.gif")
    with pytest.raises(OutputError, match="container must stay"):
        add_audio(silent, source, tmp_path / "f.webm")
    with pytest.raises(OptionError, match="delayed by 3"):
        add_audio(silent, source, silent, offset=3)
    with pytest.raises(MediaError, match="no audio, only images"):
        add_audio(silent, silent, silent)
    broken = encode(
        tmp_path / "b.flac", "flac", 48000, np.random.default_rng(0).uniform(-1, 1, 96000).astype("f4")
    )
    broken.write_bytes(broken.read_bytes()[:-60000])
    with pytest.raises(MediaError, match="damaged after"):
        add_audio(silent, broken, silent)
    assert silent.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_memory_does_not_grow_with_the_length_of_the_source(tmp_path):
    path = wav(tmp_path / "s.wav", tone(440, 48000, 20))
    sizes = [piece.nbytes for piece in AudioReader(path).pieces(mono=True)]
    assert max(sizes) < 100_000
    assert sum(sizes) == 20 * 48000 * 4
