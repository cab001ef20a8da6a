"""A first cut: shots one after another. They are files, the shots of a storyboard's board, or results of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from wan22.errors import MediaError, OptionError
from wan22.files import check_file, read_json
from wan22.timeline.interchange.common import Imported, Notes
from wan22.timeline.items import Clip, Gap, Item, Media, Source, Timeline, Track, Transition, whole_frames
from wan22.timeline.places import RATE, held_by, relative

__all__ = ["Shot", "Wanted", "cut_of", "cut_of_board", "cut_of_files", "is_board", "source_of"]

_GAP_SECONDS = 2  # of a shot that is not there
_BOARD = "board.json"
_SIZE = (1280, 720)
_WHOLE = 1001  # the largest denominator of a rate: 24000/1001


@dataclass(frozen=True)
class Wanted:
    """What a first cut should be: frames of every dissolve; rate and size, or else those of the first video."""

    dissolve: int = 0
    rate: Fraction | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Shot:
    """A shot of a cut. `media` and `source`: what is shown; without, it is a gap. `takes`: all that there are of it."""

    media: Media | None
    source: Source | None = None
    name: str = ""
    recipe: dict[str, Any] | None = None
    takes: tuple[Media, ...] = ()
    extra: dict[str, Any] | None = None


def source_of(row: Mapping[str, Any]) -> Source:
    """What a job's result says of a video, as the source of a clip."""
    return Source(
        frames=row["frames"],
        rate=Fraction(row["fps"]).limit_denominator(_WHOLE).as_integer_ratio(),
        size=(row["width"], row["height"]),
        audio=bool(row.get("audio")),
    )


def cut_of_files(files: Sequence[str], base: Path, wanted: Wanted, name: str = "") -> Timeline:
    """Files in order: videos and images on one track, audio on another; their paths are relative to `base`.

    Raises MediaError for a file that cannot be read, OptionError for a dissolve that is longer than a video allows.
    """
    from wan22.media.recipe import read_recipe

    shots = []
    rate = wanted.rate
    for file in files:
        path = Path(file).expanduser()
        source = held_by(path, rate or RATE)
        if rate is None and source.size is not None and not source.still:
            rate = Fraction(*source.rate)
        recipe = read_recipe(path) if source.size is not None else None
        shots.append(Shot({"path": relative(path, base)}, source, recipe=recipe))
    for at, (file, shot) in enumerate(zip(files, shots, strict=True)):
        if (
            shot.source is None or shot.source.size is None or shot.source.still
        ):  # counted in frames of the rate
            shots[at] = replace(shot, source=held_by(Path(file).expanduser(), rate or RATE))
    return cut_of(name, shots, replace(wanted, rate=rate))


def is_board(path: Path) -> bool:
    """Whether a path is a storyboard's board, or the folder of one."""
    return path.name == _BOARD or (path / _BOARD).is_file()


def cut_of_board(path: Path, base: Path, wanted: Wanted) -> Imported:
    """The shots of a board in order, each with its takes and recipe. Raises MediaError for what is no board."""
    path = path / _BOARD if path.is_dir() else path
    board = read_json(path, MediaError)
    shots, notes = board.get("shots"), Notes()
    if not isinstance(shots, list) or not isinstance(board.get("title"), str):
        raise MediaError(f"{path} is no board of wan22 storyboard: it has no title and shots.")
    found = [_shot(path, shot, base) for shot in shots]
    for lost in board.get("not_made") or ():
        notes.add("shots that could not be made are left out", str(lost.get("shot")))
    if not found:
        raise MediaError(f"{path} has no shot that was made.")
    return Imported(cut_of(board["title"], found, wanted), notes.lines())


