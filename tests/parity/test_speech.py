"""What is heard equals the official release: hidden states at 30 a second, then those of every film frame."""

import numpy as np
import pytest
import torch

from wan22.conditioning.speech import Hearing, hidden_states
from wan22.types import Sound

transformers = pytest.importorskip("transformers")


def encoder_of(golden):
    weights = golden.weights()
    config = transformers.Wav2Vec2Config(**golden.config["wav2vec2"])
    model = transformers.Wav2Vec2Model(config).eval()
    bare = {name.removeprefix("wav2vec2."): tensor for name, tensor in weights.items()}
    renamed = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tensor
        for name, tensor in bare.items()
    }
    missing, _ = model.load_state_dict(renamed, strict=False)
    assert not missing
    return model


def hearing_of(golden):
    model = encoder_of(golden)
    sound = Sound(golden.inputs["waveform"].numpy(), golden.config["sampling_rate"])
    return Hearing(sound, lambda samples: hidden_states(model, samples))


@pytest.mark.golden("s2v_audio*")
def test_the_states_at_30_a_second_are_the_official_ones(golden, relative_error):
    hearing = hearing_of(golden)
    expected = golden.outputs["features_30hz"]
    assert hearing.ticks == expected.shape[1]
    assert relative_error(hearing.at_ticks(np.arange(hearing.ticks)), expected) <= 1e-5


@pytest.mark.golden("s2v_audio*")
def test_the_states_of_every_clip_are_the_official_ones(golden, relative_error):
    hearing = hearing_of(golden)
    config = golden.config
    clips = [
        hearing.clip(i, config["clip_frames"], config["fps"])[0] for i in range(config["num_clips"])
    ]
    bucket = torch.cat(clips, dim=-1).permute(2, 0, 1)
    assert relative_error(bucket, golden.outputs["bucket"]) <= 1e-5
