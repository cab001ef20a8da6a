"""The plan of a request whose files are not read: only their sizes and lengths are known.

What `wan22 plan` says of a kind of video, and what a server says of a job before it is added. Torch is
imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.catalog import Variant, rows
from wan22.errors import choose

if TYPE_CHECKING:
    import numpy as np

    from wan22.memory.hardware import Hardware
    from wan22.memory.plan import Plan
    from wan22.planning import Model
    from wan22.production.work import Work
    from wan22.types import Audio, Clip, Driving, Request

_RATE = 16_000
_LETTERS = 14.0  # of a text that is spoken in a second


@dataclass(frozen=True)
class Media:
    """What is known of a file: pixels, frames and their rate, seconds; 0 for what it does not have."""

    width: int = 0
    height: int = 0
    frames: int = 0
    fps: float = 0.0
    seconds: float = 0.0


def still(width: int, height: int) -> np.ndarray:
    """An image that stands for any, uint8 (H, W, 3); it takes no memory."""
    import numpy as np

    return np.broadcast_to(np.uint8(0), (height, width, 3))


def clip(width: int, height: int, frames: int, fps: float) -> Clip:
    """A video that stands for any."""
    import numpy as np

    from wan22.types import Clip

    return Clip(np.broadcast_to(np.uint8(0), (frames, height, width, 3)), fps)


def driving(row: Variant, width: int, height: int, frames: int, fps: float | None = None) -> Driving:
    """A driving video that stands for any."""
    from wan22.types import Driving

    side = 16 if row.dit.animate is None else row.dit.animate.face_size
    fps = fps or row.defaults.fps
    return Driving(clip(width, height, frames, fps), clip(side, side, frames, fps))


def silence(seconds: float) -> Audio:
    """Audio that stands for any."""
    import numpy as np

    from wan22.types import Audio

    return Audio(np.zeros(max(1, round(seconds * _RATE)), np.float32), _RATE)


def model_of(
    row: Variant,
    dtype: str,
    device: str,
    vae_dtype: str = "float32",
    quantize: str = "none",
    compute_dtype: str = "auto",
) -> Model:
    """A model as a plan sees it, in the dtypes that the engine would take."""
    import torch

    from wan22.assembly import SMALL
    from wan22.memory.device import pick_dtype, pick_vae_dtype
    from wan22.memory.precision import QUANTIZE, pick_compute_dtype
    from wan22.planning import AUDIO_BYTES, Model, part_size, quantised

    kind = choose("kind of quantised weights", quantize, QUANTIZE).removesuffix("-weights")
    parts = [row.dit] * len(row.experts) + [row.vae, row.text, *filter(None, [row.image_encoder])]
    numbers = sum(part_size(arch, torch.float32, "cpu").whole for arch in parts) // 4
    precision = pick_dtype(dtype, torch.device(device), small=numbers <= SMALL)
    compute = pick_compute_dtype(compute_dtype, precision, torch.device(device))
    networks = {} if kind == "none" and compute == precision else quantised(row, precision, compute, kind)
    audio = AUDIO_BYTES if row.speech is not None and row.speech.audio else 0
    return Model(row, compute, pick_vae_dtype(vae_dtype), audio, networks)


def request_of(work: Work, media: Mapping[str, Media], row: Variant) -> Request:
    """The request of a piece of work, with stand-ins for its files, of which `media` says what is known."""
    from wan22.types import Request

    width, height = row.defaults.size
    given: dict[str, Any] = dict(work.given)
    for name, known in media.items():
        size = known.width or width, known.height or height
        if name in ("image", "last_image"):
            given[name] = still(*size)
        elif name in ("video", "pose"):
            fps = given.get("fps") or known.fps or row.defaults.fps
            frames = max(1, round((known.frames or row.defaults.frames) * fps / (known.fps or fps)))
            if name == "video":
                frames = min(frames, given.get("frames") or frames)
            given[name] = clip(*size, frames, fps)
    if row.animate is not None:
        known = media.get("pose") or media.get("video") or Media()
        given.pop("video", None)
        given.pop("pose", None)
        fps = given.get("fps") or known.fps or row.defaults.fps
        frames = max(1, round((known.frames or row.defaults.frames) * fps / (known.fps or fps)))
        given["driving"] = driving(row, known.width or width, known.height or height, frames, fps)
        given = {name: value for name, value in given.items() if name not in ("face", "background", "mask")}
    seconds = _heard(work, media)
    if seconds is not None:
        given["audio"] = silence(seconds)
    return Request(**given)


def _heard(work: Work, media: Mapping[str, Media]) -> float | None:
    """Seconds of the audio that drives the video; of a text about as many as it takes to speak."""
    asked = work.audio
    if asked.say is not None:
        whole = max(1.0, len(asked.say) / _LETTERS)
    elif "audio" in media:
        whole = media["audio"].seconds
    else:
        return None
    rest = max(0.1, whole - (asked.start or 0.0))
    return min(rest, asked.seconds or rest)


def hardware_of(device: str) -> Hardware:
    """What a device of this machine has now; of several that work together, "cuda:0+cuda:1", what each can take.

    Raises DeviceError if one is not here.
    """
    from wan22.memory.device import free_memory, pick_device
    from wan22.memory.hardware import here
    from wan22.parallel.links import between_cards
    from wan22.parallel.places import devices_of

    together = devices_of(device, None)
    if together is None:
        return here(pick_device(device))
    places = [pick_device(name) for name in together]
    found = here(places[0])
    if found.device == "cuda":
        least = min(free_memory(place) for place in places)
        found = replace(found, free=min(found.free, least))
    found = replace(found, name=f"{len(places)} x {found.name}").shared(len(places))
    return found.among(len(places), between_cards(places[0]))


def plan_of(
    work: Work, media: Mapping[str, Media], name: str, device: str, engine: Mapping[str, Any],
    hardware: Hardware | None = None,
) -> Plan:  # fmt: skip
    """The plan of a piece of work on a device of this machine, or on several that work together; `hardware` is what it
    has when no model is loaded, and by default what it has now.

    name: a model of the catalogue, or its folder. engine: keywords of `wan22.load`. Raises RequestError for a request
    that the model cannot do, and what `wan22.library.open_model` raises.
    """
    from wan22.planning import advised, plan_job
    from wan22.request import resolve

    row = row_of(name)
    hardware = hardware or hardware_of(device)
    request = request_of(work, media, row)
    options = {key: engine[key] for key in ("vae_dtype", "quantize", "compute_dtype") if engine.get(key)}
    known = _model(name, str(engine.get("dtype") or "auto"), hardware.device, tuple(sorted(options.items())))
    memory = str(engine.get("memory") or "auto")
    return advised(plan_job(resolve(request, row), known, hardware, memory), request, known, memory)


@lru_cache(maxsize=8)
def row_of(name: str) -> Variant:
    """A model's row by its name in the catalogue, or its folder."""
    if name in rows():
        return rows()[name]
    from wan22.library import open_model

    return open_model(Path(name)).variant


@lru_cache(maxsize=8)
def _model(name: str, dtype: str, device: str, options: tuple[tuple[str, str], ...]) -> Model:
    return model_of(row_of(name), dtype, device, **dict(options))


def extended(work: Work, media: Mapping[str, Media]) -> tuple[Work, dict[str, Media]]:
    """What extends a video as the video that begins with its last frame."""
    video = media.get("video", Media())
    given = {name: value for name, value in work.given.items() if name not in ("size", "strength")}
    if video.width and video.height:
        given["size"] = video.width, video.height
    return replace(work, given=given), {"image": video}
