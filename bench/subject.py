"""Does a LoRA teach a subject that the model has never seen? Videos of held-out shots, with it and without.

    python -m bench.subject --model M --lora HIGH@high --lora LOW@low [--count 30] [-o FILE] [--sheet FILE]

The prompts are the film set's held-out shots of a mushroom, which no training draws, in held-out phrasings. The bare
model and the model with the LoRAs make each with the same seed, and `bench.subject_judge` says from pixels which body
stands there. Its own share of right answers on held-out renders stands beside: that is what a perfect model could get.
Prompts of the other subjects, and the flow matching loss on held-out clips at fixed noise, say what else has changed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import wan22
from bench.experts import gain, losses
from bench.quality import FPS, FRAMES, drawn_size, make
from bench.subject_judge import Judge, check, clips_of, fit, looks_at_renders, ordinary, shares
from wan22.catalog import Variant
from wan22.engine import Engine
from wan22.errors import OptionError
from wan22.media.image import write_image
from wan22.production.options import parse_lora
from wan22.stage.caption import caption
from wan22.stage.labels import Shot, labels
from wan22.train.evaluation.bands import SIGMAS, expert_at
from wan22.train.evaluation.recipe import EvalPrompt

SUBJECT = "mushroom"
LANGUAGE = "en"
_SHOTS_SEED = 4000  # held-out shots, of series that nothing else draws from


@dataclass(frozen=True)
class Amounts:
    """Held-out prompts of the subject, prompts of other subjects, and clips of either for the loss."""

    videos: int = 30
    others: int = 10
    clips: int = 12

    def __post_init__(self) -> None:
        if self.videos < 1 or min(self.others, self.clips) < 0:
            raise OptionError(f"at least one video and nothing below 0 are needed; got {self}")


def prompts(count: int, seed: int, subject: str | None) -> list[tuple[Shot, EvalPrompt]]:
    """Held-out shots of one subject (None: of those that training draws) in held-out English that names it."""
    words = random.Random(f"subject {seed}")
    found = []
    for shot in ordinary(count, _SHOTS_SEED + seed, subject, "held-out"):
        said = caption(shot, words, language=LANGUAGE, held_out=True)
        while "subject" not in said.said:
            said = caption(shot, words, language=LANGUAGE, held_out=True)
        named = {axis: value for axis, value in labels(shot).items() if axis in said.said}
        found.append((shot, EvalPrompt(said.text, named)))
    return found


def compare(
    engine: Engine,
    loras: Sequence[wan22.LoRA],
    judge: Judge,
    amounts: Amounts,
    *,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """Make the videos of both rows, bare and with the LoRAs; return every figure, and the videos of the subject."""
    mine, rest = prompts(amounts.videos, seed, SUBJECT), prompts(amounts.others, seed + 1, None)
    held = {
        "subject": prompts(amounts.clips, seed + 2, SUBJECT),
        "others": prompts(amounts.clips, seed + 3, None),
    }
    videos, calls, kept, found = {}, {}, {}, {}
    for row, used in (("bare", ()), ("lora", loras)):
        log(f"{row}: {len(mine)} videos of a {SUBJECT}, {len(rest)} of other subjects")
        engine.use_loras(used)
        videos[row] = [make(engine, asked, seed + i, settings) for i, (_, asked) in enumerate(mine)]
        calls[row] = [judge.call(video) for video in videos[row]]
        kept[row] = [judge.call(make(engine, asked, seed + i, settings)) for i, (_, asked) in enumerate(rest)]
        found[row] = {name: _losses(engine, listed, seed) for name, listed in held.items() if listed}
    asked = [shot.subject for shot, _ in rest]
    return {
        "model": engine.name,
        "weights": engine.weights,
        "loras": [{"file": Path(lora.path).name, "strength": lora.strength} for lora in loras],
        "subject": SUBJECT,
        "seed": seed,
        "settings": {name: value for name, value in (settings or {}).items() if value is not None},
        "videos": len(mine),
        "called": {row: shares(called) for row, called in calls.items()},
        "gain": gain_of(*([call == SUBJECT for call in calls[row]] for row in calls)),
        "others": {
            "videos": len(rest),
            "right": {row: _mean([a == b for a, b in zip(kept[row], asked, strict=True)]) for row in kept},
            "called_subject": {row: _mean([call == SUBJECT for call in kept[row]]) for row in kept},
        },
        "loss": {
            name: bands(found["bare"][name], found["lora"][name], engine.variant) for name in found["bare"]
        },
        "prompts": [
            {"prompt": each.prompt, "bare": before, "lora": after}
            for (_, each), before, after in zip(mine, calls["bare"], calls["lora"], strict=True)
        ],
    }, videos


def _losses(engine: Engine, listed: Sequence[tuple[Shot, EvalPrompt]], seed: int) -> torch.Tensor:
    """Flow matching losses of the film set's own clips of these shots (levels, n)."""
    size = drawn_size(engine)
    clips = clips_of([shot for shot, _ in listed], size, _SHOTS_SEED + seed, frames=FRAMES, fps=FPS)
    return losses(engine, clips, [asked.prompt for _, asked in listed], sigmas=SIGMAS, seeds=1)


