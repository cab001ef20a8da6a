"""The engine behind the nodes: opened once, kept between runs, and run with ComfyUI's progress and interrupt."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch

from . import host

if TYPE_CHECKING:
    from torch import Tensor

    from wan22.engine import Engine
    from wan22.types import Event, Events, Progress
    from wan22.weights.lora import LoRA

_PREVIEW_SIDE = 512


@dataclass(frozen=True)
class Model:
    """What `Wan22Load` passes on: the arguments of `wan22.load`, no weights. Two of equal values are the same model."""

    name: str | None
    parts: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    loras: tuple[LoRA, ...] = ()

    def engine(self) -> Engine:
        """The engine of this model, opened now if it is not the one that is kept."""
        return KEPT.open(self)


@dataclass
class Kept:
    """The one engine that is kept. A model that differs by its LoRAs alone uses the same one."""

    load: Callable[..., Engine] | None = None
    model: Model | None = None
    engine: Engine | None = None
    working: bool = False
    lock: RLock = field(default_factory=RLock)

    def open(self, model: Model) -> Engine:
        """The engine of a model. Raises as `wan22.load` does; a model that cannot be opened leaves none behind."""
        with self.lock:
            if self.engine is not None and self.model is not None and _base(self.model) == _base(model):
                if self.model.loras != model.loras:
                    self.engine.use_loras(model.loras)
                    self.model = model
                return self.engine
            self.drop()
            self.engine = self._load(model)
            self.model = model
            return self.engine

    def _load(self, model: Model) -> Engine:
        import wan22

        load = self.load or wan22.load
        return load(model.name, parts=dict(model.parts) or None, loras=model.loras, **dict(model.options))

    def drop(self) -> None:
        """Free all that the engine holds. The next run reads the weights again."""
        with self.lock:
            if self.engine is None or self.working:
                return
            self.engine.release()
            self.engine = self.model = None
        host.empty_cache()

    def release(self, device: Any, wanted: float) -> None:
        """Free memory that ComfyUI still lacks on a device (None: any): first what can be brought again from the host,
        then all.
        """
        with self.lock:
            engine = self.engine
            if engine is None or self.working or engine.device.type == "cpu":
                return  # ComfyUI counts no memory on the CPU
            if device is not None and engine.device.type != torch.device(device).type:
                return
            for free in (engine.release, self.drop):
                if host.free_bytes(device) >= wanted:
                    return
                free()
                host.empty_cache()

    @contextmanager
    def at_work(self) -> Generator[None]:
        """While an engine works its memory is its own."""
        with self.lock:
            self.working = True
        try:
            yield
        finally:
            self.working = False


def _base(model: Model) -> tuple[Any, ...]:
    return model.name, model.parts, model.options


KEPT = Kept()


@dataclass
class Run:
    """One run of a node: its id in the graph, and the sentences that were noted."""

    node: str | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Show a sentence."""
        self.notes.append(text)
        host.show(text, self.node)

    def follow(
        self, engine: Engine, events: Events, *, preview: bool = False, turn: tuple[int, int] = (0, 1)
    ) -> Generator[Event]:
        """Pass on the events of an engine, with progress, notes and interrupt; at its end the engine has stopped.

        turn: the number of this video (from 0) and how many the bar counts.
        """
        from wan22.types import Notice, Progress

        host.make_room(str(engine.device))
        paint = painter(engine) if preview else None
        bar = None
        with KEPT.at_work():
            try:
                for event in events:
                    host.check_interrupted()
                    match event:
                        case Notice():
                            self.note(event.text)
                        case Progress():
                            steps = event.steps * event.clips
                            bar = bar or host.progress_bar(steps * turn[1])
                            done = turn[0] * steps + (event.clip - 1) * event.steps + event.index
                            bar.update_absolute(done, steps * turn[1], paint(event) if paint else None)
                    yield event
            finally:
                events.close()


def painter(engine: Engine) -> Callable[[Progress], tuple[str, Any, int]]:
    """What paints the predicted video of a step, as ComfyUI's bar takes it: format, image, largest side."""
    from PIL import Image
    from platformdirs import user_cache_path

    from wan22.jobs.preview import colours_of, paint

    colours = colours_of(engine, user_cache_path("wan22") / "previews")

    def preview(event: Progress) -> tuple[str, Any, int]:
        shown: Tensor = paint(event.x0, colours)
        height, width = shown.shape[1:3]
        scale = _PREVIEW_SIDE / max(height, width)
        still = Image.fromarray(shown[len(shown) // 2].numpy())
        return "JPEG", still.resize((round(width * scale), round(height * scale))), _PREVIEW_SIDE

    return preview


def call(run: Callable[..., Any], values: Mapping[str, Any], node: str | None) -> Any:
    """Call a node's function; messages call options as inputs are called."""
    from wan22.fields import naming

    with naming(lambda option: option.name):
        return run(Run(node), **values)
