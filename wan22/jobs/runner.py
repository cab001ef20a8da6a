"""From a job's request to its files, by `wan22.production`; the engine is kept between jobs of one model."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22 import fields
from wan22.errors import OptionError, OutputError, RequestError, Wan22Error, choose
from wan22.fields import IMAGE, VIDEO
from wan22.jobs.given import path_of
from wan22.jobs.operator import Operator, read_operator
from wan22.jobs.progress import Reporter
from wan22.jobs.results import described
from wan22.jobs.stills import write_stills
from wan22.production.extend import extend
from wan22.production.options import as_work, from_json
from wan22.production.work import Machine, Work, make, use_loras

if TYPE_CHECKING:
    from wan22.engine import Engine
    from wan22.jobs.folder import Folder
    from wan22.jobs.job import Job
    from wan22.jobs.preview import Preview
    from wan22.jobs.task import Task
    from wan22.memory.hardware import Hardware
    from wan22.production.rerender import LoRAOption
    from wan22.types import Progress

_COMMANDS = {"video": VIDEO, "image": IMAGE, "extend": VIDEO}
_DEFAULT = "nano"
"""The model of a request that names none."""


def open_production(folder: Folder, device: str) -> Production:
    """The runner of a device, or of several that work together, "cuda:0+cuda:1".

    Raises DeviceError if one is not here, OptionError for a wrong operator.json.
    """
    from wan22.memory.device import pick_device
    from wan22.parallel.places import devices_of

    places = devices_of(device, None) or [str(pick_device(device))]
    return Production(folder, "+".join(places), read_operator(folder.path))


class Production:
    """Makes videos and images, and extends videos, on one device."""

    def __init__(self, folder: Folder, device: str, operator: Operator) -> None:
        self._folder, self._device, self._operator = folder, device, operator
        self._engines = _Kept()
        self._model: str | None = None
        self._hardware: Hardware | None = None

    @property
    def loaded(self) -> str | None:
        return self._model

    def drop(self) -> None:
        self._model = None
        self._engines.drop()

    def run(self, task: Task) -> dict[str, Any]:
        """Make a job; its files are left in `task.work`. Raises what `make` raises."""
        began = time.monotonic()
        model = task.job.request.get("model") or _DEFAULT
        if model != self._model:
            self._model = None  # until the engine is there
        with fields.naming(lambda field: field.name):
            work = self._work(task)
            _reset_peak(self._device)
            shown = _Shown(task, self._folder, work.given.get("fps"))
            reporter = Reporter(task, videos=work.takes.number or 1, preview=shown.step)

            def load(machine: Machine, recipe: dict[str, Any], loras: Sequence[LoRAOption]) -> Engine:
                engine = self._engines.load(machine, recipe, loras)
                self._model = model
                shown.begin(engine)
                return engine

            produce = extend if task.job.kind == "extend" else make
            produce(work, reporter, self._folder.journal(task.job.id), load=load)
        task.stepping = False
        stills = write_stills(Path(reporter.path), task.work)
        return {
            "files": [described(path) for path in _files(Path(reporter.path), work)],
            "stills": [described(task.work / name) for name in stills],
            "recipe": reporter.recipe,
            "seconds": round(time.monotonic() - began, 3),
            "phases": reporter.end(),
            "peak_memory": _peak(self._device),
        }

    def why_not(self, job: Job, media: dict[str, dict[str, Any]]) -> str:
        """Why this device, or these together, cannot hold a job, by its plan; what cannot be planned says why when
        it is made.
        """
        from wan22.planning import in_short
        from wan22.production.planned import Media, extended, hardware_of, plan_of

        if self._hardware is None:  # before a model is loaded, which goes when another is wanted
            self._hardware = hardware_of(self._device)
        try:
            with fields.naming(lambda field: field.name):
                work, known = self._given(job), {name: Media(**each) for name, each in media.items()}
                if job.kind == "extend":
                    work, known = extended(work, known)
                model = work.machine.model
                made = plan_of(work, known, model, self._device, self._operator.engine, self._hardware)
        except Wan22Error:
            return ""
        return "" if made.fits else in_short(made)

    def _given(self, job: Job) -> Work:
        """The job's request as a piece of work. Raises RequestError for what no client may ask."""
        folder = self._folder
        if job.kind not in _COMMANDS:
            raise RequestError(f"a job of kind {job.kind!r} is not made by this worker")
        given = from_json(_COMMANDS[job.kind], job.request, lambda said: str(path_of(folder, job.id, said)))
        for name, known in (("extend", ("rules",)), ("speaker", ("espeak",))):
            if given[name] is not None:
                choose(name, given[name], known)
        work = as_work(given)
        if work.count != 1:
            raise RequestError(f"count is {work.count}; a job makes one: ask for a group of jobs")
        model = _model(work.machine.model, self._operator.models)
        return replace(work, machine=replace(work.machine, model=model))

    def _work(self, task: Task) -> Work:
        """As `_given`, on this device, into the folder of the attempt."""
        work = self._given(task.job)
        return replace(
            work,
            output=str(task.work / f"{'image' if task.job.kind == 'image' else 'video'}{_suffix(work)}"),
            machine=replace(work.machine, engine={**self._operator.engine, "device": self._device}),
            loras=tuple(_named_lora(lora, self._operator.loras) for lora in work.loras),
        )


