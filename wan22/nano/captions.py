"""Captions composed ahead, as ids: to compose them at every step would keep a GPU waiting.

Caption j of clip i is drawn from (seed, i, j) alone, so that it does not matter how many processes compose.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError
from wan22.files import reading
from wan22.nano.processes import mapped
from wan22.stage.caption import Caption, caption
from wan22.stage.labels import AXES, Shot
from wan22.weights.writer import write_tensors

TEXT_LEN = 64
_PIECE = 256


@dataclass(frozen=True)
class Composed:
    """`ids` int16 (n, k, s) of k captions of n shots, and `classes` int16 (n, k, axes): what each of them says."""

    ids: Tensor
    classes: Tensor


def label_classes(shots: Sequence[Shot], captions: Iterable[Caption]) -> Tensor:
    """What captions say, int64 (b, axes): the index of the axis's value, or the number of its values if unsaid."""
    rows = [
        [
            list(values).index(getattr(shot, axis)) if axis in made.said else len(values)
            for axis, values in AXES.items()
        ]
        for shot, made in zip(shots, captions, strict=True)
    ]
    return torch.tensor(rows)


def compose(shots: Sequence[Shot], tokenizer: Path, forms: int, seed: int, *, processes: int = 0) -> Composed:
    """Compose `forms` captions of every shot; `tokenizer` is its file. With `processes` so many of them share it."""
    starts = range(0, len(shots), _PIECE)
    pieces = [(start, list(shots[start : start + _PIECE])) for start in starts]
    work = partial(_piece, tokenizer=tokenizer, forms=forms, seed=seed)
    done = mapped(work, pieces, processes)
    return Composed(*(torch.cat(parts) for parts in zip(*done, strict=True)))


def _piece(piece: tuple[int, list[Shot]], *, tokenizer: Path, forms: int, seed: int) -> tuple[Tensor, Tensor]:
    start, shots = piece
    reader = Tokenizer.open(tokenizer)
    ids, classes = [], []
    for i, shot in enumerate(shots, start):
        made = [caption(shot, random.Random(f"composed {seed} {i} {j}")) for j in range(forms)]
        ids.append(reader.encode([each.text for each in made], TEXT_LEN)[0].short())
        classes.append(label_classes([shot] * forms, made).short())
    return torch.stack(ids), torch.stack(classes)


def composed(
    path: Path, shots: Sequence[Shot], tokenizer: Path, forms: int, seed: int, *, processes: int = 0
) -> Composed:
    """As `compose`, kept in the file `path` and read from there. Raises CheckpointError for another run's file."""
    if not path.exists():
        made = compose(shots, tokenizer, forms, seed, processes=processes)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"ids": made.ids, "classes": made.classes})
    with reading(path, CheckpointError, "is damaged", "Remove it, and run that stage again."):
        there = Composed(**load_file(path))
    if there.ids.shape[:2] != (len(shots), forms):
        raise CheckpointError(f"{path} holds captions of other clips; remove it, and run that stage again")
    return there
