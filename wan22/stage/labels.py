"""What a shot on the film set can be: its axes and their values, how often each is drawn, and what is held out.

Where the director's vocabulary has the axis or the term, key and value are the vocabulary's own ("shot_size",
"close-up"). It knows words, not images: `scene.py` says what a value means in the world, `caption.py` how people say
it.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import astuple, dataclass
from typing import Literal

from wan22.errors import OptionError, choose

Split = Literal["train", "held-out"]

AXES: dict[str, dict[str, float]] = {
    "subject": {"ball": 1, "cube": 1, "cone": 1, "robot": 1, "mushroom": 0},
    "colour": {"red": 1, "orange": 1, "yellow": 1, "green": 1, "blue": 1, "purple": 1},
    "material": {"matte": 2, "glossy": 1, "striped": 1},
    "surroundings": {"meadow": 1, "desert": 1, "snow": 1},
    "action": {
        "still": 3,
        "travel-left": 2,
        "travel-right": 2,
        "bounce": 1.5,
        "spin": 1,
        "drop": 1,
        "collide": 0.5,
    },
    "time": {"dawn": 1, "sunrise": 1, "day": 3, "sunset": 2, "dusk": 1, "night": 2},
    "light_source": {"sky": 5, "overcast": 1, "practical": 1},
    "light_quality": {"soft-light": 1, "hard-light": 1},
    "light_direction": {"left": 2, "right": 2, "backlight": 1, "front": 1, "top-light": 1},
    "tone": {"warm": 1, "cool": 1, "neutral": 1},
    "saturation": {"normal": 4, "high-saturation": 1, "low-saturation": 1},
    "contrast": {"normal": 4, "high-contrast": 1, "low-contrast": 1},
    "shot_size": {"extreme-close-up": 1, "close-up": 2, "medium": 2, "wide": 2, "extreme-wide": 1},
    "camera_angle": {"eye-level": 5, "low-angle": 1, "high-angle": 1, "dutch-angle": 1, "overhead": 1},
    "lens": {"normal-lens": 5, "wide-angle": 1, "telephoto": 1, "fisheye": 1},
    "focus": {"deep": 4, "shallow": 1},
    "composition": {"center": 4, "left-heavy": 1, "right-heavy": 1},
    "camera": {
        "static": 6,
        "pan-left": 2,
        "pan-right": 2,
        "tilt-up": 1,
        "tilt-down": 1,
        "dolly-in": 2,
        "dolly-out": 2,
        "truck-left": 1,
        "truck-right": 1,
        "crane-up": 1,
        "crane-down": 1,
        "orbit-left": 1,
        "orbit-right": 1,
        "zoom-in": 1,
        "zoom-out": 1,
        "roll-clockwise": 0.5,
        "roll-counterclockwise": 0.5,
        "follow": 1,
        "dolly-in+crane-up": 0.5,
        "dolly-out+crane-up": 0.5,
        "pan-left+zoom-in": 0.5,
        "pan-right+zoom-in": 0.5,
    },
    "grip": {"steady": 6, "handheld": 1},
}
"""Every axis, with the weight of each of its values. A weight of 0: never drawn, only asked for by name.

`light_source` "sky" is the sun, or the moon at night; "practical" a lamp that stands in the image. `light_direction`
"left" and "right" are side light from there. `camera` joins the moves of a compound one by "+".
"""

_RULED_BY = ("subject", "colour", "surroundings", "action", "time", "tone", "shot_size", "camera")


@dataclass(frozen=True)
class Shot:
    """One combination of labels; `AXES` lists the values of each field."""

    subject: str = "ball"
    colour: str = "red"
    material: str = "matte"
    surroundings: str = "meadow"
    action: str = "still"
    time: str = "day"
    light_source: str = "sky"
    light_quality: str = "soft-light"
    light_direction: str = "left"
    tone: str = "neutral"
    saturation: str = "normal"
    contrast: str = "normal"
    shot_size: str = "medium"
    camera_angle: str = "eye-level"
    lens: str = "normal-lens"
    focus: str = "deep"
    composition: str = "center"
    camera: str = "static"
    grip: str = "steady"

    def __post_init__(self) -> None:
        for axis, values in AXES.items():
            choose(axis, getattr(self, axis), tuple(values))
        if self.camera == "follow" and not self.action.startswith("travel"):
            raise OptionError(
                f"camera 'follow' needs a subject that travels, not action {self.action!r}: "
                "choose action travel-left or travel-right"
            )

    @property
    def moves(self) -> tuple[str, ...]:
        """The camera's movements, one or two; ("static",) if it has none."""
        return tuple(self.camera.split("+"))

    @property
    def held_out(self) -> bool:
        """Whether this combination of what matters most is one of the tenth that no training ever sees."""
        key = "|".join(getattr(self, axis) for axis in _RULED_BY)
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10 == 0


def sample(count: int, seed: int = 0, *, split: Split = "train") -> list[Shot]:
    """Draw `count` shots by the weights of `AXES`, from the training combinations or from the held-out ones.

    The numbers of the two splits never meet either: a seed means another series in each.
    Raises OptionError for a negative count or an unknown split.
    """
    if count < 0:
        raise OptionError(f"cannot sample {count} shots: the count must be 0 or more")
    held_out = choose("split", split, ("train", "held-out")) == "held-out"
    rng = random.Random(f"{split} {seed}")
    shots: list[Shot] = []
    while len(shots) < count:
        drawn = {axis: rng.choices(tuple(values), tuple(values.values()))[0] for axis, values in AXES.items()}
        if drawn["light_source"] == "overcast":
            drawn["light_quality"] = "soft-light"  # a covered sky casts no hard shadow
        if drawn["camera"] == "follow" and not drawn["action"].startswith("travel"):
            drawn["action"] = rng.choice(("travel-left", "travel-right"))
        shot = Shot(**drawn)
        if shot.held_out == held_out:
            shots.append(shot)
    return shots


def labels(shot: Shot) -> dict[str, str]:
    """The values of a shot by axis."""
    return dict(zip(AXES, astuple(shot), strict=True))
