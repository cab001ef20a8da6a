"""Wan22 Plan: what a video would take on this machine, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..definition import Node, Output, Result
from ..options import FPS, FRAMES, MODEL, SAMPLING, SECONDS, SIZE, asked
from ..running import Model, Run

if TYPE_CHECKING:
    from wan22.catalog import Variant
    from wan22.types import Driving

_FACE = 512  # pixels a side of a face; the network scales it
_SECONDS = 5.0  # of audio, for a model that needs some


def plan(run: Run, model: Model, **values: Any) -> Result:
    """Plan a video with the settings of Wan22 Sample. Raises RequestError if it cannot be made."""
    from wan22.cli.plan import lines
    from wan22.production.planned import silence, still
    from wan22.types import Request

    engine = model.engine()
    variant = engine.variant
    given: dict[str, Any] = asked(values, variant)
    if variant.animate is not None:
        given["driving"] = _driving(given, variant)
    if variant.image_required or variant.speech is not None:
        given["image"] = still(*given.get("size", variant.defaults.size))
    if variant.speech is not None:
        given["audio"] = silence(given.get("seconds", _SECONDS))
    made = engine.plan(Request(prompt="a video", **given))
    text = "\n".join(lines(made))
    run.note(text)
    return Result((text, made.fits, made.peak / 2**30, made.seconds), text)


def _driving(given: dict[str, Any], variant: Variant) -> Driving:
    """A driving video that stands for any: as large, long and fast as the result."""
    from wan22.production.planned import clip
    from wan22.types import Driving

    fps = given.get("fps", variant.defaults.fps)
    seconds = given.get("seconds")
    frames = given.get("frames") or (variant.defaults.frames if seconds is None else round(seconds * fps))
    return Driving(
        pose=clip(*given.get("size", variant.defaults.size), frames, fps),
        face=clip(_FACE, _FACE, frames, fps),
    )


PLAN = Node(
    id="Wan22Plan",
    name="Wan22 Plan",
    help="Says what a video takes here: memory and time of each stage, how each part is kept, and whether it fits.",
    inputs=(MODEL, *SIZE, FRAMES, SECONDS, FPS, *SAMPLING),
    outputs=(
        Output(id="report", kind="STRING", help="The plan."),
        Output(id="fits", kind="BOOLEAN", help="Whether it fits."),
        Output(id="peak", kind="FLOAT", help="GiB on the device at the peak."),
        Output(id="seconds", kind="FLOAT", help="About how long it takes."),
    ),
    run=plan,
)
