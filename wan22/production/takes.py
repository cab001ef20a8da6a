"""`--best-of N`: several takes of one video from successive seeds, measured against the prompt; the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import OptionError, RequestError
from wan22.fields import called
from wan22.production.events import Quiet
from wan22.production.publish import Target

if TYPE_CHECKING:
    import numpy as np

    from wan22.canvas import Canvas
    from wan22.director.judge import Verdict
    from wan22.production.events import EventSink
    from wan22.types import Event, Request

Deliver = Callable[..., dict[str, Any]]
"""`publish`, given events, target and sink, and `notes` where they are others."""

KEY = "best_of"
"""The recipe's entry: how many takes there were, and seed, score and verdicts of each."""


@dataclass(frozen=True)
class Take:
    """One take: where it lies, its frames uint8 (T, H, W, 3), its recipe, and what it obeys."""

    seed: int
    target: Target
    frames: np.ndarray
    recipe: dict[str, Any]
    score: float
    verdicts: list[Verdict]


def check_takes(number: int | None, count: int, prompt: str) -> None:
    """Raise OptionError for takes that cannot be compared, before anything is made."""
    if number is None:
        return
    if number < 2:
        raise OptionError(f"{called('best_of')} compares takes: give 2 or more, not {number}")
    if count > 1:
        raise OptionError(
            f"{called('best_of')} keeps one video of several, {called('count')} makes several: "
            "give one of them"
        )
    from wan22.director.judge import measurable

    if not measurable(prompt):
        raise OptionError(
            f"{called('best_of')} compares with what the prompt says, and this one says nothing that is measured: name "
            "a camera movement, a time of day, a colour, or another term of `wan22 vocabulary`"
        )


def check_canvas(number: int | None, canvas: Canvas, request: Request) -> None:
    """Raise RequestError for a video of which no takes are made: too short to measure, or of several clips."""
    if number is None:
        return
    from wan22.director.measure import MIN_FRAMES

    if canvas.clips > 1 or request.by_clips:
        raise RequestError(
            f"{called('best_of')} compares takes of one clip; this video has several, or audio or a video drives it"
        )
    if canvas.frames < MIN_FRAMES:
        raise RequestError(
            f"{called('best_of')} measures videos of {MIN_FRAMES} frames or more, not {canvas.frames}"
        )


def best_of(
    number: int,
    video: Callable[[Request], Iterable[Event]],
    request: Request,
    target: Target,
    events: EventSink,
    *,
    deliver: Deliver,
    keep: bool = False,
) -> dict[str, Any]:
    """Make takes, keep the one that obeys best (of equals the first), and return its recipe.

    `deliver` is `publish` with all that is the same for every take. Each take is a whole video beside the target,
    TARGET-take-SEED or the next name that nothing has, from the moment it is made; they go only after the best is
    safely written under the target's name.
    """
    best: Take | None = None
    told: list[dict[str, Any]] = []
    targets: list[Target] = []
    for seed in range(request.seed, request.seed + number):
        take = _take(video, replace(request, seed=seed), target, events, deliver)
        targets.append(take.target)
        told.append(_told(take))
        events.note(_line(take))
        if best is None or take.score > best.score:
            best = take
    if best is None:
        raise AssertionError("at least one take")
    events.note(f"the take of seed {best.seed} is kept")
    entry = {"takes": told, "kept": best.seed}
    recipe = deliver(_again(best), target, events, notes={KEY: entry})
    if not keep:
        for each in targets:
            _delete(each)
    return recipe


def _take(
    video: Callable[[Request], Iterable[Event]],
    request: Request,
    target: Target,
    events: EventSink,
    deliver: Deliver,
) -> Take:
    import numpy as np

    from wan22.director.judge import judge, score
    from wan22.director.measure import measure

    place, quiet = target.tagged(f"take-{request.seed}").free(), _Named(events)
    frames: list[np.ndarray] = []
    recipe = deliver(_seen(video(request), frames), place, quiet)
    whole = np.concatenate(frames)
    verdicts = judge(measure(whole, recipe["fps"]), request.prompt)
    return Take(request.seed, replace(place, path=quiet.path), whole, recipe, score(verdicts), verdicts)


class _Named(Quiet):
    """Keeps the name under which a take was written."""

    path = ""

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        self.path = path


def _seen(events: Iterable[Event], frames: list[np.ndarray]) -> Iterator[Event]:
    """The same events; their frames are kept."""
    from wan22.types import Frames

    for event in events:
        if isinstance(event, Frames):
            frames.append(event.frames)
        yield event


def _again(take: Take) -> Iterator[Event]:
    """A take as the end of a video that is made."""
    from wan22.types import Finished, Frames

    yield Frames(0, len(take.frames), take.frames)
    yield Finished(take.recipe["fps"], take.recipe)


def _told(take: Take) -> dict[str, Any]:
    matches = {v.axis: v.matches for v in take.verdicts}
    return {"seed": take.seed, "score": round(take.score, 4), "matches": matches}


def _line(take: Take) -> str:
    known = [v for v in take.verdicts if v.matches is not None]
    if not known:
        return f"seed {take.seed}: nothing that was asked can be told of it"
    missed = ", ".join(f"{v.axis} {v.measured} for {v.asked}" for v in known if not v.matches)
    unchecked = ", ".join(v.axis for v in take.verdicts if v.matches is None)
    return (
        f"seed {take.seed}: {take.score:.0%} as asked"
        + (f"; missed {missed}" if missed else "")
        + (f"; not checked: {unchecked}" if unchecked else "")
    )


def _delete(target: Target) -> None:
    """Remove a take, and of a folder only the images that are ours."""
    from wan22.media.output_paths import SEQUENCE, target_kind
    from wan22.media.sequence_files import remove_frames

    if target_kind(target.path) == SEQUENCE:
        remove_frames(target.path)
    else:
        Path(target.path).unlink(missing_ok=True)
