"""Where a video starts: noise from a seed, alone or mixed with latents that exist already.

It knows no schedule and no device: noise is drawn on the CPU, so that a seed means the same everywhere.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.errors import OptionError
from wan22.types import Level

MAX_SEED = 2**63 - 1


def draw_noise(shape: tuple[int, ...], seed: int) -> Float[Tensor, "..."]:
    """Draw standard normal noise, float32 on the CPU, from a generator of its own.

    `shape` is (c, t, h, w), without a batch axis: the numbers depend on seed and shape alone.

    Raises:
        OptionError: `seed` is not in 0..2**63 - 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise OptionError(f"seed {seed} is not in 0..{MAX_SEED}. Any number from 0 up will do.")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def add_noise(
    clean: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """Take `clean` to a noise level: (1 - sigma) clean + sigma noise (spec: sampling, section 1)."""
    return (1 - level.sigma) * clean + level.sigma * noise
