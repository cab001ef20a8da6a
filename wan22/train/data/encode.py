"""From a piece of a clip to what a network is trained on: latents, and their conditions.

"plain"      latents alone. A model that takes its first image as a known latent frame finds it there: the VAE is
             causal, so the first latent frame is that image encoded alone.
"ends"       and the last image standing still, for a last latent frame that is known.
"channels"   and the channels beside the noise when the first image is known (conditioning/image.py).
"speech"     and the reference image, the motion frames and the audio's states (conditioning/speech.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wan22.canvas import Canvas
from wan22.catalog import Speech
from wan22.conditioning.image import channels_of, to_pixels
from wan22.conditioning.speech import RATE, VIDEO_RATE, AudioFeatures, fit_reference
from wan22.engine import Engine
from wan22.errors import CheckpointError
from wan22.media.audio import AudioReader, read_audio
from wan22.media.image import read_image
from wan22.train.data.cache import Contents, Shapes
from wan22.train.data.frames import frames_at
from wan22.train.data.plan import Window
from wan22.train.data.survey import Video

Conditioning = Literal["plain", "ends", "channels", "speech"]

_MADE = 1
"""Raised when the same settings would give other numbers."""

_BEGUN = 0.6
"""Share of first clips whose reference is their own first frame; the others show another moment of their video."""


@dataclass(frozen=True)
class Encoder:
    """Encodes windows with an engine's VAE, and its encoder of audio; `fps` is the plan's."""

    engine: Engine
    conditioning: Conditioning
    fps: float

    def settings(self, video: Video, window: Window, contents: Contents) -> dict[str, Any]:
        """All that decides the numbers, as JSON values; `cache.key_of` hashes them."""
        says: dict[str, Any] = {
            "made": _MADE,
            "conditioning": self.conditioning,
            "content": contents.of(video.item.path),
            "start": round(window.start, 6),
            "step": round(window.step, 9) if window.frames > 1 else 0,  # an image is the same at every rate
            "frames": window.frames,
            "size": list(window.size),
            "vae": self.engine.weights["vae"],
        }
        if self.conditioning == "speech":
            says["audio_encoder"] = self.engine.weights["audio"]
            says["past"] = self._past(window)
            says["silence_rms"] = self._speech.silence_rms
            for name in ("audio", "reference"):
                path = getattr(video.item, name)
                says[name] = None if path is None else contents.of(path)
        return says

    def shapes(self, window: Window) -> Shapes:
        """The shapes of what `encode` returns."""
        row = self.engine.variant
        stride = row.vae.stride_time
        h, w = (side // row.vae.stride_space for side in window.size[::-1])
        t = window.frames // stride if self.conditioning == "speech" else (window.frames - 1) // stride + 1
        found: dict[str, tuple[int, ...]] = {"latents": (row.vae.z, t, h, w)}
        if self.conditioning == "ends" and window.frames > 1:
            found["last"] = (row.vae.z, h, w)
        if self.conditioning == "channels":
            found["channels"] = (stride + row.vae.z, t, h, w)
        if self.conditioning == "speech":
            arch = row.dit.speech
            assert arch is not None
            found["reference"] = (row.vae.z, 1, h, w)
            found["audio"] = (arch.audio_states, arch.audio_dim, window.frames)
            if past := self._past(window):
                found["motion"] = (row.vae.z, (past - 1) // stride + 1, h, w)
        return found

    def encode(self, video: Video, window: Window) -> dict[str, Tensor]:
        """Encode one window, float32. Raises MediaError for a damaged clip, CheckpointError for numbers not finite."""
        made = self._speaking(video, window) if self.conditioning == "speech" else self._silent(video, window)
        for name, tensor in made.items():
            if not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(
                    f"{self.engine.name} gave {name} that are not finite for {video.item.path}"
                )
        return {name: tensor.float().cpu().contiguous() for name, tensor in made.items()}

    def _silent(self, video: Video, window: Window) -> dict[str, Tensor]:
        times = [window.start + k * window.step for k in range(window.frames)]
        pixels = _pixels(video, window, times)
        made = {"latents": self.engine.encode_pixels(pixels[None])[0]}
        if self.conditioning == "ends" and window.frames > 1:
            # As in conditioning/image.py: the latent frame of a video that stands still on it.
            held = pixels[:, -1:].repeat(1, 1 + self.engine.variant.vae.stride_time, 1, 1)
            made["last"] = self.engine.encode_pixels(held[None])[0][:, -1]
        if self.conditioning == "channels":
            known = channels_of({0: pixels[:, :1]}, self._canvas(window), self.engine.encode_pixels)
            assert known.channels is not None
            made["channels"] = known.channels
        return made

    def _speaking(self, video: Video, window: Window) -> dict[str, Tensor]:
        """A clip behind its past, or behind its reference image, encoded together as they are decoded."""
        past = self._past(window)
        times = [window.start + k * window.step for k in range(-past, window.frames)]
        pixels = _pixels(video, window, times)
        shown = self._reference(video, window, pixels[:, past : past + 1])
        whole = pixels if past else torch.cat([shown, pixels], dim=1)
        latents = self.engine.encode_pixels(whole[None])[0]
        before = (past - 1) // self.engine.variant.vae.stride_time + 1 if past else 1
        made = {"latents": latents[:, before:], "audio": self._audio(video, times[past:])}
        if past:
            made["motion"] = latents[:, :before]
            made["reference"] = self.engine.encode_pixels(shown[None])[0]
        else:
            made["reference"] = latents[:, :1]
        return made

    def _reference(self, video: Video, window: Window, first: Tensor) -> Tensor:
        """Whom the clip shows (3, 1, H, W): its source's image, its first frame, or another moment of its video."""
        if video.item.reference is not None:
            return to_pixels(fit_reference(read_image(video.item.reference), window.size))[:, None]
        draw = random.Random(f"{video.item.path.name} {window.start:.6f}")
        if draw.random() < _BEGUN:
            return first
        return _pixels(video, window, [draw.random() * max(0.0, video.facts.seconds - 1 / video.facts.fps)])

    def _audio(self, video: Video, times: Sequence[float]) -> Tensor:
        """States (states, a, T) of the audio's encoder at video times; the whole audio sets the loudness."""
        path = video.item.audio or video.item.path
        late = 0.0 if video.item.audio else video.facts.clock.origin - float(AudioReader(path).origin)
        features = AudioFeatures(
            read_audio(path, rate=RATE), self.engine.encode_audio, self._speech.silence_rms
        )
        ticks = np.round((np.array(times) + late) * VIDEO_RATE).astype(np.int64)
        return features.at_ticks(np.maximum(ticks, 0)).transpose(1, 2)

    def _past(self, window: Window) -> int:
        """Motion frames of a clip: all that a model takes, or none if they are not there."""
        count = self._speech.motion_frames
        return count if window.start - count * window.step > -1e-6 else 0

    @property
    def _speech(self) -> Speech:
        speech = self.engine.variant.speech
        assert speech is not None
        return speech

    def _canvas(self, window: Window) -> Canvas:
        _, t, h, w = self.shapes(window)["latents"]
        return Canvas(
            window.size, window.size, window.frames, window.frames, self.fps, (t, h, w),
            self.engine.variant.vae.stride_time, scaled=False, stretched=False,
        )  # fmt: skip


def _pixels(video: Video, window: Window, times: Sequence[float]) -> Tensor:
    """Frames (3, T, H, W) in [-1, 1] at video times."""
    frames = frames_at(Path(video.item.path), times, video.facts.clock, window.size, video.facts.size)
    return torch.stack([to_pixels(frame) for frame in frames], dim=1)
