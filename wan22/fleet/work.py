"""A worker of a fleet: `wan22.jobs.worker.Worker`, with the queue and the files of the server's machine."""

from __future__ import annotations

import os
import platform
import signal
import tempfile
import traceback
from pathlib import Path
from typing import Any

from wan22.atomic import write_text
from wan22.errors import DeviceError, Wan22Error
from wan22.fleet.remote import Link, RemoteFiles, RemoteQueue
from wan22.fleet.versions import check_versions
from wan22.jobs.attempt import JobFiles, LocalFiles
from wan22.jobs.codes import explain
from wan22.jobs.folder import Folder
from wan22.jobs.job import StoreError
from wan22.jobs.operator import FILE as OPERATOR
from wan22.jobs.place import WorkerLock
from wan22.jobs.task import open_runner
from wan22.jobs.worker import Worker

_POLL = 0.2  # seconds between two questions to the coordinator whether something has changed


def work(said: dict[str, Any], link: Link) -> tuple[str, str]:
    """Work until the coordinator ends it, in the main thread of this process; see `WorkerActor.work`.

    said: name, device, runner, lease, versions; shared: the server's data folder where this machine sees it, with the
    name and the text of its proof, else None.
    """
    try:
        check_versions(said["versions"])
        if said["shared"] is not None:
            _check_shared(**said["shared"])
            folder = Folder(Path(said["shared"]["data"]))
            return _serve(_open(said, link, folder, LocalFiles(folder)))
        folder = _scratch(said["name"], link)
        with WorkerLock(folder, said["name"], take_over=True):  # of a process that was taken for dead
            return _serve(_open(said, link, folder, RemoteFiles(folder, link)))
    except Exception as error:
        if not isinstance(error, Wan22Error):
            traceback.print_exc()
        return "cannot", explain(error)[1]


def _serve(worker: Worker) -> tuple[str, str]:
    signal.signal(signal.SIGINT, worker.interrupts.handle)
    worker.serve()
    return ("renew" if worker.renew else "left"), ""


def _open(said: dict[str, Any], link: Link, folder: Folder, files: JobFiles) -> Worker:
    runner = open_runner(said["runner"], folder, said["device"])

    def report(state: dict[str, Any]) -> None:
        try:
            if link.once("report", said["name"], state):
                worker.watch.leaving = True
        except StoreError:
            pass  # the coordinator is started again; the next report says the same

    worker = Worker(
        said["name"], folder, RemoteQueue(link, runner), files, runner, lease=said["lease"], poll=_POLL, report=report
    )  # fmt: skip
    return worker


def _scratch(name: str, link: Link) -> Folder:
    """This worker's own folder, for the files of the job at work and what is worth keeping between jobs."""
    place = (
        Path(os.environ.get("WAN22_FLEET_SCRATCH") or tempfile.gettempdir()) / f"wan22-fleet-{os.getuid()}"
    )
    folder = Folder(place / name)
    said = link.ask("operator")
    if said is None:
        (folder.path / OPERATOR).unlink(missing_ok=True)
    else:
        write_text(folder.path / OPERATOR, said)
    return folder


def _check_shared(data: str, name: str, text: str) -> None:
    """Raise DeviceError unless the server's data folder is here, by what the server has just written into it."""
    path = Path(data) / "fleet" / name
    try:
        same = path.read_text(encoding="utf-8") == text
    except OSError:
        same = False
    if not same:
        raise DeviceError(
            f"{platform.node()} does not see the server's data folder at {data}: the folder is not shared. Mount it "
            "there under the same path, or leave out --fleet-shared, and files go through the server"
        )
