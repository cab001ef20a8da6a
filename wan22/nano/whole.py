"""The embedded model's whole recipe in so many minutes: `python -m wan22.nano all --minutes 8 --device cuda`.

Each part is tried for a moment, and does as much as its share of the time allows (sizing.py); what one takes longer,
the later ones have less. Every part goes on where it was stopped. The film set is drawn on the device, captions are
composed ahead by all cores, and latents lie on the device, so that nothing waits for data.

    FOLDER/plan.json    how much each part does, decided once    FOLDER/model/    the finished model
    FOLDER/...          what the stages leave (stages.py)        FOLDER/fast/     its adapters for few steps
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wan22.atomic import temporary_folder, write_copy, written_folder
from wan22.engine import load
from wan22.errors import CheckpointError, OutputError
from wan22.files import read_json
from wan22.library import open_model
from wan22.nano import stages
from wan22.nano.recipes import nano, nano_fast
from wan22.nano.run import Run, Size
from wan22.nano.sizing import PARTS, Part, Plan, open_plan
from wan22.stage.labels import sample
from wan22.stage.render import render
from wan22.train.distill import distill, ship
from wan22.train.evaluation.recipe import Bands, EvalRecipe
from wan22.train.evaluation.run import evaluate
from wan22.train.log import Log

CLIPS = sum(videos.count for videos in (nano.SMALL, *nano.VIDEOS, *nano.REWARD_MODEL_VIDEOS[1:]))
"""Clips of the whole recipe, of all sizes together."""
_CAPTIONS = 8
_READ = 100
_TRIED = 0.005
"""The share of all the time for which a part is tried."""


def make(
    folder: Path,
    minutes: float,
    device: torch.device,
    *,
    log: Log,
    export: Path | None = None,
    parts: tuple[Part, ...] = PARTS,
    each: Callable[[str, Run], float] | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Path:
    """Make the model in about so many minutes, or go on; return its folder, and copy it to `export`.

    `each` tells how many seconds a unit of a part takes; by default it is tried. Raises OptionError for minutes that
    are not those of the run that is in the folder, OutputError for an `export` that would replace something else.
    """
    if export is not None:
        _check_place(export)
    path = folder / "plan.json"
    plan = open_plan(path, minutes)
    each = each or partial(tried, seconds=max(0.5, minutes * 60 * _TRIED), now=now)
    for part in parts:
        if plan.is_done(part.name):
            continue
        began = now()
        if part.name not in plan.parts:
            seconds = each(part.name, _run(folder, log, device, plan)) if part.unit else 0.0
            plan = plan.sized(part, seconds, parts)
            plan.write(path)
        log(_line(part, plan))
        _do(part.name, _run(folder, log, device, plan), plan)
        plan = plan.finished(part.name, now() - began)
        plan.write(path)
    for line in comparison(folder):
        log(line)
    if export is not None:
        _export(folder / "model", export)
        log(f"the model is in {export}")
    return folder / "model"


def _line(part: Part, plan: Plan) -> str:
    known = plan.parts[part.name]
    return f"part {part.name}" + (
        f": {known.units} {part.unit}, {known.each:.4f} s each" if part.unit else ""
    )


def _run(folder: Path, log: Log, device: torch.device, plan: Plan) -> Run:
    """The run as far as the plan has sizes for it."""
    gpu = device.type != "cpu"
    steps = {name: done.units for name, done in plan.parts.items()}
    size = Size(
        steps=steps,
        videos=steps.get("clips", CLIPS) / CLIPS,
        batch=4 if gpu else 1,
        captions=_CAPTIONS,
        processes=(os.cpu_count() or 1) if gpu else 0,
        read=_READ,
        compiled=False,  # to compile takes longer than it saves in minutes
    )
    return Run(folder, log, device=device, size=size)


def _do(name: str, run: Run, plan: Plan) -> None:
    if name == "fast":
        _fast(run, plan.units(name))
    elif name == "compare":
        _compare(run, plan.units(name))
    else:
        stages.do(name, run)


def tried(name: str, run: Run, *, seconds: float, now: Callable[[], float]) -> float:
    """How long a unit of a part takes: it is done for so many seconds, and nothing of it is kept."""
    quiet = replace(run, log=lambda line: None)
    if name == "clips":
        return _tried_clips(quiet, now)
    with temporary_folder(run.folder / "tried") as place:
        if name == "fast":
            began = now()
            _distil(quiet, 2, place, "record")
            return (now() - began) / 2 / 0.4  # what is learned from them takes longer than to record them
        if name == "compare":
            began = now()
            evaluate(_asked(run, "nano", 1), place / "compare", log=quiet.log)
            return 2 * (now() - began)
        size = replace(run.size, steps={**run.size.steps, name: 10**6}, read=1)
        state = stages.do(name, replace(quiet, size=size, tried=place, minutes=seconds / 60))
    assert state is not None
    return state.pace


def _tried_clips(run: Run, now: Callable[[], float]) -> float:
    first, count = nano.VIDEOS[0], 4 if run.device.type == "cpu" else 128
    draw = partial(
        render, sample(count, seed=0), height=first.height, width=first.width, frames=nano.FRAMES, device=run.device
    )  # fmt: skip
    draw().cpu()
    began = now()
    draw().cpu()
    return (now() - began) / count


def _fast(run: Run, count: int) -> None:
    """Adapters for few steps, learned from the model that was just made, and put beside it."""
    if _distil(run, count, run.folder / "few-steps", "all") is not None:
        ship(run.folder / "few-steps" / "fast", open_model(str(run.folder / "model")))


def _distil(run: Run, count: int, folder: Path, stage: str) -> Path | None:
    recipe = nano_fast.recipe()
    steps = max(10, recipe.optimiser.steps * count // recipe.recording.count)
    made = replace(
        recipe,
        recording=replace(recipe.recording, count=count),
        optimiser=replace(recipe.optimiser, steps=steps, warmup=min(recipe.optimiser.warmup, steps // 5)),
    )
    teacher = load(str(run.folder / "model"), device=str(run.device))
    return distill(teacher, nano_fast.prompts(count), made, folder, stage=stage, log=run.log)


def _asked(run: Run, model: str, count: int) -> EvalRecipe:
    return EvalRecipe(model=model, count=count, device=str(run.device), loss=Bands(clips=count))


def _compare(run: Run, count: int) -> None:
    """Measure the model that ships and the one that was made, on the same held-out prompts."""
    for name, model in _compared(run.folder).items():
        evaluate(_asked(run, model, count), run.folder / "compare" / name, log=run.log)


def _compared(folder: Path) -> dict[str, str]:
    return {"shipped": "nano", "made": str(folder / "model")}


def comparison(folder: Path) -> list[str]:
    """How the model that was made compares with the one that ships, on the same held-out prompts."""
    shipped, made = (
        read_json(folder / "compare" / name / "eval.json", CheckpointError) for name in _compared(folder)
    )
    rows = [("as asked", "{:.1%}", *(_as_asked(side) for side in (shipped, made)))]
    rows.append(("VAE there and back, dB", "{:.2f}", shipped["vae"]["psnr"], made["vae"]["psnr"]))
    before, after = (side["loss"]["by_expert"] for side in (shipped, made))
    rows += [(f"loss of the expert {name}", "{:.4f}", before[name], after[name]) for name in before]
    lines = [f"{'':28} {'shipped':>10} {'made':>10}   ({made['videos']} held-out prompts)"]
    lines += [f"{what:28} {form.format(old):>10} {form.format(new):>10}" for what, form, old, new in rows]
    return [
        *lines,
        "So few videos show a gross fault and no more. To decide: "
        f"python -m bench.quality --count 200 --vae --model {folder / 'model'}",
    ]


def _as_asked(result: dict[str, Any]) -> float:
    rows = result["adherence"].values()
    return sum(row["matches"] for row in rows) / max(1, sum(row["of"] for row in rows))


def _check_place(folder: Path) -> None:
    """Raise OutputError for a place that holds something and no model."""
    if folder.exists() and not (folder / "variant.json").is_file():
        if not folder.is_dir() or any(folder.iterdir()):
            raise OutputError(
                f"{folder} holds something that is no model. Name another folder with --export."
            )


def _export(model: Path, target: Path) -> None:
    """Copy a model; of a model that is there, files of the same names go, and others stay."""
    names = {entry.name for entry in model.iterdir()}
    with written_folder(target, replace=lambda entry: entry.name in names) as part:
        for name in names:
            write_copy(part / name, model / name)
