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


def rescale(
    guided: Float[Tensor, "c t h w"], cond: Float[Tensor, "c t h w"], share: float
) -> Float[Tensor, "c t h w"]:
    """Take back, by `share` (0..1), how much guidance has spread a clean sample beyond the prompt's own.

    Guidance of more than 1 makes contrasts and colours too strong. Here `guided` gets the standard deviation, about its
    channels' means, that `cond` has about its own (Lin et al. 2023, arXiv:2305.08891, section 3.4, which does so with
    what the network says; a velocity is mostly noise, whose spread guidance leaves alone, so here it is done with x0).
    """
    if not share:
        return guided
    middle = guided.mean(dim=(1, 2, 3), keepdim=True)
    around = guided - middle
    wanted = (cond - cond.mean(dim=(1, 2, 3), keepdim=True)).square().mean().sqrt()
    narrowed = middle + around * (wanted / around.square().mean().sqrt().clamp(min=1e-6))
    return guided + share * (narrowed - guided)


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
