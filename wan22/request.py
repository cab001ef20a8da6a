"""From what someone wants to what will be done: every setting resolved, everything impossible refused.

It knows the catalogue's numbers and the schedules, no network and no file.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wan22 import fields
from wan22.canvas import Canvas, fit, fit_animate, fit_speech
from wan22.catalog import Variant
from wan22.errors import OptionError, SizeError
from wan22.inputs import check_inputs
from wan22.prompt import check_text, parse_prompt
from wan22.sampling import Schedule, by_expert
from wan22.steps import Walk, resolve_walk
from wan22.types import Audio, Clip, Level, Request

MAX_PROMPT = 20_000
TENSORS = ("noise", "prompt_embeds", "negative_prompt_embeds")
"""What of a request stands in the place of what the engine makes otherwise."""


@dataclass(frozen=True)
class Job:
    """A request with nothing left open. `guidance` is by expert: {"low": ..., "high": ...}.

    `prompts` are the texts of the video with the second from which each holds, the first from 0.
    """

    request: Request
    variant: Variant
    canvas: Canvas
    walk: Walk
    guidance: dict[str, float]
    rescale: float
    prompts: tuple[tuple[float, str], ...]
    negative: str
    text_length: int
    notices: tuple[str, ...]

    def expert(self, level: Level) -> str:
        """The part that works at a level: the first expert at and above the boundary, else the last."""
        experts = self.variant.experts
        return experts[0] if len(experts) == 1 or self.walk.is_high(level) else experts[-1]

    @property
    def schedule(self) -> Schedule:
        """The levels that are walked."""
        return self.walk.schedule

    @property
    def solver(self) -> str:
        """The name of the solver."""
        return self.walk.solver

    @property
    def steps(self) -> int:
        """The steps of the whole schedule; with a video to start from, fewer are walked."""
        return self.walk.steps

    @property
    def shift(self) -> float:
        """How far the levels are shifted towards noise."""
        return self.walk.shift

    def scale(self, expert: str) -> float:
        """The guidance scale of a part; a lone network has the same for both."""
        return self.guidance["high" if expert == "high" else "low"]

    def alone(self, expert: str) -> bool:
        """Whether the prompt's branch works alone at a part: at guidance 1, and below it where the release does so."""
        scale = self.scale(expert)
        return scale == 1 or (scale < 1 and self.variant.by_clips)

    def prompt(self, clip: int) -> str:
        """The text that holds in the middle of a clip (from 0)."""
        begin, end = self.canvas.span(clip)
        middle = (begin + end) / 2 / self.canvas.fps
        return [text for since, text in self.prompts if since <= middle][-1]

    def as_recipe(self) -> dict[str, Any]:
        """Every resolved setting as JSON values, and hashes of what was given."""
        request = self.request
        low, high = self.guidance["low"], self.guidance["high"]
        values: dict[str, Any] = {
            "task": task_of(request, self.canvas),
            "prompt": request.prompt,
            "negative": self.negative,
            "seed": request.seed,
            "size": list(self.canvas.out),
            "frames": self.canvas.frames,
            "fps": self.canvas.fps,
            **self.walk.recipe,
            "guidance": low if low == high else [low, high],
            "guidance_rescale": self.rescale,
            "size_given": request.size is not None,
            "canvas": asdict(self.canvas),
        }
        if request.video is not None:
            values["strength"] = self.walk.strength
        if self.canvas.clips > 1:
            values["clips"] = [self.canvas.span(clip)[0] for clip in range(self.canvas.clips)]
            values["color_match"] = request.color_match
        if request.audio is not None:
            values["from_image"] = request.from_image
            values["audio_seconds"] = round(request.audio.seconds, 6)
        if request.driving is not None:
            values["replace"] = request.driving.replaces
            values["carried"] = self.canvas.overlap
            values |= {"relight": request.relight} if request.driving.replaces else {}
        inputs = input_hashes(request)
        given = {
            name: array_hash(value.detach().float().cpu().numpy())
            for name in TENSORS
            if (value := getattr(request, name)) is not None
        }
        if request.max_sequence_length is not None:
            values["max_sequence_length"] = self.text_length
        return {**values, **({"inputs": inputs} if inputs else {}), **({"given": given} if given else {})}


def input_hashes(request: Request) -> dict[str, str]:
    """Hashes of the images, videos and audio that were given, by the names of the fields that give them."""
    names = "image", "last_image", "video", "audio", "pose"
    given = {name: value for name in names if (value := getattr(request, name)) is not None}
    given |= {} if request.driving is None else request.driving.clips
    return {name: array_hash(_array(value)) for name, value in given.items()}


