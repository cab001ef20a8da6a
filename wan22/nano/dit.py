"""Train the nano model's transformer, or its two experts, by flow matching on cached latents (train/flow_matching.py).

An expert is the same network kept to its own range of noise. Images that are known (first, last) are given clean,
at noise level zero, and carry no loss.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan22.arch import DiTArch, UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.models.dit import WanDiT
from wan22.models.umt5 import UMT5Encoder
from wan22.nano.latents import LatentSet
from wan22.nano.state import CPU, Optimiser, TrainState, walk
from wan22.stage.caption import caption
from wan22.train.compiling import compile_blocks
from wan22.train.flow_matching import attention_on, draw_noise, draw_sigmas, eager_attention, velocity_error
from wan22.train.log import Log


@dataclass(frozen=True)
class DiTRecipe:
    """How a transformer is trained. `noise` is the range of sigma (low, high) that it learns; sigmas are drawn evenly
    before the `shift`. `known_shares` are the shares of batches in which no image is given, the first, the last, or
    both; `still_share` is that of single images. `motion_loss_weight` weights how the coarse image moves (`flow_loss`):
    what moves is a small part of a clip, and most of the error at high noise is of what no prompt says.
    """

    dit: DiTArch
    text: UMT5Arch
    optimiser: Optimiser
    batch: int
    noise: tuple[float, float] = (0.0, 1.0)
    shift: float = 5.0
    known_shares: tuple[float, float, float, float] = (0.6, 0.3, 0.05, 0.05)
    still_share: float = 0.05
    caption_dropout: float = 0.1
    word_dropout: float = 0.02
    motion_loss_weight: float = 0.0
    seed: int = 22
    train_text: bool = True
    bfloat16: bool = True
    compiled: bool = True


class DiTWithText(nn.Module):
    """What one run trains: a transformer and the text encoder that it reads through."""

    def __init__(self, dit: DiTArch, text: UMT5Arch) -> None:
        super().__init__()
        self.dit = WanDiT(dit, attention=eager_attention)
        self.text = UMT5Encoder(text)

    def init_weights(self) -> None:
        self.dit.init_weights()
        self.text.init_weights()


def draw_recipe_sigmas(recipe: DiTRecipe, count: int, generator: torch.Generator) -> Tensor:
    """Noise levels (count,) within the recipe's range."""
    return draw_sigmas(recipe.shift, recipe.noise, count, generator)


def flow_loss(
    dit: WanDiT,
    videos: Tensor,
    known: Tensor | None,
    lasts: Tensor | None,
    sigmas: Tensor,
    noise: Tensor,
    memory: tuple,
    motion: float = 0.0,
) -> Tensor:
    """Mean squared error of the velocity, over the latent frames that are not known.

    videos, noise (b, c, t, h, w); known (t,) bool; lasts (b, c, h, w) stand in for the last frame where it is known;
    sigmas (b,). `motion` adds that many times the error of how the coarse image changes from frame to frame.
    """
    error = velocity_error(lambda x, levels: dit(x, levels, memory), videos, known, lasts, sigmas, noise)
    loss = error.square().mean()
    if motion and error.shape[2] > 1:
        # A mean of four has a quarter of the variance.
        loss = loss + motion * 4 * F.avg_pool3d(error, (1, 2, 2)).diff(dim=2).square().mean()
    return loss


def encode_prompts(
    encoder: UMT5Encoder,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    text_len: int,
    unknown_words: float,
    generator: torch.Generator,
) -> list[Tensor]:
    """Encode prompts to contexts; some words are struck out, so that unknown ones do no harm."""
    ids, mask = tokenizer.encode(prompts, text_len)
    return encode_ids(encoder, tokenizer, ids, mask, unknown_words, generator)


def encode_ids(
    encoder: UMT5Encoder,
    tokenizer: Tokenizer,
    ids: Tensor,
    mask: Tensor,
    unknown_words: float,
    generator: torch.Generator,
) -> list[Tensor]:
    """As `encode_prompts`, of ids and mask (b, s) on the CPU; contexts are on the encoder's device."""
    text_len, device = ids.shape[1], encoder.token_embedding.weight.device
    strike = torch.rand(ids.shape, generator=generator) < unknown_words
    ids = torch.where(strike & (mask == 1) & (ids > 2), tokenizer.unknown_id, ids)
    contexts = encoder.contexts(ids.to(device), mask.to(device))
    # Rows of zeros are what padding is: written out for one prompt, they give every batch the same shape.
    missing = max(0, text_len - 1 - len(contexts[0]))
    contexts[0] = F.pad(contexts[0], (0, 0, 0, missing))
    return contexts


