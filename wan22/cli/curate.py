"""`wan22 curate` and `wan22 caption`: which clips are worth training on, and a text for each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.errors import OptionError
from wan22.production.direction import KEY

Folder = Annotated[Path, typer.Argument(help="A folder of clips, however deep.", show_default=False)]


def curate(
    folder: Folder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where the numbers go. [default: FOLDER.curated]"),
    ] = None,
    min_sharpness: Annotated[
        float | None, typer.Option(metavar="F", help="Least variance of the Laplacian.")
    ] = None,
    min_motion: Annotated[
        float | None,
        typer.Option(metavar="F", help="Least motion, in widths of the image a second: 0.01 moves."),
    ] = None,
    max_motion: Annotated[float | None, typer.Option(metavar="F", help="Most motion: 1 is a blur.")] = None,
    min_brightness: Annotated[float, typer.Option(metavar="F", help="Least mean grey, 0 to 255.")] = 8.0,
    max_brightness: Annotated[float, typer.Option(metavar="F", help="Most mean grey.")] = 247.0,
    max_cuts: Annotated[int, typer.Option(metavar="N", help="Most cuts in a clip.")] = 0,
    max_text: Annotated[
        float, typer.Option(metavar="F", help="Largest share of a clip, 0 to 1, with text laid over it.")
    ] = 0.4,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep clips that look like another one.")
    ] = False,
    cut: Annotated[
        float, typer.Option(metavar="F", help="Change of colours, 0 to 1, from which it is a cut.")
    ] = 0.4,
    json: o.Json = False,
) -> None:
    """Measure the clips of a folder and list those worth training on; nothing is deleted or moved.

    Sharpness, motion, brightness, cuts, duplicates and overlaid text. Writes curate.json, curate.png and kept.jsonl,
    which a recipe takes as its source. See docs/curation.md.
    """
    from wan22.media.output_paths import check_output
    from wan22.media.own_files import check_own
    from wan22.train.data.curate import CHART, KEPT, NUMBERS, Thresholds, write
    from wan22.train.data.curate import curate as look

    asked = Thresholds(
        min_sharpness=min_sharpness,
        min_motion=min_motion,
        max_motion=max_motion,
        min_brightness=min_brightness,
        max_brightness=max_brightness,
        max_cuts=max_cuts,
        max_text=max_text,
        duplicates=keep_duplicates,
    )
    out = output or Path(f"{os.path.normpath(folder)}.curated")
    check_output(f"{out}/", bytes_needed=1 << 20)
    check_own(out, (NUMBERS, KEPT, CHART))
    with report.choose(json) as show:
        found, files = look(folder, asked, cut=cut, log=show.log), []
        try:
            files = [str(file) for file in write(found, out)]
        finally:  # measuring takes long: its numbers are shown, whatever became of the files
            show.result(found.to_json() | {"files": files}, (*found.table(), *("", *files) * bool(files)))


def caption(
    folder: Folder,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help=f"A chat server of the OpenAI form that sees images (its key: ${KEY})."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The server's model, if it has several; without a server, a vision model's folder or hub name, which "
            "is run here.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(metavar="N", help="Images of each clip that are shown.")] = 6,
    language: Annotated[str, typer.Option(metavar="L", help="Language of the texts: en or zh.")] = "en",
    hint: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What all clips have in common, such as a name to use.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write texts anew that are there.")] = False,
    timeout: Annotated[float, typer.Option(metavar="S", help="Seconds that an answer may take.")] = 120.0,
    json: o.Json = False,
) -> None:
    """Write what is seen in each clip into a .txt beside it, for clips that have none.

    Stopped and started again, it goes on. What fails is said, and the others go on. See docs/curation.md.
    """
    from wan22.train.data.captioner import CaptionSettings, caption_folder, local_captioner, server_captioner

    if server is None and model is None:
        raise OptionError("name who looks: --server URL, or --model with a vision model's folder or hub name")
    asked = CaptionSettings(frames=frames, language=language, hint=hint)
    captioner = (
        local_captioner(str(model))
        if server is None
        else server_captioner(server, model, key=os.environ.get(KEY), timeout=timeout)
    )
    with report.choose(json) as show:
        done = caption_folder(folder, captioner, asked, overwrite=overwrite, log=show.log)
        show.result(done.to_json(), done.lines())
    if done.failed:
        raise typer.Exit(1)
