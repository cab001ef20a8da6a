"""What vLLM-Omni's and SGLang's clients say, as our fields; what is refused by its name, and what is passed over."""

import json

import pytest

from wan22.server.forms import merged, nested
from wan22.server.problems import Refusal
from wan22.server.video_fields import read


def asked(**values):
    return read(merged({"prompt": "a ball", **values}))


VLLM_OMNI = {
    "width and height": ({"width": "832", "height": "480"}, {"size": [832, 480]}),
    "num_frames": ({"num_frames": "33"}, {"frames": 33}),
    "fps": ({"fps": "16"}, {"fps": 16.0}),
    "num_inference_steps": ({"num_inference_steps": "40"}, {"steps": 40}),
    "guidance_scale": ({"guidance_scale": "3.5"}, {"guidance": 3.5}),
    "both guidances": ({"guidance_scale": "3.0", "guidance_scale_2": "4.0"}, {"guidance": [3.0, 4.0]}),
    "the second alone": (
        {"guidance_scale_2": "4", "model": "t2v-A14B"}, {"guidance": [3.0, 4.0], "model": "t2v-A14B"},
    ),
    "boundary_ratio": ({"boundary_ratio": "0.875"}, {"boundary": 0.875}),
    "flow_shift": ({"flow_shift": "12.0"}, {"shift": 12.0}),
    "seed": ({"seed": "42"}, {"seed": 42}),
    "negative_prompt": ({"negative_prompt": "rain"}, {"negative": "rain"}),
    "an empty negative": ({"negative_prompt": ""}, {"negative": ""}),
    "seconds": ({"seconds": "4"}, {"seconds": 4.0}),
    "size": ({"size": "1280x720"}, {"size": [1280, 720]}),
    "num_frames goes before seconds": ({"seconds": "4", "num_frames": "17"}, {"frames": 17}),
    "no sound": ({"generate_sound": "false", "sound_duration": ""}, {}),
    "no interpolation": (
        {"enable_frame_interpolation": "False", "frame_interpolation_exp": "2", "frame_interpolation_scale": "1.0"}, {},
    ),
    "true_cfg_scale 1": ({"true_cfg_scale": "1.0"}, {}),
    "lora": ({"lora": '{"name": "ink", "scale": 0.8, "int_id": 3}'}, {"lora": ["ink:0.8"]}),
    "extra_params": ({"extra_params": '{"preencode_mp4": true, "num_frames": 9}'}, {"frames": 9}),
    "extra_params goes behind": ({"extra_params": '{"seed": 1}', "seed": "2"}, {"seed": 2}),
}  # fmt: skip

SGLANG = {
    "numbers": (
        {"seconds": 4, "fps": 24, "num_frames": 25, "seed": 1, "width": 64, "height": 32},
        {"fps": 24, "frames": 25, "seed": 1, "size": [64, 32]},
    ),
    "a list of one seed": ({"seed": [7]}, {"seed": 7}),
    "one output": ({"n": 1, "num_outputs_per_prompt": 1}, {}),
    "teacache": ({"enable_teacache": True}, {"cache": "teacache"}),
    "no teacache": ({"enable_teacache": False}, {}),
    "max_sequence_length": ({"max_sequence_length": 512}, {}),
    "generator_device": ({"generator_device": "cuda"}, {}),
    "no upscaling": ({"enable_upscaling": False, "upscaling_scale": 4, "upscaling_model_path": None}, {}),
    "output_quality": ({"output_quality": "medium"}, {"quality": "good"}),
    "default quality": ({"output_quality": "default"}, {}),
    "no diffusers_kwargs": ({"diffusers_kwargs": {}}, {}),
    "extra_body": ({"extra_body": {"num_inference_steps": 5}}, {"steps": 5}),
    "extra_json": ({"extra_json": '{"flow_shift": 3}'}, {"shift": 3}),
    "lora of one expert": (
        {"lora": [{"lora_nickname": "ink", "target": "transformer_2", "strength": 1}]}, {"lora": ["ink:1@low"]},
    ),
}  # fmt: skip

OURS = {
    "texts": ({"frames": "9", "steps": "2", "fast": "true", "color_match": "0.5", "sigmas": "1,0.5,0"},
              {"frames": 9, "steps": 2, "fast": True, "color_match": 0.5, "sigmas": [1.0, 0.5, 0.0]}),
    "pairs": ({"guidance": "3,4", "guidance_interval": "[0.2, 0.8]"},
              {"guidance": [3.0, 4.0], "guidance_interval": [0.2, 0.8]}),
    "terms": ({"camera": "dolly in", "light": ["moonlight", "soft"]},
              {"camera": ["dolly in"], "light": ["moonlight", "soft"]}),
    "lora": ({"lora": "ink:0.8@high"}, {"lora": ["ink:0.8@high"]}),
}  # fmt: skip

ALL = {**VLLM_OMNI, **SGLANG, **OURS}


@pytest.mark.parametrize("name", ALL)
def test_a_field_of_others_is_ours(name):
    said, ours = ALL[name]
    found = asked(**said)
    assert {**found.request, "prompt": None} == {"prompt": None, **ours}
    assert not found.files


