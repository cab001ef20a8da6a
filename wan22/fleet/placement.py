"""Which worker of a fleet gets a job: one whose device can hold it, and among those one that has its model loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from wan22.jobs.line import May

_IDLE = 1.5  # seconds for which a worker that asked for a job counts as waiting for one
_UNFIT = (
    60.0  # seconds after which a worker is asked again whether it can hold a job: memory may be free then
)
_MOST = 10_000  # answers that are kept of a worker


class UnknownFit(Exception):
    """Whether a worker's device can hold job `id` must be asked of the worker first."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id


@dataclass
class _Seen:
    """A worker as it last asked for a job. why_not: by job, why its device cannot hold it ("": it can), and when that
    was said.
    """

    asked: float = -1e9
    loaded: str | None = None
    why_not: dict[str, tuple[str, float]] = field(default_factory=dict)


class Placement:
    """What is known of the workers that ask for jobs. `now` gives seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._workers: dict[str, _Seen] = {}

    def may(self, worker: str, loaded: str | None) -> May:
        """A worker asks for a job: the rule by which it may have one. The rule raises UnknownFit."""
        seen = self._workers.setdefault(worker, _Seen())
        seen.asked, seen.loaded = self._now(), loaded
        taken: set[str] = set()  # a worker is kept for one job

        def rule(id: str, model: str | None) -> bool:
            why, at = seen.why_not.get(id, (None, 0.0))
            if why is None or (why and self._now() - at > _UNFIT):
                raise UnknownFit(id)
            if why:
                return False
            better = self._better(worker, id, model, taken)
            if better is not None:
                taken.add(better)
            return better is None

        return rule

    def _better(self, worker: str, id: str, model: str | None, taken: set[str]) -> str | None:
        """Another worker that waits, can hold the job, and has less to load for it."""
        mine = _rank(self._workers[worker], model)
        for name, other in self._workers.items():
            waits = self._now() - other.asked < _IDLE and name != worker and name not in taken
            if waits and _rank(other, model) < mine and not other.why_not.get(id, ("", 0.0))[0]:
                return name
        return None

    def took(self, worker: str) -> None:
        """The worker has a job, and waits for none."""
        self._workers[worker].asked = -1e9

    def fits(self, worker: str, id: str, why_not: str) -> None:
        """What a worker says of a job; "" is that its device can hold it."""
        seen = self._workers.setdefault(worker, _Seen())
        if len(seen.why_not) >= _MOST:
            seen.why_not.clear()
        seen.why_not[id] = why_not, self._now()

    def refused(self, id: str, workers: list[str]) -> bool:
        """Whether all these workers have said that they cannot hold the job."""
        seen = [self._workers.get(name, _Seen()) for name in workers]
        return bool(seen) and all(each.why_not.get(id, ("", 0.0))[0] for each in seen)


def _rank(worker: _Seen, model: str | None) -> int:
    """How much a worker would have to load: nothing, a model, or a model in place of another that is kept."""
    if worker.loaded == model:
        return 0
    return 1 if worker.loaded is None else 2
