"""The fields of a request for a video as OpenAI's clients, vLLM-Omni's and SGLang's say them, as ours.

A field that we do not have is refused by its name where it asks for something, and passed over where it is off. Fields
that would name a path, a place to write to, or code are refused always. Names of `wan22.fields` are taken as they are.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wan22 import fields
from wan22.catalog import rows
from wan22.errors import OptionError, SizeError, choose
from wan22.files import parse_json
from wan22.server.problems import Refusal

TAKEN = {row.name: row for row in fields.of_command(fields.VIDEO) if "http" in row.where}
"""Our own fields of a video."""
FILES = tuple(name for name, row in TAKEN.items() if row.kind == "file")

RENAMED = {
    "negative_prompt": "negative",
    "num_frames": "frames",
    "num_inference_steps": "steps",
    "flow_shift": "shift",
    "boundary_ratio": "boundary",
    "sampler": "solver",
    "scheduler": "solver",
    "n": "count",
    "num_outputs_per_prompt": "count",
    "reference_url": "image",
    "video_url": "video",
    "audio_url": "audio",
    "image_reference": "image",
    "video_reference": "video",
    "audio_reference": "audio",
}
"""Other names of our fields."""
REFERENCES = {"image_url": "image", "video_url": "video", "audio_url": "audio"}
"""What a reference may hold, beside `file_id` and `id`."""

_ANY_REFERENCE = "input_reference"
_TOGETHER = (
    "width",
    "height",
    "guidance_scale",
    "guidance_scale_2",
    "enable_teacache",
    "output_quality",
    "character",
)
_FOR_US = ("user",)

DOCUMENTED = tuple(
    name for name in TAKEN if name not in ("prompt", "model", "seconds", "size", "count", "video")
)
"""Our fields that the OpenAPI document names beside OpenAI's own."""
OTHER_NAMES = RENAMED | {
    "width": "size", "height": "size", "guidance_scale": "guidance", "guidance_scale_2": "guidance",
    "enable_teacache": "cache", "output_quality": "quality", "character": "image",
}  # fmt: skip

_PATHS = (
    "output_path", "video_path", "image_path", "audio_path", "input_path", "perf_dump_path", "lora_path",
    "frame_interpolation_model_path", "upscaling_model_path", "vae_path", "model_path", "control_path",
)  # fmt: skip
"""Refused always, as is every other name that ends in `_path`, `_dir` or `_file`."""
_PATH_ENDINGS = ("_path", "_paths", "_dir", "_file")

_OFF: dict[str, tuple[Any, ...]] = {
    "true_cfg_scale": (1,),
    "generate_sound": (False,),
    "sound_duration": (),
    "enable_frame_interpolation": (False,),
    "enable_upscaling": (False,),
    "control_reference": (),
    "control_type": (),
    "source_video": (),
    "source_audio": (),
    "video_noise_mask": (),
    "audio_noise_mask": (),
    "video_codec_options": ({},),
    "output_compression": (),
    "diffusers_kwargs": ({},),
    "conditions": ([],),
    "target": ({},),
    "audio_flow_shift": (),
    "profile": (False,),
    "profile_all_stages": (False,),
    "stream": (False,),
    "max_sequence_length": (512,),
    "webhook": (),
    "webhook_url": (),
    "callback_url": (),
}  # fmt: skip
"""Fields of others that we do not have, with the values that ask for nothing (null and an empty text are such, too)."""
_PASSED_OVER = (
    "frame_interpolation_exp", "frame_interpolation_scale", "upscaling_scale", "num_profiled_timesteps",
    "generator_device", "preencode_mp4", "preencode_batch_frames",
)  # fmt: skip
"""Fields that change nothing here: parts of what is off, or how a server works. Noise is always drawn on the CPU."""

_QUALITY = {"maximum": "high", "high": "high", "medium": "good", "low": "draft"}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
MAX_SEED = 2**31
MAX_TEXT = 100_000
"""Characters of a text; a prompt for the largest model has some hundred words."""
MAX_LIST = 1000


