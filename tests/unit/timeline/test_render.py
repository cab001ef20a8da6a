"""A rendered timeline, frame by frame: what is seen where, in every format, and what is refused."""

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.timeline.media import (
    SIZE,
    audio_clip,
    clip,
    dissolve,
    gap,
    images_of,
    number_of,
    rendered,
    sound,
    timeline,
    tone,
    track,
    video,
)

from wan22.errors import MediaError, OptionError, OutputError, RequestError
from wan22.media import provenance
from wan22.media.image import write_image
from wan22.media.provenance import Marking
from wan22.media.recipe import read_recipe
from wan22.media.video import probe, read_clip
from wan22.timeline import formats
from wan22.timeline.frames import frames
from wan22.timeline.render import Rendering, Settings, render
from wan22.timeline.sources import Sources, files_beside
from wan22.timeline.text import Texts

BLACK = 16
HEARD = {"frames": 40, "rate": [24, 1], "size": list(SIZE), "audio": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("media")
    video(place / "a.mp4", recipe={"wan22": "0", "prompt": "a"}, audio=tone(40 / 24))
    video(place / "b.mp4", first=100, recipe={"wan22": "0", "prompt": "b"})
    video(place / "slow.mp4", fps=16, first=200)
    video(place / "red.mp4", colour=(200, 0, 0))
    video(place / "blue.mp4", colour=(0, 0, 200))
    video(place / "wide.mp4", size=(96, 48), colour=(0, 200, 0))
    return place


def made(cut, folder, first=0, last=None, language=None):
    """The frames of a timeline as they go into the encoder."""
    texts = Texts(cut, cut.size, language)
    return list(frames(cut, Sources(cut, files_beside(folder)), texts, first, last or cut.length))


def numbers(images):
    return [number_of(image) for image in images]


def level(image):
    """Red, green and blue of the middle."""
    height, width = image.shape[:2]
    return image[height // 3 : height // 2, width // 3 : width // 2].mean((0, 1))


def near(image, red, green, blue):
    return np.abs(level(image) - (red, green, blue)).max() < 5


def test_every_frame_is_the_one_that_belongs_there(folder):
    cut = timeline(
        track(
            "v",
            clip("c1", "a.mp4", 3, 20),
            gap("g", 4),
            clip("c2", "b.mp4", 10, 30),
            clip("c3", "a.mp4", 39, 40),
        )
    )
    assert numbers(made(cut, folder)) == [*range(3, 20), 0, 0, 0, 0, *range(110, 130), 39]


def test_a_slower_source_repeats_frames_and_a_faster_speed_skips_them(folder):
    cut = timeline(
        track("v", clip("c1", "slow.mp4", 0, 8, rate=16), clip("c2", "a.mp4", 2, 12, speed=(2, 1)))
    )
    seen = numbers(made(cut, folder))
    assert seen == [200, 200, 201, 202, 202, 203, 204, 204, 205, 206, 206, 207, 2, 4, 6, 8, 10]


@settings(deadline=None, max_examples=12)
@given(
    first=st.integers(0, 20),
    count=st.integers(1, 20),
    speed=st.sampled_from([(1, 1), (1, 2), (1, 4), (3, 2), (2, 1), (4, 1)]),
    rate=st.sampled_from([(24, 1), (30000, 1001), (60, 1), (12, 1)]),
)
def test_any_cut_shows_the_frames_that_its_document_says(folder, first, count, speed, rate):
    from fractions import Fraction

    cut = timeline(
        track("v", clip("c", "a.mp4", first, first + count, speed=speed, of=Fraction(*rate))), rate=rate
    )
    (_, _, only) = next(cut.clips())
    assert numbers(made(cut, folder)) == [only.source_frame(at, cut.fps) for at in range(only.duration)]


def test_a_dissolve_mixes_in_equal_steps_with_the_handles_of_both(folder):
    cut = timeline(
        track("v", clip("c1", "red.mp4", 0, 20), dissolve("t", 2, 3), clip("c2", "blue.mp4", 5, 20))
    )
    images = made(cut, folder)
    assert len(images) == 35
    for frame, image in enumerate(images):
        share = min(1.0, max(0.0, (frame - 18 + 0.5) / 5))
        assert near(image, 200 * (1 - share), 0, 200 * share), frame
    # Both sources go on: numbers of the clip before rise beyond its end.
    cut = timeline(track("v", clip("c1", "a.mp4", 0, 20), dissolve("t", 0, 5), clip("c2", "red.mp4", 5, 20)))
    assert numbers(made(cut, folder))[18:22] == [18, 19, 20, 21]


def test_fades_come_from_black_and_go_to_black(folder):
    cut = timeline(track("v", clip("c", "red.mp4", 0, 20, fade_in=4, fade_out=5)))
    shares = [level(image)[0] / 200 for image in made(cut, folder)]
    expected = [(k + 0.5) / 4 for k in range(4)] + [1] * 11 + [(k + 0.5) / 5 for k in reversed(range(5))]
    assert np.abs(np.subtract(shares, expected)).max() < 0.03


def test_higher_tracks_cover_lower_ones_and_gaps_do_not(folder):
    cut = timeline(
        track("v1", clip("c1", "red.mp4", 0, 20)),
        track("v2", gap("g", 5), clip("c2", "blue.mp4", 0, 5), clip("c3", "blue.mp4", 0, 5, enabled=False)),
        track("v3", clip("c4", "blue.mp4", 0, 20), muted=True),
    )
    images = made(cut, folder)
    assert [bool(near(image, 0, 0, 200)) for image in images] == [5 <= frame < 10 for frame in range(20)]
    assert near(images[0], 200, 0, 0) and near(images[12], 200, 0, 0)


def test_a_dissolve_of_a_higher_track_shows_what_lies_below_through_nothing(folder):
    cut = timeline(
        track("v1", clip("c0", "red.mp4", 0, 30)),
        track(
            "v2",
            clip("c1", "blue.mp4", 0, 10, enabled=False),
            dissolve("t", 2, 2),
            clip("c2", "blue.mp4", 10, 20),
        ),
    )
    images = made(cut, folder)
    assert near(images[7], 200, 0, 0) and near(images[8], 175, 0, 25)
    assert near(images[11], 25, 0, 175) and near(images[12], 0, 0, 200)


def test_cover_fills_the_frame_and_fit_leaves_what_lies_below(folder):
    wide = {"source": {"frames": 40, "rate": [24, 1], "size": [96, 48]}}
    cut = timeline(
        track("v1", clip("c0", "red.mp4", 0, 2)),
        track("v2", clip("c1", "wide.mp4", 0, 1, **wide), clip("c2", "wide.mp4", 0, 1, fit="fit", **wide)),
    )
    covering, fitting = made(cut, folder)
    assert np.abs(covering.astype(int) - (0, 200, 0)).max() < 12
    assert np.abs(fitting[:6].astype(int) - (200, 0, 0)).max() < 12
    assert near(fitting, 0, 200, 0)


def test_a_still_lasts_as_long_as_one_likes(folder):
    write_image(folder / "still.png", np.full((20, 30, 3), (10, 200, 10), np.uint8))
    still = {"frames": 1, "rate": [24, 1], "size": [30, 20], "still": True}
    cut = timeline(
        track(
            "v", clip("c", "still.png", 0, 30, source=still), dissolve("t", 2, 2), clip("d", "red.mp4", 2, 9)
        )
    )
    images = made(cut, folder)
    assert len(images) == 37 and near(images[27], 10, 200, 10) and near(images[32], 200, 0, 0)


def test_the_range_and_the_platforms_size(folder, tmp_path):
    cut = timeline(track("v", clip("c1", "a.mp4", 0, 30)), **{"in": 5, "out": 12})
    rendered(cut, tmp_path / "cut.mp4", folder, size="9:16")
    info = probe(tmp_path / "cut.mp4")
    assert (info.width, info.height, info.frames) == (48, 86, 7)


@pytest.mark.parametrize(
    ("asked", "own", "size"),
    [
        ("16:9", (1280, 720), (1280, 720)), ("9:16", (1280, 720), (720, 1280)), ("1:1", (1280, 720), (720, 720)),
        ("4:5", (1280, 720), (720, 900)), ("9:16", (832, 480), (480, 854)), (None, (832, 480), (832, 480)),
        ("1080x1920", (832, 480), (1080, 1920)), ("2.39:1", (832, 480), None), ("wide", (832, 480), None),
        ("0:1", (832, 480), None),
    ],
)  # fmt: skip
def test_sizes_of_platforms(asked, own, size):
    if size is None:
        with pytest.raises(OptionError, match="9:16"):
            formats.size_of(asked, own)
    else:
        assert formats.size_of(asked, own) == size


@pytest.fixture(scope="module")
def short(folder):
    return timeline(
        track(
            "v", clip("c1", "a.mp4", 0, 12, source=HEARD), dissolve("t", 1, 1), clip("c2", "b.mp4", 10, 20)
        ),
        loudness=-16,
    )


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("h264", "h264", "yuv420p"), ("hevc", "hevc", "yuv420p10le"), ("av1", "libdav1d", "yuv420p"),
        ("gif", "gif", "bgra"), ("prores", "prores", "yuv422p10le"), ("webm", "vp9", "yuv420p"), ("png", "png", ""),
    ],
)  # fmt: skip
def test_every_format_has_exactly_the_frames(folder, short, tmp_path, name, codec, pixels):
    import av

    form = formats.FORMATS[name]
    target = tmp_path / "images" if name == "png" else tmp_path / f"cut{form.suffix}"
    end = rendered(short, f"{target}/" if name == "png" else target, folder, format=name, marking=Marking())
    seen = read_clip(end.path, fps=24 if name == "png" else None).frames
    assert numbers(seen) == [*range(12), *range(110, 120)]
    assert read_recipe(end.path)["joined"] == [{"wan22": "0", "prompt": "a"}, {"wan22": "0", "prompt": "b"}]
    assert read_recipe(end.path)["timeline"]["tracks"][0]["items"][0]["in"] == 0
    if name != "png":
        with av.open(str(target)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == codec and stream.codec_context.pix_fmt == pixels
            assert bool(container.streams.audio) == form.audio
    if name in ("h264", "hevc", "prores"):
        assert provenance.read(end.path).signed_type == "trainedAlgorithmicMedia"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_shortest_videos_are_whole_too(folder, tmp_path, count):
    cut = timeline(track("v", clip("c", "a.mp4", 0, count)))
    for name in ("h264", "hevc", "av1", "webm"):
        target = tmp_path / f"{name}{formats.FORMATS[name].suffix}"
        assert numbers(images_of(rendered(cut, target, folder, format=name).path)) == [*range(count)]


def test_what_no_model_made_is_not_marked_as_made_by_one(folder, tmp_path):
    end = rendered(
        timeline(track("v", clip("c", "red.mp4", 0, 3))), tmp_path / "cut.mp4", folder, marking=Marking()
    )
    assert provenance.read(end.path) is None and read_recipe(end.path)["joined"] == [None]
    both = timeline(track("v", clip("c", "red.mp4", 0, 3), clip("d", "a.mp4", 0, 3)))
    end = rendered(both, tmp_path / "both.mp4", folder, marking=Marking())
    assert provenance.read(end.path).source_type == "compositeWithTrainedAlgorithmicMedia"


def test_only_the_clips_that_are_seen_are_open(folder, tmp_path, monkeypatch):
    from wan22.media import video as module

    opened, most = [], []
    original = module.open_clip

    @contextmanager
    def counted(path):
        with original(path) as container:
            opened.append(path)
            most.append(len(opened))
            try:
                yield container
            finally:
                opened.remove(path)

    items = [clip("c0", "a.mp4", 5, 15)]
    for number in range(1, 12):
        items += [dissolve(f"t{number}", 1, 1), clip(f"c{number}", "ab"[number % 2] + ".mp4", 5, 15)]
    cut = timeline(track("v", *items))
    sources = Sources(cut, files_beside(folder))
    monkeypatch.setattr(module, "open_clip", counted)
    seen = list(frames(cut, sources, Texts(cut, cut.size, None), 0, cut.length))
    assert len(seen) == 120 and max(most) == 2 and not opened


@pytest.mark.parametrize("name", ["cut.mp4", "cut.webm", "cut.gif", "images/", "cut.wav"])
def test_an_iterator_that_is_closed_leaves_nothing(folder, tmp_path, name):
    cut = timeline(track("v", clip("c", "a.mp4", 0, 30, source=HEARD)))
    steps = render(cut, f"{tmp_path}/{name}", files_beside(folder))
    assert next(steps) == Rendering("render", 1, 30)
    steps.close()
    assert not list(tmp_path.iterdir())


def test_a_timelines_own_media_is_never_replaced(folder, tmp_path):
    video(tmp_path / "mine.mp4")
    cut = timeline(track("v", clip("c", "mine.mp4", 0, 3)))
    with pytest.raises(OutputError, match="own media"):
        render(cut, tmp_path / "mine.mp4", files_beside(tmp_path), Settings(existing="replace"))


def test_media_that_is_missing_or_damaged_is_said_at_once_and_names_the_clip(folder, tmp_path):
    whole = (folder / "a.mp4").read_bytes()
    (folder / "cut_off.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("no video")
    for path, said in (
        ("absent.mp4", "absent.mp4"),
        ("cut_off.mp4", "cut off"),
        ("text.mp4", "text"),
        ("red.mp4", "frame 49"),
    ):
        bad = clip("c7", path, 10, 50, frames=50, name="the shot")
        cut = timeline(track("v", clip("c1", "a.mp4", 0, 5), bad, name="V1"))
        with pytest.raises(
            MediaError, match=f'the clip "the shot" \\(c7\\) on track "V1" cannot be used.*{said}'
        ):
            render(cut, tmp_path / "out.mp4", files_beside(folder))
    two = timeline(track("v", clip("c1", "absent.mp4", 0, 5), clip("c2", "absent.mp4", 0, 5)))
    with pytest.raises(MediaError, match="and 1 more like it"):
        render(two, tmp_path / "out.mp4", files_beside(folder))
    of_studio = timeline(track("v", clip("c1", "", 0, 5, media={"job": "job_1", "file": "video.mp4"})))
    with pytest.raises(MediaError, match="server"):
        render(of_studio, tmp_path / "out.mp4", files_beside(folder))
    assert not list(tmp_path.iterdir())


def test_damage_that_only_decoding_shows_names_the_clip_and_leaves_nothing(folder, tmp_path):
    whole = bytearray((folder / "a.mp4").read_bytes())
    middle = whole.index(b"mdat") + 4
    whole[middle + 400 : middle + 3000] = bytes(2600)
    (folder / "hurt.mp4").write_bytes(whole)
    cut = timeline(track("v", clip("c1", "hurt.mp4", 0, 40)))
    with pytest.raises(MediaError, match="c1"):
        list(render(cut, tmp_path / "out.mp4", files_beside(folder)))
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_users_is_replaced_unasked(folder, tmp_path):
    (tmp_path / "cut.mp4").write_text("mine")
    cut = timeline(track("v", clip("c", "a.mp4", 0, 3)))
    with pytest.raises(OutputError, match="exists already"):
        render(cut, tmp_path / "cut.mp4", files_beside(folder))
    assert (tmp_path / "cut.mp4").read_text() == "mine"
    rendered(cut, tmp_path / "cut.mp4", folder, existing="replace")
    assert probe(tmp_path / "cut.mp4").frames == 3


@pytest.mark.parametrize(
    ("name", "asked", "error", "said"),
    [
        ("cut.mp4", {"format": "webm"}, OptionError, "Endings"),
        ("cut.mp4", {"format": "h265"}, OptionError, "unknown format"),
        ("cut.avi", {}, OutputError, "avi"),
        ("cut.png", {}, OutputError, "one image"),
        ("cut.mp4", {"size": "8x8"}, RequestError, "8x8"),
        ("cut.mp4", {"captions": "burn"}, OptionError, "no captions"),
        ("cut.mp4", {"captions": "de"}, OptionError, "burn"),
        ("cut.mp4", {"loudness": 3.0}, OptionError, "LUFS"),
        ("cut.gif", {"loudness": -16.0}, OptionError, "loudness says nothing"),
        ("cut.wav", {"size": "9:16"}, OptionError, "size says nothing"),
        ("cut.wav", {"captions": "burn"}, OptionError, "captions says nothing"),
    ],
)
def test_what_cannot_be_delivered_is_refused(folder, tmp_path, name, asked, error, said):
    cut = timeline(track("v", clip("c", "a.mp4", 0, 3)))
    with pytest.raises(error, match=said):
        render(cut, tmp_path / name, files_beside(folder), Settings(**asked))


def test_a_timeline_without_frames_is_refused(folder, tmp_path):
    for cut in (timeline(), timeline(track("v")), timeline(track("v", gap("g", 5)), **{"in": 5})):
        with pytest.raises(RequestError, match="no frame to render"):
            render(cut, tmp_path / "cut.mp4", files_beside(folder))


def test_a_timeline_of_audio_alone_is_black(folder, tmp_path):
    sound(folder / "tone.wav", tone(1))
    cut = timeline(track("a", audio_clip("c", "tone.wav", 0, 12, frames=24), kind="audio"))
    end = rendered(cut, tmp_path / "cut.mp4", folder)
    assert images_of(end.path).max() <= BLACK and probe(end.path).has_audio and probe(end.path).frames == 12
