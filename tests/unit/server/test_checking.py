"""The process that looks at what strangers send: what it says of each file, and what it takes for that."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from bombs import FAKES, gif, mp4, png
from PIL import Image

from wan22.errors import MediaError, MediaTypeError
from wan22.media.audio import write_audio
from wan22.server.checking import look
from wan22.types import Audio

MOST = 512 << 20


def check(path, *more, task="look"):
    done = subprocess.run(
        [sys.executable, "-m", "wan22.server.checking", task, str(path), *map(str, more)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 0 < found.pop("peak") < MOST
    return found


def tone(path, seconds):
    write_audio(path, Audio(np.zeros(int(seconds * 8000), np.float32), 8000))
    return path


def test_what_media_is(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.txt", "JPEG")
    assert check(tmp_path / "a.txt") == {"type": "image/jpeg", "width": 40, "height": 30}
    assert check(mp4(tmp_path / "a", 24, 64)) == {
        "type": "video/mp4", "width": 64, "height": 64, "frames": 24, "fps": 24.0, "seconds": pytest.approx(1.0),
    }  # fmt: skip
    assert check(mp4(tmp_path / "a.mov", 24, 64, container="mov"))["type"] == "video/quicktime"
    assert check(gif(tmp_path / "a.gif", 5, 32)) == {
        "type": "image/gif", "width": 32, "height": 32, "frames": 5, "fps": pytest.approx(10.0),
        "seconds": pytest.approx(0.5),
    }  # fmt: skip
    assert check(tone(tmp_path / "a.wav", 1.5)) == {"type": "audio/wav", "seconds": pytest.approx(1.5)}


def test_the_first_frame_of_a_video(tmp_path):
    found = check(mp4(tmp_path / "a.mp4", 3, 64), tmp_path / "frame.png", task="frame")
    assert found["type"] == "video/mp4"
    with Image.open(tmp_path / "frame.png") as image:
        assert image.size == (64, 64)
    said = check(tone(tmp_path / "a.wav", 1), tmp_path / "no.png", task="frame")
    assert said["code"] == "media_type"
    assert not (tmp_path / "no.png").exists()


def test_the_process_says_what_is_wrong(tmp_path):
    (tmp_path / "a.mp4").write_bytes(FAKES["hls.mp4"][0])
    assert check(tmp_path / "a.mp4")["code"] == "media_type"
    (tmp_path / "b.mp4").write_bytes(b"")
    found = check(tmp_path / "b.mp4")
    assert found["code"] == "media_damaged"
    assert "empty" in found["error"]


@pytest.mark.parametrize("name", FAKES)
def test_what_is_no_media_is_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FAKES[name][0])
    with pytest.raises(MediaTypeError, match=FAKES[name][1]):
        look(path)


BOMBS = {
    "png of 900 megapixels": (lambda place: png(place, 30_000, 30_000), "megapixels"),
    "png of 42 megapixels": (lambda place: png(place, 7_000, 6_000), "42 megapixels"),
    "4096 x 4096 x 130": (lambda place: mp4(place, 130, 4096), "gigapixels"),
    "wider than 4096": (lambda place: mp4(place, 3, 4112), "4112x4112"),
    "longer than 600 s": (lambda place: mp4(place, 1300, 16, fps=2), "650 s"),
    "long gif": (lambda place: gif(place, 7000, 16), "700 s"),
    "large gif": (lambda place: gif(place, 600, 2000), "gigapixels"),
    "audio of more than an hour": (lambda place: tone(place.with_suffix(".wav"), 3700), "3,700 s"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_too_large_is_known_from_its_header(tmp_path, name):
    path = BOMBS[name][0](tmp_path / "bomb")
    found = check(path)
    assert found["code"] == "media_size"
    assert BOMBS[name][1] in found["error"]


def test_large_frames_within_the_limits_take_little_memory(tmp_path):
    assert check(mp4(tmp_path / "a.mp4", 60, 4096))["frames"] == 60
    assert check(png(tmp_path / "a.png", 6300, 6300))["width"] == 6300


@pytest.mark.parametrize(
    "kind", ["empty", "half a video", "half an image", "no frames", "bytes behind a magic"]
)
def test_damage_is_named(tmp_path, kind):
    path = tmp_path / "a"
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "half a video":
            whole = mp4(path, 24, 64).read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
        case "half an image":
            Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
                path, "PNG"
            )
            path.write_bytes(path.read_bytes()[:2000])
        case "no frames":
            path.write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0\0\0\x08free")
        case "bytes behind a magic":
            path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(range(256)) * 8)
    with pytest.raises(MediaError) as found:
        look(path)
    assert type(found.value) is MediaError
