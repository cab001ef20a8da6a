"""A first cut: videos, images and audio one after another, or the shots of a storyboard's board; and where media lies.

`Folders` finds the media that an editor's file names, in folders that the user gave and nowhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

from wan22.atomic import written
from wan22.errors import MediaError, MediaTypeError, OptionError
from wan22.files import check_file, read_json
from wan22.timeline.interchange.common import Find, Imported, Notes, exact_rate, path_of
from wan22.timeline.items import Clip, Item, Media, Source, Timeline, Track, Transition, whole_frames

__all__ = [
    "Folders",
    "Wanted",
    "cut_of_board",
    "cut_of_files",
    "files_of",
    "held_by",
    "is_board",
    "kept_beside",
]

_STILL_SECONDS = 3
_BOARD = "board.json"
_SIZE, _RATE = (1280, 720), Fraction(24)
_NAME_BYTES = 200


@dataclass(frozen=True)
class Wanted:
    """What a first cut should be: frames of every dissolve; rate and size, or else those of the first video."""

    dissolve: int = 0
    rate: Fraction | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Shot:
    """A file, and what is known of it."""

    path: Path
    source: Source
    name: str = ""
    recipe: dict[str, Any] | None = None
    takes: tuple[Path, ...] = ()
    extra: dict[str, Any] | None = None


def held_by(path: Path, rate: Fraction = _RATE) -> Source:
    """What a file holds. Audio alone is counted in frames of `rate`. Raises MediaError for what is no media."""
    from wan22.media.audio import probe_audio
    from wan22.media.file_types import IMAGES, file_type
    from wan22.media.sequence import is_sequence
    from wan22.media.video import probe

    numbered = is_sequence(path)
    try:
        info = probe(path, float(rate) if numbered else None)
    except MediaTypeError:
        seconds = probe_audio(path).seconds
        frames = max(1, int(Fraction(seconds).limit_denominator(1_000_000) * rate))
        return Source(frames=frames, rate=rate.as_integer_ratio(), audio=True)
    size = (info.width, info.height)
    if not numbered and info.frames == 1 and file_type(path) in IMAGES:
        frames = max(1, int(_STILL_SECONDS * rate))
        return Source(frames=frames, rate=rate.as_integer_ratio(), size=size, still=True)
    pair = exact_rate(info.fps).as_integer_ratio()
    return Source(frames=info.frames, rate=pair, size=size, audio=info.has_audio)


def cut_of_files(files: Sequence[str], base: Path, wanted: Wanted, name: str = "") -> Timeline:
    """Files in order: videos and images on one track, audio on another; their paths are relative to `base`.

    Raises MediaError for a file that cannot be read, OptionError for a dissolve that is longer than a video allows.
    """
    from wan22.media.recipe import read_recipe

    shots = []
    rate = wanted.rate
    for file in files:
        path = Path(file).expanduser()
        source = held_by(path, rate or _RATE)
        if rate is None and source.size is not None and not source.still:
            rate = Fraction(*source.rate)
        recipe = read_recipe(path) if source.size is not None else None
        shots.append(_Shot(path, source, recipe=recipe))
    if any(
        shot.source.size is None or shot.source.still for shot in shots
    ):  # they are counted in frames of the rate
        shots = [replace(shot, source=held_by(shot.path, rate or _RATE)) for shot in shots]
    return _cut(shots, base, replace(wanted, rate=rate), name)


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
    found = [_shot(path, shot) for shot in shots]
    for lost in board.get("not_made") or ():
        notes.add("shots that could not be made are left out", str(lost.get("shot")))
    if not found:
        raise MediaError(f"{path} has no shot that was made.")
    rate = wanted.rate or Fraction(*found[0].source.rate)
    timeline = _cut(found, base, replace(wanted, rate=rate), board["title"])
    return Imported(timeline, notes.lines())


def _shot(board: Path, told: Any) -> _Shot:
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
    return _Shot(
        path,
        held_by(path),
        f"shot {number}",
        read_recipe(path),
        (path, *(each for _, each in sorted(others))) if others else (),
        extra,
    )


def _cut(shots: Sequence[_Shot], base: Path, wanted: Wanted, name: str) -> Timeline:
    rate = wanted.rate or _RATE
    seen = [shot for shot in shots if shot.source.size is not None]
    size = wanted.size or next((shot.source.size for shot in seen if shot.source.size), _SIZE)
    tracks = []
    if seen:
        tracks.append(
            Track(id="v1", kind="video", name="V1", items=tuple(_row(seen, base, rate, wanted.dissolve)))
        )
    if heard := [shot for shot in shots if shot.source.size is None]:
        names = (f"c{number}" for number in range(len(seen) + 1, len(shots) + 1))
        items = [_clip(name, shot, base, rate, (0, 0)) for name, shot in zip(names, heard, strict=True)]
        tracks.append(Track(id="a1", kind="audio", name="A1", items=tuple(items)))
    return Timeline(name=name, rate=rate.as_integer_ratio(), size=size, tracks=tuple(tracks))


def _row(shots: Sequence[_Shot], base: Path, rate: Fraction, dissolve: int) -> list[Item]:
    """Clips in a row. A video has no frames beyond its ends, so those of a dissolve are cut off for it."""
    before, after = dissolve // 2, dissolve - dissolve // 2  # of the cut
    items: list[Item] = []
    for number, shot in enumerate(shots, 1):
        step = Fraction(*shot.source.rate) / rate
        cut = (
            -int(-before * step // 1) if number > 1 else 0,
            -int(-after * step // 1) if number < len(shots) else 0,
        )
        if shot.source.still:
            cut = (0, 0)
        clip = _clip(f"c{number}", shot, base, rate, cut)
        needed = before * (number < len(shots)) + after * (number > 1)
        if clip is None or clip.duration < needed:
            raise OptionError(
                f"--dissolve {dissolve} is too long for {shot.path}, which has {shot.source.frames} frames at "
                f"{float(Fraction(*shot.source.rate)):g} a second"
            )
        if number > 1 and dissolve:
            items.append(Transition(id=f"t{number - 1}", in_offset=before, out_offset=after))
        items.append(clip)
    return items


def _clip(name: str, shot: _Shot, base: Path, rate: Fraction, cut: tuple[int, int]) -> Clip:
    start, end = cut[0], shot.source.frames - cut[1]
    if end <= start:
        end, start = 1, 0
        lasts = 0
    else:
        lasts = whole_frames(end - start, Fraction(*shot.source.rate), rate, Fraction(1))
    return Clip(
        id=name,
        media={"path": relative(shot.path, base)},
        start=start,
        end=end,
        duration=lasts,
        source=shot.source,
        name=shot.name,
        recipe=shot.recipe,
        takes=tuple({"path": relative(take, base)} for take in shot.takes),
        extra=shot.extra or {},
    )


def relative(path: Path, base: Path) -> str:
    """A path as it is written into a document in the folder `base`: relative to it, if they are on one disk."""
    try:
        return Path(os.path.relpath(path.absolute(), base.absolute())).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def files_of(base: Path) -> Find:
    """Where the media of a document in the folder `base` lies."""

    def find(media: Media) -> Path | None:
        if "path" not in media:
            return None
        path = base / Path(media["path"]).expanduser()
        return path.absolute() if path.is_file() or path.is_dir() else None

    return find


class Folders:
    """The media that an editor's file names: only what lies in these folders, by its place or by its name.

    A file may say any path, and a link may lead anywhere; neither is followed out of the folders.
    """

    def __init__(self, folders: Sequence[Path], base: Path) -> None:
        self._folders = [folder.absolute() for folder in folders]
        self._base = base

    def __call__(self, url: str, said: Media | None) -> Media | None:
        for name in ((said or {}).get("path"), path_of(url)):
            if name and (found := self._within(name)) is not None:
                return {"path": relative(found, self._base)}
        return None

    def _within(self, name: str) -> Path | None:
        if "\0" in name:
            return None
        last = name.rstrip("/").rpartition("/")[2]
        for folder in self._folders:
            for candidate in (folder / name, folder / last):
                try:
                    inside = candidate.resolve().is_relative_to(folder.resolve())
                    if inside and last and (candidate.is_file() or self._is_numbered(candidate)):
                        return Path(os.path.normpath(candidate))
                except (OSError, ValueError, RuntimeError):
                    continue
        return None

    @staticmethod
    def _is_numbered(candidate: Path) -> bool:
        from wan22.media.sequence import is_sequence
        from wan22.media.sequence_files import numbered

        return "%" in candidate.name and is_sequence(candidate) and bool(numbered(candidate))

    def look(self, media: Media) -> Source | None:
        """What a media's file holds; None for audio alone, whose length an editor's file says, and what is not read."""
        if "path" not in media:
            return None
        path = self._base / media["path"]
        try:
            found = held_by(path) if path.is_file() else None
        except MediaError:
            return None
        return found if found is not None and found.size is not None else None


def kept_beside(output: Path, name: str, stream: IO[bytes]) -> Media:
    """Take a media's file out of a bundle, into a folder beside the document `output`; nothing there is replaced."""
    folder = output.parent / f"{output.stem}-media"
    safe = os.fsencode(name.lstrip(".") or "media")[-_NAME_BYTES:].decode("utf-8", "ignore")
    stem, dot, suffix = safe.rpartition(".")
    number, target = 1, folder / safe
    while target.exists():
        number += 1
        target = folder / (f"{stem}-{number}{dot}{suffix}" if dot else f"{safe}-{number}")
    with written(target, replace=False) as part, part.open("wb") as place:
        shutil.copyfileobj(stream, place, 1 << 20)
    return {"path": relative(target, output.parent)}