def train_dit(
    recipe: DiTRecipe,
    sets: Sequence[tuple[LatentSet, float]],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    log: Log,
    start: dict[str, Tensor] | None = None,
    minutes: float | None = None,
    device: torch.device = CPU,
) -> TrainState:
    """Train until the recipe's steps are done, or `minutes` have passed (run again to continue exactly).

    sets: latent sets, one for each video size, with their shares of the batches. start: parameters to begin from.
    """
    torch.manual_seed(recipe.seed)
    network = DiTWithText(recipe.dit, recipe.text)
    network.init_weights()
    if start is not None:
        network.load_state_dict(start)
    network.to(device)
    network.dit.attention = attention_on(device)
    sets = [(data.to(device), share) for data, share in sets]
    network.text.requires_grad_(recipe.train_text)
    if recipe.compiled:
        compile_blocks(network.dit)
    state = TrainState(network, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})

    def loss_of() -> Tensor:
        words = random.Random(f"{recipe.seed} {state.step}")
        return step_loss(network.dit, network.text, recipe, sets, tokenizer, state.generator(), words)

    walk(state, loss_of, log=log, minutes=minutes)
    return state


def step_loss(
    dit: WanDiT,
    text: UMT5Encoder,
    recipe: DiTRecipe,
    sets: Sequence[tuple[LatentSet, float]],
    tokenizer: Tokenizer,
    generator: torch.Generator,
    words: random.Random,
) -> Tensor:
    """The loss of a batch of videos from one of the sets, drawn by its share; captions are composed from `words`."""
    shares = torch.tensor([share for _, share in sets])
    data = sets[int(torch.multinomial(shares, 1, generator=generator))][0]
    still = words.random() < recipe.still_share
    known = None if still else _known(recipe, data.videos.shape[2], words)
    ended = known is not None and bool(known[-1])
    rows = torch.randint(len(data.lasts if ended else data.videos), (recipe.batch,), generator=generator)
    device = data.videos.device
    there = rows.to(device)
    videos = data.videos[there, :, :1].float() if still else data.videos[there].float()
    lasts = data.lasts[there].float() if ended else None
    ids, mask = _captions(recipe, data, rows.tolist(), tokenizer, words)
    sigmas = draw_recipe_sigmas(recipe, recipe.batch, generator).to(device)
    noise = draw_noise(videos.shape, generator, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
        contexts = encode_ids(text, tokenizer, ids, mask, recipe.word_dropout, generator)
        return flow_loss(
            dit, videos, known, lasts, sigmas, noise, dit.read_text(contexts), recipe.motion_loss_weight
        )


def _captions(
    recipe: DiTRecipe, data: LatentSet, rows: Sequence[int], tokenizer: Tokenizer, words: random.Random
) -> tuple[Tensor, Tensor]:
    """Ids and mask (b, s) of a caption of each clip: one of those composed ahead, else one that is composed now."""
    if data.captions is None:
        prompts = [
            "" if words.random() < recipe.caption_dropout else caption(data.shots[i], words).text
            for i in rows
        ]
        return tokenizer.encode(prompts, recipe.dit.text_len)
    dropped = torch.tensor([words.random() < recipe.caption_dropout for _ in rows])
    forms = torch.tensor([words.randrange(data.captions.shape[1]) for _ in rows])
    nothing, _ = tokenizer.encode([""], recipe.dit.text_len)
    ids = torch.where(dropped[:, None], nothing, data.captions[torch.tensor(rows), forms].long())
    return ids, (ids != tokenizer.pad_id).long()


def _known(recipe: DiTRecipe, frames: int, words: random.Random) -> Tensor | None:
    which = words.choices(("none", "first", "last", "both"), recipe.known_shares)[0]
    if which == "none":
        return None
    known = torch.zeros(frames, dtype=torch.bool)
    known[0] = which in ("first", "both")
    known[-1] = which in ("last", "both")
    return known
