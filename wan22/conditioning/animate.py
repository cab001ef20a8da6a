"""Conditions of a video of one person who moves as another does: Wan2.2-Animate, clip by clip.

A reference image says who is seen; driving videos say how: the body as a drawn skeleton (pose) and the cropped face.
With a background and a mask of who is to be replaced, the rest of that video stays (replacement); else the reference's
own surroundings are seen (animation). The loop is the official release's (spec: animate, section 5).

It knows pixels and latents, no network and no file: the encoders are functions that it is given.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wan22.canvas import Canvas
from wan22.conditioning.clips import AnimateCondition, Carry, ClipCondition
from wan22.conditioning.image import Encode, pack_mask
from wan22.conditioning.letterbox import letterbox, resize
from wan22.models.clip import clip_pixels
from wan22.types import Clip, Driving, Image

EncodeImage = Callable[[Float[Tensor, "3 H W"]], Float[Tensor, "s d"]]
"""Pixels in [-1, 1], of any dtype, to the features of the image tower."""


def image_features(tower: torch.nn.Module, pixels: Float[Tensor, "3 H W"]) -> Float[Tensor, "s d"]:
    """The features of an image in [-1, 1], resized and normalised in its dtype."""
    weight = next(tower.parameters())
    with torch.inference_mode():
        x = clip_pixels(pixels[None].to(weight.device), tower.arch.image_size)
        return tower(x.to(weight.dtype))[0].float()


def padded_length(frames: int, clip: int, carried: int) -> int:
    """How many frames whole clips need: each has `clip`, of which all but the first share `carried` with the one
    before.
    """
    return frames + -(frames - carried) % (clip - carried)


def clip_starts(frames: int, clip: int, carried: int) -> range:
    """The first frame of each clip."""
    return range(0, padded_length(frames, clip, carried) - carried, clip - carried)


def ping_pong(frames: int, length: int) -> np.ndarray:
    """Numbers of `length` frames of a video of `frames`, which runs back and forth; no end is shown twice in a row."""
    period = max(1, 2 * (frames - 1))
    at = np.arange(length) % period
    return np.minimum(at, period - at) if frames > 1 else np.zeros(length, np.int64)


class AnimateClips:
    """The clips of a video whose person moves as driving videos say.

    dtype: pixels, masks and frames of the clip before are rounded to it before they are encoded, as the release does.
    face_size: pixels a side of the faces.
    """

    def __init__(
        self,
        image: Image,
        driving: Driving,
        canvas: Canvas,
        encode: Encode,
        encode_image: EncodeImage,
        *,
        face_size: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._driving, self._canvas, self._encode, self._dtype = driving, canvas, encode, dtype
        self.keep = canvas.overlap
        self._face_size = face_size, face_size
        pixels = self._pixels([letterbox(image, canvas.draw)])
        self._image = encode_image(pixels[:, 0].to(dtype)).to(dtype).float().cpu()
        reference = encode(pixels[None])[0].cpu()
        self._reference = torch.cat([reference.new_ones(canvas.stride_time, *reference.shape[1:]), reference])

    def condition(self, clip: int, carry: Carry) -> ClipCondition:
        """The first clip begins with nothing; later ones with the last frames of the one before."""
        drawn, carried = self._canvas.drawn_frames, self._canvas.overlap
        start = clip * (drawn - carried)
        index = ping_pong(self._canvas.frames, start + drawn)[start:]
        pose = self._encode(self._shown(self._driving.pose, index)[None])[0].cpu()
        face = self._pixels([resize(self._driving.face.frames[i], self._face_size) for i in index])
        channels = torch.cat([self._reference, self._known(index, carry.get("tail"))], dim=1)
        return ClipCondition(
            animate=AnimateCondition(channels, pose, face, self._image),
            skip=self._reference.shape[1],
            drop=carried if clip else 0,
        )

    def carry(self, shown: Float[Tensor, "3 T H W"], carry: Carry) -> Carry:
        """The last frames that were shown."""
        return {"tail": shown[:, -self.keep :].clone()}

    def _known(self, index: np.ndarray, tail: Tensor | None) -> Float[Tensor, "m t h w"]:
        """Mask and latents of what is known of a clip: the frames of the one before, and the background."""
        background, mask = self._driving.background, self._driving.mask
        width, height = self._canvas.draw
        if background is None or mask is None:
            video = torch.zeros(3, len(index), height, width)
            known = torch.zeros(len(index), *self._canvas.latent[1:])
        else:
            video = self._shown(background, index, edge=True)
            known = (1 - self._mask(mask, index)).float()
        if tail is not None:
            video[:, : tail.shape[1]] = tail.to(self._dtype).float()
            known[: tail.shape[1]] = 1
        latents = self._encode(video[None])[0].cpu()
        return torch.cat([pack_mask(known, self._canvas.stride_time), latents])

    def _mask(self, mask: Clip, index: np.ndarray) -> Float[Tensor, "T h w"]:
        """Who is to be replaced, 0 to 1: the first pixel of each latent's; grey stays grey."""
        _, h, w = self._canvas.latent
        width, height = self._canvas.draw
        frames = [self._fitted(mask.frames[i])[:: height // h, :: width // w, 0] for i in index]
        return (torch.from_numpy(np.stack(frames)).float() / 255).to(self._dtype)

    def _shown(self, video: Clip, index: np.ndarray, *, edge: bool = False) -> Float[Tensor, "3 T H W"]:
        return self._pixels([self._fitted(video.frames[i], edge=edge) for i in index])

    def _fitted(self, frame: Image, *, edge: bool = False) -> Image:
        """A frame at the size that is asked, in the middle of the one that is drawn, from which it is cut again."""
        frame = letterbox(frame, self._canvas.out)
        (width, height), (wide, high) = self._canvas.draw, self._canvas.out
        left, top = (width - wide) // 2, (height - high) // 2
        around = (top, height - high - top), (left, width - wide - left), (0, 0)
        return np.pad(frame, around, mode="edge" if edge else "constant")

    def _pixels(self, frames: list[Image]) -> Float[Tensor, "3 T H W"]:
        """uint8 frames as pixels in [-1, 1], in the release's order of operations."""
        x = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).float() / 127.5 - 1
        return x.to(self._dtype).float()
