"""`python -m wan22.stage`: a contact sheet of sampled shots, four moments of each, with their captions.

With `--puppets`, of puppets that sing; with `--puppet`, the image of one at rest, for a video that audio drives.
"""

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
from wan22.stage.puppet import PuppetShot, perform, puppet_caption, sample_puppets
from wan22.stage.puppet_render import render_puppet
from wan22.stage.render import render
from wan22.stage.voice import RATE, singing

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
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--puppets", action="store_true", help="puppets that sing instead of shots")
    kind.add_argument("--puppet", action="store_true", help="one image of a puppet at rest")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    if options.puppet:
        clips = _puppets(sample_puppets(1, options.seed), np.zeros(RATE, np.float32), 256, options.seed)
        Image.fromarray(clips[0, 0]).save(options.output)
    elif options.puppets:
        puppets = sample_puppets(options.count, options.seed)
        clips = _puppets(puppets, singing(2.0, seed=options.seed), 96, options.seed)
        contact_sheet(clips, [puppet_caption(shot, rng) for shot in puppets]).save(options.output)
    else:
        shots = sample(options.count, options.seed)
        clips = render(shots, height=80, width=128, seed=options.seed).numpy()
        # In English: few machines have fonts for the other three languages.
        captions = [caption(shot, rng, language="en").text for shot in shots]
        contact_sheet(clips, captions).save(options.output)
    print(options.output)  # noqa: T201


def _puppets(shots: Sequence[PuppetShot], samples: np.ndarray, side: int, seed: int) -> np.ndarray:
    """Puppets that perform an audio file, square videos of its length, uint8 (b, T, side, side, 3)."""
    frames = len(samples) * 16 // RATE
    parts = [perform(samples, RATE, frames, 16.0, seed=seed + i) for i in range(len(shots))]
    return render_puppet(shots, parts, height=side, width=side, frames=frames, seed=seed).numpy()


if __name__ == "__main__":
    main()
