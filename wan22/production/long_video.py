"""From the events of a video of several clips to its file: safe after every clip, playable while it grows.

The same command goes on with an interrupted video. Its audio is put under it, and its drift noted in its recipe.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import Cancelled, DecodeError, OutputError
from wan22.production.journal import identity, journaled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wan22.canvas import Canvas
    from wan22.director.drift import DriftMeter
    from wan22.engine import Engine
    from wan22.media.long_video import LongVideo
    from wan22.production.audio import AudioTrack
    from wan22.production.events import EventSink
    from wan22.production.publish import Target
    from wan22.types import ClipDone, Event, Request


@dataclass(frozen=True)
class LongWork:
    """A video of several clips to be made: where, with what audio, and what is noted in its recipe.

    journal: the folder that keeps what was computed of a clip, if it is to go on within it.
    """

    target: Target
    canvas: Canvas
    audio: AudioTrack | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    restart: bool = False
    journal: Path | None = None


def publish_long(engine: Engine, request: Request, work: LongWork, events: EventSink) -> dict[str, Any]:
    """Make a video clip by clip, going on from what is there of it, and return its recipe.

    Raises Cancelled for Ctrl-C, OutputError and DecodeError; in each case the finished clips stay, and the same command
    goes on after them.
    """
    from wan22.media.audio_track import can_carry_audio
    from wan22.media.label import labelled_events
    from wan22.media.long_video import LongVideo

    target = work.target
    if work.audio is not None and not can_carry_audio(target.path):
        raise OutputError(f"{target.path} cannot have audio; name a .mp4, .mov or .webm")
    recipe = target.noted(engine.recipe(request))
    video = LongVideo(
        target.path,
        fps=work.canvas.fps,
        size=work.canvas.out,
        quality=target.quality,
        codec=target.codec,
        identity=identity(recipe),
        restart=work.restart,
        marking=target.marked(events),
    )
    try:
        with video:
            done = _resumed(video, work, events)
            meter = _meter(video, work, recipe)
            generate = journaled(engine, work.journal, events.note)
            made = labelled_events(generate(request, done), target.label)
            recipe = _make(made, video, meter, events, work.canvas.frames)
            recipe |= {**target.noted(work.notes), "clips_sha256": video.digest()} | _drifted(meter)
            finish = None if work.audio is None else work.audio.under
            place = video.close(recipe, finish, target.existing)
    except KeyboardInterrupt as error:
        raise Cancelled(f"cancelled; {_kept(video, work)}") from error
    except DecodeError as error:
        raise DecodeError(f"{error}. {_kept(video, work)}", error.latents) from error
    except OutputError:
        raise  # it says what is kept
    except BaseException:
        if video.finished:
            events.note(_kept(video, work))
        raise
    events.made(place, recipe)
    return recipe


def _make(
    made: Iterable[Event], video: LongVideo, meter: DriftMeter, events: EventSink, total: int
) -> dict[str, Any]:
    from safetensors.torch import save

    from wan22.types import ClipDone, Finished, Frames

    recipe: dict[str, Any] = {}
    for event in made:
        events.event(event)
        match event:
            case Frames():
                video.add(event.frames)
                meter.add(event.frames)
            case ClipDone():
                video.finish_clip(save({name: t.contiguous() for name, t in event.carry.items()}))
                _say_playable(video, events, total)
            case Finished():
                recipe = json.loads(json.dumps(event.recipe))  # as a reader of the file will see it
    return recipe


def _say_playable(video: LongVideo, events: EventSink, total: int) -> None:
    """Say what of the video can be played; of numbered images nothing is said."""
    from wan22.media.growing import read_growing
    from wan22.types import Playable

    found = read_growing(video.folder)
    if found is not None:
        events.event(Playable(found.path, found.frames, total, found.fps, found.full_type))


def _resumed(video: LongVideo, work: LongWork, events: EventSink) -> ClipDone | None:
    """What the last finished clip left, if the video goes on."""
    from safetensors.torch import load

    from wan22.types import ClipDone

    if not video.finished:
        return None
    events.note(f"{work.target.path}: going on after clip {video.finished} of {work.canvas.clips}")
    _say_playable(video, events, work.canvas.frames)
    carry = load(video.carry.read_bytes()) if video.carry else {}
    return ClipDone(video.finished, work.canvas.clips, carry)


def _meter(video: LongVideo, work: LongWork, recipe: dict[str, Any]) -> DriftMeter:
    """A meter of drift that has seen the finished clips."""
    from wan22.director.drift import DriftMeter
    from wan22.media.video import stream_clip

    meter = DriftMeter(work.canvas.fps, borders=recipe.get("clips", ()))
    if video.finished:
        for piece in stream_clip(video.growing, 16):
            meter.add(piece)
    return meter


def _drifted(meter: DriftMeter) -> dict[str, Any]:
    """The recipe's entry of drift; a video of less than two seconds has none."""
    from wan22.errors import MediaError

    try:
        found = meter.result()
    except MediaError:
        return {}
    return {"drift_per_second": {name: round(axis.per_second, 5) for name, axis in found.axes.items()}}


def _kept(video: LongVideo, work: LongWork) -> str:
    if not video.finished:
        return "no clip was finished"
    clips = "1 clip is" if video.finished == 1 else f"{video.finished} of {work.canvas.clips} clips are"
    return f"{clips} kept in {video.folder}, and the same command goes on"
