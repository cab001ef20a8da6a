"""`wan22 preprocess`: from a driving video to what Wan2.2-Animate is driven by, and the networks that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.errors import OptionError

if TYPE_CHECKING:
    from wan22.clock import StepCounter, WorkProgress


def preprocess(
    driving: Annotated[
        str | None,
        typer.Argument(help="A video with a person in it; with --redraw, a folder.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="A new folder for the result."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="The character: the result has its shape, unless --replace."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="The character replaces the person: mask and background are made."),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Multiples of 16. [default: about 1280x720 pixels]"),
    ] = None,
    fps: Annotated[float, typer.Option(metavar="F", help="Frames a second of the result.")] = 30.0,
    seconds: Annotated[float | None, typer.Option(metavar="S", help="Take so much of the beginning.")] = None,
    person: Annotated[
        int, typer.Option(metavar="N", help="Who is followed; 0 is the largest and most central.")
    ] = 0,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Other networks, such as process_checkpoint of Wan2.2-Animate-14B."
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(metavar="VIDEO", help="The person in white on black, in place of a mask that is found."),
    ] = None,
    mask_growth: Annotated[
        int, typer.Option(metavar="N", help="Times that the mask is widened by 3 pixels.")
    ] = 3,
    mask_blocks: Annotated[
        str, typer.Option(metavar="W,H", help="Blocks that the mask's box is filled by; 1,1 fills it all.")
    ] = "1,1",
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Draw a folder again from its preprocess.json and mask.")
    ] = False,
    moved: Annotated[
        str | None,
        typer.Option("--driving", metavar="VIDEO", help="With --redraw: where the video is now."),
    ] = None,
    setup: Annotated[
        bool, typer.Option("--setup", help="Install the networks that find people (pip downloads 35 MB).")
    ] = False,
    wheel: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --setup: the wheel of MediaPipe, if it is here."),
    ] = None,
    json: o.Json = False,
) -> None:
    """Find pose, face and outline of a person in a video.

    They drive Wan2.2-Animate. The folder has src_pose.mp4, src_face.mp4 and the like, preprocess.png to look at, and
    preprocess.json, which may be edited and drawn again.
    """
    if setup:
        _alone("--setup", driving=driving, output=output, redraw=redraw)
        _install(wheel, json)
        return
    if driving is None:
        raise OptionError("name a video: wan22 preprocess DRIVING -o FOLDER")
    if redraw:
        _alone("--redraw", output=output, image=image, replace=replace, mask=mask)
        _draw_again(driving, moved, json)
        return
    if output is None:
        raise OptionError(f"say where the result goes: wan22 preprocess {driving} -o FOLDER")
    from wan22.media.image import read_image
    from wan22.preprocess import Options, check_free, prepare
    from wan22.preprocess.installed import open_networks
    from wan22.types import Notice

    columns, rows = _blocks(mask_blocks)
    asked = Options(
        person=person, seconds=seconds, mask=mask, mask_iterations=mask_growth, mask_columns=columns, mask_rows=rows
    )  # fmt: skip
    check_free(output)
    wanted = o.parse_size(size)
    character = None if image is None else read_image(image)
    networks = open_networks(models)
    with report.choose(json) as show:
        made = prepare(
            driving, character, replace, size=wanted, fps=fps, models=networks, options=asked, seen=_counted(show.log)
        )  # fmt: skip
        for text in made.notices:
            show.event(Notice(text))
        place = made.save(output)
    (height, width), count = made.pose.frames.shape[1:3], len(made.pose.frames)
    values = {"folder": str(place), "frames": count, "fps": made.pose.fps, "size": [width, height]}
    line = (
        f"{place}  {count} frames of {width}x{height} at {made.pose.fps:g} a second; look at preprocess.png"
    )
    show.result(values | {"notices": list(made.notices)}, (line,))


def _alone(option: str, **others: object) -> None:
    """Raise OptionError for what cannot be said beside an option."""
    said = [f"--{name}" if name != "driving" else "a video" for name, value in others.items() if value]
    if said:
        raise OptionError(f"{option} goes without {' and '.join(said)}")


def _install(wheel: str | None, json: bool) -> None:
    from wan22.preprocess.installed import install, landmark_networks

    place = install(wheel=wheel)
    landmark_networks(place)
    report.answer(json).result({"folder": str(place)}, (str(place),))


def _draw_again(folder: str, driving: str | None, json: bool) -> None:
    from wan22.preprocess import redraw

    with report.choose(json) as show:
        place = redraw(folder, driving, seen=_counted(show.log))
    show.result({"folder": str(place)}, (str(place),))


def _blocks(text: str) -> tuple[int, int]:
    try:
        columns, rows = (int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"--mask-blocks must be W,H such as 1,1 or 10,20; not {text!r}") from None
    return columns, rows


def _counted(log: Callable[[WorkProgress], None]) -> Callable[[str, int, int], None]:
    """Frames of each pass, as progress."""
    from wan22.clock import StepCounter as Counter

    counters: dict[str, StepCounter] = {}

    def count(what: str, done: int, of: int) -> None:
        if what not in counters:
            counters[what] = Counter(of, f"frame, {what}", log)
        counters[what].step(1)

    return count
