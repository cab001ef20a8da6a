"""Where a video starts: noise from a seed, alone or mixed with latents that exist already.

It knows no schedule and no device: noise is drawn on the CPU, so that a seed means the same everywhere.
"""

import hashlib

import torch
from jaxtyping import Float
from torch import Tensor

from wan22.errors import OptionError
from wan22.fields import MAX_SEED
from wan22.types import Level


def draw_noise(shape: tuple[int, ...], seed: int, turn: int = 0) -> Float[Tensor, "..."]:
    """Draw standard normal noise, float32 on the CPU, from a generator of its own; `turn` of the same shape were drawn
    from it before.

    `shape` is (c, t, h, w), without a batch axis: the numbers depend on seed, shape and turn alone.

    Raises:
        OptionError: `seed` is not in 0..2**63 - 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise OptionError(f"seed {seed} is not in 0..{MAX_SEED}. Any number from 0 up will do.")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    noise = torch.empty(shape, dtype=torch.float32)
    for _ in range(turn + 1):
        noise.normal_(generator=generator)
    return noise


def step_noise(shape: tuple[int, ...], seed: int, step: int) -> Float[Tensor, "..."]:
    """Draw the noise that a stochastic solver adds after `step` (from 0), float32 on the CPU.

    It depends on seed, step and shape alone, so that a solver holds no generator. It is independent of the noise that
    `draw_noise` gives for this seed or its neighbours, with which videos and their clips begin.
    """
    mixed = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=8).digest()
    return draw_noise(shape, int.from_bytes(mixed, "big") >> 1)


def add_noise(
    clean: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """Take `clean` to a noise level: (1 - sigma) clean + sigma noise (spec: sampling, section 1)."""
    return (1 - level.sigma) * clean + level.sigma * noise
