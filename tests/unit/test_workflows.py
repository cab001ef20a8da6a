"""ComfyUI's official templates of Wan2.2, and workflows like them, as requests of ours."""

import json
import shutil
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from unit.tiny import write_tiny

from wan22.errors import CheckpointError, MediaError, OptionError
from wan22.media.image import write_image
from wan22.production import workflow
from wan22.production.audio import AudioOptions
from wan22.production.comfy.drawn import expand
from wan22.production.comfy.expression import evaluate
from wan22.production.comfy.widgets import UNUSED, WIDGETS
from wan22.production.foreign import read
from wan22.production.work import Machine, Work, make

TEMPLATES = files("comfyui_workflow_templates_json") / "templates"
OURS = ("14B_t2v", "14B_i2v", "14B_flf2v", "5B_ti2v", "14B_s2v")
OTHERS = {
    "video_wan2_2_14B_fun_camera": "Fun-Camera", "video_wan2_2_14B_fun_control": "Fun-Control",
    "video_wan2_2_14B_fun_inpaint": "Fun-InP", "video_wan2_2_5B_fun_control": "Fun-Control",
    "video_wan2_2_5B_fun_inpaint": "Fun-InP", "video_wan_animate2": "Wan Animate 2", "video_wan_dancer": "Dancer",
    "video_bernini_r_video_editing": "Bernini", "api_wan2_7_t2v": "service", "wan2.1_flf2v_720_f16": "CLIP Vision",
    "video_wan_vace_14B_v2v": "VACE", "video_ltx2_3_t2v": "wan22 runs",
    "video_hunyuan_video_1.5_720p_t2v": "wan22 runs",
}  # fmt: skip


def text_of(name):
    return (TEMPLATES / f"{name}.json").read_text("utf-8")


def template(name, *nodes):
    return read({"workflow": text_of(f"video_wan2_2_{name}")}, nodes)


