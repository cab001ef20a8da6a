"""What will be trained, at which size and length, and what is wrong with the rest; and the report of it."""

import base64
import io
import json
import math
import os
import re
import socket
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from unit.train.media import (
    greens,
    image,
    turned,
    with_text,
    write_captioned_image,
    write_clip,
    write_timed,
)

from wan22.errors import MediaError, OptionError, SizeError
from wan22.media.video import VideoWriter
from wan22.train.data import DataPlan, survey, write_report
from wan22.train.data.buckets import best_size, cut, sizes
from wan22.train.data.frames import frames_at
from wan22.train.data.probe import probe


def plan(folder, *, size=(48, 32), frames=(5, 9), fps=8.0):
    return DataPlan((folder,), size, frames, fps)


def refusals(found):
    return {problem.file.rsplit("/", 1)[-1]: problem for problem in found.refused}


# The plan


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"size": (50, 32)}, SizeError, "nearest that works is 48x32"),
        ({"frames": (6,)}, SizeError, "nearest that works is 5"),
        ({"frames": ()}, SizeError, "at least one"),
        ({"frames": (0,)}, SizeError, "nearest that works is 1"),
        ({"fps": 0}, OptionError, "1 to 240"),
        ({"fps": math.nan}, OptionError, "1 to 240"),
        ({"sources": ()}, OptionError, "at least one source"),
        ({"side": 32}, SizeError, "such as 16"),
    ],
)
def test_a_plan_that_cannot_be_is_an_error_that_says_what_works(tmp_path, change, error, told):
    values = {"sources": (tmp_path,), "size": (48, 32), "frames": (5,), "fps": 8.0} | change
    with pytest.raises(error, match=told):
        DataPlan(**values)


# Buckets


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    size=st.sampled_from([(832, 480), (1280, 720), (1280, 704), (480, 832), (48, 32), (128, 80)]),
    shape=st.tuples(st.integers(16, 4096), st.integers(16, 4096)),
)
def test_a_bucket_never_needs_more_memory_than_the_plan_and_fits_its_grid(size, shape):
    side = DataPlan((".",), size, (1,), 8.0).side
    bucket = best_size(shape, size, side)
    assert bucket in sizes(size, side)
    assert bucket[0] * bucket[1] <= size[0] * size[1]
    assert bucket[0] % side == bucket[1] % side == 0


def test_the_plans_own_size_is_taken_for_its_own_shape_and_turned_for_upright_clips():
    assert best_size((1920, 1080), (832, 480), 32) == (832, 480)
    assert best_size((1080, 1920), (832, 480), 32) == (480, 832)
    width, height = best_size((1000, 1000), (832, 480), 32)
    assert width == height


def test_a_finer_grid_gives_more_shapes():
    assert DataPlan((".",), (320, 192), (1,), 8.0).side == 64
    assert DataPlan((".",), (320, 192), (1,), 8.0, side=16).side == 16
    assert best_size((480, 480), (320, 192), 16) == (240, 240)


def test_a_model_of_few_sizes_gets_no_other_and_none_above_the_plans_area():
    only = ((96, 64), (80, 80), (64, 96))
    assert best_size((1920, 1080), (96, 64), 16, only) == (96, 64)
    assert best_size((500, 500), (80, 80), 16, only) == (80, 80)
    assert best_size((500, 500), (96, 64), 16, only) in ((96, 64), (64, 96))  # 80x80 has more pixels
    assert best_size((100, 900), (32, 32), 16, only) in only  # a file may ask for less than there is
    plan = DataPlan((".",), (80, 80), (1,), 8.0, side=16, only=only)
    assert plan.only == only
    with pytest.raises(SizeError, match=r"cannot be trained at 48x32; those that can: 96x64, 80x80, 64x96"):
        DataPlan((".",), (48, 32), (1,), 8.0, only=only)


def lengths(windows):
    return [window.frames for window in windows]


def test_long_clips_are_cut_into_windows_and_what_is_left_goes_to_shorter_lengths():
    windows = cut(0, 15.0, (48, 32), (1, 17, 81), 16.0)
    assert lengths(windows) == [81, 81, 17, 17, 17, 17]
    ends = [window.start + window.frames * window.step for window in windows]
    assert ends[-1] <= 15.0 + 1e-9
    assert all(b.start >= end - 1e-9 for b, end in zip(windows[1:], ends, strict=False))


