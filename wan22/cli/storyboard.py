"""`wan22 storyboard`: a script of several shots as videos, stills, and a board of what was asked and what is seen."""

from __future__ import annotations

import json as jsonlib
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.catalog import NANO
from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.generate import machine as machine_of
from wan22.errors import (
    CheckpointError,
    MediaError,
    OptionError,
    OutputError,
    RequestError,
    Wan22Error,
    out_of_memory,
)
from wan22.fields import STORYBOARD
from wan22.files import read_text
from wan22.production import shots as production
from wan22.production.events import Quiet
from wan22.production.join import check_join
from wan22.production.join import join as join_shots
from wan22.production.work import Machine, present

if TYPE_CHECKING:
    import numpy as np

    from wan22.catalog import Variant
    from wan22.engine import Engine
    from wan22.storyboard.board import Board, Card
    from wan22.storyboard.continuity import Continuity, Portrait
    from wan22.storyboard.script import Scene, Script

_HOW = ("solver", "shift", "schedule", "sigmas", "boundary", "switch_step", "guidance", "guidance_rescale")
JOINED = "video.mp4"
_BOARD = ("board.json", "board.html", "board.pdf")
_LOOKED_AT = 5  # frames of a shot for its portrait; the first, middle and last are on the board


@o.takes(STORYBOARD)
def storyboard(
    given: o.Given,
    script: Annotated[
        str,
        typer.Argument(
            help="Text with a shot in each paragraph, or YAML (.yaml). See docs/storyboard.md.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where everything goes. [default: out/SCRIPT]"),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the prompts, and make nothing.")] = False,
    retry: Annotated[
        int, typer.Option(metavar="N", min=0, max=100, help="Make a shot that fails again, up to N times.")
    ] = 0,
    from_stills: Annotated[
        bool, typer.Option("--from-stills", help="Make an image of each shot, and its video from that.")
    ] = False,
    still_model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="What makes those images. [default: the video's model]"),
    ] = None,
    join: Annotated[
        bool,
        typer.Option("--join", help="Join the shots into one video, FOLDER/video.mp4.", show_default=False),
    ] = False,
    film: Annotated[bool, typer.Option("--film", hidden=True, help="Another name of --join.")] = False,
) -> None:
    """Make the shots of a script, judge them, and put them on a board.

    The same command again makes only what is missing, has changed, or failed (--retry). Options come before what the
    script says. Prints the path of the board. Exit code 1 if a shot is not as asked or could not be made; everything
    else is there then.
    """
    from wan22.media.own_files import check_own
    from wan22.storyboard.script import read_script

    path = Path(script)
    told = _overridden(
        read_script(_text(path), path.name),
        **{name: given[name] for name in ("model", "size", "fps", "negative", "steps", "seed")},
    )
    if given["model"] is not None:
        told = replace(told, model_at="")  # it is of the command line
    elif told.model is not None and (path.parent / told.model).exists():
        told = replace(told, model=str(path.parent / told.model))  # as an image, beside the script first
    settings = present({name: given[name] for name in _HOW})
    machine = machine_of(given)
    machine = replace(machine, model=told.model or (None if machine.whole else NANO))
    if plan:
        _check_plan(told, machine, _shots(told, settings, path.parent), from_stills)
        _show_plan(told, report.answer(given["json"]))
        return
    if still_model is not None and not from_stills:
        raise OptionError("--still-model says who makes the images of --from-stills; give both")
    folder = Path(output) if output is not None else Path("out") / path.stem
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; a storyboard needs a folder: -o FOLDER")
    with report.choose(given["json"]) as show:
        shots = _shots(told, settings, path.parent)
        _row(told, machine)
        engine = machine.load({}, given["lora"])
        stills = _stills(engine, replace(machine, model=still_model, parts={}), from_stills)
        studio = production.Studio(
            engine, folder, Quiet(show), production.judged, retry, stills, given["quality"]
        )
        names = [*_BOARD, *(f"{_name(shot.scene)}{end}" for shot in shots for end in (".mp4", ".png"))]
        check_own(folder, names)
        canvases = studio.check(shots)
        if join or film:
            check_join(shots, canvases, folder / JOINED)
        studio.clear()
        board = _make(told, shots, studio, path.stem)
        if join or film:
            board = _joined(board, studio)
        _publish(board, folder)
        for card in board.cards:
            show.note(f"shot {card.number}: {card.verdict}")
        for number, why in board.not_made.items():
            show.note(f"shot {number}: could not be made: {why}")
        show.note(board.summary)
        show.made(str(folder / "board.html"), board.as_json())
    if board.failed:
        raise typer.Exit(1)


