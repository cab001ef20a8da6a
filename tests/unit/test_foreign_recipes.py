"""What other programs leave in their files, as fields of ours: ComfyUI's graphs, A1111's text, Wan2GP's settings."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from wan22.errors import MediaError
from wan22.media import notes as texts
from wan22.media.notes import read_notes
from wan22.production.foreign import read


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


WAN = {  # the official template of Wan2.2's text to video with adapters for few steps, as it is run
    "1": node("UNETLoader", unet_name="wan/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", weight_dtype="default"),
    "2": node("UNETLoader", unet_name="wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", weight_dtype="default"),
    "3": node("LoraLoaderModelOnly", model=["1", 0], lora_name="lightx2v\\high.safetensors", strength_model=0.9),
    "4": node("LoraLoaderModelOnly", model=["2", 0], lora_name="low.safetensors", strength_model=1.0),
    "5": node("ModelSamplingSD3", model=["3", 0], shift=5.0),
    "6": node("ModelSamplingSD3", model=["4", 0], shift=5.0),
    "7": node("CLIPTextEncode", clip=["20", 0], text="a red fox runs"),
    "8": node("CLIPTextEncode", clip=["20", 0], text="blurry"),
    "9": node("EmptyHunyuanLatentVideo", width=640, height=480, length=81, batch_size=1),
    "11": node(
        "KSamplerAdvanced", add_noise="disable", noise_seed=0, steps=4, cfg=1.0, sampler_name="euler",
        scheduler="simple", start_at_step=2, end_at_step=10000, return_with_leftover_noise="disable",
        model=["6", 0], positive=["7", 0], negative=["8", 0], latent_image=["10", 0],
    ),
    "10": node(
        "KSamplerAdvanced", add_noise="enable", noise_seed=["30", 0], steps=4, cfg=1.0, sampler_name="euler",
        scheduler="simple", start_at_step=0, end_at_step=2, return_with_leftover_noise="enable",
        model=["5", 0], positive=["7", 0], negative=["8", 0], latent_image=["9", 0],
    ),
    "12": node("VAEDecode", samples=["11", 0], vae=["21", 0]),
    "13": node("CreateVideo", fps=16, images=["12", 0]),
    "14": node("SaveVideo", filename_prefix="video/ComfyUI", format="auto", codec="auto", video=["13", 0]),
    "20": node("CLIPLoader", clip_name="umt5.safetensors", type="wan", device="default"),
    "21": node("VAELoader", vae_name="wan_2.1_vae.safetensors"),
    "30": node("PrimitiveInt", value=42),
    "31": node("RIFEInterpolate", multiplier=2, frames=["12", 0]),
}  # fmt: skip
MADE = {
    "prompt": "a red fox runs", "negative": "blurry", "seed": 42, "steps": 4, "guidance": 1.0, "solver": "euler",
    "schedule": "simple", "switch_step": 2, "shift": 5.0, "size": [640, 480], "frames": 81, "fps": 16,
}  # fmt: skip


def test_a_graph_of_two_samplers():
    found = read({"prompt": json.dumps(WAN), "workflow": "{}"})
    assert found.source == "comfyui" and found.request == MADE
    assert found.loras == [("high.safetensors", 0.9, "high"), ("low.safetensors", 1.0, "low")]
    assert found.models == ["wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
                            "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors"]  # fmt: skip
    assert found.unknown == {"RIFEInterpolate 31: multiplier": 2} and found.notes == []


def test_one_sampler_from_an_image_with_two_guidances_and_a_strange_solver():
    graph = {
        "1": node("KSampler", seed=2**40, steps=20, cfg=3.5, sampler_name="dpmpp_3m_sde", scheduler="karras",
                  denoise=0.7, model=["2", 0], positive=["3", 0], negative=["3", 1], latent_image=["3", 2]),
        "2": node("ModelSamplingSD3", model=["9", 0], shift=8),
        "3": node("WanFirstLastFrameToVideo", positive=["4", 0], negative=["5", 0], start_image=["6", 0],
                  end_image=["7", 0], width=832, height=480, length=49, batch_size=1),
        "4": node("CLIPTextEncode", text=["8", 0]), "5": node("CLIPTextEncode", text=""),
        "6": node("LoadImage", image="sub/first.png"), "7": node("LoadImage", image="last.png"),
        "8": node("PrimitiveStringMultiline", value="the flower opens"),
    }  # fmt: skip
    found = read({"prompt": json.dumps(graph)})
    assert found.request["prompt"] == "the flower opens" and "negative" not in found.request
    assert found.request["strength"] == 0.7 and found.request["seed"] == 2**40 and found.request["shift"] == 8
    assert found.files == {"image": "first.png", "last_image": "last.png"}
    assert found.unknown["sampler_name"] == "dpmpp_3m_sde" and "dpmpp_3m_sde" in found.notes[0]


def test_two_guidances_are_low_and_high():
    graph = json.loads(json.dumps(WAN))
    graph["10"]["inputs"]["cfg"], graph["11"]["inputs"]["cfg"] = 4.0, 3.0
    assert read({"prompt": json.dumps(graph)}).request["guidance"] == [3.0, 4.0]


def test_a_graph_of_the_wrapper():
    graph = {
        "1": node("WanVideoSampler", steps=30, cfg=6.0, shift=5.0, seed=7, scheduler="dpm++_sde", riflex_freq_index=0,
                  model=["2", 0], text_embeds=["3", 0], image_embeds=["4", 0]),
        "2": node("WanVideoModelLoader", model="Wan2_2-T2V-A14B.safetensors", base_precision="bf16", lora=["5", 0]),
        "3": node("WanVideoTextEncode", positive_prompt="a cat", negative_prompt="bad"),
        "4": node("WanVideoEmptyEmbeds", width=832, height=480, num_frames=81),
        "5": node("WanVideoLoraSelect", lora="ink.safetensors", strength=0.5),
        "6": node("VHS_VideoCombine", frame_rate=24, images=["1", 0]),
    }  # fmt: skip
    found = read({"comment": json.dumps({"prompt": json.dumps(graph), "workflow": {}})})
    assert found.request == {
        "prompt": "a cat", "negative": "bad", "seed": 7, "steps": 30, "guidance": 6.0, "shift": 5.0,
        "solver": "dpmpp_2m_sde", "size": [832, 480], "frames": 81, "fps": 24,
    }  # fmt: skip
    assert found.loras == [("ink.safetensors", 0.5, None)] and found.models == ["Wan2_2-T2V-A14B.safetensors"]
    assert found.unknown == {"WanVideoSampler 1: riflex_freq_index": 0}


def test_a_graph_that_was_only_drawn():
    drawn = {
        "nodes": [
            {"id": 1, "type": "KSampler", "widgets_values": [5, "fixed", 20, 3.5, "uni_pc", "simple", 1.0],
             "inputs": [{"name": "model", "link": None}, {"name": "positive", "link": 9}]},
            {"id": 2, "type": "CLIPTextEncode", "widgets_values": ["a boat"], "inputs": []},
            {"id": 3, "type": "EmptyHunyuanLatentVideo", "widgets_values": [512, 320, 33, 1]},
            {"id": 4, "type": "CreateVideo", "widgets_values": [24], "mode": 4},
        ],
        "links": [[9, 2, 0, 1, 1, "CONDITIONING"]],
    }  # fmt: skip
    found = read({"workflow": json.dumps(drawn)})
    assert found.request == {"prompt": "a boat", "seed": 5, "steps": 20, "guidance": 3.5, "solver": "uni_pc",
                             "schedule": "simple", "size": [512, 320], "frames": 33}  # fmt: skip


A1111 = """a fox, <lora:ink:0.7> masterpiece
second line
Negative prompt: blurry, low quality
Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 123, Size: 512x768, VAE: "a, b", Model: wan_t2v_14B"""


def test_the_text_of_a1111():
    found = read({"parameters": A1111})
    assert found.source == "a1111" and found.request == {
        "prompt": "a fox, masterpiece second line", "negative": "blurry, low quality", "solver": "dpmpp_2m",
        "schedule": "karras", "steps": 30, "guidance": 6.5, "seed": 123, "size": [512, 768],
    }  # fmt: skip
    assert found.loras == [("ink", 0.7, None)] and found.models == ["wan_t2v_14B"]
    assert found.unknown == {"VAE": '"a, b"'}
    assert read({"parameters": "a poem\nwith Steps: 3, in it\nand an end"}) is None


def test_the_settings_of_wan2gp():
    said = {
        "type": "WanGP", "prompt": "a fox", "negative_prompt": "", "resolution": "832x480", "video_length": 81,
        "seed": 3, "num_inference_steps": 8, "guidance_scale": 3.5, "guidance2_scale": 3, "flow_shift": 5,
        "activated_loras": ["/l/ink.safetensors"], "loras_multipliers": "0.8;1", "model_type": "t2v_2_2",
    }  # fmt: skip
    found = read({"comment": json.dumps(said)})
    assert found.request == {"prompt": "a fox", "seed": 3, "steps": 8, "frames": 81, "shift": 5,
                             "guidance": [3, 3.5], "size": [832, 480]}  # fmt: skip
    assert found.loras == [("ink.safetensors", 0.8, None)] and found.unknown == {"type": "WanGP"}


@pytest.mark.parametrize(
    "graph",
    [
        {"1": node("KSampler", model=["1", 0], positive=["1", 0], seed="x", steps=[], cfg={})},
        {"1": node("KSampler", model=["2", 0]), "2": node("LoraLoader", model=["1", 0], lora_name=5)},
        {"1": node("KSampler", positive=["9", 0], negative=[["a"], 0], steps=-1, seed=2**70, cfg=1e400)},
        {"1": {"class_type": "KSampler", "inputs": []}},
        {str(n): node("CLIPTextEncode", text="a" * 2000, more=["x"] * 500) for n in range(3000)},
        {
            "1": node(
                "KSampler", model=[{}, 0], sampler_name={"a": 1}, scheduler=["a", "b", "c"], denoise="no"
            )
        },
        {"1": node("A", deep=json.loads('{"a":' * 90 + "1" + "}" * 90))},
        {
            "nodes": [{"type": "KSampler", "widgets_values": 5, "inputs": 3}, 7, {"type": 4}],
            "links": [[], {}, 3],
        },
        {"nodes": [], "definitions": 3},
    ],
    ids=range(9),
)
def test_a_strange_graph_breaks_nothing(graph):
    for name in ("prompt", "workflow", "comment"):
        found = read({name: json.dumps(graph)})
        assert found is None or len(json.dumps(vars(found), allow_nan=False)) < 300_000


def test_texts_of_images_and_videos(tmp_path):
    image = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("prompt", json.dumps(WAN))
    chunks.add_itxt("parameters", A1111)
    image.save(tmp_path / "a.png", pnginfo=chunks)
    assert read(read_notes(tmp_path / "a.png")).request == MADE
    exif = image.getexif()
    exif[0x0110] = f"prompt:{json.dumps(WAN)}"
    exif[0x010F] = "workflow:{}"
    image.save(tmp_path / "a.webp", exif=exif.tobytes())
    assert read(read_notes(tmp_path / "a.webp")).request == MADE
    for order in ("utf-16-be", "utf-16-le", "utf-16"):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + A1111.encode(order)
        image.save(tmp_path / "a.jpg", exif=exif.tobytes())
        assert read(read_notes(tmp_path / "a.jpg")).request["seed"] == 123, order
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update({"prompt": json.dumps(WAN), "workflow": "{}"})
        stream = container.add_stream("libx264", rate=Fraction(8))
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        container.mux(stream.encode())
    assert read(read_notes(tmp_path / "a.mp4")).request == MADE


def test_texts_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LIMIT", 100)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("prompt", "a" * 101)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=chunks)
    with pytest.raises(MediaError, match="101 characters"):
        read_notes(tmp_path / "a.png")
