"""How the decoded frames of a stream are to be shown: upright, in square pixels, in the colours of BT.709."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

from wan22.errors import MediaError
from wan22.files import PathLike
from wan22.media import colour
from wan22.media.encoding import EXACT

Size = tuple[int, int]

_BT709, _UNSPECIFIED, _BT2020, _ICTCP = 1, 2, 9, 14  # matrix coefficients, ITU-T H.273, table 4
_SQUARE = 0.01  # what a pixel may be wider or narrower; encoders round the shape


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to lay out an image: rows and columns exchanged, then rows or columns reversed."""

    swapped: bool = False
    rows: bool = False
    columns: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Lay out (H, W, c)."""
        image = image.swapaxes(0, 1) if self.swapped else image
        image = image[::-1] if self.rows else image
        return image[:, ::-1] if self.columns else image


@dataclass(frozen=True)
class Look:
    """How the frames of one stream are shown. `coded` is their size in the file, `square` that in square pixels."""

    coded: Size
    square: Size
    turn: Turn
    transfer: int
    primaries: int
    peak: float
    interlaced: bool

    @property
    def size(self) -> Size:
        """(width, height) as shown."""
        return self.square[::-1] if self.turn.swapped else self.square

    @property
    def notices(self) -> tuple[str, ...]:
        """What is changed for showing, and what is not, that a person may not expect; each goes after a file's name."""
        told = []
        if what := colour.description(self.transfer, self.primaries):
            told.append(f"is {what}: its brightness and colours are brought to SDR, BT.709")
        if self.square != self.coded:
            told.append(
                f"has pixels that are not square: {self.coded[0]}x{self.coded[1]} are shown as "
                f"{self.square[0]}x{self.square[1]}"
            )
        if self.interlaced:
            told.append(
                "is interlaced: both fields stay in one frame, with combs where it moves. Deinterlace it first"
            )
        return tuple(told)

    def rgb(self, frame: av.VideoFrame, path: PathLike, size: Size | None = None) -> np.ndarray:
        """A frame as uint8 RGB (H, W, 3), scaled to `size` (width, height as shown) or as large as it is shown.

        Raises MediaError if its size is not that of the stream, and for a frame that the decoder could only guess.
        """
        if frame.is_corrupt:
            raise MediaError(
                f"{path} is damaged at {frame.time or 0:.2f} s. Copy, download or export it again."
            )
        if (frame.width, frame.height) != self.coded:
            raise MediaError(
                f"{path} changes its size on the way, from {self.coded} to {(frame.width, frame.height)} "
                "(width, height). Convert it to one size first."
            )
        width, height = self.size if size is None else size
        if self.turn.swapped:
            width, height = height, width
        plain = colour.description(self.transfer, self.primaries) is None
        alpha = any(component.is_alpha for component in frame.format.components)
        pixels = frame.reformat(
            width=width,
            height=height,
            format=("rgba" if alpha else "rgb24") if plain else "rgb48le",
            src_colorspace=_matrix(frame),
            interpolation=EXACT,
        ).to_ndarray()
        if not plain:
            pixels = colour.to_sdr(pixels, self.transfer, self.primaries, self.peak)
        elif alpha:
            pixels = on_white(pixels)
        return self.turn(pixels)


def look_of(first: av.VideoFrame, path: PathLike, ratio: float = 1.0) -> Look:
    """How a stream is shown, by its first frame; `ratio` is the width of its pixels over their height.

    Raises MediaError for colours that cannot be brought to RGB here.
    """
    if int(first.colorspace) == _ICTCP:
        raise MediaError(
            f"{path} has colours as ICtCp, which are not read here. Convert it to BT.709 (SDR) first."
        )
    coded = first.width, first.height
    square = (max(1, round(coded[0] * ratio)), coded[1]) if abs(ratio - 1) > _SQUARE else coded
    return Look(
        coded,
        square,
        _turn_of(first),
        int(first.color_trc),
        int(first.color_primaries),
        _peak(first),
        bool(first.interlaced_frame),
    )


def covering(size: Size, wanted: Size | int | None) -> Size:
    """The smallest size of the same shape that covers `wanted` (width, height), or has that area; never larger."""
    if wanted is None:
        return size
    if isinstance(wanted, int):
        scale = math.sqrt(wanted / (size[0] * size[1]))
    else:
        scale = max(wanted[0] / size[0], wanted[1] / size[1])
    if scale >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Lay uint8 RGBA (H, W, 4) on white."""
    alpha = pixels[..., 3:].astype(np.uint16)
    mixed = pixels[..., :3] * alpha + 255 * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _matrix(frame: av.VideoFrame) -> int:
    """The matrix that made Y'CbCr; images without one are taken as players do."""
    source = int(frame.colorspace)
    if source != _UNSPECIFIED:
        return source
    if int(frame.color_trc) in (colour.PQ, colour.HLG):
        return _BT2020
    return _BT709 if frame.height >= 720 else source


def _turn_of(frame: av.VideoFrame) -> Turn:
    """The frame's display matrix (ISO 14496-12, 6.2.2), taken as the nearest of the eight.

    (p, q), a column and a row, go to (a p + c q, b p + d q).
    """
    told = _told(frame, Type.DISPLAYMATRIX)
    if told is None:
        return Turn()
    a, b, _, c, d = np.frombuffer(told, "<i4", 5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(True, rows=b < 0, columns=c < 0)
    return Turn(False, rows=d < 0, columns=a < 0)


def _peak(frame: av.VideoFrame) -> float:
    """The brightest light in cd/m2: MaxCLL (CTA-861.3), else the mastering display's (SMPTE ST 2086), else 1000."""
    light = _told(frame, Type.CONTENT_LIGHT_LEVEL)
    peak = float(np.frombuffer(light, "<u4", 1)[0]) if light is not None else 0.0
    screen = _told(frame, Type.MASTERING_DISPLAY_METADATA)
    if not peak and screen is not None:  # AVMasteringDisplayMetadata: ten rationals, the tenth is the maximum
        number, base = np.frombuffer(screen, "<i4", 20)[18:].tolist()
        peak = number / base if base else 0.0
    return min(peak, 10000.0) if peak >= colour.WHITE else colour.PEAK


def _told(frame: av.VideoFrame, kind: Type) -> bytes | None:
    """What the file says beside the frame, as FFmpeg's struct."""
    beside: Any = frame.side_data  # typed as a dict of names; it is asked by kind
    try:
        return bytes(beside[kind])
    except KeyError:
        return None
