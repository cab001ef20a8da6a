"""A critic says what a film shows: it reads every label of the film set off noisy latents (reading.py), and with them
how camera, subject and light truly were at every moment (stage/track.py).

Its trunk is an expert that is told nothing, and begins with that expert's weights: who can draw a thing can recognise
it. Latents are given through noise, so that it judges what is there to be seen and not traces that no eye would find.
A label is one word for a whole film; the tracks say what the word stands for, moment by moment, and so teach far more
with every film. It knows no prompts; what a model learns from it is obey.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan22.arch import DiTArch
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.ops.rope import rotation
from wan22.stage.labels import AXES, Shot
from wan22.stage.track import QUANTITIES
from wan22.train.compiling import as_written
from wan22.train.flow import compile_blocks, draw_levels, plain_attention, walk
from wan22.train.latents import LatentSet
from wan22.train.reading import LabelReader
from wan22.train.state import Optimiser, TrainState
from wan22.train.vae import Log


@dataclass(frozen=True)
class CriticRecipe:
    """What makes a critic. `noise` is the range of sigma through which it sees films, spread evenly; `tracked` the
    weight of the tracks beside the labels; `keep` the last share of the films of each set, which it never learns
    from, but is examined on.
    """

    dit: DiTArch
    optimiser: Optimiser
    batch: int
    noise: tuple[float, float] = (0.1, 0.8)
    smoothing: float = 0.02
    tracked: float = 1.0
    keep: float = 0.05
    seed: int = 0
    bfloat16: bool = True
    compiled: bool = True


@dataclass(frozen=True)
class Seen:
    """Films and what they show: latents float16 (n, c, t, h, w), classes int64 (n, axes), tracks float32 (n, t, k)."""

    films: Tensor
    classes: Tensor
    tracks: Tensor


class Critic(LabelReader):
    """A trunk of blocks, what reads the tracks off its tokens, and what reads the labels off tokens and tracks."""

    PLACES = 4
    """How many places of a frame are looked at for the tracks."""
    WIDTH = 128
    """Of what tracks tell about labels."""

    def __init__(self, arch: DiTArch, frames: int) -> None:
        super().__init__(arch.dim)
        self.dit = WanDiT(arch, attention=plain_attention)
        self.place_embedding = nn.Embedding(self.PLACES, arch.dim)
        self.track = nn.Linear(self.PLACES * arch.dim, len(QUANTITIES))
        self.told = nn.Sequential(nn.Linear(frames * len(QUANTITIES), self.WIDTH), nn.GELU())
        self.by_track = nn.Linear(self.WIDTH, sum(len(values) for values in AXES.values()))

    def init_weights(self) -> None:
        """Draw fresh weights from torch's global generator."""
        super().init_weights()
        self.dit.init_weights()
        nn.init.normal_(self.place_embedding.weight)
        nn.init.zeros_(self.by_track.weight)

    def look(self, x: Tensor, sigmas: Tensor) -> list[Tensor]:
        """The tokens (b, l, dim) after each block, of latents x (b, c, t, h, w) at noise levels (b,)."""
        dit = self.dit
        tokens = dit.embed(x)
        own = tokens.shape[1]
        table = rotation(dit.grid(x), dit.arch.dim // dit.arch.heads, tokens.device)
        _, time = dit.read_time(NoiseLevels.uniform(sigmas * 1000))
        memory = dit.read_text([x.new_zeros(1, dit.arch.text_dim)] * len(x))
        found: list[Tensor] = []

        def keep(after: Tensor) -> Tensor:
            found.append(after)
            return after

        dit.trunk(tokens, time, memory, table, dict.fromkeys(range(dit.arch.layers), keep), own)
        return found

    def say(self, tokens: Tensor, frames: int) -> tuple[list[Tensor], Tensor]:
        """What the last tokens (b, l, dim) of so many latent frames show: logits (b, values) of each axis in the
        order of `AXES`, and the tracks (b, t, k).
        """
        tokens = F.layer_norm(tokens.float(), tokens.shape[-1:])
        by_frame = tokens.unflatten(1, (frames, -1))
        scores = self.place_embedding.weight @ by_frame.mT * tokens.shape[-1] ** -0.5
        tracks = self.track((scores.softmax(dim=-1) @ by_frame).flatten(2)).float()
        more = self.by_track(self.told(tracks.flatten(1))).split([len(v) for v in AXES.values()], dim=1)
        return [rows + by for rows, by in zip(self.read(tokens), more, strict=True)], tracks

    def forward(self, x: Tensor, sigmas: Tensor) -> list[Tensor]:
        """Logits (b, values) of each axis in the order of `AXES`, of latents x (b, c, t, h, w) at noise levels (b,)."""
        return self.say(self.look(x, sigmas)[-1], x.shape[2])[0]


def classes_of(shots: Sequence[Shot]) -> Tensor:
    """What shots are, int64 (b, axes): the index of each axis's value."""
    return torch.tensor(
        [[list(values).index(getattr(shot, axis)) for axis, values in AXES.items()] for shot in shots]
    )


def seen(data: LatentSet, tracks: Tensor) -> Seen:
    """A set of films with the tracks (n, T, k) of its clips, of which each latent frame gets the mean of its own
    frames.
    """
    latents = data.films.shape[2]
    every = (tracks.shape[1] - 1) // max(latents - 1, 1)
    later = tracks[:, 1 : 1 + every * (latents - 1)].unflatten(1, (latents - 1, -1)).mean(dim=2)
    return Seen(data.films, classes_of(data.shots), torch.cat([tracks[:, :1], later], dim=1))


def verdict(logits: Sequence[Tensor], classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """How wrong the critic finds each label, (b, axes): the cross-entropy in nats."""
    found = [
        F.cross_entropy(rows.float(), classes[:, i], reduction="none", label_smoothing=smoothing)
        for i, rows in enumerate(logits)
    ]
    return torch.stack(found, dim=1)


def through_noise(films: Tensor, sigmas: Tensor, noise: Tensor) -> Tensor:
    """Latents (b, c, t, h, w) at noise levels `sigmas` (b,)."""
    s = sigmas.view(-1, 1, 1, 1, 1)
    return (1 - s) * films + s * noise


def reading_loss(
    critic: Critic, data: Seen, rows: Tensor, recipe: CriticRecipe, draw: torch.Generator
) -> Tensor:
    """What the critic reads wrong of these films through noise: nats of all labels, and the error of the tracks."""
    sigmas = draw_levels(1.0, recipe.noise, len(rows), draw)
    latents = data.films[rows].float()
    noisy = through_noise(latents, sigmas, torch.randn(latents.shape, generator=draw))
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        logits, tracks = critic.say(critic.look(noisy, sigmas)[-1], latents.shape[2])
    wrong = verdict(logits, data.classes[rows], recipe.smoothing).sum(dim=1).mean()
    off = F.smooth_l1_loss(tracks, data.tracks[rows], reduction="none").mean(dim=(0, 1)).sum()
    return wrong + recipe.tracked * off


def train_critic(
    recipe: CriticRecipe,
    data: Sequence[Seen],
    folder: Path,
    *,
    log: Log,
    start: dict[str, Tensor] | None = None,
    minutes: float | None = None,
) -> TrainState:
    """Train a critic on films and what they show, or go on; tell the log how it reads those kept back.

    data: sets of films of one size. start: the weights of an expert, by the names of a network; it may have more
    blocks.
    """
    torch.manual_seed(recipe.seed)
    critic = Critic(recipe.dit, data[0].films.shape[2])
    critic.init_weights()
    if start is not None:
        critic.dit.load_state_dict({name: start[name] for name in critic.dit.state_dict()})
    if recipe.compiled:
        compile_blocks(critic.dit)
    # The last of every set: a mirror image of a film that is kept back is kept back too.
    splits = [len(each.films) - round(recipe.keep * len(each.films)) for each in data]
    learned = _joined(data, [slice(split) for split in splits])
    kept = _joined(data, [slice(split, None) for split in splits])
    state = TrainState(critic, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})

    def step_loss() -> Tensor:
        draw = state.generator()
        rows = torch.randint(len(learned.films), (recipe.batch,), generator=draw)
        return reading_loss(critic, learned, rows, recipe, draw)

    walk(state, step_loss, log=log, minutes=minutes)
    critic.load_state_dict(state.averaged())
    log("share right on films kept back: " + examine(critic, kept, recipe))
    return state


def _joined(data: Sequence[Seen], parts: Sequence[slice]) -> Seen:
    return Seen(
        torch.cat([each.films[part] for each, part in zip(data, parts, strict=True)]),
        torch.cat([each.classes[part] for each, part in zip(data, parts, strict=True)]),
        torch.cat([each.tracks[part] for each, part in zip(data, parts, strict=True)]),
    )


@torch.no_grad()
def examine(critic: Critic, data: Seen, recipe: CriticRecipe) -> str:
    """How often the critic reads each axis right, as a line, through as much noise as it learned with."""
    draw = torch.Generator().manual_seed(recipe.seed)
    right: list[Tensor] = []
    for part, wanted in zip(data.films.split(recipe.batch), data.classes.split(recipe.batch), strict=True):
        sigmas = draw_levels(1.0, recipe.noise, len(part), draw)
        latents = part.float()
        noisy = through_noise(latents, sigmas, torch.randn(latents.shape, generator=draw))
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16), as_written(critic.dit):
            logits = critic(noisy, sigmas)
        right += [torch.stack([rows.argmax(dim=1) for rows in logits], dim=1) == wanted]
    shares = torch.cat(right).float().mean(dim=0).tolist()
    return ", ".join(f"{axis} {share:.0%}" for axis, share in zip(AXES, shares, strict=True))
