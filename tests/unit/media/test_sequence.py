"""Numbered images are read as the clip that they are."""

import numpy as np
import pytest
from PIL import Image

from wan22.errors import MediaError, OutputError
from wan22.media.recipe import read_recipe
from wan22.media.video import VideoWriter, probe, read_clip, stream_clip

FRAMES = np.random.default_rng(0).integers(0, 255, (7, 16, 18, 3), dtype=np.uint8)


@pytest.fixture
def written(tmp_path):
    with VideoWriter(f"{tmp_path}/shots/", fps=8, size=(18, 16)) as writer:
        writer.add(FRAMES)
        writer.close({"fps": 8.0})
    return tmp_path / "shots"


@pytest.fixture
def foreign(tmp_path):
    for i, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"x-{i + 9}.png")
    return tmp_path / "x-%d.png"


def test_what_was_written_is_read_again(written):
    clip = read_clip(written)
    assert clip.fps == 8.0
    assert np.array_equal(clip.frames, FRAMES)
    assert probe(written).seconds == 7 / 8


def test_a_piece_of_it_is_read(written):
    assert np.array_equal(read_clip(written, start=0.25, max_frames=3).frames, FRAMES[2:5])


def test_it_is_streamed_in_pieces(foreign):
    pieces = list(stream_clip(foreign, 3))
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert np.array_equal(np.concatenate(pieces), FRAMES)


def test_numbers_count_and_not_letters(foreign):
    assert np.array_equal(read_clip(foreign, fps=24).frames, FRAMES)  # x-9 comes before x-10
    assert read_clip(foreign, fps=24).fps == 24


def test_a_sequence_without_a_rate_asks_for_it(foreign):
    with pytest.raises(MediaError, match=r"no rate of its own\. Give --fps"):
        probe(foreign)


@pytest.mark.parametrize("fps", [0, -1, 1e6, float("nan")])
def test_a_rate_that_cannot_be_is_refused(foreign, fps):
    with pytest.raises(MediaError, match="frames a second: more than 0"):
        probe(foreign, fps)


def test_a_gap_is_named(foreign):
    (foreign.parent / "x-11.png").unlink()
    with pytest.raises(MediaError, match=r"x-10\.png is followed by x-12\.png"):
        read_clip(foreign, fps=8)


def test_images_of_two_sizes_are_refused(foreign):
    Image.new("RGB", (20, 16)).save(foreign.parent / "x-12.png")
    with pytest.raises(MediaError, match=r"x-12\.png is 20x16, the first is 18x16"):
        read_clip(foreign, fps=8)


def test_a_folder_without_such_images_says_how_to_name_them(foreign):
    for read in (probe, read_clip, read_recipe):
        with pytest.raises(MediaError, match=r"no images named like frame-%04d\.png.*x-%02d\.png"):
            read(foreign.parent)


def test_a_video_whose_name_looks_like_a_pattern_is_a_video(tmp_path):
    path = tmp_path / "100%d.mp4"
    with VideoWriter(str(path), fps=8, size=(18, 16)) as writer:
        writer.add(FRAMES)
        writer.close(None)
    assert probe(path).frames == 7


def test_a_pipeline_takes_images_at_the_rate_that_is_given(foreign):
    from wan22.pipeline.inputs import video_of

    clip = video_of(str(foreign), 12.0, 8.0)
    assert clip.fps == 12.0 and np.array_equal(clip.frames, FRAMES)
    with pytest.raises(MediaError, match="Give --fps"):
        video_of(str(foreign), None, 8.0)


@pytest.mark.parametrize("name", ["own/", "own/frame-%04d.png"])
def test_images_that_are_not_ours_are_not_replaced(tmp_path, name):
    (tmp_path / "own").mkdir()
    theirs = tmp_path / "own" / "frame-0001.png"
    Image.new("RGB", (18, 16), "red").save(theirs)
    before = theirs.read_bytes()
    with pytest.raises(OutputError, match=r"would replace .*frame-0001\.png, which wan22 did not write"):
        write_sequence(f"{tmp_path}/{name}")
    assert theirs.read_bytes() == before and list((tmp_path / "own").iterdir()) == [theirs]


def test_an_image_of_ours_that_was_changed_is_not_replaced(written):
    image = written / "frame-0002.png"
    Image.new("RGB", (18, 16), "red").save(image)
    with pytest.raises(
        OutputError, match=r"frame-0002\.png, which wan22 did not write, or which was changed"
    ):
        write_sequence(f"{written}/")
    assert len(list(written.iterdir())) == len(FRAMES)


def test_a_sequence_behind_the_note_of_an_unfinished_one_is_not_read(written):
    (written / ".frame-%04d.png.unfinished").touch()
    for read in (probe, read_clip, read_recipe):
        with pytest.raises(MediaError, match="half a sequence: writing it was interrupted"):
            read(written)
    write_sequence(f"{written}/")
    assert len(read_clip(written, fps=8).frames) == 2 == len(list(written.iterdir()))


def write_sequence(path):
    with VideoWriter(path, fps=8, size=(18, 16)) as writer:
        writer.add(FRAMES[:2])