def _shot(board: Path, told: Any, base: Path) -> Shot:
    from wan22.media.recipe import read_recipe

    try:
        name, number, prompt, seed, takes = (
            told[key] for key in ("video", "shot", "prompt", "seed", "takes")
        )
    except (TypeError, KeyError) as error:
        raise MediaError(f"{board} is no board of wan22 storyboard: a shot has no {error}.") from None
    if not isinstance(name, str) or Path(name).name != name:
        raise MediaError(
            f"{board}: the video of shot {number} is {name!r}, which is no name of a file beside it."
        )
    path = check_file(board.parent / name)
    others: list[tuple[int, Path]] = []
    for each in sorted((board.parent / "takes").glob("*.mp4")) if takes != 1 else ():
        recipe = read_recipe(each) or {}
        if (
            recipe.get("prompt") == prompt
            and recipe.get("seed") != seed
            and isinstance(recipe.get("seed"), int)
        ):
            others.append((recipe["seed"], each))
    extra = {"shot": number, "verdicts": told.get("verdicts", [])}
    takes = (path, *(each for _, each in sorted(others))) if others else ()
    return Shot(
        {"path": relative(path, base)},
        held_by(path),
        f"shot {number}",
        read_recipe(path),
        tuple({"path": relative(take, base)} for take in takes),
        extra,
    )


def cut_of(
    name: str, shots: Sequence[Shot], wanted: Wanted, meta: Mapping[str, Any] | None = None
) -> Timeline:
    """The timeline of shots: videos and images on one track, audio alone on another.

    Rate and size are those of the first video, where `wanted` says none. Raises OptionError for a dissolve that is
    longer than a video allows.
    """
    seen = [shot for shot in shots if shot.source is None or shot.source.size is not None]
    there = [shot.source for shot in seen if shot.source is not None]
    rate = wanted.rate or next((Fraction(*source.rate) for source in there), RATE)
    size = wanted.size or next((source.size for source in there if source.size), _SIZE)
    tracks = []
    if seen:
        tracks.append(Track(id="v1", kind="video", name="V1", items=tuple(_row(seen, rate, wanted.dissolve))))
    if heard := [shot for shot in shots if shot not in seen]:
        items = [_clip(number, shot, rate, (0, 0)) for number, shot in enumerate(heard, len(seen) + 1)]
        tracks.append(Track(id="a1", kind="audio", name="A1", items=tuple(items)))
    return Timeline(
        name=name, rate=rate.as_integer_ratio(), size=size, tracks=tuple(tracks), meta=dict(meta or {})
    )


def _row(shots: Sequence[Shot], rate: Fraction, dissolve: int) -> list[Item]:
    """Clips in a row. A video has no frames beyond its ends, so those of a dissolve are cut off for it."""
    before, after = dissolve // 2, dissolve - dissolve // 2  # of the cut
    items: list[Item] = []
    for number, shot in enumerate(shots, 1):
        if shot.media is None or shot.source is None:
            items.append(Gap(id=f"g{number}", duration=max(1, round(_GAP_SECONDS * rate))))
            continue
        joins = dissolve > 0 and number > 1 and shots[number - 2].media is not None
        joined = dissolve > 0 and number < len(shots) and shots[number].media is not None
        step = Fraction(*shot.source.rate) / rate
        cut = (-int(-before * step // 1) if joins else 0, -int(-after * step // 1) if joined else 0)
        clip = _clip(number, shot, rate, (0, 0) if shot.source.still else cut)
        if clip.duration < before * joined + after * joins:
            raise OptionError(
                f"--dissolve {dissolve} is too long for {shot.media.get('path', shot.name)}, which has "
                f"{shot.source.frames} frames at {float(Fraction(*shot.source.rate)):g} a second"
            )
        if joins:
            items.append(Transition(id=f"t{number - 1}", in_offset=before, out_offset=after))
        items.append(clip)
    return items


def _clip(number: int, shot: Shot, rate: Fraction, cut: tuple[int, int]) -> Clip:
    """A shot without the frames `cut` at its ends; of none that would be left, nothing lasts."""
    assert shot.media is not None and shot.source is not None
    start, end, lasts = cut[0], shot.source.frames - cut[1], 0
    if end <= start:
        start, end = 0, 1
    else:
        lasts = whole_frames(end - start, Fraction(*shot.source.rate), rate, Fraction(1))
    return Clip(
        id=f"c{number}", media=shot.media, start=start, end=end, duration=lasts, source=shot.source, name=shot.name,
        recipe=shot.recipe, takes=shot.takes, extra=shot.extra or {},
    )  # fmt: skip
