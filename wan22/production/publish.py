"""From events to a file: latents kept safe before decoding, frames written as they come, the recipe inside.

Nothing appears under the result's name until it is complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wan22.errors import Cancelled, DecodeError, MediaError, OutputError
from wan22.fields import renewed
from wan22.files import HEADER_LIMIT, LATENTS_SUFFIX, check_file, check_value, parse_object, reading

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from wan22.media.output_paths import Existing
    from wan22.media.provenance import Marking
    from wan22.media.writer import Finish
    from wan22.production.audio import AudioTrack
    from wan22.production.events import EventSink
    from wan22.types import Event, Latents

_RECIPE, _OUTPUT = "wan22", "wan22.output"  # names in the latents file's metadata


@dataclass(frozen=True)
class Target:
    """Where a result goes, what becomes of a file that is there, and how it is encoded, marked and labelled.

    `path` is kept as typed: a final "/" asks for a sequence. `options` are what `wan22 decode` needs to open the same
    model, if the recipe's name of it does not.
    """

    path: str
    quality: str = "high"
    codec: str | None = None
    existing: Existing = "replace"
    options: tuple[str, ...] = ()
    marking: Marking | None = None
    label: str | None = None

    @property
    def latents(self) -> Path:
        """The file beside it that holds the work while it is decoded."""
        return Path(self.path.rstrip("/") + LATENTS_SUFFIX)

    def tagged(self, tag: str) -> Target:
        """A target beside this one, as `output_paths.tagged` names it."""
        from wan22.media.output_paths import tagged

        return replace(self, path=tagged(self.path, tag))

    def marked(self, events: EventSink) -> Marking:
        """How its file is marked as made by a model (media/provenance.py); what keeps it from that is noted."""
        from wan22.media.provenance import Marking

        return replace(self.marking or Marking.asked(), note=events.note)

    def check_marks(self, events: EventSink) -> None:
        """Raise OptionError, before any work, for a certificate that cannot sign, or a label that cannot be drawn."""
        self.marked(events).check()
        self.check_label()

    def check_label(self, size: tuple[int, int] | None = None) -> None:
        """Raise OptionError for a label that cannot be drawn, or not into frames of `size` (width, height)."""
        from wan22.media.label import check_label

        if self.label:
            check_label(self.label, size)

    def noted(self, notes: dict[str, Any]) -> dict[str, Any]:
        """What is noted in a recipe, with the label."""
        return {**notes, **({"label": self.label} if self.label else {})}

    def free(self) -> Target:
        """This target, or the next one whose name is not taken; what takes it meanwhile stays."""
        from wan22.media.output_paths import free

        return replace(self, path=free(self.path), existing="next")


class FrameSink(Protocol):
    """What takes frames, uint8 (T, H, W, 3); a VideoWriter, or one image."""

    def add(self, frames: np.ndarray) -> None: ...

    def close(self, recipe: dict[str, Any] | None = None, finish: Finish | None = None) -> str: ...

    def abort(self) -> None: ...


class _Image:
    """A video of one frame, written as an image."""

    def __init__(self, path: str, existing: Existing, marking: Marking) -> None:
        self._path, self._existing, self._marking = path, existing, marking
        self._frames: list[np.ndarray] = []

    def add(self, frames: np.ndarray) -> None:
        self._frames += list(frames)

    def close(self, recipe: dict[str, Any] | None = None, finish: Finish | None = None) -> str:
        del finish  # an image has no audio
        from wan22.media.image import write_image

        if len(self._frames) != 1:
            raise OutputError(f"{self._path} names one image, and there are {len(self._frames)} frames")
        return write_image(self._path, self._frames[0], recipe, self._existing, self._marking)

    def abort(self) -> None:
        self._frames.clear()


def is_image(path: str) -> bool:
    """Whether a path names a still image. Raises OutputError for a format that is not known."""
    from wan22.media.output_paths import IMAGE_KINDS, target_kind

    return target_kind(path) in IMAGE_KINDS.values()


def publish(
    made: Iterable[Event],
    target: Target,
    events: EventSink,
    *,
    size: tuple[int, int],
    fps: float,
    notes: dict[str, Any] | None = None,
    audio: AudioTrack | None = None,
) -> dict[str, Any]:
    """Write the frames of the engine's events `made` to `target`, `audio` under them, and return its recipe.

    The recipe is the engine's, with `notes` and the frames' hash.

    `size` is (width, height) of the frames that will come: the encoder is opened first, so that what it cannot
    do is said before the work begins.

    Raises DecodeError, naming the latents file, for anything that goes wrong after they were saved; Cancelled
    for Ctrl-C. In both cases nothing is left under the target's name, and the latents are.
    """
    from wan22.media.label import labelled_events
    from wan22.media.recipe import FrameHasher
    from wan22.types import Finished, Frames, Latents

    hasher = FrameHasher()
    sink = _open(target, size, fps, target.marked(events))
    notes = target.noted(notes or {})
    saved: Path | None = None
    recipe: dict[str, Any] = {}
    try:
        for event in labelled_events(made, target.label):
            events.event(event)
            match event:
                case Latents():
                    saved = _save(event, target, events, notes)
                case Frames():
                    sink.add(event.frames)
                    hasher.update(event.frames)
                case Finished():
                    recipe = {**event.recipe, **notes, "frames_sha256": hasher.hexdigest()}
                    recipe = json.loads(json.dumps(recipe))  # as a reader of the file will see it
        place = sink.close(recipe, audio and partial(audio.kept_under, events=events))
    except BaseException as error:
        sink.abort()
        if isinstance(error, KeyboardInterrupt):
            kept = (
                f"; the latents are kept, and {_remedy(saved, target)}" if saved else ", nothing was written"
            )
            raise Cancelled(f"cancelled{kept}") from error
        if saved and isinstance(error, Exception):
            reason = f"{error}".rstrip(". ") or type(error).__name__
            raise DecodeError(
                f"decoding failed: {reason}. Nothing is lost: {_remedy(saved, target)}", saved
            ) from error
        raise
    if saved:
        saved.unlink(missing_ok=True)
    events.made(place, recipe)
    return recipe


def _remedy(saved: Path, target: Target) -> str:
    import shlex

    there = ["-o", target.path] if target.existing == "replace" else []
    marks = target.marking.options if target.marking else ()
    return (
        f"`{shlex.join(['wan22', 'decode', str(saved), *there, *marks, *target.options])}` finishes the job"
    )


def _open(target: Target, size: tuple[int, int], fps: float, marking: Marking) -> FrameSink:
    if is_image(target.path):
        return _Image(target.path, target.existing, marking)
    from wan22.media.video import VideoWriter

    return VideoWriter(
        target.path,
        fps=fps,
        size=size,
        quality=target.quality,
        codec=target.codec,
        existing=target.existing,
        marking=marking,
    )


def _save(event: Latents, target: Target, events: EventSink, notes: dict[str, Any]) -> Path | None:
    """Put the latents in a safe place, and leave those that were kept of another video.

    A full disk is no reason to give up a video that may still be decoded.
    """
    from wan22.media.output_paths import names
    from wan22.weights.writer import write_tensors

    recipe = {**event.recipe, **notes}
    metadata = {_RECIPE: json.dumps(recipe), _OUTPUT: target.path}
    beside = (Target(name).latents for name in names(target.path))
    place = next(path for path in beside if not os.path.lexists(path) or _is_of(path, recipe))
    try:
        write_tensors(place, event.tensors, metadata, replace=os.path.lexists(place))
    except OutputError as error:
        events.note(f"the latents could not be saved before decoding: {error}")
        return None
    return place


def _is_of(latents: Path, recipe: dict[str, Any]) -> bool:
    """Whether latents were kept of the very same video, by a run that ended before it was decoded."""
    try:
        kept, _ = read_latents_recipe(str(latents))
    except MediaError:
        return False
    return not latents.is_symlink() and kept == renewed(json.loads(json.dumps(recipe)))


def read_latents(path: str) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Return tensors, recipe and the intended output of a latents file. Raises MediaError if it is none."""
    recipe, output = read_latents_recipe(path)
    from safetensors.torch import load_file

    with reading(path, MediaError, "is damaged"):
        return load_file(path), recipe, output


