"""What the consistency score of a storyboard says of the same subject, and of another one.

    python -m bench.continuity [--model nano] [--seed 1]

A red and a blue ball at rest, each in every place at every time: the Bhattacharyya coefficient of the hues that stand
out (`wan22.storyboard.continuity`), between videos of the same ball and between videos of both (docs/storyboard.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

import wan22
from bench.quality import drawn_size
from wan22.engine import Engine
from wan22.pipeline import collect
from wan22.storyboard.continuity import hues_alike, portrait
from wan22.types import Request

COLOURS = ("red", "blue")
PLACES = ("in a meadow", "in the snow", "in the desert")
TIMES = ("by day", "at night", "at sunset")
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


def scores(engine: Engine, seed: int) -> dict[str, list[float]]:
    """Quantiles (`QUANTILES`) of the score of the first ball with itself elsewhere, and with the other."""
    seen = {
        colour: [
            portrait(collect(engine.generate(_request(engine, colour, place, time, seed))).frames)
            for place, time in product(PLACES, TIMES)
        ]
        for colour in COLOURS
    }
    one, other = (seen[colour] for colour in COLOURS)
    found = {"same": combinations(one, 2), "other": product(one, other)}
    return {
        name: [float(np.quantile([hues_alike(*pair) for pair in pairs], q)) for q in QUANTILES]
        for name, pairs in ((name, list(pairs)) for name, pairs in found.items())
    }


def _request(engine: Engine, colour: str, place: str, time: str, seed: int) -> Request:
    prompt = f"a {colour} ball lies still {place} {time}. Medium shot."
    return Request(prompt=prompt, size=drawn_size(engine), seed=seed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.continuity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1, help="of every video, as in a storyboard")
    options = parser.parse_args(arguments)
    print(f"{'quantile':10}" + "".join(f"{q:7.0%}" for q in QUANTILES))
    for name, values in scores(wan22.load(options.model, device=options.device), options.seed).items():
        print(f"{name:10}" + "".join(f"{value:7.2f}" for value in values))


if __name__ == "__main__":
    main()
