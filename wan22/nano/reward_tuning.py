"""Fine-tune both experts on a reward: a reward model reads the labels of the videos that they make from prompts.

    x    = video of K steps from noise, with guidance, through both experts
    loss = weight * mean over said labels of -log p(label | reward model, x through noise)  +  the flow-matching loss

Gradients pass through the reward model and all K steps (DRaFT; Clark et al. 2023, "Directly Fine-Tuning Diffusion
Models on Differentiable Rewards", arXiv:2309.17400). Flow matching on videos of the set is a regulariser:
without it the networks learn what only the reward model sees. `measure`, which judges the finished model,
takes no part in this.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from wan22.arch import DiTArch, UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.umt5 import UMT5Encoder
from wan22.nano.dit import DiTRecipe, encode_prompts, step_loss
from wan22.nano.latents import LatentSet
from wan22.nano.reward_model import RewardModel, add_noise, shot_classes, verdict
from wan22.nano.state import CPU, Optimiser, TrainState, walk
from wan22.sampling import cfg, rescale
from wan22.stage.caption import caption
from wan22.stage.labels import AXES, sample
from wan22.train.compiling import compile_blocks
from wan22.train.flow_matching import attention_on, draw_noise, draw_sigmas, eager_attention
from wan22.train.log import Log


@dataclass(frozen=True)
class RewardTuningRecipe:
    """How experts are tuned. `high` and `low` are the recipes of their flow matching. For each of `batch` prompts a
    video is made in `steps` steps with `guidance` (low, high) and guidance `rescale`. The reward model sees the videos
    through noise of the range `noise`. `weight` is that of the reward beside flow matching.
    """

    high: DiTRecipe
    low: DiTRecipe
    optimiser: Optimiser
    batch: int
    shape: tuple[int, int, int, int]
    guidance: tuple[float, float]
    rescale: float
    steps: int = 6
    noise: tuple[float, float] = (0.15, 0.7)
    weight: float = 1.0
    seed: int = 0

    @property
    def boundary(self) -> float:
        """The noise level at which the experts meet."""
        return self.high.noise[0]


class Pair(nn.Module):
    """Both experts, and the text encoder that they read through, which learns no more."""

    def __init__(self, dit: DiTArch, text: UMT5Arch) -> None:
        super().__init__()
        self.high = WanDiT(dit, attention=eager_attention)
        self.low = WanDiT(dit, attention=eager_attention)
        self.text = UMT5Encoder(text).requires_grad_(False)


def draw_schedule(recipe: RewardTuningRecipe, generator: torch.Generator) -> list[float]:
    """The noise levels of a video's steps, with 0 behind them: spread evenly before the shift, each moved a little, so
    that the networks learn at all levels and not at a few.
    """
    moved = (torch.rand(recipe.steps - 1, generator=generator) - 0.5) * 0.6
    even = [1.0] + [1 - (k + 1 + float(m)) / recipe.steps for k, m in enumerate(moved)]
    shift = recipe.high.shift
    return [shift * t / (1 + (shift - 1) * t) for t in even] + [0.0]


def sample_videos(
    pair: Pair, noise: Tensor, prompts: Sequence[Tensor], empty: Sequence[Tensor], levels: Sequence[float],
    recipe: RewardTuningRecipe,
) -> Tensor:  # fmt: skip
    """Videos (b, c, t, h, w) from noise by Euler's method; `prompts` are the contexts of the prompts, `empty` those of
    empty ones.

    Gradients pass through the answers to the prompts, not through what they are guided away from.
    """
    x = noise
    memories = {
        name: (network.read_text(prompts), network.read_text(empty))
        for name, network in (("high", pair.high), ("low", pair.low))
    }
    for sigma, following in pairwise(levels):
        name = "high" if sigma >= recipe.boundary else "low"
        network: WanDiT = getattr(pair, name)
        scale = recipe.guidance[name == "high"]
        memory, unguided_memory = memories[name]
        level = NoiseLevels.uniform(torch.full((len(x),), sigma * 1000))
        clean = x - sigma * network(x, level, memory).float()
        # Not under no_grad: what was compiled for learning serves here too.
        unguided = (x - sigma * network(x, level, unguided_memory).float()).detach()
        guided = torch.stack(
            [rescale(g, c, recipe.rescale) for g, c in zip(cfg(clean, unguided, scale), clean, strict=True)]
        )
        x = guided + (x - guided) * (following / sigma)
    return x


def tune_with_reward(  # noqa: PLR0913 - two kinds of data, and what every trainer takes
    recipe: RewardTuningRecipe,
    reward_model: RewardModel,
    sets: Sequence[tuple[LatentSet, float]],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    log: Log,
    start: dict[str, Tensor],
    minutes: float | None = None,
    device: torch.device = CPU,
) -> TrainState:
    """Train both experts until the recipe's steps are done, or `minutes` have passed (run again to continue exactly).

    sets: latent sets for flow matching, with their shares of the batches. start: parameters of a `Pair`.
    """
    torch.manual_seed(recipe.seed)
    pair = Pair(recipe.high.dit, recipe.high.text)
    pair.load_state_dict(start)
    pair.to(device)
    reward_model.requires_grad_(False).to(device)
    for network in (pair.high, pair.low, reward_model.dit):
        network.attention = attention_on(device)
    sets = [(data.to(device), share) for data, share in sets]
    if recipe.high.compiled:
        for network in (pair.high, pair.low, reward_model.dit):
            compile_blocks(network)
    state = TrainState(pair, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})
    recent: list[tuple[float, float]] = []

    def loss_of() -> Tensor:
        words = random.Random(f"{recipe.seed} {state.step}")
        found, right = reward_loss(pair, reward_model, recipe, tokenizer, state.generator(1), words)
        # The experts take turns: a batch of videos for each would cost as much as the reward model's.
        turn, network = (recipe.low, pair.low) if state.step % 2 else (recipe.high, pair.high)
        videos = step_loss(network, pair.text, turn, sets, tokenizer, state.generator(), words)
        recent.append((found.item(), right))
        if len(recent) == 25:
            wrong, share = torch.tensor(recent).mean(dim=0).tolist()
            log(
                f"step {state.step + 1}: the reward model finds {share:.1%} of what was said, loss {wrong:.3f}"
            )
            recent.clear()
        return recipe.weight * found + videos

    walk(state, loss_of, log=log, minutes=minutes)
    return state


def reward_loss(
    pair: Pair,
    reward_model: RewardModel,
    recipe: RewardTuningRecipe,
    tokenizer: Tokenizer,
    generator: torch.Generator,
    words: random.Random,
) -> tuple[Tensor, float]:
    """The reward loss of videos of fresh prompts, and the share of labels that the reward model finds as said."""
    shots = sample(recipe.batch, seed=words.getrandbits(48))
    captions = [caption(shot, words) for shot in shots]
    device = pair.text.token_embedding.weight.device
    said = torch.tensor([[axis in made.said for axis in AXES] for made in captions], device=device)
    classes = shot_classes(shots).to(device)
    prompts = [made.text for made in captions]
    noise = draw_noise((recipe.batch, *recipe.shape), generator, device)
    sigmas = draw_sigmas(1.0, recipe.noise, recipe.batch, generator).to(device)
    veil = draw_noise(noise.shape, generator, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.high.bfloat16):
        with torch.no_grad():
            contexts, empty = (
                encode_prompts(pair.text, tokenizer, texts, recipe.high.dit.text_len, 0.0, generator)
                for texts in (prompts, [""] * recipe.batch)
            )
        videos = sample_videos(pair, noise, contexts, empty, draw_schedule(recipe, generator), recipe)
        logits = reward_model(add_noise(videos, sigmas, veil), sigmas)
    wrong = (verdict(logits, classes) * said).sum(dim=1) / said.sum(dim=1).clamp(min=1)
    right = torch.stack([rows.argmax(dim=1) for rows in logits], dim=1) == classes
    return wrong.mean(), float(right[said].float().mean())
