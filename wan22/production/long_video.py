"""From the events of a film of several clips to its file: safe after every clip, playable while it grows.

The same command goes on with an interrupted film. Its sound is put under it, and its drift noted in its recipe.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wan22.errors import Cancelled, DecodeError, OutputError

if TYPE_CHECKING:
    from wan22.canvas import Canvas
    from wan22.director.drift import DriftMeter
    from wan22.engine import Engine
    from wan22.media.film import LongFilm
    from wan22.production.audio import Soundtrack
    from wan22.production.events import EventSink
    from wan22.production.publish import Target
    from wan22.types import ClipDone, Request

_OF_THE_MACHINE = ("wan22", "torch", "device", "threads")
"""What a recipe says that does not make another film: an interrupted one may go on with another."""


@dataclass(frozen=True)
class LongWork:
    """A film of several clips to be made: where, with what sound, and what is noted in its recipe."""

    target: Target
    canvas: Canvas
    sound: Soundtrack | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    afresh: bool = False


def publish_long(engine: Engine, request: Request, work: LongWork, events: EventSink) -> dict[str, Any]:
    """Make a film clip by clip, going on from what is there of it, and return its recipe.

    Raises Cancelled for Ctrl-C, OutputError and DecodeError; in each case the finished clips stay, and the same command
    goes on after them.
    """
    from wan22.media.film import LongFilm
    from wan22.media.soundtrack import can_carry_sound

    target = work.target
    if work.sound is not None and not can_carry_sound(target.path):
        raise OutputError(f"{target.path} cannot have sound; name a .mp4, .mov or .webm")
    recipe = engine.recipe(request)
    film = LongFilm(
        target.path,
        fps=work.canvas.fps,
        size=work.canvas.out,
        quality=target.quality,
        codec=target.codec,
        identity={name: value for name, value in recipe.items() if name not in _OF_THE_MACHINE},
        afresh=work.afresh,
    )
    try:
        with film:
            done = _resumed(film, work, events)
            meter = _meter(film, work, recipe)
            recipe = _make(engine, request, film, meter, done, events)
            recipe |= {**work.notes, "clips_sha256": film.digest()} | _drifted(meter)
            film.close(recipe, finish=None if work.sound is None else work.sound.under)
    except KeyboardInterrupt as error:
        raise Cancelled(f"cancelled; {_kept(film, work)}") from error
    except DecodeError as error:
        raise DecodeError(f"{error}. {_kept(film, work)}", error.latents) from error
    except OutputError:
        raise  # it says what is kept
    except BaseException:
        if film.finished:
            events.note(_kept(film, work))
        raise
    events.made(target.path, recipe)
    return recipe


def _make(
    engine: Engine,
    request: Request,
    film: LongFilm,
    meter: DriftMeter,
    done: ClipDone | None,
    events: EventSink,
) -> dict[str, Any]:
    from safetensors.torch import save

    from wan22.types import ClipDone, Finished, Frames

    recipe: dict[str, Any] = {}
    for event in engine.generate(request, done):
        events.event(event)
        match event:
            case Frames():
                film.add(event.frames)
                meter.add(event.frames)
            case ClipDone():
                film.finish_clip(save({name: t.contiguous() for name, t in event.carry.items()}))
            case Finished():
                recipe = json.loads(json.dumps(event.recipe))  # as a reader of the file will see it
    return recipe


def _resumed(film: LongFilm, work: LongWork, events: EventSink) -> ClipDone | None:
    """What the last finished clip left, if the film goes on."""
    from safetensors.torch import load

    from wan22.types import ClipDone

    if not film.finished:
        return None
    events.note(f"{work.target.path}: going on after clip {film.finished} of {work.canvas.clips}")
    carry = load(film.carry.read_bytes()) if film.carry else {}
    return ClipDone(film.finished, work.canvas.clips, carry)


def _meter(film: LongFilm, work: LongWork, recipe: dict[str, Any]) -> DriftMeter:
    """A meter of drift that has seen the finished clips."""
    from wan22.director.drift import DriftMeter
    from wan22.media.video import stream_clip

    meter = DriftMeter(work.canvas.fps, borders=recipe.get("clips", ()))
    if film.finished:
        for piece in stream_clip(film.growing, 16):
            meter.add(piece)
    return meter


def _drifted(meter: DriftMeter) -> dict[str, Any]:
    """The recipe's entry of drift; a film of less than two seconds has none."""
    from wan22.errors import MediaError

    try:
        found = meter.result()
    except MediaError:
        return {}
    return {"drift_per_second": {name: round(axis.per_second, 5) for name, axis in found.axes.items()}}


def _kept(film: LongFilm, work: LongWork) -> str:
    if not film.finished:
        return "no clip was finished"
    clips = "1 clip is" if film.finished == 1 else f"{film.finished} of {work.canvas.clips} clips are"
    return f"{clips} kept in {film.folder}, and the same command goes on"
