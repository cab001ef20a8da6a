"""What a pipeline gives back: videos in memory, and the same as Diffusers would give them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wan22.errors import OptionError
from wan22.media.audio import probe_audio, write_audio
from wan22.media.audio_track import add_audio, can_carry_audio
from wan22.media.output_paths import check_output, estimate_bytes
from wan22.media.recipe import FrameHasher
from wan22.media.writer import VideoWriter
from wan22.types import Audio, Event, Events, Finished, Frames, Reply

PathLike = str | os.PathLike[str]

OUTPUT_TYPES = ("np", "pt", "pil", "latent")


@dataclass(frozen=True)
class Video:
    """A video in memory.

    frames: uint8 (T, H, W, 3). fps: frames a second. recipe: every setting, as JSON values. audio: an Audio, or the
    path of an audio file or of a video with audio. audio_start: the second of the audio at which the video begins.
    """

    frames: np.ndarray = field(repr=False)
    fps: float
    recipe: dict[str, Any] = field(repr=False)
    audio: Audio | PathLike | None = None
    audio_start: float = 0.0

    def save(self, path: PathLike, *, quality: str = "high", codec: str | None = None) -> Path:
        """Write the video with its recipe and audio, and return the path.

        The ending selects the container: mp4, mov, webm, gif, or png for numbered images. GIF and images have no audio.
        quality: "high", "good" or "draft". codec: None is the container's first.

        Raises OutputError if the file cannot be written and MediaError if the audio cannot be read, before encoding.
        """
        height, width = self.frames.shape[1:3]
        check_output(path, bytes_needed=estimate_bytes((width, height), len(self.frames), path))
        sounding = self.audio is not None and can_carry_audio(path)
        if sounding and not isinstance(self.audio, Audio):
            probe_audio(self.audio)
        with VideoWriter(path, fps=self.fps, size=(width, height), quality=quality, codec=codec) as writer:
            writer.add(self.frames)
            writer.close(self.recipe, self._put_audio if sounding else None)
        return Path(path)

    def _put_audio(self, silent: Path, whole: Path) -> None:
        with TemporaryDirectory() as folder:
            source = self.audio
            if isinstance(source, Audio):
                write_audio(source := Path(folder) / "audio.wav", self.audio, exact=True)
            assert source is not None
            add_audio(silent, source, whole, start=self.audio_start)

    def __len__(self) -> int:
        return len(self.frames)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the video in a notebook."""
        import base64

        with TemporaryDirectory() as folder:
            data = base64.b64encode(self.save(Path(folder) / "video.mp4").read_bytes()).decode()
        return {
            "text/html": f'<video controls loop autoplay muted src="data:video/mp4;base64,{data}"></video>'
        }


class PipelineOutput:
    """The videos of one call.

    frames: all videos as Diffusers returns them; `frames[0]` is the first. videos: the same as `Video`s, with uint8
    frames, fps, recipe and audio. The output of a single video also has the attributes and methods of `Video`.
    """

    def __init__(
        self, videos: Sequence[Video], output_type: str = "np", latents: Tensor | None = None
    ) -> None:
        self.videos, self.output_type, self._latents = tuple(videos), output_type, latents

    @classmethod
    def of(
        cls,
        made: Sequence[Video] | Sequence[Tensor],
        output_type: str,
        audio: Audio | PathLike | None,
        start: float = 0.0,
    ) -> "PipelineOutput":
        """Return an output of videos with their audio from second `start` on, or of latents."""
        if output_type == "latent":
            return cls((), output_type, torch.stack(list(made)))
        return cls([replace(video, audio=audio, audio_start=start) for video in made], output_type)

    @cached_property
    def frames(self) -> Any:
        """All videos, by `output_type`: "np" float32 (B, T, H, W, 3) in [0, 1]; "pt" a tensor (B, T, 3, H, W); "pil" a
        list of lists of images; "latent" the latents (B, c, t, h, w).
        """
        if self._latents is not None:
            return self._latents
        if self.output_type == "pil":
            return [[Image.fromarray(frame) for frame in video.frames] for video in self.videos]
        # Times 255 and truncated, as Diffusers' export_to_video does, these are the same pixels again.
        floats = np.stack([video.frames for video in self.videos]).astype(np.float32) / np.float32(255)
        return torch.from_numpy(floats).permute(0, 1, 4, 2, 3) if self.output_type == "pt" else floats

    @property
    def video(self) -> Video:
        """The video of the call. Raises OptionError if there are several, or latents only."""
        if len(self.videos) == 1:
            return self.videos[0]
        if self._latents is not None:
            raise OptionError('with output_type="latent" nothing is decoded: there is no video to save')
        raise OptionError(f"there are {len(self.videos)} videos; take one, such as videos[0]")

    @property
    def fps(self) -> float:
        """Frames a second of the video."""
        return self.video.fps

    @property
    def recipe(self) -> dict[str, Any]:
        """What makes the video again."""
        return self.video.recipe

    @property
    def audio(self) -> Audio | PathLike | None:
        """The audio of the video."""
        return self.video.audio

    def save(self, path: PathLike, *, quality: str = "high", codec: str | None = None) -> Path:
        """Write the video with its recipe and audio, as `Video.save`."""
        return self.video.save(path, quality=quality, codec=codec)

    def to_tuple(self) -> tuple[Any]:
        """What `return_dict=False` gives."""
        return (self.frames,)

    def __getitem__(self, key: int | str) -> Any:
        return self.frames if key == "frames" else self.to_tuple()[key]

    def __repr__(self) -> str:
        return f"PipelineOutput({len(self.videos)} videos, output_type={self.output_type!r})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the videos in a notebook."""
        shown = [video._repr_mimebundle_(include, exclude)["text/html"] for video in self.videos]
        return {"text/html": "\n".join(shown) or repr(self)}


def collect(events: Events, on_event: Callable[[Event], Reply | None] | None = None) -> Video:
    """Run an engine's events to the end and return the video; `on_event` sees each of them, and may answer a
    Progress.
    """
    parts: list[np.ndarray] = []
    hasher = FrameHasher()
    reply = None
    while True:
        try:
            event = events.send(reply)
        except StopIteration:
            raise RuntimeError("the engine ended without finishing a video") from None
        reply = None if on_event is None else on_event(event)
        if isinstance(event, Frames):
            parts.append(event.frames)
            hasher.update(event.frames)
        if isinstance(event, Finished):
            recipe = {**event.recipe, "frames_sha256": hasher.hexdigest()}
            return Video(np.concatenate(parts), event.fps, recipe)
