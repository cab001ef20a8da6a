"""Is a video of few steps as good as one of many? Both of the same prompts and seeds: measured, timed, side by side.

    python -m bench.fast [--model nano] [--count 100] [--seed 0] [--language en] [--sheet FILE] [-o FILE]

The prompts are the film set's held-out list, in phrasings that no training saw. Each video is made by the model's own
sampler and by the adapters that it ships; `wan22.director.measure` says what both show, and only what a phrasing says
is judged. `alike` is the PSNR between the two videos: the student is taught to make the teacher's very video.
Seconds are of the steps alone, and of the whole video with text and VAE.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

import numpy as np
import torch

import wan22
from bench.quality import drawn_size, share, verdicts
from wan22.engine import Engine
from wan22.errors import OptionError
from wan22.media.image import write_image
from wan22.pipeline import collect
from wan22.train.evaluation.material import held_out
from wan22.train.evaluation.metrics import mean_psnr, psnr
from wan22.train.evaluation.recipe import EvalPrompt
from wan22.train.evaluation.report import adherence
from wan22.types import Event, Progress, Request

MOMENTS = 4
SHEET_VIDEOS = 16
"""Videos on a sheet."""


@dataclass
class NoiseRange:
    """The videos of one sampler, and how long each took, in its steps and as a whole."""

    videos: list[np.ndarray] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def make(self, engine: Engine, request: Request) -> None:
        """Make one more video."""
        spent: list[float] = []

        def note(event: Event) -> None:
            if isinstance(event, Progress):
                spent.append(event.seconds)

        began = perf_counter()
        self.videos.append(collect(engine.generate(request), note).frames)
        self.whole.append(perf_counter() - began)
        self.steps.append(sum(spent))


def compare(
    engine: Engine, asked: Sequence[EvalPrompt], seed: int = 0
) -> tuple[dict[str, Any], NoiseRange, NoiseRange]:
    """Make every video by both samplers; return the figures, and both sides.

    Raises OptionError for a model that ships no adapters for few steps.
    """
    if not asked:
        raise OptionError("at least one video is needed, not 0")
    requests = [Request(prompt=a.prompt, size=drawn_size(engine), seed=seed + i) for i, a in enumerate(asked)]
    engine.check(fast_of(requests[0]))
    full, fast = NoiseRange(), NoiseRange()
    for request in requests:
        full.make(engine, request)
    for request in requests:
        fast.make(engine, fast_of(request))
    rows = {
        name: adherence(
            [{"verdicts": verdicts(video, a)} for video, a in zip(side.videos, asked, strict=True)]
        )
        for name, side in (("full", full), ("fast", fast))
    }
    row = engine.variant
    assert row.fast is not None
    alike = [float(mean_psnr(psnr(a, b).tolist())) for a, b in zip(full.videos, fast.videos, strict=True)]
    result = {
        "model": engine.name,
        "weights": engine.weights,
        "adapters": engine.fast.recipe(),
        "videos": len(asked),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "steps": {"full": row.defaults.steps, "fast": row.fast.steps},
        "seconds": {name: _seconds(side) for name, side in (("full", full), ("fast", fast))},
        "sharpness": {"full": _sharpness(full.videos), "fast": _sharpness(fast.videos)},
        "alike_psnr": round(fmean(alike), 2),
        "all": {name: round(share(table), 4) for name, table in rows.items()},
        "adherence": {
            axis: {name: round(rows[name][axis]["videos"], 4) for name in rows} | {"of": _of(rows, axis)}
            for axis in rows["full"]
            if axis in rows["fast"]
        },
    }
    return result, full, fast


def fast_of(request: Request) -> Request:
    """The same request in the few steps of the model's adapters."""
    return Request(prompt=request.prompt, size=request.size, seed=request.seed, fast=True)


def _seconds(side: NoiseRange) -> dict[str, float]:
    """The median over videos; the first one of a side also reads weights."""
    return {"steps": round(median(side.steps), 3), "whole": round(median(side.whole), 3)}


def _sharpness(videos: Sequence[np.ndarray]) -> float:
    """How much neighbouring pixels differ, of 255: what is blurred has less."""
    return round(fmean(float(np.abs(np.diff(video.astype(np.int16), axis=2)).mean()) for video in videos), 3)


def _of(rows: dict[str, Any], axis: str) -> list[int]:
    """How many videos were judged: what cannot be told from a video is not, so that both may differ."""
    return [rows[name][axis]["of"] for name in rows]


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The figures for people."""
    steps, seconds = result["steps"], result["seconds"]
    yield f"{result['videos']} videos of {result['model']}, {result['threads']} threads"
    yield ""
    yield f"{'':18} {'full':>8} {'fast':>8}"
    yield f"{'steps':18} {steps['full']:8} {steps['fast']:8}"
    for name, what in (("steps", "seconds of steps"), ("whole", "seconds a video")):
        full, fast = seconds["full"][name], seconds["fast"][name]
        yield f"{what:18} {full:8.2f} {fast:8.2f}   {full / fast:.1f} times as fast"
    yield f"{'sharpness':18} {result['sharpness']['full']:8.2f} {result['sharpness']['fast']:8.2f}"
    yield f"{'all that was asked':18} {result['all']['full']:8.1%} {result['all']['fast']:8.1%}"
    for axis, row in result["adherence"].items():
        of = "/".join(str(n) for n in dict.fromkeys(row["of"]))
        yield f"{axis:18} {row['full']:8.1%} {row['fast']:8.1%}   of {of}"
    yield ""
    yield f"fast against full: {result['alike_psnr']} dB"


def sheet(full: Sequence[np.ndarray], fast: Sequence[np.ndarray]) -> np.ndarray:
    """Moments of each video: the full one's on the left, those of few steps on the right, twice enlarged."""
    rows = []
    for pair in zip(full[:SHEET_VIDEOS], fast[:SHEET_VIDEOS], strict=True):
        sides = [
            np.pad(
                np.concatenate([f[int(i)] for i in np.linspace(0, len(f) - 1, MOMENTS)], axis=1),
                ((2, 2), (6, 6), (0, 0)),
                constant_values=255,
            )
            for f in pair
        ]
        rows.append(np.concatenate(sides, axis=1))
    return np.concatenate(rows).repeat(2, axis=0).repeat(2, axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    if options.count < 1:
        raise OptionError(f"at least one video is needed, not {options.count}")
    engine = wan22.load(options.model, device=options.device)
    asked = [each for _, each in held_out(options.count, options.seed, options.language)]
    result, full, fast = compare(engine, asked, options.seed)
    for line in lines(result):
        print(line)
    if options.sheet:
        write_image(options.sheet, sheet(full.videos, fast.videos))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.fast", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--language", default=None, help="say all in one: en, zh, ... (default: by share)")
    parser.add_argument("--sheet", type=Path, help="write the videos side by side here (png)")
    parser.add_argument("-o", "--output", type=Path, help="write the figures here (json)")
    return parser


if __name__ == "__main__":
    main()
