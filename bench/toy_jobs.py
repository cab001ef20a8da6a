"""Jobs that take milliseconds, with steps and checkpoints as a video has: for tests of workers and the supervisor.

A request says `steps`, `pause` (seconds a step), `seed`, `busy` (seconds of work before them), and what goes wrong:
`fail` (a name of `ERRORS`), `die` (the step at which the process kills itself), `hang` (the step that never ends). The
result is a hash that every step changes, so that a step left out or done twice is seen.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from wan22.atomic import write_text
from wan22.errors import DeviceError, MediaError, OptionError, OutputError
from wan22.jobs.folder import Folder
from wan22.jobs.task import Task

ERRORS: dict[str, Exception] = {
    "option": OptionError("steps must be more"),
    "media": MediaError("the image is damaged"),
    "memory": MemoryError("can't allocate memory"),
    "full": OSError(errno.ENOSPC, "No space left on device"),
    "defect": ZeroDivisionError("division by zero"),
}
LOG = "steps.log"
"""In a job's folder: a line for each step that was begun, with the number of the process and of the step."""


def toy(folder: Folder, device: str) -> Toy:
    """The runner; the device "nowhere" is not here."""
    if device == "nowhere":
        raise DeviceError("there is no device 'nowhere' on this machine")
    return Toy(folder)


class Toy:
    """Hashes, with a pause."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.loaded: str | None = None

    def drop(self) -> None:
        self.loaded = None

    def run(self, task: Task) -> dict[str, Any]:
        asked, place = task.job.request, self._folder.job(task.job.id)
        self.loaded = asked.get("model")
        if "fail" in asked:
            raise ERRORS[asked["fail"]]
        until = time.monotonic() + asked.get("busy", 0)
        while time.monotonic() < until:
            time.sleep(0.01)
        steps = asked.get("steps", 5)
        done, state = _read(place / "journal")
        with (place / LOG).open("a") as log:
            for step in range(done, steps):
                task.stepping = True
                log.write(f"{os.getpid()} {step}\n")
                log.flush()
                if asked.get("die") == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                while asked.get("hang") == step:
                    time.sleep(0.1)
                time.sleep(asked.get("pause", 0.02))
                state = hash_step(state, asked.get("seed", 0), step)
                write_text(place / "journal" / f"{step + 1:06}-{task.work.name}", state)
                task.say({"type": "progress", "step": step + 1, "steps": steps,
                          "fraction": (step + 1) / steps}, step=step + 1)  # fmt: skip
        task.stepping = False
        file = task.work / "video.mp4"
        try:
            file.write_text(state)
        except OSError as error:
            raise OutputError(f"{file} cannot be written") from error
        sha256 = hashlib.sha256(state.encode()).hexdigest()
        return {"files": [{"name": file.name, "type": "video/mp4", "bytes": len(state), "sha256": sha256}]}


def hash_step(state: str, seed: int, step: int) -> str:
    return hashlib.sha256(f"{state} {seed} {step}".encode()).hexdigest()


def undisturbed(request: dict[str, Any]) -> str:
    """What the file of a job holds that nothing disturbed."""
    state = ""
    for step in range(request.get("steps", 5)):
        state = hash_step(state, request.get("seed", 0), step)
    return state


def _read(journal: Path) -> tuple[int, str]:
    """The last checkpoint: steps done, and the state after them."""
    found = sorted(path for path in journal.glob("*") if not path.name.startswith("."))
    return (int(found[-1].name[:6]), found[-1].read_text()) if found else (0, "")
