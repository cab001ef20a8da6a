"""`wan22 doctor`: what this machine has, which models are here, what fits, and whether the embedded model works."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.catalog import rows
from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.catalogue import gigabytes
from wan22.cli.models import here_in_words, locate
from wan22.cli.plan import request_of
from wan22.production.planned import model_of

if TYPE_CHECKING:
    from wan22.memory.plan import Plan


def doctor(
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Make a tiny video with the embedded model.")
    ] = True,
    json: o.Json = False,
) -> None:
    """Examine this machine and test the engine.

    Versions, devices, memory, disk, which models are here and fit. Exit code 1 if the self-test fails.
    """
    show = report.answer(json)
    machine = examine_machine()
    if not json:  # it is read while plans are made
        show.result({}, _machine(machine))
    models = examine_models()
    if not json:  # and this while the test goes on
        show.result({}, _models(models))
    outcome = self_test() if test else None
    lines = ("", f"self-test    {outcome['summary']}") if outcome else ()
    show.result({"machine": machine, "models": models, "self_test": outcome}, lines)
    if outcome and not outcome["passed"]:
        raise typer.Exit(1)


def examine_machine() -> dict[str, Any]:
    """Versions, devices with free memory, and free disk, as JSON values."""
    import av
    import psutil
    import torch
    from huggingface_hub import constants

    from wan22 import __version__
    from wan22.memory.device import devices, free_memory

    cache = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return {
        "wan22": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "av": av.__version__,
        "threads": torch.get_num_threads(),
        "memory": psutil.virtual_memory().total,
        "devices": {name: free_memory(torch.device(name)) for name in devices()},
        "disk": {
            str(Path.cwd()): shutil.disk_usage(Path.cwd()).free,
            str(cache): shutil.disk_usage(there).free,
        },
    }


def examine_models() -> list[dict[str, Any]]:
    """Every model: where it is, and how a video of its own size fits into the best device of this machine."""
    from wan22.memory.device import pick_device
    from wan22.memory.hardware import here
    from wan22.planning import plan_job
    from wan22.request import resolve

    hardware = here(pick_device("auto"))
    found = []
    for name, row in rows().items():
        made = plan_job(resolve(request_of(row), row), model_of(row, "auto", hardware.device), hardware)
        place = here_in_words(locate(row))
        found.append({"name": name, "here": place, "device": hardware.device, "fits": fits(name, made)})
    return found


def fits(name: str, made: Plan) -> str:
    """A plan in a line: how the parts are kept and what that takes; or what does not fit."""
    from wan22.planning import in_short

    if made.fits:
        return in_short(made)
    if made.peak > made.hardware.room:
        what = f"{made.worst.name} takes {gigabytes(made.peak)}, and {gigabytes(made.hardware.room)} are free"
    else:
        what = f"{gigabytes(made.host)} wait on the host, and {gigabytes(made.hardware.host)} are free there"
    return f"no: {what}; `wan22 plan {name}` says what would fit"


def self_test() -> dict[str, Any]:
    """Make five frames with the embedded model, and read the video back."""
    start = time.monotonic()
    try:
        seconds, size, count = _tiny_video()
    except Exception as error:  # whatever it is, the patient is ill, and the examination goes on
        return {"passed": False, "summary": f"failed: {type(error).__name__}: {error}"}
    took = time.monotonic() - start
    return {
        "passed": True,
        "seconds": round(took, 2),
        "summary": f"passed: {count} frames of {size[0]}x{size[1]} in {seconds:.1f} s ({took:.1f} s with loading)",
    }


def _tiny_video() -> tuple[float, tuple[int, int], int]:
    from wan22.cli.report import LineReport
    from wan22.engine import load
    from wan22.errors import MediaError
    from wan22.media.recipe import frames_hash, read_recipe
    from wan22.media.video import read_clip
    from wan22.production.publish import Target, publish
    from wan22.types import Event, Request

    class Silent(LineReport):
        def event(self, event: Event) -> None:
            pass

        def made(self, path: str, recipe: dict[str, Any]) -> None:
            pass

    engine = load()
    request = Request(prompt="a red ball", frames=5, steps=4)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/test.mp4"
        start = time.monotonic()
        canvas = engine.check(request)
        recipe = publish(engine.generate(request), Target(path), Silent(), size=canvas.out, fps=canvas.fps)
        seconds = time.monotonic() - start
        clip = read_clip(path)
        if clip.frames.shape != (5, canvas.out[1], canvas.out[0], 3) or read_recipe(path) != recipe:
            raise MediaError(
                f"the video that was read back is not the one that was written: {clip.frames.shape}"
            )
        if int(clip.frames.max()) - int(clip.frames.min()) < 16:
            raise MediaError(f"the video is blank (its frames have the hash {frames_hash(clip.frames)})")
    return seconds, canvas.out, 5


def _machine(machine: dict[str, Any]) -> Iterator[str]:
    versions = " · ".join(f"{name} {machine[name]}" for name in ("wan22", "python", "torch", "av"))
    yield f"versions     {versions}"
    yield f"platform     {machine['platform']}, {machine['threads']} threads, {gigabytes(machine['memory'])} memory"
    for name, free in machine["devices"].items():
        yield f"device       {name}, {gigabytes(free)} free"
    tf32 = " (its products in TF32)" if any(name.startswith("cuda") for name in machine["devices"]) else ""
    yield f"vae          computes in float32{tf32}; --vae-dtype bfloat16 takes half the memory"
    for folder, free in machine["disk"].items():
        yield f"disk         {gigabytes(free)} free at {folder}"


def _models(models: list[dict[str, Any]]) -> Iterator[str]:
    for model in models:
        yield f"model        {model['name']}: here: {model['here']}; fits {model['device']}: {model['fits']}"
