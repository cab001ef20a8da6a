"""The puppet: who it is, how people say it, and what it does with an audio file.

A performance follows from the audio alone: the mouth from the loudness of the voice band, its width from the spectrum's
balance, the brows from accents, the head from the slow loudness, the hands from stressed beginnings. Loudness is taken
relative to the track's own, as an encoder of audio has it. It knows labels and signals; `puppet_render.py` draws.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np

from wan22.errors import OptionError, choose
from wan22.stage.labels import Split

PUPPET_AXES: dict[str, tuple[str, ...]] = {
    "coat": ("blue", "green", "yellow", "purple", "white", "black"),
    "hair": ("blond", "black", "grey", "blue"),
    "surroundings": ("meadow", "desert", "snow"),
    "time": ("day", "sunset", "night"),
    "light": ("left", "right"),
    "tone": ("warm", "cool"),
    "camera": ("static", "pan left", "pan right", "dolly in", "dolly out"),
}
"""Every axis with its values. No coat is red: on this set the mouth alone is, so that it can be measured."""

_BAND = (200.0, 3500.0)
_WINDOW = 0.064
_FLOOR, _SPAN = -30.0, 30.0
"""Decibels below the track's loud level at which the mouth is shut, and over which it opens."""


@dataclass(frozen=True)
class PuppetShot:
    """One combination of labels; `PUPPET_AXES` lists the values of each field."""

    coat: str
    hair: str
    surroundings: str
    time: str
    light: str
    tone: str
    camera: str

    def __post_init__(self) -> None:
        for axis, values in PUPPET_AXES.items():
            choose(axis, getattr(self, axis), values)

    @property
    def held_out(self) -> bool:
        """Whether this combination is one of the tenth that no training ever sees."""
        digest = hashlib.sha256("|".join(("puppet", *astuple(self))).encode()).digest()
        return int.from_bytes(digest[:4], "big") % 10 == 0


def sample_puppets(count: int, seed: int = 0, *, split: Split = "train") -> list[PuppetShot]:
    """Draw `count` shots from the training combinations or the held-out ones; every other camera stands still."""
    if count < 0:
        raise OptionError(f"cannot sample {count} shots: the count must be 0 or more")
    held_out = choose("split", split, ("train", "held-out")) == "held-out"
    rng = random.Random(f"puppet {seed}")
    shots: list[PuppetShot] = []
    while len(shots) < count:
        values = {axis: rng.choice(values) for axis, values in PUPPET_AXES.items()}
        if rng.random() < 0.3:
            values["camera"] = "static"
        shot = PuppetShot(**values)
        if shot.held_out == held_out:
            shots.append(shot)
    return shots


_CAMERA = {
    "static": ("the camera is still", "a static camera", "locked-off camera"),
    "pan left": ("the camera pans left", "pan left", "the view pans to the left"),
    "pan right": ("the camera pans right", "pan right", "the view pans to the right"),
    "dolly in": ("the camera dollies in", "dolly in", "the camera moves closer"),
    "dolly out": ("the camera dollies out", "dolly out", "the camera moves away"),
}
_TIME = {
    "day": ("by day", "in daylight", "at noon"),
    "sunset": ("at sunset", "in the evening sun", "at dusk"),
    "night": ("at night", "in the moonlight", "by night"),
}
_PLACE = {
    "meadow": ("in a meadow", "in the grass", "on a green field"),
    "desert": ("in the desert", "among dunes", "in the sand"),
    "snow": ("in the snow", "in winter", "on a snowy plain"),
}


def puppet_caption(shot: PuppetShot, rng: random.Random) -> str:
    """Say a shot in one of many ways. The camera is told whenever it moves; other things may be left out."""
    who = rng.choice(("a puppet", "the puppet", "a felt puppet", "a puppet figure"))
    coat = rng.choice((f"in a {shot.coat} coat", f"with a {shot.coat} coat", f"wearing {shot.coat}"))
    hair = rng.choice((f"with {shot.hair} hair", f"{shot.hair} hair"))
    does = rng.choice(("speaks", "talks", "performs", "sings and talks", "is speaking"))
    parts = [
        " ".join(
            [who, *([coat] if rng.random() < 0.85 else []), *([hair] if rng.random() < 0.6 else []), does]
        )
    ]
    details = [
        rng.choice(_PLACE[shot.surroundings]),
        rng.choice(_TIME[shot.time]),
        rng.choice((f"{shot.tone} tone", f"{shot.tone} colours")),
        rng.choice((f"light from the {shot.light}", f"{shot.light} side light")),
    ]
    parts += [detail for detail in details if rng.random() < 0.75]
    rng.shuffle(parts)
    if shot.camera != "static" or rng.random() < 0.7:
        parts.insert(rng.choice((0, len(parts))), rng.choice(_CAMERA[shot.camera]))
    return ", ".join(parts)


