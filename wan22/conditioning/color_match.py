"""Colours that hold over a long video: each clip is brought back to the first one's, before the next goes on from it.

A model that goes on from its own frames makes each clip a little more saturated or brighter than the one before, and
the small steps add up. Here five numbers of the first clip are kept, in OKLab: its mean lightness, a and b, and how
far lightness and colour spread. A later clip is shifted and stretched to them by one transform, which fades in
over its first frames, so that it makes no seam; because the next clip sees the corrected frames, the steps no longer
add up.

Only what is small enough to be drift is corrected. Up to `LIMITS` the clip is brought back wholly; beyond, less and
less; from twice the limits on the scene itself is another one, and the clip is left as it is. A slow change that was
meant (a sunset over minutes) is not told from drift: do not hold such a video.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.errors import OptionError


class Limits(NamedTuple):
    """Differences up to which a clip is brought back wholly, in OKLab: lightness, colour, log of the spreads."""

    lightness: float = 0.04  # about 4 L*
    colour: float = 0.015  # a grey turns visibly warm or cold
    spread: float = 0.15  # by 16 %


LIMITS = Limits()

_EASE = 12  # frames over which a correction fades in; at most half the clip
_AT_ONCE = 4  # frames; OKLab of a frame takes some times its memory
_FLAT = 0.005  # added to spreads: what is flat has no contrast to restore

# Linear sRGB to the responses of the eye, and their cube roots to OKLab (B. Ottosson, 2020).
_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


@dataclass(frozen=True)
class ColorMatch:
    """The colours to which a video is held: `mean` (3,) and `spread` (2,: lightness, colour), in OKLab."""

    mean: Float[Tensor, "3"]
    spread: Float[Tensor, "2"]

    @classmethod
    def from_frames(cls, frames: Float[Tensor, "3 T H W"]) -> Self:
        """Take the colours of the first clip, or of a reference image (T of 1); frames are in [-1, 1]."""
        seen = _Seen()
        seen.add(frames)
        return cls(*seen.colours())

    def correct(
        self, frames: Float[Tensor, "3 T H W"], strength: float = 1.0, *, ease: int = _EASE
    ) -> Float[Tensor, "3 T H W"]:
        """Bring a clip in [-1, 1] back to the held colours by `strength` (0: not at all, 1: wholly).

        The correction fades in over the first `ease` frames (0: it is there at once; at most half the clip).
        The frames given are not changed. Raises OptionError for a strength outside 0..1 or a negative `ease`.
        """
        if not 0 <= strength <= 1 or ease < 0:
            raise OptionError(
                f"colours are held by a strength of 0..1 over 0 or more frames, not {strength}, {ease}"
            )
        now = type(self).from_frames(frames)
        pieces = self._corrected([frames], now, strength, ease, frames.device)
        return torch.cat(list(pieces), dim=1).to(frames.dtype)

    def _corrected(
        self, parts: Sequence[Tensor], now: Self, strength: float, ease: int, device: torch.device
    ) -> Iterator[Tensor]:
        """A whole clip in parts, whose colours are `now`, brought back on the device some frames at a time."""
        amount = strength * self._weight(now)
        if amount == 0:
            yield from (part.to(device) for part in parts)
            return
        gain = ((self.spread + _FLAT) / (now.spread + _FLAT))[[0, 1, 1]].view(3, 1, 1, 1).to(device)
        mine, its = (mean.view(3, 1, 1, 1).to(device) for mean in (self.mean, now.mean))
        frames = sum(part.shape[1] for part in parts)
        fade = amount * _fade(frames, ease).view(1, -1, 1, 1).to(device)
        start = 0
        for part in parts:
            for piece in part.split(_AT_ONCE, dim=1):
                lab = _to_lab(piece.to(device))
                yield _to_rgb(
                    torch.lerp(lab, (lab - its) * gain + mine, fade[:, start : start + lab.shape[1]])
                )
                start += lab.shape[1]

    def as_tensors(self) -> dict[str, Tensor]:
        """All of it, so that a video can be resumed."""
        return {"mean": self.mean, "spread": self.spread}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """The inverse of `as_tensors`."""
        return cls(tensors["mean"], tensors["spread"])

    def _weight(self, now: Self) -> float:
        """How much of the difference is drift: 1 up to the limits, 0 from twice the limits on."""
        shift = now.mean - self.mean
        stretch = ((now.spread + _FLAT) / (self.spread + _FLAT)).log().abs().max()
        over = max(
            float(shift[0].abs()) / LIMITS.lightness,
            float(shift[1:].norm()) / LIMITS.colour,
            float(stretch) / LIMITS.spread,
        )
        return min(max(2 - over, 0.0), 1.0)


def _fade(frames: int, ease: int) -> Tensor:
    """From almost 0 to 1 over the first frames, without a kink at either end; (T,)."""
    ease = min(ease, frames // 2)
    along = ((torch.arange(frames) + 1) / (ease + 1)).clamp(max=1)
    return along.square() * (3 - 2 * along)


class _Seen:
    """Adds up the colours of frames that pass by; the host waits for the device only at the end."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._count = 0

    def add(self, frames: Tensor) -> None:
        """Take frames (3, T, H, W) in."""
        for piece in frames.split(_AT_ONCE, dim=1):
            flat = _to_lab(piece).flatten(1)
            self._sums.append(torch.stack([flat.sum(dim=1), flat.square().sum(dim=1)]))
            self._count += flat.shape[1]

    def colours(self) -> tuple[Tensor, Tensor]:
        """Mean and spread of all frames, as `ColorMatch` has them."""
        total, squares = torch.stack(self._sums).cpu().double().sum(dim=0)
        mean = total / self._count
        lightness, a, b = (squares / self._count - mean.square()).clamp(min=0)
        return mean.float(), torch.stack([lightness, a + b]).sqrt().float()


