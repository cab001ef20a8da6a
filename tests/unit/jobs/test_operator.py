"""operator.json: names for models and LoRAs, options of the engine; what is wrong in it is named."""

import json

import pytest

from wan22.errors import OptionError
from wan22.jobs.operator import Operator, read_operator


def test_what_the_operator_says_is_read(tmp_path):
    assert read_operator(tmp_path) == Operator()
    said = {"models": {"film": "/models/w"}, "loras": {"ink": "/i.safetensors"}, "engine": {"memory": "host"}}
    (tmp_path / "operator.json").write_text(json.dumps(said))
    assert read_operator(tmp_path) == Operator(**said)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "no JSON object"),
        ("{", "operator.json"),
        ('{"model": {}}', "Did you mean 'models'"),
        ('{"models": {"a": 3}}', "models.a is 3"),
        ('{"loras": []}', "loras"),
        ('{"engine": {"device": "cuda"}}', "unknown option of the engine 'device'"),
        ('{"engine": []}', "engine"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    (tmp_path / "operator.json").write_text(text)
    with pytest.raises(OptionError, match=says):
        read_operator(tmp_path)
