"""From HDR and wide colour to what every screen shows: R'G'B' of BT.709, standard dynamic range.

The steps are those of ITU-R BT.2100-2 (tables 4 and 5: PQ and HLG), BT.2390-11 (5.4.1: the EETF, a knee in PQ space,
here of the largest of R, G and B, so that hues stay) and BT.2087 (gamut by linear light, clipped). SDR white stands for
203 cd/m2, the reference white of BT.2408, and screens show the power 2.4 of BT.1886.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

PQ, HLG = 16, 18
"""Transfer characteristics of HDR, ITU-T H.273, table 3."""

WHITE = 203.0
PEAK = 1000.0
"""cd/m2 of SDR white, and of the brightest light in HDR that says none (also HLG's nominal display)."""

_GAMMA = 2.4
_NAMES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_XY = {  # H.273, table 2: x, y of red, green, blue
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_LEVELS = 65536


def description(transfer: int, primaries: int) -> str | None:
    """What makes colours of these H.273 codes other than SDR BT.709, in words; None if nothing does."""
    if transfer in (PQ, HLG):
        return (
            f"HDR ({'PQ' if transfer == PQ else 'HLG'}, {_NAMES.get(_known(transfer, primaries), 'BT.709')})"
        )
    name = _NAMES.get(primaries)
    return None if name is None else f"in the wide colours of {name}"


def to_sdr(rgb: np.ndarray, transfer: int, primaries: int, peak: float = PEAK) -> np.ndarray:
    """Bring full-range R'G'B' uint16 (..., 3) of these H.273 codes to uint8 of BT.709, shown at the power 2.4.

    `peak` is the brightest light of PQ in cd/m2; HLG's is 1000, with its system gamma of 1.2.
    """
    light = _light(transfer)[rgb]
    if transfer == HLG:
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= np.power(luma, 0.2, where=luma > 0, out=np.zeros_like(luma))[..., None] * PEAK
        peak = PEAK
    if transfer in (PQ, HLG):
        top = light.max(-1)
        level = np.minimum(pq(top) * (_LEVELS - 1) + 0.5, _LEVELS - 1).astype(np.int32)
        light *= (_knee(float(max(peak, WHITE)))[level] / np.maximum(top, 1e-6) / WHITE)[..., None]
    known = _known(transfer, primaries)
    if known != 1:
        light = light @ _matrix(known).T
    level = (np.clip(light, 0, 1) ** (1 / _GAMMA)) * 255 + 0.5
    return level.astype(np.uint8)


def pq(light: np.ndarray) -> np.ndarray:
    """The inverse EOTF of PQ: cd/m2 to 0..1 (BT.2100-2, table 4)."""
    y = np.power(np.maximum(light, 0) / 10000, 2610 / 16384)
    return np.power((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y), 2523 / 32)


def nits(level: np.ndarray) -> np.ndarray:
    """The EOTF of PQ: 0..1 to cd/m2."""
    e = np.power(level, 32 / 2523)
    y = np.maximum(e - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * e)
    return 10000 * np.power(y, 16384 / 2610)


def hlg_light(level: np.ndarray) -> np.ndarray:
    """The inverse OETF of HLG: 0..1 to scene light 0..1 (BT.2100-2, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)


@lru_cache
def _light(transfer: int) -> np.ndarray:
    """Light of each 16-bit level: cd/m2 for PQ, scene light for HLG, share of white else."""
    level = np.arange(_LEVELS) / (_LEVELS - 1)
    of = {PQ: nits, HLG: hlg_light}.get(transfer, lambda values: values**_GAMMA)
    return of(level).astype(np.float32)


@lru_cache
def _knee(peak: float) -> np.ndarray:
    """cd/m2 on a screen of `WHITE` for each level of PQ in 65,536: the EETF of BT.2390, with black at 0."""
    source, target = pq(np.array(peak)), pq(np.array(WHITE))
    most = target / source
    start = 1.5 * most - 0.5
    e = np.minimum(np.arange(_LEVELS) / (_LEVELS - 1) / source, 1)
    t = np.maximum((e - start) / max(1 - start, 1e-9), 0)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * (1 - start)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return nits(np.where(e < start, e, bent) * source).astype(np.float32)


def _known(transfer: int, primaries: int) -> int:
    """The primaries, as one of `_XY`; HDR that says none has those of BT.2020."""
    if primaries in _XY:
        return primaries
    return 9 if transfer in (PQ, HLG) else 1


@lru_cache
def _matrix(primaries: int) -> np.ndarray:
    """Linear R, G, B of these primaries to those of BT.709 (BT.2087, annex 1; white is white)."""
    return (np.linalg.inv(_to_xyz(1)) @ _to_xyz(primaries)).astype(np.float32)


def _to_xyz(primaries: int) -> np.ndarray:
    """Linear R, G, B to XYZ (SMPTE RP 177); every white is that of D65."""
    xy = np.array([*_XY[primaries], (0.3127, 0.3290)])
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])
    return xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])