def _text(path: Path) -> str:
    from wan22.storyboard.reading import LIMIT

    return read_text(path, MediaError, limit=4 * LIMIT)


def _overridden(script: Script, **given: Any) -> Script:
    """The script with what the command line says instead."""
    changed = replace(script, **present(given))
    if given.get("seed") is not None:  # one seed for all shots, also those that have their own
        changed = replace(changed, scenes=tuple(replace(scene, seed=None) for scene in changed.scenes))
    return changed


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
        seed = script.seed if scene.seed is None else scene.seed
        entry = {"shot": scene.number, "prompt": scene.prompt, "asked": scene.spec.to_json(), "seed": seed}
        more = present({"seconds": scene.seconds, "image": scene.image})
        about = [f"seed {seed}"]
        about += [f"{scene.seconds:g} s"] if scene.seconds else []
        about += [f"from {scene.image}"] if scene.image else []
        show.result(entry | more, (f"shot {scene.number} ({', '.join(about)}): {scene.prompt}",))


def _shots(script: Script, settings: dict[str, Any], beside: Path) -> list[production.Shot]:
    """Each scene as a request. Raises MediaError, naming file, line and shot, for an image that cannot be read."""
    from wan22.types import Request

    common = present(
        {"size": script.size, "fps": script.fps, "steps": script.steps, "negative": script.negative}
    )
    shots = []
    for scene in script.scenes:
        seed = script.seed if scene.seed is None else scene.seed
        own = present({"seconds": scene.seconds, "image": _image(scene, beside)})
        request = Request(prompt=scene.prompt, seed=seed, **common, **settings, **own)
        shots.append(production.Shot(scene, request))
    return shots


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


def _make(script: Script, shots: list[production.Shot], studio: production.Studio, stem: str) -> Board:
    """Make all shots; the board is written after each, so that it shows what is there at any moment.

    A shot that cannot be made does not stop the others; if none can, the last reason is raised.
    """
    cards: list[Card] = []
    portraits: list[Portrait] = []
    not_made: dict[int, str] = {}
    board = None
    for shot in shots:
        try:
            take, takes = studio.make(shot)
        except OutputError:
            raise  # there is no room for the others either
        except Exception as error:
            if not (isinstance(error, Wan22Error) or out_of_memory(error)) or (
                shot is shots[-1] and not cards
            ):
                raise
            not_made[shot.scene.number] = " ".join(str(error).split()) or type(error).__name__
            studio.events.note(f"shot {shot.scene.number} could not be made: {not_made[shot.scene.number]}")
        else:
            card, portrait = _card(shot, take, takes, studio)
            cards.append(card)
            portraits.append(portrait)
        board = _board(script, cards, _together(portraits, cards, shots), not_made, studio, stem)
        _write_values(board, studio.folder)
    assert board is not None, "a script has shots"
    for path in sorted(studio.folder.glob("shot-*.mp4")):
        if path.name not in {card.video for card in cards}:
            studio.events.note(f"note: {path} is of an earlier script; it is left as it is")
    return board


def _board(
    script: Script,
    cards: list[Card],
    continuity: Continuity,
    not_made: dict[int, str],
    studio: production.Studio,
    stem: str,
) -> Board:
    from wan22.storyboard.board import Board

    return Board(
        title=script.title or stem.replace("-", " ").replace("_", " "),
        model=studio.engine.name,
        subject=script.subject,
        style=script.style,
        shots=len(script.scenes),
        cards=tuple(cards),
        continuity=continuity,
        not_made=dict(not_made),
    )


