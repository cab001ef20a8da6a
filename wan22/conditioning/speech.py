"""What a film driven by sound is told: the hidden states of the sound's encoder at every film frame.

The encoder (wav2vec 2.0, Baevski et al. 2020) gives 50 frames a second; the official release takes them to 30 a second
and from there to the film's rate, rounding to the nearest (spec: speech_to_video, section 3). Here only those that a
clip asks for are made, from a piece of the sound around it, so that memory does not grow with the sound.

It knows samples, no file; the encoder is a function that it is given.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wan22.types import Sound

RATE = 16_000
"""Samples a second that the encoder takes."""

FEATURE_RATE, VIDEO_RATE = 50, 30
_HOP, _FIELD = 320, 400
"""Samples from one of the encoder's frames to the next, and samples that each sees."""

PIECE, CONTEXT = 40 * FEATURE_RATE, 10 * FEATURE_RATE
"""Encoder frames that are made together, and how many more it hears on either side. A sound of up to a minute is heard
whole, as in the official release; in a longer one attention reaches at least ten seconds."""

Hear = Callable[[Float[Tensor, "1 n"]], Float[Tensor, "states T a"]]
"""Normalised samples to all hidden states of the encoder."""


def hidden_states(encoder: torch.nn.Module, samples: Float[Tensor, "1 n"]) -> Float[Tensor, "states T a"]:
    """All hidden states of a transformers Wav2Vec2Model, the last one after the encoder's final norm.

    transformers 4 returns the last one so, transformers 5 before the norm (spec: quirk 51).
    """
    with torch.inference_mode():
        out = encoder(samples.to(encoder.device), output_hidden_states=True)
    return torch.cat([*out.hidden_states[:-1], out.last_hidden_state]).float()


@dataclass
class _Heard:
    """Hidden states of the encoder's frames from `begin` on."""

    begin: int
    states: Tensor

    def holds(self, first: int, last: int) -> bool:
        return self.begin <= first and last < self.begin + self.states.shape[1]


class Hearing:
    """A sound as a model hears it. `sound` must have RATE samples a second."""

    def __init__(self, sound: Sound, hear: Hear) -> None:
        if sound.rate != RATE:
            raise ValueError(f"the encoder hears {RATE} samples a second, not {sound.rate}")
        self._hear = hear
        # Normalised over the whole sound, as Wav2Vec2's processor does; in float64, since it may last hours.
        mean, deviation = sound.samples.mean(dtype=np.float64), sound.samples.std(dtype=np.float64)
        self._samples = sound.samples
        self._mean, self._scale = mean, 1 / math.sqrt(deviation**2 + 1e-7)
        self.frames = max(0, (len(sound.samples) - _FIELD) // _HOP + 1)
        """Frames of the encoder, 50 a second."""
        self.ticks = int(self.frames / FEATURE_RATE * VIDEO_RATE)
        """Frames at 30 a second."""
        self._last: _Heard | None = None

    def at_ticks(self, ticks: np.ndarray) -> Float[Tensor, "states n a"]:
        """The states at frames of 30 a second, linear between the encoder's; zero at and beyond `ticks`.

        `ticks` whole numbers that grow.
        """
        known = ticks[ticks < self.ticks]
        if not len(known):
            one = self._silent()
            return one.new_zeros(one.shape[0], len(ticks), one.shape[2])
        at = known * ((self.frames - 1) / max(1, self.ticks - 1))
        before = np.minimum(at.astype(np.int64), self.frames - 1)
        after = np.minimum(before + 1, self.frames - 1)
        first = int(before[0])
        states = self._between(first, int(after[-1]))
        share = torch.from_numpy(at - before).float()[None, :, None]
        heard = torch.lerp(states[:, before - first], states[:, after - first], share)
        silent = heard.new_zeros(heard.shape[0], len(ticks) - len(known), heard.shape[2])
        return torch.cat([heard, silent], dim=1)

    def clip(self, index: int, frames: int, fps: float) -> Float[Tensor, "1 states a T"]:
        """What is heard in the film frames of clip `index`, each clip being `frames` long."""
        times = np.arange(index * frames, (index + 1) * frames) / fps
        ticks = np.round(times * VIDEO_RATE).astype(np.int64)  # half to even, as the release does
        return self.at_ticks(ticks).transpose(1, 2)[None]

    def _between(self, first: int, last: int) -> Tensor:
        """States of the encoder's frames first..last; a piece is made once for the clips within it."""
        if self._last is None or not self._last.holds(first, last):
            self._last = self._heard(first, last)
        begin = self._last.begin
        return self._last.states[:, first - begin : last + 1 - begin]

    def _heard(self, first: int, last: int) -> _Heard:
        if self.frames <= PIECE + 2 * CONTEXT:
            return _Heard(0, self._encode(0, self.frames))
        end = min(self.frames, max(first + PIECE, last + 1))
        from_, to = max(0, first - CONTEXT), min(self.frames, end + CONTEXT)
        states = self._encode(from_, to)
        return _Heard(first, states[:, first - from_ : end - from_].clone())

    def _encode(self, begin: int, end: int) -> Tensor:
        piece = self._samples[begin * _HOP : (end - 1) * _HOP + _FIELD if end < self.frames else None]
        normal = ((piece - self._mean) * self._scale).astype(np.float32)
        return self._hear(torch.from_numpy(normal)[None]).cpu()

    def _silent(self) -> Tensor:
        """States of nothing, for a sound shorter than one of the encoder's frames."""
        return self._hear(torch.zeros(1, _FIELD)).cpu()


def clips_of(seconds: float, clip_frames: int, fps: float) -> int:
    """Clips that a sound fills; the release adds a silent one when it fills the last exactly (quirk 48), we do not."""
    return max(1, math.ceil(round(seconds * fps, 6) / clip_frames))
