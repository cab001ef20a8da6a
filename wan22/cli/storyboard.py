"""`wan22 storyboard`: a script of several shots as videos, stills, and a board of what was asked and what is seen."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22.catalog import ALIASES, NANO, rows
from wan22.cli import options as o
from wan22.cli import remote, report
from wan22.errors import (
    CheckpointError,
    MediaError,
    OptionError,
    OutputError,
    RequestError,
)
from wan22.fields import STORYBOARD
from wan22.files import read_text
from wan22.production import shots as production
from wan22.production.boards import make_board
from wan22.production.events import Quiet
from wan22.production.options import machine as machine_of
from wan22.production.options import marking as marking_of
from wan22.production.publish import Target
from wan22.production.scripts import asked_of, overridden, seed_of
from wan22.production.work import Machine, present

if TYPE_CHECKING:
    import numpy as np

    from wan22.catalog import Variant
    from wan22.engine import Engine
    from wan22.storyboard.board import Board
    from wan22.storyboard.script import Scene, Script


ScriptArgument = Annotated[
    str,
    typer.Argument(
        help="Text with a shot in each paragraph, or YAML (.yaml). See docs/storyboard.md.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Where everything goes. [default: out/SCRIPT]"),
]
PlanOption = Annotated[bool, typer.Option("--plan", help="Print the prompts, and make nothing.")]
RetryOption = Annotated[
    int, typer.Option(metavar="N", min=0, max=100, help="Make a shot that fails again, up to N times.")
]
FromStillsOption = Annotated[
    bool, typer.Option("--from-stills", help="Make an image of each shot, and its video from that.")
]
StillModelOption = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="What makes those images. [default: the video's model]"),
]
JoinOption = Annotated[
    bool,
    typer.Option("--join", help="Join the shots into one video, FOLDER/video.mp4.", show_default=False),
]
OldJoinOption = Annotated[bool, typer.Option("--film", hidden=True, help="Another name of --join.")]


@o.takes(STORYBOARD)
def storyboard(
    given: o.Given,
    script: ScriptArgument,
    output: OutputOption = None,
    plan: PlanOption = False,
    retry: RetryOption = 0,
    from_stills: FromStillsOption = False,
    still_model: StillModelOption = None,
    join: JoinOption = False,
    film: OldJoinOption = False,
) -> None:
    """Make the shots of a script, judge them, and put them on a board.

    The same command again makes only what is missing, has changed, or failed (--retry). Options come before what the
    script says. Prints the path of the board. Exit code 1 if a shot is not as asked or could not be made; everything
    else is there then.
    """
    path = Path(script)
    if remote.is_remote(given):
        if plan or from_stills or still_model is not None:
            raise OptionError(
                "--plan, --from-stills and --still-model are for work that is done here; leave out --server"
            )
        _make_remote(path, given, _folder(output, path.stem), retry, joined=join or film)
        return
    told = _told(path, given)
    machine = machine_of(given)
    machine = replace(machine, model=told.model or (None if machine.whole else NANO))
    if plan:
        _check_plan(told, machine, _shots(told, given, path.parent), from_stills)
        _show_plan(told, report.answer(given["json"]))
        return
    if still_model is not None and not from_stills:
        raise OptionError("--still-model says who makes the images of --from-stills; give both")
    if still_model is not None and (given["gpus"] or 1) > 1:
        raise OptionError("--still-model is a second model, and several devices keep one; leave out --gpus")
    folder = _folder(output, path.stem)
    marks = Target(str(folder), given["quality"], marking=marking_of(given), label=given["label"] or None)
    with report.choose(given["json"]) as show:
        marks.check_marks(show)
        shots = _shots(told, given, path.parent)
        _row(told, machine)
        engine = machine.load({}, given["lora"])
        stills = _stills(engine, replace(machine, model=still_model, parts={}), from_stills)
        events = Quiet(show)
        studio = production.Studio(
            engine,
            folder,
            events,
            production.judged,
            retry,
            stills,
            marks.quality,
            marks.marking,
            marks.label,
        )
        board = make_board(told, shots, studio, stem=path.stem, joined=join or film)
        _show(board, folder, show)
    if board.failed:
        raise typer.Exit(1)


def _show(board: Board, folder: Path, show: report.Report) -> None:
    for line in board.lines():
        show.note(line)
    show.made(str(folder / "board.html"), board.as_json())


def _make_remote(path: Path, given: o.Given, folder: Path, retry: int, *, joined: bool) -> None:
    """Let a server make the videos, and the board of them here."""
    from wan22.cli.remote_board import RemoteStudio, board_request
    from wan22.storyboard.script import read_script

    text = _text(path)
    told = overridden(read_script(text, path.name), given)
    shots = _shots(told, given, path.parent)
    client = remote.open_client(given["server"], given["token_file"])
    with report.choose(given["json"]) as show:
        request = board_request(client, given, told, text, path, show)
        model = told.model or str(client.capabilities()["models"][0]["name"])
        row = rows().get(ALIASES.get(model, model))
        marking = marking_of(given)
        Target(str(folder), marking=marking).check_marks(show)
        studio = RemoteStudio(client, folder, Quiet(show), show, request, model, row, retry, marking=marking)
        if given["detach"]:
            id = studio.begin()
            show.result({"id": id, "server": client.url}, [id])
            return
        show.note(f"{studio.begin()} on {client.url}")
        board = make_board(told, shots, studio, stem=path.stem, joined=joined)
        _show(board, folder, show)
    if board.failed:
        raise typer.Exit(1)


def _told(path: Path, given: o.Given) -> Script:
    """The script with what the command line says instead; its model lies beside it first, as its images do."""
    from wan22.storyboard.script import read_script

    told = overridden(read_script(_text(path), path.name), given)
    if given["model"] is not None:
        return replace(told, model_at="")  # it is of the command line
    if told.model is not None and (path.parent / told.model).exists():
        return replace(told, model=str(path.parent / told.model))
    return told


def _folder(output: str | None, stem: str) -> Path:
    folder = Path(output) if output is not None else Path("out") / stem
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; a storyboard needs a folder: -o FOLDER")
    return folder


def _text(path: Path) -> str:
    from wan22.storyboard.reading import LIMIT

    return read_text(path, MediaError, limit=4 * LIMIT)


def _row(script: Script, machine: Machine, *, absent: bool = False) -> Variant:
    """The row of the model that makes the video, before it is loaded. Raises, naming file and line, for one that is not
    known, or not here, unless it may be `absent`.
    """
    from wan22.catalog import released
    from wan22.library import open_model

    name = machine.model
    try:
        try:
            return open_model(name, machine.parts).variant
        except CheckpointError:
            if not absent or name is None or machine.parts or Path(name).expanduser().exists():
                raise
            with suppress(OptionError):
                return released(name)
            raise
    except (OptionError, CheckpointError) as error:
        raise type(error)(f"{script.model_at}: model: {error}" if script.model_at else str(error)) from None


def _check_plan(script: Script, machine: Machine, shots: list[production.Shot], from_stills: bool) -> None:
    """Raise a Wan22Error, naming file, line and shot, for what cannot be made; the model need not be here."""
    from wan22.request import resolve

    row = _row(script, machine, absent=True)
    for shot in shots:
        if from_stills and shot.scene.image is None:
            continue  # another model may make its image, without which it may not be
        try:
            resolve(shot.request, row)
        except RequestError as error:
            raise type(error)(f"{shot.scene.where}: {error}") from None


def _show_plan(script: Script, show: report.Report) -> None:
    for scene in script.scenes:
        seed = seed_of(script, scene)
        entry = {"shot": scene.number, "prompt": scene.prompt, "asked": scene.spec.to_json(), "seed": seed}
        more = present({"seconds": scene.seconds, "image": scene.image})
        about = [f"seed {seed}"]
        about += [f"{scene.seconds:g} s"] if scene.seconds else []
        about += [f"from {scene.image}"] if scene.image else []
        show.result(entry | more, (f"shot {scene.number} ({', '.join(about)}): {scene.prompt}",))


def _shots(script: Script, given: o.Given, beside: Path) -> list[production.Shot]:
    """Each scene as a request. Raises MediaError, naming file, line and shot, for an image that cannot be read."""
    from wan22.types import Request

    return [
        production.Shot(
            scene, Request(**asked_of(script, scene, given), **present({"image": _image(scene, beside)}))
        )
        for scene in script.scenes
    ]


def _image(scene: Scene, beside: Path) -> np.ndarray | None:
    """A scene's image, found beside the script or here."""
    from wan22.media.image import read_image

    if scene.image is None:
        return None
    places = [place for place in (beside / scene.image, Path(scene.image)) if place.is_file()]
    try:
        return read_image(places[0] if places else scene.image)
    except MediaError as error:
        raise MediaError(f"{scene.where}: image: {error}") from None


def _stills(engine: Engine, machine: Machine, wanted: bool) -> Engine | None:
    """What makes the images of --from-stills. Raises OptionError for a model that takes none."""
    if not wanted:
        return None
    if engine.variant.image not in ("channels", "known"):
        raise OptionError(
            f"{engine.name} takes no image, so its videos cannot begin with stills: leave --from-stills out"
        )
    return engine if machine.model is None else machine.load({})
