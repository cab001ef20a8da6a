"""What earlier versions wrote is read: entries of recipes, kept latents, files of unfinished long videos."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wan22 import fields
from wan22.media.long_video import LongVideo
from wan22.media.video import read_clip
from wan22.media.writer import VideoWriter
from wan22.production import rerender
from wan22.production.audio import AudioOptions
from wan22.production.publish import read_latents

OLD = {
    "prompt": "a puppet speaks", "size": [32, 32], "frames": 2, "fps": 8.0, "hold_colour": 0.5, "sound_seconds": 0.25,
    "inputs": {"image": "sha256:1", "sound": "sha256:2"}, "files": {"image": "a.png", "sound": "b.wav"},
    "sound": {"start": 1.5},
}  # fmt: skip
NEW = {
    "prompt": "a puppet speaks", "size": [32, 32], "frames": 2, "fps": 8.0, "color_match": 0.5, "audio_seconds": 0.25,
    "inputs": {"image": "sha256:1", "audio": "sha256:2"}, "files": {"image": "a.png", "audio": "b.wav"},
    "audio": {"start": 1.5},
}  # fmt: skip


def test_recipes_of_earlier_versions_have_the_names_of_today(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=8, size=(32, 32)) as writer:
        writer.add(np.zeros((2, 32, 32, 3), np.uint8))
        writer.close(OLD)
    assert rerender.read(str(tmp_path / "a.mp4")) == NEW
    assert fields.renewed(NEW) == NEW and fields.renewed({"sound": 1, "audio": 2}) == {"audio": 2}
    found = rerender.settings(fields.renewed(OLD), {}, AudioOptions())
    assert found["color_match"] == 0.5


def test_kept_latents_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "a.mp4.latents.safetensors"
    metadata = {"wan22": json.dumps(OLD), "wan22.output": "a.mp4"}
    save_file({"latents": torch.zeros(1)}, path, metadata)
    assert read_latents(str(path))[1] == NEW


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm"])
def test_an_unfinished_film_goes_on_as_a_video(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    with LongVideo(path, fps=8, size=(32, 32), identity=NEW) as video:
        video.add(frames)
        video.finish_clip(b"carry")
        grown = video.growing
    folder = grown.parent
    grown.rename(folder / grown.name.replace("video", "film"))
    index = json.loads((folder / "video.json").read_text())
    index["asked"] = {"film": index["asked"]["video"], "identity": OLD}
    (folder / "film.json").write_text(json.dumps(index))
    (folder / "video.json").unlink()
    with LongVideo(path, fps=8, size=(32, 32), identity=NEW) as video:
        assert video.finished == 1 and video.carry.read_bytes() == b"carry"
        video.add(frames)
        video.finish_clip()
        video.close({})
    assert len(read_clip(path).frames) == 6 and not folder.exists()
