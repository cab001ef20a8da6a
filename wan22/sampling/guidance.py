"""How the answers with and without the prompt become one velocity. It knows nothing of steps or networks."""

import math

from jaxtyping import Float
from torch import Tensor

from wan22.errors import OptionError
from wan22.types import Expert


def cfg(
    cond: Float[Tensor, "*shape"], uncond: Float[Tensor, "*shape"], scale: float
) -> Float[Tensor, "*shape"]:
    """Return classifier-free guidance of two velocities: uncond + scale (cond - uncond)."""
    return uncond + scale * (cond - uncond)


def by_expert(scale: float | tuple[float, float]) -> dict[Expert, float]:
    """Return the guidance scale of each expert from one number for both, or from (low, high).

    Raises:
        OptionError: not one or two numbers, or one that is not finite.
    """
    pair = tuple(scale) if isinstance(scale, tuple | list) else (scale, scale)
    if len(pair) != 2 or not all(isinstance(v, int | float) and math.isfinite(v) for v in pair):
        raise OptionError(
            f"guidance {scale!r} is not a number or a pair LOW,HIGH of numbers, such as 3.0,4.0."
        )
    low, high = pair
    return {"low": float(low), "high": float(high)}
