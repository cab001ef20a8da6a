"""Train a transformer, or the two experts, by flow matching on cached latents (Lipman et al. 2022, arXiv:2210.02747).

    x = (1 - sigma) film + sigma noise        the network predicts noise - film, and the loss is the squared error

An expert is the same network kept to its own range of noise. Pictures that are known (first, last) are given clean,
at noise level zero, and carry no loss.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan22.arch import DiTArch, UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.umt5 import UMT5Encoder
from wan22.stage.caption import caption
from wan22.train.latents import LatentSet
from wan22.train.state import Optimiser, TrainState
from wan22.train.vae import Log


@dataclass(frozen=True)
class FlowRecipe:
    """What makes a network. `noise` is the range of sigma (low, high) that it learns; sigmas are drawn as an even
    schedule with `shift` would visit them. `tell` are the shares of batches in which nothing, the first picture, the
    last, or both are known, and `still` the share of single pictures. `motion` weighs how the coarse picture moves
    (`flow_loss`): the best network stays the same, but what moves is a small part of a film, and most of the error
    at high noise is of what no prompt says.
    """

    dit: DiTArch
    text: UMT5Arch
    optimiser: Optimiser
    batch: int
    noise: tuple[float, float] = (0.0, 1.0)
    shift: float = 5.0
    tell: tuple[float, float, float, float] = (0.6, 0.3, 0.05, 0.05)
    still: float = 0.05
    unprompted: float = 0.1
    unknown_words: float = 0.02
    motion: float = 0.0
    seed: int = 22
    train_text: bool = True
    bfloat16: bool = True
    compiled: bool = True


class Writer(nn.Module):
    """What one run trains: a transformer and the text encoder that it reads through."""

    def __init__(self, dit: DiTArch, text: UMT5Arch) -> None:
        super().__init__()
        self.dit = WanDiT(dit, attention=plain_attention)
        self.text = UMT5Encoder(text)

    def init_weights(self) -> None:
        self.dit.init_weights()
        self.text.init_weights()


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention written out: on the CPU its backward is twice as fast as the fused kernel's at a few hundred tokens."""
    q, k, v = (a.transpose(1, 2) for a in (q, k, v))
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    scores = scores if bias is None else scores + bias
    return (scores.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2)


def draw_sigmas(recipe: FlowRecipe, count: int, generator: torch.Generator) -> Tensor:
    """Noise levels (count,) within the recipe's range."""
    return draw_levels(recipe.shift, recipe.noise, count, generator)


def draw_levels(shift: float, noise: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """Noise levels (count,) of a range, spread evenly before the shift and stratified over the batch."""

    def unshift(sigma: float) -> float:
        return sigma / (shift - (shift - 1) * sigma)

    low, high = (unshift(s) for s in noise)
    even = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    base = low + (high - low) * even[torch.randperm(count, generator=generator)]
    return shift * base / (1 + (shift - 1) * base)


def flow_loss(
    dit: WanDiT,
    films: Tensor,
    known: Tensor | None,
    lasts: Tensor | None,
    sigmas: Tensor,
    noise: Tensor,
    memory: tuple,
    motion: float = 0.0,
) -> Tensor:
    """Mean squared error of the velocity, over the latent frames that are not known.

    films, noise (b, c, t, h, w); known (t,) bool; lasts (b, c, h, w) stand in for the last frame where it is known;
    sigmas (b,). `motion` adds that many times the error of how the coarse picture changes from frame to frame.
    """
    error = velocity_error(lambda x, levels: dit(x, levels, memory), films, known, lasts, sigmas, noise)
    loss = error.square().mean()
    if motion and error.shape[2] > 1:
        # A mean of four has a quarter of the variance.
        loss = loss + motion * 4 * F.avg_pool3d(error, (1, 2, 2)).diff(dim=2).square().mean()
    return loss


def velocity_error(
    velocity_of: Callable[[Tensor, NoiseLevels], Tensor],
    films: Tensor,
    known: Tensor | None,
    lasts: Tensor | None,
    sigmas: Tensor,
    noise: Tensor,
) -> Tensor:
    """What the predicted velocity is off, float32 (b, c, t, h, w), without the latent frames that are known.

    films, known, lasts, sigmas and noise are `flow_loss`'s; `velocity_of` is the network, told the rest.
    """
    s = sigmas.view(-1, 1, 1, 1, 1)
    x = (1 - s) * films + s * noise
    unknown, levels = slice(None), NoiseLevels.uniform(sigmas * 1000)
    if known is not None:
        x, levels = tell(x, films, known, lasts, sigmas)
        unknown = (~known).nonzero().flatten()
    return (velocity_of(x, levels).float() - (noise - films))[:, :, unknown]


def tell(
    x: Tensor, films: Tensor, known: Tensor, lasts: Tensor | None, sigmas: Tensor
) -> tuple[Tensor, NoiseLevels]:
    """Give the latent frames that are `known` (t,) clean, at noise level zero, in films `x` of noise levels `sigmas`.

    `lasts` (b, c, h, w) stand in for the last frame where it is known.
    """
    clean = films.clone()
    if lasts is not None:
        clean[:, :, -1] = lasts
    x = torch.where(known.view(1, 1, -1, 1, 1), clean, x)
    tokens = films.shape[3] // 2 * (films.shape[4] // 2)
    index = (~known).long().repeat_interleave(tokens)
    return x, NoiseLevels(torch.stack([torch.zeros_like(sigmas), sigmas * 1000], dim=1), index)


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
    strike = torch.rand(ids.shape, generator=generator) < unknown_words
    ids = torch.where(strike & (mask == 1) & (ids > 2), tokenizer.unknown_id, ids)
    contexts = encoder.contexts(ids, mask)
    # Rows of zeros are what padding is: written out for one prompt, they give every batch the same shape.
    missing = max(0, text_len - 1 - len(contexts[0]))
    contexts[0] = F.pad(contexts[0], (0, 0, 0, missing))
    return contexts


def train_flow(
    recipe: FlowRecipe,
    sets: Sequence[tuple[LatentSet, float]],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    log: Log,
    start: dict[str, Tensor] | None = None,
    minutes: float | None = None,
) -> TrainState:
    """Train until the recipe's steps are done, or `minutes` have passed (run again to continue exactly).

    sets: latent sets, one for each film size, with their shares of the batches. start: parameters to begin from.
    """
    torch.manual_seed(recipe.seed)
    writer = Writer(recipe.dit, recipe.text)
    writer.init_weights()
    if start is not None:
        writer.load_state_dict(start)
    writer.text.requires_grad_(recipe.train_text)
    if recipe.compiled:
        compile_blocks(writer.dit)
    state = TrainState(writer, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})

    def loss_of() -> Tensor:
        words = random.Random(f"{recipe.seed} {state.step}")
        return step_loss(writer.dit, writer.text, recipe, sets, tokenizer, state.generator(), words)

    walk(state, loss_of, log=log, minutes=minutes)
    return state


