"""`wan22 data`: look at training data before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.help import GroupedCommand, GroupedCommands
from wan22.errors import OptionError


class Surveyed(GroupedCommands):
    """`wan22 data FOLDER` is `wan22 data survey FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command before what is none."""
        named = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if named else ["survey", *args])


data = typer.Typer(
    help="Look at training data before anything is trained: wan22 data FOLDER",
    no_args_is_help=True,
    cls=Surveyed,
)


@data.callback()
def group() -> None:
    """Hold what comes before the command."""


@data.command(cls=GroupedCommand)
def survey(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders of clips with .txt files, tables (.csv, .jsonl), dataset files (.toml), or clips.",
            show_default=False,
        ),
    ],
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Size to train at; other shapes get buckets of its area.")
    ] = "832x480",
    frames: Annotated[
        str, typer.Option(metavar="N,N", help="Lengths to train, 4n + 1 frames (4n with audio).")
    ] = "81",
    fps: Annotated[float, typer.Option(metavar="F", help="Frames a second to train at.")] = 16.0,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FOLDER", help="Where report.html and report.json go.")
    ] = "data-report",
    json: o.Json = False,
) -> None:
    """Say what would be trained, at which size and length, and what is wrong with the rest.

    No model is needed. Writes a page with three images of every clip. See docs/data.md.
    """
    from wan22.media.output_paths import check_output
    from wan22.media.own_files import check_own
    from wan22.train.data import DataPlan, write_report
    from wan22.train.data import survey as look
    from wan22.train.data.report import HTML, JSON, as_json

    wanted = o.parse_size(size)
    assert wanted is not None
    plan = DataPlan(tuple(Path(source) for source in sources), wanted, parse_frames(frames), fps)
    check_output(f"{Path(output)}/", bytes_needed=1 << 20)
    check_own(Path(output), (HTML, JSON))
    with report.choose(json) as show:
        found, pages = look(plan, show.log), []
        try:
            pages = [str(write_report(found, Path(output)))]
        finally:  # what was seen is shown, whatever became of the files
            show.result(as_json(found) | {"files": pages}, (*found.table(), *("", *pages) * bool(pages)))


def parse_frames(text: str) -> tuple[int, ...]:
    """Read "81" or "1,33,81". Raises OptionError for any other form."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"frames must be whole numbers with commas, such as 1,33,81, not {text!r}"
        ) from None
