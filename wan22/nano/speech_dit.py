"""Train a transformer that audio drives, by flow matching on latents of puppet videos (see dit.py and puppets.py).

A batch is of clips with a past or of first clips. Text and audio are left out now and then, together and alone, so that
guidance can be made from their absence.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wan22.arch import DiTArch, UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.models.dit import NoiseLevels
from wan22.models.speech import SpeechDiT
from wan22.models.umt5 import UMT5Encoder
from wan22.nano.dit import encode_prompts
from wan22.nano.puppets import PuppetSet
from wan22.nano.state import Optimiser, TrainState, walk
from wan22.stage.puppet import puppet_caption
from wan22.train.compiling import compile_blocks
from wan22.train.flow_matching import draw_sigmas, eager_attention
from wan22.train.log import Log
from wan22.train.losses import add_motion_noise, motion_weights


@dataclass(frozen=True)
class SpeechDiTRecipe:
    """How a speech-to-video transformer is trained. `history_share` of the batches have motion frames; the others are
    first clips. `condition_dropout` are the shares of clips without text and audio, without text, without audio.
    `motion_noise`, `motion_weight_threshold` and `motion_weight_max` are those of train/recipe.py (SpeechPart).
    """

    dit: DiTArch
    text: UMT5Arch
    optimiser: Optimiser
    batch: int
    shift: float
    history_share: float = 0.6
    condition_dropout: tuple[float, float, float] = (0.1, 0.05, 0.05)
    motion_noise: float = 0.15
    motion_weight_threshold: float = 0.05
    motion_weight_max: float = 10.0
    word_dropout: float = 0.02
    seed: int = 22
    compiled: bool = True


class SpeechDiTWithText(nn.Module):
    """What a run trains: a transformer and the text encoder that it reads through."""

    def __init__(self, dit: DiTArch, text: UMT5Arch) -> None:
        super().__init__()
        self.dit = SpeechDiT(dit, attention=eager_attention)
        self.text = UMT5Encoder(text)

    def init_weights(self) -> None:
        self.dit.init_weights()
        self.text.init_weights()


def train_speech_dit(
    recipe: SpeechDiTRecipe,
    data: PuppetSet,
    normal: tuple[Tensor, Tensor],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    log: Log,
    minutes: float | None = None,
) -> TrainState:
    """Train until the recipe's steps are done, or `minutes` have passed (run again to continue exactly).

    normal: mean and deviation of the latents' channels, (c,).
    """
    torch.manual_seed(recipe.seed)
    network = SpeechDiTWithText(recipe.dit, recipe.text)
    network.init_weights()
    if recipe.compiled:
        compile_blocks(network.dit)
    state = TrainState(network, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})
    walk(state, lambda: _step_loss(network, recipe, data, normal, tokenizer, state), log=log, minutes=minutes)
    return state


def _step_loss(
    network: SpeechDiTWithText,
    recipe: SpeechDiTRecipe,
    data: PuppetSet,
    normal: tuple[Tensor, Tensor],
    tokenizer: Tokenizer,
    state: TrainState,
) -> Tensor:
    generator = state.generator()
    words = random.Random(f"{recipe.seed} {state.step}")
    rows = torch.randint(len(data.chained), (recipe.batch,), generator=generator)
    take = torch.randint(2, (recipe.batch,), generator=generator)
    mean, std = (value.view(1, -1, 1, 1, 1) for value in normal)
    first = data.first[rows, take]
    motion = None
    reference = (first[:, :, :1].float() - mean) / std
    if words.random() < recipe.history_share:
        whole = (data.chained[rows].float() - mean) / std
        past = whole.shape[2] - (first.shape[2] - 1)
        motion, clips = whole[:, :, :past], whole[:, :, past:]
        motion = add_motion_noise(motion, recipe.motion_noise, generator)
        audio = data.audio[rows, 0].float()
    else:
        clips = (first[:, :, 1:].float() - mean) / std
        audio = data.audio[rows, 1 + take].float()
    both, no_text, no_audio = (
        torch.rand(3, recipe.batch, generator=generator) < torch.tensor(recipe.condition_dropout)[:, None]
    )
    audio = audio * (~(both | no_audio)).view(-1, 1, 1, 1)
    prompts = [
        "" if silent else puppet_caption(data.shots[i], words)
        for i, silent in zip(rows.tolist(), (both | no_text).tolist(), strict=True)
    ]
    sigmas = draw_sigmas(recipe.shift, (0.0, 1.0), recipe.batch, generator)
    noise = torch.randn(clips.shape, generator=generator)
    s = sigmas.view(-1, 1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        contexts = encode_prompts(
            network.text, tokenizer, prompts, recipe.dit.text_len, recipe.word_dropout, generator
        )
        memory = network.dit.read_text(contexts)
        extra_tokens = network.dit.read_speech(reference, audio, motion)
        x = (1 - s) * clips + s * noise
        velocity = network.dit(x, NoiseLevels.uniform(sigmas * 1000), memory, extra_tokens=extra_tokens)
    weights = motion_weights(clips, recipe.motion_weight_threshold, recipe.motion_weight_max)
    return (weights * (velocity.float() - (noise - clips)).square()).mean()
