"""Both experts learn to obey: films that they make from prompts are shown to a critic, and its verdict is the loss.

    x    = film of K steps from noise, with guidance, through both experts
    loss = weight * (mean over said labels of -log p(label | critic, x through noise)  -  taste * D(x through noise))
           + the flow-matching loss

Gradients pass through the critic and all K steps (Clark et al. 2023, "Directly Fine-Tuning Diffusion Models on
Differentiable Rewards", arXiv:2309.17400). Flow matching spends most of its error on what no prompt says; here all of
it is on what was said. D, the taste, learns meanwhile to tell films that are made from films of the set with the same
labels, by the critic's own features (Sauer et al. 2024, "Fast High-Resolution Image Synthesis with Latent Adversarial
Diffusion Distillation", arXiv:2403.12015): a film that pleases by what only the critic sees is not like those, and
neither is one with lumpy bodies and smooth grounds. `measure`, which judges the model in the end, has no part in
this.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from wan22.arch import DiTArch, UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.umt5 import UMT5Encoder
from wan22.sampling import cfg, rescale
from wan22.stage.caption import caption
from wan22.stage.labels import AXES
from wan22.train.critic import Critic, classes_of, through_noise, verdict
from wan22.train.flow import (
    FlowRecipe,
    compile_blocks,
    draw_levels,
    encode_prompts,
    plain_attention,
    step_loss,
    walk,
)
from wan22.train.latents import LatentSet
from wan22.train.state import Optimiser, TrainState
from wan22.train.vae import Log


@dataclass(frozen=True)
class ObeyRecipe:
    """How experts learn from a critic. `high` and `low` are the recipes of their flow matching; of `batch` prompts a
    film each is made in `steps` steps with `guidance` (low, high), of which `rescale` is taken back. The critic sees
    films through noise of the range `noise`. `weight` is that of its verdict beside flow matching, `taste` that of
    looking like films of the set beside the verdict, from step `later` on; the taste learns `pace` times as fast as
    the experts.
    """

    high: FlowRecipe
    low: FlowRecipe
    optimiser: Optimiser
    batch: int
    shape: tuple[int, int, int, int]
    guidance: tuple[float, float]
    rescale: float
    steps: int = 6
    noise: tuple[float, float] = (0.15, 0.7)
    weight: float = 1.0
    taste: float = 0.0
    later: int = 30
    pace: float = 4.0
    seed: int = 0

    @property
    def boundary(self) -> float:
        """The noise level at which the experts meet."""
        return self.high.noise[0]


class Taste(nn.Module):
    """How much a film looks like those of the set: one number for every token, after every second block of the
    critic.
    """

    WIDTH = 96

    def __init__(self, dim: int, blocks: int) -> None:
        super().__init__()
        self.blocks = range(1, blocks, 2)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, self.WIDTH), nn.GELU(), nn.Linear(self.WIDTH, 1))
            for _ in self.blocks
        )

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Of tokens (b, l, dim) after each block, (b, heads, l): above 0 like the set's, below like made ones."""
        found = [
            head(F.layer_norm(tokens[i].float(), tokens[i].shape[-1:]))
            for i, head in zip(self.blocks, self.heads, strict=True)
        ]
        return torch.cat(found, dim=-1).mT.float()


class Pair(nn.Module):
    """Both experts, the text encoder that they read through, which learns no more, and the taste, which learns against
    them from what a critic of that architecture sees.
    """

    def __init__(self, dit: DiTArch, text: UMT5Arch, critic: DiTArch) -> None:
        super().__init__()
        self.high = WanDiT(dit, attention=plain_attention)
        self.low = WanDiT(dit, attention=plain_attention)
        self.text = UMT5Encoder(text).requires_grad_(False)
        self.taste = Taste(critic.dim, critic.layers)


def levels_of(recipe: ObeyRecipe, generator: torch.Generator) -> list[float]:
    """The noise levels of a film's steps, with 0 behind them: spread evenly before the shift, each moved a little, so
    that the networks learn at all levels and not at a few.
    """
    moved = (torch.rand(recipe.steps - 1, generator=generator) - 0.5) * 0.6
    even = [1.0] + [1 - (k + 1 + float(m)) / recipe.steps for k, m in enumerate(moved)]
    shift = recipe.high.shift
    return [shift * t / (1 + (shift - 1) * t) for t in even] + [0.0]


def film_of(
    pair: Pair, noise: Tensor, told: Sequence[Tensor], untold: Sequence[Tensor], levels: Sequence[float],
    recipe: ObeyRecipe,
) -> Tensor:  # fmt: skip
    """Films (b, c, t, h, w) from noise by Euler's method; `told` are the contexts of prompts, `untold` of none.

    Gradients pass through the answers to the prompts, not through what they are guided away from.
    """
    x = noise
    memories = {
        name: (network.read_text(told), network.read_text(untold))
        for name, network in (("high", pair.high), ("low", pair.low))
    }
    for sigma, following in pairwise(levels):
        name = "high" if sigma >= recipe.boundary else "low"
        network: WanDiT = getattr(pair, name)
        scale = recipe.guidance[name == "high"]
        memory, empty = memories[name]
        level = NoiseLevels.uniform(torch.full((len(x),), sigma * 1000))
        clean = x - sigma * network(x, level, memory).float()
        # Not under no_grad: what was compiled for learning serves here too.
        unguided = (x - sigma * network(x, level, empty).float()).detach()
        guided = torch.stack(
            [rescale(g, c, recipe.rescale) for g, c in zip(cfg(clean, unguided, scale), clean, strict=True)]
        )
        x = guided + (x - guided) * (following / sigma)
    return x


