"""What a finished video shows: axes and drift, read from its file, for `wan22 measure`, `wan22 drift` and a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import MediaError

if TYPE_CHECKING:
    from wan22.director.judge import Verdict
    from wan22.director.reading import Measurement
    from wan22.director.trend import Drift
    from wan22.files import PathLike
    from wan22.types import Clip

ROWS = 360
"""Of the frames that are kept: a long video in high definition does not fit into memory."""
_PIECE = 16

Seen = Callable[[int, int], None]
"""Called with the number of frames that were read and that there are."""


def _unseen(done: int, total: int) -> None:
    del done, total


def read_small(file: PathLike, fps: float | None = None, *, rows: int = ROWS, seen: Seen = _unseen) -> Clip:
    """The video at no more than `rows` rows, scaled down while it is read. Raises MediaError for one that is too short
    to be measured.
    """
    import numpy as np

    from wan22.director.measure import MIN_FRAMES, shrunk
    from wan22.media.video import probe, stream_clip
    from wan22.types import Clip

    info = probe(file, fps)
    if info.frames < MIN_FRAMES:
        raise MediaError(f"{file} has {info.frames} frames; a video is measured from {MIN_FRAMES} frames on")
    pieces, done = [], 0
    for piece in stream_clip(file, _PIECE):
        pieces.append(shrunk(piece, rows))
        done += len(piece)
        seen(done, info.frames)
    return Clip(np.concatenate(pieces), info.fps)


def measured_drift(file: PathLike, fps: float | None = None, *, seen: Seen = _unseen) -> Drift:
    """How a video drifts. Raises MediaError for an image, a video that is too short, and a recipe that is damaged."""
    from wan22.director.drift import MIN_SECONDS, DriftMeter
    from wan22.media.file_types import IMAGES, file_type
    from wan22.media.sequence import is_sequence
    from wan22.media.video import probe, stream_clip

    info = probe(file, fps)
    if info.frames == 1 and not is_sequence(file) and file_type(file) in IMAGES:
        raise MediaError(f"{file} is an image; drift is measured on a video.")
    if info.seconds < MIN_SECONDS - 0.5 / info.fps:
        raise MediaError(f"{file} lasts {info.seconds:.2f} s; drift is measured from {MIN_SECONDS:g} s on.")
    meter, done = DriftMeter(info.fps, borders=_borders(file, info.frames)), 0
    for piece in stream_clip(file, _PIECE):
        meter.add(piece)
        done += len(piece)
        seen(done, info.frames)
    return meter.result()


def _borders(file: PathLike, frames: int) -> list[int]:
    """First frames of the clips after the first, from the recipe; none if it has no such entry."""
    from wan22.media.recipe import read_recipe

    starts: Any = (read_recipe(file) or {}).get("clips", [])
    if not isinstance(starts, list) or any(type(start) is not int for start in starts):
        raise MediaError(f"{file}: the recipe's clips must be a list of frame numbers, not {starts!r}.")
    return [start for start in starts if 0 < start < frames]


def axes_table(found: Measurement, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """A row for each axis, as JSON values; what was asked comes first.

    `asked` is null where nothing was; `matches` is true, false, or null where it is not known, and `why` says why.
    `certainty` (0..1) is that of the measured value.
    """
    rows = [
        {
            "axis": verdict.axis,
            "asked": verdict.asked,
            "measured": verdict.measured,
            "matches": None if verdict.matches is None else bool(verdict.matches),
            "certainty": round(float(verdict.confidence), 4),
            "why": verdict.why,
        }
        for verdict in verdicts
    ]
    said = {verdict.axis for verdict in verdicts}
    rows += [
        {
            "axis": axis,
            "asked": None,
            "measured": reading.value,
            "matches": None,
            "certainty": round(float(reading.confidence), 4),
            "why": reading.why,
        }
        for axis, reading in found.readings.items()
        if axis not in said
    ]
    return rows


def measure_file(file: Path, asked: str | Mapping[str, Any] | None, seen: Seen = _unseen) -> dict[str, Any]:
    """What a video shows beside what was asked of it (a prompt, or a shot as JSON), as JSON values.

    `axes` as in `axes_table`, `score` (0..1, null where nothing can be judged), `remark`: why it cannot be measured.
    A shot of a storyboard is held against its script as `wan22 storyboard` does. Raises OptionError for a prompt whose
    words exclude one another.
    """
    from wan22.director.judge import judge, score
    from wan22.director.measure import measure
    from wan22.director.shot import ShotSpec
    from wan22.media.video import probe
    from wan22.production.shots import LOOKED_ROWS, not_checked, why_unmeasured

    info, of_shot = probe(file), isinstance(asked, Mapping)
    spec = ShotSpec.from_json(asked) if isinstance(asked, Mapping) else asked or None
    about = {"size": [info.width, info.height], "frames": info.frames, "fps": info.fps}
    why = why_unmeasured(info.frames, (info.width, info.height))
    if why:
        rows = not_checked(spec, why) if isinstance(spec, ShotSpec) else []
        return about | {"axes": [row | {"certainty": 0.0} for row in rows], "score": None, "remark": why}
    clip = read_small(file, rows=LOOKED_ROWS if of_shot else ROWS, seen=seen)
    found = measure(clip.frames, clip.fps)
    verdicts = [] if spec is None else judge(found, spec)
    judged = any(verdict.matches is not None for verdict in verdicts)
    total = round(score(verdicts), 4) if judged else None
    return about | {"axes": axes_table(found, verdicts), "score": total, "remark": ""}