def compile_blocks(dit: WanDiT) -> None:
    """Compile each block, with one graph for each shape of a batch."""
    setattr(torch._dynamo.config, "recompile_limit", 64)  # noqa: B010 - typed as the constant 8
    for block in dit.blocks:
        block.compile(dynamic=False)


def walk(state: TrainState, loss_of: Callable[[], Tensor], *, log: Log, minutes: float | None) -> None:
    """Take steps until the recipe's are done, or `minutes` have passed; save on the way, and at the end."""
    if state.resume():
        log(f"resumed at step {state.step}")
    started = last = time.monotonic()
    losses: list[float] = []
    while not state.done:
        loss = loss_of()
        losses.append(loss.item())
        state.update(loss)
        if state.step % 50 == 0:
            now = time.monotonic()
            mean = math.fsum(losses) / len(losses)
            rate = (now - last) / len(losses)
            log(f"step {state.step}/{state.settings.steps}  loss {mean:.4f}  {rate:.2f} s/step")
            last, losses = now, []
        if state.step % 250 == 0:
            state.save()
        if minutes and time.monotonic() - started > minutes * 60:
            break
    state.save()


def step_loss(
    dit: WanDiT,
    text: UMT5Encoder,
    recipe: FlowRecipe,
    sets: Sequence[tuple[LatentSet, float]],
    tokenizer: Tokenizer,
    generator: torch.Generator,
    words: random.Random,
) -> Tensor:
    """The loss of a batch of films from one of the sets, drawn by its share; captions are composed from `words`."""
    shares = torch.tensor([share for _, share in sets])
    data = sets[int(torch.multinomial(shares, 1, generator=generator))][0]
    still = words.random() < recipe.still
    known = None if still else _known(recipe, data.films.shape[2], words)
    ended = known is not None and bool(known[-1])
    rows = torch.randint(len(data.lasts if ended else data.films), (recipe.batch,), generator=generator)
    films = data.films[rows, :, :1].float() if still else data.films[rows].float()
    lasts = data.lasts[rows].float() if ended else None
    prompts = [
        "" if words.random() < recipe.unprompted else caption(data.shots[i], words).text
        for i in rows.tolist()
    ]
    sigmas = draw_sigmas(recipe, recipe.batch, generator)
    noise = torch.randn(films.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        contexts = encode_prompts(
            text, tokenizer, prompts, recipe.dit.text_len, recipe.unknown_words, generator
        )
        return flow_loss(dit, films, known, lasts, sigmas, noise, dit.read_text(contexts), recipe.motion)


def _known(recipe: FlowRecipe, frames: int, words: random.Random) -> Tensor | None:
    tell = words.choices(("none", "first", "last", "both"), recipe.tell)[0]
    if tell == "none":
        return None
    known = torch.zeros(frames, dtype=torch.bool)
    known[0] = tell in ("first", "both")
    known[-1] = tell in ("last", "both")
    return known