class PuppetMotion(NamedTuple):
    """What the puppet does, frame by frame, float32 (T,) each, `hands` (T, 2).

    `mouth`, `width`, `brow` and `hands` are shares from 0 to 1; `nod` and `tilt` angles in radians; `blink` 0 is open.
    """

    mouth: np.ndarray
    width: np.ndarray
    brow: np.ndarray
    nod: np.ndarray
    tilt: np.ndarray
    hands: np.ndarray
    blink: np.ndarray


def perform(samples: np.ndarray, rate: int, frames: int, fps: float, *, seed: int) -> PuppetMotion:
    """Derive a performance of `frames` frames from an audio file; `seed` moves nothing but the eyelids."""
    centres = np.arange(frames) / fps
    loud, bright = _loudness(samples, rate, centres)
    mouth = _smoothed(((loud - _FLOOR) / _SPAN).clip(0, 1), fps, 0.05)
    slow = _smoothed(mouth, fps, 0.35)
    accent = _smoothed((mouth - slow).clip(0, 1), fps, 0.12)
    beat = _smoothed(
        np.maximum(np.diff(mouth, prepend=mouth[:1]), 0) * min(1.0, fps / 16) * 2, fps, 0.1
    ).clip(0, 1)
    turns = np.cumsum(beat) / fps  # which hand beats changes as stresses pass
    left = 0.5 + 0.5 * np.cos(2 * np.pi * 2.5 * turns)
    return PuppetMotion(
        mouth=mouth.astype(np.float32),
        width=(_smoothed(bright, fps, 0.06) * (mouth > 0.02)).astype(np.float32),
        brow=(1.6 * accent).clip(0, 1).astype(np.float32),
        nod=(0.22 * slow).astype(np.float32),
        tilt=(0.16 * (slow - _smoothed(slow, fps, 0.6)) * 2).astype(np.float32),
        hands=(1.8 * np.stack([beat * left, beat * (1 - left)], axis=1)).clip(0, 1).astype(np.float32),
        blink=_blinks(frames, fps, seed),
    )


def _loudness(samples: np.ndarray, rate: int, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decibels of the voice band at the given seconds, relative to the track's loud level; and brightness 0..1.

    The loud level is where the loudest tenth of what stands clear of the quietest begins. A track whose voice band does
    not stand clear of its other audio, such as noise, has no voice and no loud level: it is all quiet.
    """
    size = round(_WINDOW * rate)
    window = np.hanning(size)
    padded = np.pad(samples.astype(np.float64), (size // 2, 2 * size))

    def spectra(at: np.ndarray) -> np.ndarray:
        starts = np.round(at * rate).astype(np.int64).clip(0, len(samples) + size)
        return np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(size)] * window)) ** 2

    frequency = np.fft.rfftfreq(size, 1 / rate)
    band = (frequency >= _BAND[0]) & (frequency <= _BAND[1])

    def decibels(power: np.ndarray) -> np.ndarray:
        return 10 * np.log10(power[:, band].sum(1) + 1e-9)

    grid = spectra(np.arange(0, len(samples) / rate, 0.02))
    levels = decibels(grid)
    # A voice is peaky: its spectrum's geometric mean lies far below its mean (spectral flatness).
    flat = np.exp(np.log(grid[:, band] + 1e-12).mean(1)) / (grid[:, band].mean(1) + 1e-12)
    voiced = (flat < 0.25) & (levels > -45)
    if voiced.sum() * 0.02 < 0.15:
        return np.full(len(centres), -120.0), np.zeros(len(centres))
    loud = np.percentile(levels[voiced], 90)
    power = spectra(centres)
    high = power[:, (frequency >= 1400) & (frequency <= 4000)].sum(1)
    bright = 10 * np.log10((high + 1e-9) / (power[:, band].sum(1) + 1e-9))
    return decibels(power) - loud, ((bright + 24) / 18).clip(0, 1)


def _smoothed(values: np.ndarray, fps: float, seconds: float) -> np.ndarray:
    """Blur in time by a Gaussian of that deviation."""
    reach = int(np.ceil(3 * seconds * fps))
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (seconds * fps)) ** 2)
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _blinks(frames: int, fps: float, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    closed = np.zeros(frames)
    at = draw.uniform(0.5, 3.0)
    while at * fps < frames:
        closed[int(at * fps) : int(at * fps) + max(1, round(0.12 * fps))] = 1
        at += draw.uniform(1.8, 4.5)
    return closed.astype(np.float32)
