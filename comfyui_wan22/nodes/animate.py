"""Wan22 Animate: a person of an image moves as one of a video does, or takes that one's place."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from wan22.errors import OptionError

from .. import host
from .. import values as of_comfy
from ..definition import Input, Node, Output, Result
from ..options import FRAMES, MODEL, NEGATIVE, PREVIEW, PROMPT, SAMPLING, SIZE, asked
from ..running import Model, Run
from .decode import frames_of

if TYPE_CHECKING:
    import numpy as np

    from wan22.types import Clip, Driving

_GRID = 16
"""Sides of driving videos are multiples of it."""
_DRAWN = ("pose", "face", "background", "mask")


def animate(
    run: Run,
    model: Model,
    prompt: str,
    image: Any,
    fps: float,
    replace: bool,
    carried: int,
    relight: float,
    preview: bool,
    video: Any = None,
    audio: dict[str, Any] | None = None,
    **values: Any,
) -> Result:
    """Make the video. `video` is preprocessed here; or pose and face (to replace: background and mask, too) are given
    as drawn elsewhere. Raises RequestError before any work.
    """
    from wan22.types import Request

    engine = model.engine()
    if getattr(engine.variant, "animate", None) is None:
        raise OptionError(f"{engine.name} is not driven by a video; load animate-14B")
    drawn = {name: values.pop(name) for name in _DRAWN if values.get(name) is not None}
    who = of_comfy.image(image, "image")
    given = asked(values, engine.variant)
    if video is None:
        driving = _given(drawn, fps, replace)
    else:
        _check_alone(drawn)
        driving, notices = _prepared(of_comfy.clip(video), who, replace, fps, given)
        for notice in notices:
            run.note(notice)
    request = Request(
        prompt=prompt, image=who, driving=driving, carried=carried or None, relight=relight, **given
    )
    canvas = engine.check(request)
    with closing(run.follow(engine, engine.generate(request), preview=preview)) as events:
        pixels = frames_of(events)
    under = None if audio is None else of_comfy.audio_until(audio, len(pixels) / canvas.fps)
    images, made = of_comfy.video(pixels, canvas.fps, under)
    return Result((images, made, canvas.fps), "\n".join(run.notes))


def _given(drawn: dict[str, Any], fps: float, replace: bool) -> Driving:
    """What drives the video, from IMAGEs and a MASK. Raises OptionError for a part that is missing or too much."""
    from wan22.types import Driving

    needed = _DRAWN if replace else _DRAWN[:2]
    if missing := [name for name in needed if name not in drawn]:
        raise OptionError(
            f"{' and '.join(missing)} missing: give video, which is preprocessed here, or {', '.join(needed)} as they "
            "were drawn"
        )
    if spare := [name for name in drawn if name not in needed]:
        raise OptionError(
            f"{' and '.join(spare)} are for replace, which is off: switch it on, or take them away"
        )
    return Driving(**{name: _clip(name, value, fps) for name, value in drawn.items()})


def _clip(name: str, value: Any, fps: float) -> Clip:
    from wan22.types import Clip

    return Clip(of_comfy.masks(value) if name == "mask" else of_comfy.frames(value), fps)


def _check_alone(drawn: dict[str, Any]) -> None:
    if drawn:
        raise OptionError(f"give video, or {', '.join(drawn)} as they were drawn, not both")


def _prepared(
    video: Clip, who: np.ndarray, replace: bool, fps: float, given: dict[str, Any]
) -> tuple[Driving, tuple[str, ...]]:
    """What drives the video, found in a video by the preprocessing of the library, and what to note of it."""
    from wan22.preprocess import Options, prepare
    from wan22.types import Driving

    size = given.get("size")
    made = prepare(
        video,
        who,
        replace,
        size=size if size is not None and not any(side % _GRID for side in size) else None,
        fps=fps,
        options=Options(seconds=given["frames"] / fps if "frames" in given else None),
        seen=_seen,
    )
    parts = {name: getattr(made, name) for name in _DRAWN}
    return Driving(**{name: clip for name, clip in parts.items() if clip is not None}), made.notices


def _seen(what: str, done: int, of: int) -> None:
    del what, done, of
    host.check_interrupted()


def _frames(name: str, help: str, kind: Any = "IMAGE") -> Input:
    return Input(id=name, kind=kind, help=help, optional=True)


ANIMATE = Node(
    id="Wan22Animate",
    name="Wan22 Animate",
    help="Makes the character of an image move as the person of a video does, or puts it in that person's place "
    "(replace), clip by clip.",
    inputs=(
        MODEL,
        PROMPT,
        Input(id="image", kind="IMAGE", help="The character."),
        NEGATIVE,
        *SIZE,
        FRAMES,
        Input(
            id="fps",
            kind="FLOAT",
            help="Frames a second of the result, and of pose, face, background and mask; video is brought to it.",
            default=30.0,
            low=1.0,
            high=240.0,
            step=0.01,
        ),
        Input(
            id="replace",
            kind="BOOLEAN",
            help="Keep the video's background, and put the character in the person's place.",
            default=False,
        ),
        Input(
            id="carried",
            kind="INT",
            help="Frames of a clip that the next one begins with, 1 or 5. 0: the model's own.",
            default=0,
            low=0,
            high=5,
            step=1,
            own=0,
            advanced=True,
        ),
        *SAMPLING,
        PREVIEW,
        Input(
            id="relight",
            kind="FLOAT",
            help="With replace: the strength of the model's adapter that fits the character to the light there.",
            default=1.0,
            low=0.0,
            high=2.0,
            step=0.05,
            advanced=True,
        ),
        _frames("video", "The driving video; pose, face and mask are found in it.", "VIDEO"),
        _frames("pose", "In place of video: the drawn skeleton of each frame."),
        _frames("face", "In place of video: the cut-out face of each frame."),
        _frames("background", "To replace: each frame of the video, its person left out."),
        _frames("mask", "To replace: where the person is, 1.", "MASK"),
        _frames("audio", "Put under the video.", "AUDIO"),
    ),
    outputs=(
        Output(id="images", kind="IMAGE", help="The frames."),
        Output(id="video", kind="VIDEO", help="The same with the rate, for SaveVideo."),
        Output(id="fps", kind="FLOAT", help="Frames a second."),
    ),
    run=animate,
)
