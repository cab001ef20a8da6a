"""A video made in several clips: what each is told, how it becomes frames, and what it leaves to the next.

Every clip is a Take. A Story makes them one after another: `FrameChaining` for models that go on from a clip's
last frames (here), `Performance` for a model that audio drives (speech.py). A story knows pixels and latents,
no network: encoding is a function that it is given. What passes from clip to clip is a dict of tensors, so
that a video can be resumed.
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
    """What a network that audio drives is told of a clip (see models/speech.py): latents (c, t, h, w) of the
    reference image, of the past and of the body's pose, and the audio's states (states, a, T).
    """

    reference: Float[Tensor, "c 1 h w"]
    audio: Float[Tensor, "states a T"]
    motion: Float[Tensor, "c m h w"] | None = None
    pose: Float[Tensor, "p t h w"] | None = None


@dataclass(frozen=True)
class Take:
    """One clip. Its latents are decoded behind the latents `before`; the first `drop` decoded frames are not its own.

    `stand` times its first frame is shown besides, in place of frames that the model cannot make. `seam` is a frame
    (3, H, W) that the last dropped frame shows again: what differs is faded out over the frames that follow.
    """

    known: ImageCondition = field(default_factory=ImageCondition)
    heard: SpeechCondition | None = None
    before: Float[Tensor, "c _ h w"] | None = None
    drop: int = 0
    stand: int = 0
    seam: Float[Tensor, "3 H W"] | None = None


class ClipPlan(Protocol):
    """Makes the takes of one video, in order; `keep` is how many of a clip's last frames it needs for the next."""

    keep: int

    def take(self, clip: int, carry: Carry) -> Take:
        """What clip `clip` (from 0) is told, after a clip that left `carry`."""
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

    def take(self, clip: int, carry: Carry) -> Take:
        """The first clip is told what the request says; later ones begin with the end of the one before."""
        if clip == 0:
            return Take(self._first)
        tail = carry["tail"].float()
        overlap = tail.shape[1]
        return Take(self._known(tail), drop=overlap, seam=tail[:, -1])

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
