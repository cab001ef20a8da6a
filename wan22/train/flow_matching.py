"""Flow matching on latents (Lipman et al. 2022, arXiv:2210.02747): noise levels, and the error of the velocity.

    x = (1 - sigma) video + sigma noise        the network predicts noise - video, and the loss is the squared error

Latent frames that are known (first, last) are given clean, at noise level zero, and carry no loss. Every trainer uses
this; it knows no recipe, no data and no optimiser.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wan22.models.dit import NoiseLevels
from wan22.ops.attention import Attention, sdpa


def eager_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention written out: on the CPU its backward is twice as fast as the fused kernel's at a few hundred tokens."""
    q, k, v = (a.transpose(1, 2) for a in (q, k, v))
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    scores = scores if bias is None else scores + bias.float()
    return (scores.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2)


def attention_on(device: torch.device) -> Attention:
    """The attention that a small network learns with on a device."""
    return eager_attention if device.type == "cpu" else sdpa


def draw_noise(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal noise, float32, a function of what `generator`, of the CPU, draws.

    On the CPU it is the generator's own; elsewhere that device draws, from a seed of the generator's.
    """
    if device.type == "cpu":
        return torch.randn(*shape, generator=generator)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.randn(*shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def draw_sigmas(shift: float, noise: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """Noise levels (count,) of a range, spread evenly before the shift and stratified over the batch."""

    def unshift(sigma: float) -> float:
        return sigma / (shift - (shift - 1) * sigma)

    low, high = (unshift(s) for s in noise)
    even = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    base = low + (high - low) * even[torch.randperm(count, generator=generator)]
    return shift * base / (1 + (shift - 1) * base)


def velocity_error(
    velocity_of: Callable[[Tensor, NoiseLevels], Tensor],
    videos: Tensor,
    known: Tensor | None,
    lasts: Tensor | None,
    sigmas: Tensor,
    noise: Tensor,
) -> Tensor:
    """What the predicted velocity is off, float32 (b, c, t, h, w), without the latent frames that are known.

    videos, known, lasts, sigmas and noise are `flow_loss`'s; `velocity_of` is the network
    with all its other conditioning.
    """
    s = sigmas.view(-1, 1, 1, 1, 1)
    x = (1 - s) * videos + s * noise
    unknown, levels = slice(None), NoiseLevels.uniform(sigmas * 1000)
    if known is not None:
        x, levels = apply_known_frames(x, videos, known, lasts, sigmas)
        unknown = (~known).nonzero().flatten().to(x.device)
    return (velocity_of(x, levels).float() - (noise - videos))[:, :, unknown]


def apply_known_frames(
    x: Tensor, videos: Tensor, known: Tensor, lasts: Tensor | None, sigmas: Tensor
) -> tuple[Tensor, NoiseLevels]:
    """Give the latent frames that are `known` (t,) clean, at noise level zero, in videos `x` of noise levels `sigmas`.

    `lasts` (b, c, h, w) stand in for the last frame where it is known.
    """
    clean = videos.clone()
    if lasts is not None:
        clean[:, :, -1] = lasts
    known = known.to(x.device)
    x = torch.where(known.view(1, 1, -1, 1, 1), clean, x)
    tokens = videos.shape[3] // 2 * (videos.shape[4] // 2)
    index = (~known).long().repeat_interleave(tokens)
    return x, NoiseLevels(torch.stack([torch.zeros_like(sigmas), sigmas * 1000], dim=1), index)
