"""Wan22 Speech to Video: a video that audio drives, clip by clip."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from wan22.errors import OptionError

from .. import values as of_comfy
from ..definition import Input, Node, Output, Result
from ..options import MODEL, NEGATIVE, PREVIEW, PROMPT, SAMPLING, SECONDS, SIZE, asked, integer
from ..running import Model, Run
from .decode import frames_of


def speech(
    run: Run,
    model: Model,
    prompt: str,
    image: Any,
    audio: dict[str, Any],
    preview: bool,
    pose: Any = None,
    **values: Any,
) -> Result:
    """Make the video of an AUDIO, as long as it or as asked. Raises RequestError before any work."""
    from wan22.inputs import AUDIO_RATE
    from wan22.types import Request

    engine = model.engine()
    if engine.variant.speech is None:
        raise OptionError(f"{engine.name} is not driven by audio; load s2v-14B or nano-s2v")
    request = Request(
        prompt=prompt,
        image=of_comfy.image(image, "image"),
        audio=of_comfy.audio(audio, AUDIO_RATE),
        pose=None if pose is None else of_comfy.clip(pose),
        clips=values["clips"] or None,
        from_image=values["from_image"],
        **asked(values, engine.variant),
    )
    canvas = engine.check(request)
    with closing(run.follow(engine, engine.generate(request), preview=preview)) as events:
        pixels = frames_of(events)
    under = of_comfy.audio_until(audio, len(pixels) / canvas.fps)
    images, video = of_comfy.video(pixels, canvas.fps, under)
    return Result((images, under, video, canvas.fps), "\n".join(run.notes))


SPEECH = Node(
    id="Wan22Speech",
    name="Wan22 Speech to Video",
    help="Makes a video of the person of an image, driven by audio and, if given, by a video of body poses. All frames "
    "are kept in memory; Wan22 Long Video writes them to a file instead.",
    inputs=(
        MODEL,
        PROMPT,
        Input(id="image", kind="IMAGE", help="Whom the video shows."),
        Input(id="audio", kind="AUDIO", help="What drives it; its channels are mixed."),
        NEGATIVE,
        *SIZE,
        SECONDS,
        integer("clips", own=0),
        Input(id="from_image", kind="BOOLEAN", help="The video begins with the image itself.", default=False),
        *SAMPLING,
        PREVIEW,
        Input(id="pose", kind="VIDEO", help="A video of the body's pose.", optional=True),
    ),
    outputs=(
        Output(id="images", kind="IMAGE", help="The frames."),
        Output(id="audio", kind="AUDIO", help="The audio, as long as the video."),
        Output(id="video", kind="VIDEO", help="Both with the rate, for SaveVideo."),
        Output(id="fps", kind="FLOAT", help="Frames a second."),
    ),
    run=speech,
)
