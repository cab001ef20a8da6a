"""Clips of the procedural film set, rendered once into a folder and read as a memory map."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from wan22.atomic import write_text
from wan22.stage.labels import Shot, sample
from wan22.stage.render import render


@dataclass(frozen=True)
class ClipSet:
    """`pixels` uint8 (count, T, H, W, 3) on disk, and the shot of each clip."""

    pixels: np.ndarray
    shots: list[Shot]


def clip_set(  # noqa: PLR0913 - each is a setting of the rendered videos
    folder: Path,
    *,
    count: int,
    height: int,
    width: int,
    frames: int,
    seed: int,
    split: str = "train",
    batch: int = 32,
    compile: bool = False,
    device: torch.device | str = "cpu",
) -> ClipSet:
    """Open the clips of these settings, rendering those that are not there yet; resumable."""
    name = f"{split}-{width}x{height}x{frames}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    path, done_path = folder / f"{name}.u8", folder / f"{name}.json"
    shots = sample(count, seed=seed, split=split)
    identity = {"count": count, "last": asdict(shots[-1])}
    done = 0
    if done_path.exists() and path.exists():
        known = json.loads(done_path.read_text())
        done = known["done"] if known["identity"] == identity else 0
    mode = "r+" if done else "w+"
    pixels = np.memmap(path, np.uint8, mode, shape=(count, frames, height, width, 3))
    for start in range(done, count, batch):
        part = shots[start : start + batch]
        clips = render(
            part,
            height=height,
            width=width,
            frames=frames,
            seed=seed * 1_000_003 + start,
            compile=compile,
            device=device,
        )
        pixels[start : start + len(part)] = clips.cpu().numpy()
        pixels.flush()  # the note must not come to the disk before what it speaks of
        write_text(done_path, json.dumps({"identity": identity, "done": start + len(part)}))
    return ClipSet(pixels, shots)
