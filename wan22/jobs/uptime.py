"""Seconds that no one can set: leases are measured by them, so that a clock that is put back changes nothing."""

import time

from wan22.atomic import boot

__all__ = ["boot", "uptime"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)  # Linux: the same in all processes, and it counts while asleep


def uptime() -> float:
    """Seconds since the machine was started, the same in all of its processes."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