class _Kept:
    """One engine, kept for the next job of the same model and options."""

    def __init__(self) -> None:
        self._key: Any = None
        self._loras: tuple[LoRAOption, ...] = ()
        self._engine: Engine | None = None

    def load(self, machine: Machine, recipe: dict[str, Any], loras: Sequence[LoRAOption] = ()) -> Engine:
        """As `Machine.load`. Another engine is let go before the new one is made; LoRAs change places in the engine."""
        key = self._key_of(machine)
        if self._engine is None or key != self._key:
            self.drop()
            self._engine = machine.load(recipe, loras)
            self._key, self._loras = key, tuple(loras)
        elif tuple(loras) != self._loras:
            use_loras(self._engine, loras)
            self._loras = tuple(loras)
        return self._engine

    def _key_of(self, machine: Machine) -> Any:
        """The files and options that make an engine. A model may serve several tasks, a folder hold several models."""
        from wan22.library import open_model

        found = open_model(machine.model, machine.parts, machine.task)
        return found.name, sorted(found.parts.items()), found.tokenizer, sorted(machine.engine.items())

    def drop(self) -> None:
        close = getattr(self._engine, "close", None)  # of several devices
        self._key = self._engine = None
        if close is not None:
            close()
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Shown:
    """The previews of a job. What goes wrong with them is told, and the job goes on without."""

    def __init__(self, task: Task, folder: Folder, fps: float | None) -> None:
        self._task, self._folder, self._fps = task, folder, fps
        self._preview: Preview | None = None

    def begin(self, engine: Engine) -> None:
        """The engine is there, and its weights are not yet: the VAE's map to colours is read, or fitted."""
        from wan22.jobs.preview import FILE, Preview, colours_of, kept_colours

        folder = self._folder.path / "previews"
        if not kept_colours(engine, folder).exists():
            self._task.say({"type": "phase", "name": "load", "detail": "learning the colours of previews"})
        try:
            colours = colours_of(engine, folder)
        except (Wan22Error, RuntimeError) as error:
            self._task.say({"type": "note", "text": f"there are no previews: {error}"})
            return
        fps = self._fps or engine.variant.defaults.fps
        self._preview = Preview(colours, self._folder.job(self._task.job.id) / FILE, fps)

    def step(self, event: Progress) -> dict[str, Any] | None:
        if self._preview is None:
            return None
        try:
            return self._preview(event)
        except OutputError as error:
            self._preview = None
            self._task.say({"type": "note", "text": f"there are no further previews: {error}"})
            return None


def _model(asked: str | None, known: Mapping[str, str]) -> str:
    """What opens the model that was asked for: the operator's, or one of the catalogue; never a path of a client's."""
    from wan22.catalog import ALIASES, variant_names
    from wan22.library import is_catalogued

    name = asked or _DEFAULT
    if name in known:
        return known[name]
    if not is_catalogued(name):
        choose("model", name, tuple(dict.fromkeys([*known, *ALIASES, *variant_names()])))
    return name


def _named_lora(lora: LoRAOption, known: Mapping[str, str]) -> LoRAOption:
    """A LoRA of the operator's, by its name."""
    name, *how = lora
    if name not in known:
        here = f"Known: {', '.join(known)}" if known else "The operator has named none"
        raise OptionError(f"unknown lora {name!r}. {here}")
    return known[name], *how  # ty: ignore[invalid-explicit-return] - the rest is as it was


def _suffix(work: Work) -> str:
    """The extension of the file: that of the first container that has the codec."""
    from wan22.media.encoding import CONTAINERS

    if work.suffix == ".png" or work.codec is None:
        return work.suffix
    return next((f".{kind}" for kind, codecs in CONTAINERS.items() if work.codec in codecs), work.suffix)


def _files(path: Path, work: Work) -> list[Path]:
    """The video, and the other takes if they are kept."""
    return [path, *(sorted(path.parent.glob(f"{path.stem}-take-*{path.suffix}")) if work.takes.keep else ())]


def _reset_peak(device: str) -> None:
    device = device.partition("+")[0]
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> int:
    """Bytes: of the accelerator at this job's worst moment; without one, of this process since it began. Of several
    devices, the first.
    """
    device = device.partition("+")[0]
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
