"""What a network is trained on: batches of latents, what conditions them, and the error of its velocity.

    x = (1 - sigma) video + sigma noise      velocity = noise - video      (Lipman et al. 2022, arXiv:2210.02747)

Each task is conditioned as in the engine (conditioning/image.py, models/speech.py): channels beside the noise,
latent frames at noise level zero, which carry no error, or a reference, a past and an audio file.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from wan22.catalog import Variant
from wan22.errors import CheckpointError, OptionError
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.linear import Linear32
from wan22.models.speech import AudioEncoder, SpeechDiT
from wan22.ops.attention import sdpa
from wan22.train.flow_matching import eager_attention, velocity_error
from wan22.train.recipe import ImagePart, Recipe, SpeechPart
from wan22.train.world import WHOLE, Portion


class Row(Protocol):
    """One clip: normalised latents (c, t, h, w), its text (s, d), and what else its task is conditioned on."""

    latents: Tensor
    text: Tensor
    extra: dict[str, Tensor]


class Rows(Protocol):
    """Clips by their number; `buckets` names the numbers whose latents have one shape."""

    buckets: dict[str, list[int]]

    def row(self, i: int) -> Row: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """Videos (b, c, t, h, w) and what conditions the network: contexts, channels (b, y, t, h, w), whether the first
    latent frame is known, and what the last one is if it is known (b, c, h, w); or reference (b, c, 1, h, w), audio
    (b, states, a, T) and past (b, c, m, h, w). `weights` (b, 1, 1, h, w) say how much the error counts where.

    `clips` are the numbers of these in a batch of `size`, if others have the rest; `draws` is each clip's randomness,
    the same whoever has it.
    """

    videos: Tensor
    texts: list[Tensor]
    channels: Tensor | None = None
    first_known: bool = False
    reference: Tensor | None = None
    audio: Tensor | None = None
    motion: Tensor | None = None
    last: Tensor | None = None
    weights: Tensor | None = None
    clips: range = range(0)
    size: int = 0
    draws: tuple[torch.Generator, ...] = ()

    def noise(self) -> Tensor:
        """Draw noise like the videos, each clip's from its own randomness."""
        return torch.stack(
            [
                torch.randn(video.shape, generator=draw)
                for video, draw in zip(self.videos, self.draws, strict=True)
            ]
        )


def task_of(asked: str | None, variant: Variant) -> str:
    """The task that a model is trained for. Raises OptionError if it takes other conditions than the task's."""
    own = {"channels": ("i2v",), "known": ("ti2v", "t2v", "i2v"), "reference": ("s2v",), None: ("t2v",)}[
        variant.image
    ]
    task = asked or own[0]
    if task not in own:
        raise OptionError(
            f'model.task = "{task}" is not one of {variant.name}; it can learn {", ".join(own)}'
        )
    return task


def draw_batch(
    data: Rows,
    recipe: Recipe,
    task: str,
    empty: Tensor,
    generator: torch.Generator,
    portion: Portion = WHOLE,
) -> Batch:
    """Draw clips of one bucket, each bucket as often as its share of the clips; `empty` is the context of no text.

    Of the batch, only the clips of `portion` are read. What is drawn is the same for all portions.
    """
    buckets = [rows for rows in data.buckets.values() if rows]
    shares = torch.tensor([len(rows) for rows in buckets], dtype=torch.float64)
    bucket = buckets[int(torch.multinomial(shares, 1, generator=generator))]
    order = [bucket[i] for i in torch.randperm(len(bucket), generator=generator).tolist()]
    chosen = _alike(data, order, recipe.optimiser.batch_size) if task == "s2v" else order
    chosen = chosen[: recipe.optimiser.batch_size]
    dropped = torch.rand(len(chosen), generator=generator) < recipe.data.caption_dropout
    first, last = _known(recipe.images, task, float(torch.rand(1, generator=generator)))
    seeds = torch.randint(2**62, (len(chosen),), generator=generator).tolist()
    own, _ = portion.clips(len(chosen))
    draws = tuple(torch.Generator().manual_seed(seeds[i]) for i in own)
    rows, silent = [data.row(chosen[i]) for i in own], dropped[own.start : own.stop]
    texts = [empty if quiet else row.text.float() for row, quiet in zip(rows, silent.tolist(), strict=True)]
    moves = rows[0].latents.shape[1] > 1
    videos, audio, motion = torch.stack([row.latents.float() for row in rows]), _stacked(rows, "audio"), None
    weights, speech = None, recipe.speech or SpeechPart()
    if task == "s2v":
        weights = motion_weights(videos, speech.motion_weight_threshold, speech.motion_weight_max)
        motion = _stacked(rows, "motion")
        if motion is not None:
            motion = torch.cat(
                [
                    add_motion_noise(past[None], speech.motion_noise, draw)
                    for past, draw in zip(motion, draws, strict=True)
                ]
            )
    return Batch(
        videos=videos,
        texts=texts,
        channels=_stacked(rows, "channels"),
        first_known=first and moves,
        reference=_stacked(rows, "reference"),
        audio=None if audio is None else audio * (~silent).view(-1, *(1,) * (audio.ndim - 1)),
        motion=motion,
        last=_stacked(rows, "last") if last and moves else None,
        weights=weights,
        clips=own,
        size=len(chosen),
        draws=draws,
    )


