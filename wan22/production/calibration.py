"""The file of a calibration: what step caches need to know of a model, measured along with its videos."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.atomic import written
from wan22.errors import OutputError
from wan22.fields import called

if TYPE_CHECKING:
    from wan22.catalog import Calibration
    from wan22.engine import Engine
    from wan22.production.events import EventSink


def check_calibration(path: str) -> None:
    """Raise OutputError, before any work, if a calibration cannot be written there; nothing is replaced."""
    if os.path.lexists(path):
        raise OutputError(f"{path} exists already, and a calibration replaces nothing. Choose another name.")
    if not Path(path).absolute().parent.is_dir():
        raise OutputError(f"there is no folder {Path(path).parent} for the calibration; make it first")


@contextmanager
def calibrating(engine: Engine, path: str | None, events: EventSink) -> Generator[None]:
    """Measure along with the videos that are made meanwhile, and write what was found; without a path, nothing."""
    if path is None:
        yield
        return
    from wan22.sampling.calibration import Recorder

    engine.recorder = Recorder()
    try:
        yield
        write_calibration(path, engine, engine.recorder.calibrations())
    finally:
        engine.recorder = None
    events.note(f"measured for step caches: {path}; {called('calibration')} gives it")


def write_calibration(path: str, engine: Engine, found: Mapping[str, Calibration]) -> None:
    """Write what was measured of each expert, as `load(calibration=...)` reads it. Raises OutputError."""
    values: dict[str, Any] = {
        "model": engine.name,
        "weights": {name: engine.weights[name] for name in engine.variant.experts},
        "experts": {name: asdict(each) for name, each in found.items()},
    }
    with written(Path(path), replace=False) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
