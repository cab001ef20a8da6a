"""Make the shots of a script: takes that are kept by their recipe, judged, and made again where they fail.

Under OUT/takes/ each video and still has the name of its recipe's hash, and beside it lies what was measured
of it. So a shot whose recipe is the same is found again, whatever its number, and one that is edited becomes
another file. Every file appears whole or not at all; a video that was denoised but not decoded is decoded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wan22.atomic import swept
from wan22.errors import MediaError, RequestError, Wan22Error
from wan22.production.publish import Target
from wan22.version import __version__

if TYPE_CHECKING:
    import numpy as np

    from wan22.canvas import Canvas
    from wan22.director.shot import ShotSpec
    from wan22.engine import Engine
    from wan22.media.provenance import Marking
    from wan22.production.events import EventSink
    from wan22.storyboard.script import Scene
    from wan22.types import Event, Request

Verdicts = list[dict[str, Any]]
"""Rows of axis, asked, measured, why (texts) and matches (True, False, or None: cannot be judged)."""
Judge = Callable[["np.ndarray", float, "ShotSpec"], Verdicts]

TAKES = "takes"
LOOKED_ROWS = 480  # of the frames that are measured: a take of any length fits into memory
_NOT_OF_THE_VIDEO = ("wan22", "torch", "device", "threads")
_FEWEST, _LEAST_SIDE = 5, 24  # frames and pixels that can be measured


def judged(frames: np.ndarray, fps: float, spec: ShotSpec) -> Verdicts:
    """What a video shows of what was asked: `director.measure` and its judge."""
    from wan22.director.judge import judge
    from wan22.director.measure import measure

    return [
        {
            "axis": verdict.axis,
            "asked": verdict.asked,
            "measured": verdict.measured,
            "matches": None if verdict.matches is None else bool(verdict.matches),
            "why": verdict.why,
        }
        for verdict in judge(measure(frames, fps), spec)
    ]


def unmeasured(frames: np.ndarray) -> str:
    """Why frames (T, H, W, 3) cannot be measured; "" if they can."""
    return why_unmeasured(len(frames), frames.shape[1:3])


def why_unmeasured(frames: int, sides: Iterable[int]) -> str:
    """Why a video of so many frames and of these sides in pixels cannot be measured; "" if it can."""
    if frames < _FEWEST:
        return f"too short to be measured: {_FEWEST} frames are needed"
    if min(sides) < _LEAST_SIDE:
        return f"too small to be measured: {_LEAST_SIDE} pixels a side are needed"
    return ""


def not_checked(spec: ShotSpec, why: str) -> Verdicts:
    """Rows for all that was asked of a video that cannot be measured."""
    from wan22.director.judge import wanted

    return [
        {"axis": axis, "asked": asked, "measured": "unknown", "matches": None, "why": why}
        for axis, asked in wanted(spec)
    ]


@dataclass(frozen=True)
class Take:
    """One video of a shot. `number` is 1 for the shot's own seed; `still` is its image, if one was made."""

    number: int
    seed: int
    key: str
    video: Path
    still: Path | None
    verdicts: tuple[dict[str, Any], ...]

    @property
    def failed(self) -> int:
        """How many axes do not show what was asked."""
        return sum(row["matches"] is False for row in self.verdicts)

    @property
    def rank(self) -> tuple[int, int, int]:
        """The smallest is the best: fewest failures, most that obey, the earliest."""
        return self.failed, -sum(row["matches"] is True for row in self.verdicts), self.number


@dataclass(frozen=True)
class Shot:
    """A scene as a request to the engine; its seed is the first one that is tried."""

    scene: Scene
    request: Request


class Maker(Protocol):
    """Who makes the takes of a board: `Studio` here, or a server."""

    folder: Path
    label: str | None

    @property
    def model(self) -> str: ...
    @property
    def events(self) -> EventSink: ...
    def check(self, shots: list[Shot]) -> list[Canvas]:
        """The sizes of the shots; empty where they are not known before they are made."""
        ...

    def clear(self) -> None: ...
    def target(self, path: Path) -> Target: ...
    def make(self, shot: Shot) -> tuple[Take, int]: ...


