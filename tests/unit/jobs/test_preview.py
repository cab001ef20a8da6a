"""Previews and stills: colours from latents, and small images of a finished video."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import wan22
from wan22.jobs import preview
from wan22.jobs.stills import SHEET, THUMBNAIL, write_stills
from wan22.media.image import read_image, write_image
from wan22.media.video import VideoWriter
from wan22.types import Frames, Progress


def correlation(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def test_the_colours_of_a_linear_vae_are_found(monkeypatch):
    monkeypatch.setattr(preview, "_CLIPS", 2)
    mix = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))

    def encode(video):
        shape = torch.Size((2, 8, 12))
        return torch.einsum("cd,dthw->cthw", mix, preview.latent_frames(video[0], shape))[None]

    colours = preview.fit(encode)
    pixels = torch.rand(3, 5, 64, 96, generator=torch.Generator().manual_seed(1))
    small = preview.latent_frames(pixels, torch.Size((2, 8, 12)))
    painted = preview.paint(encode(pixels[None] * 2 - 1)[0], colours)
    assert (painted.permute(3, 0, 1, 2) / 255 - small).abs().max() < 0.02


def test_latent_frames_are_the_first_and_the_means_of_fours():
    pixels = torch.arange(9.0)[None, :, None, None].expand(3, 9, 16, 16)
    assert preview.latent_frames(pixels, torch.Size((3, 2, 2)))[0, :, 0, 0].tolist() == [0.0, 2.5, 6.5]
    assert preview.latent_frames(pixels[:, :1], torch.Size((1, 2, 2))).shape == (3, 1, 2, 2)


def test_previews_come_every_two_seconds_as_an_animation(tmp_path):
    now = [0.0]
    path = tmp_path / "preview.webp"
    show = preview.Preview(torch.rand(5, 3), path, 8.0, now=lambda: now[0])
    event = Progress(1, 2, "high", 0.5, 0.1, 0.1, torch.zeros(1), torch.rand(4, 3, 6, 8))
    assert show(event) == {"type": "preview", "file": "preview.webp", "n": 1}
    now[0] = 1.9
    assert show(event) is None
    now[0] = 2.0
    assert show(event)["n"] == 2
    with Image.open(path) as image:
        assert image.size == (256, 192) and image.n_frames == 3
        image.load()
        assert image.info["duration"] == 500
    assert [entry.name for entry in tmp_path.iterdir()] == ["preview.webp"]


@pytest.mark.slow
def test_a_preview_of_the_last_latents_is_like_the_video(tmp_path):
    engine = wan22.load("nano", device="cpu")
    colours = preview.colours_of(engine, tmp_path)
    kept = preview.kept_colours(engine, tmp_path)
    assert torch.equal(load_file(kept)["colours"], colours)
    kept.write_bytes(b"damaged")
    assert torch.allclose(preview.colours_of(engine, tmp_path), colours, atol=1e-4)
    request = wan22.Request(prompt="a red ball rolls left at sunset", steps=4, seed=1, size=(128, 80))
    x0, frames = torch.empty(0), []
    for event in engine.generate(request):
        if isinstance(event, Progress):
            x0 = event.x0
        if isinstance(event, Frames):
            frames.append(torch.from_numpy(event.frames))
    pixels = torch.cat(frames).permute(3, 0, 1, 2).float() / 255
    painted = preview.paint(x0, colours).permute(3, 0, 1, 2).float()
    assert correlation(painted, preview.latent_frames(pixels, x0.shape[1:])) > 0.9


def frame_of(value):
    return np.full((32, 48, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("count", "cells", "size"), [(30, 25, (240, 160)), (7, 7, (240, 64)), (1, 1, (48, 32))]
)
def test_the_thumbnail_is_the_middle_and_the_sheet_the_whole_video(tmp_path, count, cells, size):
    with VideoWriter(tmp_path / "video.mp4", fps=8, size=(48, 32)) as writer:
        for number in range(count):
            writer.add(frame_of(20 + 7 * number))
    assert write_stills(tmp_path / "video.mp4", tmp_path) == (THUMBNAIL, SHEET)
    middle = read_image(tmp_path / THUMBNAIL).mean()
    assert abs(middle - (20 + 7 * ((count - 1) // 2))) < 4
    sheet = read_image(tmp_path / SHEET)[..., 0]
    assert sheet.shape == size[::-1]
    tiles = F.avg_pool2d(torch.from_numpy(sheet).float()[None], (32, 48)).flatten()[:cells]
    assert torch.equal(tiles, tiles.sort().values)
    assert abs(tiles[0] - 20) < 4 and abs(tiles[-1] - (20 + 7 * (count - 1))) < 4


def test_stills_of_an_image_are_small(tmp_path):
    write_image(tmp_path / "image.png", np.full((900, 1600, 3), 90, np.uint8))
    write_stills(tmp_path / "image.png", tmp_path)
    assert read_image(tmp_path / THUMBNAIL).shape == (270, 480, 3)
    assert read_image(tmp_path / SHEET).shape == (90, 160, 3)


@pytest.mark.parametrize("asked", ["on", "off"])
def test_stills_and_previews_are_marked_as_their_video_is(tmp_path, monkeypatch, asked):
    monkeypatch.setenv("WAN22_PROVENANCE", asked)
    write_image(tmp_path / "image.png", np.full((90, 160, 3), 90, np.uint8))
    write_stills(tmp_path / "image.png", tmp_path)
    preview.write_preview(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), tmp_path / preview.FILE, 100)
    for name in (THUMBNAIL, SHEET, preview.FILE):
        with Image.open(tmp_path / name) as image:
            assert (b"trainedAlgorithmicMedia" in image.info.get("xmp", b"")) == (asked == "on"), name
