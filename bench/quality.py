"""Does a model trained on the film set draw what is said? Measured from pixels, on what no training saw.

    python -m bench.quality [--model nano] [--count 200] [--seed 0] [--steps N] [--shift S] [--guidance LOW,HIGH]
                            [--rescale R] [--strength S] [--best-of N] [--vae] [--images N]
                            [--only tone,camera] [--language en] [--sheet FILE] [-o FILE]

For each held-out combination of labels a video is made from a held-out phrasing, and `wan22.director.measure` says what
it shows; only what the phrasing says is judged. Beside it stand the same verdicts on the set's own renders of the same
labels: what the measure itself can reach; with `--vae` also on what the VAE leaves of these. With `--best-of`
a video is the best of so many takes by the score of `wan22 generate --best-of`, on the labels of what is said:
chosen by the measure that also judges it. The VAE is judged on held-out clips frame by frame, and image to
video by the first frame that is given and by whether it then moves as asked.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch

import wan22
from wan22.director.camera import DIRECTIONS
from wan22.director.judge import score
from wan22.director.measure import judge, measure
from wan22.engine import Engine
from wan22.errors import OptionError, choose
from wan22.media.image import write_image
from wan22.nano.vae import psnr_per_frame
from wan22.pipeline import collect
from wan22.postprocess import to_frames
from wan22.stage.labels import AXES, Shot, sample
from wan22.stage.render import render
from wan22.train.evaluation.material import STAGE_SEED, held_out, to_video
from wan22.train.evaluation.metrics import mean_psnr, psnr
from wan22.train.evaluation.recipe import EvalPrompt
from wan22.train.evaluation.report import adherence
from wan22.train.evaluation.video_scores import compare
from wan22.types import Clip, Request

SIZE, FRAMES, FPS = (128, 80), 17, 8.0
VAE_BAR, FIRST_BAR = 32.0, 30.0
"""Decibels: the VAE there and back, mean over clips; and the first frame of a video against the image given."""

_FAMILY = {"dawn": "twilight", "dusk": "twilight", "sunrise": "golden", "sunset": "golden"}


def _direction(moves: str) -> str:
    """Where a camera goes, without by which kind of movement."""
    return "+".join(sorted({DIRECTIONS.get(move, move) for move in moves.split("+")}))


VIEWS: dict[str, tuple[str, Callable[[str], str]]] = {
    "time family": ("time", lambda value: _FAMILY.get(value, value)),
    "still or moving": ("camera", lambda value: "still" if value == "static" else "moving"),
    "camera direction": ("camera", _direction),
}
"""Coarser readings of an axis: day, golden, twilight or night; whether the camera moves at all; and where to."""

TARGETS = {
    "colour": 0.95,
    "time family": 0.95,
    "tone": 0.95,
    "still or moving": 0.95,
    "camera direction": 0.90,
    "action": 0.90,
    "shot_size": 0.90,
}
OTHERS = 0.80
_APART = 100_000
"""Between the seeds of a video's takes: those between are other videos'."""
_MOVES = ("camera direction", "camera", "action", "still or moving")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    only = options.only.split(",") if options.only else None
    for axis in only or ():
        choose("axis", axis, (*AXES, *VIEWS))
    if options.strength is not None and not 0 < options.strength <= 1:
        raise OptionError(f"--strength must be above 0 and at most 1, not {options.strength}")
    if options.best_of < 1:
        raise OptionError(f"--best-of needs at least one take, not {options.best_of}")
    settings = {
        "steps": options.steps,
        "shift": options.shift,
        "guidance": _guidance(options.guidance),
        "guidance_rescale": options.rescale,
    } | ({} if options.strength is None else {"strength": options.strength})
    engine = wan22.load(options.model, device=options.device)
    result = scoreboard(
        engine,
        options.count,
        seed=options.seed,
        language=options.language,
        images=min(options.count, options.images),
        settings=settings,
        sheet=options.sheet,
        through_vae=options.vae,
        takes=options.best_of,
    )
    for line in lines(result, only):
        print(line)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--shift", type=float, default=None)
    parser.add_argument("--guidance", default=None)
    parser.add_argument("--rescale", type=float, default=None, help="share of guidance's contrast taken back")
    parser.add_argument("--only", default=None, help="show these axes only, with commas between")
    parser.add_argument(
        "--language", default=None, help="say all in one: en, zh, ... (default: by their share in training)"
    )
    parser.add_argument("--images", type=int, default=40, help="videos from a first frame (0: none)")
    parser.add_argument(
        "--strength",
        type=float,
        help="begin with the perfect videos, taken back to this share of noise: where is it that adherence is lost?",
    )
    parser.add_argument(
        "--best-of", type=int, default=1, help="takes of every video, of which the best counts"
    )
    parser.add_argument(
        "--vae", action="store_true", help="judge the perfect videos after the VAE there and back too"
    )
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of 24 videos here (png)")
    parser.add_argument("-o", "--output", type=Path, help="write the figures here (json)")
    return parser


def _guidance(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    numbers = tuple(float(part) for part in text.split(","))
    if len(numbers) > 2:
        raise OptionError(f"guidance is one number or LOW,HIGH; not {text!r}")
    return numbers[0], numbers[-1]


def scoreboard(  # noqa: PLR0913 - each is an option of the command
    engine: Engine,
    count: int,
    *,
    seed: int = 0,
    language: str | None = None,
    images: int = 0,
    settings: dict[str, Any] | None = None,
    sheet: Path | None = None,
    through_vae: bool = False,
    takes: int = 1,
) -> dict[str, Any]:
    """Make `count` videos of the held-out list, and `images` more from a first frame; return every figure.

    `settings` are fields of a Request. With a `strength`, videos begin with the set's own renders, taken back to that
    share of noise. Of `takes` the best is a video's; those from a first frame are single takes.
    """
    if count < 1:
        raise OptionError(f"at least one video is needed, not {count}")
    listed = held_out(count, seed, language)
    clips = renders([shot for shot, _ in listed], drawn_size(engine))
    began = monotonic()
    told = settings or {}
    videos = [
        best(
            engine,
            asked,
            seed + i,
            told | ({"video": Clip(clips[i], FPS)} if "strength" in told else {}),
            takes,
        )
        for i, (_, asked) in enumerate(listed)
    ]
    seconds = (monotonic() - began) / count
    given = listed[:images]
    continued = [
        make(engine, asked, seed + i, told | {"image": clips[i][0]}) for i, (_, asked) in enumerate(given)
    ]
    if sheet is not None:
        write_image(sheet, contact(videos[:24], columns=3))
    asked = [each for _, each in listed]
    return {
        "model": engine.name,
        "weights": engine.weights,
        "videos": count,
        "seed": seed,
        "language": language or "all",
        "settings": {name: value for name, value in told.items() if value is not None},
        "takes": takes,
        "seconds_per_video": round(seconds, 2),
        "threads": torch.get_num_threads(),
        "adherence": board(asked, videos, clips, there_and_back(engine, clips) if through_vae else None),
        "vae_psnr": vae_psnr(engine, seed),
        "image": image_scores(asked, continued, clips) if continued else None,
    }


def make(engine: Engine, asked: EvalPrompt, seed: int, settings: dict[str, Any] | None) -> np.ndarray:
    """One video uint8 (T, H, W, 3) at the size of the film set from its prompt; `settings` are fields of a Request."""
    request = Request(prompt=asked.prompt, size=drawn_size(engine), frames=FRAMES, seed=seed)
    return collect(engine.generate(replace(request, **(settings or {})))).frames


def best(
    engine: Engine, asked: EvalPrompt, seed: int, settings: dict[str, Any] | None, takes: int
) -> np.ndarray:
    """Of so many takes the one that obeys best what its prompt says; of equals the first. Seeds are far apart."""
    videos = (make(engine, asked, seed + _APART * k, settings) for k in range(takes))
    if takes == 1:
        return next(videos)
    return max(videos, key=lambda video: score(judge(measure(video, FPS), dict(asked.labels or {}))))


def drawn_size(engine: Engine) -> tuple[int, int]:
    """The size that a model kept to its trained sizes was taught first; of any other, that of the film set."""
    trained = engine.variant.trained
    return trained.sizes[0] if trained is not None and trained.only else SIZE


def renders(shots: Sequence[Shot], size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """The film set's own clips of these shots: what a perfect model would draw."""
    return [
        render([shot], height=size[1], width=size[0], frames=FRAMES, fps=FPS, seed=STAGE_SEED + i)[0].numpy()
        for i, shot in enumerate(shots)
    ]


