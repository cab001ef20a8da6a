"""What does each accelerator cost? Speed, and what becomes of the video: measured on the same prompts and seeds.

    python -m bench.accelerators [--model nano] [--count 8] [--seeds 1] [--seed 0] [--language en] [--only NAME,NAME]
                                 [--calibration FILE] [--calibrate FILE] [--sheet FILE] [-o FILE]

The prompts are the film set's held-out list. Each video is made plainly and by every accelerator in turn, so that what
else the machine does meets all alike. Columns:

    speed        time of the denoising steps, plain over accelerated; on a CPU of processor time, else of the clock
    left out     share of the steps whose blocks were left out (a first block counts as left out)
    latents      relative L2 distance of the latents from the plain ones, mean
    PSNR         of the frames against the plain ones, in dB (of the mean squared error over all videos)
    motion       amount of motion (mean optical flow) relative to the plain videos, in percent
    matches      of all that the prompts say and that can be told, the share that is shown; and against the plain videos

Ctrl-C ends early, with the table of what was made until then. `--calibrate FILE` measures what magcache and teacache
need to know of the model, over the same prompts, and stops.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

import wan22
from bench.quality import contact, drawn_size, share, verdicts
from wan22.catalog import Calibration
from wan22.engine import Engine
from wan22.errors import OptionError, choose
from wan22.media.image import write_image
from wan22.pipeline import collect
from wan22.production.calibration import check_calibration, write_calibration
from wan22.sampling.calibration import Recorder
from wan22.train.evaluation.material import held_out
from wan22.train.evaluation.metrics import mean_psnr, motion_amount, psnr
from wan22.train.evaluation.recipe import EvalPrompt
from wan22.train.evaluation.report import adherence
from wan22.types import Event, Latents, Progress, Request

PLAIN = "plain"
SETTINGS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "first-block:0.05": {"cache": "first-block:0.05"},
    "first-block:0.1": {"cache": "first-block:0.1"},
    "first-block:0.2": {"cache": "first-block:0.2"},
    "teacache:0.1": {"cache": "teacache:0.1"},
    "teacache:0.2": {"cache": "teacache:0.2"},
    "magcache:0.06": {"cache": "magcache:0.06"},
    "magcache:0.12": {"cache": "magcache:0.12"},
    "guidance 0-0.5": {"guidance_interval": (0.0, 0.5)},
    "guidance 0.1-0.7": {"guidance_interval": (0.1, 0.7)},
    "first-block:0.1 + guidance 0-0.5": {"cache": "first-block:0.1", "guidance_interval": (0.0, 0.5)},
    "teacache:0.1 + guidance 0-0.5": {"cache": "teacache:0.1", "guidance_interval": (0.0, 0.5)},
    "half the steps": {"steps": 0.5},
    "fast": {"fast": True},
}
"""Fields of a request by the name of the row; steps are a share of the model's own. Half the steps are there to beat:
what is no better than fewer steps is no accelerator.
"""
SHEET_VIDEOS = 6


@dataclass
class Made:
    """The videos of one setting, and what was spent on them."""

    videos: list[np.ndarray] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reused: list[float] = field(default_factory=list)

    def make(self, engine: Engine, request: Request) -> None:
        """Make one more video."""
        clock = process_time if engine.device.type == "cpu" else perf_counter
        since, seconds, reused, latents = clock(), [], [], []

        def note(event: Event) -> None:
            nonlocal since
            now = clock()
            if isinstance(event, Progress):
                seconds.append(now - since)
                reused.append(event.reused)
            if isinstance(event, Latents):
                latents.append(event.tensors["latents"])
            since = now

        self.videos.append(collect(engine.generate(request), note).frames)
        self.latents += latents
        self.seconds.append(sum(seconds))
        self.reused.append(fmean(reused))

    def first(self, count: int) -> Made:
        """Only the first videos."""
        return Made(self.videos[:count], self.latents[:count], self.seconds[:count], self.reused[:count])


def run(
    engine: Engine, asked: Sequence[EvalPrompt], seeds: Sequence[int], names: Sequence[str]
) -> dict[str, Made]:
    """Make every video by every setting, in turn. Interrupted, it returns what every setting has made."""
    made = {name: Made() for name in names}
    Made().make(engine, _request(engine, asked[0], seeds[0], PLAIN))  # reads the weights
    try:
        for i, each in enumerate(asked):
            for seed in seeds:
                for name in names:
                    made[name].make(engine, _request(engine, each, seed + 1000 * i, name))
    except KeyboardInterrupt:
        print("interrupted")
    count = min(len(one.videos) for one in made.values())
    return {name: one.first(count) for name, one in made.items()}


def _request(engine: Engine, asked: EvalPrompt, seed: int, name: str) -> Request:
    settings = dict(SETTINGS[name])
    if "steps" in settings:
        settings["steps"] = max(1, round(settings["steps"] * engine.variant.defaults.steps))
    return replace(Request(prompt=asked.prompt, size=drawn_size(engine), seed=seed), **settings)


def usable(engine: Engine, asked: EvalPrompt) -> list[str]:
    """The settings that the model can be asked for: it may have no adapters for few steps, or no calibration."""
    found = []
    for name in SETTINGS:
        try:
            engine.check(_request(engine, asked, 0, name))
        except OptionError:
            continue
        found.append(name)
    return found


@dataclass(frozen=True)
class Row:
    """A line of the table; see the top of this file."""

    name: str
    speed: float
    left_out: float
    latents: float | None
    psnr: float | None
    motion: float
    matches: float
    change: float
    judged: int


def rows(made: Mapping[str, Made], asked: Sequence[EvalPrompt]) -> list[Row]:
    """The table: every setting against the plain one. `asked` has the prompt of every video."""
    plain = made[PLAIN]
    boards = {
        name: adherence(
            [{"verdicts": verdicts(video, each)} for video, each in zip(one.videos, asked, strict=True)]
        )
        for name, one in made.items()
    }
    motion = {name: fmean(motion_amount(video) for video in one.videos) for name, one in made.items()}
    found = []
    for name, one in made.items():
        apart = [float((a - b).norm() / b.norm()) for a, b in zip(one.latents, plain.latents, strict=True)]
        pairs = zip(one.videos, plain.videos, strict=True)
        alike = [value for a, b in pairs for value in psnr(a, b).tolist()]
        found.append(
            Row(
                name=name,
                speed=round(sum(plain.seconds) / sum(one.seconds), 2),
                left_out=round(fmean(one.reused), 3),
                latents=None if name == PLAIN else round(fmean(apart), 3),
                psnr=None if name == PLAIN else round(mean_psnr(alike), 1),
                motion=round(100 * (motion[name] / motion[PLAIN] - 1), 1),
                matches=round(share(boards[name]), 3),
                change=round(share(boards[name]) - share(boards[PLAIN]), 3),
                judged=sum(row["of"] for row in boards[name].values()),
            )
        )
    return found


def lines(table: Sequence[Row]) -> Iterator[str]:
    """The table in Markdown."""
    yield "| | speed | left out | latents | PSNR | motion | matches |"
    yield "|---|---|---|---|---|---|---|"
    for row in table:
        if row.name == PLAIN:
            yield f"| {row.name} | 1 | | | | | {row.matches:.1%} |"
            continue
        left = f"{row.left_out:.0%}" if row.left_out else ""
        yield (
            f"| {row.name} | {row.speed:.2f} | {left} | {row.latents:.3f} | {row.psnr:.1f} | {row.motion:+.1f} % | "
            f"{row.matches:.1%} ({100 * row.change:+.1f}) |"
        )


def calibrate(engine: Engine, asked: Sequence[EvalPrompt], seeds: Sequence[int]) -> dict[str, Calibration]:
    """What step caches need to know of each expert, over all prompts and seeds."""
    engine.recorder = Recorder()
    for i, each in enumerate(asked):
        for seed in seeds:
            for event in engine.generate(_request(engine, each, seed + 1000 * i, PLAIN)):
                if isinstance(event, Latents):
                    break
    found, engine.recorder = engine.recorder.calibrations(), None
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    if min(options.count, options.seeds) < 1:
        raise OptionError(
            f"at least one video is needed, not {options.count} prompts of {options.seeds} seeds"
        )
    names = options.only.split(",") if options.only else None
    for name in names or ():
        choose("accelerator", name, list(SETTINGS))
    engine = wan22.load(options.model, device=options.device, calibration=options.calibration)
    asked = [each for _, each in held_out(options.count, options.seed, options.language)]
    seeds = range(options.seed, options.seed + options.seeds)
    if options.calibrate:
        check_calibration(str(options.calibrate))
        write_calibration(str(options.calibrate), engine, calibrate(engine, asked, seeds))
        return
    names = [PLAIN, *(name for name in names or usable(engine, asked[0]) if name != PLAIN)]
    made = run(engine, asked, seeds, names)
    count = len(made[PLAIN].videos)
    table = rows(made, [each for each in asked for _ in seeds][:count])
    head = f"{count} videos of {engine.name}, {torch.get_num_threads()} threads"
    print(f"{head}; {table[0].judged} things judged\n")
    for line in lines(table):
        print(line)
    if options.sheet:
        write_image(options.sheet, np.concatenate([_strip(one) for one in made.values()]))
    if options.output:
        values = {"model": engine.name, "weights": engine.weights, "rows": [asdict(row) for row in table]}
        options.output.write_text(json.dumps(values, indent=1) + "\n")


def _strip(one: Made) -> np.ndarray:
    """A row of the sheet: moments of the first videos of a setting."""
    return contact(one.videos[:SHEET_VIDEOS], min(SHEET_VIDEOS, len(one.videos)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench.accelerators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--count", type=int, default=8, help="how many prompts")
    parser.add_argument("--seeds", type=int, default=1, help="videos of each prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--language", default=None, help="say all in one: en, zh, ... (default: by share)")
    parser.add_argument("--only", help="these rows alone, with commas")
    parser.add_argument(
        "--calibration", type=Path, help="what --calibrate measured, of a model that has none"
    )
    parser.add_argument("--calibrate", type=Path, help="measure that, write it here (json), and stop")
    parser.add_argument(
        "--sheet", type=Path, help="write moments of the videos here (png), a row for each setting"
    )
    parser.add_argument("-o", "--output", type=Path, help="write the figures here (json)")
    return parser


if __name__ == "__main__":
    main()
