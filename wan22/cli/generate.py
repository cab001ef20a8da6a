"""`wan22 generate` and `wan22 decode`: from words, images and audio on the command line to a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wan22.cli import options as o
from wan22.cli import remote, report
from wan22.fields import DECODE, VIDEO
from wan22.production.options import as_work, machine, marking
from wan22.production.publish import LATENTS_SUFFIX, Target, place_of, publish, read_latents
from wan22.production.rerender import find_kept_audio
from wan22.production.work import check_place, make
from wan22.production.workflow import resolved


@o.takes(VIDEO)
def generate(given: o.Given) -> None:
    """Make a video from a prompt, images, a video, or audio.

    A video longer than the model makes at once is made in clips; interrupted, the same command goes on after the last
    finished one.

    Prints the path of the file; progress goes to stderr. What is left out is the model's own default: see
    `wan22 models NAME`.
    """
    if remote.is_remote(given):
        remote.make(given, "video")
        return
    work = resolved(as_work(given))
    with report.choose(given["json"]) as show:
        make(work, show)


@o.takes(DECODE)
def decode(
    given: o.Given,
    latents: Annotated[str, typer.Argument(help=f"A file OUTPUT{LATENTS_SUFFIX}.", show_default=False)],
) -> None:
    """Finish a video from latents that were kept.

    They are kept beside the output while a video is decoded, and stay if that fails or is cancelled.
    """
    tensors, recipe, intended = read_latents(latents)
    target = _decoded(given, latents, intended, recipe.get("label"))
    check_place(target, recipe["size"], recipe["frames"])
    with report.choose(given["json"]) as show:
        target.check_marks(show)
        target.check_label(tuple(recipe["size"]))
        if given["output"] is None and Path(intended) != Path(place_of(latents, intended)):
            show.note(f"the file names {intended}, a path that is not followed; -o says another place")
        engine = machine(given).load(recipe)
        publish(
            engine.decode_latents(tensors, recipe),
            target,
            show,
            size=tuple(recipe["size"]),
            fps=recipe["fps"],
            audio=find_kept_audio(recipe, latents, target.path, show),
        )
        show.note(f"{latents} is no longer needed")


def _decoded(given: o.Given, latents: str, intended: str, label: str | None) -> Target:
    """Where a video from kept latents goes: beside them, if nothing is said."""
    from wan22.media.output_paths import place

    asked = given["output"]
    default = place_of(latents, intended) if asked is None or Path(asked).is_dir() else asked
    path, existing = place(asked, default, overwrite=given["overwrite"], latents=False)
    return Target(path, given["quality"], given["codec"], existing, marking=marking(given), label=label)
