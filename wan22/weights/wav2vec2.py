"""The encoder of audio: transformers' Wav2Vec2Model, filled from a checkpoint of any dialect.

The network is transformers' own, an extra of this package. Its weights go the way of all others: recognised from
their tensors, read by our reader, checked before data is read.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wan22.errors import CheckpointError, KeysError
from wan22.weights.dialects import wav2vec2
from wan22.weights.reader import Reader, open_reader
from wan22.weights.recognise import AudioArch, identify, open_native

if TYPE_CHECKING:
    from transformers import Wav2Vec2Model

    from wan22.weights.native import Native


def audio_config(path: str | Path) -> dict[str, Any]:
    """The fields of transformers' Wav2Vec2Config of a checkpoint: a file, or a folder of Hugging Face's layout.

    Sizes are those of the tensors; the number of heads and the like come from its config.json, from its own
    metadata, or are the released ones. Raises CheckpointError if it is no whole wav2vec2 encoder, or they are nowhere.
    """
    with open_reader(path) as reader:
        return asdict(_open(reader)[1])


def audio_parameters(path: str | Path) -> int:
    """The number of parameters that `load_audio_encoder` loads. Raises CheckpointError as `audio_config` does."""
    with open_reader(path) as reader:
        view, _ = _open(reader)
        return sum(reader.infos[view.source[name]].count for name in _parameters(view))


def load_audio_encoder(path: str | Path, device: str | torch.device = "cpu") -> Wav2Vec2Model:
    """Load an encoder of audio on `device`, in float32 whatever the file has, in eval mode, without gradients.

    Raises CheckpointError as `audio_config` does; KeysError, before data is
    read, if a tensor is missing, unknown or misshapen.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with open_reader(path) as reader:
        view, arch = _open(reader)
        # Masks belong to training; without them the model has no parameter for one.
        config = Wav2Vec2Config(**asdict(arch), mask_time_prob=0.0, mask_feature_prob=0.0)
        with torch.device("meta"):
            model = Wav2Vec2Model(config)
        ours = _parameters(view)
        _check(view, ours, model.state_dict())
        weights = {theirs: view.read(name).to(device, torch.float32) for name, theirs in ours.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _open(reader: Reader) -> tuple[Native, AudioArch]:
    view = open_native(reader)
    arch = identify(view).arch
    if not isinstance(arch, AudioArch):
        raise CheckpointError(
            f"{reader.path} is a {view.dialect.part} network, not an encoder of audio (wav2vec2)."
        )
    return view, arch


def _parameters(view: Native) -> dict[str, str]:
    """Native names to the parameters of Wav2Vec2Model that they are."""
    return {name: theirs for name in view.source if (theirs := wav2vec2.parameter(name))}


def _check(view: Native, ours: dict[str, str], wanted: dict[str, Tensor]) -> None:
    native = view.shapes
    shapes = {theirs: native[name] for name, theirs in ours.items()}
    problems = [f"{name} is missing" for name in wanted if name not in shapes]
    problems += [f"{name} is unknown" for name in (*view.unknown, *(shapes.keys() - wanted.keys()))]
    problems += [
        f"{name} is {list(shape)}, not {list(wanted[name].shape)}"
        for name, shape in shapes.items()
        if name in wanted and shape != tuple(wanted[name].shape)
    ]
    if problems:
        raise KeysError(f"{view.reader.path} does not fit Wav2Vec2Model: {'; '.join(problems[:5])}.")
