"""`wan22 train`: train a model's experts on one's own videos, by a recipe."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.errors import OptionError
from wan22.fields import TRAIN

if TYPE_CHECKING:
    from wan22.parallel.group import Team
    from wan22.train.recipe import Recipe

CANCELLED = 130


@o.takes(TRAIN)
def train(
    given: o.Given,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe: a TOML file.", show_default=False)
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Look at recipe, model and videos, show the plan, and stop.")
    ] = False,
    steps: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Steps of each expert, or by name: high=900,low=300. [default: the recipe's]",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M", help="Stop after so many minutes; the same command goes on.", show_default=False
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="D", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    gpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="So many devices train together (docs/scaling.md). [default: 1; under torchrun all]",
            show_default=False,
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Train both experts on your own videos, by a recipe.

    One run trains both, each on its own side of the noise, and makes a LoRA pair or a whole model. It goes on after any
    end with the same command; Ctrl-C saves first. Prints the path of what was made; progress goes to stderr. See
    docs/training.md.
    """
    from wan22.train.recipe import read_recipe

    team = _team(device, gpus)
    if team is not None and team.follows:
        from wan22.parallel.group import run_follower
        from wan22.train.together import follow

        run_follower(team.begin(""), follow)
        return
    with _leading(team), report.choose(json) as show:
        if minutes is not None and not minutes > 0:
            raise OptionError(f"--minutes {minutes:g} should be more than 0")
        read = _lengthened(_with_files(read_recipe(recipe, log=show.log), given.parts()), steps)
        from wan22.train.plan import make_plan
        from wan22.train.run import train as run

        if check:
            ranks, place = (1, device) if team is None else (team.size, team.places[0])
            plan = make_plan(read, place, show.log, ranks)
            show.result(plan.as_json(), plan.lines())
            return
        with _asked_to_stop(show) as stop:
            if team is None:
                outcome = run(read, device=device, minutes=minutes, log=show.log, stop=stop)
            else:
                from wan22.train.together import train_together

                outcome = train_together(team, read, minutes=minutes, log=show.log, stop=stop)
        if outcome.made is None:
            done = ", ".join(f"{name} {step}" for name, step in outcome.steps.items())
            show.note(f"saved at step {done}; the same command goes on")
        made = None if outcome.made is None else str(outcome.made)
        values = {"end": outcome.end, "steps": dict(outcome.steps), "path": made}
        show.result(values, () if made is None else (made,))
    if outcome.end == "stopped":
        raise typer.Exit(CANCELLED)


def _team(device: str, gpus: int | None) -> Team | None:
    """The devices that are asked for, or that torchrun made; None: one alone."""
    if gpus is None and "+" not in device and os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    from wan22.parallel.group import Team
    from wan22.parallel.places import world

    made = world()
    return Team.of(device, made.size if gpus is None and made is not None else gpus, None)


def _leading(team: Team | None) -> AbstractContextManager[None]:
    """The other ranks of torchrun's, if there are any, end with the command."""
    if team is None or team.world is None:
        return nullcontext()
    from wan22.parallel.group import leading

    return leading()


def _with_files(recipe: Recipe, parts: dict[str, str]) -> Recipe:
    """The recipe with the files that the command line names, whose paths are meant from here."""
    there = {part: str(Path(path).expanduser().absolute()) for part, path in parts.items()}
    return replace(recipe, model=replace(recipe.model, **there))


def _lengthened(recipe: Recipe, asked: str | None) -> Recipe:
    """The recipe with the steps that the command line asks for: a number, or some for experts by name."""
    from wan22.train.recipe import EXPERTS, StepsPart, check_together

    if asked is None:
        return recipe
    rows = [part.rpartition("=") for part in asked.replace(" ", "").split(",")]
    if not all(said.isdecimal() and int(said) >= 1 for _, _, said in rows):
        raise OptionError(
            f"--steps {asked} should be a whole number from 1, or some by expert: high=900,low=300"
        )
    named = {expert: int(said) for expert, _, said in rows}
    if len(named) < len(rows) or not named.keys() <= ({""} if "" in named else set(EXPERTS)):
        raise OptionError(f"--steps {asked} should name each expert once; known: {', '.join(EXPERTS)}")
    steps = named[""] if "" in named else StepsPart(**named)
    changed = replace(recipe, optimiser=replace(recipe.optimiser, steps=steps))
    check_together(changed)
    return changed


@contextmanager
def _asked_to_stop(show: report.Report) -> Generator[Callable[[], bool]]:
    """Lend a function that says whether Ctrl-C (or SIGTERM) asked for an end; the second one ends at once."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        show.note("stopping after this step; once more to stop at once")

    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread may listen to signals
        return
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield asked.is_set
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
