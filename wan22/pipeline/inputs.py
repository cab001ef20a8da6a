"""From what people give to what a Request takes: images, videos, audio, sizes, guidance, noise, and one row a video."""

import logging
import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PIL
from torch import Tensor

from wan22.engine import Engine
from wan22.errors import MediaError, OptionError
from wan22.inputs import AUDIO_RATE, check_samples
from wan22.media.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioReader, read_audio, resample
from wan22.media.image import read_image
from wan22.media.sequence import is_sequence
from wan22.media.video import probe, read_condition
from wan22.pipeline.output import OUTPUT_TYPES, PathLike, PipelineOutput, Video
from wan22.types import Audio, Clip, Driving, Request

logger = logging.getLogger("wan22")


def check_call(engine: Engine, output_type: str, per_prompt: int, chunk: int | None) -> None:
    """Raise OptionError for what a call asks of its output, and for clips of another length than the model's."""
    if output_type not in OUTPUT_TYPES:
        raise OptionError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, not {output_type!r}")
    if isinstance(per_prompt, bool) or not isinstance(per_prompt, int) or per_prompt < 1:
        raise OptionError(f"num_videos_per_prompt must be a whole number from 1, not {per_prompt!r}")
    speech = engine.variant.speech
    if chunk is not None and (speech is None or chunk != speech.clip_frames):
        own = "takes no audio" if speech is None else f"makes {speech.clip_frames} frames a clip"
        raise OptionError(f"{engine.name} {own}; leave num_frames_per_chunk away")


def check_latent_output(engine: Engine, request: Request, output_type: str) -> None:
    """Raise OptionError if latents are asked of a video that has not one clip of them."""
    if output_type == "latent" and (request.by_clips or engine.check(request).clips > 1):
        raise OptionError(
            'output_type="latent" is for a video of one clip; a longer one is decoded clip by clip'
        )


def size_of(
    height: int | None, width: int | None, resolution: tuple[int, int] | None
) -> tuple[int, int] | None:
    """(width, height), or None for the model's own."""
    if resolution is not None:
        if height is not None or width is not None:
            raise OptionError("give resolution=(width, height), or height and width, not both")
        if not isinstance(resolution, tuple | list) or len(resolution) != 2:
            raise OptionError(f"resolution must be (width, height), not {resolution!r}")
        return resolution[0], resolution[1]
    if (height is None) != (width is None):
        raise OptionError("give both height and width, or neither")
    return None if height is None or width is None else (width, height)


def guidance_of(high: float | None, low: float | None) -> float | tuple[float, float] | None:
    """The request's guidance, (low, high). As in Diffusers there is none, on either expert, up to a scale of 1."""
    if high is None:
        if low is not None:
            raise OptionError("guidance_scale_2 needs guidance_scale")
        return None
    if isinstance(high, Real) and not isinstance(high, bool) and 0 <= high <= 1:
        return 1.0
    return high if low is None else (low, high)


def sigmas_of(sigmas: Any) -> Any:
    """Noise levels as numbers, of an array or tensor, too."""
    return tuple(sigmas.tolist()) if isinstance(sigmas, Tensor | np.ndarray) and sigmas.ndim == 1 else sigmas


def rows(name: str, value: Any, count: int) -> list[Any]:
    """One value for each video: of a list of as many, or the same for all."""
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise OptionError(f"there are {len(value)} of {name} for {count} prompts; give one, or as many")
    return list(value)


def repeated(values: Sequence[Any], times: int) -> list[Any]:
    """Each value so many times: a, a, b, b."""
    return [value for value in values for _ in range(times)]


def image_of(image: Any) -> np.ndarray | None:
    """An image: a path, a PIL image, uint8 (H, W, 3), or floats in [0, 1], (H, W, 3) or as a tensor (3, H, W)."""
    if isinstance(image, Tensor):
        image = image[0] if image.ndim == 4 and len(image) == 1 else image
        if image.ndim == 3 and image.shape[0] == 3:
            image = image.permute(1, 2, 0)
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating):
        return _levels(image, "an image")
    if image is None or isinstance(image, np.ndarray):
        return image
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if isinstance(image, PIL.Image):
        return np.asarray(image.convert("RGB"))
    raise OptionError(
        f"an image must be a path, a PIL image or a uint8 array, not {type(image).__name__}; floats are in [0, 1]"
    )


