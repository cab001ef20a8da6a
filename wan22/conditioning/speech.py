"""Conditions of a video that audio drives: the hidden states of the audio encoder at every video frame.

The encoder (wav2vec 2.0, Baevski et al. 2020) gives 50 frames a second; the official release takes them to 30 a second
and from there to the video's rate, rounding to the nearest (spec: speech_to_video, section 3). Here only those that a
clip asks for are made, from a piece of the audio around it, so that memory does not grow with the audio.

It knows samples, no file; the encoder is a function that it is given.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as PIL
from torch import Tensor

from wan22.canvas import Canvas
from wan22.catalog import Speech
from wan22.conditioning.clips import Carry, ClipCondition, SpeechCondition
from wan22.conditioning.image import Encode, to_pixels
from wan22.types import Audio, Image, Request

RATE = 16_000
"""Samples a second that the encoder takes."""

FEATURE_RATE, VIDEO_RATE = 50, 30
_HOP, _FIELD = 320, 400
"""Samples from one of the encoder's frames to the next, and samples that each sees."""

_SHOWN_BEFORE = 6
"""Frames of the past that show the image, if the video begins with it."""

PIECE, CONTEXT = 40 * FEATURE_RATE, 10 * FEATURE_RATE
"""Encoder frames that are made together, and how many more it sees on either side. Audio of up to a
minute is encoded whole, as in the official release; in a longer one attention reaches at least ten seconds."""

AudioEncoder = Callable[[Float[Tensor, "1 n"]], Float[Tensor, "states T a"]]
"""Normalised samples to all hidden states of the encoder."""


def hidden_states(encoder: torch.nn.Module, samples: Float[Tensor, "1 n"]) -> Float[Tensor, "states T a"]:
    """All hidden states of a transformers Wav2Vec2Model, the last one after the encoder's final norm.

    transformers 4 returns the last one so, transformers 5 before the norm (spec: quirk 51).
    """
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        out = encoder(samples.to(device), output_hidden_states=True)
    return torch.cat([*out.hidden_states[:-1], out.last_hidden_state]).float()


