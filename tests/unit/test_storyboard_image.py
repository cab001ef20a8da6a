"""`wan22 image` is directed as `wan22 generate` is."""

import json

import pytest

from wan22.cli import image as command
from wan22.cli.__main__ import main
from wan22.production.work import with_direction


@pytest.fixture
def works(monkeypatch):
    """What `wan22 image` would make."""
    made = []
    monkeypatch.setattr(command, "make", lambda work, events: made.append(work))
    return made


class Notes:
    def note(self, text):
        pass


def test_the_options_of_direction_are_put_around_the_prompt_of_an_image(works):
    arguments = (
        "--shot-size close-up --angle low-angle --lens telephoto --composition center --light moonlight"
    )
    more = "--time night --tone warm --style claymation --extend rules"
    assert main(["image", "a fox", *arguments.split(), *more.split()]) == 0
    work, told = with_direction(works[0], Notes())
    assert told["directed"]["after"] == (
        "Claymation style, Night time, Moonlight, Warm colors, Close-up shot, Low angle shot, Long-focus lens, "
        "Center composition. a fox."
    )
    assert (
        work.given["prompt"] == told["extended"]["after"]
        and work.given["frames"] == 1
        and work.suffix == ".png"
    )
    json.dumps(told)


def test_without_them_the_prompt_stays(works):
    assert main(["image", "a fox", "--seed", "3"]) == 0
    assert not works[0].direction.given and works[0].given == {"prompt": "a fox", "frames": 1, "seed": 3}


def test_an_unknown_word_is_one_error_that_names_the_option(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["image", "a fox", "--lens", "fishey eye"]) == 2
    assert "--lens: unknown lens 'fishey eye'" in capsys.readouterr().err
