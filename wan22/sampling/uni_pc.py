"""UniPC of order 3 in lambda = -ln sigma: `uni_pc` and `uni_pc_bh2`, as ComfyUI runs them (Zhao et al. 2023,
arXiv:2302.04867, algorithms 5 to 8).

The release's own "unipc" is of order 2, in lambda = ln((1 - sigma) / sigma), with its own levels (unipc.py).
ComfyUI stops at sigma 0.001 and divides; here, as in every solver, the last step gives x0 itself.
"""

import math
from collections.abc import Generator, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from wan22.sampling.denoise import Denoise, replaced
from wan22.sampling.schedule import Schedule
from wan22.types import Step

ORDER = 3


def uni_pc(
    denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule
) -> Generator[Step, Tensor | None]:
    """Walk `x` with one call of the model for a step and B(h) = h. The state is float32."""
    return _walk(denoise, x, schedule, bh2=False)


def uni_pc_bh2(
    denoise: Denoise, x: Float[Tensor, "*shape"], schedule: Schedule
) -> Generator[Step, Tensor | None]:
    """As `uni_pc`, with B(h) = e^h - 1."""
    return _walk(denoise, x, schedule, bh2=True)


def _walk(denoise: Denoise, x: Tensor, schedule: Schedule, *, bh2: bool) -> Generator[Step, Tensor | None]:
    """Predict, ask the model, correct, predict. The state is the corrected sample, the predicted one that the model
    sees next, and the last three x0.
    """
    steps = len(schedule)
    lam = [-math.log(sigma) for sigma in schedule.sigmas[:-1].tolist()]
    x = corrected = x.float()
    seen: list[Tensor] = []  # x0, the newest first

    def order(arrival: int) -> int:
        return min(arrival, steps + 1 - arrival, ORDER, max(steps - 1, 1))

    for i, level in enumerate(schedule):
        x0 = denoise(x, level).float()
        if i > 0:
            corrected = _update(
                lam[max(i - ORDER, 0) : i + 1], corrected, seen[: order(i)], bh2=bh2, arrived=x0
            )
        seen = [x0, *seen[: ORDER - 1]]
        if i == steps - 1:
            x = x0
        else:
            x = _update(lam[max(i + 1 - ORDER, 0) : i + 2], corrected, seen[: order(i + 1)], bh2=bh2)
        x = replaced((yield Step(i, x, x0, level)), x)


def _update(
    lam: Sequence[float], x: Tensor, seen: Sequence[Tensor], *, bh2: bool, arrived: Tensor | None = None
) -> Tensor:
    """Return the sample at lam[-1] from `x` at lam[-2]; `seen` are x0 at lam[-2], lam[-3], ... With x0 at lam[-1],
    `arrived`, this is the corrector.
    """
    start, end = lam[-2], lam[-1]
    h = end - start
    scale = math.expm1(-h) if bh2 else -h
    nodes = [(lam[-2 - k] - start) / h for k in range(1, len(seen))]
    slopes = [(older - seen[0]) / node for older, node in zip(seen[1:], nodes, strict=True)]
    if arrived is not None:
        nodes, slopes = [*nodes, 1.0], [*slopes, arrived - seen[0]]
    result = math.exp(-h) * x - math.expm1(-h) * seen[0]
    for weight, slope in zip(_weights(h, scale, nodes), slopes, strict=True):
        result = result - scale * weight * slope
    return result


def _weights(h: float, scale: float, nodes: Sequence[float]) -> list[float]:
    """Solve the order conditions: sum over k of nodes_k^(m - 1) rho_k = m! phi_(m + 1) / B, for m = 1, 2, ...

    A single weight is 1/2, as in the reference code.
    """
    if len(nodes) < 2:
        return [0.5] * len(nodes)
    phi, wanted = math.expm1(-h) / -h - 1, []
    for m in range(1, len(nodes) + 1):
        wanted.append(phi * math.factorial(m) / scale)
        phi = phi / -h - 1 / math.factorial(m + 1)
    return np.linalg.solve(np.vander(nodes, increasing=True).T, wanted).tolist()
