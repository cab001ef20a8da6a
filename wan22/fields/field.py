"""What a field is: its name, help, kind, group, rule, default, and where it may be said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "text", "integer", "number", "flag", "file", "size", "expert_pair", "interval", "numbers", "lora", "terms"
]  # fmt: skip
"""What a value is. `size` is (width, height); `expert_pair` one number or (low, high); `interval` (start, stop);
`numbers` a list with commas; `lora` and `terms` are lists."""

Group = Literal["What", "Where", "How", "Direction", "Speech", "Animate", "Memory"]
GROUPS: dict[Group, str] = {
    "What": "what is made",
    "How": "how it is made",
    "Direction": "how the shot is directed",
    "Speech": "a video that audio drives",
    "Animate": "who moves as in a video",
    "Where": "where it goes",
    "Memory": "model, device and memory",
}
"""The groups of the help, in its order."""

Place = Literal["cli", "recipe", "http"]
"""Where a field may be said: as an option, in the recipe of a file, to the server and in the studio."""

VIDEO, IMAGE, STORYBOARD, DECODE, TRAIN = "generate", "image", "storyboard", "decode", "train"
MAKERS = (VIDEO, IMAGE, STORYBOARD)
EVERYWHERE: frozenset[Place] = frozenset({"cli", "recipe", "http"})
TYPED: frozenset[Place] = frozenset({"cli", "http"})
CLI: frozenset[Place] = frozenset({"cli"})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The numbers that a field takes: from `low` (above it, if `open_low`) to `high`.

    `says` completes "must be ..."; `hint` says what works.
    """

    says: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    hint: str = ""

    def holds(self, value: float) -> bool:
        """Whether a number is allowed."""
        return (self.low < value if self.open_low else self.low <= value) and value <= self.high


@dataclass(frozen=True, kw_only=True)
class Field:
    """One thing that can be asked.

    `of` is the field of Request that it becomes ("" if it is none: a file's place, the model, how many are made).
    `own_default`: None stands for the model's own. `aliases` are hidden older options; `foreign` are what other
    programs call it; both are without dashes. `bare` is the value that the option without one stands for.
    """

    name: str
    help: str
    group: Group
    kind: Kind = "text"
    metavar: str = ""
    of: str = ""
    rule: Rule | None = None
    default: Any = None
    own_default: bool = False
    shown_default: str = ""
    where: frozenset[Place] = TYPED
    commands: tuple[str, ...] = (VIDEO,)
    choices: str = ""
    short: str = ""
    aliases: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    bare: str = ""

    @property
    def option(self) -> str:
        """The option of the command line; `short` is it, where Python keeps the name."""
        return self.short if self.short.startswith("--") else "--" + self.name.replace("_", "-")


def asked(name: str, help: str, group: Group, kind: Kind = "text", **more: Any) -> Field:
    """A field of Request that is typed as it is and stands in recipes."""
    return Field(name=name, help=help, group=group, kind=kind, **{"of": name, "where": EVERYWHERE, **more})
