"""How the minutes of a whole recipe are divided: what each part gets, and how much it can do in that time.

Arithmetic alone: how long a unit of a part takes is measured elsewhere, and no clock is read here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wan22.atomic import write_text
from wan22.errors import CheckpointError, OptionError
from wan22.files import read_json

_ANEW = "Name another --folder, or remove that one."


@dataclass(frozen=True)
class Part:
    """A part of the recipe. Of the time, its `share` stands against the others'; `unit` is what it is counted in."""

    name: str
    share: float
    unit: str = ""
    least: int = 1
    most: int = 1

    def units(self, seconds: float, each: float) -> int:
        """How many units can be done in so many seconds, if each takes so long."""
        return max(self.least, min(self.most, int(seconds / max(each, 1e-9))))


PARTS = (
    Part("clips", 6, "clips", 64, 15_400),
    Part("latents", 3),
    Part("text", 5, "steps", 50, 3000),
    Part("sketch", 11, "steps", 50, 8000),
    Part("high", 11, "steps", 50, 8800),
    Part("low", 13, "steps", 50, 11_800),
    Part("high-more", 8, "steps", 50, 7600),
    Part("low-more", 11, "steps", 50, 13_200),
    Part("decoder", 4, "steps", 30, 1900),
    Part("decoder-more", 3, "steps", 30, 1200),
    Part("decoder-last", 3, "steps", 30, 1280),
    Part("reward-model", 6, "steps", 50, 6100),
    Part("reward-tuning", 5, "steps", 20, 500),
    Part("export", 0.5),
    Part("fast", 5, "trajectories", 8, 160),
    Part("compare", 5, "videos", 4, 100),
)
"""The parts of the embedded model's recipe in their order; the shares are rough percentages."""


@dataclass(frozen=True)
class Done:
    """What is known of a part: units that were decided, seconds that a unit took when it was tried, seconds spent."""

    units: int
    each: float
    spent: float | None = None


@dataclass(frozen=True)
class Plan:
    """The parts of a run that have their size, in their order. A size that is decided stays when the run goes on."""

    minutes: float
    parts: Mapping[str, Done]

    def seconds(self, part: Part, parts: tuple[Part, ...] = PARTS) -> float:
        """What a part gets: of the time that is left, its share among the parts that are still to come."""
        spent = sum(done.spent or 0.0 for done in self.parts.values())
        rest = sum(other.share for other in parts[parts.index(part) :])
        return max(0.0, self.minutes * 60 - spent) * part.share / rest

    def sized(self, part: Part, each: float, parts: tuple[Part, ...] = PARTS) -> "Plan":
        """The plan with a size for a part whose unit takes `each` seconds."""
        units = part.units(self.seconds(part, parts), each)
        return replace(self, parts={**self.parts, part.name: Done(units, each)})

    def finished(self, name: str, seconds: float) -> "Plan":
        """The plan after a part has been done, which took so long."""
        return replace(self, parts={**self.parts, name: replace(self.parts[name], spent=seconds)})

    def is_done(self, name: str) -> bool:
        return name in self.parts and self.parts[name].spent is not None

    def units(self, name: str) -> int:
        return self.parts[name].units

    def write(self, path: Path) -> None:
        """Write the plan into a file."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def open_plan(path: Path, minutes: float) -> Plan:
    """The plan of a run that was begun, or a new one.

    Raises OptionError for minutes that cannot be or are not those of the run, CheckpointError if the file is damaged.
    """
    if not 0 < minutes < float("inf"):
        raise OptionError(f"--minutes must be above 0, not {minutes:g}")
    if not path.exists():
        return Plan(minutes, {})
    values = read_json(path, CheckpointError, remedy=_ANEW)
    try:
        plan = Plan(values["minutes"], {name: Done(**done) for name, done in values["parts"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is no plan of a run ({error}). {_ANEW}") from error
    if plan.minutes != minutes:
        raise OptionError(f"{path} is of a run of {plan.minutes:g} minutes, not {minutes:g}. {_ANEW}")
    return plan