def test_five_seconds_are_81_frames_slowed_by_a_hair_and_less_are_not():
    (window,) = cut(0, 5.0, (48, 32), (81,), 16.0)
    assert window.frames == 81
    assert window.step == pytest.approx(5 / 81)
    assert cut(0, 4.8, (48, 32), (81,), 16.0) == []
    assert lengths(cut(0, 0.2, (48, 32), (1, 17), 16.0)) == [1]


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    seconds=st.floats(0.01, 60),
    fps=st.sampled_from([8.0, 16.0, 23.976, 24.0]),
    lengths=st.sets(st.sampled_from([1, 5, 17, 33, 81]), min_size=1),
)
def test_windows_lie_in_the_clip_do_not_overlap_and_keep_the_rate(seconds, fps, lengths):
    at = 0.0
    for window in cut(3, seconds, (48, 32), tuple(lengths), fps):
        assert window.frames in lengths
        assert window.start >= at - 1e-9
        assert 0.96 / fps <= window.step <= 1 / fps + 1e-12
        at = window.start + (window.frames - 1) * window.step
        assert at < seconds


# Frames by time


def test_a_variable_rate_is_read_by_its_times(tmp_path):
    path = write_timed(tmp_path / "a.mp4", [0, 10, 20, 50, 100, 105, 110])
    facts = probe(path)
    assert facts.variable
    assert facts.frames == 7
    times = [0.0, 0.15, 0.3, 0.6, 0.99, 1.0, 1.06, 1.1]
    seen = greens(frames_at(path, times, facts.clock, (48, 32), facts.size))
    assert seen == [0, 1, 2, 3, 3, 4, 5, 6]


def test_another_rate_is_brought_to_the_plans_by_time_and_a_late_window_is_found(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=24, fps=8)
    facts = probe(path)
    seen = greens(frames_at(path, [0, 0.25, 0.5, 2.0, 2.5], facts.clock, (48, 32), facts.size))
    assert seen == [0, 2, 4, 16, 20]
    assert greens(frames_at(path, [2.5], facts.clock, (48, 32), facts.size)) == [20]


def test_a_clip_that_ends_before_its_time_is_damaged(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=8, fps=8)
    facts = probe(path)
    with pytest.raises(MediaError, match=r"ends at 0\.88 s"):
        list(frames_at(path, [0, 5.0], facts.clock, (48, 32), facts.size))


def test_rotation_and_the_shape_of_pixels_are_honoured(tmp_path):
    path = turned(write_clip(tmp_path / "a.mp4", frames=5), tmp_path / "b.mp4")
    facts = probe(path)
    assert facts.size == (32, 48)
    frame = next(frames_at(path, [0.0], facts.clock, (32, 48), facts.size))
    assert frame.shape == (48, 32, 3)
    assert frame[4, :, 0].mean() > 150 > 50 > frame[-4, :, 0].mean()  # what was left is above
    wide = write_timed(tmp_path / "wide.mp4", [0, 10, 20], aspect=Fraction(2, 1))
    assert probe(wide).size == (96, 32)


def test_exif_rotation_of_an_image_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image()).save(tmp_path / "a.jpg", exif=exif)
    with_text(tmp_path / "a.jpg", "a cube")
    found = survey(plan(tmp_path))
    assert found.videos[0].facts.size == (32, 48)
    assert found.windows[0].size == (32, 48)


def test_an_animated_gif_is_a_clip_with_its_own_times(tmp_path):
    frames = [Image.fromarray(image(shade=shade)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 500, 400])
    facts = probe(tmp_path / "a.gif")
    assert (facts.frames, facts.seconds, facts.variable) == (3, pytest.approx(1.0), True)
    seen = greens(frames_at(tmp_path / "a.gif", [0, 0.2, 0.5, 0.7], facts.clock, (48, 32), facts.size))
    assert seen == [0, 10, 10, 20]


def test_a_last_frame_that_lasts_is_shown_to_its_end(tmp_path):
    frames = [Image.fromarray(image(shade=shade)) for shade in (0, 100)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 4000])
    facts = probe(tmp_path / "a.gif")
    seen = greens(frames_at(tmp_path / "a.gif", [0, 4.0], facts.clock, (48, 32), facts.size))
    assert (facts.seconds, seen) == (pytest.approx(4.1), [0, 10])


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mov", "a.webm"])
def test_every_container_gives_the_frame_of_a_moment(tmp_path, name):
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx-vp9"}.get(name, "libx264")
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for index in range(24):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image(shade=index * 10), format="rgb24")))
        container.mux(stream.encode(None))
    facts = probe(tmp_path / name)
    assert (facts.frames, facts.seconds, facts.variable) == (24, pytest.approx(3.0, abs=0.01), False)
    seen = greens(frames_at(tmp_path / name, [0, 0.25, 1.5, 2.875], facts.clock, (48, 32), facts.size))
    assert np.abs(np.array(seen) - [0, 2, 12, 23]).max() <= (1 if name == "a.avi" else 0)
    assert greens(frames_at(tmp_path / name, [2.5], facts.clock, (48, 32), facts.size))[0] in (19, 20)


