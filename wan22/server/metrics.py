"""Figures for Prometheus: jobs, times, workers, bytes, requests. The registry is the application's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from wan22.jobs.job import NotFoundError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from wan22.jobs.job import Event

UP = ("idle", "running")
"""The states of a worker that can take jobs."""
_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)
_MOST_JOBS = 1000  # whose last step is remembered


class Metrics:
    """The figures of one server. `state` is that of the application, whose store and workers are asked each time."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, state: Any) -> None:
        self._state = state
        self._stepped: dict[str, float] = {}
        self.registry = CollectorRegistry()
        self.registry.register(_Looked(state))
        self.requests = Counter(
            "wan22_requests",
            "Requests by path, method and status.",
            ["path", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "wan22_request_seconds",
            "How long answers took.",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.received = Counter("wan22_received_bytes", "Bytes of uploads.", registry=self.registry)
        self.queue_seconds = Histogram(
            "wan22_queue_seconds",
            "How long jobs waited before they began.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.step_seconds = Histogram(
            "wan22_step_seconds", "Time between two steps of a job.", buckets=_SECONDS, registry=self.registry
        )

    def text(self) -> bytes:
        """Everything as Prometheus reads it."""
        return generate_latest(self.registry)

    def answered(self, path: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. path: the route, with its parameters by name."""
        self.requests.labels(path, method, str(status)).inc()
        self.request_seconds.labels(path).observe(seconds)

    def observe(self, events: list[Event]) -> None:
        """New events; in the thread of the feed."""
        for event in events:
            kind = event.data.get("type")
            if kind == "progress":
                before = self._stepped.pop(event.job, None)
                if before is not None:
                    self.step_seconds.observe(max(0.0, event.at - before))
                self._stepped[event.job] = event.at
                while len(self._stepped) > _MOST_JOBS:
                    self._stepped.pop(next(iter(self._stepped)))
            elif kind == "state":
                self._stepped.pop(event.job, None)
                if event.data.get("state") == "running":
                    self._begun(event)

    def _begun(self, event: Event) -> None:
        try:
            job = self._state.store.job(event.job)
        except NotFoundError:
            return
        if job.kind != "group" and job.attempts == 1 and job.started is not None:
            self.queue_seconds.observe(max(0.0, job.started - job.created))


class _Looked(Collector):
    """What is asked at every look, and kept nowhere."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def describe(self) -> Iterator[Metric]:
        yield from ()

    def collect(self) -> Iterator[Metric]:
        figures = self._state.store.figures()
        jobs = GaugeMetricFamily(
            "wan22_jobs", "Jobs by state, without groups and the trash.", labels=["state"]
        )
        for name, count in figures.states.items():
            jobs.add_metric([name], count)
        yield jobs
        yield GaugeMetricFamily(
            "wan22_oldest_waiting_seconds",
            "How long the oldest job that can begin has waited.",
            value=figures.waiting,
        )
        ended = CounterMetricFamily("wan22_jobs_ended", "Jobs that ended, by how.", labels=["how"])
        for name, count in figures.totals.items():
            if name != "seconds":
                ended.add_metric([name], count)
        yield ended
        yield CounterMetricFamily(
            "wan22_work_seconds", "Seconds in workers' hands.", value=figures.totals["seconds"]
        )
        workers = GaugeMetricFamily(
            "wan22_worker_up", "Whether a worker is there.", labels=["worker", "device"]
        )
        restarts = CounterMetricFamily(
            "wan22_worker_restarts", "How often a worker was started again.", labels=["worker", "device"]
        )
        for each in _workers(self._state.supervisor):
            workers.add_metric([each.name, each.device], float(each.state in UP))
            restarts.add_metric([each.name, each.device], each.restarts)
        yield workers
        yield restarts
        yield GaugeMetricFamily("wan22_streams", "Open streams of events.", value=len(self._state.feed))


def _workers(supervisor: Any) -> list[Any]:
    """The workers of devices, and the one that needs none."""
    if supervisor is None:
        return []
    media = getattr(supervisor, "media", None)
    return [*supervisor.status(), *([] if media is None else [media])]