@dataclass(frozen=True)
class Reference:
    """A file that a client means: an upload, a URL, or the id of an input, a job or a character; `param` says it."""

    value: Any
    param: str


@dataclass
class Asked:
    """What a client asked, by our names: `request` without files, `files`, `other` that is noted, and what it called
    each of our fields.
    """

    request: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Reference] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)


def refused(param: str, message: str, code: str = "invalid_value") -> Refusal:
    """A field that cannot be what it is."""
    return Refusal(400, code, f"{param}: {message}", param=param)


def read(values: Mapping[str, Any]) -> Asked:
    """Sort what a client said. Raises Refusal (400) that names the field as the client does."""
    asked = Asked()
    together: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or (value == "" and name not in ("prompt", "negative", "negative_prompt")):
            continue
        if name in _FOR_US:
            asked.other[name] = _text(value, name)
        elif name == _ANY_REFERENCE:
            asked.files[_kind_of_reference(name, value)] = _reference(name, value)
        elif (ours := RENAMED.get(name, name)) in FILES:
            _say(asked, asked.files, ours, name, _reference(name, value))
        elif name in _TOGETHER:
            together[name] = value
        elif ours in TAKEN:
            _say(asked, asked.request, ours, name, typed(ours, value, name))
        else:
            _check_foreign(name, value)
    _put_together(asked, together)
    if "frames" in asked.request:
        asked.request.pop("seconds", None)  # as vLLM-Omni and SGLang: the number of frames goes before
    _check_count(asked)
    return asked


def _say(asked: Asked, place: dict[str, Any], ours: str, name: str, value: Any) -> None:
    """Note a value; one that was said before by another name must be the same."""
    if ours in place and place[ours] != value:
        raise refused(name, f"it says something else than {asked.called[ours]}; say it once")
    place[ours] = value
    asked.called[ours] = name


def _check_count(asked: Asked) -> None:
    if asked.request.pop("count", 1) != 1:
        raise refused(
            asked.called["count"],
            "one video is made of a request; send it again with other seeds, or add a group under /v1/jobs",
        )


def _put_together(asked: Asked, said: dict[str, Any]) -> None:
    """What others say in several fields, or by other values."""
    if "width" in said or "height" in said:
        for name, other in (("width", "height"), ("height", "width")):
            if name not in said:
                raise refused(other, f"give {name}, too, or size as WIDTHxHEIGHT")
        size = [_whole(said[name], name) for name in ("width", "height")]
        _say(asked, asked.request, "size", "width", size)
    if "guidance_scale" in said or "guidance_scale_2" in said:
        _say(asked, asked.request, "guidance", "guidance_scale", _guidance(said, asked.request.get("model")))
    if "enable_teacache" in said and _flag(said["enable_teacache"], "enable_teacache"):
        _say(asked, asked.request, "cache", "enable_teacache", "teacache")
    if (quality := said.get("output_quality", "default")) != "default":
        if quality not in _QUALITY:
            raise refused("output_quality", f"{quality!r} is unknown; known: {', '.join(_QUALITY)}, default")
        _say(asked, asked.request, "quality", "output_quality", _QUALITY[quality])
    if "character" in said:
        _say(asked, asked.files, "image", "character", Reference(_character(said["character"]), "character"))


def _character(value: Any) -> str:
    value = value.get("id") if isinstance(value, dict) else value
    if not isinstance(value, str):
        raise refused("character", "give the id of a character, or its name")
    return value if value.startswith(("@", "char_")) else f"@{value}"


def _guidance(said: dict[str, Any], model: str | None) -> float | list[float]:
    """Of others, the first is for low noise and the second for high; without the first it is the model's own."""
    numbers = [_number(said[name], name) for name in ("guidance_scale", "guidance_scale_2") if name in said]
    if "guidance_scale_2" not in said:
        return numbers[0]
    row = rows().get(model or "")
    if len(numbers) == 1 and row is None:
        raise refused("guidance_scale_2", "it is for high noise; give guidance_scale, too")
    low = numbers[0] if len(numbers) == 2 else row.defaults.guidance[0] if row else 0.0
    return [low, numbers[-1]]