def test_an_image_is_cut_to_its_centre_and_not_squeezed(tmp_path):
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 24:72] = 255
    Image.fromarray(wide).save(tmp_path / "a.png")
    facts = probe(tmp_path / "a.png")
    (frame,) = frames_at(tmp_path / "a.png", [0.0], facts.clock, (48, 32), facts.size)
    assert frame.min() > 250


# The survey


def broken_set(folder):
    """Good clips, and everything that is wrong with others."""
    write_clip(folder / "good.mp4", frames=9)
    write_clip(folder / "long.mp4", frames=24, width=64)
    write_clip(folder / "upright.mp4", frames=6, width=32, height=48)
    write_captioned_image(folder / "still.png")
    write_clip(folder / "short.mp4", frames=2)
    write_captioned_image(folder / "tiny.png", 8, 8)
    write_clip(folder / "textless.mp4", text=None)
    with_text(folder / "zero.mp4", "x").write_bytes(b"")
    with_text(folder / "page.mp4", "x").write_text("<html>not found</html>")
    whole = write_clip(folder / "cut.mp4", frames=24).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "second.mp4").write_bytes((folder / "good.mp4").read_bytes())
    with_text(folder / "second.mp4", "x")
    Image.new("1", (12000, 10000)).save(with_text(folder / "huge.png", "x"))


def test_everything_that_is_wrong_is_refused_with_a_reason_and_the_rest_is_counted(tmp_path):
    broken_set(tmp_path)
    found = survey(plan(tmp_path))
    used = {video.item.path.name for video in found.videos}
    assert used == {"good.mp4", "long.mp4", "upright.mp4", "still.png"}
    refused = refusals(found)
    told = {
        "short.mp4": "lasts 0.25 s, 2 frames",
        "tiny.png": "enlarged",
        "textless.mp4": "no text",
        "zero.mp4": "empty",
        "page.mp4": "a web page",
        "cut.mp4": "cut off",
        "second.mp4": "same content",
        "huge.png": "12000x10000",
    }
    assert refused.keys() == told.keys()
    for name, part in told.items():
        assert part in refused[name].reason, refused[name]
        assert refused[name].help.endswith(".") and len(refused[name].help) > 10
    assert found.found == 12
    # 24 frames of 8 a second: two windows of nine, one of five
    long = next(index for index, video in enumerate(found.videos) if video.item.path.name == "long.mp4")
    assert [w.frames for w in found.windows if w.video == long] == [9, 9, 5]
    assert {name: len(rows) for name, rows in found.buckets.items()} == {
        "48x32x9": 3, "32x48x5": 1, "48x32x1": 1, "48x32x5": 1,
    }  # fmt: skip
    text = "\n".join(found.table())
    assert "4 of 12 clips used" in text and "48x32x9" in text and "refused: " in text


