"""A storyboard as it is made: every shot in its place, and the board of what was asked and what is seen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wan22.errors import MediaError, OutputError, ServerError, Wan22Error, out_of_memory
from wan22.production.join import check_join, join
from wan22.production.shots import LOOKED_ROWS, Maker, Shot, Take, digest, unmeasured

if TYPE_CHECKING:
    import numpy as np

    from wan22.storyboard.board import Board, Card
    from wan22.storyboard.continuity import Continuity, Portrait
    from wan22.storyboard.script import Scene, Script

JOINED = "video.mp4"
_BOARD = ("board.json", "board.html", "board.pdf")
_LOOKED_AT = 5  # frames of a shot for its portrait; the first, middle and last are on the board


def make_board(script: Script, shots: list[Shot], studio: Maker, *, stem: str, joined: bool = False) -> Board:
    """Make the shots of a script and their board into the studio's folder; `joined`, also one video of all of them.

    `stem` is the board's title if the script has none. Raises a Wan22Error, before any shot is made, for what cannot
    be; later only if no shot could be made, or there is no room.
    """
    from wan22.media.own_files import check_own

    names = [*_BOARD, *(f"{_name(shot.scene)}{end}" for shot in shots for end in (".mp4", ".png"))]
    check_own(studio.folder, names)
    canvases = studio.check(shots)
    if joined and canvases:
        check_join(shots, canvases, studio.folder / JOINED)
    studio.clear()
    board = _make(script, shots, studio, stem)
    if joined:
        board = _joined(board, studio)
    _publish(board, studio.folder)
    return board


def _make(script: Script, shots: list[Shot], studio: Maker, stem: str) -> Board:
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
        except (OutputError, ServerError):
            raise  # there is no room for the others either, or nobody who makes them
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
    studio: Maker,
    stem: str,
) -> Board:
    from wan22.storyboard.board import Board

    return Board(
        title=script.title or stem.replace("-", " ").replace("_", " "),
        model=studio.model,
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
        part.write_text(json.dumps(board.as_json(), ensure_ascii=False, indent=1) + "\n", "utf-8")


def _joined(board: Board, studio: Maker) -> Board:
    """The board with its shots joined; without, and a word on why, if some could not be made."""
    if board.not_made:
        studio.events.note(f"{JOINED} is not made: shots are missing")
        return board
    place = studio.folder / JOINED
    marking = studio.target(place).marked(studio.events)
    join([studio.folder / card.video for card in board.cards], place, board.title, marking)
    board = replace(board, video=JOINED)
    _write_values(board, studio.folder)
    return board


def _card(shot: Shot, take: Take, takes: int, studio: Maker) -> tuple[Card, Portrait]:
    """Put the take in its place, and look at it."""
    import numpy as np

    from wan22.media.video import read_clip
    from wan22.storyboard.board import Card
    from wan22.storyboard.continuity import portrait

    clip = read_clip(take.video, cover=(1, LOOKED_ROWS))
    name = _name(shot.scene)
    _put(take.video, studio.folder / f"{name}.mp4")
    _put_still(take, read_clip(take.video, max_frames=1).frames[0], studio, name)
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
        remark=unmeasured(clip.frames),
    )
    return card, portrait(some)


def _together(portraits: list[Portrait], cards: list[Card], shots: list[Shot]) -> Continuity:
    from wan22.storyboard.continuity import compare

    by_number = {shot.scene.number: shot.scene for shot in shots}
    scenes = [by_number[card.number] for card in cards]
    return compare(portraits, [scene.spec for scene in scenes], [bool(scene.subject) for scene in scenes])


def _put(source: Path, target: Path) -> None:
    """Copy a take to its shot's name, unless it is there."""
    from wan22.media.own_files import written_own

    if target.is_file() and digest(target) == digest(source):
        return
    with written_own(target) as part:
        shutil.copyfile(source, part)


def _put_still(take: Take, first: np.ndarray, studio: Maker, name: str) -> None:
    """The shot's image: what its video was made from, labelled, or else its first frame, with the video's recipe."""
    from wan22.media.image import read_image, save
    from wan22.media.label import labelled
    from wan22.media.own_files import written_own
    from wan22.media.recipe import read_recipe

    target = studio.folder / f"{name}.png"
    if take.still is not None and not studio.label:
        _put(take.still, target)
        return
    recipe = read_recipe(take.still or take.video)
    if take.still is not None:
        first = labelled(read_image(take.still)[None], studio.label)[0]
        recipe = studio.target(target).noted(recipe or {})
    try:
        same = target.is_file() and (read_image(target) == first).all() and read_recipe(target) == recipe
    except MediaError:
        same = False
    if not same:
        with written_own(target) as part:
            save(part, first, "png", recipe, studio.target(target).marked(studio.events))


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
