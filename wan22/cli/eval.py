"""`wan22 eval`: make videos by a recipe and measure them: a table, numbers and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report


def eval(
    recipe: Annotated[
        Path, typer.Argument(help="A TOML file that says what to make and measure.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where videos and results go. [default: RECIPE's name, .eval]",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what is there instead of going on.")
    ] = False,
    afresh: Annotated[bool, typer.Option("--afresh", hidden=True, help="The old name of --restart.")] = False,
    json: o.Json = False,
) -> None:
    """Make videos by a recipe, and measure them.

    How well they follow their prompts, how they move and drift, validation loss by noise band, PSNR and SSIM, and
    FID, FVD, identity and sync with extractors of your own. Stopped and started again, it goes on.
    """
    from wan22.train.evaluation.recipe import load_eval_recipe

    if afresh:
        o.renamed("--afresh", "--restart")

    with report.choose(json) as show:
        asked = load_eval_recipe(recipe, log=show.log)
        folder = output or recipe.with_suffix(".eval")

        from wan22.media.own_files import written_own
        from wan22.train.evaluation.report import plot, table
        from wan22.train.evaluation.run import evaluate

        result = evaluate(asked, folder, log=show.log, restart=afresh or restart)
        image = folder / "eval.png"
        with written_own(image) as part:
            plot(result, part)
        files = [str(folder / "eval.json"), str(image)]
        show.result(result | {"files": files}, (*table(result), "", *files))
