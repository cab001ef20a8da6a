"""A driving video to what Wan2.2-Animate is driven by: pose, face, background and mask.

The video is read three times: who is there, where their landmarks and outlines are, and then the images. So memory
holds the results and one frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np

from wan22.atomic import written_folder
from wan22.errors import MediaError, OptionError, SizeError
from wan22.files import PathLike
from wan22.media.image import write_image
from wan22.preprocess import geometry
from wan22.preprocess.backend import Preprocessor
from wan22.preprocess.body import COUNT, GROUPS, HEAD
from wan22.preprocess.drawing import draw_pose
from wan22.preprocess.following import filled, follow, spans, steadied, tracks_of
from wan22.preprocess.frames import DrivingVideo, read_whole
from wan22.preprocess.installed import SETUP, open_networks
from wan22.preprocess.prepared import BACKGROUND, FACE, MASK, POSE, RECORD, SHEET, Prepared
from wan22.preprocess.record import Record
from wan22.preprocess.sheet import Sheet
from wan22.types import Clip, Image

Seen = Callable[[str, int, int], None]
"""Takes how far a pass is: its name, frames done, of how many."""

_SURE = 0.5  # least score of a body's points in a frame in which no box was found
_SEEN = 0.1  # least score of points by which a person's box is drawn
_FACE_SCORE = 0.1  # mean of the face's points; below, no face is taken as found


@dataclass(frozen=True)
class Options:
    """How the images are made; the defaults are those of the official preprocessing.

    area: pixels of a frame, unless a size is given. person: who is followed, 0 the largest and most central.
    mask_iterations, mask_kernel: how often the mask is dilated, and by how many pixels. mask_columns, mask_rows: into
    how many blocks its bounding box is divided, of which those that it touches are filled; 1, 1 is the whole box.
    face_size: the side of the face images. seconds: of the driving video, from its beginning; None is all. mask: a
    video of the person in white on black, of the length of the driving video, in place of what a network finds.
    """

    area: int = geometry.AREA
    person: int = 0
    mask_iterations: int = 3
    mask_kernel: int = 7
    mask_columns: int = 1
    mask_rows: int = 1
    face_size: int = 512
    seconds: float | None = None
    mask: Clip | PathLike | None = None

    def __post_init__(self) -> None:
        least = {
            "area": 256,
            "person": 0,
            "mask_iterations": 0,
            "mask_kernel": 1,
            "mask_columns": 1,
            "mask_rows": 1,
        }
        for name, low in (least | {"face_size": 16}).items():
            if getattr(self, name) < low:
                raise OptionError(
                    f"{name.replace('_', ' ')} {getattr(self, name)} is too small: at least {low}."
                )
        if self.seconds is not None and not self.seconds > 0:
            raise OptionError(f"{self.seconds} seconds of the driving video: it must be more than 0.")


def prepare(
    driving: Clip | PathLike,
    reference: Image | None = None,
    replace: bool = False,
    *,
    size: geometry.Size | None = None,
    fps: float = 30.0,
    models: Preprocessor | None = None,
    options: Options | None = None,
    seen: Seen | None = None,
) -> Prepared:
    """Make the driving videos of Wan2.2-Animate of a video with a person in it.

    driving: a clip, or a video's name. reference: the image of the character; without `replace`, its shape is that of
    the result. replace: the character replaces the person, so background and mask are made. size: (width, height) of
    the result, multiples of 16; None follows from `Options.area`. models: the networks; None opens those
    that `wan22 preprocess --setup` installs. seen: takes how far it is.

    Raises MediaError for a video that cannot be read or in which nobody is found, MissingModelError for networks that
    are not here, SizeError and OptionError.
    """
    options = options or Options()
    video = DrivingVideo.of(driving, fps, options.seconds)
    canvas = _canvas(video.own_size, reference, replace, size, options.area)
    masked = None if options.mask is None else DrivingVideo.of(options.mask, fps, options.seconds)
    if masked is not None and (not replace or len(masked) != len(video)):
        raise MediaError(_unfit_mask(options.mask, masked, video, replace))
    if models is None:
        models = open_networks()
    if replace and masked is None and models.mask is None:
        raise OptionError(
            "the official networks here make no masks, which are needed to replace someone. Give a mask as a video, or "
            f"install those that do: {SETUP}."
        )
    if replace:
        video = video.at(canvas)
    finding = models if replace and masked is None else changed(models, mask=None)
    record, masks, notices = _found(video, canvas, finding, options, seen or _nobody)
    if masked is not None:
        masks = [np.packbits(frame[..., 0] >= 128) for frame in masked.at(canvas)]
    settings = {
        "driving": video.as_json() | {"seconds": options.seconds},
        "replace": replace,
        "models": models.names
        | ({"mask": str(options.mask)} if isinstance(options.mask, str | os.PathLike) else {}),
        "options": asdict(changed(options, mask=None)),
        **record.settings,
    }
    record = changed(record, settings=settings)
    return _drawn(record, video, masks, options, reference, notices=notices, seen=seen or _nobody)


def redraw(folder: PathLike, driving: PathLike | None = None, seen: Seen | None = None) -> Path:
    """Draw pose, face, background and sheet of a folder again, from its preprocess.json and its mask as they are now.

    Mask, reference and landmarks stay as a person has edited them. driving: where the video is now, if it was moved.
    Raises MediaError if the video or a file is missing or is another one; then nothing is changed.
    """
    place = Path(folder)
    if not (place / RECORD).is_file():
        raise MediaError(f"{folder} has no {RECORD}: only what `wan22 preprocess` made can be drawn again.")
    record = Record.read(place / RECORD)
    said, side = _said(record, place / RECORD)
    path = driving or said.get("path")
    if path is None:
        raise MediaError(f"{place / RECORD} names no driving video. Say where it is: --driving FILE.")
    if not Path(path).exists():
        raise MediaError(f"the driving video {path} is not there. Say where it is now: --driving FILE.")
    video = DrivingVideo.of(path, record.fps, said.get("seconds"))
    if [*video.own_size] != said.get("size") or len(video) != len(record):
        raise MediaError(
            f"{path} is another video than {place / RECORD} was made of: {len(video)} frames of "
            f"{video.own_size[0]}x{video.own_size[1]}, not {len(record)} of {said.get('size')}."
        )
    if record.size != video.size:
        video = video.at(record.size)
    masks = _masks_of(place / MASK, record) if (place / MASK).is_file() else None
    options = Options(face_size=side, mask_iterations=0)  # the mask is as wide as it is to be
    drawn = _drawn(record, video, masks, options, seen=seen or _nobody)
    made = {POSE, FACE, BACKGROUND, SHEET}
    with written_folder(place, replace=lambda path: path.name in made) as part:
        Prepared(drawn.pose, drawn.face, drawn.background, drawn.mask).write(part)
        (part / MASK).unlink(missing_ok=True)  # the one that is there stays
        assert drawn.sheet is not None
        write_image(part / SHEET, drawn.sheet)
    return place


def _unfit_mask(mask: object, masked: DrivingVideo, video: DrivingVideo, replace: bool) -> str:
    name = "the mask video" if isinstance(mask, Clip) else f"the mask video {mask}"
    if not replace:
        return f"{name} is used only to replace someone. Ask for that too, or leave it out."
    return f"{name} has {len(masked)} frames, the driving video {len(video)}; they must be equal."


def _said(record: Record, path: Path) -> tuple[dict[str, Any], int]:
    """What a record says of its driving video, and of the side of the face images."""
    driving, options = (record.settings.get(name, {}) for name in ("driving", "options"))
    side = options.get("face_size", 512) if isinstance(options, dict) else None
    seconds = driving.get("seconds") if isinstance(driving, dict) else None
    if (
        not isinstance(driving, dict)
        or not isinstance(seconds, int | float | None)
        or not isinstance(side, int)
    ):
        raise MediaError(
            f"{path}: driving and options must be as `wan22 preprocess` wrote them. Run it again."
        )
    return driving, side


def _nobody(what: str, done: int, of: int) -> None:
    pass


def _canvas(
    own: geometry.Size, reference: Image | None, replace: bool, size: geometry.Size | None, area: int
) -> geometry.Size:
    """The size of the result: as asked, or by area in the shape of the reference, or of the driving video."""
    if size is not None:
        if min(size) < geometry.DIVISOR or size[0] % geometry.DIVISOR or size[1] % geometry.DIVISOR:
            near = tuple(max(round(side / geometry.DIVISOR), 1) * geometry.DIVISOR for side in size)
            raise SizeError(
                f"size {size[0]}x{size[1]}: both sides must be multiples of {geometry.DIVISOR}. "
                f"Near: {near[0]}x{near[1]}."
            )
        return size
    if replace or reference is None:
        return geometry.size_by_area(own, area)
    return geometry.size_by_area((reference.shape[1], reference.shape[0]), area)


def _found(
    video: DrivingVideo, canvas: geometry.Size, models: Preprocessor, options: Options, seen: Seen
) -> tuple[Record, list[np.ndarray] | None, tuple[str, ...]]:
    """Landmarks and boxes of every frame, and outlines as packed bits."""
    people = []
    for index, frame in enumerate(video):
        people.append(np.asarray(models.detect(frame), np.float32).reshape(-1, 5))
        seen("people", index + 1, len(video))
    tracks = tracks_of(people, video.size, video.fps)
    if not tracks:
        raise MediaError(
            f"nobody was found in {len(video)} frames of the driving video. It needs one person, upright and at least "
            "a quarter as high as the image; a video of something else cannot drive a character."
        )
    if options.person >= len(tracks):
        raise OptionError(f"there is no person {options.person}: {len(tracks)} were found, counted from 0.")
    boxes, changes = follow(tracks, options.person)
    count = len(video)
    points, found = np.zeros((count, COUNT, 3), np.float32), np.zeros(count, bool)
    masks: list[np.ndarray | None] = [None] * count
    first, last = min(boxes), max(boxes)
    known = np.array([index in boxes for index in range(count)])
    whereabouts = filled(
        np.array([boxes.get(index, np.zeros(5)) for index in range(count)], np.float32), known
    )
    for index, frame in enumerate(video):
        if first <= index <= last:  # who is lost for a moment may still be where they must be
            points[index] = models.landmarks(frame, whereabouts[index])
            found[index] = points[index, GROUPS["body"], 2].max() > (0 if known[index] else _SURE)
            if models.mask is not None and found[index]:
                masks[index] = np.packbits(models.mask(frame, points[index]) >= 0.5)
        seen("landmarks", index + 1, count)
    if not found.any():
        raise MediaError("nobody's landmarks were found in the driving video, though someone may be there.")
    notices = []
    if not found.all():
        notices.append(
            f"nobody was found at {spans(~found, video.fps)} ({(~found).sum()} of {count} frames): "
            "these are interpolated"
        )
    if changes:
        times = ", ".join(f"{change / video.fps:.2f} s" for change in changes[:5])
        notices.append(f"another person is followed from {times} on, or the same after a cut")
    if len(tracks) > 1:
        notices.append(
            f"{len(tracks)} people were found, number {options.person} is followed; preprocess.json lists them"
        )
    points[..., 2] = steadied(points[..., 2], found, models.steady * video.fps)
    points = filled(points, found)
    face_boxes, said = _face_boxes(points, found, video)
    record = Record(
        points, _extents(points), face_boxes, found, video.fps, video.size, canvas,
        {"person": options.person, "people": [track.as_json() for track in tracks]},
    )  # fmt: skip
    return record, _nearest(masks, found) if models.mask is not None else None, (*notices, *said)


def _extents(points: np.ndarray) -> np.ndarray:
    """The boxes (T, 4) around the points that are seen, of landmarks (T, 133, 3)."""
    seen = points[..., 2:] > _SEEN
    low = np.where(seen, points[..., :2], np.inf).min(1)
    high = np.where(seen, points[..., :2], -np.inf).max(1)
    return np.where(np.isfinite(np.hstack([low, high])), np.hstack([low, high]), 0).astype(np.float32)


def _face_boxes(points: np.ndarray, found: np.ndarray, video: DrivingVideo) -> tuple[np.ndarray, list[str]]:
    """The box of the face in every frame (T, 4); of the head, by eyes, ears and nose, where no face is ever found."""
    boxes, known, notices = np.zeros((len(points), 4)), np.zeros(len(points), bool), []
    for part in (GROUPS["face"], HEAD):
        for index in np.flatnonzero(found & (points[:, part, 2].mean(1) >= _FACE_SCORE)):
            box = geometry.face_box(points[index, part], video.size)
            if box[0] < box[2] and box[1] < box[3]:
                boxes[index], known[index] = box, True
        if known.any():
            break
        notices = ["no face was found: the head is taken, by its eyes, ears and nose"]
    if not known.any():
        raise MediaError(
            "no face and no head was found in the driving video. The face must be seen in some frames."
        )
    if (found & ~known).any() and not notices:
        notices = [f"no face was found at {spans(found & ~known, video.fps)}: its place is interpolated"]
    return filled(boxes, known).round().astype(np.int64), notices


def _nearest(masks: list[np.ndarray | None], found: np.ndarray) -> list[np.ndarray]:
    """Outlines of all frames: where none was found, that of the nearest frame that has one."""
    known = np.flatnonzero(found)
    nearest = known[np.abs(known[None] - np.arange(len(found))[:, None]).argmin(1)]
    return [mask for index in nearest if (mask := masks[index]) is not None]


def _masks_of(path: Path, record: Record) -> list[np.ndarray]:
    """The masks of a video, which a person may have painted, as packed bits."""
    clip = read_whole(path)
    if len(clip.frames) != len(record) or clip.frames.shape[2:0:-1] != record.canvas:
        raise MediaError(
            f"{path} has {len(clip.frames)} frames of {clip.frames.shape[2]}x{clip.frames.shape[1]}; "
            f"{RECORD} has {len(record)} of {record.canvas[0]}x{record.canvas[1]}."
        )
    return [np.packbits(frame[..., 0] >= 128) for frame in clip.frames]


def _drawn(
    record: Record,
    video: DrivingVideo,
    masks: list[np.ndarray] | None,
    options: Options,
    reference: Image | None = None,
    *,
    notices: tuple[str, ...] = (),
    seen: Seen,
) -> Prepared:
    """All images of a record."""
    (width, height), count, side = record.canvas, len(record), options.face_size
    pose = np.empty((count, height, width, 3), np.uint8)
    face = np.empty((count, side, side, 3), np.uint8)
    background = np.empty((count, height, width, 3), np.uint8) if masks is not None else None
    covered = np.empty((count, height, width), np.uint8)
    sheet = Sheet(count)
    for index, frame in enumerate(video):
        body = draw_pose(np.zeros_like(frame), record.points[index])
        pose[index] = body if record.size == record.canvas else geometry.letterbox(body, record.canvas)
        left, top, right, bottom = (int(value) for value in record.face_boxes[index])
        face[index] = geometry.cut_face(frame, (left, top, right, bottom), side)
        if masks is not None and background is not None:
            mask = np.unpackbits(masks[index])[: height * width].reshape(height, width)
            mask = geometry.grown_mask(
                mask, options.mask_iterations, options.mask_kernel, options.mask_columns, options.mask_rows
            )
            covered[index] = mask * 255
            background[index] = frame * (1 - mask[..., None])
        sheet.add(
            index, frame, record, pose[index], face[index], None if background is None else background[index]
        )
        seen("images", index + 1, count)
    return Prepared(
        Clip(pose, record.fps),
        Clip(face, record.fps),
        None if background is None else Clip(background, record.fps),
        None if masks is None else Clip(np.broadcast_to(covered[..., None], (*covered.shape, 3)), record.fps),
        reference,
        record,
        sheet.image(),
        notices,
    )
