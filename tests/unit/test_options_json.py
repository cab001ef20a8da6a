"""A request as JSON is the work that the same options on the command line are."""

import pytest

from wan22.cli import options as o
from wan22.errors import OptionError
from wan22.production.options import as_work, from_json


def path_of(name):
    return f"/inputs/{name}"


@pytest.mark.parametrize(
    "request_",
    [
        {"prompt": "a ball", "steps": 4, "size": [64, 48], "guidance": [3, 4], "seed": 7, "fast": False},
        {"prompt": "a ball", "sigmas": [1, 0.5, 0], "guidance_interval": [0.1, 0.9], "camera": ["pan left"]},
        {"prompt": "a ball", "image": "in_1", "quality": "draft", "codec": None, "count": 2},
        {"prompt": "a ball", "audio": "in_2", "image": "in_1", "audio_start": 1.5, "pose": "in_3"},
        {"prompt": "a ball", "lora": ["style:0.5@high"], "color_match": 0.5, "best_of": 3},
    ],
)
def test_json_and_typed_options_are_the_same_work(request_):
    def typed(name, value):
        if name == "lora":
            return value
        if isinstance(value, list):
            return value if name == "camera" else ("x" if name == "size" else ",").join(map(str, value))
        return path_of(value) if name in ("image", "audio", "pose") else value

    rows = o.fields.of_command("generate")
    raw = {row.name: o._unsaid(row) for row in rows} | {
        f"old_{alias.replace('-', '_')}": o._unsaid(row) for row in rows for alias in row.aliases
    }
    raw |= {name: typed(name, value) for name, value in request_.items()}
    given = o.Given("generate", {row.name: o._value(row, raw) for row in rows})
    assert as_work(from_json("generate", request_, path_of)) == as_work(given)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"prompt": "a", "output": "/etc/passwd"}, "unknown field 'output'"),
        ({"prompt": "a", "device": "cuda"}, "unknown field 'device'"),
        ({"prompt": "a", "dit": "/etc/passwd"}, "unknown field 'dit'"),
        ({"prompt": "a", "stesp": 3}, "Did you mean 'steps'"),
        ({"prompt": "a", "steps": "3"}, "steps is '3'"),
        ({"prompt": "a", "steps": True}, "steps is True"),
        ({"prompt": "a", "steps": 0}, "steps must be"),
        ({"prompt": "a", "size": [64]}, "size"),
        ({"prompt": "a", "size": [64, "48"]}, "size"),
        ({"prompt": "a", "seed": 1.5}, "seed"),
        ({"prompt": 3}, "prompt is 3"),
        ({"prompt": "a", "fps": float("nan")}, "fps is nan"),
        ({"prompt": "a", "lora": "style"}, "lora"),
        ({"prompt": "a", "lora": [""]}, "lora"),
        ({"prompt": "a", "task": "i2v"}, "takes an image"),
        ({"prompt": "a", "audio": ["in_1"]}, "audio"),
    ],
)
def test_what_json_says_wrongly_is_named(request_, says):
    with pytest.raises(OptionError, match=says):
        as_work(from_json("generate", request_, path_of))


def test_an_image_is_a_video_of_one_frame():
    work = as_work(from_json("image", {"prompt": "a ball", "seed": 1}, path_of))
    assert work.suffix == ".png" and work.given["frames"] == 1 and work.machine.task == "t2v"
    with pytest.raises(OptionError, match="unknown field 'frames'"):
        from_json("image", {"prompt": "a ball", "frames": 3}, path_of)
