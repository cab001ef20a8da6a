"""`wan22 measure`: what a video shows, beside what was asked, as a table, JSON and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.errors import MediaError, OptionError, OutputError
from wan22.files import parse_object, read_text

if TYPE_CHECKING:
    from wan22.director.judge import Verdict
    from wan22.director.reading import Measurement
    from wan22.director.shot import ShotSpec
    from wan22.media.output_paths import Existing

_FILES = (".json", ".toml", ".yaml", ".yml")  # no prompt ends so
_SHOT = '{"subject": "a red ball", "camera": ["static"]}'


def measure(
    file: Annotated[
        str,
        typer.Argument(help="A video of any origin, or images: shots/, shot-%04d.png.", show_default=False),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT|FILE",
            help="A prompt, or a shot as JSON (text or a file). [default: the prompt in the video's recipe]",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PNG", help="Draw camera, subject and light over time here."),
    ] = None,
    fps: o.SequenceFps = None,
    json: o.Json = False,
) -> None:
    """Measure what a video shows, and whether it is what was asked.

    Camera, subject, light and colour from pixels alone. What cannot be measured is "unknown", and never a pass.
    """
    from wan22.director.judge import judge, score
    from wan22.director.measure import measure as look
    from wan22.production.measured import read_small

    plot = None if output is None else plot_place(output, f"{file.rstrip('/')}.measure.png", "--output")
    asked = _asked(against, file)
    clip = read_small(file, fps)
    found = look(clip.frames, clip.fps)
    verdicts = judge(found, asked) if asked is not None else []
    files = []
    if plot is not None:
        from wan22.atomic import temporary_file
        from wan22.director.measure_plot import plot_measurement
        from wan22.media.output_paths import publish_file

        with temporary_file(Path(plot[0])) as part:
            plot_measurement(found, clip.frames, part, table(found, verdicts))
            files.append(publish_file(part, *plot))
    values = _as_json(found, verdicts, score(verdicts)) | {"files": files}
    report.answer(json).result(values, (*table(found, verdicts), *files))


def table(found: Measurement, verdicts: list[Verdict]) -> list[str]:
    """A line for each axis: what was asked, what was measured and how sure that is; what is asked comes first."""
    lines = [f"{'axis':16} {'asked':22} {'measured':22} {'sure':>5}  as asked"]
    said = {verdict.axis for verdict in verdicts}
    for v in verdicts:
        mark = {True: "yes", False: "NO", None: "-"}[v.matches] + (f"  ({v.why})" if v.why else "")
        lines.append(f"{v.axis:16} {v.asked:22} {v.measured:22} {v.confidence:5.0%}  {mark}")
    for axis, reading in found.readings.items():
        if axis not in said:
            why = f"  ({reading.why})" if reading.why else ""
            lines.append(f"{axis:16} {'':22} {reading.value:22} {reading.confidence:5.0%}{why}")
    known = [v.matches for v in verdicts if v.matches is not None]
    if verdicts:
        unchecked = ", ".join(v.axis for v in verdicts if v.matches is None)
        lines += [
            "",
            f"{sum(known)} of {len(known)} as asked" + (f"; not checked: {unchecked}" if unchecked else ""),
        ]
    return lines


def _as_json(found: Measurement, verdicts: list[Verdict], score: float) -> dict[str, Any]:
    values = found.as_json()
    return values | ({"verdicts": [vars(v) for v in verdicts], "score": round(score, 4)} if verdicts else {})


def _asked(against: str | None, file: str) -> ShotSpec | str | None:
    """What the video is held against: as typed, or as its recipe says."""
    if against is None:
        from wan22.media.recipe import read_recipe

        prompt = (read_recipe(file) or {}).get("prompt")
        return prompt if isinstance(prompt, str) and prompt else None
    asked = _typed(against)
    from wan22.director.judge import measurable

    if not measurable(asked):
        raise OptionError(
            f"--against {against!r} says nothing that is measured: name a camera movement, a time of day, a colour, or "
            "another term of `wan22 vocabulary`"
        )
    return asked


def _typed(against: str) -> ShotSpec | str:
    """A prompt as it is, or a shot from JSON. Raises MediaError for a file that is not there or no text."""
    text = against
    if against.lower().endswith(_FILES) and not against.lstrip().startswith("{"):
        text = read_text(against, MediaError)
        if not text.lstrip().startswith("{"):
            raise OptionError(f"--against {against} is no shot as JSON, such as {_SHOT}")
    if not text.lstrip().startswith("{"):
        return text
    from wan22.director.shot import ShotSpec

    return ShotSpec.from_json(parse_object(text, "--against", OptionError))


def plot_place(asked: str | None, default: str, option: str) -> tuple[str, Existing]:
    """Where a plot goes, and what becomes of a file that is there; OutputError if that is no plot of ours."""
    from wan22.media.output_paths import check_output, place
    from wan22.media.own_files import check_named, is_plot

    path, existing = place(asked, default, still=True)
    if Path(path).suffix.lower() != ".png":
        raise OutputError(f"{option} writes PNG: give a name that ends in .png, not {path!r}")
    check_output(path, bytes_needed=1_000_000)
    if existing == "replace":
        check_named(Path(path), is_plot, "plot")
    return path, existing
