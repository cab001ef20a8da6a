"""The example workflows of our nodes: what ComfyUI would load, and beside what the official templates ask for."""

import json
import re
from importlib.resources import files

import pytest

from tools.comfy_examples import EXAMPLES, PLACE, THEIRS, schemas, text_of
from wan22.errors import OptionError
from wan22.production import workflow
from wan22.production.comfy.drawn import expand
from wan22.production.foreign import read
from wan22.production.work import Machine, Work

TEMPLATES = files("comfyui_workflow_templates_json") / "templates"
README = (PLACE / "README.md").read_text("utf-8")
FOLDERS = ("high", "low", "dit", "vae", "text", "audio", "image", "lora_high", "lora_low", "checkpoint")


def opened(name):
    return json.loads((PLACE / f"{name}.json").read_text("utf-8"))


def test_the_files_are_those_that_are_drawn_and_the_page_lists_them():
    assert {path.stem for path in PLACE.glob("*.json")} == EXAMPLES.keys()
    assert set(re.findall(r"^\| \[[\w-]+\]\(([\w-]+)\.json\)", README, re.M)) == EXAMPLES.keys()
    for name in re.findall(r"`(video_\w+)`", README):
        assert (TEMPLATES / f"{name}.json").is_file(), name


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_follows_the_definitions(name):
    said = (PLACE / f"{name}.json").read_text("utf-8")
    assert said == text_of(name), "draw them again: python -m tools.comfy_examples"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_workflow_that_comfyui_can_load(name, package):
    import fake_comfy

    whole, known = opened(name), schemas()
    ours = {id: made.define_schema() for id, made in fake_comfy.v3_nodes(package).items()}
    nodes = {node["id"]: node for node in whole["nodes"]}
    assert len(nodes) == len(whole["nodes"]) and whole["last_node_id"] == max(nodes)
    for number, source, place, target, slot, kind in whole["links"]:
        output, entry = nodes[source]["outputs"][place], nodes[target]["inputs"][slot]
        assert number in output["links"] and entry["link"] == number
        assert kind == output["type"] and entry["type"] in (kind, "*")
    for node in nodes.values():
        if node["type"] in THEIRS:
            continue
        schema = ours[node["type"]]
        assert [each["name"] for each in node["inputs"]] == [each.id for each in schema.inputs]
        assert [each["type"] for each in node["inputs"]] == [each.io_type for each in schema.inputs]
        outputs = [(each["name"], each["type"]) for each in node["outputs"]]
        assert outputs == [(each.display_name, each.io_type) for each in schema.outputs]
        values = expand(whole, str(node["id"]))[str(node["id"])].inputs
        for each, entry in zip(schema.inputs, node["inputs"], strict=True):
            assert each.optional or "widget" in entry or entry["link"] is not None, (node["type"], each.id)
            if "widget" in entry and entry["link"] is None and each.id not in FOLDERS:
                fake_comfy.Run.check(each, values[each.id])
    assert set(known) >= {node["type"] for node in nodes.values()}


def boxes(name):
    return [(*node["pos"], *node["size"]) for node in opened(name)["nodes"]]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_node_lies_on_another(name):
    found = boxes(name)
    for at, (left, top, width, height) in enumerate(found):
        assert height > 0
        for other_left, other_top, other_width, other_height in found[at + 1 :]:
            apart = left + width <= other_left or other_left + other_width <= left
            assert apart or top + height <= other_top or other_top + other_height <= top


