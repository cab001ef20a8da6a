"""The sizes that models choose for a picture are the official ones."""

import pytest

from wan22.canvas import channels_size, known_size, speech_size

RULES = {
    "ti2v_image_size": lambda picture, area: known_size(picture, area, 32),
    "i2v_image_size": channels_size,
    "s2v_image_size": lambda picture, area: speech_size(picture, area, 64),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_pictures_size_is_the_official_one(sizes, rule):
    if rule not in sizes:
        pytest.skip(f"the folder records no {rule}")
    for case in sizes[rule]:
        picture = case["width"], case["height"]
        assert list(RULES[rule](picture, case["max_area"])) == case["out"], picture
