"""Small images of a finished video: a thumbnail, and a sheet of frames for a timeline."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from wan22.atomic import written
from wan22.errors import MediaError

THUMBNAIL, SHEET = "thumbnail.webp", "spritesheet.webp"
TYPE = "image/webp"
_THUMBNAIL_SIDE, _CELL_SIDE = 480, 160
_COLUMNS, _CELLS = 5, 25
_QUALITY = 80


def write_stills(video: Path, folder: Path, *, marked: bool = True) -> tuple[str, ...]:
    """Write both images of a video, or of one image, into `folder`; return their names.

    The thumbnail is its middle frame. The sheet has up to 25 frames from the whole video, 5 in a row, in order.
    `marked`: they say that a model made them, where videos do.
    Raises MediaError if the video cannot be read, OutputError if the images cannot be written.
    """
    from wan22.media.video import look

    source = look(video)
    count = source.info.frames
    middle = (count - 1) // 2
    wanted = {round(at) for at in np.linspace(0, count - 1, min(count, _CELLS))}
    cells: list[Image.Image] = []
    thumbnail: Image.Image | None = None
    for number, (_, frame) in enumerate(source.frames_from(0.0)):
        if number != middle and number not in wanted:
            continue
        image = Image.fromarray(source.rgb(frame, source.size))
        if number == middle:
            thumbnail = _within(image, _THUMBNAIL_SIDE)
        if number in wanted:
            cells.append(_within(image, _CELL_SIDE))
    if not cells:
        raise MediaError(f"{video} holds no frame that can be decoded. Export it again.")
    _save(thumbnail or cells[-1], folder / THUMBNAIL, marked=marked)
    _save(_sheet(cells), folder / SHEET, marked=marked)
    return THUMBNAIL, SHEET


def _within(image: Image.Image, side: int) -> Image.Image:
    """The image with its longer side at most `side` pixels."""
    scale = min(1.0, side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS) if scale < 1 else image


def _sheet(cells: list[Image.Image]) -> Image.Image:
    columns = min(_COLUMNS, len(cells))
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(cells) / columns) * height))
    for at, cell in enumerate(cells):
        sheet.paste(cell, (at % columns * width, at // columns * height))
    return sheet


def _save(image: Image.Image, path: Path, *, marked: bool) -> None:
    from wan22.media.provenance import marks_of_stills

    with written(path) as part:
        image.save(part, "WEBP", quality=_QUALITY, method=2, **(marks_of_stills() if marked else {}))
