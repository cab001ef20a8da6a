"""What goes before an animated video equals the official release: lengths, order of frames, letterboxed images."""

import numpy as np
import pytest

from wan22.conditioning.animate import clip_starts, padded_length, ping_pong
from wan22.conditioning.letterbox import letterbox


@pytest.mark.golden("animate_pipeline*")
def test_lengths_and_starts_of_clips_are_the_official_ones(golden):
    for case in golden.config["lengths"]:
        asked = case["real_len"], case["clip_len"], case["refert_num"]
        assert padded_length(*asked) == case["target_len"]
        assert list(clip_starts(*asked)) == case["clip_starts"]


@pytest.mark.golden("animate_pipeline*")
def test_a_short_video_runs_back_and_forth_as_the_official_one(golden):
    for case in golden.config["ping_pong"]:
        assert ping_pong(case["length"], case["target_len"]).tolist() == case["index"]


@pytest.mark.golden("animate_pipeline*")
def test_images_are_letterboxed_to_the_last_bit(golden):
    size = golden.config["width"], golden.config["height"]
    seen = 0
    for name, image in golden.inputs.items():
        if name.startswith(("letterbox.", "reference.")):
            assert np.array_equal(letterbox(image.numpy(), size), golden.outputs[name].numpy()), name
            seen += 1
    assert seen == 7
