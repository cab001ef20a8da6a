"""`wan22 timeline`: a first cut of videos or of a storyboard, or an editor's file, as a timeline's document."""

from __future__ import annotations

import json as jsonlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.errors import OptionError, OutputError

if TYPE_CHECKING:
    from wan22.timeline.cut import Wanted
    from wan22.timeline.items import Timeline

_IMPORTED = (".otio", ".otioz", ".xml")


def timeline(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Videos, images and audio in order; or a storyboard's board.json or folder; or an editor's .otio, "
            ".otioz or .xml (FCP7).",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="JSON", help="The document, such as cut.json.", show_default=False),
    ],
    dissolve: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Dissolve from each video to the next, for N frames.")
    ] = 0,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="F", help="Frames a second: 24, 29.97, 30000/1001. [default: those of the first video]"
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size in pixels. [default: that of the first video]")
    ] = None,
    media: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER", help="Where else the media of an editor's file may lie; can be given again."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace a file of the name that -o gives.")
    ] = False,
    json: o.Json = False,
) -> None:  # fmt: skip
    """Write a timeline's document: a first cut of videos, or what an editor made.

    Paths in it are relative to it. `wan22 render` makes it a video, `wan22 export` gives it to editors.
    """
    target = Path(output)
    if target.suffix.lower() != ".json":
        raise OutputError(f"-o {output}: a timeline's document is a .json file, such as cut.json")
    if target.is_dir() or (target.exists() and not overwrite):
        raise OutputError(f"{output} exists already. Choose another name, or say --overwrite.")
    found, notes = _made(files, target, _wanted(dissolve, fps, size), media or [])
    from wan22.atomic import written
    from wan22.timeline.document import dump, read

    document = dump(read(dump(found)))
    with written(target, replace=overwrite) as part:
        part.write_text(jsonlib.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")
    clips = sum(1 for _ in found.clips())
    seconds = round(float(found.length / found.fps), 3)
    show = report.answer(json)
    for note in notes:
        show.note(f"note: {note}")
    values = {"path": output, "clips": clips, "seconds": seconds, "notes": list(notes)}
    show.result(
        values, (f"{output}: {clips} clips, {seconds:g} s at {float(found.fps):.5g} frames a second",)
    )


def _made(
    files: list[str], target: Path, wanted: Wanted, folders: list[str]
) -> tuple[Timeline, tuple[str, ...]]:
    """The timeline that was asked for, and what of the files is not in it."""
    from wan22.files import check_file
    from wan22.timeline.cut import cut_of_board, cut_of_files, is_board
    from wan22.timeline.places import Folders, kept_beside

    base, first = target.parent, Path(files[0]).expanduser()
    if len(files) == 1 and is_board(first):
        made = cut_of_board(first, base, wanted)
        return made.timeline, made.notes
    if not any(Path(file).suffix.lower() in _IMPORTED for file in files):
        return cut_of_files(files, base, wanted, target.stem), ()
    if len(files) > 1:
        raise OptionError("an editor's file makes a timeline by itself: give it alone, without other files")
    if wanted.dissolve or wanted.rate or wanted.size:
        raise OptionError(
            "--dissolve, --fps and --size are for a cut of videos; an editor's file has its own"
        )
    from wan22.timeline.interchange.export import import_timeline

    check_file(first)
    places = Folders([first.parent, *(Path(folder) for folder in folders)], base)
    made = import_timeline(first, places, places.look, lambda name, stream: kept_beside(target, name, stream))
    return made.timeline, made.notes


def _wanted(dissolve: int, fps: str | None, size: str | None) -> Wanted:
    from wan22.timeline.cut import Wanted
    from wan22.timeline.interchange.common import exact_rate

    rate = None
    if fps is not None:
        try:
            rate = Fraction(fps) if "/" in fps else exact_rate(float(fps))
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if not 1 <= rate <= 240:
            raise OptionError(f"--fps {fps}: frames a second are 1 to 240, such as 24, 29.97 or 30000/1001")
    return Wanted(dissolve, rate, o.parse_size(size))