def _write_values(board: Board, folder: Path) -> None:
    from wan22.media.own_files import written_own

    with written_own(folder / "board.json") as part:
        part.write_text(jsonlib.dumps(board.as_json(), ensure_ascii=False, indent=1) + "\n", "utf-8")


def _joined(board: Board, studio: production.Studio) -> Board:
    """The board with its shots joined; without, and a word on why, if some could not be made."""
    if board.not_made:
        studio.events.note(f"{JOINED} is not made: shots are missing")
        return board
    join_shots([studio.folder / card.video for card in board.cards], studio.folder / JOINED, board.title)
    board = replace(board, video=JOINED)
    _write_values(board, studio.folder)
    return board


def _card(
    shot: production.Shot, take: production.Take, takes: int, studio: production.Studio
) -> tuple[Card, Portrait]:
    """Put the take in its place, and look at it."""
    import numpy as np

    from wan22.media.video import read_clip
    from wan22.storyboard.board import Card
    from wan22.storyboard.continuity import portrait

    clip = read_clip(take.video, cover=(1, production.LOOKED_ROWS))
    name = _name(shot.scene)
    _put(take.video, studio.folder / f"{name}.mp4")
    _put_still(take, read_clip(take.video, max_frames=1).frames[0], studio.folder / f"{name}.png")
    some = clip.frames[np.linspace(0, len(clip.frames) - 1, _LOOKED_AT).round().astype(int)]
    card = Card(
        number=shot.scene.number,
        prompt=shot.scene.prompt,
        asked=shot.scene.spec.to_json(),
        seed=take.seed,
        recipe=take.key,
        video=f"{name}.mp4",
        still=f"{name}.png",
        seconds=len(clip.frames) / clip.fps,
        take=take.number,
        takes=takes,
        verdicts=take.verdicts,
        frames=some[[0, _LOOKED_AT // 2, _LOOKED_AT - 1]],
        remark=production.unmeasured(clip.frames),
    )
    return card, portrait(some)


def _together(portraits: list[Portrait], cards: list[Card], shots: list[production.Shot]) -> Continuity:
    from wan22.storyboard.continuity import compare

    by_number = {shot.scene.number: shot.scene for shot in shots}
    scenes = [by_number[card.number] for card in cards]
    return compare(portraits, [scene.spec for scene in scenes], [bool(scene.subject) for scene in scenes])


def _put(source: Path, target: Path) -> None:
    """Copy a take to its shot's name, unless it is there."""
    from wan22.media.own_files import written_own

    if target.is_file() and production.digest(target) == production.digest(source):
        return
    with written_own(target) as part:
        shutil.copyfile(source, part)


def _put_still(take: production.Take, first: np.ndarray, target: Path) -> None:
    """The shot's image: what its video was made from, or else its first frame, with the video's recipe."""
    from wan22.media.image import read_image, save
    from wan22.media.own_files import written_own
    from wan22.media.recipe import read_recipe

    if take.still is not None:
        _put(take.still, target)
        return
    recipe = read_recipe(take.video)
    try:
        same = target.is_file() and (read_image(target) == first).all() and read_recipe(target) == recipe
    except MediaError:
        same = False
    if not same:
        with written_own(target) as part:
            save(part, first, "png", recipe)


def _name(scene: Scene) -> str:
    """What the files of a shot are called."""
    return f"shot-{scene.number:02d}"


def _publish(board: Board, folder: Path) -> None:
    from wan22.media.own_files import written_own
    from wan22.storyboard.board import html
    from wan22.storyboard.sheet import write_sheet

    with written_own(folder / "board.html") as part:
        part.write_text(html(board), "utf-8")
    with written_own(folder / "board.pdf") as part:
        write_sheet(board, part)