A14B = {"seed": 0, "solver": "euler", "schedule": "simple", "size": [640, 640], "frames": 81, "fps": 16}
SLOW = A14B | {"steps": 20, "guidance": 3.5, "switch_step": 10, "shift": 5.0}
FAST = A14B | {"steps": 4, "guidance": 1, "switch_step": 2, "shift": 5.0}
FIVE = {
    "seed": 898471028164125, "steps": 20, "guidance": 5, "solver": "uni_pc", "schedule": "simple", "shift": 8,
    "size": [1280, 704], "frames": 121, "fps": 24,
}  # fmt: skip
SPEECH = {
    "seed": 20, "solver": "uni_pc", "schedule": "simple", "shift": 8, "size": [640, 640], "fps": 16,
}  # fmt: skip
WANTED = [
    ("14B_t2v", (), "t2v", SLOW | {"seed": 923510416338945}, [], {}),
    ("14B_t2v", ("129=true",), "t2v", FAST | {"seed": 923510416338945}, ["high", "low"], {}),
    ("14B_i2v", (), "i2v", SLOW | {"seed": 264244520398999}, [], {"image": "video_wan2_2_14B_i2v_input_image.jpg"}),
    ("14B_i2v", ("129:131=true", "129:161=3"), "i2v", FAST | {"seed": 264244520398999, "frames": 49},
     ["high", "low"], {"image": "video_wan2_2_14B_i2v_input_image.jpg"}),
    ("14B_flf2v", (), "i2v", SLOW | {"seed": 984937593540091, "guidance": 4, "shift": 8.0}, [],
     {"image": "video_wan2_2_14B_flf2v_start_image.png", "last_image": "video_wan2_2_14B_flf2v_end_image.png"}),
    ("14B_flf2v", ("61",), "i2v", FAST | {"seed": 984937593540091}, ["high", "low"],
     {"image": "video_wan2_2_14B_flf2v_end_image.png", "last_image": "video_wan2_2_14B_flf2v_start_image.png"}),
    ("5B_ti2v", (), "ti2v", FIVE, [], {}),
    ("14B_s2v", (), "s2v", SPEECH | {"steps": 4, "guidance": 1, "clips": 3}, [None],
     {"image": "video_wan2_2_14B_s2v_reference_image.jpg", "audio": "video_wan2_2_14B_s2v_input_audio.MP3"}),
    ("14B_s2v", ("168",), "s2v", SPEECH | {"steps": 20, "guidance": 6, "clips": 4}, [],
     {"image": "video_wan2_2_14B_s2v_reference_image.jpg", "audio": "video_wan2_2_14B_s2v_input_audio.MP3"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "nodes", "task", "request_", "experts", "given"), WANTED)
def test_an_official_template_is_read_whole(name, nodes, task, request_, experts, given):
    found = template(name, *nodes)
    assert found.impossible is None and found.task == task
    texts = {key: found.request.pop(key) for key in ("prompt", "negative")}
    assert all(len(text) > 20 for text in texts.values()) and found.request == request_
    assert [expert for _, _, expert in found.loras] == experts and found.files == given
    networks = {"high", "low"} if name.startswith("14B") and task != "s2v" else {"dit"}
    assert found.parts.keys() == networks | {"vae", "text"} | ({"audio"} if task == "s2v" else set())
    assert found.unknown == {}, (
        "widgets on the way to the video that are neither read nor explained in UNUSED"
    )


@pytest.mark.parametrize("name", OURS)
def test_the_table_names_every_widget_of_the_official_templates(name):
    whole = json.loads(text_of(f"video_wan2_2_{name}"))
    scopes = [whole, *whole.get("definitions", {}).get("subgraphs", [])]
    inner = {scope["id"] for scope in scopes[1:]}
    for node in (node for scope in scopes for node in scope["nodes"]):
        values = node.get("widgets_values")
        if values and node["type"] not in (*inner, "Note", "MarkdownNote"):
            assert len(WIDGETS.get(node["type"], ())) >= len(values), node["type"]
            drawn = [each["name"] for each in node.get("inputs", []) if "widget" in each]
            assert set(drawn) <= set(WIDGETS[node["type"]]), node["type"]


def test_every_reason_is_of_a_widget_that_there_is():
    for kind in UNUSED.keys() & WIDGETS.keys():
        extra = {name for name in UNUSED[kind] if "." not in name}
        assert extra <= set(WIDGETS[kind]) and all(UNUSED[kind].values())


@pytest.mark.parametrize("name", OURS)
def test_what_was_run_says_the_same_as_what_was_drawn(name):
    drawn = json.loads(text_of(f"video_wan2_2_{name}"))
    run = {
        id: {"class_type": node.kind, "inputs": node.inputs, "_meta": {"title": node.title}}
        for id, node in expand(drawn).items()
    }
    one, other = read({"prompt": json.dumps(run)}), template(name)
    assert one.request == other.request and one.parts == other.parts and one.loras == other.loras
    assert one.files == other.files and one.task == other.task and one.unknown == other.unknown == {}


def test_a_template_of_two_groups_says_which_is_made_and_how_the_other_is():
    (note,) = [note for note in template("14B_flf2v").notes if "several" in note]
    assert "node 83 " in note and "--workflow-node ID" in note and "61 (SaveVideo, bypassed or muted)" in note
    (note,) = [note for note in template("14B_flf2v", "61").notes if "several" in note]
    assert "node 61 " in note and "83 (SaveVideo)" in note
    notes = template("14B_t2v").notes
    assert any("Enable Lightning LoRA is off: --workflow-node 128:129=true" in note for note in notes)
    assert sum("left out" in note and "lightx2v" in note for note in notes) == 2


def test_key_frames_in_one_workflow_are_several_videos():
    found = read({"workflow": text_of("templates-6-key-frames")})
    assert len(found.videos) >= 4 and found.files.keys() == {"image", "last_image"}
    other = read({"workflow": text_of("templates-6-key-frames")}, [next(iter(found.videos))])
    assert other.paths != found.paths and other.request["frames"] == found.request["frames"] == 25


@pytest.mark.parametrize("name", OTHERS)
def test_another_model_is_one_clear_error(name, tmp_path):
    place = tmp_path / "a.json"
    place.write_text(text_of(name), "utf-8")
    work = Work({}, {}, str(place), None, ".mp4", Machine())
    with pytest.raises(OptionError, match=OTHERS[name]) as error:
        workflow.resolved(work)
    assert str(place) in str(error.value) and "wan22 runs" in str(error.value)


@pytest.mark.parametrize("nodes", [("999",), ("83",)], ids=["unknown", "no video"])
def test_a_node_that_makes_no_video_is_refused(nodes):
    with pytest.raises(OptionError, match="--workflow-node"):
        template("14B_t2v", *nodes)


def test_expressions_are_arithmetic_and_nothing_else():
    names = {"a": 5.0, "b": 16}
    assert (
        evaluate("floor (a * b + 1)", names, "INT") == 81 and evaluate("min(a,b) / 2", names, "FLOAT") == 2.5
    )
    assert evaluate("b & ~1", names, "INT") == 16 and evaluate("-a // 2", names, "FLOAT") == -3.0
    for text in (
        "__import__('os')",
        "a.b",
        "c",
        "1/0",
        "9**9**9",
        "'x'",
        "[1]",
        "a" * 600,
        3,
        "10**15*10**15",
        "lambda: 1",
    ):
        assert evaluate(text, names, "INT") is None, text


# where files are


@pytest.fixture
def comfy(tmp_path):
    """ComfyUI's folder with a model in a few kilobytes under the names of the official files, and its workflows."""
    root, tiny = tmp_path / "ComfyUI", write_tiny(tmp_path / "tiny", image=None)
    named = {
        "high_noise_model": "diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
        "low_noise_model": "diffusion_models/sub/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
        "vae": "vae/wan_2.1_vae.safetensors",
        "text_encoder": "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    }
    for ours, theirs in named.items():
        (root / "models" / theirs).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny / f"{ours}.safetensors", root / "models" / theirs)
    for name in ("variant.json", "tokenizer.json"):
        shutil.copy(tiny / name, root / "models" / name)
    (root / "input").mkdir()
    (root / "output").mkdir()
    (root / "output" / "w.json").write_text(text_of("video_wan2_2_14B_t2v"), "utf-8")
    return root


class Lines:
    """Keeps what is said, and shows nothing."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)

    def __getattr__(self, name):
        return lambda *args, **more: None


SMALL = {
    "size": (48, 32),
    "frames": 5,
    "steps": 2,
    "switch_step": 1,
    "prompt": "a red ball rolls left at sunset",
}


def test_a_template_becomes_a_video_with_the_models_that_it_names(comfy):
    source, events = comfy / "output" / "w.json", Lines()
    make(
        workflow.resolved(Work(SMALL, {}, str(source), None, ".mp4", Machine(engine={"device": "cpu"}))),
        events,
    )
    from wan22.media.recipe import read_recipe

    made = read_recipe(comfy / "output" / "w-again.mp4")
    assert made["prompt"] == SMALL["prompt"] and made["seed"] == 923510416338945
    assert (made["steps"], made["shift"], made["solver"], made["schedule"]) == (2, 5.0, "euler", "simple")
    assert made["guidance"] in (3.5, [3.5, 3.5]) and made["fps"] == 16 and made["switch_step"] == 1
    at = next(at for at, line in enumerate(events.lines) if line.startswith("left out of w.json"))
    assert sum("lightx2v" in line for line in events.lines[at:]) == 2


def followed(source, **more):
    typed = {"given": {}, "files": {}, "machine": Machine()} | more
    work = Work(source=str(source), output=None, suffix=".mp4", **typed)
    found = workflow.read(str(source), work.nodes)
    return workflow.follow(work, str(source), found)


def test_models_and_loras_are_found_by_name_in_the_folders_of_comfyui(comfy, monkeypatch, tmp_path):
    for expert in ("high", "low"):
        place = (
            comfy / "models" / "loras" / f"wan2.2_t2v_lightx2v_4steps_lora_v1.1_{expert}_noise.safetensors"
        )
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"")
    elsewhere = tmp_path / "elsewhere" / "w.json"
    elsewhere.parent.mkdir()
    shutil.copy(comfy / "output" / "w.json", elsewhere)
    with pytest.raises(CheckpointError, match=r"wan2\.2_t2v_high_noise.*--model") as error:
        followed(elsewhere)
    assert "COMFYUI_PATH" in str(error.value)
    for model in (comfy, comfy / "models"):
        work = followed(elsewhere, machine=Machine(str(model)), nodes=("129=true",))
        assert Path(work.machine.parts["low"]).parent.name == "sub" and work.machine.task == "t2v"
        assert [Path(lora[0]).parent.name for lora in work.loras] == ["loras", "loras"]
        assert [lora[2] for lora in work.loras] == ["high", "low"]
    monkeypatch.setenv("COMFYUI_PATH", str(comfy))
    assert followed(elsewhere).machine.parts.keys() == {"high", "low", "vae", "text"}
    monkeypatch.delenv("COMFYUI_PATH")
    named = followed(elsewhere, machine=Machine("nano"))
    assert named.machine.model == "nano" and named.machine.parts == {}
    assert sum("because the model is named" in line for line in named.left) == 4


def test_loras_of_one_name_in_two_folders_are_told_apart(comfy):
    for folder in ("high", "low"):
        (comfy / "models" / "loras" / "wan" / folder).mkdir(parents=True)
        (comfy / "models" / "loras" / "wan" / folder / "a.safetensors").write_bytes(b"")
    whole = json.loads(text_of("video_wan2_2_14B_t2v"))
    inner = whole["definitions"]["subgraphs"][0]
    for node in inner["nodes"]:
        if node["type"] == "LoraLoaderModelOnly":
            folder = "high" if node["id"] == 83 else "low"
            node["widgets_values"] = [f"wan\\{folder}\\a.safetensors", 0.5]
    (comfy / "output" / "w.json").write_text(json.dumps(whole), "utf-8")
    work = followed(comfy / "output" / "w.json", nodes=("129=true",))
    assert [Path(lora[0]).parent.name for lora in work.loras] == ["high", "low"]
    assert [lora[1] for lora in work.loras] == [0.5, 0.5]


def test_a_lora_that_is_not_there_is_named_and_one_that_is_given_is_taken(comfy):
    with pytest.raises(CheckpointError, match=r"lightx2v.*strength 1, on the expert high.*--lora"):
        followed(comfy / "output" / "w.json", nodes=("129=true",))
    mine = (("mine.safetensors", 1.0, None),)
    assert followed(comfy / "output" / "w.json", nodes=("129=true",), loras=mine).loras == mine


def image_to_video(place, name):
    whole = json.loads(text_of("video_wan2_2_14B_i2v"))
    (loader,) = [node for node in whole["nodes"] if node["type"] == "LoadImage"]
    loader["widgets_values"][0] = name
    for node in whole["definitions"]["subgraphs"][0]["nodes"]:
        if node["type"] == "UNETLoader":
            node["widgets_values"][0] = node["widgets_values"][0].replace("i2v", "t2v")
    (host,) = [node for node in whole["nodes"] if node["id"] == 129]
    host["widgets_values"] = [
        each.replace("_i2v_", "_t2v_") if isinstance(each, str) else each for each in host["widgets_values"]
    ]
    place.write_text(json.dumps(whole), "utf-8")
    return place


def test_images_are_found_in_the_input_folder_and_nowhere_else(comfy, tmp_path):
    import numpy as np

    pixels = np.zeros((32, 48, 3), np.uint8)
    source = image_to_video(comfy / "output" / "i.json", "sub/who.png [input]")
    with pytest.raises(MediaError, match=r"who\.png.*--image"):
        followed(source)
    (comfy / "input" / "sub").mkdir()
    write_image(comfy / "input" / "sub" / "who.png", pixels)
    assert followed(source).files == {"image": str(comfy / "input" / "sub" / "who.png")}
    assert followed(source).machine.task == "i2v"
    assert followed(source, files={"image": "mine.png"}).files == {"image": "mine.png"}
    write_image(tmp_path / "secret.png", pixels)
    for name in ("../../secret.png", str(tmp_path / "secret.png"), "..\\..\\secret.png"):
        with pytest.raises(MediaError, match=r"secret\.png"):
            followed(image_to_video(comfy / "output" / "i.json", name))
    (comfy / "input" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(MediaError, match=r"link\.png"):
        followed(image_to_video(comfy / "output" / "i.json", "link.png"))


def test_options_come_before_what_the_workflow_says(comfy):
    work = followed(comfy / "output" / "w.json", given={"boundary": 0.5, "seconds": 2.0, "seed": 7})
    assert work.given["seed"] == 7 and work.given["boundary"] == 0.5
    assert not {"switch_step", "frames"} & work.given.keys()
    work = followed(comfy / "output" / "w.json", given={"sigmas": (1.0, 0.5, 0.0)})
    assert not {"steps", "shift", "schedule"} & work.given.keys() and work.given["solver"] == "euler"


def test_a_file_that_is_no_workflow_says_so(tmp_path):
    for text in ("{}", "[]", "nonsense", '{"nodes": []}', '{"a": {"b": 1}}'):
        (tmp_path / "w.json").write_text(text)
        with pytest.raises(MediaError, match="no workflow"):
            workflow.read(str(tmp_path / "w.json"))


def test_audio_drives_a_video_that_a_speech_workflow_makes(tmp_path):
    (tmp_path / "w.json").write_text(text_of("video_wan2_2_14B_s2v"), "utf-8")
    for name in ("video_wan2_2_14B_s2v_input_audio.MP3", "video_wan2_2_14B_s2v_reference_image.jpg"):
        (tmp_path / name).write_bytes(b"")
    work = followed(tmp_path / "w.json", machine=Machine("s2v-14B"), loras=(("a.safetensors", 1.0, None),))
    assert work.machine.task == "s2v" and work.given["clips"] == 3 and "frames" not in work.given
    assert work.audio == AudioOptions(audio=str(tmp_path / "video_wan2_2_14B_s2v_input_audio.MP3"))


def animated(replace=False, drawn_elsewhere=False):
    def node(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    pose = ["17", 0] if drawn_elsewhere else ["5", 0]
    more = {"background_video": ["4", 0], "character_mask": ["6", 1]} if replace else {}
    return {
        "1": node("UNETLoader", unet_name="animate.safetensors"),
        "2": node("ModelSamplingSD3", model=["1", 0], shift=8.0),
        "3": node("LoadVideo", file="dance.mp4"), "4": node("GetVideoComponents", video=["3", 0]),
        "5": node("DWPreprocessor", image=["4", 0], detect_face="enable"), "6": node("Sam2", image=["4", 0]),
        "7": node("LoadImage", image="who.png"), "8": node("CLIPVisionLoader", clip_name="vision.safetensors"),
        "9": node("CLIPVisionEncode", clip_vision=["8", 0], image=["7", 0], crop="none"),
        "10": node("CLIPTextEncode", text="dances"), "11": node("CLIPTextEncode", text="bad"),
        "12": node("VAELoader", vae_name="v.safetensors"),
        "13": node(
            "WanAnimateToVideo", positive=["10", 0], negative=["11", 0], vae=["12", 0], clip_vision_output=["9", 0],
            reference_image=["7", 0], pose_video=pose, face_video=["4", 0], width=640, height=640, length=77,
            batch_size=1, continue_motion_max_frames=5, video_frame_offset=0, **more,
        ),
        "14": node(
            "KSampler", model=["2", 0], positive=["13", 0], negative=["13", 1], latent_image=["13", 2], seed=3, steps=6,
            cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        ),
        "15": node("TrimVideoLatent", samples=["14", 0], trim_amount=["13", 3]),
        "16": node("VAEDecode", samples=["15", 0], vae=["12", 0]),
        "17": node("LoadVideo", file="pose.mp4"),
        "18": node("CreateVideo", images=["16", 0], fps=16.0), "19": node("SaveVideo", video=["18", 0]),
    }  # fmt: skip


@pytest.mark.parametrize("replace", [False, True])
def test_a_workflow_of_animate_is_prepared_here_from_its_driving_video(replace, tmp_path):
    (tmp_path / "w.json").write_text(json.dumps(animated(replace)))
    for name in ("dance.mp4", "who.png"):
        (tmp_path / name).write_bytes(b"")
    work = followed(tmp_path / "w.json", machine=Machine("animate-14B"))
    assert work.machine.task == "animate" and work.replaces is replace and "frames" not in work.given
    assert {name: Path(path).name for name, path in work.files.items()} == {
        "image": "who.png",
        "video": "dance.mp4",
    }
    assert work.given["carried"] == 5 and (work.given["steps"], work.given["seed"]) == (6, 3)
    found = read({"prompt": json.dumps(animated(replace))})
    assert found.parts == {
        "dit": "animate.safetensors", "vae": "v.safetensors", "image": "vision.safetensors"
    }  # fmt: skip
    assert found.unknown == {"DWPreprocessor 5: detect_face": "enable", "LoadVideo 17: file": "pose.mp4"}


def test_what_animate_was_given_by_file_stays_apart():
    found = read({"prompt": json.dumps(animated(drawn_elsewhere=True))})
    assert found.files == {"image": "who.png", "pose": "pose.mp4", "face": "dance.mp4"}


def test_show_says_before_what_would_be_made(tmp_path, capsys):
    from wan22.cli.__main__ import main

    (tmp_path / "w.json").write_text(text_of("video_wan2_2_14B_t2v"), "utf-8")
    assert main(["show", str(tmp_path / "w.json")]) == 0
    shown = capsys.readouterr().out
    assert "switch_step        10" in shown and "wan2.2_t2v_high_noise_14B" in shown
    assert "left_out" in shown and "--workflow-node 128:129=true" in shown


# drawn graphs


def drawn(*nodes, links=()):
    return {"nodes": [dict(node) for node in nodes], "links": [list(link) for link in links]}


def entry(name, kind, link=None, *, widget=False):
    return {"name": name, "type": kind, "link": link} | ({"widget": {"name": name}} if widget else {})


LOADER = {"id": 1, "type": "UNETLoader", "widgets_values": ["a.safetensors", "default"],
          "outputs": [entry("MODEL", "MODEL")]}  # fmt: skip
LORA = {"id": 2, "type": "LoraLoaderModelOnly", "widgets_values": ["l.safetensors", 1], "mode": 4,
        "inputs": [entry("model", "MODEL", 1)], "outputs": [entry("MODEL", "MODEL")]}  # fmt: skip
SAMPLER = {"id": 3, "type": "KSampler", "widgets_values": [5, "fixed", 20, 3.5, "uni_pc", "simple", 1.0],
           "inputs": [entry("model", "MODEL", 2), entry("steps", "INT", 3, widget=True)]}  # fmt: skip
CHAIN = ((1, 1, 0, 2, 0, "MODEL"), (2, 2, 0, 3, 0, "MODEL"), (3, 4, 0, 3, 1, "INT"))


@pytest.mark.parametrize("mode", [0, 2, 4])
def test_a_bypassed_lora_passes_the_model_and_a_muted_one_does_not(mode):
    graph = drawn(LOADER, LORA | {"mode": mode}, SAMPLER, links=CHAIN)
    found = read({"workflow": json.dumps(graph)})
    assert [lora[0] for lora in found.loras] == (["l.safetensors"] if mode == 0 else [])
    assert found.models == ([] if mode == 2 else ["a.safetensors"])


@pytest.mark.parametrize(
    "source",
    [
        [
            {
                "id": 4,
                "type": "PrimitiveNode",
                "widgets_values": [7, "fixed"],
                "outputs": [entry("INT", "INT")],
            }
        ],
        [{"id": 4, "type": "PrimitiveInt", "widgets_values": [7, "fixed"], "outputs": [entry("INT", "INT")]}],
        [
            {"id": 4, "type": "Reroute", "inputs": [entry("", "*", 9)], "outputs": [entry("", "INT")]},
            {
                "id": 5,
                "type": "PrimitiveInt",
                "widgets_values": [7, "fixed"],
                "outputs": [entry("INT", "INT")],
            },
        ],
    ],
    ids=["primitive of the page", "primitive", "reroute"],
)
def test_a_value_comes_through_what_the_page_draws(source):
    graph = drawn(LOADER, LORA, SAMPLER, *source, links=(*CHAIN, (9, 5, 0, 4, 0, "INT")))
    assert read({"workflow": json.dumps(graph)}).request["steps"] == 7


def test_a_value_that_the_page_sets_by_name_is_got_by_name():
    got = {"id": 4, "type": "GetNode", "widgets_values": ["STEPS"], "outputs": [entry("INT", "INT")]}
    put = {"id": 5, "type": "SetNode", "widgets_values": ["STEPS"], "inputs": [entry("INT", "INT", 9)],
           "outputs": [entry("*", "*")]}  # fmt: skip
    seven = {
        "id": 6,
        "type": "PrimitiveInt",
        "widgets_values": [7, "fixed"],
        "outputs": [entry("INT", "INT")],
    }
    graph = drawn(LOADER, LORA, SAMPLER, got, put, seven, links=(*CHAIN, (9, 6, 0, 5, 0, "INT")))
    assert read({"workflow": json.dumps(graph)}).request["steps"] == 7


def test_loras_of_a_list_are_those_that_are_on():
    listed = [{"lora": f"{name}.safetensors", "on": name != "b", "strength": 0.5} for name in "abc"]
    node = LORA | {"type": "Power Lora Loader (rgthree)", "mode": 0, "widgets_values": [{}, *listed, {}, ""]}
    found = read({"workflow": json.dumps(drawn(LOADER, node, SAMPLER, links=CHAIN))})
    assert found.loras == [("a.safetensors", 0.5, None), ("c.safetensors", 0.5, None)]


def test_samplers_of_parts_say_the_same_as_one_node():
    def node(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    graph = {
        "1": node("UNETLoader", unet_name="high.safetensors"), "2": node("UNETLoader", unet_name="low.safetensors"),
        "3": node("ModelSamplingSD3", model=["1", 0], shift=8.0),
        "4": node("ModelSamplingSD3", model=["2", 0], shift=8.0),
        "5": node("CLIPTextEncode", text="a fox"), "6": node("CLIPTextEncode", text="bad"),
        "7": node("BasicScheduler", model=["3", 0], scheduler="beta", steps=12, denoise=1.0),
        "8": node("SplitSigmas", sigmas=["7", 0], step=5), "9": node("RandomNoise", noise_seed=9),
        "10": node("KSamplerSelect", sampler_name="dpmpp_2m"), "11": node("DisableNoise"),
        "12": node("CFGGuider", model=["3", 0], positive=["5", 0], negative=["6", 0], cfg=4.0),
        "13": node("CFGGuider", model=["4", 0], positive=["5", 0], negative=["6", 0], cfg=3.0),
        "14": node("EmptyHunyuanLatentVideo", width=832, height=480, length=81, batch_size=1),
        "15": node("SamplerCustomAdvanced", noise=["9", 0], guider=["12", 0], sampler=["10", 0], sigmas=["8", 0],
                   latent_image=["14", 0]),
        "16": node("SamplerCustomAdvanced", noise=["11", 0], guider=["13", 0], sampler=["10", 0], sigmas=["8", 1],
                   latent_image=["15", 0]),
    }  # fmt: skip
    found = read({"prompt": json.dumps(graph)})
    assert found.unknown == {} and found.parts == {"high": "high.safetensors", "low": "low.safetensors"}
    assert found.request == {
        "seed": 9, "steps": 12, "guidance": [3.0, 4.0], "solver": "dpmpp_2m", "schedule": "beta", "switch_step": 5,
        "shift": 8.0, "prompt": "a fox", "negative": "bad", "size": [832, 480], "frames": 81,
    }  # fmt: skip


def test_a_group_that_did_not_run_is_taken_from_the_drawing():
    text = text_of("video_wan2_2_14B_flf2v")
    ran = {
        id: {"class_type": node.kind, "inputs": node.inputs} for id, node in expand(json.loads(text)).items()
    }
    notes = {"prompt": json.dumps(ran), "workflow": text}
    assert read(notes).request["steps"] == 20 and read(notes, ["61"]).request["steps"] == 4
    assert read(notes, ["87"]).request["steps"] == 20
    with pytest.raises(OptionError, match="no such node"):
        read(notes, ["999"])


def test_a_file_of_another_program_says_its_model_and_does_not_get_ours(tmp_path):
    place = tmp_path / "a.png"
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a fox\nSteps: 30, Seed: 1, Model: wan_t2v_14B")
    Image.new("RGB", (8, 8)).save(place, pnginfo=chunks)
    with pytest.raises(CheckpointError, match=r"wan_t2v_14B; name one that is here with --model"):
        followed(place)
    work = followed(place, machine=Machine("nano"))
    assert work.given == {"prompt": "a fox", "seed": 1, "steps": 30} and work.machine.model == "nano"


def test_a_subgraph_in_a_subgraph_that_contains_itself_ends():
    inner = {"id": "s", "nodes": [{"id": 1, "type": "s"}], "links": [], "inputs": [], "outputs": []}
    graph = drawn({"id": 1, "type": "s"}, SAMPLER) | {"definitions": {"subgraphs": [inner]}}
    assert len(json.dumps(asdict(read({"workflow": json.dumps(graph)})))) < 100_000