def test_nothing_usable_is_one_clear_error(tmp_path):
    write_clip(tmp_path / "a.mp4", text=None)
    with pytest.raises(MediaError, match=r"nothing in .* can be trained on\. .*a\.mp4: has no text\. Write"):
        survey(plan(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="no clip or image"):
        survey(plan(tmp_path / "empty"))


def test_damage_in_the_middle_of_a_clip_is_found_before_training(tmp_path):
    write_clip(tmp_path / "good.mp4")
    path = write_clip(tmp_path / "bad.mp4", frames=40, fps=8)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 8
    data[begin + 400 :] = bytes(len(data) - begin - 400)
    path.write_bytes(data)
    found = survey(plan(tmp_path))
    assert [video.item.path.name for video in found.videos] == ["good.mp4"]
    assert refusals(found).keys() == {"bad.mp4"}


def test_what_may_spoil_a_clip_is_told_and_the_clip_used(tmp_path):
    write_clip(tmp_path / "slow.mp4", frames=8, fps=4, text="word " * 400)
    with_text(write_timed(tmp_path / "frozen.mp4", [*range(0, 100, 5), 400, 405]), "a ball")
    found = survey(plan(tmp_path))
    notes = [(p.file.rsplit("/", 1)[-1], p.reason) for p in found.problems if p.used]
    assert any(name == "slow.mp4" and "4 frames a second" in reason for name, reason in notes)
    assert any(name == "slow.mp4" and "400 words" in reason for name, reason in notes)
    assert any(name == "frozen.mp4" and "stands still for 3.0 s" in reason for name, reason in notes)
    assert len(found.videos) == 2 and not found.refused


def test_a_clip_of_one_image_is_told_and_one_that_moves_or_is_short_is_not(tmp_path):
    for name, shades in {"still": [50] * 30, "moves": range(30), "short": [90] * 9}.items():
        with VideoWriter(tmp_path / f"{name}.mp4", fps=8, size=(48, 32)) as writer:
            for shade in shades:
                writer.add(image(shade=5 * shade if name == "moves" else shade))
        with_text(tmp_path / f"{name}.mp4", name)
    found = survey(plan(tmp_path))
    assert [(p.file.rsplit("/", 1)[-1], p.reason) for p in found.problems] == [
        ("still.mp4", "shows one and the same image at its beginning, middle and end")
    ]
    assert len(found.videos) == 3


def test_pipes_sockets_and_links_to_nothing_are_refused_and_nothing_waits_for_them(tmp_path, monkeypatch):
    write_clip(tmp_path / "good.mp4")
    os.mkfifo(with_text(tmp_path / "pipe.mp4", "x"))
    with_text(tmp_path / "link.mp4", "x").symlink_to("gone.mp4")
    with_text(tmp_path / "socket.mp4", "x")
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as open_socket:
        open_socket.bind("socket.mp4")
        found = survey(plan(tmp_path))
    assert [video.item.path.name for video in found.videos] == ["good.mp4"]
    assert {name: problem.reason for name, problem in refusals(found).items()} == {
        "link.mp4": "is a link to gone.mp4, which is not there",
        "pipe.mp4": "is a named pipe, not a file",
        "socket.mp4": "is a socket, not a file",
    }
    assert refusals(found)["link.mp4"].help == "Mend or remove it."


def test_a_sources_own_size_length_and_repeats_hold_and_head_takes_the_beginning(tmp_path):
    write_clip(tmp_path / "clips/a.mp4", frames=24, width=64, height=64)
    (tmp_path / "set.toml").write_text(
        "[[datasets]]\nvideo_directory='clips'\nresolution=[70,70]\ntarget_frames=[5]\nnum_repeats=3\n"
    )
    found = survey(plan(tmp_path / "set.toml"))
    assert {name: len(rows) for name, rows in found.buckets.items()} == {"64x64x5": 3}
    assert len(found.windows) == 1


# The report


def test_the_report_shows_three_images_of_each_clip_and_all_numbers(tmp_path):
    broken_set(tmp_path / "clips")
    found = survey(plan(tmp_path / "clips"))
    page = write_report(found, tmp_path / "report")
    html = page.read_text()
    images = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(images) == 3 * 3 + 1
    opened = [Image.open(io.BytesIO(base64.b64decode(data))) for data in images]
    assert {image.size for image in opened} == {(48, 32), (32, 48)}
    red, blue = (np.asarray(opened[0])[16, x].tolist() for x in (8, 40))
    assert red[0] > 150 > red[2] and blue[2] > 150 > blue[0]
    assert not re.search(r'(src|href)="(?!data:)', html)
    numbers = json.loads((tmp_path / "report/report.json").read_text())
    assert numbers["used"] == 4 and numbers["found"] == 12 and numbers["refused"] == 8
    assert numbers["buckets"]["48x32x9"] == {"pieces": 3, "weighed": 3, "seconds": pytest.approx(27 / 8)}
    assert numbers["captions"]["most"] == 5
    assert numbers["lengths"]["longest"]["file"].endswith("long.mp4")
    assert {problem["file"].rsplit("/", 1)[-1] for problem in numbers["problems"]} >= {"cut.mp4", "tiny.png"}


def test_a_text_cannot_put_html_into_the_report(tmp_path):
    write_clip(tmp_path / "a.mp4", text="<script>alert(1)</script> & more")
    html = write_report(survey(plan(tmp_path)), tmp_path / "report").read_text()
    assert "<script>" not in html and "&lt;script&gt;" in html
