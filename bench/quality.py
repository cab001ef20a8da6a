"""Does the embedded model draw what is said? Measured from pixels, on combinations and captions never trained on.

    python -m bench.quality [--model nano] [--count 200] [--steps N] [--guidance LOW,HIGH] [--sheet FILE] [-o FILE]

For each held-out combination of labels a film is made from a held-out phrasing, and `wan22.director.measure` (colour
statistics and optical flow, no classifier) says what the film shows. Beside it stand the same measures on perfect
clips of the same labels: what the measure itself can reach. The VAE is judged on held-out clips, frame by frame.
"""

import argparse
import json
from pathlib import Path
from random import Random
from time import monotonic

import numpy as np
import torch

import wan22
from wan22.director.measure import MEASURED, expected, measure
from wan22.media.image import write_image
from wan22.pipeline import collect
from wan22.stage.caption import held_out_caption
from wan22.stage.labels import Shot, sample
from wan22.stage.render import render
from wan22.train.vae import psnr_per_frame
from wan22.types import Request

TARGETS = {"colour": 0.95, "time": 0.95, "tone": 0.95, "shot": 0.90, "camera": 0.75, "action": 0.70}
PSNR_MEAN, PSNR_LEAST = 28.5, 26.0
_ACTIONS = ("still", "roll left", "roll right", "bounce")  # those that the bar names


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--guidance", default=None)
    parser.add_argument(
        "--sheet", type=Path, default=None, help="write a contact sheet of 24 films here (png)"
    )
    parser.add_argument("-o", "--output", type=Path, default=None, help="write the figures here (json)")
    options = parser.parse_args()

    engine = wan22.load(options.model, device="cpu")
    shots = sample(options.count, seed=1000 + options.seed, split="held-out")
    words = Random(options.seed)
    prompts = [held_out_caption(shot, words) for shot in shots]
    guidance = tuple(float(g) for g in options.guidance.split(",")) if options.guidance else None
    started = monotonic()
    films = []
    for i, prompt in enumerate(prompts):
        request = Request(
            prompt=prompt, size=(96, 64), steps=options.steps, guidance=guidance, seed=options.seed + i
        )
        films.append(collect(engine.generate(request)).frames)
    seconds = (monotonic() - started) / len(films)

    perfect = [clip.numpy() for clip in render(shots, seed=77 + options.seed)]
    table = {axis: _row(axis, shots, films, perfect) for axis in MEASURED}
    psnr = psnr_per_frame(engine.vae(), render(sample(64, seed=5, split="held-out"), seed=5).numpy())
    result = {
        "model": options.model,
        "weights": engine.weights,
        "films": len(films),
        "steps": options.steps or engine.variant.defaults.steps,
        "guidance": guidance or engine.variant.defaults.guidance,
        "seconds_per_film": round(seconds, 2),
        "threads": torch.get_num_threads(),
        "obeyed": table,
        "vae_psnr": [round(float(p), 2) for p in psnr],
    }
    _show(result)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    if options.sheet:
        write_image(options.sheet, sheet(films[:24], columns=3))


def _row(axis: str, shots: list[Shot], films: list[np.ndarray], perfect: list[np.ndarray]) -> dict:
    keep = [i for i, s in enumerate(shots) if axis != "action" or s.action in _ACTIONS]

    def share(clips: list[np.ndarray]) -> float:
        return sum(expected(shots[i], axis) == getattr(measure(clips[i], 8.0), axis) for i in keep) / len(
            keep
        )

    return {"films": round(share(films), 3), "perfect": round(share(perfect), 3), "of": len(keep)}


def _show(result: dict) -> None:
    print(f"{result['films']} films, {result['steps']} steps, {result['seconds_per_film']} s each")
    print(f"{'axis':8} {'films':>7} {'perfect':>8} {'target':>7}")
    for axis, row in result["obeyed"].items():
        target = TARGETS.get(axis)
        print(f"{axis:8} {row['films']:7.1%} {row['perfect']:8.1%} {f'{target:.0%}' if target else '-':>7}")
    psnr = result["vae_psnr"]
    mean = -10 * np.log10(np.mean([10 ** (-p / 10) for p in psnr]))
    print(f"VAE: {mean:.2f} dB (target {PSNR_MEAN}), worst frame {min(psnr):.2f} dB (target {PSNR_LEAST})")


def sheet(films: list[np.ndarray], columns: int) -> np.ndarray:
    """Four moments of each film side by side, films in a grid, twice enlarged."""
    strips = [np.concatenate([f[int(i)] for i in np.linspace(0, len(f) - 1, 4)], axis=1) for f in films]
    strips = [np.pad(s, ((2, 2), (3, 3), (0, 0)), constant_values=255) for s in strips]
    rows = [np.concatenate(strips[i : i + columns], axis=1) for i in range(0, len(strips), columns)]
    rows = [r for r in rows if r.shape[1] == rows[0].shape[1]]
    return np.concatenate(rows).repeat(2, axis=0).repeat(2, axis=1)


if __name__ == "__main__":
    main()
