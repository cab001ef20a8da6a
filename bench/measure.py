"""How long a call takes beside another, and how much memory it needs on its own.

`python -m bench.measure` is another measure: how often `wan22 measure` is right (accuracy.py).
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Seconds that passed, or seconds that this process worked (for one thread on a busy machine)."""


def interleaved(
    calls: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> list[float]:
    """Median seconds of each call, taking turns after one round to warm up."""
    for call in calls:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, seconds in zip(calls, taken, strict=True):
            start = clock()
            call()
            seconds.append(clock() - start)
    return [median(seconds) for seconds in taken]


def reset_peak() -> bool:
    """Forget the highest memory use so far; False where the system cannot (it is then the whole process's)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def high_water(pid: int | str = "self") -> int | None:
    """The highest resident memory of a process in bytes, as Linux notes it; None elsewhere, or if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


def peak() -> int:
    """The highest memory use of this process in bytes, since the last reset where there was one."""
    found = high_water()
    if found is not None:
        return found
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def peak_of(case: str, contender: str, threads: int) -> int:
    """Bytes that one contender needs at most, measured in a process that holds nothing else."""
    command = [sys.executable, "-m", "bench", "--peak", case, contender, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])["peak"]


if __name__ == "__main__":
    from bench.accuracy import main

    main()
