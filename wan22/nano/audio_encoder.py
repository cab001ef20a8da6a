"""Train a small encoder of audio: a wav2vec 2.0 in little, taught what the film set's puppet makes of an audio file.

The large one was taught to write down what is said. This one is told, for every frame, how the puppet's performance
follows from the audio (mouth, brows, head, hands), so that its hidden states hold what a video needs. The read-out that
learns with it is thrown away.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wan22.conditioning.speech import FEATURE_RATE, RATE
from wan22.nano.state import Optimiser, TrainState, walk
from wan22.stage.puppet import perform
from wan22.stage.voice import audio_track
from wan22.train.log import Log

CUES = ("mouth", "width", "brow", "nod", "tilt", "hand_left", "hand_right")


@dataclass(frozen=True)
class AudioEncoderRecipe:
    """What makes an audio encoder: `config` of transformers' Wav2Vec2Config, and tracks of `seconds` to learn from."""

    config: dict[str, Any]
    optimiser: Optimiser
    tracks: int
    seconds: float
    batch: int
    seed: int


class AudioEncoderWithHead(nn.Module):
    """The encoder and the read-out of its last states."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        self.encoder = Wav2Vec2Model(Wav2Vec2Config(**config))
        self.read = nn.Linear(config["hidden_size"], len(CUES))

    def forward(self, samples: Tensor) -> Tensor:
        return self.read(self.encoder(samples).last_hidden_state)


def cues(samples: np.ndarray) -> np.ndarray:
    """What the puppet does at every frame of the encoder, float32 (T, len(CUES))."""
    frames = (len(samples) - 400) // 320 + 1
    part = perform(samples, RATE, frames, float(FEATURE_RATE), seed=0)
    columns = [part.mouth, part.width, part.brow, part.nod, part.tilt, part.hands[:, 0], part.hands[:, 1]]
    return np.stack(columns, axis=1).astype(np.float32)


def train_audio_encoder(
    recipe: AudioEncoderRecipe, folder: Path, *, log: Log, minutes: float | None = None
) -> TrainState:
    """Train until the recipe's steps are done, or `minutes` have passed (run again to continue exactly)."""
    torch.manual_seed(recipe.seed)
    count = round(recipe.seconds * RATE)
    tracks = np.stack([audio_track(recipe.seed + i, recipe.seconds)[:count] for i in range(recipe.tracks)])
    targets = torch.from_numpy(np.stack([cues(track) for track in tracks]))
    targets = (targets - targets.mean(dim=(0, 1))) / targets.std(dim=(0, 1)).clamp(min=1e-3)
    normal = torch.from_numpy(
        (tracks - tracks.mean(1, keepdims=True)) / np.sqrt(tracks.var(1, keepdims=True) + 1e-7)
    )
    listener = AudioEncoderWithHead(recipe.config).train()
    state = TrainState(listener, recipe.optimiser, folder, {"seed": recipe.seed, "recipe": repr(recipe)})

    def loss_of() -> Tensor:
        rows = torch.randint(len(normal), (recipe.batch,), generator=state.generator())
        with torch.autocast("cpu", torch.bfloat16):
            said = listener(normal[rows].float())
        return (said.float() - targets[rows]).square().mean()

    walk(state, loss_of, log=log, minutes=minutes)
    return state
