"""The familiar face: a pipeline object that is called with a prompt, with the names that Diffusers made common.

It adds nothing to the engine: it turns names into a Request, collects the events, and returns a Video.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from wan22.engine import Engine, load
from wan22.errors import OptionError
from wan22.media.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, probe_sound, read_sound, resample, write_sound
from wan22.media.image import read_image
from wan22.media.output_paths import check_output, estimate_bytes
from wan22.media.recipe import FrameHasher
from wan22.media.soundtrack import add_sound, can_carry_sound
from wan22.media.video import read_clip
from wan22.media.writer import VideoWriter
from wan22.request import HEARD_RATE, check_samples
from wan22.types import Clip, Event, Finished, Frames, Progress, Request, Sound
from wan22.weights.lora import LoRA

PathLike = str | os.PathLike[str]
OnStep = Callable[["Wan22Pipeline", int, float, dict[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True)
class Video:
    """A film in memory: `frames` uint8 (T, H, W, 3), shown at `fps`, the recipe that makes it again, and its sound: a
    Sound, or the path of a sound or a film that has one.
    """

    frames: np.ndarray = field(repr=False)
    fps: float
    recipe: dict[str, Any] = field(repr=False)
    sound: Sound | PathLike | None = None

    def save(self, path: PathLike, *, quality: str = "high", codec: str | None = None) -> Path:
        """Write the film with its recipe and sound; the ending chooses the container (mp4, mov, webm, gif, png...).

        A GIF and pictures have no sound. Raises OutputError if the place cannot be written, and MediaError if the sound
        cannot be read, before anything is encoded.
        """
        height, width = self.frames.shape[1:3]
        check_output(path, bytes_needed=estimate_bytes((width, height), len(self.frames), path))
        sounding = self.sound is not None and can_carry_sound(path)
        if sounding and not isinstance(self.sound, Sound):
            probe_sound(self.sound)
        with VideoWriter(path, fps=self.fps, size=(width, height), quality=quality, codec=codec) as writer:
            writer.add(self.frames)
            writer.close(self.recipe)
        if sounding:
            with TemporaryDirectory() as folder:
                source = self.sound
                if isinstance(source, Sound):
                    write_sound(source := Path(folder) / "sound.wav", self.sound, exact=True)
                add_sound(path, source, path)
        return Path(path)

    def __len__(self) -> int:
        return len(self.frames)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the film in a notebook."""
        import base64

        with TemporaryDirectory() as folder:
            data = base64.b64encode(self.save(Path(folder) / "video.mp4").read_bytes()).decode()
        return {
            "text/html": f'<video controls loop autoplay muted src="data:video/mp4;base64,{data}"></video>'
        }


def collect(events: Iterator[Event], on_event: Callable[[Event], None] | None = None) -> Video:
    """Run an engine's events to the end and return the film; `on_event` sees each of them."""
    parts: list[np.ndarray] = []
    hasher = FrameHasher()
    for event in events:
        if on_event is not None:
            on_event(event)
        if isinstance(event, Frames):
            parts.append(event.frames)
            hasher.update(event.frames)
        if isinstance(event, Finished):
            recipe = {**event.recipe, "frames_sha256": hasher.hexdigest()}
            return Video(np.concatenate(parts), event.fps, recipe)
    raise RuntimeError("the engine ended without finishing a film")


