"""The page of the nodes names every input and output, and what is packaged for ComfyUI's registry is whole."""

import re
import tomllib

import fake_comfy

from wan22.version import __version__

PAGE = fake_comfy.ROOT.parent / "docs" / "comfyui_nodes.md"


def test_every_input_and_output_is_on_the_page(package):
    from_name = re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)
    sections = {text.splitlines()[0]: text for text in from_name[1:]}
    shared = set(re.findall(r"`(\w+)`", PAGE.read_text().partition("### ")[0]))
    nodes = fake_comfy.v3_nodes(package)
    assert list(sections) == [node.define_schema().display_name for node in nodes.values()]
    for node in nodes.values():
        schema = node.define_schema()
        said = set(re.findall(r"`([\w.]+)`", sections[schema.display_name])) | shared
        assert {each.id for each in [*schema.inputs, *schema.outputs]} <= said, schema.node_id


def test_the_registry_finds_what_it_asks_for():
    project = tomllib.loads((fake_comfy.ROOT / "pyproject.toml").read_text())
    assert {"name", "version", "description", "license", "dependencies"} <= project["project"].keys()
    assert {"PublisherId", "DisplayName"} <= project["tool"]["comfy"].keys()
    needed = (fake_comfy.ROOT / "requirements.txt").read_text().split()
    assert needed == project["project"]["dependencies"] == [f"wan22-studio>={__version__}"]
    assert project["project"]["version"] == __version__
