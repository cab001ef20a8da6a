"""What a shot on the stage can be: ten axes of a few plain values, and which combinations are held out.

It knows words, not pictures: `scene.py` says what a value means in the world, `caption.py` how people say it.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import astuple, dataclass
from typing import Literal

from wan22.errors import OptionError, choose

Split = Literal["train", "held-out"]

AXES: dict[str, tuple[str, ...]] = {
    "shape": ("ball", "cube", "cone"),
    "colour": ("red", "orange", "yellow", "green", "blue", "purple"),
    "size": ("small", "large"),
    "surroundings": ("meadow", "desert", "snow"),
    "action": ("still", "roll left", "roll right", "bounce", "spin", "collide"),
    "time": ("day", "sunset", "night"),
    "light": ("left", "right"),
    "tone": ("warm", "cool"),
    "shot": ("close-up", "medium", "wide"),
    "camera": ("static", "pan left", "pan right", "dolly in", "dolly out"),
}
"""Every axis with its values. The product of all is 116,640 combinations."""


@dataclass(frozen=True)
class Shot:
    """One combination of labels; `AXES` lists the values of each field.

    `light` is the side from which the light comes. `roll left` and `roll right` are a travel over the
    ground: a ball rolls, a cube and a cone glide. In `collide` a ball of another colour comes in and hits the
    subject.
    """

    shape: str
    colour: str
    size: str
    surroundings: str
    action: str
    time: str
    light: str
    tone: str
    shot: str
    camera: str

    def __post_init__(self) -> None:
        for axis, values in AXES.items():
            choose(axis, getattr(self, axis), values)

    @property
    def held_out(self) -> bool:
        """Whether this combination is one of the tenth that no training ever sees."""
        digest = hashlib.sha256("|".join(astuple(self)).encode()).digest()
        return int.from_bytes(digest[:4], "big") % 10 == 0


def sample(count: int, seed: int | random.Random = 0, *, split: Split = "train") -> list[Shot]:
    """Draw `count` shots, every axis uniform, from the training combinations or from the held-out ones."""
    if count < 0:
        raise OptionError(f"cannot sample {count} shots: the count must be 0 or more")
    held_out = choose("split", split, ("train", "held-out")) == "held-out"
    rng = seed if isinstance(seed, random.Random) else random.Random(seed)
    shots: list[Shot] = []
    while len(shots) < count:
        shot = Shot(**{axis: rng.choice(values) for axis, values in AXES.items()})
        if shot.held_out == held_out:
            shots.append(shot)
    return shots
