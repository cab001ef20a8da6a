"""Time of day, tone, saturation, contrast and the subject's paint, by asking which of them would look like this.

Analysis by synthesis: for every time of day, sky, ground, paint and grade it is computed what colours sky, ground and
subject would have, and compared with those that are seen. The colours of the world are a small table (looks.npz,
written by `python -m bench.measure --fit` from the film set's palette); how an image is graded is the laboratory's
usual order: tone, saturation about the luminance (Rec. 709), contrast about a middle grey. What no world explains is
told with little confidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from wan22.director.fitted import WEIGHTS, Guess
from wan22.director.flow import Horizon, coordinates
from wan22.director.image import coarse, wider
from wan22.director.subject import Subject

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_GREY = 0.42
_SIGMA, _CAP = 0.02, 6.0  # spread of a colour (display values), and the price of one that nothing explains
_EITHER = 0.7  # price of taking for sky what may be ground
_STRIPS = (0.04, 0.12, 0.22, 0.34, 0.5)  # units from the horizon
_HAZE, _WAVE, _LIT = (0.0, 0.2, 0.4), (0.3, 0.5, 0.7), (0.0, 0.25, 0.5, 0.75, 1.0)
_RISES, _BRIGHT, _FACING = (0.22, 0.56, 0.8, 0.98), (0.93, 1.0, 1.1), (0.75, 0.95)


class Seen(NamedTuple):
    """One colour that is seen: RGB in 0..1, and its distance from the horizon in units, upwards; None: no horizon."""

    colour: np.ndarray
    above: float | None


@dataclass(frozen=True)
class Worlds:
    """Colours of every world in every grade.

    `sky` (g, w, n, strips, 3), `ground` (g, w, m, k, 3) and `body` (g, w, paints, k, 3): g grades (tone, saturation,
    contrast), w worlds (time, overcast), n lenses and brightnesses, m grounds under lights, k alternatives.
    """

    grades: tuple[tuple[str, str, str], ...]
    worlds: tuple[tuple[str, bool], ...]
    paints: tuple[str, ...]
    prior: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    body: np.ndarray


@cache
def worlds() -> Worlds:
    """Compute the colours of all worlds from the table that comes with the package."""
    with np.load(WEIGHTS) as stored:
        table = {name: stored[name] for name in stored.files}
    skies, grounds, bodies, names, chances = [], [], [], [], []
    for time, look, chance in zip(
        table["times"].tolist(), table["skies"], table["time chances"], strict=True
    ):
        for overcast in (False, True):
            zenith, horizon, sun, ambient = look
            grey = horizon.mean()
            zenith, horizon = _mix(zenith, grey, 0.8 * overcast), _mix(horizon, grey, 0.7 * overcast)
            skies.append(_sky(zenith, horizon, table["focals"]))
            grounds.append(_ground(table["grounds"], sun, ambient, horizon, overcast))
            bodies.append(_bodies(table["paints"], sun * (0.28 if overcast else 1.0), ambient))
            names.append((time, overcast))
            chances.append(chance * (1 / 6 if overcast else 5 / 6))
    tones, saturations, contrasts = (table[name].tolist() for name in ("tones", "saturations", "contrasts"))
    rows = [
        (grade, saturation, contrast)
        for grade in range(len(tones))
        for saturation in range(len(saturations))
        for contrast in range(len(contrasts))
    ]
    graded = [
        [_graded(part, table["tone"][a], table["saturation"][b], table["contrast"][c]) for a, b, c in rows]
        for part in (np.array(skies), np.array(grounds), np.array(bodies))
    ]
    odds = [table["saturation chances"][b] * table["contrast chances"][c] for _, b, c in rows]
    prior = np.log(np.outer(odds, chances))
    return Worlds(
        tuple((tones[a], saturations[b], contrasts[c]) for a, b, c in rows),
        tuple(names),
        tuple(table["paint names"].tolist()),
        prior - prior.max(),
        *(np.array(part) for part in graded),
    )


def _mix(one: Any, other: Any, share: float) -> Any:
    return one + (other - one) * share


def _sky(zenith: np.ndarray, horizon: np.ndarray, focals: np.ndarray) -> list[list[np.ndarray]]:
    """From the horizon to the zenith: colours at the strips, for every lens, towards the light and away from it."""
    up = np.sin(np.arctan(np.array(_STRIPS) / focals[:, None]))
    climb = 1 - np.exp(-3.2 * up)
    return [[_mix(horizon, zenith, m) * bright for m in row] for row in climb for bright in _BRIGHT]


def _ground(
    grounds: np.ndarray, sun: np.ndarray, ambient: np.ndarray, horizon: np.ndarray, overcast: bool
) -> list[list[np.ndarray]]:
    found = []
    for light, dark in grounds:
        for rise in _RISES:
            for hard in (0.0, 1.0):
                strong = 0.0 if overcast else hard
                sky = ambient * (1.05 - 0.14 * strong) * (1.28 if overcast else 1.0)
                shine = sky + sun * (0.86 + 0.3 * strong) * (0.28 if overcast else 1.0) * (0.3 + 0.7 * rise)
                found.append(
                    [_mix(_mix(dark, light, w) * shine, horizon, haze) for w in _WAVE for haze in _HAZE]
                )
    return found


def _bodies(paints: np.ndarray, sun: np.ndarray, ambient: np.ndarray) -> list[list[np.ndarray]]:
    return [
        [paint * (ambient * facing + sun * 1.2 * lit) for facing in _FACING for lit in _LIT]
        for paint in paints
    ]


def _graded(colours: np.ndarray, tone: np.ndarray, saturation: float, contrast: float) -> np.ndarray:
    colours = colours * tone
    grey = (colours @ _LUMINANCE)[..., None]
    return ((grey + (colours - grey) * saturation - _GREY) * contrast + _GREY).clip(0, 1).astype(np.float32)


def observe(
    cv2: Any, frames: np.ndarray, subject: Subject, horizon: Horizon | None
) -> tuple[list[Seen], np.ndarray]:
    """The colours of sky and ground, strip by strip from the horizon, and three of the subject, (n, 3)."""
    frames, subject = coarse(cv2, frames, subject)
    behind = ~wider(subject)
    x, y = coordinates(*frames.shape[1:3])
    seen: list[Seen] = []
    if horizon is None:
        pixels = frames[behind]
        if len(pixels) > 30:
            order = np.argsort(pixels @ _LUMINANCE.astype(np.float32))
            thirds = np.array_split(pixels[order], 5)[1:4]
            seen = [Seen(np.median(third, axis=0), None) for third in thirds]
    else:
        above = np.broadcast_to(horizon.offset + x * np.tan(horizon.angle) - y, behind.shape)
        edges = [(a + b) / 2 for a, b in pairwise(_STRIPS)]
        bounds = [0.02, *edges, 0.75]
        for sign in (1, -1):
            for place, low, high in zip(_STRIPS, bounds[:-1], bounds[1:], strict=True):
                inside = behind & (sign * above > low) & (sign * above <= high)
                if inside.sum() > 12 * len(frames):
                    seen.append(Seen(np.median(frames[inside], axis=0), sign * place))
    return seen, _paint(frames, subject)


def _paint(frames: np.ndarray, subject: Subject) -> np.ndarray:
    """Colours of the subject's more coloured half: dark, middle and bright."""
    pixels = frames[subject.mask]
    if len(pixels) < 6:
        return np.zeros((0, 3))
    spread = (pixels.max(axis=-1) - pixels.min(axis=-1)) / (pixels.max(axis=-1) + 0.05)
    pixels = pixels[spread >= np.quantile(spread, 0.4)]
    order = np.argsort(pixels.sum(axis=-1))
    return np.stack([np.median(part, axis=0) for part in np.array_split(pixels[order], 3)])


