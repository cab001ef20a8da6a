"""What may be given of images, videos and audio: pixels and samples of the right kind, and what each model takes.

It knows no canvas: sizes and lengths are `request.resolve`'s to say.
"""

import numpy as np

from wan22 import fields
from wan22.catalog import Variant
from wan22.errors import OptionError
from wan22.steps import number
from wan22.types import Audio, Clip, Driving, Request

AUDIO_RATE = 16_000
"""Samples a second of the audio that drives a video."""

MAX_RATIO = 32
"""Of the sides of an image: to cover a video's shape, a narrower one would be scaled to gigabytes."""


def _check_audio(request: Request, variant: Variant) -> None:
    """What drives a video must be there for a model that audio drives, and only for one."""
    told = [name for name in ("audio", "pose", "clips") if getattr(request, name) is not None]
    if variant.animate is not None:
        told = [name for name in told if name == "clips"]  # of the others see _check_driving
    if variant.speech is None:
        if told:
            raise OptionError(
                f"{variant.name} is not driven by audio and takes no {told[0]}; take s2v-14B or nano-s2v"
            )
        if request.from_image:
            raise OptionError(
                f"from_image is for videos driven by audio; {variant.name} always begins with its image"
            )
        return
    audio = request.audio
    if audio is None:
        raise OptionError(f"{variant.name} needs audio that drives the video")
    check_samples(audio)
    if audio.rate != AUDIO_RATE:
        raise OptionError(
            f"the audio must have {AUDIO_RATE} samples a second, not {audio.rate}; "
            "wan22.media.audio.read_audio makes it so"
        )
    if request.video is not None or request.last_image is not None:
        what = "video" if request.video is not None else "last image"
        raise OptionError(
            f"{variant.name} takes no {what}; it is told by an image, an audio file and a pose video"
        )
    if request.pose is not None:
        _check_clip(request.pose, "a pose video")


def check_samples(audio: Audio) -> None:
    """Raise OptionError if this is no audio: float32 samples of one channel, all finite; of any rate."""
    if not isinstance(audio, Audio):
        raise OptionError(f"audio must be an Audio value, not {type(audio).__name__}")
    x = audio.samples
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 1:
        found = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise OptionError(f"an audio file must have float32 samples (n,) of one channel, not {found}")
    if not len(x):
        raise OptionError("the audio is empty; give one of at least a frame of the video")
    if not np.isfinite(x).all():
        raise OptionError("the audio holds numbers that are not finite")


def _check_clip(clip: Clip, what: str) -> None:
    if not isinstance(clip, Clip):
        raise OptionError(f"{what} must be a Clip, not {type(clip).__name__}")
    _check_pixels(clip.frames, 4, what)
    if number(f"the rate of {what}", clip.fps) <= 0:
        raise OptionError(f"{what} must have more than 0 frames a second, not {clip.fps}")


def _check_driving(request: Request, variant: Variant) -> None:
    """What moves a person must be there for a model that animates, and only for one: whole, and of one length."""
    driving = request.driving
    if variant.animate is None:
        if driving is not None or request.carried is not None:
            what = "driving video" if driving is not None else "carried"
            raise OptionError(f"{variant.name} does not animate and takes no {what}; take animate-14B")
        return
    other = {
        "audio": request.audio,
        "pose": request.pose,
        "video": request.video,
        "last_image": request.last_image,
    }
    for name, value in other.items():
        if value is not None:
            raise OptionError(
                f"{variant.name} takes no {name}; it is told by an image and a driving video (Driving)"
            )
    if driving is None:
        raise OptionError(
            f"{variant.name} needs a driving video, as pose and face (`wan22 preprocess` makes them)"
        )
    if not isinstance(driving, Driving):
        raise OptionError(f"driving must be a Driving value, not {type(driving).__name__}")
    if (driving.background is None) != (driving.mask is None):
        missing = "a background" if driving.background is None else "a mask"
        raise OptionError(f"to replace a person, background and mask belong together; {missing} is missing")
    for name, clip in driving.clips.items():
        _check_clip(clip, f"the {name} video")
    lengths = {name: len(clip.frames) for name, clip in driving.clips.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise OptionError(
            f"the videos of pose, face, background and mask must be of one length; their frames: {said}"
        )
    rates = {name: clip.fps for name, clip in driving.clips.items()}
    if max(rates.values()) > 1.01 * min(rates.values()):
        said = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
        raise OptionError(f"the driving videos must have one rate; their frames a second: {said}")
    sizes = {name: clip.frames.shape[2:0:-1] for name, clip in driving.clips.items() if name != "face"}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {w}x{h}" for name, (w, h) in sizes.items())
        raise OptionError(f"the videos of pose, background and mask must be of one size; they are: {said}")


def check_inputs(request: Request, variant: Variant) -> None:
    """Raise OptionError for what is no image, video or audio, and for what the model does not take or lacks."""
    _check_audio(request, variant)
    _check_driving(request, variant)
    for name in ("color_match", "strength", "seed", "relight"):
        field = fields.BY_NAME[name]
        fields.check(name, getattr(request, field.of))
    images = [p for p in (request.image, request.last_image) if p is not None]
    for image in images:
        _check_pixels(image, 3, "an image")
    if images and variant.image is None:
        raise OptionError(f"{variant.name} takes no image; take i2v-A14B, ti2v-5B or nano")
    if request.video is not None:
        _check_pixels(request.video.frames, 4, "a video")
        if images:
            raise OptionError("give an image or a video to start from, not both")
        if variant.image_required:
            raise OptionError(
                f"{variant.name} starts from an image and takes no video; take t2v-A14B, ti2v-5B or nano"
            )
    elif variant.by_clips and not images:
        raise OptionError(f"{variant.name} needs an image of whom it shows")
    elif variant.image_required and not images:
        raise OptionError(f"{variant.name} needs an image (the first frame, the last, or both)")


def _check_pixels(pixels: np.ndarray, axes: int, what: str) -> None:
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != axes
        or pixels.shape[-1] != 3
    ):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        shape = "(H, W, 3)" if axes == 3 else "(T, H, W, 3)"
        raise OptionError(f"{what} must be a numpy array of uint8 {shape}, not {found}")
    if 0 in pixels.shape:
        raise OptionError(f"{what} of shape {pixels.shape} has no pixels")
    height, width = pixels.shape[-3:-1]
    if max(height, width) > MAX_RATIO * min(height, width):
        raise OptionError(
            f"{what} of {width}x{height} pixels is too narrow: one side may be {MAX_RATIO} times the other; crop it"
        )