class AudioFeatures:
    """Audio as a model reads it: normalised to a deviation of 1, unless its own is less than `least`,
    which is what a silence's noise has. `audio` must have RATE samples a second, and one at least.
    """

    def __init__(self, audio: Audio, encode: AudioEncoder, least: float = 0.0) -> None:
        if audio.rate != RATE:
            raise ValueError(f"the encoder takes {RATE} samples a second, not {audio.rate}")
        self._encode_audio = encode
        # Normalised over the whole audio, as Wav2Vec2's processor does. It may last hours: sums in float64, and no
        # copy of it.
        x = audio.samples
        mean = x.mean(dtype=np.float64)
        variance = max(0.0, np.einsum("n,n", x, x, dtype=np.float64) / len(x) - mean**2)
        self._samples, self._mean, self._scale = x, mean, 1 / max(least, math.sqrt(variance + 1e-7))
        self.frames = max(0, (len(audio.samples) - _FIELD) // _HOP + 1)
        """Frames of the encoder, 50 a second."""
        self.ticks = int(self.frames / FEATURE_RATE * VIDEO_RATE)
        """Frames at 30 a second."""
        self._piece = self.frames if self.frames <= PIECE + 2 * CONTEXT else PIECE
        self._pieces: dict[int, Tensor] = {}

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
        states = torch.lerp(states[:, before - first], states[:, after - first], share)
        silent = states.new_zeros(states.shape[0], len(ticks) - len(known), states.shape[2])
        return torch.cat([states, silent], dim=1)

    def clip(self, index: int, frames: int, fps: float) -> Float[Tensor, "1 states a T"]:
        """The audio features of the video frames of clip `index`, each clip being `frames` long."""
        times = np.arange(index * frames, (index + 1) * frames) / fps
        ticks = np.round(times * VIDEO_RATE).astype(np.int64)  # half to even, as the release does
        return self.at_ticks(ticks).transpose(1, 2)[None]

    def _between(self, first: int, last: int) -> Tensor:
        """States of the encoder's frames first..last. Pieces are cut alike whichever clip asks first, so that a video
        that is resumed has the same features; each is kept while the clips within it ask.
        """
        wanted = range(first // self._piece, last // self._piece + 1)
        self._pieces = {i: states for i, states in self._pieces.items() if i in wanted}
        parts = []
        for i in wanted:
            if i not in self._pieces:
                self._pieces[i] = self._made(i)
            begin = i * self._piece
            parts.append(self._pieces[i][:, max(0, first - begin) : last + 1 - begin])
        return torch.cat(parts, dim=1)

    def _made(self, piece: int) -> Tensor:
        begin, end = piece * self._piece, min(self.frames, (piece + 1) * self._piece)
        from_, to = max(0, begin - CONTEXT), min(self.frames, end + CONTEXT)
        return self._encode(from_, to)[:, begin - from_ : end - from_].clone()

    def _encode(self, begin: int, end: int) -> Tensor:
        piece = self._samples[begin * _HOP : (end - 1) * _HOP + _FIELD if end < self.frames else None]
        normal = ((piece - self._mean) * self._scale).astype(np.float32)
        return self._encode_audio(torch.from_numpy(normal)[None]).cpu()

    def _silent(self) -> Tensor:
        """States of nothing, for an audio file shorter than one of the encoder's frames."""
        return self._encode_audio(torch.zeros(1, _FIELD)).cpu()


def fit_reference(image: Image, size: tuple[int, int]) -> Image:
    """Scale an image so that its shorter side is the shorter one of `size` (width, height), and cut the centre.

    As the official release does (spec: speech_to_video, section 8), which leaves black bars where that does not cover
    the size; here it is scaled until it does.
    """
    height, width = image.shape[:2]
    short = min(size)
    scaled = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    if scaled[0] < size[0] or scaled[1] < size[1]:
        scale = max(size[0] / width, size[1] / height)
        scaled = max(size[0], round(width * scale)), max(size[1], round(height * scale))
    resized = PIL.fromarray(image).resize(scaled, PIL.Resampling.BILINEAR)
    left, top = round((scaled[0] - size[0]) / 2), round((scaled[1] - size[1]) / 2)
    return np.asarray(resized.crop((left, top, left + size[0], top + size[1])))


class SpeechClips:
    """The clips of a video that audio drives: a reference image, an audio file, a memory of motion, perhaps a
    pose video.

    The loop of the official release (spec: speech_to_video, section 8), with one difference: the first clip, whose
    first frames the release drops, shows its first good frame in their place, so that image and audio stay together.
    """

    def __init__(
        self, speech: Speech, canvas: Canvas, encode: Encode, features: AudioFeatures, request: Request
    ) -> None:
        assert request.image is not None
        self._speech, self._canvas, self._encode, self._features = speech, canvas, encode, features
        self.keep = speech.motion_frames
        self._pose = request.pose
        self._from_image = request.from_image
        self._pixels = to_pixels(fit_reference(request.image, canvas.draw))
        self._reference = encode(self._pixels[None, :, None])[0].cpu()

    def condition(self, clip: int, carry: Carry) -> ClipCondition:
        """The first clip has no past, unless it begins with the image; then its past is the image."""
        motion = None
        if clip > 0:
            motion = carry["motion"]
        elif self._from_image:
            motion = self._remember(self._begun())["motion"]
        before = self._reference if motion is None else motion
        decoded = 1 + (before.shape[1] - 1) * self._canvas.stride_time
        speech = SpeechCondition(
            self._reference,
            self._features.clip(clip, self._speech.clip_frames, self._canvas.fps)[0],
            motion,
            self._posed(clip),
        )
        stand = self._speech.warmup_frames if motion is None else 0
        return ClipCondition(speech=speech, before=before, drop=decoded + stand, repeat_first=stand)

    def carry(self, shown: Float[Tensor, "3 T H W"], carry: Carry) -> Carry:
        """The motion history: the last frames of all that was shown, as latents, and as pixels if clips are short."""
        before = carry.get("pixels")
        if before is None:
            before = self._begun()
        return self._remember(torch.cat([before, shown], dim=1)[:, -self._speech.motion_frames :])

    def _remember(self, pixels: Tensor) -> Carry:
        carry = {"motion": self._encode(pixels[None])[0].cpu()}
        if self._speech.clip_frames - self._speech.warmup_frames < self._speech.motion_frames:
            carry["pixels"] = pixels
        return carry

    def _begun(self) -> Tensor:
        """The pixels before the first clip: grey, and the image at last; or the image all along."""
        if self._speech.static_history:
            return self._pixels[:, None].expand(-1, self._speech.motion_frames, -1, -1)
        past = torch.zeros(3, self._speech.motion_frames, *self._pixels.shape[1:])
        if self._from_image:
            past[:, -_SHOWN_BEFORE:] = self._pixels[:, None]
        return past

    def _posed(self, clip: int) -> Tensor | None:
        """Latents of the body's pose in a clip; None where the pose video has ended."""
        if self._pose is None:
            return None
        count, video = self._speech.clip_frames, self._pose
        times = np.arange(clip * count, (clip + 1) * count) / self._canvas.fps
        index = np.floor(times * video.fps + 1e-6).astype(np.int64)
        index = index[index < len(video.frames)]
        if not len(index):
            return None
        shown = [to_pixels(fit_reference(video.frames[i], self._canvas.draw)) for i in index]
        black = torch.full_like(shown[0], -1.0)
        pixels = torch.stack([shown[0], *shown, *[black] * (count - len(shown))], dim=1)
        return self._encode(pixels[None])[0, :, 1:].cpu()
