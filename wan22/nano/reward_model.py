"""A reward model reads every label of the film set off noisy latents (label_heads.py).

Its trunk is an expert that is told nothing, and begins with that expert's weights: who can draw a thing can recognise
it. Latents are given through noise, so that it judges what is there to be seen and not traces that no eye would find.
It knows no prompts; what a model learns from it is reward_tuning.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from wan22.arch import DiTArch
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.nano.label_heads import LabelHeads
from wan22.nano.latents import LatentSet
from wan22.nano.state import CPU, Optimiser, TrainState, walk
from wan22.ops.rope import rotation
from wan22.stage.labels import AXES, Shot
from wan22.train.compiling import compile_blocks, uncompiled
from wan22.train.flow_matching import attention_on, draw_noise, draw_sigmas, eager_attention
from wan22.train.log import Log


@dataclass(frozen=True)
class RewardModelRecipe:
    """How a reward model is trained. `noise` is the range of sigma through which it sees videos, spread
    evenly. The last share `keep` of the videos is held out: it is tested on them.
    """

    dit: DiTArch
    optimiser: Optimiser
    batch: int
    noise: tuple[float, float] = (0.1, 0.8)
    smoothing: float = 0.02
    keep: float = 0.05
    seed: int = 0
    bfloat16: bool = True
    compiled: bool = True


class RewardModel(LabelHeads):
    """A trunk of blocks, and what reads the labels off its tokens."""

    def __init__(self, arch: DiTArch) -> None:
        super().__init__(arch.dim)
        self.dit = WanDiT(arch, attention=eager_attention)

    def init_weights(self) -> None:
        """Draw fresh weights from torch's global generator."""
        super().init_weights()
        self.dit.init_weights()

    def forward(self, x: Tensor, sigmas: Tensor) -> list[Tensor]:
        """Logits (b, values) of each axis in the order of `AXES`, of latents x (b, c, t, h, w) at noise levels (b,)."""
        dit = self.dit
        tokens = dit.embed(x)
        table = rotation(dit.grid(x), dit.arch.dim // dit.arch.heads, tokens.device)
        _, time = dit.read_time(NoiseLevels.uniform(sigmas * 1000))
        nothing = [x.new_zeros(1, dit.arch.text_dim)] * len(x)
        tokens = dit.trunk(tokens, time, dit.read_text(nothing), table, {}, tokens.shape[1]).float()
        return self.read(F.layer_norm(tokens, tokens.shape[-1:]))


def shot_classes(shots: Sequence[Shot]) -> Tensor:
    """What shots are, int64 (b, axes): the index of each axis's value."""
    return torch.tensor(
        [[list(values).index(getattr(shot, axis)) for axis, values in AXES.items()] for shot in shots]
    )


def verdict(logits: Sequence[Tensor], classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """How wrong the reward model finds each label, (b, axes): the cross-entropy in nats."""
    found = [
        F.cross_entropy(rows.float(), classes[:, i], reduction="none", label_smoothing=smoothing)
        for i, rows in enumerate(logits)
    ]
    return torch.stack(found, dim=1)


def add_noise(videos: Tensor, sigmas: Tensor, noise: Tensor) -> Tensor:
    """Latents (b, c, t, h, w) at noise levels `sigmas` (b,)."""
    s = sigmas.view(-1, 1, 1, 1, 1)
    return (1 - s) * videos + s * noise


def train_reward_model(
    recipe: RewardModelRecipe,
    data: Sequence[LatentSet],
    folder: Path,
    *,
    log: Log,
    start: dict[str, Tensor] | None = None,
    minutes: float | None = None,
    device: torch.device = CPU,
) -> TrainState:
    """Train a reward model on videos and their labels, or go on; tell the log how it reads those kept back.

    data: sets of videos of one size. start: the weights of an expert, by the names of a network.
    """
    torch.manual_seed(recipe.seed)
    reward_model = RewardModel(recipe.dit)
    reward_model.init_weights()
    if start is not None:
        reward_model.dit.load_state_dict(start)
    reward_model.to(device)
    reward_model.dit.attention = attention_on(device)
    if recipe.compiled:
        compile_blocks(reward_model.dit)
    videos = torch.cat([each.videos for each in data]).to(device)
    classes = shot_classes([shot for each in data for shot in each.shots]).to(device)
    order = torch.randperm(len(videos), generator=torch.Generator().manual_seed(recipe.seed))
    split = len(videos) - max(1, round(recipe.keep * len(videos)))
    learned, kept = order[:split], order[split:]
    state = TrainState(reward_model, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})

    def step_loss() -> Tensor:
        draw = state.generator()
        rows = learned[torch.randint(len(learned), (recipe.batch,), generator=draw)].to(device)
        sigmas = draw_sigmas(1.0, recipe.noise, recipe.batch, draw).to(device)
        latents = videos[rows].float()
        noisy = add_noise(latents, sigmas, draw_noise(latents.shape, draw, device))
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
            return verdict(reward_model(noisy, sigmas), classes[rows], recipe.smoothing).sum(dim=1).mean()

    walk(state, step_loss, log=log, minutes=minutes)
    reward_model.load_state_dict(state.averaged())
    log(
        "share right on videos kept back: "
        + held_out_accuracy(reward_model, videos[kept], classes[kept], recipe)
    )
    return state


@torch.no_grad()
def held_out_accuracy(
    reward_model: RewardModel, videos: Tensor, classes: Tensor, recipe: RewardModelRecipe
) -> str:
    """How often the reward model reads each axis right, as a line, through as much noise as it learned with."""
    draw = torch.Generator().manual_seed(recipe.seed)
    right: list[Tensor] = []
    for part, wanted in zip(videos.split(recipe.batch), classes.split(recipe.batch), strict=True):
        device = part.device
        sigmas = draw_sigmas(1.0, recipe.noise, len(part), draw).to(device)
        latents = part.float()
        noisy = add_noise(latents, sigmas, draw_noise(latents.shape, draw, device))
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16),
            uncompiled(reward_model.dit),
        ):
            logits = reward_model(noisy, sigmas)
        right += [torch.stack([rows.argmax(dim=1) for rows in logits], dim=1) == wanted]
    shares = torch.cat(right).float().mean(dim=0).tolist()
    return ", ".join(f"{axis} {share:.0%}" for axis, share in zip(AXES, shares, strict=True))
