"""How the clips of a video that is driven clip by clip follow one another, and the noise that each starts from.

What is encoded is encoded by the engine; here is what belongs together.
"""

from typing import Protocol

import torch
from torch import Tensor

from wan22.catalog import Variant
from wan22.conditioning.animate import AnimateClips
from wan22.conditioning.clips import ClipPlan
from wan22.conditioning.speech import AudioFeatures, SpeechClips
from wan22.request import Job
from wan22.sampling import draw_noise


class Encoders(Protocol):
    """What encodes for a plan: the engine."""

    variant: Variant
    compute_dtype: torch.dtype

    def encode_pixels(self, video: Tensor) -> Tensor:
        """Pixels (b, 3, T, H, W) to latents (b, c, t, h, w)."""
        ...

    def encode_audio(self, samples: Tensor) -> Tensor:
        """Audio (1, n) to hidden states (states, T, a)."""
        ...

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels (3, H, W) to features (s, d)."""
        ...


def plan_clips(job: Job, encoders: Encoders) -> ClipPlan:
    """The plan of a video that audio or a driving video drives."""
    request, row = job.request, job.variant
    assert request.image is not None
    if request.driving is not None:
        assert row.dit.animate is not None
        return AnimateClips(
            request.image,
            request.driving,
            job.canvas,
            encoders.encode_pixels,
            encoders.encode_image,
            face_size=row.dit.animate.face_size,
            dtype=encoders.compute_dtype,
        )
    assert row.speech is not None and request.audio is not None
    features = AudioFeatures(request.audio, encoders.encode_audio, row.speech.silence_rms)
    return SpeechClips(row.speech, job.canvas, encoders.encode_pixels, features, request)


def clip_noise(job: Job, clip: int) -> Tensor:
    """The noise (c, t, h, w) that a clip starts from: that of the request, or of its seed and the clip's number. Of a
    video that a driving one moves, the clips go on with one generator, as in the release.
    """
    request = job.request
    if request.noise is not None:
        return request.noise.detach().float().cpu()
    shape = job.variant.dit.out_channels, *job.canvas.latent
    if request.driving is not None:
        return draw_noise(shape, request.seed, turn=clip)
    return draw_noise(shape, request.seed + clip)
