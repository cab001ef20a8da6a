"""Are frames made faster than they are shown? A long video from its words to a file that plays while it grows.

    python -m bench.realtime                        # nano, --fast, as many threads as there are cores
    python -m bench.realtime --threads 1 --clips 8 --full

All is counted: the text, the steps, the VAE, the encoder, and each clip on the disk (media/long_video.py); not that the
weights are read, which the first video of a process does once (`cold`). `ratio` is frames made a second over frames
shown a second; above 1 the video never waits once its first clip is there. On a machine that others use too, `ratio of
the processor` says the same of the seconds that this process worked. The encoder has one thread; the rest is spread
over all, as an idle machine would at best: with --threads 1 the figure is no estimate, but what one idle core reaches.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.measure import CLOCKS
from wan22.errors import OptionError

if TYPE_CHECKING:
    from wan22.engine import Engine
    from wan22.types import Request

ENCODE = "encode"
PROMPT = "a red ball rolls left at sunset"


@dataclass
class Spent:
    """Seconds that passed and that the processor worked, by phase; and until the first frame could be played."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    first: float = 0.0
    frames: int = 0

    def rate(self, threads: int | None = None) -> float:
        """Frames a second; with `threads`, by the processor's seconds, spread over them but for the encoder's."""
        if threads is None:
            return self.frames / sum(self.wall.values())
        return self.frames / sum(s if name == ENCODE else s / threads for name, s in self.cpu.items())


class _Laps:
    """Gives the time since the last call to a phase."""

    def __init__(self, spent: Spent) -> None:
        self._spent, self._last = spent, self._now()
        self.began = self._last["wall"]

    @staticmethod
    def _now() -> dict[str, float]:
        return {name: clock() for name, clock in CLOCKS.items()}

    def to(self, phase: str) -> None:
        now = self._now()
        for name, taken in (("wall", self._spent.wall), ("cpu", self._spent.cpu)):
            taken[phase] = taken.get(phase, 0.0) + now[name] - self._last[name]
        self._last = now


def make(engine: Engine, request: Request, path: Path) -> Spent:
    """Make a video of several clips, as `wan22 generate` does, and say what it took."""
    from wan22.media.long_video import LongVideo
    from wan22.types import ClipDone, Frames, Phase

    canvas, spent = engine.check(request), Spent()
    if canvas.clips < 2:
        raise OptionError(f"{canvas.frames} frames are one clip; give more")
    laps, phase = _Laps(spent), "text"
    with LongVideo(path, fps=canvas.fps, size=canvas.out, identity={"seed": request.seed}) as video:
        for event in engine.generate(request):
            laps.to(phase)
            match event:
                case Phase(name):
                    phase = name
                case Frames():
                    video.add(event.frames)
                case ClipDone():
                    video.finish_clip()
                    spent.first = spent.first or time.perf_counter() - laps.began
            laps.to(ENCODE)
        video.close()
        laps.to(ENCODE)
    spent.frames = canvas.frames
    return spent


def measured(engine: Engine, clips: int, threads: int, repeats: int, *, fast: bool) -> dict[str, Any]:
    """The figures of `repeats` videos after a first one, each of `clips` clips: of the one with the median rate."""
    from dataclasses import replace

    from wan22.types import Request

    one = engine.check(Request(prompt=PROMPT, fast=fast))
    frames = next(n for n in range(one.frames, 1 << 16) if engine.check(_asked(n, fast)).clips >= clips)
    request = _asked(frames, fast)
    with tempfile.TemporaryDirectory() as folder:
        cold = make(engine, request, Path(folder) / "cold.mp4")
        warm = [
            make(engine, replace(request, seed=n), Path(folder) / f"{n}.mp4") for n in range(1, repeats + 1)
        ]
    rates = [spent.rate() for spent in warm]
    middle = min(warm, key=lambda spent: abs(spent.rate() - median(rates)))
    canvas = engine.check(request)
    return {
        "model": engine.name,
        "fast": fast,
        "size": canvas.out,
        "frames": canvas.frames,
        "clips": canvas.clips,
        "threads": threads,
        "shown": canvas.fps,
        "made": round(middle.rate(), 2),
        "ratio": round(middle.rate() / canvas.fps, 2),
        "cpu_ratio": round(max(spent.rate(threads) for spent in warm) / canvas.fps, 2),
        "range": [round(rate / canvas.fps, 2) for rate in (min(rates), max(rates))],
        "cold_ratio": round(cold.rate() / canvas.fps, 2),
        "first_seconds": round(middle.first, 3),
        "seconds": {name: round(seconds, 3) for name, seconds in middle.wall.items()},
        "cpu_seconds": {name: round(seconds, 3) for name, seconds in middle.cpu.items()},
    }


def _asked(frames: int, fast: bool) -> Request:
    from wan22.types import Request

    return Request(prompt=PROMPT, frames=frames, fast=fast)


def lines(row: dict[str, Any]) -> Iterator[str]:
    """The figures for people."""
    width, height = row["size"]
    sampler = "few steps" if row["fast"] else "all steps"
    made_of = f"{row['frames']} frames of {width}x{height} in {row['clips']} clips, {row['threads']} threads"
    yield f"{row['model']}, {sampler}: {made_of}"
    yield ""
    yield f"{'':10} {'seconds':>8} {'processor':>10}"
    for name, seconds in row["seconds"].items():
        yield f"{name:10} {seconds:8.2f} {row['cpu_seconds'][name]:10.2f}"
    wall, cpu = sum(row["seconds"].values()), sum(row["cpu_seconds"].values())
    yield f"{'all':10} {wall:8.2f} {cpu:10.2f}"
    yield ""
    least, most = row["range"]
    yield f"shown {row['shown']:g} frames a second, made {row['made']:g}: ratio {row['ratio']} ({least} to {most})"
    yield f"ratio of the processor {row['cpu_ratio']}; of the first video, which reads weights, {row['cold_ratio']}"
    yield f"the first clip plays after {row['first_seconds']:.2f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if frames are shown faster than they are made."""
    parser = argparse.ArgumentParser(
        "python -m bench.realtime", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None, help="of torch (default: one for each core)")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3, help="videos after the first")
    parser.add_argument("--full", action="store_true", help="all steps, not the few of --fast")
    parser.add_argument("-o", "--output", type=Path, help="write the figures here (json)")
    options = parser.parse_args(arguments)
    for name, least in (("clips", 2), ("repeats", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    import torch

    import wan22

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    engine = wan22.load(options.model, device=options.device)
    row = measured(engine, options.clips, torch.get_num_threads(), options.repeats, fast=not options.full)
    for line in lines(row):
        print(line)
    if options.output:
        options.output.write_text(json.dumps(row, indent=1) + "\n")
    return 0 if row["ratio"] > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
