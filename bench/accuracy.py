"""How often the measure is right: rendered clips of held-out labels, axis by axis, where the label can be seen.

    python -m bench.measure [--count 200] [--seed 0] [--blur PX] [--fit N] [--fit-gate N]
    python -m bench.measure --foreign [N]       also on footage that is not the film set, N clips of each kind

Nothing is tuned on these clips: the measure's constants and its networks (`--fit`) come from the training split.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from wan22.director.camera import DIRECTIONS
from wan22.director.image import FAMILY
from wan22.director.measure import UNKNOWN, Measurement, measure
from wan22.stage.labels import Shot, sample
from wan22.stage.render import render

WORST = 4
_COUNTED = ("motion", "cuts")
"""Axes that are amounts: no value of them is right or wrong."""
_NO_SKY = ("overhead", "high-angle")


@dataclass
class Score:
    """One axis: clips on which the label can be seen, those on which something was told, those of them whose truth is
    known, those told right, and the sum of the confidence that the known ones were told with.
    """

    seen: int = 0
    told: int = 0
    known: int = 0
    right: int = 0
    sure: float = 0.0
    wrong: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, wanted: str | None, found: str, confidence: float = 1.0) -> None:
        """Count one clip; None: its truth is not known."""
        self.seen += 1
        if found == UNKNOWN:
            return
        self.told += 1
        if wanted is None:
            return
        self.known += 1
        self.right += wanted == found
        self.sure += confidence
        if wanted != found:
            self.wrong[wanted, found] += 1


def expected(shot: Shot) -> dict[str, str]:
    """What a right measure says of a perfect clip, axis by axis; axes whose label cannot be seen are left out."""
    found = {
        "still or moving": "still" if shot.camera == "static" else "moving",
        "camera": _joined(shot.moves),
        "direction": _joined(DIRECTIONS[move] for move in shot.moves),
        "grip": shot.grip,
        "camera_angle": shot.camera_angle,
        "colour": shot.colour,
        "action": "still" if shot.action == "spin" else shot.action,
        "shot_size": shot.shot_size,
        "composition": shot.composition,
        "time": FAMILY.get(shot.time, shot.time),
        "tone": shot.tone,
        "saturation": shot.saturation,
        "contrast": shot.contrast,
        "light_direction": shot.light_direction,
        "light_quality": shot.light_quality,
    }
    return {
        axis: value
        for axis, value in found.items()
        if not any(hidden(shot) for hidden in _HIDDEN.get(axis, ()))
    }


def _joined(moves: Sequence[str] | object) -> str:
    return "+".join(sorted(moves))


def _turned_over(shot: Shot) -> bool:
    """From straight above, a turn about the vertical rolls the image: no pan and no orbit is to be seen."""
    return shot.camera_angle == "overhead" and any(move.startswith(("pan", "orbit")) for move in shot.moves)


_HIDDEN: dict[str, tuple[Callable[[Shot], bool], ...]] = {
    # Seen from above, the ground has one depth: a truck looks like a pan, a dolly like a zoom.
    "camera": (lambda shot: shot.camera_angle in _NO_SKY and shot.camera != "static", _turned_over),
    "direction": (_turned_over, lambda shot: shot.camera == "follow"),
    "action": (lambda shot: shot.camera == "follow",),
    "shot_size": (lambda shot: shot.camera_angle == "overhead",),  # its height is not seen
    "light_direction": (lambda shot: shot.light_source != "sky",),
    "light_quality": (lambda shot: shot.light_source != "sky", lambda shot: shot.time in ("dawn", "dusk")),
}


def told(found: Measurement) -> dict[str, str]:
    """What a measurement says, with compound movements in a fixed order, and whether the camera moves at all."""
    values = {axis: reading.value for axis, reading in found.readings.items()}
    moving = values["camera"] if values["direction"] == UNKNOWN else values["direction"]
    values["still or moving"] = {"none": "still", "static": "still", UNKNOWN: UNKNOWN}.get(moving, "moving")
    for axis in ("camera", "direction"):
        values[axis] = _joined(values[axis].split("+"))
    if any(move in DIRECTIONS.values() for move in values["camera"].split("+")):
        values["camera"] = UNKNOWN  # a direction without a kind
    return values


def accuracy(count: int, seed: int = 0, *, split: str = "held-out", blur: float = 0.0) -> dict[str, Score]:
    """Render and measure `count` clips of a split, one at a time."""
    import cv2

    scores: dict[str, Score] = {}
    for i, shot in enumerate(sample(count, seed, split=split)):
        clip = render([shot], seed=seed * 100_000 + i)[0].numpy()
        if blur > 0:
            clip = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in clip])
        found = told(measure(clip, 8.0))
        for axis, value in expected(shot).items():
            scores.setdefault(axis, Score()).add(value, found[axis])
    return scores


def accuracy_on_foreign(number: int, seed: int = 0) -> dict[str, dict[str, Score]]:
    """Measure so many foreign clips of each kind, and what packages ship: scores by kind and axis."""
    from bench.foreign import FPS, foreign

    scores: dict[str, dict[str, Score]] = {}
    for clip in foreign(number, seed):
        measured = measure(clip.frames, FPS)
        found, truth = told(measured), dict(clip.truth)
        if "camera" in truth:
            truth["still or moving"] = "still" if truth["camera"] == "static" else "moving"
        of_kind = scores.setdefault(clip.kind, {})
        for axis, value in found.items():
            if axis not in _COUNTED:
                reading = measured.readings.get(axis)
                confidence = reading.confidence if reading else measured["direction"].confidence
                of_kind.setdefault(axis, Score()).add(truth.get(axis), value, confidence)
    return scores


def foreign_lines(scores: dict[str, dict[str, Score]]) -> list[str]:
    """A table for each axis: how often it is told; of what is told and known, how often right, and how sure."""
    found = []
    for axis in next(iter(scores.values())):
        found.append(f"{axis:24} {'clips':>6} {'told':>6} {'known':>6} {'right':>6} {'sure':>6}")
        for kind, of_kind in scores.items():
            score = of_kind[axis]
            right = (
                f"{score.right / score.known:6.0%} {score.sure / score.known:6.0%}"
                if score.known
                else f"{'-':>6} {'-':>6}"
            )
            found.append(f"  {kind:22} {score.seen:6} {score.told / score.seen:6.0%} {score.known:6} {right}")
    return found


def lines(scores: dict[str, Score]) -> list[str]:
    """The table, and what the worst axes were taken for."""
    found = [f"{'axis':16} {'clips':>6} {'told':>6} {'right':>6}"]
    for axis, score in scores.items():
        found.append(
            f"{axis:16} {score.seen:6} {score.told / score.seen:6.1%} {score.right / max(score.told, 1):6.1%}"
        )
    worst = sorted(scores, key=lambda axis: scores[axis].right / max(scores[axis].told, 1))[:WORST]
    for axis in worst:
        pairs = ", ".join(f"{a} as {b} {n}" for (a, b), n in scores[axis].wrong.most_common(6))
        found.append(f"{axis}: {pairs}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=200, help="held-out clips to render and measure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blur", type=float, default=0.0, metavar="PX", help="blur them by this sigma")
    parser.add_argument(
        "--fit", type=int, metavar="N", help="first fit the networks on N clips of the training split"
    )
    parser.add_argument(
        "--fit-gate",
        type=int,
        metavar="N",
        help="first fit on N clips of the training split what is familiar (after --fit)",
    )
    parser.add_argument(
        "--foreign",
        type=int,
        nargs="?",
        const=24,
        metavar="N",
        help="measure other footage too, N clips of each kind",
    )
    options = parser.parse_args(arguments)
    if options.count < 1 or options.blur < 0 or (options.fit is not None and options.fit < 100):
        parser.error("--count must be 1 or more, --blur 0 or more, --fit 100 or more")
    if options.fit is not None:
        from bench.looks import fit

        for axis, share in fit(options.fit, options.seed).items():
            print(f"fitted {axis:16} {share:6.1%} on a tenth left out")
    if options.fit_gate is not None:
        from bench.gate import fit_gate

        print(f"turned away {fit_gate(options.fit_gate, options.seed):6.1%} of the training clips left out")
    for line in lines(accuracy(options.count, options.seed, blur=options.blur)):
        print(line)
    for line in foreign_lines(accuracy_on_foreign(options.foreign, options.seed)) if options.foreign else ():
        print(line)