def train_obey(
    recipe: ObeyRecipe,
    critic: Critic,
    sets: Sequence[tuple[LatentSet, float]],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    log: Log,
    start: dict[str, Tensor],
    minutes: float | None = None,
) -> TrainState:
    """Train both experts until the recipe's steps are done, or `minutes` have passed (run again to continue exactly).

    sets: latent sets for flow matching, with their shares of the batches; films of the first, which are of the recipe's
    shape, are what the taste knows. start: parameters of a `Pair`, those of the taste may be absent.
    """
    torch.manual_seed(recipe.seed)
    pair = Pair(recipe.high.dit, recipe.high.text, critic.dit.arch)
    pair.load_state_dict({f"taste.{name}": value for name, value in pair.taste.state_dict().items()} | start)
    critic.requires_grad_(False)
    if recipe.high.compiled:
        for network in (pair.high, pair.low, critic.dit):
            compile_blocks(network)
    identity = {"seed": recipe.seed, "recipe": repr(recipe)}
    state = TrainState(pair, recipe.optimiser, folder, identity, {"taste": recipe.pace})
    told: list[tuple[float, ...]] = []

    def loss_of() -> Tensor:
        words = random.Random(f"{recipe.seed} {state.step}")
        found = critic_loss(pair, critic, recipe, sets[0][0], tokenizer, state.generator(1), words)
        # The experts take turns: a batch of films for each would cost as much as the critic's.
        turn, network = (recipe.low, pair.low) if state.step % 2 else (recipe.high, pair.high)
        films = step_loss(network, pair.text, turn, sets, tokenizer, state.generator(), words)
        told.append((found.wrong.item(), found.right, found.known))
        if len(told) == 25:
            wrong, share, known = torch.tensor(told).mean(dim=0).tolist()
            log(
                f"step {state.step + 1}: the critic finds {share:.1%} of what was said, loss {wrong:.3f}; "
                f"told from the set's films: {known:.0%}"
            )
            told.clear()
        liking = recipe.taste * (state.step >= recipe.later)
        return recipe.weight * (found.wrong - liking * found.liked) + films + found.mistaken

    walk(state, loss_of, log=log, minutes=minutes)
    return state


class Found(NamedTuple):
    """What is found of films that were made: nats that the critic holds against what was said, the share of labels
    that it finds as they were said, how much the taste likes them; then how wrong the taste is, which it learns from,
    and the share of tokens that it tells from the set's.
    """

    wrong: Tensor
    right: float
    liked: Tensor
    mistaken: Tensor
    known: float


def critic_loss(
    pair: Pair,
    critic: Critic,
    recipe: ObeyRecipe,
    shown: LatentSet,
    tokenizer: Tokenizer,
    generator: torch.Generator,
    words: random.Random,
) -> Found:
    """Make films from fresh captions of `shown`, and see what critic and taste find of them."""
    rows = torch.randint(len(shown.films), (recipe.batch,), generator=generator)
    shots = [shown.shots[i] for i in rows.tolist()]
    captions = [caption(shot, words) for shot in shots]
    said = torch.tensor([[axis in made.said for axis in AXES] for made in captions])
    classes = classes_of(shots)
    prompts = [made.text for made in captions]
    noise = torch.randn(recipe.batch, *recipe.shape, generator=generator)
    sigmas = draw_levels(1.0, recipe.noise, recipe.batch, generator)
    veil = torch.randn(noise.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.high.bfloat16):
        with torch.no_grad():
            told, untold = (
                encode_prompts(pair.text, tokenizer, texts, recipe.high.dit.text_len, 0.0, generator)
                for texts in (prompts, [""] * recipe.batch)
            )
        films = film_of(pair, noise, told, untold, levels_of(recipe, generator), recipe)
        tokens = critic.look(through_noise(films, sigmas, veil), sigmas)
        logits, _ = critic.say(tokens[-1], films.shape[2])
        # Not under no_grad, which would compile the critic's blocks once more.
        real = critic.look(through_noise(shown.films[rows].float(), sigmas, veil), sigmas)
        # The experts learn to be liked by a taste that does not give way, the taste from films that do not.
        still = {name: p.detach() for name, p in pair.taste.named_parameters()}
        liked = functional_call(pair.taste, still, (tokens,)).mean()
        ours, theirs = pair.taste([t.detach() for t in tokens]), pair.taste([t.detach() for t in real])
    wrong = (verdict(logits, classes) * said).sum(dim=1) / said.sum(dim=1).clamp(min=1)
    right = torch.stack([row.argmax(dim=1) for row in logits], dim=1) == classes
    mistaken = F.relu(1 + ours).mean() + F.relu(1 - theirs).mean()
    known = torch.cat([ours < 0, theirs > 0]).float().mean()
    return Found(wrong.mean(), float(right[said].float().mean()), liked, mistaken, float(known))
