"""`wan22 drift`: how a video's colour, light, contrast, sharpness and identity drift, as a table, numbers and
a plot.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.measure import plot_place
from wan22.errors import MediaError
from wan22.files import read_json

if TYPE_CHECKING:
    from wan22.clock import WorkProgress
    from wan22.director.trend import Drift
    from wan22.media.output_paths import Existing

SUFFIX = ".drift"
_MOVED = 0.1  # image widths, or growth; beyond, the scene itself may be another one
_KEYS = {"axes", "seams", "seconds", "travel", "growth"}  # of a file of drift


def drift(
    file: Annotated[
        str,
        typer.Argument(
            help="A video of any length and origin, or images: shots/, shot-%04d.png.", show_default=False
        ),
    ],
    plot: Annotated[
        str | None, typer.Option(metavar="PNG", help="Where the plot goes. [default: FILE.drift.png]")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="JSON", help="Where numbers go. [default: FILE.drift.json]"),
    ] = None,
    fps: o.SequenceFps = None,
    json: o.Json = False,
) -> None:
    """Measure how a video drifts, per second.

    Brightness, contrast, colour, sharpness, identity, and the seams between clips if its recipe names them.
    """
    from wan22.atomic import temporary_file
    from wan22.director.drift_plot import plot_drift
    from wan22.media.output_paths import publish_file

    beside = file.rstrip("/")
    image = plot_place(plot, f"{beside}{SUFFIX}.png", "--plot")
    numbers = _numbers_place(output, f"{beside}{SUFFIX}.json")
    with report.choose(json) as show:
        found = _measure(file, fps, show.log)
    with temporary_file(Path(numbers[0])) as part:
        part.write_text(jsonlib.dumps(found.as_json(), indent=1) + "\n")
        written = publish_file(part, *numbers)
    with temporary_file(Path(image[0])) as part:
        plot_drift(found, part)
        drawn = publish_file(part, *image)
    lines = (*table(found), "", *remarks(found), str(written), str(drawn))
    show.result(found.as_json() | {"files": [str(written), str(drawn)]}, lines)


def table(found: Drift) -> list[str]:
    """Put the axes into lines: where each begins and ends, its slope, and whether people notice."""
    lines = ["axis            start      end   per second   over the video   noticed from   verdict"]
    for name, axis in found.axes.items():
        lines.append(
            f"{name:12} {axis.start:8.2f} {axis.end:8.2f} {axis.per_second:+8.3f} {axis.unit:>5}"
            f" {axis.total:+13.2f} {axis.visible:14.2f}   {axis.verdict}"
        )
    return lines


def remarks(found: Drift) -> list[str]:
    """Say what the numbers rest on: cuts, seams, a camera that moves."""
    lines = [f"{found.seconds:.1f} s, {found.frames} frames of {found.size[0]}x{found.size[1]}"]
    if found.cuts:
        where = _some([cut / found.fps for cut in found.cuts])
        lines.append(f"{_count(len(found.cuts), 'cut')}, at {where}: slopes are those within shots")
    if found.seams:
        worst = max(found.seams, key=lambda seam: seam.times)
        lines.append(
            f"{_count(len(found.seams), 'seam')} between clips; the largest step is {worst.times:.1f} times an "
            f"ordinary one, at {worst.seconds:.1f} s ({worst.brightness:+.2f} L*, {worst.colour:.2f} dE, "
            f"sharpness {worst.sharpness:+.1f} %)"
        )
    if found.travel > _MOVED or found.growth > 1 + _MOVED:
        lines.append(
            f"the camera moved: {found.travel:.2f} of the image's width, {found.growth:.2f} times nearer or farther; "
            "what drifts may be the scene's"
        )
    return lines


def _measure(file: str, fps: float | None, log: Callable[[WorkProgress], None]) -> Drift:
    from wan22.production.measured import measured_drift

    return measured_drift(file, fps, seen=_counted(log))


def _counted(log: Callable[[WorkProgress], None]) -> Callable[[int, int], None]:
    """Frames that are read, as progress."""
    from wan22.clock import StepCounter

    counter: list[StepCounter] = []
    seen = 0

    def count(done: int, total: int) -> None:
        nonlocal seen
        if not counter:
            counter.append(StepCounter(total, "frame", log))
        counter[0].step(done - seen)
        seen = done

    return count


def _numbers_place(asked: str | None, default: str) -> tuple[str, Existing]:
    """Where the numbers go, and what becomes of a file that is there; OutputError if that is no file of numbers."""
    from wan22.media.output_paths import place
    from wan22.media.own_files import check_named

    path, existing = place(asked, default, still=True)
    if existing == "replace":
        check_named(Path(path), _is_numbers, "file of drift")
    return path, existing


def _is_numbers(path: Path) -> bool:
    try:
        return _KEYS <= read_json(path, MediaError).keys()
    except MediaError:
        return False


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(seconds: list[float], most: int = 5) -> str:
    told = ", ".join(f"{second:.1f} s" for second in seconds[:most])
    return told if len(seconds) <= most else f"{told}, ..."
