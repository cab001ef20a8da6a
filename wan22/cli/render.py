"""`wan22 render`: a timeline as a finished video, images or audio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wan22.timeline.render import Rendered, Rendering


FileArgument = Annotated[
    str,
    typer.Argument(metavar="TIMELINE", help="A timeline's document, such as cut.json.", show_default=False),
]
OutputOption = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="A name such as cut.mp4; a folder ending in / for images.",
        show_default=False,
    ),
]
FormOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="h264, hevc, av1 (mp4), prores (mov), webm, gif, png (images), wav (audio alone). "
        "[default: what the name says; h264 for .mp4]",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="W:H|WxH", help="A shape (16:9, 9:16, 1:1, 4:5) or pixels. [default: the timeline's]"
    ),
]
CaptionsOption = Annotated[
    str | None,
    typer.Option(metavar="burn[:LANG]", help="Draw captions into the frames: the first language, or LANG."),
]
LoudnessOption = Annotated[
    float | None,
    typer.Option(
        metavar="LUFS", help="Bring the audio to this loudness (EBU R128). [default: the timeline's]"
    ),
]
QualityOption = Annotated[str, typer.Option(metavar="NAME", help="high, good or draft.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite/--no-overwrite", help="Replace a file of the name that -o gives.")
]
ProvenanceOption = Annotated[
    bool,
    typer.Option(
        "--provenance/--no-provenance",
        help="Mark and sign the file as made by a model, if a clip was (docs/provenance.md).",
    ),
]
CertificateOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Sign with this certificate. [default: $WAN22_CERTIFICATE, or a self-made one]",
    ),
]


def render(
    file: FileArgument,
    output: OutputOption,
    form: FormOption = None,
    size: SizeOption = None,
    captions: CaptionsOption = None,
    loudness: LoudnessOption = None,
    quality: QualityOption = "high",
    overwrite: OverwriteOption = False,
    provenance: ProvenanceOption = True,
    certificate: CertificateOption = None,
    json: o.Json = False,
) -> None:
    """Render a timeline to a video, images or audio.

    Cuts, dissolves, fades, speed, tracks, titles, levels and ducking (docs/timeline.md). Paths in the document are
    relative to it.
    """
    from wan22.media.provenance import Marking
    from wan22.timeline import render as timeline
    from wan22.timeline.document import load
    from wan22.timeline.sources import files_beside

    with report.choose(json) as shown:
        settings = timeline.Settings(
            format=form,
            size=size,
            captions=captions,
            loudness=loudness,
            quality=quality,
            existing="replace" if overwrite else "refuse",
            marking=Marking.asked(provenance, certificate),
        )
        end = _followed(timeline.render(load(file), output, files_beside(Path(file).parent), settings), shown)
        for note in end.notes:
            shown.note(f"note: {note}")
        shown.made(end.path, end.recipe)


def _followed(steps: Iterator[Rendering | Rendered], shown: report.Report) -> Rendered:
    """Say how far it is; the last event."""
    from wan22.clock import StepCounter
    from wan22.timeline.render import Rendering

    counters: dict[str, StepCounter] = {}
    done: dict[str, int] = {}
    for step in steps:
        if not isinstance(step, Rendering):
            return step
        what = {"measure": "audio of frame", "render": "frame"}[step.stage]
        counter = counters.setdefault(step.stage, StepCounter(step.total, what, shown.log))
        counter.step(step.done - done.get(step.stage, 0))
        done[step.stage] = step.done
    raise AssertionError("a render ends with what it made")