def _to_lab(piece: Tensor) -> Tensor:
    """Frames as float32 OKLab."""
    encoded = ((piece.float() + 1) / 2).clamp(0, 1)
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return _mix(_TO_LAB, _mix(_TO_LMS, linear) ** (1 / 3))


def _to_rgb(lab: Tensor) -> Tensor:
    """OKLab to sRGB in [-1, 1]; what a screen cannot show is cut off."""
    lms = _mix(_inverse(_TO_LAB), lab) ** 3
    linear = _mix(_inverse(_TO_LMS), lms).clamp(0, 1)
    encoded = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 2 - 1


_Matrix = tuple[tuple[float, ...], ...]


@lru_cache(maxsize=16)
def _inverse(matrix: _Matrix) -> _Matrix:
    return tuple(map(tuple, torch.tensor(matrix).double().inverse().tolist()))


@lru_cache(maxsize=16)
def _on(device: torch.device, matrix: _Matrix) -> Tensor:
    with torch.inference_mode(False):  # it is used by others later
        return torch.tensor(matrix, device=device)


def _mix(matrix: _Matrix, colours: Tensor) -> Tensor:
    """Multiply (3, 3) with the first axis of (3, T, H, W)."""
    return torch.tensordot(_on(colours.device, matrix), colours, dims=1)


_COLOUR = "colour."
"""Begins the names of the tensors that hold a video's colours, in what a clip leaves to the next."""


ToHost = Callable[[Iterable[Tensor]], Iterator[Tensor]]
"""Brings tensors to the host, one after the other."""


def match_clip(
    stream: Iterator[Tensor], carry: dict[str, Tensor], strength: float, to_host: ToHost
) -> tuple[Iterator[Tensor], dict[str, Tensor]]:
    """Match a clip's colours to the first clip's, if asked; return its frames, and the colours for the next clip, which
    are there when the frames have passed.

    stream: parts (3, T, H, W); carry: what the clip before left; strength: 0 (leave as they are) to 1. A clip that is
    matched waits on the host until all of it is seen: the device holds some frames.
    """
    if not strength:
        return stream, {}
    held = {name.removeprefix(_COLOUR): t for name, t in carry.items() if name.startswith(_COLOUR)}
    colours: dict[str, Tensor] = {}
    seen = _Seen()

    def looked_at() -> Iterator[Tensor]:
        for part in stream:
            seen.add(part)
            where.append(part.device)
            yield part

    def matched() -> Iterator[Tensor]:
        if held:
            hold = ColorMatch.from_tensors(held)
            parts = list(to_host(looked_at()))
            yield from hold._corrected(parts, ColorMatch(*seen.colours()), strength, _EASE, where[-1])
        else:
            yield from looked_at()
            hold = ColorMatch(*seen.colours())
        colours.update({f"{_COLOUR}{name}": tensor for name, tensor in hold.as_tensors().items()})

    where: list[torch.device] = []
    return matched(), colours