def _check_foreign(name: str, value: Any) -> None:
    """Refuse a field that is none of ours, unless it asks for nothing."""
    if name in _PATHS or name.endswith(_PATH_ENDINGS):
        raise refused(
            name, "paths are not taken from clients; send the file itself, and download what is made",
            "unsupported_parameter",
        )  # fmt: skip
    if name in _PASSED_OVER:
        return
    if name not in _OFF:
        known = (*TAKEN, *RENAMED, *_TOGETHER, _ANY_REFERENCE, *_OFF)
        try:
            choose("field", name, known)
        except OptionError as error:
            raise Refusal(400, "unknown_parameter", str(error), param=name[:80]) from None
    if not _is_off(value, _OFF[name]):
        raise refused(name, "this server does not have it; leave it out", "unsupported_parameter")


def _is_off(value: Any, off: tuple[Any, ...]) -> bool:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("", "null", "none", *(_FALSE if False in off else ())):
            return True
        return any(text in (str(each).lower(), f"{each}.0") for each in off)
    return any(value == each for each in off)


# Files


def _kind_of_reference(name: str, value: Any) -> str:
    """Which of our fields a reference is: what it says, or `input_reference`, which the content tells."""
    value = _unpacked(name, value)
    if isinstance(value, dict):
        return next((ours for key, ours in REFERENCES.items() if value.get(key) is not None), _ANY_REFERENCE)
    return _ANY_REFERENCE


def _reference(name: str, value: Any) -> Reference:
    """What a file field means: a file, `{"image_url"}`, `{"file_id"}`, `{"id"}` (as JSON text, too), a URL or an id."""
    value = _unpacked(name, value)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        inner = {key: each for key, each in value.items() if each is not None}
        known = ("file_id", "id", *REFERENCES)
        if len(inner) != 1 or next(iter(inner)) not in known:
            raise refused(name, f"say one of {', '.join(known)}")
        value = next(iter(inner.values()))
        if isinstance(value, dict) and isinstance(
            value.get("url"), str
        ):  # as in a chat: {"image_url": {"url": ...}}
            value = value["url"]
    if isinstance(value, (list, dict, bool, int, float)):
        raise refused(name, "send a file, a data URL, or the id of an input or a video")
    return Reference(value, name)


def _unpacked(name: str, value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        return _json(value, name)
    return value


# Values


def typed(ours: str, value: Any, param: str) -> Any:
    """A value of our field `ours`, from JSON or the text of a form. Raises Refusal that names `param`."""
    kind = TAKEN[ours].kind
    if isinstance(value, str) and value.lstrip().startswith("[") and kind not in ("text", "terms"):
        value = _json(value, param)
    if ours == "seed" and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list) and len(value) > MAX_LIST:
        raise refused(param, f"it has {len(value):,} entries, and at most {MAX_LIST:,} are taken")
    if kind == "lora":
        return _loras(value, param)
    if kind == "terms":
        return [_text(each, param) for each in (value if isinstance(value, list) else [value])]
    readers: dict[str, Callable[[Any, str], Any]] = {
        "integer": _whole, "number": _number, "flag": _flag, "size": _size, "expert_pair": _numbers_or_one,
        "interval": _numbers, "numbers": _numbers, "text": _text,
    }  # fmt: skip
    value = readers[kind](value, param)
    if kind in ("integer", "number"):
        try:
            fields.check(ours, value, param)
        except (OptionError, SizeError) as error:
            raise Refusal(400, "invalid_value", str(error), param=param) from None
    return value


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise refused(param, f"it must be a text, not {_shown(value)}")
    if len(value) > MAX_TEXT:
        raise refused(param, f"it has {len(value):,} characters, and at most {MAX_TEXT:,} are taken")
    return value