def name_colours(seen: list[Seen], body: np.ndarray) -> dict[str, Guess]:
    """What time, tone, saturation, contrast and paint explain the colours, each with its probability."""
    all_ = worlds()
    fit = all_.prior.copy()
    skies = np.zeros(all_.sky.shape[:3])
    grounds = np.zeros(all_.ground.shape[:3])
    count = 0
    for each in seen:
        count += 1
        if each.above is not None and each.above > 0:
            strip = _STRIPS.index(each.above)
            price = _price(all_.sky[:, :, :, strip], each.colour)
            # Hills and trees stand in the lowest strip: what is no sky there says little.
            skies -= np.minimum(price, 2.0) if strip == 0 else price
        elif each.above is not None:
            grounds -= _price(all_.ground, each.colour).min(axis=-1)
        else:  # with no horizon, it may be either
            sky = _price(all_.sky, each.colour).min(axis=(-1, -2))
            grounds -= np.minimum(_price(all_.ground, each.colour).min(axis=-1), sky[..., None] + _EITHER)
    fit = fit + skies.max(axis=-1) + grounds.max(axis=-1)
    paints = np.zeros(all_.body.shape[:3])
    for colour in body:
        paints -= 0.7 * _price(all_.body, colour).min(axis=-1)
        count += 1
    joint = fit[..., None] + paints
    paid = float((joint - all_.prior[..., None]).max()) / max(count, 1)
    chance = np.exp(joint - joint.max())
    chance /= chance.sum()
    # What the best world explains badly is told with less confidence.
    trust = float(np.clip(2.0 + paid / 3.3, 0, 1)) if count else 0.0
    by_grade, by_world = chance.sum(axis=(1, 2)), chance.sum(axis=(0, 2))
    found = {
        axis: _marginal([grade[i] for grade in all_.grades], by_grade, trust)
        for i, axis in enumerate(("tone", "saturation", "contrast"))
    }
    found["time"] = _marginal([time for time, _ in all_.worlds], by_world, trust)
    found["colour"] = _marginal(all_.paints, chance.sum(axis=(0, 1)), trust if len(body) else 0.0)
    return found


def _price(colours: np.ndarray, seen: np.ndarray) -> np.ndarray:
    off = colours - seen.astype(np.float32)
    return np.minimum(np.einsum("...c,...c->...", off, off) / (2 * _SIGMA**2), _CAP)


def _marginal(names: Any, chances: np.ndarray, trust: float) -> Guess:
    shares: dict[str, float] = {}
    for name, chance in zip(names, chances, strict=True):
        shares[name] = shares.get(name, 0.0) + float(chance)
    value = max(shares, key=lambda name: shares[name])
    return Guess(value, shares[value] * trust, shares)
