"""`python -m wan22.stage`: a contact sheet of sampled shots, four moments of each, with their captions."""

from __future__ import annotations

import argparse
import random
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wan22.stage.caption import caption
from wan22.stage.labels import sample
from wan22.stage.render import render

_MOMENTS = 4
_TEXT = 44  # pixels for three lines of caption


def contact_sheet(clips: np.ndarray, captions: Sequence[str], columns: int = 2) -> Image.Image:
    """Lay clips uint8 (b, T, H, W, 3) out in a grid, each as a strip of four moments above its caption."""
    count, frames, height, width = clips.shape[:4]
    moments = np.linspace(0, frames - 1, _MOMENTS).round().astype(int)
    cell = (width * _MOMENTS + 8, height + _TEXT)
    sheet = Image.new("RGB", (columns * cell[0], -(-count // columns) * cell[1]), "white")
    pen = ImageDraw.Draw(sheet)
    for i in range(count):
        left, top = i % columns * cell[0], i // columns * cell[1]
        sheet.paste(Image.fromarray(np.concatenate(list(clips[i, moments]), axis=1)), (left, top))
        lines = textwrap.wrap(captions[i], width=max((cell[0] - 8) // 6, 10))[:3]
        pen.text((left + 2, top + height + 2), "\n".join(lines), fill="black")
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a contact sheet of the stage."""
    parser = argparse.ArgumentParser(prog="python -m wan22.stage", description=main.__doc__)
    parser.add_argument("--count", type=int, default=16, metavar="N", help="shots on the sheet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("sheet.png"))
    options = parser.parse_args(arguments)
    shots = sample(options.count, options.seed)
    rng = random.Random(options.seed)
    clips = render(shots, height=96, width=144, seed=options.seed).numpy()
    contact_sheet(clips, [caption(shot, rng) for shot in shots]).save(options.output)
    print(options.output)  # noqa: T201


if __name__ == "__main__":
    main()
