"""What ComfyUI is told of the nodes: by both forms the same, from the same definitions."""

import json

import fake_comfy
import pytest
import torch

IDS = [
    "Wan22Load", "Wan22Direct", "Wan22Sample", "Wan22Decode", "Wan22Speech", "Wan22Animate", "Wan22LongVideo",
    "Wan22Measure", "Wan22Plan",
]  # fmt: skip


@pytest.fixture
def nodes(package):
    return fake_comfy.v3_nodes(package)


def test_the_nodes_are_these(nodes):
    assert list(nodes) == IDS


def test_a_comfyui_with_the_new_form_gets_that_alone(package):
    """Both at once would register each node twice."""
    assert not hasattr(package, "NODE_CLASS_MAPPINGS")


@pytest.mark.parametrize("node", IDS)
def test_inputs_have_ids_of_their_own_and_say_what_they_are(nodes, node):
    schema = nodes[node].define_schema()
    ids = [each.id for each in schema.inputs]
    assert len(set(ids)) == len(ids)
    assert all(each.tooltip and "--" not in each.tooltip for each in [*schema.inputs, *schema.outputs])


@pytest.mark.parametrize("node", IDS)
def test_each_default_is_allowed(nodes, node):
    for each in nodes[node].define_schema().inputs:
        if isinstance(each, fake_comfy.WidgetInput):
            assert each.default is not None
            fake_comfy.Run.check(each, each.default)


def test_an_older_comfyui_gets_the_same_nodes_in_the_old_form(monkeypatch, nodes, tmp_path):
    fake_comfy.install(monkeypatch, tmp_path, v3=False)
    old = fake_comfy.load_nodes(monkeypatch, "/custom_nodes/old")
    assert list(old.NODE_CLASS_MAPPINGS) == IDS and not hasattr(old, "comfy_entrypoint")
    for id, made in old.NODE_CLASS_MAPPINGS.items():
        schema, types = nodes[id].define_schema(), made.INPUT_TYPES()
        inputs = types["required"] | types["optional"]
        assert set(types["optional"]) == {each.id for each in schema.inputs if each.optional}
        assert list(inputs) == sorted(
            (each.id for each in schema.inputs), key=[*types["required"], *types["optional"]].index
        )
        for each in schema.inputs:
            kind, more = inputs[each.id]
            assert kind == (each.options if each.io_type == "COMBO" else each.io_type)
            assert more.get("default") == getattr(each, "default", None)
            assert (more.get("min"), more.get("max")) == (
                getattr(each, "min", None),
                getattr(each, "max", None),
            )
        assert made.RETURN_TYPES == tuple(each.io_type for each in schema.outputs)
        assert made.OUTPUT_IS_LIST == tuple(each.is_output_list for each in schema.outputs)


def test_without_wan22_the_folder_says_what_is_missing(monkeypatch, comfy):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "wan22" else found(name, *rest)
    )
    with pytest.raises(ImportError, match="pip install wan22-studio"):
        fake_comfy.load_nodes(monkeypatch, "/custom_nodes/alone")


def test_the_old_form_runs(monkeypatch, comfy, tmp_path):
    fake_comfy.install(monkeypatch, tmp_path, v3=False)
    nodes = fake_comfy.load_nodes(monkeypatch, "/custom_nodes/old").NODE_CLASS_MAPPINGS

    def defaults(made):
        return {
            name: more["default"]
            for name, (_, more) in made.INPUT_TYPES()["required"].items()
            if "default" in more
        }

    direct = nodes["Wan22Direct"]
    made = getattr(direct(), direct.FUNCTION)(
        unique_id="3", **defaults(direct) | {"prompt": "a fox", "camera": "dolly-in"}
    )
    assert made["result"][0] == "a fox. The camera pushes in." and made["ui"]["text"] == [made["result"][1]]
    load, decode = nodes["Wan22Load"], nodes["Wan22Decode"]
    (model,) = load().execute(**defaults(load))["result"]
    variant = model.engine().variant
    (width, height), frames = min(variant.trained.sizes), min(n for n in variant.trained.frames if n > 4)
    stride = variant.vae.stride_space
    latent = {
        "samples": torch.zeros(1, variant.vae.z, (frames - 1) // 4 + 1, height // stride, width // stride)
    }
    _, video, fps = decode().execute(model=model, latent=latent, fps=0.0)["result"]
    assert isinstance(video, fake_comfy.VideoFromComponents)
    measure = nodes["Wan22Measure"]
    *_, take, _, _, table = measure().execute(
        unique_id=["4"], video=[video, video], prompt=["a red ball at dusk"]
    )["result"]
    assert take == 0 and len(json.loads(table)) == 2 and fps == variant.defaults.fps