def resolve(request: Request, variant: Variant) -> Job:
    """Fill in the model's defaults and check everything; raises RequestError (SizeError, OptionError)."""
    defaults = variant.defaults
    if defaults.prompt and isinstance(request.prompt, str) and not request.prompt.strip():
        request = replace(request, prompt=defaults.prompt)
    _check_texts(request)
    check_inputs(request, variant)
    prompts = parse_prompt(request.prompt)
    canvas = _canvas(request, variant)
    _check_tensors(request, variant, canvas)
    length, length_notices = _text_length(request, variant)
    walk = resolve_walk(request, variant)
    if request.fast and variant.fast is not None:
        request = replace(request, guidance=variant.fast.guidance, guidance_rescale=0.0)
    job = Job(
        request=request,
        variant=variant,
        canvas=canvas,
        walk=walk,
        guidance=_guidance(request, variant),
        rescale=_rescale(request, variant),
        prompts=prompts,
        negative=defaults.negative if request.negative is None else request.negative,
        text_length=length,
        notices=(
            *_clip_notices(request),
            *canvas.notices,
            *length_notices,
            *_image_notices(request, variant, canvas),
            *_audio_notices(request, canvas),
            *_prompt_notices(prompts, canvas),
            *walk.notices,
        ),
    )
    return replace(job, notices=(*job.notices, *_negative_notice(job)))


def _clip_notices(request: Request) -> Iterator[str]:
    """What was changed while videos were read."""
    driving = {} if request.driving is None else request.driving.clips
    for clip in (request.video, request.pose, *driving.values()):
        yield from () if clip is None else clip.notices


def _negative_notice(job: Job) -> tuple[str, ...]:
    """Without guidance the network is not asked about the negative prompt: say so if one is given."""
    if not job.request.negative:
        return ()
    experts = {job.expert(level) for level in job.schedule}
    deaf = [expert for expert in sorted(experts) if job.alone(expert)]
    if not deaf:
        return ()
    where = "" if len(deaf) == len(experts) else f" of the {deaf[0]}-noise expert"
    return (f"the negative prompt has no effect at the guidance{where}, 1; more than 1 heeds it",)


def _canvas(request: Request, variant: Variant) -> Canvas:
    if variant.speech is not None:
        assert request.audio is not None
        return fit_speech(
            variant,
            size=request.size,
            frames=request.frames,
            seconds=request.seconds,
            fps=request.fps,
            image=_image_size(request) or variant.defaults.size,
            audio_seconds=request.audio.seconds,
            clips=request.clips,
        )
    if request.driving is not None:
        return fit_animate(
            variant,
            size=request.size,
            frames=request.frames,
            seconds=request.seconds,
            fps=request.fps,
            driving=request.driving.pose,
            carried=request.carried,
        )
    return fit(
        variant,
        size=request.size,
        frames=_frames(request),
        seconds=request.seconds,
        fps=request.fps if request.fps is not None or request.video is None else request.video.fps,
        image=_image_size(request),
        ends=request.last_image is not None,
        chain=request.video is None,
    )


def task_of(request: Request, canvas: Canvas) -> str:
    """The task in the words of the field: t2v, i2v, v2v, t2i, s2v or animate."""
    if request.driving is not None:
        return "animate"
    if request.audio is not None:
        return "s2v"
    if request.video is not None:
        return "v2v"
    if request.image is not None or request.last_image is not None:
        return "i2v"
    return "t2i" if canvas.frames == 1 else "t2v"


def array_hash(values: np.ndarray) -> str:
    """A hash of pixels or samples and their shape."""
    digest = hashlib.sha256(str(values.shape).encode())
    digest.update(np.ascontiguousarray(values))
    return f"sha256:{digest.hexdigest()}"


def _array(value: np.ndarray | Clip | Audio) -> np.ndarray:
    if isinstance(value, Clip):
        return value.frames
    return value.samples if isinstance(value, Audio) else value


def _audio_notices(request: Request, canvas: Canvas) -> tuple[str, ...]:
    """What is to be said of an audio file and a pose video whose lengths are not the video's."""
    notices = []
    seconds = canvas.frames / canvas.fps
    if request.audio is not None and request.audio.seconds < seconds - 1.5 / canvas.fps:
        notices.append(
            f"the audio ends after {request.audio.seconds:.2f} s; the video goes on in silence to {seconds:.2f} s"
        )
    if request.pose is not None:
        posed = len(request.pose.frames) / request.pose.fps
        if posed < seconds - 1.5 / canvas.fps:
            notices.append(
                f"the pose video ends after {posed:.2f} s of {seconds:.2f} s; "
                "the rest of that clip is told black, and after it the body is free"
            )
    return tuple(notices)


def _prompt_notices(prompts: tuple[tuple[float, str], ...], canvas: Canvas) -> tuple[str, ...]:
    """Say which texts no clip will read: a clip reads the one that holds in its middle."""
    middles = [sum(canvas.span(clip)) / 2 / canvas.fps for clip in range(canvas.clips)]
    ends = [since for since, _ in prompts[1:]] + [math.inf]
    return tuple(
        f"no clip lies between @{since:g}s and {'the end' if end == math.inf else f'@{end:g}s'} with its middle, "
        f"so this is not read: {text!r}"
        for (since, text), end in zip(prompts, ends, strict=True)
        if not any(since <= middle < end for middle in middles)
    )


