"""`wan22 export`: a timeline for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report


def export(
    file: Annotated[
        str, typer.Argument(metavar="TIMELINE", help="A timeline's document, such as cut.json.", show_default=False)
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE",
            help="cut.otio, cut.otioz (with its media), cut.xml (FCP7: Premiere, Resolve), cut.fcpxml (Final Cut Pro), "
            "cut.edl, cut.srt, cut.vtt, cut.ass.",
            show_default=False,
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="otio, otioz, fcp7, fcpxml, edl, srt, vtt, ass. [default: what the name says]",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace files of the name that -o gives.")
    ] = False,
    json: o.Json = False,
) -> None:  # fmt: skip
    """Write a timeline for an editor: OpenTimelineIO, FCP7 XML, FCPXML, EDL, or its captions.

    What a format cannot hold is said in notes (docs/timeline.md).
    """
    from wan22.timeline.document import load
    from wan22.timeline.interchange.export import export_timeline, format_of
    from wan22.timeline.places import files_of

    name = format_of(output, form)
    made = export_timeline(load(file), Path(output), name, files_of(Path(file).parent), replace=overwrite)
    show = report.answer(json)
    for note in made.notes:
        show.note(f"note: {note}")
    files = [str(path) for path in made.files]
    show.result({"format": name, "files": files, "notes": list(made.notes)}, files)
