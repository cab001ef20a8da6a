"""What a video shows, from its pixels alone: camera, subject, light and colour, each with how sure that is.

Any video: it is scaled down inside, and no label, prompt or recipe is read. What cannot be known is "unknown". The
parts are `flow.py` and `movement.py` (camera), `subject.py` (the body that stands out), `image.py` (light and
colour); `judge.py` compares with what was asked. docs/measure.md says how often each is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from wan22.director import movement
from wan22.director.familiar import familiar, look
from wan22.director.fitted import Guess, fitted
from wan22.director.flow import CameraPath, camera_path
from wan22.director.grading import name_colours, observe
from wan22.director.image import brightness, light_evidence
from wan22.director.judge import Verdict, judge, score
from wan22.director.reading import UNKNOWN, Measurement, Reading
from wan22.director.subject import Subject, find_subject
from wan22.errors import MediaError

__all__ = ["UNKNOWN", "Measurement", "Reading", "Verdict", "judge", "measure", "score"]

MIN_FRAMES, MIN_SIDE = 5, 24
_UNIT = 80  # pixels of a unit after scaling
_RATE, _MOST = 8.0, 121  # frames a second that are looked at, and how many at most
_CUT = 0.11  # mean difference of colours from which a frame begins another shot
_DUTCH = 0.17  # radians by which a horizon leans in a Dutch angle
_BLANK = 0.008  # deviation of a frame's colours under which there is no image; a dull night shot has four times that
_SURE, _SURE_OF_TWO = 0.35, 0.65  # confidence under which a value is not told: of several, of two

_UNLIKE = "the video is unlike those that the measure was fitted on"
_ON_SUBJECT = ("colour", "light_direction", "light_quality", "shot_size")


def measure(frames: np.ndarray, fps: float) -> Measurement:
    """Measure a video, uint8 (T, H, W, 3) of at least 5 frames and 24 pixels a side.

    About eight frames a second are looked at. Raises MediaError for another shape or rate.
    """
    import cv2

    _check(frames, fps)
    step = max(1, round(fps / _RATE), -(-len(frames) // _MOST))
    step = min(step, max((len(frames) - 1) // (MIN_FRAMES - 1), 1))
    at = np.arange(0, len(frames), step)
    small = at_unit(frames, at)
    cuts = _cuts(small)
    first, last = _longest(cuts, len(small))
    shot = small[first:last]
    subject = find_subject(cv2, shot)
    path = camera_path(cv2, shot, subject.free(cv2, shot), ~subject.mask)
    action = movement.name_action(path, subject)
    step_few = max(len(shot) // 8, 1)
    few, body = shot[::step_few], subject.every(step_few)
    light = light_evidence(cv2, few, body, path.horizon)
    named = {
        **_subject_readings(subject, action),
        **_light_readings(cv2, few, body, path, light),
    }
    if familiar().strangeness(look(cv2, few, body.mask, light)) > 0:
        named = {axis: _unlike(reading) for axis, reading in named.items()}
    readings = {
        **_camera_readings(path, subject, action),
        **named,
        "motion": _motion(path, subject, step / fps),
        "cuts": Reading(str(len(cuts)), 1.0, {"cuts": len(cuts)}),
    }
    camera = np.concatenate([np.zeros((1, 7)), np.cumsum(path.rates, axis=0)])
    speed = movement.speed(path, subject) * fps / step
    return Measurement(
        size=(frames.shape[2], frames.shape[1]),
        frames=len(frames),
        fps=fps,
        readings=readings,
        at=at[first:last],
        camera=camera,
        flow=np.concatenate([speed[:1], speed]),
        subject=np.stack([subject.x, subject.y, subject.width, subject.height], axis=1),
        own=action.own,
        light=brightness(shot),
        cuts=tuple(int(at[cut]) for cut in cuts),
        shot=(int(at[first]), int(at[last - 1])),
    )


def _check(frames: np.ndarray, fps: float) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) < MIN_FRAMES:
        raise MediaError(
            f"cannot measure an array of {frames.dtype} {frames.shape}: "
            f"needs uint8 (T, H, W, 3), T of {MIN_FRAMES} or more"
        )
    if min(frames.shape[1:3]) < MIN_SIDE:
        raise MediaError(
            f"cannot measure frames of {frames.shape[2]}x{frames.shape[1]}: needs {MIN_SIDE} pixels a side or more"
        )
    if not fps > 0:
        raise MediaError(f"cannot measure a clip at {fps} frames a second: fps must be positive")


def shrunk(frames: np.ndarray, rows: int) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) at no more than `rows` rows; smaller ones as they are."""
    height, width = frames.shape[1:3]
    if height <= rows:
        return frames
    size = (max(round(width * rows / height), 1), rows)
    import cv2

    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def at_unit(frames: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The chosen frames at a unit of 80 pixels, float32 0..1."""
    import cv2

    rows, columns = frames.shape[1:3]
    scale = _UNIT / min(rows, 0.8 * columns)
    size = (max(round(columns * scale), 16), max(round(rows * scale), 16))
    chosen = frames[at]
    if size != (columns, rows):
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        chosen = np.stack([cv2.resize(frame, size, interpolation=way) for frame in chosen])
    return chosen.astype(np.float32) / 255


def _cuts(small: np.ndarray) -> list[int]:
    """Frames that differ from the one before by far more than their neighbours do."""
    cells = small.reshape(len(small), -1)
    blocks = np.stack([_coarse(frame) for frame in small]).reshape(len(cells), -1)
    change = np.abs(np.diff(blocks, axis=0)).mean(axis=1)
    usual = np.median(change)
    return [int(t) + 1 for t in np.nonzero(change > max(_CUT, 4 * usual))[0]]


def _coarse(frame: np.ndarray) -> np.ndarray:
    side = max(min(frame.shape[:2]) // 8, 1)
    h, w = frame.shape[0] // side, frame.shape[1] // side
    return frame[: h * side, : w * side].reshape(h, side, w, side, 3).mean(axis=(1, 3))


def _longest(cuts: list[int], count: int) -> tuple[int, int]:
    edges = [0, *cuts, count]
    first, last = max(pairwise(edges), key=lambda pair: pair[1] - pair[0])
    return (first, last) if last - first > 1 else (0, count)


def _told(
    value: str, confidence: float, amounts: Mapping[str, float], why: str, least: float = _SURE
) -> Reading:
    """A reading, or "unknown" if it is less sure than a guess worth telling."""
    if confidence < least:
        return Reading(UNKNOWN, confidence, amounts, why)
    return Reading(value, confidence, amounts)


def _camera_readings(path: CameraPath, subject: Subject, action: movement.Action) -> dict[str, Reading]:
    moves = movement.name_moves(path, subject, action)
    why = (
        "the background has too little texture to follow"
        if not moves.kinds
        else "too little of a movement to name"
    )
    kind, way = "+".join(moves.kinds) or UNKNOWN, "+".join(moves.directions) or UNKNOWN
    return {
        "camera": _told(kind, moves.kind_confidence, moves.amounts, why),
        "direction": _told(way, moves.direction_confidence, moves.amounts, why),
        "grip": _told(moves.grip, moves.grip_confidence, {"shake": moves.amounts["shake"]}, why),
    }


def _subject_readings(subject: Subject, action: movement.Action) -> dict[str, Reading]:
    why = "no body stands out from the background"
    x = float(np.median(subject.x))
    place = "left-heavy" if x < -0.14 else "right-heavy" if x > 0.14 else "center"
    amounts = {"path": action.path, "rise": action.rise, "hop": action.hop, "others": subject.others}
    return {
        "action": _told(action.value, action.confidence * subject.clear, amounts, why),
        "composition": _told(place, min(1.0, 0.5 + 5 * abs(abs(x) - 0.14)) * subject.clear, {"x": x}, why),
    }


def _light_readings(
    cv2: Any, few: np.ndarray, body: Subject, path: CameraPath, light: tuple[np.ndarray, np.ndarray]
) -> dict[str, Reading]:
    blank = float(np.median(few.std(axis=(1, 2)).max(axis=-1))) < _BLANK
    guesses: dict[str, Guess] = name_colours(*observe(cv2, few, body, path.horizon))
    guesses |= fitted("light").guess(*light)
    guesses["camera_angle"] = _leaning(guesses["camera_angle"], path)
    why = "light and colour are unlike all that the measure knows, or between two values"
    if blank:
        why = "the image is blank: all of it has one colour"
    clear = {axis: 0.0 if blank else body.clear if axis in _ON_SUBJECT else 1.0 for axis in guesses}
    least = {axis: _SURE_OF_TWO if len(g.all) == 2 else _SURE for axis, g in guesses.items()}
    return {
        axis: _told(g.value, g.confidence * clear[axis], g.all, why, least[axis])
        for axis, g in guesses.items()
    }


def _leaning(guess: Guess, path: CameraPath) -> Guess:
    """The angle, where a horizon that leans or lies level knows better."""
    if path.horizon is None:
        return guess
    if abs(path.horizon.angle) > _DUTCH:
        return Guess("dutch-angle", 0.9, guess.all)
    others = {name: share for name, share in guess.all.items() if name != "dutch-angle"}
    value = max(others, key=lambda name: others[name])
    return Guess(value, guess.confidence if value == guess.value else others[value], guess.all)


def _unlike(reading: Reading) -> Reading:
    """The reading of a video that is unlike the training clips: what was unknown before keeps its reason."""
    return reading if reading.value == UNKNOWN else Reading(UNKNOWN, 0.0, reading.amounts, _UNLIKE)


def _motion(path: CameraPath, subject: Subject, seconds: float) -> Reading:
    """How much moves: the speed of camera and subject together, in units a second."""
    camera = float(np.median(movement.speed(path, subject))) / seconds
    seen = np.hypot(np.diff(subject.x), np.diff(subject.y))
    body = float(np.median(seen)) / seconds
    most = max(camera, body)
    value = "none" if most < 0.02 else "little" if most < 0.12 else "much" if most < 0.6 else "very much"
    return Reading(value, 0.8, {"camera": camera, "subject": body})