def video_of(video: Any, fps: float | None, own_fps: float) -> Clip | None:
    """A video: a path, ours, a Clip, uint8 (T, H, W, 3) or floats in [0, 1], or a list of images. What says no
    speed has
    `fps`, or else the model's own, so that its frames are taken one for one.
    """
    if video is None or isinstance(video, Clip):
        return video
    if isinstance(video, PipelineOutput):
        video = video.video
    if isinstance(video, Video):
        return Clip(video.frames, video.fps)
    if isinstance(video, str | os.PathLike):
        return read_condition(video, fps)
    speed = own_fps if fps is None else fps
    if isinstance(video, list | tuple) and video:
        frames = [np.asarray(image_of(frame)) for frame in video]
        if len({frame.shape for frame in frames}) != 1:
            raise OptionError("the images of a video must be of one size")
        return Clip(np.stack(frames), speed)
    if isinstance(video, Tensor) and video.ndim == 4:
        video = video.permute(0, 2, 3, 1).detach().cpu().numpy()
    if isinstance(video, np.ndarray):
        return Clip(_levels(video, "a video") if np.issubdtype(video.dtype, np.floating) else video, speed)
    raise OptionError(
        f"a video must be a path, a Video, a Clip, a uint8 array or a list of images, not {type(video).__name__}"
    )


def driving_of(
    pose: Any, face: Any, background: Any, mask: Any, fps: float | None, own_fps: float
) -> Driving | None:
    """What moves a person, of videos as `video_of` takes them; None without a face."""
    if face is None:
        if background is not None or mask is not None:
            raise OptionError("background_video and mask_video need pose_video and face_video")
        return None
    if pose is None:
        raise OptionError("face_video needs pose_video: together they say how a person moves")
    clips = [video_of(video, fps, own_fps) for video in (pose, face, background, mask)]
    assert clips[0] is not None and clips[1] is not None
    return Driving(*clips)


def audio_of(video: Any, given: Audio | PathLike | None) -> tuple[Audio | PathLike | None, float]:
    """What goes under a video, and from which second on: the audio that is given, or that of what it is made from."""
    if given is not None or video is None:
        return given, 0.0
    if isinstance(video, PipelineOutput):
        video = video.video
    if isinstance(video, Video):
        return video.audio, video.audio_start
    if not isinstance(video, str | os.PathLike) or is_sequence(video) or not probe(video).has_audio:
        return None, 0.0
    try:
        return Path(video).absolute(), AudioReader(video).lead
    except MediaError as error:
        logger.warning("the audio of %s is not kept: %s", video, error)
        return None, 0.0


