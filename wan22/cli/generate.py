"""`wan22 generate` and `wan22 decode`: from words, images and audio on the command line to a video."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

import typer

from wan22.catalog import ALIASES, NANO_SPEECH, variant_names
from wan22.cli import options as o
from wan22.cli import report
from wan22.errors import OptionError, choose
from wan22.fields import DECODE, VIDEO
from wan22.production.audio import AudioOptions
from wan22.production.direction import Direction
from wan22.production.publish import LATENTS_SUFFIX, Target, place_of, publish, read_latents
from wan22.production.rerender import find_kept_audio
from wan22.production.work import Machine, Takes, Work, check_place, make


@o.takes(VIDEO)
def generate(given: o.Given) -> None:
    """Make a video from a prompt, images, a video, or audio.

    A video longer than the model makes at once is made in clips; interrupted, the same command goes on after the last
    finished one.

    Prints the path of the file; progress goes to stderr. What is left out is the model's own default: see
    `wan22 models NAME`.
    """
    work = as_work(given, ".mp4")
    task = check_task(given["task"], work.audio, work.files)
    own = work.machine.model is None and work.source is None and not work.machine.whole
    model = NANO_SPEECH if own and task == "s2v" else work.machine.model
    work = replace(work, machine=replace(work.machine, model=model, task=task))
    with report.choose(given["json"]) as show:
        make(work, show)


def as_work(given: o.Given, suffix: str) -> Work:
    """What was typed as a piece of work; `suffix` is that of the file it makes, if no name is given."""
    return Work(
        given=given.request(),
        files=given.files(),
        source=given["source"],
        output=given["output"],
        suffix=suffix,
        machine=machine(given),
        quality=given["quality"] or "high",
        codec=given["codec"],
        count=given["count"],
        overwrite=given["overwrite"],
        audio=AudioOptions(
            given["audio"], given["say"], given["audio_start"], given["seconds"], given["speaker"], given["voice"],
            given["language"], given["voice_sample"],
        ),
        restart=bool(given["restart"]),
        loras=given["lora"],
        direction=Direction(**{field.name: given[field.name] for field in fields(Direction)}),
        takes=Takes(given["best_of"], bool(given["keep_takes"])),
        calibrate=given["calibrate"],
    )  # fmt: skip


def machine(given: o.Given) -> Machine:
    """With what to work, as typed."""
    return Machine(given["model"], given.engine(), given.parts())


TASKS = ("t2v", "i2v", "v2v", "s2v")


def check_task(task: str | None, audio: AudioOptions, files: dict[str, str]) -> str:
    """The task that the options ask for. Raises OptionError if another one is named."""
    has_image = "image" in files or "last_image" in files
    asked = "s2v" if audio.given else "v2v" if "video" in files else "i2v" if has_image else "t2v"
    if task is not None and task not in TASKS and task in (*ALIASES, *variant_names()):
        raise OptionError(
            f"--task {task} is a model here: --model {task}. What is made follows from what is given"
        )
    if task is None or choose("task", task, TASKS) == asked:
        return asked
    needs = {
        "s2v": "an audio file: --audio FILE, or --say TEXT",
        "v2v": "a clip: --video FILE",
        "i2v": "an image: --image FILE",
        "t2v": "a prompt alone",
    }
    raise OptionError(f"--task {task} takes {needs[task]}; what is given asks for {asked}")


@o.takes(DECODE)
def decode(
    given: o.Given,
    latents: Annotated[str, typer.Argument(help=f"A file OUTPUT{LATENTS_SUFFIX}.", show_default=False)],
) -> None:
    """Finish a video from latents that were kept.

    They are kept beside the output while a video is decoded, and stay if that fails or is cancelled.
    """
    tensors, recipe, intended = read_latents(latents)
    target = _decoded(given, latents, intended)
    check_place(target, recipe["size"], recipe["frames"])
    with report.choose(given["json"]) as show:
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


def _decoded(given: o.Given, latents: str, intended: str) -> Target:
    """Where a video from kept latents goes: beside them, if nothing is said."""
    from wan22.media.output_paths import place

    asked = given["output"]
    default = place_of(latents, intended) if asked is None or Path(asked).is_dir() else asked
    path, existing = place(asked, default, overwrite=given["overwrite"], latents=False)
    return Target(path, given["quality"], given["codec"], existing)