def _whole(value: Any, param: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,19}(\.0*)?\s*", value, re.ASCII):
        return int(value.partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int):
        raise refused(param, f"it must be a whole number, not {_shown(value)}")
    return value


def _number(value: Any, param: str) -> float:
    if isinstance(value, str) and re.fullmatch(
        r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", value, re.ASCII | re.I
    ):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise refused(param, f"it must be a number, not {_shown(value)}")
    return value


def _flag(value: Any, param: str) -> bool:
    if isinstance(value, str) and value.strip().lower() in (*_TRUE, *_FALSE):
        return value.strip().lower() in _TRUE
    if not isinstance(value, bool):
        raise refused(param, f"it must be true or false, not {_shown(value)}")
    return value


def _size(value: Any, param: str) -> list[int]:
    """(width, height) from "832x480", "832×480", "832*480" or a list."""
    parts = re.split(r"[x×*]", value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 2:
        raise refused(param, f"it must be WIDTHxHEIGHT in pixels, such as 832x480, not {_shown(value)}")
    return [_whole(part, param) for part in parts]


def _numbers(value: Any, param: str) -> list[float]:
    parts = value[:MAX_TEXT].split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise refused(param, f"it must be a list of numbers, not {_shown(value)}")
    return [_number(part, param) for part in parts]


def _numbers_or_one(value: Any, param: str) -> float | list[float]:
    several = isinstance(value, list) or (isinstance(value, str) and "," in value)
    return _numbers(value, param) if several else _number(value, param)


def _loras(value: Any, param: str) -> list[str]:
    """LoRAs by the operator's names, as "NAME:STRENGTH@EXPERT"; or as objects: name, scale, target."""
    value = _unpacked(param, value)
    return [
        _lora(each, param) if isinstance(each, dict) else _text(each, param)
        for each in (value if isinstance(value, list) else [value])
    ]


_LORA_KEYS = {
    "name": "name", "lora_name": "name", "lora_nickname": "name", "adapter_name": "name", "id": "name",
    "scale": "scale", "lora_scale": "scale", "strength": "scale", "weight": "scale",
    "target": "target", "expert": "target",
}  # fmt: skip
_LORA_TARGETS = {
    "all": "",
    "both": "",
    "transformer": "@high",
    "transformer_2": "@low",
    "high": "@high",
    "low": "@low",
}
_LORA_OFF = ("int_id", "lora_int_id")


def _lora(said: dict[str, Any], param: str) -> str:
    found: dict[str, Any] = {}
    for key, value in said.items():
        if key.endswith("path"):
            raise refused(
                f"{param}.{key}", "paths are not taken from clients; name a LoRA", "unsupported_parameter"
            )
        if key in _LORA_OFF or value is None:
            continue
        if key not in _LORA_KEYS:
            raise refused(param, f"{key!r} is unknown; a LoRA has name, scale and target")
        found[_LORA_KEYS[key]] = value
    if not isinstance(found.get("name"), str):
        raise refused(param, "give the LoRA's name")
    target = found.get("target", "all")
    if target not in _LORA_TARGETS:
        raise refused(param, f"target {target!r} is unknown; known: {', '.join(_LORA_TARGETS)}")
    scale = _number(found.get("scale", 1.0), param)
    return f"{found['name']}:{scale:g}{_LORA_TARGETS[target]}"


def _json(text: str, param: str) -> Any:
    try:
        return parse_json(text, param, OptionError)
    except OptionError as error:
        raise Refusal(400, "invalid_json", str(error), param=param) from None


def _shown(value: Any) -> str:
    text = (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, (str, list, dict, int, float))
        else "a file"
    )
    return text if len(text) <= 60 else f"{text[:57]}..."


def random_seed() -> int:
    """A seed for a request that names none: such clients expect another video each time."""
    return secrets.randbelow(MAX_SEED)
