"""Distil a model into adapters that make its videos in a few steps and without guidance.

The teacher's way from noise to video, with guidance, is cut into as many phases as the student may take steps (Phased
Consistency Models, Wang et al. 2024, arXiv:2405.18407, section 3.2). In each phase the student learns to go in one step
from wherever the teacher was to where it came at the phase's end:

    v*(x_i) = (x_i - x_end) / (sigma_i - sigma_end)
    loss    = ((sigma_i - sigma_end) / (sigma_start - sigma_end))^2  |v(x_i, sigma_i) - v*|^2

which is the error of the end that is predicted, in units of the phase. The teacher's own states take the place of a
consistency target; its guidance is in them, as in Latent Consistency Models (Luo et al. 2023, arXiv:2310.04378, section
4.3). A phase lies on one side of the experts' boundary, so each expert has an adapter that sees its phases alone.

Later phases also start from where the student itself comes, so that it learns to make good its own errors.

    FOLDER/run.json   trajectories/   checkpoints/   own/ (where the student hands over to the next expert)
    FOLDER/fast/      the adapters and fast.json, by `export`

The same command goes on after any end; a step draws its randomness from the seed, the expert and its number alone.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from wan22.atomic import write_copy
from wan22.catalog import from_json
from wan22.engine import Engine
from wan22.errors import CheckpointError, OptionError, choose
from wan22.files import read_json, reading
from wan22.library import Model
from wan22.request import Job, resolve
from wan22.train.checkpoint import check_new, write_json
from wan22.train.distill.student import DistillRecipe, Student
from wan22.train.distill.trajectories import check_teacher, record
from wan22.train.log import Log
from wan22.train.recipe import OLD_NAMES
from wan22.train.settings import present_names
from wan22.types import Request
from wan22.weights.fingerprint import fingerprint

__all__ = ["STAGES", "DistillRecipe", "distill", "ship"]

STAGES = ("record", "learn", "export")

_DISTIL_AGAIN = "Distil that model again."
_OLD_NAMES = {
    "at_start": "start_share",
    "own": "student_start_share",
    "save": "checkpoint_every",
    "tell": "log_every",
    "pictured": "image_share",
    "still": "single_image_share",
    "main": "main_size_share",
    **{
        old.partition(".")[2]: new.partition(".")[2]
        for old, new in OLD_NAMES.items()
        if old.startswith("optimiser.")
    },
}
"""Settings of a recipe by the names that they had in `run.json` of earlier versions."""


def distill(
    engine: Engine,
    prompts: Sequence[str],
    recipe: DistillRecipe,
    folder: Path,
    *,
    stage: str = "all",
    log: Log,
    minutes: float | None = None,
) -> Path | None:
    """Run a stage, or all; return the folder of the adapters, or None if `minutes` have passed before the end.

    Raises OptionError for a model or recipe that cannot be, CheckpointError if the folder is of another run or what a
    stage needs is not there.
    """
    until = None if minutes is None else time.monotonic() + minutes * 60
    wanted = STAGES if stage == "all" else (choose("stage", stage, STAGES),)
    check_teacher(engine)
    student = Student(engine, recipe, folder, _job(engine, recipe, prompts), log)
    _claim(folder, engine, recipe, prompts)
    if "record" in wanted and not record(
        engine, prompts, recipe.recording, folder / "trajectories", log=log, until=until
    ):
        log("the time is over; run again to go on recording")
        return None
    if "learn" in wanted:
        for name in engine.variant.experts:
            if not student.learn(name, until):
                log(f"the time is over; run again to go on with the expert {name!r}")
                return None
    return student.export() if "export" in wanted else None


def ship(made: Path, model: Model) -> None:
    """Put adapters that `distill` made into the folder of the model that they were made for, and say so in its row.

    Raises CheckpointError if they are not whole, were made for other weights, or the folder has no row of its own.
    """
    if not (made / "fast.json").is_file():
        raise CheckpointError(f"there is no {made / 'fast.json'}: distil to the end first")
    row_file = model.parts[model.variant.experts[0]].parent / "variant.json"
    if not row_file.is_file():
        raise CheckpointError(
            f"there is no {row_file} that could say that {model.name} ships adapters; give them by --lora instead"
        )
    said, values = read_json(made / "fast.json", CheckpointError), read_json(row_file, CheckpointError)
    with reading(made / "fast.json", CheckpointError, "is damaged", _DISTIL_AGAIN):
        files = {str(expert): str(file) for expert, file in said["loras"].items()}
    for expert, file in files.items():
        with reading(made / file, CheckpointError, "is damaged", _DISTIL_AGAIN):
            with safe_open(made / file, "pt") as tensors:
                made_for = json.loads(tensors.metadata()["wan22.weights"])
            marks = {part: made_for[part] for part in (expert, "text")}
        for part, mark in marks.items():
            if mark != fingerprint(model.parts[part]):
                raise CheckpointError(
                    f"{made / file} was made for other weights than {model.parts[part]}; distil that model again"
                )
    from_json({**{name: value for name, value in values.items() if name != "parts"}, "fast": said})
    for file in files.values():
        write_copy(row_file.parent / file, made / file)
    write_json(row_file, values | {"fast": said})


def _job(engine: Engine, recipe: DistillRecipe, prompts: Sequence[str]) -> Job:
    """What the teacher does; its schedule is the same for all trajectories."""
    if not prompts:
        raise OptionError("a student learns from prompts, and none are given")
    return resolve(Request(prompt=prompts[0], steps=recipe.recording.steps), engine.variant)


def _present(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe in `run.json` by the names of today."""
    return {
        name: present_names(value, _OLD_NAMES) if isinstance(value, dict) else value
        for name, value in present_names(recipe, _OLD_NAMES).items()
    }


def _claim(folder: Path, engine: Engine, recipe: DistillRecipe, prompts: Sequence[str]) -> None:
    """Begin a run in a folder, or go on with it. Raises CheckpointError if it is of another teacher or recipe."""
    fixed = replace(recipe, checkpoint_every=0, log_every=0)
    facts = {"weights": engine.weights, "recipe": asdict(fixed), "prompts": list(prompts)}
    facts = json.loads(json.dumps(facts))
    path = folder / "run.json"
    if not path.is_file():
        check_new(folder, ("own", "checkpoints", "fast"))  # trajectories may be copied from another run
        write_json(path, facts)
        return
    there = read_json(path, CheckpointError, remedy=f"Remove {folder} to begin anew.")
    if isinstance(recipe_there := there.get("recipe"), dict):
        there["recipe"] = _present(recipe_there)
    different = [name for name, value in facts.items() if there.get(name) != value]
    if different:
        raise CheckpointError(
            f"{folder} holds a run with other {' and '.join(different)}; take another folder, or remove that one"
        )
