"""The sizes that models choose for an image are the official ones."""

import pytest

from wan22.canvas import channels_size, known_size, speech_size

RULES = {
    "ti2v_image_size": lambda image, area: known_size(image, area, 32),
    "i2v_image_size": channels_size,
    "s2v_image_size": lambda image, area: speech_size(image, area, 64),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_images_size_is_the_official_one(sizes, rule):
    if rule not in sizes:
        pytest.skip(f"the folder records no {rule}")
    for case in sizes[rule]:
        image = case["width"], case["height"]
        assert list(RULES[rule](image, case["max_area"])) == case["out"], image
