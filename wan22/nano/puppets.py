"""Videos of the puppet as a model that audio drives sees them: latents of clips with and without a past, and the
audio states of every frame.

A video of the set lasts a little longer than a clip and its past. Three pieces of each are kept: a clip behind
its past, as the VAE encodes both together; and two first clips, each behind its reference image.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from wan22.conditioning.speech import RATE, AudioEncoder, AudioFeatures
from wan22.models.vae import WanVAE
from wan22.stage.puppet import PuppetShot, perform, sample_puppets
from wan22.stage.puppet_render import render_puppet
from wan22.stage.voice import audio_track, singing
from wan22.train.data.cache import OLD_TENSORS
from wan22.train.log import Log
from wan22.train.settings import present_names
from wan22.types import Audio
from wan22.weights.writer import write_tensors


@dataclass(frozen=True)
class PuppetVideos:
    """A set of videos: how many, of what size and length, and how a clip lies in its past."""

    count: int
    size: int
    past: int
    clip: int
    spare: int
    fps: float
    seed: int

    @property
    def frames(self) -> int:
        """Frames of a video: a past, a clip, and some to choose where they begin."""
        return self.past + self.clip + self.spare


@dataclass(frozen=True)
class PuppetSet:
    """`chained` (n, c, past + clip, h, w), `first` (n, 2, c, 1 + clip, h, w), normalised latents, float16;
    `audio` (n, 3, states, a, T) float16 of the three clips; and the shots.
    """

    chained: Tensor
    first: Tensor
    audio: Tensor
    shots: list[PuppetShot]


_PIECE = 48
AUDIO_FILE = "audio.safetensors"
_OLD_AUDIO_FILE = "heard.safetensors"  # of folders made by earlier versions


@dataclass(frozen=True)
class _Cut:
    """Where the three pieces of a video begin, and which frames are the references of the two first clips."""

    chained: int
    first: tuple[int, int]
    reference: tuple[int, int]

    @classmethod
    def of(cls, videos: PuppetVideos, row: int) -> "_Cut":
        draw = random.Random(f"{videos.seed} {row}")
        chained = draw.randrange(videos.spare + 1)
        a, b = (draw.randrange(videos.frames - videos.clip) for _ in range(2))
        # Who is seen: mostly the image at which the clip begins, else any other of the video.
        reference = [at if draw.random() < 0.6 else draw.randrange(videos.frames) for at in (a, b)]
        return cls(chained, (a, b), (reference[0], reference[1]))


def _track(videos: PuppetVideos, row: int) -> np.ndarray:
    return audio_track(videos.seed * 100_003 + row, videos.frames / videos.fps)


@torch.inference_mode()
def make_puppets(videos: PuppetVideos, vae: WanVAE, folder: Path, *, log: Log, batch: int = 8) -> None:
    """Render and encode the videos into `folder`; resumable, piece by piece."""
    shots = sample_puppets(videos.count, videos.seed)
    folder.mkdir(parents=True, exist_ok=True)
    for begin in range(0, videos.count, _PIECE):
        piece = folder / f"videos-{begin:06}.safetensors"
        if piece.exists():
            continue
        parts: dict[str, list[Tensor]] = {"chained": [], "first": []}
        end = min(begin + _PIECE, videos.count)
        for start in range(begin, end, batch):
            rows = range(start, min(start + batch, end))
            for name, value in _encode(videos, [shots[i] for i in rows], rows, vae).items():
                parts[name].append(value)
        write_tensors(piece, {name: torch.cat(values) for name, values in parts.items()})
        log(f"{end} of {videos.count} videos")


def _encode(videos: PuppetVideos, shots: list[PuppetShot], rows: range, vae: WanVAE) -> dict[str, Tensor]:
    pixels = puppet_pixels(videos, shots, rows)
    normalised = pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    chained, first = [], []
    for video, row in zip(normalised, rows, strict=True):
        cut = _Cut.of(videos, row)
        chained.append(video[:, cut.chained : cut.chained + videos.past + videos.clip])
        first += [
            torch.cat([video[:, shown : shown + 1], video[:, at : at + videos.clip]], dim=1)
            for at, shown in zip(cut.first, cut.reference, strict=True)
        ]
    with torch.autocast("cpu", torch.bfloat16):  # a frame at a time stays in the cache: twice as fast
        latents = vae.encode(torch.stack(chained), chunk=1).half()
        begun = vae.encode(torch.stack(first), chunk=1).half()
    return {"chained": latents, "first": begun.unflatten(0, (-1, 2))}


def sung_track(videos: PuppetVideos, row: int) -> np.ndarray:
    """The track of a video in which the puppet only sings; it needs no program that speaks."""
    return singing(videos.frames / videos.fps, seed=videos.seed * 100_003 + row, rate=RATE)


def puppet_pixels(
    videos: PuppetVideos,
    shots: list[PuppetShot],
    rows: range,
    track: Callable[[PuppetVideos, int], np.ndarray] = _track,
) -> Tensor:
    """Render videos `rows` of a set, uint8 (b, T, H, W, 3), performed to their tracks."""
    acts = [perform(track(videos, i), RATE, videos.frames, videos.fps, seed=i) for i in rows]
    return render_puppet(
        shots,
        acts,
        height=videos.size,
        width=videos.size,
        frames=videos.frames,
        fps=videos.fps,
        seed=videos.seed + rows[0],
    )


def encode_puppet_audio(videos: PuppetVideos, encoder: AudioEncoder, folder: Path, *, log: Log) -> None:
    """Write the audio states of the clips beside the videos."""
    if has_audio(folder):
        return
    audio = []
    for row in range(videos.count):
        features = AudioFeatures(Audio(_track(videos, row), RATE), encoder)
        cut = _Cut.of(videos, row)
        spans = (cut.chained + videos.past, *cut.first)
        audio.append(torch.stack([_states(features, at, videos) for at in spans]).half())
        if (row + 1) % 400 == 0:
            log(f"{row + 1} of {videos.count} tracks encoded")
    write_tensors(folder / AUDIO_FILE, {"audio": torch.stack(audio)})


def _states(features: AudioFeatures, begin: int, videos: PuppetVideos) -> Tensor:
    times = np.arange(begin, begin + videos.clip) / videos.fps
    return features.at_ticks(np.round(times * 30).astype(np.int64)).transpose(1, 2)


def has_audio(folder: Path) -> bool:
    """Whether `encode_puppet_audio` has written into `folder`."""
    return (folder / AUDIO_FILE).is_file() or (folder / _OLD_AUDIO_FILE).is_file()


def puppet_set(videos: PuppetVideos, folder: Path) -> PuppetSet:
    """Read what `make_puppets` and `encode_puppet_audio` wrote."""
    parts: dict[str, list[Tensor]] = {"chained": [], "first": []}
    for piece in sorted(folder.glob("videos-*.safetensors")):
        with safe_open(piece, "pt") as file:
            for name, values in parts.items():
                values.append(file.get_tensor(name))
    whole = {name: torch.cat(values) for name, values in parts.items()}
    new, old = folder / AUDIO_FILE, folder / _OLD_AUDIO_FILE
    with safe_open(new if new.exists() or not old.exists() else old, "pt") as file:
        audio = present_names({name: file.get_tensor(name) for name in file.keys()}, OLD_TENSORS)["audio"]
    count = len(whole["chained"])
    return PuppetSet(**whole, audio=audio[:count], shots=sample_puppets(videos.count, videos.seed)[:count])