def read_latents_recipe(path: str) -> tuple[dict[str, Any], str]:
    """Return recipe and intended output of a latents file, from its header alone (8 bytes of length, then JSON)."""
    file = check_file(path)
    remedy = f"Latents of wan22 are called OUTPUT{LATENTS_SUFFIX} and lie beside the output."
    with reading(path, MediaError, "holds no latents of wan22", remedy):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(file.stat().st_size, HEADER_LIMIT):
                raise ValueError("its header is longer than it is")
            header = parse_object(stream.read(length), "its header", ValueError)
        metadata = header["__metadata__"]
        recipe = renewed(parse_object(metadata[_RECIPE], "its recipe", ValueError))
        for name, kind in (("size", tuple[int, int]), ("frames", int), ("fps", float)):
            value = recipe.get(name)
            check_value(kind, tuple(value) if isinstance(value, list) else value, name)
        check_value(dict | None, recipe.get("inputs"), "inputs")
        check_value(str, metadata[_OUTPUT], "its output")
        check_value(str | None, recipe.get("label"), "label")
        return recipe, metadata[_OUTPUT]


def place_of(latents: str, intended: str) -> str:
    """Where a video from kept latents goes if nothing is said: beside them, under the name that their own has.

    `intended`, what the file says, only tells a folder of images from a file: a path in a file is not followed.
    Raises OutputError if the latents are called otherwise than OUTPUT.latents.safetensors.
    """
    if not latents.endswith(LATENTS_SUFFIX) or Path(latents).name == LATENTS_SUFFIX:
        raise OutputError(
            f"{latents} is not called OUTPUT{LATENTS_SUFFIX}, so say where the video goes: -o FILE"
        )
    return latents.removesuffix(LATENTS_SUFFIX) + "/" * intended.endswith("/")
