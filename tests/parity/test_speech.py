"""What is heard equals the official release: hidden states at 30 a second, then those of every video frame."""

import numpy as np
import pytest
import torch
from builders import wav2vec2

from wan22.conditioning.speech import AudioFeatures, hidden_states
from wan22.types import Audio


def hearing_of(golden):
    model = wav2vec2(golden.config["wav2vec2"], golden.weights())
    audio = Audio(golden.inputs["waveform"].numpy(), golden.config["sampling_rate"])
    return AudioFeatures(audio, lambda samples: hidden_states(model, samples))


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
    clips = [hearing.clip(i, config["clip_frames"], config["fps"])[0] for i in range(config["num_clips"])]
    bucket = torch.cat(clips, dim=-1).permute(2, 0, 1)
    assert relative_error(bucket, golden.outputs["bucket"]) <= 1e-5
