"""Films of the puppet as a model that sound drives sees them: latents of clips with and without a past, and what is
heard at every frame.

A film of the set lasts a little longer than a clip and its past. Three pieces of each are kept: a clip behind its past,
as the VAE encodes both together; and two first clips, each behind the picture that it is told of.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from wan22.conditioning.speech import RATE, Hear, Hearing
from wan22.models.vae import WanVAE
from wan22.stage.puppet import PuppetShot, perform, sample_puppets
from wan22.stage.puppet_render import render_puppet
from wan22.stage.voice import sound_track
from wan22.train.log import Log
from wan22.types import Sound


@dataclass(frozen=True)
class PuppetFilms:
    """A set of films: how many, of what size and length, and how a clip lies in its past."""

    count: int
    size: int
    past: int
    clip: int
    spare: int
    fps: float
    seed: int

    @property
    def frames(self) -> int:
        """Frames of a film: a past, a clip, and some to choose where they begin."""
        return self.past + self.clip + self.spare


@dataclass(frozen=True)
class PuppetSet:
    """`chained` (n, c, past + clip, h, w), `first` (n, 2, c, 1 + clip, h, w), normalised latents, float16;
    `heard` (n, 3, states, a, T) float16 of the three clips; and the shots.
    """

    chained: Tensor
    first: Tensor
    heard: Tensor
    shots: list[PuppetShot]


_PIECE = 48


@dataclass(frozen=True)
class _Cut:
    """Where the three pieces of a film begin, and which frames the two first clips are told of."""

    chained: int
    first: tuple[int, int]
    told: tuple[int, int]

    @classmethod
    def of(cls, films: PuppetFilms, row: int) -> "_Cut":
        draw = random.Random(f"{films.seed} {row}")
        chained = draw.randrange(films.spare + 1)
        a, b = (draw.randrange(films.frames - films.clip) for _ in range(2))
        # Who is seen: mostly the picture at which the clip begins, else any other of the film.
        told = [at if draw.random() < 0.6 else draw.randrange(films.frames) for at in (a, b)]
        return cls(chained, (a, b), (told[0], told[1]))


def _track(films: PuppetFilms, row: int) -> np.ndarray:
    return sound_track(films.seed * 100_003 + row, films.frames / films.fps)


@torch.inference_mode()
def make_puppets(films: PuppetFilms, vae: WanVAE, folder: Path, *, log: Log, batch: int = 8) -> None:
    """Render and encode the films into `folder`; resumable, piece by piece."""
    shots = sample_puppets(films.count, films.seed)
    folder.mkdir(parents=True, exist_ok=True)
    for begin in range(0, films.count, _PIECE):
        piece = folder / f"films-{begin:06}.safetensors"
        if piece.exists():
            continue
        parts: dict[str, list[Tensor]] = {"chained": [], "first": []}
        end = min(begin + _PIECE, films.count)
        for start in range(begin, end, batch):
            rows = range(start, min(start + batch, end))
            for name, value in _encode(films, [shots[i] for i in rows], rows, vae).items():
                parts[name].append(value)
        _save({name: torch.cat(values) for name, values in parts.items()}, piece)
        log(f"{end} of {films.count} films")


def _encode(films: PuppetFilms, shots: list[PuppetShot], rows: range, vae: WanVAE) -> dict[str, Tensor]:
    pixels = puppet_pixels(films, shots, rows)
    video = pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    chained, first = [], []
    for film, row in zip(video, rows, strict=True):
        cut = _Cut.of(films, row)
        chained.append(film[:, cut.chained : cut.chained + films.past + films.clip])
        first += [
            torch.cat([film[:, told : told + 1], film[:, at : at + films.clip]], dim=1)
            for at, told in zip(cut.first, cut.told, strict=True)
        ]
    with torch.autocast("cpu", torch.bfloat16):  # a frame at a time stays in the cache: twice as fast
        latents = vae.encode(torch.stack(chained), chunk=1).half()
        begun = vae.encode(torch.stack(first), chunk=1).half()
    return {"chained": latents, "first": begun.unflatten(0, (-1, 2))}


def puppet_pixels(films: PuppetFilms, shots: list[PuppetShot], rows: range) -> Tensor:
    """Render films `rows` of a set, uint8 (b, T, H, W, 3)."""
    acts = [perform(_track(films, i), RATE, films.frames, films.fps, seed=i) for i in rows]
    return render_puppet(
        shots,
        acts,
        height=films.size,
        width=films.size,
        frames=films.frames,
        fps=films.fps,
        seed=films.seed + rows[0],
    )


def hear_puppets(films: PuppetFilms, hear: Hear, folder: Path, *, log: Log) -> None:
    """Write what is heard in the clips of the films beside them."""
    path = folder / "heard.safetensors"
    if path.exists():
        return
    heard = []
    for row in range(films.count):
        hearing = Hearing(Sound(_track(films, row), RATE), hear)
        cut = _Cut.of(films, row)
        spans = (cut.chained + films.past, *cut.first)
        heard.append(torch.stack([_states(hearing, at, films) for at in spans]).half())
        if (row + 1) % 400 == 0:
            log(f"{row + 1} of {films.count} tracks heard")
    _save({"heard": torch.stack(heard)}, path)


def _states(hearing: Hearing, begin: int, films: PuppetFilms) -> Tensor:
    times = np.arange(begin, begin + films.clip) / films.fps
    return hearing.at_ticks(np.round(times * 30).astype(np.int64)).transpose(1, 2)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    partial.replace(path)


def puppet_set(films: PuppetFilms, folder: Path) -> PuppetSet:
    """Read what `make_puppets` and `hear_puppets` wrote."""
    parts: dict[str, list[Tensor]] = {"chained": [], "first": []}
    for piece in sorted(folder.glob("films-*.safetensors")):
        with safe_open(piece, "pt") as file:
            for name, values in parts.items():
                values.append(file.get_tensor(name))
    whole = {name: torch.cat(values) for name, values in parts.items()}
    with safe_open(folder / "heard.safetensors", "pt") as file:
        heard = file.get_tensor("heard")
    count = len(whole["chained"])
    return PuppetSet(**whole, heard=heard[:count], shots=sample_puppets(films.count, films.seed)[:count])