def _levels(pixels: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(pixels).all() or pixels.min(initial=0) < 0 or pixels.max(initial=0) > 1:
        raise OptionError(f"{what} of floats must be in [0, 1]")
    return np.round(pixels * 255).astype(np.uint8)


def original_audio(audio: Any, rate: Any = None) -> Audio | PathLike:
    """Audio at its own rate, to be put under a video."""
    if isinstance(audio, Audio | str | os.PathLike):
        return audio
    if isinstance(audio, tuple) and len(audio) == 2 and isinstance(audio[0], np.ndarray):
        return _mixed(*audio)
    if isinstance(audio, Tensor):
        audio = audio.detach().cpu().numpy()
    if isinstance(audio, np.ndarray) and rate is not None:
        return _mixed(audio, rate)
    found = type(audio).__name__
    if isinstance(audio, tuple):
        found = f"({', '.join(type(part).__name__ for part in audio)})"
    raise OptionError(
        f"audio must be a path, an Audio or (samples, rate), not {found}; samples are an array, and their rate may "
        "be given as sampling_rate"
    )


def _mixed(samples: np.ndarray, rate: Any) -> Audio:
    """Float samples (n,) or (n, channels) as one channel, the mean of all."""
    channels = samples.shape[1] if samples.ndim == 2 else samples.ndim
    if not np.issubdtype(samples.dtype, np.floating) or not 1 <= channels <= MAX_CHANNELS or samples.ndim > 2:
        raise OptionError(
            f"audio must be (samples, rate) with float samples (n,) or (n, channels), at most {MAX_CHANNELS} of them, "
            f"not {samples.dtype} {samples.shape}"
        )
    if not isinstance(rate, Real) or not float(rate).is_integer():
        raise OptionError(f"the rate of audio must be a whole number of samples a second, not {rate!r}")
    return Audio(samples.reshape(-1, channels).mean(axis=1, dtype=np.float32), int(rate))


def audio_input(original: Audio | PathLike | None) -> Audio | None:
    """Audio as the network is told it."""
    if original is None:
        return None
    if not isinstance(original, Audio):
        return read_audio(original)
    check_samples(original)
    if not MIN_RATE <= original.rate <= MAX_RATE:
        raise OptionError(
            f"audio cannot have {original.rate} samples a second; {MIN_RATE} to {MAX_RATE} work"
        )
    return resample(original, AUDIO_RATE)


def _fresh(generator: torch.Generator) -> bool:
    """Whether nothing was drawn from a generator on the CPU since it was seeded with a seed that a Request can have."""
    if generator.device.type != "cpu" or generator.initial_seed() >= 2**63:
        return False
    seeded = torch.Generator().manual_seed(generator.initial_seed())
    return torch.equal(seeded.get_state(), generator.get_state())


def starts(
    generators: Any, seed: int | None, count: int, shape: tuple[int, ...] | None
) -> list[tuple[int, Tensor | None]]:
    """Where each of `count` videos starts: a seed, and noise of `shape` if the seed alone would not make it.

    A generator goes on from call to call, and gives the noise that Diffusers would draw from it. As long as it
    is fresh,
    its seed alone says so. Without a generator the seed comes from torch's own. `shape` is None for a video whose
    clips each draw noise: then seeds are drawn.
    """
    if generators is not None and seed is not None:
        raise OptionError("give a generator or a seed, not both")
    if seed is not None:
        return [(seed + i if isinstance(seed, int) and i else seed, None) for i in range(count)]
    listed = generators if isinstance(generators, list | tuple) else [generators]
    wrong = [g for g in listed if g is not None and not isinstance(g, torch.Generator)]
    if wrong:
        raise OptionError(f"generator must be a torch.Generator, not {type(wrong[0]).__name__}")
    if isinstance(generators, list | tuple):
        if len(generators) != count:
            raise OptionError(
                f"there are {len(generators)} generators for {count} videos; give one, or as many"
            )
        return [_start(generator, shape) for generator in generators]
    if count == 1 or generators is None or shape is None:
        return [_start(generators, shape) for _ in range(count)]
    noise = torch.randn((count, *shape), generator=generators, device=generators.device, dtype=torch.float32)
    return [(generators.initial_seed() % 2**63, part) for part in noise.cpu()]


def _start(generator: torch.Generator | None, shape: tuple[int, ...] | None) -> tuple[int, Tensor | None]:
    source = torch.default_generator if generator is None else generator
    if _fresh(source):
        seed = source.initial_seed()
        torch.randn(shape or (1,), generator=source)  # so that the next video is another
        return seed, None
    if generator is None or shape is None:
        drawn = torch.randint(2**62, (), generator=source, device=source.device, dtype=torch.int64)
        return int(drawn), None
    noise = torch.randn(shape, generator=source, device=source.device, dtype=torch.float32)
    return source.initial_seed() % 2**63, noise.cpu()


def lora_scale(attention_kwargs: dict[str, Any] | None) -> float:
    """How much of the active LoRAs a call asks for."""
    unknown = [name for name in attention_kwargs or {} if name != "scale"]
    if unknown:
        raise OptionError(f"attention_kwargs knows scale (of LoRAs), not {unknown[0]!r}")
    scale = (attention_kwargs or {}).get("scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not np.isfinite(scale):
        raise OptionError(f"the scale of attention_kwargs must be a number, not {scale!r}")
    return float(scale)