def _check_texts(request: Request) -> None:
    for text in (request.prompt, request.negative):
        if not isinstance(text, str | None):
            raise OptionError(f"a prompt is a text, not {type(text).__name__}")
    if request.prompt_embeds is None and not (request.prompt and request.prompt.strip()):
        raise OptionError(
            "the prompt is empty; say what is to be seen, such as 'a red ball rolls left at sunset'"
        )
    for text in (request.prompt, request.negative or ""):
        check_text(text)
        if len(text) > MAX_PROMPT:
            raise OptionError(f"the prompt has {len(text)} characters; at most {MAX_PROMPT} are taken")


def _check_tensors(request: Request, variant: Variant, canvas: Canvas) -> None:
    """Tensors that stand in the place of noise or of encoded prompts must have their shapes."""
    if request.noise is not None and canvas.clips > 1:
        raise OptionError(
            f"noise is that of one clip, and this video is made in {canvas.clips}; ask for at most "
            f"{max(variant.trained.frames)} frames, or give a seed"
        )
    for name in TENSORS:
        tensor = getattr(request, name)
        if tensor is None:
            continue
        if name == "noise":
            wanted: tuple[int | str, ...] = (variant.dit.out_channels, *canvas.latent)
        else:
            wanted = ("s", variant.dit.text_dim)
        found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        shown = f"({', '.join(map(str, wanted))})"
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise OptionError(f"{name} must be a tensor of floats {shown}, not {found}")
        fits = len(found) == len(wanted) and all(w in ("s", f) for w, f in zip(wanted, found, strict=True))
        if not fits or 0 in found:
            raise OptionError(f"{name} must be {shown} for this model and size, not {found}")
        if not bool(torch.isfinite(tensor).all()):
            raise OptionError(f"{name} holds numbers that are not finite")
    prompts = parse_prompt(request.prompt) if request.prompt else ()
    if request.prompt_embeds is not None and len(prompts) > 1:
        raise OptionError(
            "prompt_embeds are one prompt; leave them away for a prompt that changes on the way"
        )


def _text_length(request: Request, variant: Variant) -> tuple[int, tuple[str, ...]]:
    """How many tokens are read, and a notice if the model cannot read as many as are asked."""
    most, asked = variant.dit.text_len, request.max_sequence_length
    if asked is None:
        return most, ()
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise OptionError(f"max_sequence_length must be a whole number from 1 to {most}, not {asked!r}")
    if asked > most:
        return most, (f"{variant.name} reads at most {most} tokens of a prompt, not {asked}",)
    return asked, ()


def _guidance(request: Request, variant: Variant) -> dict[str, float]:
    """The scale of each expert, or OptionError."""
    own = variant.defaults.guidance
    guidance = by_expert(own if request.guidance is None else request.guidance)
    if len(variant.experts) == 1 and guidance["low"] != guidance["high"]:
        raise OptionError(
            f"{variant.name} is one network: give one number for guidance, not {request.guidance}"
        )
    if any(not 0 <= g <= 100 for g in guidance.values()):
        raise OptionError(
            f"guidance must be from 0 to 100, not {request.guidance}; this model's own is {own}"
        )
    return {str(expert): scale for expert, scale in guidance.items()}


def _rescale(request: Request, variant: Variant) -> float:
    """The share of guidance's contrast that is taken back, or OptionError."""
    if request.guidance_rescale is None:
        return variant.defaults.guidance_rescale
    return float(fields.check("guidance_rescale", request.guidance_rescale))


def _image_notices(request: Request, variant: Variant, canvas: Canvas) -> tuple[str, ...]:
    """What is to be said of a video from images; SizeError if it is too short for them."""
    has_image = request.image is not None and variant.image == "known"
    if (has_image or request.last_image is not None) and canvas.latent[0] == 1:
        raise SizeError(
            f"{canvas.frames} frame is the image itself: a video from an image needs {1 + canvas.stride_time} frames "
            "or more"
        )
    if request.last_image is None or variant.image != "known" or variant.trained.only:
        return ()
    return (f"{variant.name} was not trained to end on an image; the last one may be met abruptly",)


def _frames(request: Request) -> int | None:
    if request.video is None or request.frames is not None or request.seconds is not None:
        return request.frames
    if request.fps is None:
        return len(request.video.frames)
    return max(1, round(len(request.video.frames) / request.video.fps * request.fps))


def _image_size(request: Request) -> tuple[int, int] | None:
    pixels = request.video.frames[0] if request.video is not None else request.image
    pixels = request.last_image if pixels is None else pixels
    return None if pixels is None else (pixels.shape[1], pixels.shape[0])
