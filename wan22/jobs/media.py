"""The runner of the worker that needs no device: it puts timelines together and measures videos.

It imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wan22.errors import RequestError
from wan22.jobs.job import MEDIA_KINDS

if TYPE_CHECKING:
    from wan22.jobs.folder import Folder
    from wan22.jobs.task import Task


def open_media(folder: Folder, device: str) -> Media:
    """The runner of a data folder; there is no device to be had."""
    del device
    return Media(folder)


class Media:
    """Makes jobs of the kinds `render` and `measure`."""

    kinds = MEDIA_KINDS
    loaded = None

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def run(self, task: Task) -> dict[str, Any]:
        """Make a job; its files are left in `task.work`. Raises what rendering and measuring raise."""
        if task.job.kind == "measure":
            from wan22.jobs.measuring import measure_job

            return measure_job(task)
        if task.job.kind == "render":
            from wan22.jobs.rendering import render_job

            return render_job(task)
        raise RequestError(f"a job of kind {task.job.kind!r} is not made by this worker")

    def drop(self) -> None:
        """Nothing is kept between jobs."""
