"""What a node is: its inputs, its outputs and one function. `v3.py` and `v1.py` make ComfyUI's classes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

WAN22_MODEL = "WAN22_MODEL"
"""The type that passes a model of `Wan22Load` to the other nodes; every other type is ComfyUI's own."""

Kind = Literal[
    "STRING", "INT", "FLOAT", "BOOLEAN", "COMBO", "IMAGE", "MASK", "LATENT", "AUDIO", "VIDEO", "WAN22_MODEL"
]

NONE, DEFAULT = "none", "default"
"""The first choice of lists: nothing is chosen; the model's own is taken."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input: a widget (STRING, INT, FLOAT, BOOLEAN, COMBO) or a socket.

    options: of a COMBO, or a function that lists them each time ComfyUI asks. own: the value that stands for the
    model's own. changes: ComfyUI may change the value after each run, as it does with seeds. advanced: shown on demand.
    """

    id: str
    kind: Kind
    help: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    options: Sequence[str] | Callable[[], Sequence[str]] = ()
    own: Any = None
    optional: bool = False
    multiline: bool = False
    changes: bool = False
    advanced: bool = False

    @property
    def choices(self) -> list[str]:
        """The options of a COMBO, as they are now."""
        return list(self.options() if callable(self.options) else self.options)


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output. many: it is a list, each item of which goes through the next nodes by itself."""

    id: str
    kind: Kind
    help: str
    many: bool = False


@dataclass(frozen=True)
class Result:
    """What a node gives: a value for each output, and a text that ComfyUI shows on it."""

    values: tuple[Any, ...]
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node. run: called with the inputs by their ids. takes_lists: every input is a list, as ComfyUI passes them."""

    id: str
    name: str
    help: str
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    run: Callable[..., Result]
    takes_lists: bool = False


CATEGORY = "Wan2.2"
