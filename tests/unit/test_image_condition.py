"""Known images: how they are cut, scaled and told; the encoder here folds pixels, so every number is
checked.
"""

import numpy as np
import pytest
import torch
from tiny import tiny_variant

from wan22.canvas import fit
from wan22.conditioning.image import channels, cover, cut_to_shape, frames, to_pixels

ROW = tiny_variant()


def canvas(count=9, size=(48, 32), row=ROW):
    return fit(row, size=size, frames=count, seconds=None, fps=None)


def fold(video):
    """A fake VAE: the mean colour of each 8 x 8 square, of the last pixel frame of each latent frame."""
    picked = video[:, :, [0, *range(4, video.shape[2], 4)]]
    return torch.nn.functional.avg_pool3d(picked, (1, 8, 8))


def plain(value, height=32, width=48):
    return np.full((height, width, 3), value, np.uint8)


def test_pixels_are_mapped_as_the_release_does():
    pixels = to_pixels(np.array([[[0, 128, 255]]], np.uint8))
    assert pixels.shape == (3, 1, 1)
    assert torch.equal(pixels.flatten(), (torch.tensor([0.0, 128.0, 255.0]) / 255 - 0.5) / 0.5)


@pytest.mark.parametrize("shape", [(32, 48), (50, 48), (32, 99), (7, 9), (400, 300), (48, 1500)])
def test_an_image_covers_the_size_from_its_centre(shape):
    image = plain(0, *shape)
    image[:, shape[1] // 2 :] = 255
    made = cover(image, (48, 32))
    assert made.shape == (32, 48, 3)
    assert made.dtype == np.uint8
    assert (made[:, 0] < 40).all() and (made[:, -1] > 215).all()


def test_an_image_of_the_right_size_is_left_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    assert np.array_equal(cover(image, (48, 32)), image)
    assert cut_to_shape(image, (24, 16)).shape == image.shape


@pytest.mark.parametrize(
    ("shape", "size", "cut"),
    [((100, 100), (48, 32), (67, 100)), ((100, 100), (32, 48), (100, 67)), ((1, 40), (48, 32), (1, 2))],
)
def test_a_cut_has_the_shape_and_is_as_large_as_can_be(shape, size, cut):
    image = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(*shape, 1).repeat(3, axis=2)
    made = cut_to_shape(image, size)
    assert made.shape == (*cut, 3)
    top, left = (shape[0] - cut[0]) // 2, (shape[1] - cut[1]) // 2
    assert np.array_equal(made, image[top : top + cut[0], left : left + cut[1]])


def test_latent_frames_are_known_where_images_are():
    first, last = plain(0), plain(255)
    t = canvas().latent[0]
    for images, where in (((first, None), [0]), ((None, last), [t - 1]), ((first, last), [0, t - 1])):
        known = frames(*images, canvas(), fold)
        assert known.channels is None
        assert known.frames.nonzero().flatten().tolist() == where
        assert known.latents.shape == (3, *canvas().latent)
        for at in where:
            assert (known.latents[:, at] == (-1 if at == 0 else 1)).all()


def test_a_first_image_is_encoded_alone_and_a_last_one_as_a_video_that_stands_still():
    seen = []

    def encode(video):
        seen.append(video)
        return fold(video)

    frames(plain(10), plain(20), canvas(), encode)
    assert [video.shape[2] for video in seen] == [1, 5]
    assert (seen[1] == seen[1][:, :, :1]).all()


def test_channels_are_mask_then_latents_of_a_video_that_is_grey_elsewhere():
    known = channels(plain(0), plain(255), canvas(), fold, exact_shape=False).channels
    mask, latents = known[:4], known[4:]
    assert known.shape == (4 + 3, *canvas().latent)
    assert mask[:, :, 0, 0].T.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert (mask == mask[:, :, :1, :1]).all()
    assert latents[:, :, 0, 0].T.tolist() == [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]


def test_the_last_image_stands_from_the_last_frame_that_is_delivered():
    known = channels(None, plain(255), canvas(7), fold, exact_shape=False).channels
    assert known[:4, :, 0, 0].T.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]]


def test_an_image_of_another_shape_is_stretched_or_cut_first():
    wide = np.concatenate([plain(0, 32, 48), plain(255, 32, 48)], axis=1)
    one = canvas(1)
    stretched = channels(wide, None, one, fold, exact_shape=False).channels[4, 0]
    cut = channels(wide[:, 24:], None, one, fold, exact_shape=True).channels[4, 0]
    assert stretched[0, 0] == -1 and stretched[0, -1] == 1
    assert cut.shape == stretched.shape
    half = cut_to_shape(wide, (48, 32))
    assert half.shape == (32, 48, 3)
    assert torch.equal(
        channels(wide, None, one, fold, exact_shape=True).channels,
        channels(half, None, one, fold, exact_shape=False).channels,
    )