class Wan22Pipeline:
    """Text, picture or clip to video, by one call."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._loras: list[LoRA] = []

    @classmethod
    def from_pretrained(
        cls,
        model: PathLike = "wan22-nano",
        *,
        torch_dtype: Any = "auto",
        device: Any = "auto",
        memory: str = "auto",
    ) -> "Wan22Pipeline":
        """Open a model by catalogue name, hub id in the local cache, or folder (official, Diffusers or ComfyUI).

        torch_dtype: a torch dtype or its name. Raises OptionError, DeviceError or CheckpointError.
        """
        return cls(load(model, device=str(device), dtype=torch_dtype, memory=memory))

    def load_lora(self, path: PathLike, strength: float = 1.0, expert: str | None = None) -> None:
        """Add a LoRA to those in use: a file, or a folder with a file for each expert; any common dialect.

        strength: how much of it; 1 is as trained. expert: "high" or "low"; if left out, the one that the file says,
        else both. It is merged when the experts are next read, which happens once. Raises OptionError or
        CheckpointError, and changes nothing, if it does not fit the model.
        """
        loras = [*self._loras, LoRA(path, strength, expert)]
        self.engine.use_loras(loras)
        self._loras = loras

    def unload_loras(self) -> None:
        """Take every LoRA away."""
        self.engine.use_loras([])
        self._loras = []

    def __call__(
        self,
        prompt: str,
        negative_prompt: str | None = None,
        *,
        image: Any = None,
        last_image: Any = None,
        video: Any = None,
        strength: float = 0.7,
        audio: Any = None,
        pose_video: Any = None,
        num_clips: int | None = None,
        init_first_frame: bool = False,
        hold_colour: float = 0.0,
        fast: bool = False,
        height: int | None = None,
        width: int | None = None,
        resolution: tuple[int, int] | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_scale_2: float | None = None,
        guidance_rescale: float | None = None,
        shift: float | None = None,
        solver: str | None = None,
        generator: Any = None,
        seed: int | None = None,
        callback_on_step_end: OnStep | None = None,
    ) -> Video:
        """Make a film. What is left out is the model's own default.

        resolution: (width, height), in place of `width` and `height`.
        image, last_image: a path, a PIL image, or uint8 (H, W, 3). video: a path, a Clip, or uint8 (T, H, W, 3).
        audio: what drives the film (speech to video): a path, a Sound, or (samples, rate) with float samples (n,) or
        (n, channels); pose_video: a film of the body's pose; num_clips: at most so many clips; init_first_frame: begin
        with the image itself. hold_colour: 0..1, keep a long film's colours to those of its first clip.
        fast: the few steps, without guidance, of the adapters that the model ships, if it ships some.
        guidance_scale: for the high-noise expert; guidance_scale_2 for the low-noise one, the same if left out (as
        in Diffusers). guidance_rescale: 0..1, the share of the contrast that guidance adds which is taken back.
        generator: a torch.Generator whose initial seed is taken; or give `seed`.
        callback_on_step_end: called as (pipeline, step, timestep, {"latents": x, "x0": x0}) after every step; it
        looks on, and may return the same latents but no others. To stop, raise.
        Raises a Wan22Error for what cannot be served, before any expensive work.
        """
        request = Request(
            prompt=prompt,
            negative=negative_prompt,
            image=_picture(image),
            last_image=_picture(last_image),
            video=_clip(video, fps),
            strength=strength,
            sound=_heard(audio),
            pose=_clip(pose_video, fps),
            clips=num_clips,
            from_image=init_first_frame,
            hold_colour=hold_colour,
            fast=fast,
            size=_size(height, width, resolution),
            frames=num_frames,
            fps=fps,
            steps=num_inference_steps,
            solver=solver,
            shift=shift,
            guidance=_guidance(guidance_scale, guidance_scale_2),
            guidance_rescale=guidance_rescale,
            seed=_seed(generator, seed),
        )

        def on_event(event: Event) -> None:
            if callback_on_step_end is not None and isinstance(event, Progress):
                given = {"latents": event.x, "x0": event.x0}
                back = callback_on_step_end(self, event.index - 1, event.sigma * 1000, dict(given))
                changed = [name for name, value in (back or {}).items() if value is not given.get(name)]
                if changed:
                    raise OptionError(
                        f"callback_on_step_end returned another {changed[0]!r}; it cannot change it"
                    )

        made = collect(self.engine.generate(request), on_event)
        return made if audio is None else replace(made, sound=_original(audio))


def _size(
    height: int | None, width: int | None, resolution: tuple[int, int] | None
) -> tuple[int, int] | None:
    if resolution is not None:
        if height is not None or width is not None:
            raise OptionError("give resolution=(width, height), or height and width, not both")
        if not isinstance(resolution, tuple | list) or len(resolution) != 2:
            raise OptionError(f"resolution must be (width, height), not {resolution!r}")
        return resolution[0], resolution[1]
    if (height is None) != (width is None):
        raise OptionError("give both height and width, or neither")
    return None if height is None or width is None else (width, height)


def _guidance(high: float | None, low: float | None) -> float | tuple[float, float] | None:
    if high is None:
        if low is not None:
            raise OptionError("guidance_scale_2 needs guidance_scale")
        return None
    return high if low is None else (low, high)


def _original(audio: Any) -> Sound | PathLike:
    """A sound at its own rate, to be put under a film."""
    if isinstance(audio, Sound | str | os.PathLike):
        return audio
    if isinstance(audio, tuple) and len(audio) == 2 and isinstance(audio[0], np.ndarray):
        return _mixed(*audio)
    found = type(audio).__name__
    if isinstance(audio, tuple):
        found = f"({', '.join(type(part).__name__ for part in audio)})"
    raise OptionError(
        f"audio must be a path, a Sound or (samples, rate), not {found}; samples are a numpy array"
    )


def _mixed(samples: np.ndarray, rate: Any) -> Sound:
    """Float samples (n,) or (n, channels) as one channel, the mean of all."""
    channels = samples.shape[1] if samples.ndim == 2 else samples.ndim
    if not np.issubdtype(samples.dtype, np.floating) or not 1 <= channels <= MAX_CHANNELS or samples.ndim > 2:
        raise OptionError(
            f"audio must be (samples, rate) with float samples (n,) or (n, channels), at most {MAX_CHANNELS} of them, "
            f"not {samples.dtype} {samples.shape}"
        )
    if not isinstance(rate, Real) or not float(rate).is_integer():
        raise OptionError(f"the rate of audio must be a whole number of samples a second, not {rate!r}")
    return Sound(samples.reshape(-1, channels).mean(axis=1, dtype=np.float32), int(rate))


def _heard(audio: Any) -> Sound | None:
    if audio is None:
        return None
    original = _original(audio)
    if not isinstance(original, Sound):
        return read_sound(original)
    check_samples(original)
    if not MIN_RATE <= original.rate <= MAX_RATE:
        raise OptionError(
            f"a sound cannot have {original.rate} samples a second; {MIN_RATE} to {MAX_RATE} work"
        )
    return resample(original, HEARD_RATE)


def _seed(generator: Any, seed: int | None) -> int:
    if generator is not None and seed is not None:
        raise OptionError("give a generator or a seed, not both")
    if generator is not None:
        if not isinstance(generator, torch.Generator):
            raise OptionError(f"generator must be a torch.Generator, not {type(generator).__name__}")
        return generator.initial_seed() % 2**63
    return 0 if seed is None else seed


def _picture(image: Any) -> np.ndarray | None:
    if image is None or isinstance(image, np.ndarray):
        return image
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if hasattr(image, "convert"):  # a PIL image
        return np.asarray(image.convert("RGB"))
    raise OptionError(f"an image must be a path, a PIL image or a uint8 array, not {type(image).__name__}")


def _clip(video: Any, fps: float | None) -> Clip | None:
    if video is None or isinstance(video, Clip):
        return video
    if isinstance(video, Video):
        return Clip(video.frames, video.fps)
    if isinstance(video, str | os.PathLike):
        return read_clip(video, fps=fps)
    if isinstance(video, np.ndarray):
        if fps is None:
            raise OptionError("a video given as an array needs fps, the frames a second at which it plays")
        return Clip(video, fps)
    raise OptionError(f"a video must be a path, a Video, a Clip or a uint8 array, not {type(video).__name__}")
