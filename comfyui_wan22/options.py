"""The inputs that nodes share, made from the options of requests (`wan22.fields`), and a request made from them.

A number that cannot be left empty has a value that stands for the model's own: 0, or -1 where 0 means something.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wan22.errors import OptionError
from wan22.fields import BY_NAME, CHOICES

from .definition import DEFAULT, NONE, Input

if TYPE_CHECKING:
    from wan22.catalog import Variant


def _help(name: str, more: str = "") -> str:
    """The help of an option; others are called as inputs are."""
    said = re.sub(r"--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_"), BY_NAME[name].help)
    return f"{said} {more}".strip()


def _bounds(name: str) -> tuple[float, float]:
    rule = BY_NAME[name].rule
    low, high = (0.0, math.inf) if rule is None else (rule.low, rule.high)
    return (0.0 if math.isinf(low) else low), high


def integer(
    name: str, *, id: str = "", own: int | None = None, default: int | None = None, **more: Any
) -> Input:
    """A whole number; `own` stands for the model's own and is its default."""
    low, high = _bounds(name)
    return Input(
        id=id or name,
        kind="INT",
        help=_help(name, "" if own is None else f"{own}: the model's own."),
        default=own if default is None else default,
        low=int(low if own is None else min(low, own)),
        high=2**63 - 1 if math.isinf(high) else int(high),
        step=1,
        own=own,
        **more,
    )


def decimal(
    name: str,
    *,
    id: str = "",
    own: float | None = None,
    default: float | None = None,
    note: str = "",
    **more: Any,
) -> Input:
    """A number; `own` stands for the model's own and is its default."""
    low, high = _bounds(name)
    said = note if own is None else f"{note} {own:g}: the model's own."
    return Input(
        id=id or name,
        kind="FLOAT",
        help=_help(name, said.strip()),
        default=own if default is None else default,
        low=low if own is None else min(low, own),
        high=100_000.0 if math.isinf(high) else high,
        step=0.01,
        own=own,
        **more,
    )


def chosen(name: str, **more: Any) -> Input:
    """One of the choices of an option, or the model's own."""
    return Input(
        id=name,
        kind="COMBO",
        help=_help(name),
        default=DEFAULT,
        options=(DEFAULT, *CHOICES[name]),
        own=DEFAULT,
        **more,
    )


MODEL = Input(id="model", kind="WAN22_MODEL", help="The model, from Wan22 Load.")
PROMPT = Input(id="prompt", kind="STRING", help=_help("prompt"), default="", multiline=True)
NEGATIVE = Input(
    id="negative", kind="STRING", help="What to avoid. Empty: the model's own; 'none': nothing.", default="",
    multiline=True,
)  # fmt: skip
SEED = integer("seed", default=0, changes=True)
SIZE = (
    integer("size", id="width", own=0),
    integer("size", id="height", own=0),
)
FRAMES = integer("frames", own=0)
SECONDS = decimal("seconds", own=0.0)
FPS = decimal("fps", own=0.0)
STEPS = integer("steps", own=0)
GUIDANCE = (
    decimal("guidance", id="guidance_low", own=-1.0, note="Here: the low-noise expert, or the only network."),
    decimal("guidance", id="guidance_high", own=-1.0, note="Here: the high-noise expert."),
)
SAMPLING = (
    STEPS,
    chosen("solver"),
    chosen("schedule"),
    decimal("shift", own=0.0),
    *GUIDANCE,
    decimal("boundary", own=-1.0),
    Input(
        id="switch_step", kind="INT", help=_help("switch_step", "-1: at the boundary."), default=-1, low=-1, high=1000,
        step=1, own=-1,
    ),
    Input(
        id="sigmas", kind="STRING", help=_help("sigmas", "Empty: they are computed."), default="", own="", advanced=True
    ),
    decimal("guidance_rescale", own=-1.0, advanced=True),
    Input(
        id="guidance_start", kind="FLOAT", help="Guidance begins at this fraction of the steps.", default=0.0, low=0.0,
        high=1.0, step=0.01, advanced=True,
    ),
    Input(
        id="guidance_end", kind="FLOAT", help="Guidance ends at this fraction of the steps; the others cost half.",
        default=1.0, low=0.0, high=1.0, step=0.01, advanced=True,
    ),
    Input(
        id="cache", kind="STRING", help=_help("cache", "As NAME or NAME:THRESHOLD, such as first-block:0.1."),
        default=NONE, own=NONE, advanced=True,
    ),
    Input(id="fast", kind="BOOLEAN", help=_help("fast"), default=False),
    SEED,
)  # fmt: skip
"""How a video is made: what every node that makes one takes."""
PREVIEW = Input(
    id="preview",
    kind="BOOLEAN",
    help="Show what the video is becoming, after each step.",
    default=True,
    advanced=True,
)

INPUTS: dict[str, Input] = {each.id: each for each in (NEGATIVE, *SIZE, FRAMES, SECONDS, FPS, *SAMPLING)}
"""The shared inputs by id."""

_GUIDANCE = tuple(each.id for each in GUIDANCE)
_INTERVAL = ("guidance_start", "guidance_end")
_PLAIN = (
    "frames", "seconds", "fps", "steps", "solver", "schedule", "shift", "boundary", "switch_step", "guidance_rescale",
    "cache", "seed", "fast",
)  # fmt: skip


def asked(values: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    """Fields of a Request from the values of shared inputs. Raises OptionError for a half of a size and for noise
    levels that are no numbers; what else is impossible `Engine.check` says.
    """
    found = {name: values[name] for name in _PLAIN if name in values and values[name] != INPUTS[name].own}
    if text := str(values.get("negative", "")).strip():
        found["negative"] = "" if text.lower() == NONE else text
    if "width" in values and (values["width"] or values["height"]):
        found["size"] = _size(values["width"], values["height"])
    if text := str(values.get("sigmas", "")).strip():
        found["sigmas"] = _numbers(text)
    if _GUIDANCE[0] in values:
        found |= _guidance(*(float(values[name]) for name in _GUIDANCE), variant)
    if _INTERVAL[0] in values and (span := tuple(float(values[name]) for name in _INTERVAL)) != (0.0, 1.0):
        found["guidance_interval"] = span
    return found


def _size(width: int, height: int) -> tuple[int, int]:
    if not (width and height):
        raise OptionError(f"width {width} and height {height}: give both, or 0 and 0 for the model's own")
    return width, height


def _guidance(low: float, high: float, variant: Variant) -> dict[str, Any]:
    """The pair that a Request takes; of an expert that is not named, the model's own."""
    own = INPUTS[_GUIDANCE[0]].own
    if low == own and high == own:
        return {}
    if len(variant.experts) == 1:
        return {"guidance": high if low == own else low if high == own else (low, high)}
    mine = variant.defaults.guidance
    return {"guidance": (mine[0] if low == own else low, mine[1] if high == own else high)}


def _numbers(text: str) -> tuple[float, ...] | None:
    from wan22.cli.options import parse_numbers

    return parse_numbers("sigmas", text)
