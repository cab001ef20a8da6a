"""Wan22 Long Video: a video of several clips, written to a file as it grows, so that memory does not grow with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import OptionError
from wan22.fields import CHOICES

from .. import host
from .. import values as of_comfy
from ..definition import Input, Node, Output, Result
from ..options import FPS, FRAMES, MODEL, NEGATIVE, PREVIEW, PROMPT, SAMPLING, SECONDS, SIZE, asked, decimal
from ..running import Model, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wan22.engine import Engine
    from wan22.production.audio import AudioTrack
    from wan22.types import ClipDone, Event, Journal, Request


class Followed:
    """An engine whose events pass through a run: what `publish_long` makes its video with."""

    def __init__(self, engine: Engine, run: Run, *, preview: bool) -> None:
        self._engine, self._run, self._preview = engine, run, preview
        self.recipe = engine.recipe

    def generate(
        self, request: Request, done: ClipDone | None = None, journal: Journal | None = None
    ) -> Iterator[Event]:
        """As `Engine.generate`."""
        made = self._engine.generate(request, done, journal)
        return self._run.follow(self._engine, made, preview=self._preview)


class Sink:
    """Takes what a production says; the events themselves a run follows."""

    def __init__(self, run: Run) -> None:
        self._run, self.path = run, ""

    def event(self, event: Event) -> None:
        pass

    def note(self, text: str) -> None:
        self._run.note(text)

    def compared(self, source: str, differences: list[str] | None) -> None:
        pass

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        self.path = path


def long_video(
    run: Run,
    model: Model,
    prompt: str,
    quality: str,
    preview: bool,
    image: Any = None,
    audio: dict[str, Any] | None = None,
    **values: Any,
) -> Result:
    """Make the video in ComfyUI's folder of temporary files, going on where it was interrupted. Raises RequestError
    before any work, OutputError and DecodeError.
    """
    from wan22.inputs import AUDIO_RATE
    from wan22.production.long_video import LongWork, publish_long
    from wan22.production.publish import Target, publish
    from wan22.types import Request

    engine = model.engine()
    if engine.variant.speech is not None and audio is None:
        raise OptionError(f"{engine.name} is driven by audio: give some, or load a model of text or images")
    request = Request(
        prompt=prompt,
        image=None if image is None else of_comfy.image(image, "image"),
        audio=None if audio is None else of_comfy.audio(audio, AUDIO_RATE),
        color_match=values["color_match"],
        **asked(values, engine.variant),
    )
    canvas = engine.check(request)
    recipe = engine.recipe(request)
    folder = host.temporary_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = Target(str(folder / f"{_name(recipe, quality)}.mp4"), quality=quality)
    sink, followed = Sink(run), Followed(engine, run, preview=preview)
    if canvas.clips > 1 or audio is not None:
        track = None if audio is None else _track(audio, Path(target.path).with_suffix(".wav"))
        recipe = publish_long(followed, request, LongWork(target, canvas, track), sink)
    else:
        recipe = publish(followed.generate(request), target, sink, size=canvas.out, fps=canvas.fps)
    video = host.video_file(sink.path)
    return Result(
        (video, _last_frame(sink.path), json.dumps(recipe, ensure_ascii=False), canvas.fps),
        "\n".join(run.notes),
    )


def _name(recipe: dict[str, Any], quality: str) -> str:
    """The same for the same video, so that it goes on after an interruption."""
    from wan22.production.journal import identity

    said = json.dumps([identity(recipe), quality], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _track(audio: dict[str, Any], path: Path) -> AudioTrack:
    """An AUDIO as a file, to be put under the video."""
    from wan22.media.audio import write_audio
    from wan22.production.audio import AudioTrack

    write_audio(path, of_comfy.audio(audio, int(audio["sample_rate"])), exact=True)
    return AudioTrack(str(path))


def _last_frame(path: str) -> Any:
    """The last frame of a video as an IMAGE, with which another may begin."""
    from wan22.media.video import stream_clip

    last = None
    for piece in stream_clip(path, 16):
        last = piece[-1:]
    return of_comfy.images(last)


LONG_VIDEO = Node(
    id="Wan22LongVideo",
    name="Wan22 Long Video",
    help="Makes a video of any length, clip by clip, into a file. A prompt of several texts (@0s ... @5s ...) changes "
    "on the way. After an interruption the same inputs go on with it, until ComfyUI starts anew.",
    inputs=(
        MODEL,
        PROMPT,
        NEGATIVE,
        *SIZE,
        SECONDS,
        FRAMES,
        FPS,
        decimal("color_match", default=0.0),
        Input(
            id="quality",
            kind="COMBO",
            help="Of the file.",
            default="high",
            options=CHOICES["quality"],
            advanced=True,
        ),
        *SAMPLING,
        PREVIEW,
        Input(
            id="image",
            kind="IMAGE",
            help="The first frame; of speech to video, whom it shows.",
            optional=True,
        ),
        Input(id="audio", kind="AUDIO", help="What drives a video of a model of speech.", optional=True),
    ),
    outputs=(
        Output(id="video", kind="VIDEO", help="The file, for SaveVideo; it is not read into memory."),
        Output(id="last_image", kind="IMAGE", help="Its last frame."),
        Output(id="recipe", kind="STRING", help="Every setting as JSON."),
        Output(id="fps", kind="FLOAT", help="Frames a second."),
    ),
    run=long_video,
)