@dataclass(frozen=True)
class Studio:
    """Who makes the takes, and where. `stills` makes an image of each shot first, with which its video begins."""

    engine: Engine
    folder: Path
    events: EventSink
    judge: Judge
    retries: int = 0
    stills: Engine | None = None
    quality: str = "high"
    marking: Marking | None = None
    label: str | None = None
    made: list[Path] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The name of the model that makes the videos."""
        return self.engine.name

    def check(self, shots: list[Shot]) -> list[Canvas]:
        """Return the sizes of the shots. Raises a RequestError that names the first shot that cannot be made,
        OutputError for a place without room.
        """
        from wan22.media.output_paths import check_output, estimate_bytes

        canvases = []
        for shot in shots:
            try:
                canvases.append(self._check(shot))
                self.target(self.folder).check_label(canvases[-1].out)
            except RequestError as error:
                raise type(error)(f"{shot.scene.where}: {error}") from None
        needed = sum(3 * estimate_bytes(canvas.out, canvas.frames, "video.mp4") for canvas in canvases)
        check_output(self.folder / TAKES / "video.mp4", bytes_needed=needed)
        return canvases

    def _check(self, shot: Shot) -> Canvas:
        import numpy as np

        last = replace(shot.request, seed=shot.request.seed + self.retries)
        if self.stills is None or shot.scene.image is not None:
            return self.engine.check(last)
        canvas = self.stills.check(_as_still(last, self.engine))
        grey = np.zeros((canvas.out[1], canvas.out[0], 3), np.uint8)
        return self.engine.check(replace(last, image=grey))

    def target(self, path: Path) -> Target:
        """A file of the studio: how it is encoded and marked."""
        return Target(str(path), self.quality, marking=self.marking, label=self.label)

    def clear(self) -> None:
        """Remove the half files of runs that were killed."""
        for folder in (self.folder, self.folder / TAKES):
            swept(folder)

    def make(self, shot: Shot) -> tuple[Take, int]:
        """The best take of a shot, and how many there are.

        A take that is there is kept. While the best one fails, up to `retries` more are made, each with the next seed.
        """
        takes: list[Take] = []
        for turn in range(self.retries + 1):
            take = self._take(shot, turn)
            takes.append(take)
            if not take.failed:
                break
        return min(takes, key=lambda take: take.rank), len(takes)

    def _take(self, shot: Shot, turn: int) -> Take:
        request, still = replace(shot.request, seed=shot.request.seed + turn), None
        where = f"shot {shot.scene.number}, take {turn + 1}"
        if self.stills is not None and shot.scene.image is None:
            from wan22.media.image import read_image

            still = self._made(self.stills, _as_still(request, self.engine), ".png", f"{where}, still")
            request = replace(request, image=read_image(still))
        video = self._made(self.engine, request, ".mp4", where)
        verdicts = self._verdicts(video, shot.scene.spec, where)
        return Take(turn + 1, request.seed, video.stem, video, still, tuple(verdicts))

    def _made(self, engine: Engine, request: Request, suffix: str, where: str) -> Path:
        """The file of a request: the one that is there and whole, or a new one."""
        # A still has no label: the video that begins with it would move it about.
        target = (
            self.target(self.folder) if suffix == ".mp4" else replace(self.target(self.folder), label=None)
        )
        path = self.folder / TAKES / f"{_key(target.noted(engine.recipe(request)), self.quality)}{suffix}"
        if _is_whole(path):
            Target(str(path)).latents.unlink(
                missing_ok=True
            )  # of a run that was killed right after the video
            self.events.note(f"{where}: kept {path.name}")
            return path
        self.events.note(f"{where}: seed {request.seed}, {request.prompt}")
        _record_path(path).unlink(missing_ok=True)
        _make(engine, request, replace(target, path=str(path)), self.events)
        _record(path, {})
        self.made.append(path)
        return path

    def _verdicts(self, video: Path, spec: ShotSpec, where: str) -> Verdicts:
        """What was measured of a video, now or before."""
        from wan22.director.judge import present_row
        from wan22.media.video import read_clip
        from wan22.storyboard.board import verdict_in_words

        record, asked = _read_record(video), spec.to_json()
        if record.get("asked") == asked and record.get("by") == __version__:
            return [present_row(row) for row in record["verdicts"]]
        clip = read_clip(video, cover=(1, LOOKED_ROWS))
        why = unmeasured(clip.frames)
        verdicts = not_checked(spec, why) if why else self.judge(clip.frames, clip.fps, spec)
        _record(video, {"by": __version__, "asked": asked, "verdicts": verdicts})
        self.events.note(f"{where}: {verdict_in_words(verdicts)}")
        return verdicts


def _as_still(request: Request, engine: Engine) -> Request:
    """The request of a video of `engine` as that of its image, as large as the video."""
    size = request.size or engine.variant.defaults.size
    return replace(request, frames=1, seconds=None, fps=None, size=size)


def _key(recipe: dict[str, Any], quality: str) -> str:
    """The hash of all that makes a video, but not of the machine."""
    identity = {name: value for name, value in recipe.items() if name not in _NOT_OF_THE_VIDEO}
    text = json.dumps([identity, quality], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make(engine: Engine, request: Request, target: Target, events: EventSink) -> None:
    """Make one file, going on from what is there of it."""
    from wan22.production.long_video import LongWork, publish_long
    from wan22.production.publish import publish

    canvas = engine.check(request)
    if canvas.clips > 1:
        publish_long(engine, request, LongWork(target, canvas), events)
        return
    target.latents.parent.mkdir(parents=True, exist_ok=True)
    made, kept = _decoded(engine, request, target.latents, events)
    publish(made, target, events, size=canvas.out, fps=canvas.fps)
    if kept:
        target.latents.unlink(missing_ok=True)


def _decoded(
    engine: Engine, request: Request, latents: Path, events: EventSink
) -> tuple[Iterator[Event], bool]:
    """The video from latents of the same recipe, if they were kept; else from noise."""
    if latents.is_file():
        from wan22.production.publish import read_latents

        try:
            tensors, recipe, _ = read_latents(str(latents))
        except MediaError as error:
            events.note(f"{error}; the video is made again")
        else:
            return engine.decode_latents(tensors, recipe), True
    return iter(engine.generate(request)), False


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _record(path: Path, measured: dict[str, Any]) -> None:
    """Note beside a file what its bytes are, and what was measured."""
    from wan22.atomic import written

    values = {"sha256": digest(path), **measured}
    with written(_record_path(path)) as part:
        part.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(_record_path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _is_whole(path: Path) -> bool:
    """Whether a take is there and has the bytes that it had; without a record, whether it can be read to its end."""
    if not path.is_file():
        return False
    record = _read_record(path)
    if "sha256" in record:
        return record["sha256"] == digest(path)
    from wan22.media.image import read_image
    from wan22.media.recipe import read_recipe
    from wan22.media.video import stream_clip

    try:
        recipe = read_recipe(path)
        whole = path.suffix == ".png" and read_image(path).size
        count = 1 if whole else sum(len(piece) for piece in stream_clip(path))
    except Wan22Error:
        return False
    if recipe is None or recipe.get("frames", count) != count:
        return False
    _record(path, {})
    return True


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
