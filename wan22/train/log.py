"""What is written while a run goes on: a line of JSON for every expert every few steps, and the same for TensorBoard.

A line has the mean loss since the line before, alone and by bands of noise; a run that goes on writes the lines that it
would have written, and those of steps that are made again are taken out first.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.atomic import written
from wan22.errors import CheckpointError, OptionError, OutputError
from wan22.files import read_bytes

if TYPE_CHECKING:  # preparing data logs too, and needs no torch
    from torch import Tensor

Log = Callable[[str], object]
"""Takes one line for people; one of progress is a `clock.WorkProgress`, which has the numbers."""

_LOG_LIMIT = 1 << 30  # bytes
BANDS = 10
"""Bands of noise, from sigma 0 to 1."""


@dataclass
class LossMeter:
    """Losses since the last line: sum and count, of all and of each band. `norm` sums the gradients' norms."""

    sums: list[float] = field(default_factory=lambda: [0.0] * BANDS)
    counts: list[int] = field(default_factory=lambda: [0] * BANDS)
    norm: float = 0.0
    steps: int = 0
    seconds: float = 0.0

    def add(self, sigmas: "Tensor", errors: "Tensor") -> None:
        """Take in the errors (b,) of a batch at its noise levels (b,)."""
        for sigma, error in zip(sigmas.tolist(), errors.tolist(), strict=True):
            band = min(BANDS - 1, int(sigma * BANDS))
            self.sums[band] += error
            self.counts[band] += 1

    def line(self) -> dict[str, Any]:
        """The means: of all, and of each band (None where nothing was drawn)."""
        bands = [round(s / n, 6) if n else None for s, n in zip(self.sums, self.counts, strict=True)]
        return {
            "loss": round(sum(self.sums) / max(1, sum(self.counts)), 6),
            "bands": bands,
            "norm": round(self.norm / max(1, self.steps), 6),
        }

    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps; time is not."""
        return {"sums": self.sums, "counts": self.counts, "norm": self.norm, "steps": self.steps}

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> "LossMeter":
        return cls(list(notes["sums"]), list(notes["counts"]), notes["norm"], notes["steps"])


class MetricsLog:
    """`log.jsonl` of a run, and a folder for TensorBoard for each expert if asked.

    Raises OptionError if TensorBoard is asked for and not installed, OutputError if the place cannot be written.
    """

    def __init__(self, folder: Path, *, tensorboard: bool) -> None:
        self._path = folder / "log.jsonl"
        self._folder = folder / "tensorboard"
        self._writer = _summary_writer() if tensorboard else None
        self._boards: dict[str, Any] = {}

    def resume(self, steps: Mapping[str, int]) -> None:
        """Take out the lines of steps that will be made again, and one that was cut off."""
        kept = [line for line in self.lines() if line["step"] <= steps.get(line["expert"], line["step"])]
        with written(self._path) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        if self._writer is not None:
            self._boards = {
                expert: self._writer(str(self._folder / expert), purge_step=step + 1)
                for expert, step in steps.items()
            }

    def lines(self) -> list[dict[str, Any]]:
        """The lines so far, as `read_log`."""
        return read_log(self._path)

    def write(self, expert: str, step: int, tally: LossMeter, rate: float) -> dict[str, Any]:
        """Add a line and return it. Raises OutputError."""
        line = {"expert": expert, "step": step, **tally.line(), "rate": rate}
        line["seconds"] = round(tally.seconds / max(1, tally.steps), 4)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror or error}") from error
        if expert in self._boards:
            board = self._boards[expert]
            for name in ("loss", "rate", "norm", "seconds"):
                board.add_scalar(name, line[name], step)
            for band, loss in enumerate(line["bands"]):
                if loss is not None:
                    board.add_scalar(f"loss by noise/{band / BANDS:.1f}", loss, step)
        return line

    def close(self) -> None:
        """Finish the files."""
        for board in self._boards.values():
            board.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a `log.jsonl`; none if it is not there. Raises CheckpointError if it cannot be read.

    A run that is killed leaves half a line at the end, and a power cut may leave other bytes: those are no lines.
    """
    if not path.exists():
        return []
    text = read_bytes(path, CheckpointError, limit=_LOG_LIMIT).decode("utf-8", "replace")
    return [line for row in text.split("\n") if (line := _line(row)) is not None]


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(line, dict) and type(line.get("step")) is int and isinstance(line.get("expert"), str)
    return line if whole else None


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise OptionError(
            "log.tensorboard = true needs the package tensorboard: pip install tensorboard; "
            "log.jsonl is written in any case"
        ) from error
    return SummaryWriter
