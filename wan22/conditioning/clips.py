"""Videos made in several clips: the condition of each clip, how it becomes frames, what it leaves to the next.

Every clip has a `ClipCondition`. A `ClipPlan` makes them in order: `FrameChaining` (here) for models that continue the
last frames of a clip, `SpeechClips` (speech.py) for speech to video, `AnimateClips` (animate.py) for a driving video.
A plan knows pixels and latents, no network: the encoder is a function that it is given. A dict of tensors passes from
clip to clip, so that a video can be resumed.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.canvas import Canvas
from wan22.catalog import Variant
from wan22.conditioning.image import Encode, ImageCondition, channels_of

Carry = dict[str, Tensor]


@dataclass(frozen=True)
class SpeechCondition:
    """The condition of a clip for a speech-to-video network (see models/speech.py): latents (c, t, h, w) of the
    reference image, of the past and of the body's pose, and the audio's states (states, a, T).
    """

    reference: Float[Tensor, "c 1 h w"]
    audio: Float[Tensor, "states a T"]
    motion: Float[Tensor, "c m h w"] | None = None
    pose: Float[Tensor, "p t h w"] | None = None


@dataclass(frozen=True)
class AnimateCondition:
    """The condition of a clip for a network that animates (see models/animate.py): `channels` beside the noisy ones
    (mask and latents, the reference image in the first latent frame), latents of the body's pose in the other frames,
    pixels of the face in every video frame, and the reference's image features.
    """

    channels: Float[Tensor, "y t h w"]
    pose: Float[Tensor, "p u h w"]
    face: Float[Tensor, "3 T S S"]
    image: Float[Tensor, "s d"]


@dataclass(frozen=True)
class ClipCondition:
    """The condition of one clip, and how its latents become frames.

    The first `skip` latent frames stand for the condition and are not decoded. The
    others are decoded after the latents `before`; the first `drop` decoded frames belong to the clip before. The next
    frame is shown `repeat_first` more times, in place of frames that the model cannot make. `seam` is a
    frame (3, H, W) that the last dropped frame should equal: the difference fades out over the frames that follow.
    """

    image: ImageCondition = field(default_factory=ImageCondition)
    speech: SpeechCondition | None = None
    animate: AnimateCondition | None = None
    skip: int = 0
    before: Float[Tensor, "c _ h w"] | None = None
    drop: int = 0
    repeat_first: int = 0
    seam: Float[Tensor, "3 H W"] | None = None


class ClipPlan(Protocol):
    """Makes the conditions of a video's clips, in order. `keep`: how many last frames of a clip the next one needs."""

    keep: int

    def condition(self, clip: int, carry: Carry) -> ClipCondition:
        """The condition of clip `clip` (from 0), after a clip that left `carry`."""
        ...

    def carry(self, shown: Float[Tensor, "3 T H W"], carry: Carry) -> Carry:
        """What a clip leaves to the next: `shown` are its last own frames, in [-1, 1]; `carry` is what it was left."""
        ...


class FrameChaining:
    """Goes on from the last frames of the clip before, in the way that the model is told images.

    A model that takes none (T2V) is told them as it draws: its sample has, at these frames, the known video at the
    noise level of the moment.
    """

    def __init__(self, variant: Variant, canvas: Canvas, encode: Encode, first: ImageCondition) -> None:
        self._variant, self._canvas, self._encode, self._first = variant, canvas, encode, first
        self.keep = canvas.overlap

    def condition(self, clip: int, carry: Carry) -> ClipCondition:
        """The first clip is told what the request says; later ones begin with the end of the one before."""
        if clip == 0:
            return ClipCondition(self._first)
        tail = carry["tail"].float()
        overlap = tail.shape[1]
        return ClipCondition(self._known(tail), drop=overlap, seam=tail[:, -1])

    def carry(self, shown: Float[Tensor, "3 T H W"], carry: Carry) -> Carry:
        """The last frames that were shown."""
        return {"tail": shown[:, -self._canvas.overlap :].clone()}

    def _known(self, tail: Tensor) -> ImageCondition:
        if self._variant.image == "channels":
            return channels_of({0: tail}, self._canvas, self._encode)
        t, h, w = self._canvas.latent
        latents = self._encode(tail[None])[0].cpu()
        full = latents.new_zeros(latents.shape[0], t, h, w)
        full[:, : latents.shape[1]] = latents
        known = torch.arange(t) < latents.shape[1]
        return ImageCondition(latents=full, frames=known, noisy=self._variant.image is None)
