"""Go on with a video that is there: its last frame begins the next clip, and both are joined.

The new clip has the size and rate of the video. Its first frame, which is the last one of the video, is left out where
they meet. Audio of the video is kept, with silence under the new part. The images of the video are copied if the new
ones are encoded alike, else both are encoded once.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import OptionError, OutputError
from wan22.fields import called
from wan22.production.audio import of_video
from wan22.production.events import Quiet
from wan22.production.join import KEY
from wan22.production.publish import Target
from wan22.production.work import Load, Machine, Work, check_place, make
from wan22.version import __version__

if TYPE_CHECKING:
    import numpy as np

    from wan22.media.video import Source
    from wan22.production.events import EventSink


def extend(work: Work, events: EventSink, journal: Path | None = None, *, load: Load = Machine.load) -> None:
    """Make the video `work.files["video"]` longer by `seconds` or `frames` of `work.given`.

    The result goes to `work.output` (.mp4, .mov or .webm), or beside the video as NAME-extended. The video stays. What
    was made when the process ends is beside the output, in `.NAME.extension`, and the same work goes on with it.
    `journal` and `load` are those of `make`.

    Raises OptionError for what does not go with a video that is extended, MediaError for one that cannot be read,
    OutputError for a place or container that cannot be written, and what `make` raises.
    """
    from wan22.media.audio_track import can_carry_audio
    from wan22.media.output_paths import place, same_file
    from wan22.media.video import look

    path = _video_of(work)
    source = look(path)
    beside = str(Path(path).with_name(f"{Path(path).stem}-extended{work.suffix}"))
    output, existing = place(work.output, beside, overwrite=work.overwrite)
    if not can_carry_audio(output):
        raise OutputError(f"{output}: a video is extended to a .mp4, .mov or .webm")
    if same_file(path, output):
        raise OutputError(f"{output} is the video that is extended, and stays; name another output")
    part = _part(work, source)
    target = Target(
        output, work.quality, work.codec or _codec(source, output), existing, marking=work.marking
    )
    check_place(target, source.size, source.info.frames)
    folder = Path(output).with_name(f".{Path(output).name}.extension")
    folder.mkdir(parents=True, exist_ok=True)
    image, frames = folder / "last.png", folder / "frames"
    _write_last(source, image)
    made = _Made(events)
    make(
        replace(part, files=part.files | {"image": str(image)}, output=f"{frames}/"), made, journal, load=load
    )
    recipe = _recipe(path, made.recipe)
    found = _joined(path, frames, target, source, recipe, events)
    shutil.rmtree(folder, ignore_errors=True)
    events.made(found, recipe)


def _video_of(work: Work) -> str:
    """The video that is extended. Raises OptionError if there is none, or if something does not go with it."""
    if "video" not in work.files:
        raise OptionError(f"there is no video to extend; give it with {called('video')}")
    for name in ("image", "last_image", "pose"):
        if name in work.files:
            raise OptionError(
                f"{called(name)} does not go with a video that is extended, which begins with its last frame"
            )
    if work.audio.given:
        raise OptionError(
            f"{called('audio')} does not go with a video that is extended; its own audio is kept"
        )
    if work.count > 1 or work.takes.number is not None:
        raise OptionError(
            f"one video is extended at a time; leave {called('count')} and {called('best_of')} out"
        )
    for name in ("size", "fps", "strength"):
        if name in work.given:
            raise OptionError(f"{called(name)} is that of the video which is extended; leave it out")
    return work.files["video"]


def _part(work: Work, source: Source) -> Work:
    """The work that makes the new clip: as large and fast as the video, and one frame longer than what is added."""
    given = dict(work.given) | {"size": source.size, "fps": source.info.fps}
    seconds = given.pop("seconds", None)
    if seconds is not None and "frames" not in given:
        given["frames"] = max(1, round(seconds * source.info.fps))
    if "frames" in given:
        given["frames"] += 1
    files = {name: file for name, file in work.files.items() if name != "video"}
    machine = replace(work.machine, task="i2v")
    audio = replace(work.audio, seconds=None)
    return replace(work, given=given, files=files, machine=machine, audio=audio, codec=None, overwrite=True)


def _codec(source: Source, output: str) -> str | None:
    """The codec of the video, if it is written in the container of `output`: then its images may be copied."""
    from wan22.media.encoding import CONTAINERS
    from wan22.media.output_paths import target_kind

    return source.info.codec if source.info.codec in CONTAINERS[target_kind(output)] else None


def _write_last(source: Source, place: Path) -> None:
    """Write the last frame of a video as PNG."""
    from wan22.media.image import write_image

    [last] = deque((frame for _, frame in source.frames_from(float(source.times.starts[-1]))), maxlen=1)
    write_image(place, source.rgb(last, source.size))


class _Made(Quiet):
    """Keeps the recipe of what was made on the way."""

    def __init__(self, events: EventSink) -> None:
        super().__init__(events)
        self.recipe: dict[str, Any] = {}

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        del path
        self.recipe = recipe


def _recipe(path: str, new: dict[str, Any]) -> dict[str, Any]:
    """The recipe inside: that of the video, null if it has none, and that of the new part."""
    from wan22.media.recipe import read_recipe

    return {"wan22": __version__, "title": new.get("prompt", ""), KEY: [read_recipe(path), new]}


def _joined(
    path: str, frames: Path, target: Target, source: Source, recipe: dict[str, Any], events: EventSink
) -> str:
    """Write the video and the `frames` that follow it to `target`; return its name."""
    from wan22.media.join import can_follow, join_videos
    from wan22.media.output_paths import publish_file, target_kind
    from wan22.media.video import VideoWriter, stream_clip

    kind = target_kind(target.path)
    marking = target.marked(events)
    rest, whole = (frames.parent / f"{name}.{kind}" for name in ("rest", "whole"))
    form: dict[str, Any] = {
        "fps": source.info.fps, "size": source.size, "quality": target.quality, "codec": target.codec,
    }  # fmt: skip
    with VideoWriter(rest, **form) as writer:
        for piece in _without_first(stream_clip(frames)):
            writer.add(piece)
    if can_follow(path, rest):
        join_videos([path, rest], whole, recipe, marking)
        return publish_file(whole, target.path, target.existing)
    audio = of_video(path, target.path, events)
    with VideoWriter(target.path, **form, existing=target.existing, marking=marking) as writer:
        for piece in chain(stream_clip(path), _without_first(stream_clip(frames))):
            writer.add(piece)
        return writer.close(recipe, audio and partial(audio.kept_under, events=events))


def _without_first(pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    first = next(pieces)
    if len(first) > 1:
        yield first[1:]
    yield from pieces