COUNTERPARTS = {
    "t2v-a14b": ("14B_t2v", ()), "t2v-fast": ("14B_t2v", ("129=true",)), "i2v-a14b": ("14B_i2v", ()),
    "first-last-frame": ("14B_flf2v", ()), "ti2v-5b": ("5B_ti2v", ()), "speech": ("14B_s2v", ("168",)),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_an_example_makes_what_its_official_counterpart_makes(name):
    template, nodes = COUNTERPARTS[name]
    text = (TEMPLATES / f"video_wan2_2_{template}.json").read_text("utf-8")
    theirs = read({"workflow": text}, nodes)
    run = {node.kind: node.inputs for node in expand(opened(name)).values()}
    load, made = run["Wan22Load"], run["Wan22Speech" if name == "speech" else "Wan22Sample"]
    asked = theirs.request
    assert [made["width"], made["height"]] == asked["size"] and made.get("clips") == asked.get("clips")
    for ours in ("steps", "solver", "schedule", "shift"):
        assert made[ours] == asked[ours], ours
    assert made["guidance_low"] == asked["guidance"] and made["switch_step"] == asked.get("switch_step", -1)
    if name != "speech":
        assert (made["frames"], made["fps"]) == (asked["frames"], asked["fps"])
        assert {each for each in ("image", "last_image") if each in made} == theirs.files.keys()
    assert {part: load[part] for part in theirs.parts} == theirs.parts
    assert [load[f"lora_{expert}"] for _, _, expert in theirs.loras] == [file for file, _, _ in theirs.loras]


def test_the_example_of_nano_runs_from_its_file(run):
    """Every node of ours in the order of the links, as ComfyUI would; of an output that is a list the first."""
    made = {}
    nodes = expand(opened("nano"))
    waiting = [node for node in nodes.values() if node.kind.startswith("Wan22")]
    while waiting:
        links = {
            node.id: [value[0] for value in node.inputs.values() if isinstance(value, list)]
            for node in waiting
        }
        node = next(node for node in waiting if all(id in made for id in links[node.id]))
        waiting.remove(node)
        given = {
            name: made[value[0]][value[1]] if isinstance(value, list) else value
            for name, value in node.inputs.items()
            if name != "control_after_generate"
        }
        made[node.id] = run(node.kind, **{name: one(value) for name, value in given.items()})
    kinds = {nodes[id].kind: values for id, values in made.items()}
    assert kinds["Wan22Decode"][0].shape == (17, 80, 128, 3) and kinds["Wan22Plan"][1] is True
    (saved,) = [node for node in nodes.values() if node.kind == "SaveVideo"]
    assert made[saved.inputs["video"][0]][saved.inputs["video"][1]] is kinds["Wan22Decode"][1]


def one(value):
    return value[0] if isinstance(value, list) else value


def followed(name, model=None, **more):
    work = Work(source=str(PLACE / f"{name}.json"), output=None, suffix=".mp4", **{
        "given": {}, "files": {}, "machine": Machine(model), **more
    })  # fmt: skip
    return workflow.resolved(work)


def test_a_workflow_of_our_nodes_becomes_a_video_without_comfyui():
    work = followed("nano")
    assert work.machine.model == "nano" and work.machine.parts == {} and work.loras == () and work.left == ()
    assert work.given == {
        "prompt": "a red ball rolls left at sunset", "size": (128, 80), "frames": 17, "fps": 8.0, "steps": 6, "seed": 1
    }  # fmt: skip


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_an_example_is_read_as_its_official_counterpart_is(name):
    template, nodes = COUNTERPARTS[name]
    theirs = read({"workflow": (TEMPLATES / f"video_wan2_2_{template}.json").read_text("utf-8")}, nodes)
    ours = read({"workflow": (PLACE / f"{name}.json").read_text("utf-8")})
    skip = {"seed", "prompt", "negative", "time", "light", "camera", *({"fps"} if name == "speech" else ())}
    asked = [
        {key: value for key, value in each.request.items() if key not in skip} for each in (ours, theirs)
    ]
    assert asked[0] == asked[1] and ours.parts == theirs.parts and ours.loras == theirs.loras
    assert ours.unknown == {} and ours.impossible is None and ours.files.keys() == theirs.files.keys()


def test_terms_of_direct_and_several_takes_are_taken_over(tmp_path):
    work = followed("best-of-4", "nano", loras=(("mine.safetensors", 1.0, None),))
    assert work.count == 4 and work.given["prompt"].startswith("A woman with honey blonde hair")
    assert (work.direction.camera, work.direction.time, work.direction.shot_size) == (
        "pan-right",
        "sunset",
        "medium",
    )


def test_the_name_of_a_model_is_one_of_the_catalogue_and_never_a_path(tmp_path):
    whole = opened("nano")
    for value in ("/etc/models", "../nano", "someone/else"):
        (load,) = [node for node in whole["nodes"] if node["type"] == "Wan22Load"]
        load["widgets_values"][0] = value
        (tmp_path / "w.json").write_text(json.dumps(whole))
        with pytest.raises(OptionError, match="not in the catalogue; give one with --model"):
            workflow.resolved(Work({}, {}, str(tmp_path / "w.json"), None, ".mp4", Machine()))
