"""Ask every operation of the server at random, by its own OpenAPI document: no 5xx, and nothing that is not documented.

    python -m bench.api_fuzz                    500 good requests and 500 wrong ones for each operation
    python -m bench.api_fuzz --examples 50 --only /v1/jobs

Good requests keep to the document, wrong ones break it (schemathesis). Ids are of jobs that are there, of jobs that are
not, and no ids at all. The application is the real one, over a folder of its own; no worker runs but for operations
that wait for one, and all of it is one process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from wan22.jobs.folder import Folder
from wan22.jobs.supervisor import WorkerStatus
from wan22.server.app import create_app
from wan22.server.settings import Settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
NOT_HERE = ("no_audio_server", "audio_failed")
"""A program or server that this one would ask is not there: documented, and no defect."""
HOST = "http://localhost:8722"


@dataclass
class Report:
    """What came of it: how often each status, by operation; and what was wrong."""

    asked: dict[str, Counter[int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        for name, statuses in self.asked.items():
            said = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
            yield f"{name:45} {sum(statuses.values()):5}   {said}"
        yield from self.wrong


class _Idle:
    """Workers that are ready, and do nothing."""

    ready = True

    def status(self) -> list[WorkerStatus]:
        return [WorkerStatus("cpu0", "cpu", "idle")]


def fuzz(
    folder: Path, examples: int, only: str = "", start: int = 0, log: Callable[[str], None] | None = None
) -> Report:
    """Ask each operation whose path begins with `only` `examples` times; `start` is the seed, `log` takes lines."""
    app = create_app(Folder(folder), Settings(rate=1e9, burst=1e9), _Idle())
    report = Report()
    with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
        app.state.feed.end()  # so that streams of events end
        ids = _jobs(app.state)
        schema = schemathesis.openapi.from_dict(app.openapi())
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path.startswith(only):
                with _made(app.state) if operation.path.endswith("/sync") else nullcontext():
                    _ask(client, operation, ids, examples, start, report)
                if log is not None:
                    log(list(report.lines())[len(report.asked) - 1])
    return report


def _jobs(state: Any) -> list[str]:
    """Jobs in every state, to have something to ask for."""
    store = state.store
    ids = [store.add("video", {"prompt": f"ball {number}", "model": "nano"}).id for number in range(8)]
    store.pause(ids[0])
    store.cancel(ids[1])
    store.trash(ids[2])
    claim = store.claim("cpu0", lease=600)
    store.record(claim, {"type": "progress", "step": 1, "steps": 2, "fraction": 0.5}, step=1)
    claim = store.claim("cpu0", lease=600)
    place = state.folder.job(claim.job.id)
    place.mkdir(parents=True)
    (place / "video.mp4").write_bytes(b"0" * 1000)
    store.complete(claim, {"files": [{"name": "video.mp4", "type": "video/mp4", "bytes": 1000}]})
    claim = store.claim("cpu0", lease=600)
    store.fail(claim, "out_of_memory", "the memory is not enough")
    return [*ids, "job_" + "a" * 24]


@contextmanager
def _made(state: Any) -> Generator[None]:
    """Meanwhile every job is made at once: some operations wait for that."""
    over = threading.Event()

    def work() -> None:
        with state.folder.open_store(check=False) as store:
            while not over.wait(0.01):
                if (claim := store.claim("cpu1")) is not None:
                    place = state.folder.job(claim.job.id)
                    place.mkdir(parents=True, exist_ok=True)
                    (place / "video.mp4").write_bytes(b"0" * 1000)
                    store.complete(
                        claim, {"files": [{"name": "video.mp4", "type": "video/mp4", "bytes": 1000}]}
                    )

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


_PARTS = ("method", "url", "params", "headers", "json", "data", "files", "cookies")


def _ask(
    client: TestClient, operation: Any, ids: list[str], examples: int, start: int, report: Report
) -> None:
    """Ask one operation, and note what is wrong."""
    name = f"{operation.method.upper()} {operation.path}"
    statuses = report.asked.setdefault(name, Counter())

    def check(case: Any) -> None:
        said = {part: it for part, it in case.as_transport_kwargs(base_url=HOST).items() if part in _PARTS}
        made = requests.Request(
            **said
        ).prepare()  # schemathesis writes for requests, which takes more than httpx
        response = client.request(
            str(made.method), str(made.url), content=made.body, headers=dict(made.headers)
        )
        statuses[response.status_code] += 1
        fine = []
        if response.status_code >= 500 and response.json().get("code") in NOT_HERE:
            fine = [not_a_server_error, negative_data_rejection]
        if response.status_code == 413:  # too large is looked at before all else
            fine = [negative_data_rejection]
        case.validate_response(response, checks=[each for each in CHECKS if each not in fine])

    def positive(case: Any, number: int) -> None:
        if number % 2 and "id" in case.path_parameters:
            case.path_parameters["id"] = ids[number // 2 % len(ids)]
            case.path_parameters |= {"name": "video.mp4"} if "name" in case.path_parameters else {}
        if number % 4 == 1 and operation.path == "/v1/jobs" and isinstance(case.body, dict):
            case.body = {"kind": "video", "request": {"prompt": "a ball", "seed": number}}
        check(case)

    wanted = settings(
        max_examples=examples, deadline=None, database=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    good, bad = (
        operation.as_strategy(generation_mode=mode)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    for run in (given(case=good, number=strategies.integers(0, 2**32))(positive), given(case=bad)(check)):
        try:
            seed(start)(wanted(run))()
        except (Exception, FailureGroup) as error:
            if type(error).__name__ != "Unsatisfiable":  # nothing can be wrong in a request that has no parts
                report.wrong.append(f"{name}: {type(error).__name__}: {error}"[:3000])


def main() -> int:
    """Ask, and print what came of it; 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--only", default="", help="operations whose path begins so")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = fuzz(Path(folder), said.examples, said.only, said.seed, log=partial(print, flush=True))
    print("\n".join(report.wrong))
    asked = sum(sum(each.values()) for each in report.asked.values())
    print(f"{asked} requests in {time.monotonic() - begun:.0f} s, {len(report.wrong)} operations went wrong")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
