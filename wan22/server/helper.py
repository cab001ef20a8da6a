"""A process beside the server that may import torch: started when it is first asked, killed when it is silent."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from wan22.server.problems import Refusal

_LOG = logging.getLogger("wan22.server")
_BUSY = 4  # requests that wait at once
_END = 10.0  # seconds for what it said to be read
_SAID = 2000  # characters of its complaints that are logged

PLANNER = (sys.executable, "-m", "wan22.server.planner")


class Helper:
    """One process that answers a line with a line, one after another.

    start: seconds for its first answer; patience: for every later one; idle: after which it is ended, to give its
    memory back.
    """

    def __init__(
        self,
        command: Sequence[str] = PLANNER,
        *,
        start: float = 180.0,
        patience: float = 30.0,
        idle: float = 900.0,
    ) -> None:
        self._command, self._start, self._patience, self._idle = list(command), start, patience, idle
        self._turn, self._room = threading.Lock(), threading.BoundedSemaphore(_BUSY)
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._timer: threading.Timer | None = None
        self._warm, self._readers, self._over = False, list[threading.Thread](), False

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask(self, said: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question. One that died meanwhile is started again, once.

        Raises Refusal: 429 if too many wait, 503 if it dies twice or is silent.
        """
        if not self._room.acquire(blocking=False):
            raise Refusal(429, "too_many_requests", "too many plans are asked for at once; ask again soon")
        try:
            with self._turn:
                line = json.dumps(said)
                answer = self._answer(line) or self._answer(line)
                if answer is None:
                    raise Refusal(503, "plan_failed", "the process that plans ended twice; the log says why")
                self._rest()
                return json.loads(answer)
        finally:
            self._room.release()

    def stop(self) -> None:
        """End the process for good; who waits for an answer is refused."""
        self._over = True
        if (process := self._process) is not None:
            process.kill()
        self._retire()

    def _retire(self) -> None:
        with self._turn:
            self._end()

    def _answer(self, line: str) -> str | None:
        """A line for a line; None if the process has ended. Raises Refusal if it is silent, or the server ends."""
        if self._over:
            raise Refusal(503, "plan_failed", "the server ends")
        process = self._started()
        try:
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = self._lines.get(timeout=self._patience if self._warm else self._start)
        except OSError:
            answer = None
        except queue.Empty:
            self._end()
            raise Refusal(503, "plan_failed", "planning took too long, and was given up") from None
        if answer is None:
            self._end()
            return None
        self._warm = True
        return answer

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        self._warm, self._lines = False, queue.Queue()
        self._process = process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=target, args=(process, self._lines), daemon=True)
            for target in (self._read, self._complain)
        ]
        for reader in self._readers:
            reader.start()
        if self._over:  # it was begun while the server ended
            process.kill()
        return process

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
        lines.put(None)

    @staticmethod
    def _complain(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stderr is not None
        with process.stderr:
            if said := process.stderr.read()[-_SAID:].strip():
                _LOG.warning("the process that plans said: %s", said)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._idle, self._retire)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):  # what was not written to it is lost with it
            if process.stdin is not None:
                process.stdin.close()
        for reader in self._readers:
            reader.join(_END)
