"""Do two experts in time beat one network of the same active parameters? Wan2.2's claim, on the film set.

    python -m bench.experts --train --steps N --folder F     train, on a nano run's small videos, into F/experts
    python -m bench.experts --folder F [--videos 40]          compare them; writes JSON and docs/images/experts.png

All start from the same parameters (`both`: one network trained on all noise for --begin steps) and learn from the same
latents with the same recipe; the text encoder stays as it was. `one` takes N steps over all noise; `high` and `low`
N steps each on their own side of the boundary; `long` is the control: one network for 2N steps, so that both sides
have cost the same to train. Compared are the flow matching loss on the same held-out videos with the same
noise, at each noise level (video by video, so that chance cancels), and what the videos obey.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import wan22
from bench.quality import drawn_size, renders, scoreboard
from wan22.catalog import Trained, Variant, to_json
from wan22.conditioning.text import Tokenizer
from wan22.engine import Engine
from wan22.errors import CheckpointError, OptionError
from wan22.nano.dit import DiTRecipe, DiTWithText, train_dit
from wan22.nano.latents import LatentSet
from wan22.nano.state import load_average
from wan22.train.evaluation.bands import SIGMAS, band_losses, expert_at
from wan22.train.evaluation.material import held_out, to_video
from wan22.train.losses import Batch

Log = Callable[[str], None]

MODELS = {"both": ("both",), "one": ("one",), "long": ("long",), "two": ("high", "low")}
"""What is compared, and the runs that each is made of; `both` is where all began."""


def recipes(base: DiTRecipe, steps: int, boundary: float) -> dict[str, DiTRecipe]:
    """The runs of the experiment: equal but for the noise that they see, and `long` for its length.

    An expert draws its noise levels as `one` does, of those on its own side.
    """
    if steps < 1:
        raise OptionError(f"at least one step is needed, not {steps}")

    def run(length: int, noise: tuple[float, float]) -> DiTRecipe:
        warmup = min(base.optimiser.warmup, max(1, length // 10))
        optimiser = replace(base.optimiser, steps=length, warmup=warmup)
        return replace(base, optimiser=optimiser, noise=noise, train_text=False)

    return {
        "one": run(steps, (0.0, 1.0)),
        "high": run(steps, (boundary, 1.0)),
        "low": run(steps, (0.0, boundary)),
        "long": run(2 * steps, (0.0, 1.0)),
    }


def train(
    runs: Mapping[str, DiTRecipe],
    start: dict[str, Tensor],
    sets: Sequence[tuple[LatentSet, float]],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    log: Log,
    minutes: float | None = None,
) -> dict[str, dict[str, float]]:
    """Train each run into `folder`/NAME, from the same start; resumable. Returns and stores what each has cost."""
    path = folder / "costs.json"
    costs = json.loads(path.read_text()) if path.exists() else {}
    for name, recipe in runs.items():
        log(f"{name}: {recipe.optimiser.steps} steps at noise {recipe.noise[0]:g} to {recipe.noise[1]:g}")
        began = monotonic()
        state = train_dit(recipe, sets, tokenizer, folder / name, log=log, start=start, minutes=minutes)
        before = costs.get(name, {}).get("seconds", 0.0)
        costs[name] = {
            "steps": state.step,
            "of": recipe.optimiser.steps,
            "videos": state.step * recipe.batch,
            "seconds": round(before + monotonic() - began, 1),
        }
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(costs, indent=1) + "\n")
    return costs


def fresh(recipe: DiTRecipe) -> dict[str, Tensor]:
    """Parameters of a network that has learned nothing yet."""
    torch.manual_seed(recipe.seed)
    writer = DiTWithText(recipe.dit, recipe.text)
    writer.init_weights()
    return dict(writer.state_dict())


@dataclass(frozen=True)
class Parts:
    """What models of one experiment share: the catalogue's row of two experts, the VAE, the text encoder, the
    tokenizer's file, and the run from which all start.
    """

    row: Variant
    vae: dict[str, Tensor]
    text: dict[str, Tensor]
    tokenizer: Path
    start: Path


def export(folder: Path, name: str, parts: Parts) -> Path:
    """Write the model `name` of `MODELS` as a folder that `wan22.load` opens, in float32, and return it."""
    runs = [load_average(where(folder, run, parts.start)) for run in MODELS[name]]
    two = len(runs) == 2
    files = ("high_noise_model", "low_noise_model") if two else ("transformer",)
    tensors = {"vae": parts.vae, "text_encoder": parts.text}
    tensors |= {file: _under("dit.", run) for file, run in zip(files, runs, strict=True)}
    target = folder / "models" / name
    target.mkdir(parents=True, exist_ok=True)
    for file, weights in tensors.items():
        whole = {key: value.float().contiguous() for key, value in weights.items()}
        save_file(whole, target / f"{file}.safetensors", metadata={"format": "pt"})
    (target / "tokenizer.json").write_text(parts.tokenizer.read_text())
    row = parts.row if two else replace(parts.row, experts=("dit",), boundary=None)
    # One network knows one guidance, so all have the same, and no rescale, which was chosen for the shipped model:
    # videos differ by the networks alone.
    guidance = sum(row.defaults.guidance) / len(row.defaults.guidance)
    defaults = replace(row.defaults, guidance=(guidance, guidance), guidance_rescale=0.0)
    row = replace(row, name=f"nano-{name}", defaults=defaults, trained=replace(row.trained, only=True))
    (target / "variant.json").write_text(json.dumps(to_json(row), ensure_ascii=False) + "\n")
    return target


def trained(folder: Path, start: Path) -> list[str]:
    """The models of `MODELS` whose runs are all there."""
    return [
        name
        for name, runs in MODELS.items()
        if all((where(folder, run, start) / "state.safetensors").exists() for run in runs)
    ]


def where(folder: Path, run: str, start: Path) -> Path:
    """The folder of a run; `both` is the start."""
    return start if run == "both" else folder / run


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def losses(
    engine: Engine,
    clips: Sequence[np.ndarray],
    prompts: Sequence[str],
    *,
    sigmas: Sequence[float],
    seeds: int,
) -> Tensor:
    """The loss of every video at every level (levels, n), each level by the expert that works there."""
    videos = torch.cat([engine.encode_pixels(to_video(clip)) for clip in clips])
    batch = Batch(videos, engine.encode_text(list(prompts)))
    found = torch.empty(len(sigmas), len(videos), dtype=torch.float64)
    for name in engine.variant.experts:
        mine = [i for i, sigma in enumerate(sigmas) if expert_at(sigma, engine.variant) == name]
        if mine:
            levels = [sigmas[i] for i in mine]
            found[mine] = band_losses(engine.expert(name), batch, engine.variant, sigmas=levels, seeds=seeds)
    return found


def gain(of: Tensor, over: Tensor) -> dict[str, float]:
    """By how much losses `of` (n) lie below those `over` (n) of the same videos: the share, and its standard error."""
    apart = over - of
    error = apart.std() / math.sqrt(len(apart)) if len(apart) > 1 else torch.tensor(0.0)
    return {"share": float(apart.mean() / over.mean()), "error": float(error / over.mean())}


def compare(
    models: Mapping[str, Path],
    boundary: float,
    *,
    count: int = 32,
    seeds: int = 2,
    videos: int = 0,
    sigmas: Sequence[float] = SIGMAS,
    log: Log,
) -> dict[str, Any]:
    """Compare exported models by name: losses on `count` held-out videos, and what `videos` videos obey (0: none made).

    Raises OptionError without the models "one" and "two".
    """
    for name in ("one", "two"):
        if name not in models:
            raise OptionError(
                f"a comparison needs the models one and two; there are {', '.join(models) or 'none'}"
            )
    listed = held_out(count, seed=7)
    prompts = [asked.prompt for _, asked in listed]
    found, boards = {}, {}
    for name, folder in models.items():
        log(f"{name}: loss on {count} held-out videos, {len(sigmas)} noise levels, {seeds} noises")
        engine = wan22.load(folder, device="cpu")
        clips = renders([shot for shot, _ in listed], drawn_size(engine))
        found[name] = losses(engine, clips, prompts, sigmas=sigmas, seeds=seeds)
        if videos:
            log(f"{name}: {videos} videos")
            boards[name] = scoreboard(engine, videos)["adherence"]
    others = [name for name in ("one", "long") if name in found]
    bands = [
        {
            "sigma": sigma,
            "loss": {name: float(rows[i].mean()) for name, rows in found.items()},
            "gain_of_two": {name: gain(found["two"][i], found[name][i]) for name in others},
        }
        for i, sigma in enumerate(sigmas)
    ]
    sides = {
        "all": range(len(sigmas)),
        "high": [i for i, s in enumerate(sigmas) if s >= boundary],
        "low": [i for i, s in enumerate(sigmas) if s < boundary],
    }
    return {
        "boundary": boundary,
        "held_out_videos": count,
        "noises": seeds,
        "bands": bands,
        "means": {
            side: {
                "loss": {name: float(rows[list(at)].mean()) for name, rows in found.items()},
                "gain_of_two": {
                    name: gain(found["two"][list(at)].mean(0), found[name][list(at)].mean(0))
                    for name in others
                },
            }
            for side, at in sides.items()
            if at
        },
        "adherence": boards,
    }


def lines(result: Mapping[str, Any]) -> list[str]:
    """The comparison for people."""
    names = list(result["bands"][0]["loss"])
    others = list(result["bands"][0]["gain_of_two"])
    head = " ".join(f"{name:>9}" for name in names)
    found = [f"{'sigma':>7} {head}   " + "   ".join(f"two against {name}" for name in others)]
    rows = [(f"{band['sigma']:7.3f}", band) for band in result["bands"]]
    for label, row in [*rows, *((f"{side:>7}", row) for side, row in result["means"].items())]:
        gains = "   ".join(
            f"{-100 * row['gain_of_two'][name]['share']:+6.2f} % +-{100 * row['gain_of_two'][name]['error']:.2f}"
            for name in others
        )
        found.append(f"{label} " + " ".join(f"{row['loss'][name]:9.5f}" for name in names) + f"   {gains}")
    if boards := result["adherence"]:
        axes = list(next(iter(boards.values())))
        found += ["", f"{'matches':18} " + " ".join(f"{name:>7}" for name in boards)]
        for axis in axes:
            cells = [f"{b[axis]['videos']:7.1%}" if axis in b else f"{'-':>7}" for b in boards.values()]
            found.append(f"{axis:18} " + " ".join(cells))
    for name, cost in result.get("costs", {}).items():
        found.append(
            f"{name}: {cost['steps']} steps, {cost['videos']} videos, {cost['seconds'] / 60:.1f} min"
        )
    return found


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Draw loss by noise level, and by how much two experts lie below one network, into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
    levels = [band["sigma"] for band in result["bands"]]
    colours = {"both": "0.6", "one": "tab:blue", "long": "tab:green", "two": "tab:red"}
    said = {"both": "start", "one": "one network", "long": "one network, twice as long", "two": "two experts"}
    for name in result["bands"][0]["loss"]:
        values = [band["loss"][name] for band in result["bands"]]
        above.plot(levels, values, color=colours.get(name), label=said.get(name, name), lw=1.6)
    above.set_yscale("log")
    above.set_ylabel("loss on held-out videos")
    above.legend(fontsize=9)
    for name in result["bands"][0]["gain_of_two"]:
        gains = [band["gain_of_two"][name] for band in result["bands"]]
        below.errorbar(
            levels,
            [-100 * g["share"] for g in gains],
            [100 * g["error"] for g in gains],
            color=colours.get(name),
            label=f"against {said.get(name, name)}",
            capsize=2,
            lw=1.4,
        )
    below.axhline(0, color="0.3", lw=0.9)
    below.set_ylabel("loss of two experts, % more or less")
    below.set_xlabel("sigma: 0 is the video, 1 is noise")
    below.legend(fontsize=9)
    for panel in (above, below):
        panel.axvline(result["boundary"], color="0.5", ls=":", lw=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="a run of the nano model, with its text and latents"
    )
    parser.add_argument(
        "--runs", type=Path, help="where one, high, low and long are [default: FOLDER/experts]"
    )
    parser.add_argument("--begin", type=int, default=600, help="steps of the network that all start from")
    parser.add_argument("--threads", type=int, help="threads of torch [default: all cores]")
    parser.add_argument("--train", action="store_true", help="train the runs first")
    parser.add_argument("--steps", type=int, default=500, help="of one, and of each expert")
    parser.add_argument("--minutes", type=float, help="stop each run after this time; run again to go on")
    parser.add_argument("--count", type=int, default=32, help="held-out videos for the loss")
    parser.add_argument("--noises", type=int, default=2)
    parser.add_argument("--videos", type=int, default=0, help="videos whose adherence is measured (0: none)")
    parser.add_argument("--plot", type=Path, default=Path("docs/images/experts.png"))
    parser.add_argument("-o", "--output", type=Path, help="[default: experts.json among the runs]")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    from wan22.nano import stages as nano
    from wan22.nano.recipes import nano as numbers

    start, mine = options.folder / "both", options.folder / "experts"
    if not options.train and not start.exists():
        raise CheckpointError(f"there is no {start}: train the runs first, with --train")
    runs = options.runs or mine
    tokenizer = nano.open_tokenizer(options.folder)
    if options.train:
        sets = [(nano.latents_of(options.folder, numbers.SMALL), 1.0)]
        base = numbers.both(tokenizer.size, options.begin)
        words = nano.text_encoder_start(options.folder)
        train_dit(base, sets, tokenizer, start, log=print, start=fresh(base) | words, minutes=options.minutes)
        planned = recipes(base, options.steps, numbers.BOUNDARY)
        begin = words | load_average(start)
        train(planned, begin, sets, tokenizer, runs, log=print, minutes=options.minutes)
    row = numbers.variant(nano.shipped_arch(), tokenizer.size)
    small = ((numbers.SMALL.width, numbers.SMALL.height),)
    row = replace(row, trained=Trained(small, (1, numbers.FRAMES), only=True))
    text = load_file(options.folder / "words" / "text.safetensors")
    parts = Parts(row, nano.shipped_vae(), text, options.folder / "words" / "tokenizer.json", start)
    models = {name: export(runs, name, parts) for name in trained(runs, start)}
    result = compare(
        models, numbers.BOUNDARY, count=options.count, seeds=options.noises, videos=options.videos, log=print
    )
    costs = runs / "costs.json"
    if costs.exists():
        result["costs"] = json.loads(costs.read_text())
    print("\n".join(lines(result)))
    output = options.output or runs / "experts.json"
    output.write_text(json.dumps(result, indent=1) + "\n")
    plot(result, options.plot)
    print(output, options.plot, sep="\n")


if __name__ == "__main__":
    main()