@pytest.mark.parametrize("name", ALL)
def test_the_same_as_a_form(name):
    items = [("prompt", "a ball")]
    for key, value in ALL[name][0].items():
        if value is None:
            continue
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            items += [(f"{key}[]", each) for each in value]
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            items.append((key, text))
    found = read(merged(nested(items)))
    assert {**found.request, "prompt": None} == {"prompt": None, **ALL[name][1]}


REFUSED = {
    "generate_sound": "true",
    "sound_duration": "4",
    "enable_frame_interpolation": True,
    "enable_upscaling": "true",
    "true_cfg_scale": 4.0,
    "control_type": "depth",
    "source_video": "x",
    "video_noise_mask": "x",
    "video_codec_options": {"preset": "fast"},
    "diffusers_kwargs": {"a": 1},
    "output_compression": 50,
    "conditions": [{"type": "image"}],
    "target": {"short_edge": 480},
    "audio_flow_shift": 3,
    "profile": True,
    "max_sequence_length": 256,
    "webhook_url": "https://example.com",
    "output_path": "/tmp/a.mp4",
    "video_path": "/etc/passwd",
    "perf_dump_path": "/tmp/x",
    "frame_interpolation_model_path": "/models/rife",
    "upscaling_model_path": "org/model",
    "lora_path": "/x.safetensors",
    "some_dir": "/x",
    "device": "cuda:1",
    "memory": "disk",
    "high": "/x.safetensors",
    "output": "a.mp4",
    "source": "a.mp4",
    "overwrite": True,
    "n": 2,
    "num_outputs_per_prompt": "4",
    "seed": [1, 2],
    "num_frames": "many",
    "steps": 0,
    "fps": "NaN",
    "seconds": "-1",
    "size": "large",
    "width": 64,
    "output_quality": "best",
    "fast": "perhaps",
    "nubmer_of_frames": 5,
    "guidance_scale_2": 4,
    "input_reference": {"image_url": "a", "file_id": "b"},
    "image_reference": '{"path": "/etc/passwd"}',
    "lora": {"name": "x", "path": "/x"},
    "extra_body": "[1]",
    "extra_params": "{",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_here_is_refused_by_its_name(name):
    with pytest.raises(Refusal) as error:
        asked(**{name: REFUSED[name]})
    assert error.value.status_code == 400
    assert (error.value.param or "").partition(".")[0] == name
    assert name in str(error.value.detail)


def test_a_misspelt_field_is_guessed():
    with pytest.raises(Refusal, match="num_frames"):
        asked(num_frame=9)


@pytest.mark.parametrize(
    "said",
    [{"num_frames": 9, "frames": 17}, {"size": "64x32", "width": 32, "height": 64},
     {"guidance": 3, "guidance_scale": 4}],
)  # fmt: skip
def test_what_is_said_twice_must_agree(said):
    with pytest.raises(Refusal, match="say it once"):
        asked(**said)


def test_what_is_said_twice_and_agrees():
    assert asked(num_frames="9", frames=9, size="64x32", width=64, height=32).request["frames"] == 9


REFERENCES = {
    "a data URL": (
        {"input_reference": "data:image/png;base64,AA"},
        "input_reference",
        "data:image/png;base64,AA",
    ),
    "an object": ({"input_reference": {"file_id": "in_x"}}, "input_reference", "in_x"),
    "JSON text": ({"input_reference": '{"image_url": "data:,x"}'}, "image", "data:,x"),
    "as in a chat": ({"image_reference": {"image_url": {"url": "data:,x"}}}, "image", "data:,x"),
    "a video": ({"video_reference": '{"video_url": "data:,x"}'}, "video", "data:,x"),
    "audio": ({"audio_reference": '{"audio_url": "data:,x"}'}, "audio", "data:,x"),
    "reference_url": ({"reference_url": "https://x"}, "image", "https://x"),
    "video_url": ({"video_url": "https://x"}, "video", "https://x"),
    "an id": ({"video": {"id": "job_x"}}, "video", "job_x"),
    "ours": ({"last_image": "in_x"}, "last_image", "in_x"),
    "a character": ({"character": "Anna"}, "image", "@Anna"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_files_are_named_in_many_ways(name):
    said, ours, value = REFERENCES[name]
    [(found, reference)] = asked(**said).files.items()
    assert (found, reference.value) == (ours, value)


def test_brackets_are_put_together():
    items = [("a[b]", "1"), ("a[c][d]", "2"), ("l[]", "1"), ("l[]", "2"), ("m", "1"), ("m", "2"), ("x", "y")]
    assert nested(items) == {"a": {"b": "1", "c": {"d": "2"}}, "l": ["1", "2"], "m": ["1", "2"], "x": "y"}


@pytest.mark.parametrize(
    "items",
    [[("a", "1"), ("a[b]", "2")], [("a[b]", "1"), ("a", "2")], [("a[b", "1")], [("", "1")], [("[a]", "1")],
     [("a[b][c][d][e]", "1")], [("a" * 200, "1")], [("a[]", "1"), ("a[b]", "2")]],
)  # fmt: skip
def test_brackets_that_do_not_fit_are_refused(items):
    with pytest.raises(Refusal) as error:
        nested(items)
    assert error.value.status_code == 400
