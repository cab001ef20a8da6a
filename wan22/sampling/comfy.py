"""The schedules that ComfyUI knows by name, as it makes them for a Wan model. It knows no solver.

ComfyUI has a table of 1000 levels, t = 1/1000 .. 1, with sigma(t) = shift t / (1 + (shift - 1) t), and the network gets
1000 sigma as the timestep (class ModelSamplingDiscreteFlow). "simple", "beta" and "ddim_uniform" pick rows of this
table; "normal" and "sgm_uniform" space timesteps evenly; the others have a formula between its first and last row.
Each function returns the sigmas, falling from at most 1, without the 0 at the end.
"""

import math
from collections.abc import Callable

import numpy as np

_ROWS = 1000


def _sigma(t: np.ndarray | float, shift: float) -> np.ndarray:
    return np.asarray(shift * t / (1 + (shift - 1) * t))


def _table(shift: float) -> np.ndarray:
    return _sigma(np.arange(1, _ROWS + 1) / _ROWS, shift)


def simple(steps: int, shift: float) -> np.ndarray:
    """Every (1000 / steps)-th row of the table, from its end."""
    return _table(shift)[[-1 - int(i * (_ROWS / steps)) for i in range(steps)]]


def normal(steps: int, shift: float) -> np.ndarray:
    """Timesteps evenly from 1000 to the table's smallest; a timestep is a shifted sigma and is shifted once more."""
    end = float(_table(shift)[0])
    if _sigma(end, shift) < 1e-5:  # as good as 0, which takes its place
        return _sigma(np.linspace(1.0, end, steps + 1)[:-1], shift)
    return _sigma(np.linspace(1.0, end, steps), shift)


def sgm_uniform(steps: int, shift: float) -> np.ndarray:
    """As `normal` with one step more, of which the last is left out."""
    return _sigma(np.linspace(1.0, float(_table(shift)[0]), steps + 1)[:-1], shift)


def ddim_uniform(steps: int, shift: float) -> np.ndarray:
    """Every (1000 // steps)-th row from the second on; where steps do not divide 1000, this may be one step more."""
    rows = np.arange(1, _ROWS, max(_ROWS // steps, 1))
    return _table(shift)[rows[::-1]]


def beta(steps: int, shift: float) -> np.ndarray:
    """Rows at the quantiles of a Beta(0.6, 0.6) distribution (Lee et al. 2024, arXiv:2407.12173)."""
    last = _ROWS - 1
    # The quantile of q, rounded to a row, is the first row whose upper edge has a probability of q or more. The one of
    # 0.5 lies between two rows, and goes to the even one.
    edges = _beta_cdf((np.arange(_ROWS) + 0.5) / last)
    wanted = 1 - np.linspace(0, 1, steps, endpoint=False)
    rows = np.where(wanted == 0.5, (last + 1) // 2, np.searchsorted(edges, wanted))
    return _table(shift)[list(dict.fromkeys(np.minimum(rows, last).tolist()))]


def karras(steps: int, shift: float, rho: float = 7.0) -> np.ndarray:
    """Even steps of sigma^(1/7) (Karras et al. 2022, arXiv:2206.00364, equation 5)."""
    return np.linspace(1.0, float(_table(shift)[0]) ** (1 / rho), steps) ** rho


def exponential(steps: int, shift: float) -> np.ndarray:
    """Even steps of ln sigma."""
    return np.exp(np.linspace(0.0, math.log(float(_table(shift)[0])), steps))


def kl_optimal(steps: int, shift: float) -> np.ndarray:
    """Even steps of arctan sigma (Sabour et al. 2024, arXiv:2404.14507, theorem 3.1)."""
    return np.tan(np.linspace(math.atan(1.0), math.atan(float(_table(shift)[0])), steps))


def linear_quadratic(steps: int, shift: float, reach: float = 0.025) -> np.ndarray:
    """Half of the steps go evenly from 1 to 0.975, the others by a parabola to 0, without a kink.

    The shift has no part in it. The rule of Mochi 1 (Genmo 2024), made for its many small first steps.
    """
    even = steps // 2
    if even == 0:
        return np.ones(1)
    slope, rest = reach / even, steps - even
    i = np.arange(steps, dtype=np.float64)
    bend = (1 - reach - slope * rest) / rest**2
    later = np.maximum(i - even, 0)
    return 1 - (slope * i + bend * later**2)


SCHEDULES: dict[str, Callable[[int, float], np.ndarray]] = {
    "simple": simple,
    "normal": normal,
    "sgm_uniform": sgm_uniform,
    "beta": beta,
    "karras": karras,
    "exponential": exponential,
    "ddim_uniform": ddim_uniform,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
}


def _beta_cdf(t: np.ndarray, a: float = 0.6) -> np.ndarray:
    """The distribution function of Beta(a, a) at t, 1 from t = 1 on.

    Up to 1/2 by the power series of the incomplete beta function, B(t; a, a) = t^a sum_n (1 - a)_n t^n / (n! (a + n))
    (NIST handbook of mathematical functions, 8.17.7); above it by symmetry.
    """
    half = np.clip(np.where(t <= 0.5, t, 1 - t), 0.0, 0.5)
    term, total = np.ones_like(half), np.zeros_like(half)
    for n in range(60):
        total += term / (a + n)
        term = term * half * (1 - a + n) / (n + 1)
    whole = math.gamma(a) ** 2 / math.gamma(2 * a)
    lower = half**a * total / whole
    return np.where(t <= 0.5, lower, 1 - lower)