def _known(shares: ImagePart, task: str, drawn: float) -> tuple[bool, bool]:
    """Whether the first image of a batch is known, and its last; `drawn` is from 0 to 1."""
    if task != "ti2v":
        return task == "i2v", False
    alone, last = shares.first, shares.first + shares.last
    both = last <= drawn < last + shares.both
    return drawn < alone or both, alone <= drawn < last or both


def motion_weights(clips: Tensor, moving: float, most: float) -> Tensor:
    """How much the error counts at every place of clips (b, c, t, h, w): (b, 1, 1, h, w), 1 in the mean over a clip.

    Where a clip moves by `moving` it counts double, and up to `most` times where it moves more.
    """
    moves = clips.std(dim=2, keepdim=True).mean(dim=1, keepdim=True)
    weights = (1 + (moves / moving).square()).clamp(max=most)
    return weights / weights.mean(dim=(3, 4), keepdim=True)


def add_motion_noise(motion: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Pasts (b, c, m, h, w) with noise of a deviation that is drawn for each, at most `worn`."""
    amount = most * torch.rand(len(motion), 1, 1, 1, 1, generator=generator)
    return motion + amount * torch.randn(motion.shape, generator=generator)


def _alike(data: Rows, order: Iterable[int], size: int) -> list[int]:
    """The first `size` clips with the same conditions as the first one: clips with a past, or without."""
    alike, wanted = [], None
    for i in order:
        has = data.row(i).extra.keys()
        wanted = has if wanted is None else wanted
        if has == wanted:
            alike.append(i)
        if len(alike) == size:
            break
    return alike


def _stacked(rows: list[Row], name: str) -> Tensor | None:
    have = [row.extra[name] for row in rows if name in row.extra]
    return torch.stack([each.float() for each in have]) if have else None


def move(batch: Batch, device: torch.device) -> Batch:
    """The same batch on a device."""

    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    moved = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(batch, texts=[text.to(device) for text in batch.texts], **moved)


def velocity_errors(
    network: WanDiT,
    batch: Batch,
    variant: Variant,
    sigmas: Tensor,
    noise: Tensor,
    call: Callable[..., Tensor] | None = None,
) -> Tensor:
    """The mean squared error of the velocity of every clip, weighed if the batch says so, float32 (b,).

    sigmas (b,), noise as the videos. `call` is called in place of the network, where several share a clip's tokens.
    A latent frame that is known, the first or the last, is given clean at noise level zero and has no error.
    """
    known = None
    if variant.image == "known" and (batch.first_known or batch.last is not None):
        known = torch.zeros(batch.videos.shape[2], dtype=torch.bool, device=batch.videos.device)
        known[0] = batch.first_known
        if batch.last is not None:
            known[-1] = True
    text = network.read_text(batch.texts)
    channels = batch.channels if variant.image == "channels" else None
    extra = _extra_tokens(network, batch)

    def velocity_of(x: Tensor, levels: NoiseLevels) -> Tensor:
        return (call or network)(x, levels, text, channels, extra)

    errors = velocity_error(velocity_of, batch.videos, known, batch.last, sigmas, noise).square()
    weighed = errors if batch.weights is None else batch.weights * errors
    return weighed.flatten(1).mean(dim=1)


def _extra_tokens(network: WanDiT, batch: Batch):  # noqa: ANN202 - ExtraTokens or None, whose fields jaxtyping would check
    if not isinstance(network, SpeechDiT):
        return None
    if batch.reference is None or batch.audio is None:
        raise CheckpointError(
            "a clip of speech to video needs a reference and an audio file; prepare the data again"
        )
    return network.read_speech(batch.reference, batch.audio, batch.motion)


def for_training(network: WanDiT, device: torch.device) -> WanDiT:
    """Make a network ready for training under autocast: what it keeps in float32 (models/block.py) stays float32.

    Autocast would round the embedding of the noise level, the head, and the bias that weighs the text's padding.
    """
    for module in network.modules():
        if isinstance(module, Linear32 | AudioEncoder):
            setattr(module, "forward", _outside_autocast(module.forward, device.type))  # noqa: B010 - typed as a method
    network.attention = eager_attention if device.type == "cpu" else attention
    return network.train()


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention on an accelerator; with a bias in float32, which `sdpa` sees to if autocast does not interfere."""
    if bias is None:
        return sdpa(q, k, v)
    with torch.autocast(q.device.type, enabled=False):
        return sdpa(q, k, v, bias)


def _outside_autocast(forward: Callable[[Tensor], Tensor], kind: str) -> Callable[[Tensor], Tensor]:
    def exact(x: Tensor) -> Tensor:
        with torch.autocast(kind, enabled=False):
            return forward(x)

    return exact


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def count(parameters: Iterable[Tensor]) -> int:
    """How many numbers there are."""
    return sum(p.numel() for p in parameters)
