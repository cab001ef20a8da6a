"""The commands of `wan22`, in the order in which the help lists them."""

from functools import cache
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from wan22.cli.curate import caption, curate
from wan22.cli.data import data
from wan22.cli.direct import extend, vocabulary
from wan22.cli.doctor import doctor
from wan22.cli.drift import drift
from wan22.cli.eval import eval
from wan22.cli.export import export
from wan22.cli.generate import decode, generate
from wan22.cli.help import GroupedCommand, GroupedCommands
from wan22.cli.image import image
from wan22.cli.jobs import jobs
from wan22.cli.measure import measure
from wan22.cli.models import download, models
from wan22.cli.plan import plan
from wan22.cli.preprocess import preprocess
from wan22.cli.render import render
from wan22.cli.serve import serve
from wan22.cli.show import show
from wan22.cli.storyboard import storyboard
from wan22.cli.studio import studio
from wan22.cli.timeline import timeline
from wan22.cli.train import train
from wan22.cli.weights import convert, inspect, verify

HELP = {"help_option_names": ["--help", "-h"]}
"""Said of every command too: it keeps the names that the first who asks it makes known."""

app = typer.Typer(
    name="wan22",
    help='Make videos with the Wan2.2 family of video models: wan22 generate "a red ball bounces at sunset"',
    no_args_is_help=True,
    cls=GroupedCommands,
    context_settings=HELP,
    rich_markup_mode=None,  # plain help starts three times as fast
)

COMMANDS = {
    "Make": (generate, image, storyboard, preprocess, decode, vocabulary, extend),
    "Edit": (timeline, render, export),
    "Models": (models, plan, download, inspect, convert, verify),
    "Train": (train, curate, caption),
    "Serve": (studio, serve),
    "Look": (show, measure, drift, eval, doctor),
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(cls=GroupedCommand, rich_help_panel=panel, context_settings=HELP)(command)
app.add_typer(data, name="data", rich_help_panel="Train", context_settings=HELP)
app.add_typer(jobs, name="jobs", rich_help_panel="Serve", context_settings=HELP)


def _version(wanted: bool) -> None:
    if wanted:
        from wan22 import __version__

        typer.echo(f"wan22 {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hold what comes before the command."""


@cache
def program() -> TyperGroup:
    """All commands as they are run, built once: that takes longer than to read a command line with them."""
    built = get_command(app)
    assert isinstance(built, TyperGroup)
    return built