def verdicts(clip: np.ndarray, asked: EvalPrompt) -> list[dict[str, Any]]:
    """What a clip obeys of what was said, axis by axis, and in the coarser `VIEWS`."""
    found = [
        {"axis": v.axis, "asked": v.asked, "measured": v.measured, "matches": v.matches}
        for v in judge(measure(clip, FPS), dict(asked.labels or {}))
    ]
    by_axis = {each["axis"]: each for each in found}
    for name, (axis, view) in VIEWS.items():
        if axis in by_axis and by_axis[axis]["matches"] is not None:
            each = by_axis[axis]
            seen = [view(str(each[key])) for key in ("asked", "measured")]
            found.append({"axis": name, "asked": seen[0], "measured": seen[1], "matches": seen[0] == seen[1]})
    return found


def board(
    asked: Sequence[EvalPrompt],
    videos: Sequence[np.ndarray],
    perfect: Sequence[np.ndarray],
    through: Sequence[np.ndarray] | None = None,
) -> dict[str, dict[str, Any]]:
    """Adherence per axis beside that of the renders, with counts, the bar, and what was taken for what.

    `through` are the renders after the VAE there and back; its share is "vae", None without them.
    """
    judged, ideal, back = (
        [{"verdicts": verdicts(clip, each)} for clip, each in zip(clips, asked, strict=True)]
        for clips in (videos, perfect, through if through is not None else videos)
    )
    table = adherence(judged, ideal)
    kept = adherence(judged, back) if through is not None else {}
    wrong: dict[str, Counter[str]] = {axis: Counter() for axis in table}
    for verdict in (each for video in judged for each in video["verdicts"] if each["matches"] is False):
        wrong[verdict["axis"]][f"{verdict['asked']} as {verdict['measured']}"] += 1
    return {
        axis: {
            "videos": round(row["videos"], 4),
            "perfect": round(row["references"], 4) if "references" in row else None,
            "vae": round(kept[axis]["references"], 4) if "references" in kept.get(axis, {}) else None,
            "of": row["of"],
            "target": TARGETS.get(axis, OTHERS),
            "wrong": dict(wrong[axis].most_common()),
        }
        for axis, row in table.items()
    }