def _mean(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def gain_of(bare: Sequence[bool], lora: Sequence[bool]) -> dict[str, Any]:
    """Shares with 95 % intervals (Wilson 1927), their difference, and the videos that changed, both ways."""
    return {
        "bare": _mean(bare),
        "lora": _mean(lora),
        "interval": {"bare": wilson(sum(bare), len(bare)), "lora": wilson(sum(lora), len(lora))},
        "gain": (sum(lora) - sum(bare)) / len(lora),
        "won": sum(b > a for a, b in zip(bare, lora, strict=True)),
        "lost": sum(a > b for a, b in zip(bare, lora, strict=True)),
    }


def wilson(hits: int, of: int, z: float = 1.96) -> list[float]:
    """The interval in which a share lies, of `hits` in `of`."""
    share = hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    reach = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return [round(max(middle - reach, 0.0), 4), round(min(middle + reach, 1.0), 4)]


def bands(bare: torch.Tensor, lora: torch.Tensor, variant: Variant) -> list[dict[str, Any]]:
    """Losses (levels, n) of the levels in `SIGMAS`, by expert and, of the last one, by parts of its side."""
    found = []
    edges = [0.0, 0.25, 0.5, 0.75, 1.0]
    if variant.boundary is not None:
        edges = [edge for edge in edges[:-1] if edge < variant.boundary] + [variant.boundary, 1.0]
    for low, high in pairwise(edges):
        at = [i for i, sigma in enumerate(SIGMAS) if low <= sigma < high]
        before, after = bare[at].mean(0), lora[at].mean(0)
        found.append(
            {
                "from": low,
                "to": high,
                "expert": expert_at(SIGMAS[at[0]], variant),
                "bare": float(before.mean()),
                "lora": float(after.mean()),
                "gain": gain(after, before),
            }
        )
    return found


def lines(result: dict[str, Any]) -> list[str]:
    """The figures for people."""
    subject, of = result["subject"], result["gain"]
    judge, count = result["judge"], result["videos"]
    found = [
        f"judge: held-out renders called right {judge['right']:.0%}, a {subject} {judge['seen']:.0%}; "
        f"others called {subject} {judge['false']:.0%}",
        "",
        f"{f'{count} videos of a {subject}':24} {f'called {subject}':>15}   95 % interval     called else",
    ]
    for row, called in result["called"].items():
        low, high = of["interval"][row]
        else_ = ", ".join(
            f"{kind} {share:.0%}" for kind, share in called.items() if share and kind != subject
        )
        found.append(f"{row:24} {of[row]:15.1%}   {low:5.1%} to {high:6.1%}   {else_ or '-'}")
    found.append(f"gain {of['gain']:+.1%}: {of['won']} videos won, {of['lost']} lost")
    if (others := result["others"])["videos"]:
        right, wrong = others["right"], others["called_subject"]
        found += [
            "",
            f"{others['videos']} videos of other subjects: called what was asked {right['bare']:.0%} bare, "
            f"{right['lora']:.0%} with the LoRA; called {subject} {wrong['bare']:.0%}, {wrong['lora']:.0%}",
        ]
    for name, rows in result["loss"].items():
        found += ["", f"loss on held-out clips, {subject if name == 'subject' else 'other subjects'}"]
        found.append(f"{'sigma':>14}  {'expert':6} {'bare':>9} {'lora':>9}   lower by")
        for row in rows:
            found.append(
                f"{row['from']:5.3g} to {row['to']:5.3g}  {row['expert']:6} {row['bare']:9.5f} {row['lora']:9.5f}   "
                f"{row['gain']['share']:+.1%} +-{row['gain']['error']:.1%}"
            )
    return found


def sheet(
    videos: dict[str, list[np.ndarray]], calls: Sequence[dict[str, Any]], columns: int = 4
) -> np.ndarray:
    """Both rows as an image: prompts in columns, three moments of each video; above bare, below with the LoRAs.

    A bar under a video is green where it is called the subject.
    """
    cells = []
    for i, call in enumerate(calls):
        strips = []
        for row in ("bare", "lora"):
            video = videos[row][i]
            strip = np.concatenate([video[int(t)] for t in np.linspace(1, len(video) - 1, 3)], axis=1)
            strip = np.concatenate([strip, np.empty((4, *strip.shape[1:]), np.uint8)])
            strip[-4:] = (60, 170, 60) if call[row] == SUBJECT else (205, 205, 205)
            strips.append(strip)
        cells.append(np.pad(np.concatenate(strips), ((3, 9), (4, 4), (0, 0)), constant_values=255))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


def judged(size: tuple[int, int], looks: int, of: int) -> tuple[Judge, dict[str, Any]]:
    """A judge fitted on `looks` training renders of each kind, and what it says of `of` held-out ones of each."""
    judge = fit(looks_at_renders(looks, size))
    table = check(judge, of, size)
    others = [called[SUBJECT] for kind, called in table.items() if kind != SUBJECT]
    return judge, {
        "renders": {"fitted": looks, "checked": of},
        "right": float(np.mean([called[kind] for kind, called in table.items()])),
        "seen": table[SUBJECT][SUBJECT],
        "false": float(np.mean(others)),
        "called": table,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    engine = wan22.load(options.model, device=options.device)
    loras = [wan22.LoRA(*parse_lora(text)) for text in options.lora]
    engine.use_loras(loras)  # a file that does not fit is refused before the renders
    print(f"fitting the judge: {options.looks} renders of each subject")
    judge, said = judged(drawn_size(engine), options.looks, options.checked)
    amounts = Amounts(options.count, options.others, options.clips)
    result, videos = compare(
        engine, loras, judge, amounts, seed=options.seed, settings={"steps": options.steps}
    )
    result["judge"] = said
    print("\n".join(lines(result)))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if options.sheet:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        write_image(options.sheet, sheet(videos, result["prompts"][: options.images]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--lora",
        action="append",
        required=True,
        metavar="FILE[:STRENGTH][@high|low]",
        help="as in wan22 generate",
    )
    parser.add_argument("--count", type=int, default=30, help="held-out prompts of the subject")
    parser.add_argument("--others", type=int, default=10, help="held-out prompts of other subjects")
    parser.add_argument("--clips", type=int, default=12, help="held-out clips for the loss (0: none)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=None, help="sampling steps [default: the model's]")
    parser.add_argument(
        "--looks", type=int, default=100, help="renders of each subject that the judge is fitted on"
    )
    parser.add_argument(
        "--checked", type=int, default=30, help="held-out renders of each that it is checked on"
    )
    parser.add_argument("--images", type=int, default=12, help="prompts on the sheet")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here (png)")
    parser.add_argument("-o", "--output", type=Path, help="write the figures here (json)")
    return parser


if __name__ == "__main__":
    main()