@torch.inference_mode()
def there_and_back(engine: Engine, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the VAE leaves of clips uint8 (T, H, W, 3)."""
    vae = engine.vae()
    return [to_frames(vae.decode(vae.encode(to_video(clip)))[0]) for clip in clips]


def share(rows: dict[str, Any], of: str = "videos") -> float:
    """Of all that was asked and could be told, the share that was obeyed; coarser views do not count again."""
    counted = [row for axis, row in rows.items() if axis not in VIEWS and row.get(of) is not None]
    return sum(row[of] * row["of"] for row in counted) / max(1, sum(row["of"] for row in counted))


def image_scores(
    asked: Sequence[EvalPrompt], videos: Sequence[np.ndarray], perfect: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Videos from a first frame: how near their first frame is to it, and whether they move as asked."""
    pairs = [compare(video[:1], clip[:1]) for video, clip in zip(videos, perfect, strict=False)]
    moves = board(asked[: len(videos)], videos, perfect[: len(videos)])
    return {
        "videos": len(videos),
        "psnr": mean_psnr([pair["psnr"] for pair in pairs]),
        "worst": min(pair["psnr"] for pair in pairs),
        "ssim": float(np.mean([pair["ssim"] for pair in pairs])),
        # A video that stands still is as near to the first frame at its end as at its beginning.
        "last_frame_psnr": mean_psnr([float(psnr(video[-1:], video[:1])[0]) for video in videos]),
        "moves": {axis: moves[axis] for axis in _MOVES if axis in moves},
    }


def vae_psnr(engine: Engine, seed: int, count: int = 64) -> list[float]:
    """PSNR of the VAE there and back, of every frame index, over held-out clips other than those of the prompts."""
    shots = sample(count, seed=STAGE_SEED + 500 + seed, split="held-out")
    clips = renders(shots, drawn_size(engine))
    return [round(float(p), 2) for p in psnr_per_frame(engine.vae(), np.stack(clips))]


def lines(result: dict[str, Any], only: Sequence[str] | None = None) -> list[str]:
    """The scoreboard for people; bars that are missed are marked."""
    takes = f", the best of {result['takes']} takes" if result["takes"] > 1 else ""
    found = [
        f"{result['videos']} videos of {result['model']}{takes}, {result['seconds_per_video']} s each",
        "",
    ]
    shown = {axis: row for axis, row in result["adherence"].items() if only is None or axis in only}
    made, perfect = (share(result["adherence"], of) for of in ("videos", "perfect"))
    whole = f"all that was asked: {made:.1%}, of perfect videos {perfect:.1%}"
    found += [*_table(shown), "", whole, "", *_wrong(shown)]
    psnr_of = result["vae_psnr"]
    mean = mean_psnr(psnr_of)
    found += [
        "",
        f"VAE: {mean:.2f} dB (bar {VAE_BAR:g}{_missed(mean >= VAE_BAR)}), worst frame {min(psnr_of):.2f} dB",
    ]
    if image := result["image"]:
        near = image["psnr"]
        found += [
            "",
            f"from a first frame, {image['videos']} videos: {near:.2f} dB (bar {FIRST_BAR:g}"
            f"{_missed(near >= FIRST_BAR)}), worst {image['worst']:.2f}, SSIM {image['ssim']:.4f}; "
            f"last frame against first {image['last_frame_psnr']:.2f} dB",
            *_table(image["moves"]),
        ]
    return found


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """`vae`: of perfect videos, what is left after the VAE there and back."""
    found = [f"{'axis':18} {'videos':>7} {'perfect':>8} {'vae':>7} {'target':>7} {'of':>5}"]
    for axis, row in rows.items():
        perfect, back = ("-" if row[key] is None else f"{row[key]:.1%}" for key in ("perfect", "vae"))
        mark = _missed(row["videos"] >= row["target"])
        found.append(
            f"{axis:18} {row['videos']:7.1%} {perfect:>8} {back:>7} {row['target']:7.0%} {row['of']:5}{mark}"
        )
    return found


def _wrong(rows: dict[str, dict[str, Any]]) -> list[str]:
    """What is most often taken for what, on the axes whose bar is missed."""
    missed = {
        axis: list(row["wrong"].items())[:6] for axis, row in rows.items() if row["videos"] < row["target"]
    }
    return [f"{axis}: {', '.join(f'{what} {n}' for what, n in pairs)}" for axis, pairs in missed.items()]


def _missed(reached: bool) -> str:
    return "" if reached else "  missed"


def contact(videos: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Four moments of each video side by side, videos in a grid, twice enlarged."""
    strips = [np.concatenate([f[int(i)] for i in np.linspace(0, len(f) - 1, 4)], axis=1) for f in videos]
    strips = [np.pad(s, ((2, 2), (3, 3), (0, 0)), constant_values=255) for s in strips]
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % columns)
    rows = [np.concatenate(strips[i : i + columns], axis=1) for i in range(0, len(strips), columns)]
    return np.concatenate(rows).repeat(2, axis=0).repeat(2, axis=1)


if __name__ == "__main__":
    main()
