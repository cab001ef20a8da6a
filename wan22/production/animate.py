"""What moves a person, from what was typed: videos of pose and face, a folder of them, or a video to make them of.

A folder has the names of the official preprocessing (preprocess/prepared.py). What is made of a video is kept in a
folder beside the output, is taken from there the next time, and may be corrected between.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import MediaError, OptionError
from wan22.fields import called

if TYPE_CHECKING:
    from wan22.preprocess import Prepared
    from wan22.production.events import EventSink
    from wan22.production.work import Work

ANIMATE = "animate"
DRIVEN = ("pose", "face", "background", "mask")
"""The fields that name a driving video's files, and what `Driving` calls them."""
_OF_FOLDER = {"pose": "src_pose.mp4", "face": "src_face.mp4"}
_OF_REPLACEMENT = {"background": "src_bg.mp4", "mask": "src_mask.mp4"}
_REFERENCE = "src_ref.png"


def is_driven(work: Work) -> bool:
    """Whether a person is to move as in a video."""
    return (
        work.machine.task == ANIMATE
        or "face" in work.files
        or (Path(work.files.get("video", "")) / _OF_FOLDER["pose"]).is_file()
    )


def of_folder(work: Work) -> Work:
    """The work with the files of the prepared folder that is named in the place of a driving video, if one is."""
    video = work.files.get("video")
    if video is None or not is_driven(work) or not Path(video).is_dir():
        return work
    files = {name: path for name, path in work.files.items() if name != "video"}
    _check_alone(files)
    files |= _of_folder(Path(video), work.replaces, has_image="image" in files)
    return replace(work, files=files, machine=replace(work.machine, task=ANIMATE))


def driven(work: Work) -> Work:
    """The work, checked, if a person is to move as in a video; with an empty prompt (the model's own) if none was
    given. Raises OptionError for files that do not go together, or are missing.
    """
    if not is_driven(work):
        if work.replaces:
            raise OptionError(
                f"{called('replace')} needs a driving video: {called('task')} animate {called('video')} FILE"
            )
        return work
    files = work.files
    if "video" in files:
        _check_alone(files)
    else:
        needed = DRIVEN if work.replaces else DRIVEN[:2]
        if missing := [called(name) for name in needed if name not in files]:
            raise OptionError(f"{ANIMATE} needs {' and '.join(missing)}, or {called('video')} FILE|FOLDER")
    if "image" not in files:
        raise OptionError(f"{ANIMATE} needs an image of who is to be seen: {called('image')} FILE")
    return replace(work, given={"prompt": ""} | work.given, machine=replace(work.machine, task=ANIMATE))


def _check_alone(files: Mapping[str, str]) -> None:
    if drawn := [called(name) for name in DRIVEN if name in files]:
        raise OptionError(f"give {called('video')}, or {', '.join(drawn)} as they were drawn, not both")


def _of_folder(folder: Path, replaces: bool, *, has_image: bool) -> dict[str, str]:
    """The files of a prepared folder; its background and mask only where someone is replaced."""
    names = _OF_FOLDER | (_OF_REPLACEMENT if replaces else {})
    missing = [name for name in names.values() if not (folder / name).is_file()]
    if missing:
        how = "`wan22 preprocess` makes such a folder" + (f" with {called('replace')}" if replaces else "")
        raise MediaError(f"{folder} has no {' and no '.join(missing)}; {how}")
    if not has_image and (folder / _REFERENCE).is_file():
        names = names | {"image": _REFERENCE}
    return {name: str(folder / file) for name, file in names.items()}


def prepared(work: Work, output: str, events: EventSink) -> tuple[Work, dict[str, Any]]:
    """The work with what moves the person made of its driving video, in a folder beside the output, if that is not
    there; and what the recipe notes of it.
    """
    video = work.files.get("video")
    if not is_driven(work) or video is None:
        return work, {}
    folder = _place(work, video, output)
    if folder.is_dir():
        events.note(f"pose and face are taken from {folder}")
    else:
        made = _made(work, video, events)
        made.save(folder)
        for notice in made.notices:
            events.note(notice)
        events.note(f"pose and face lie in {folder}; preprocess.png there shows them")
    files = {name: path for name, path in work.files.items() if name != "video"}
    files |= _of_folder(folder, work.replaces, has_image=True)
    return replace(work, files=files), {"driving": folder.name}


def _made(work: Work, video: str, events: EventSink) -> Prepared:
    """Pose and face, and to replace someone background and mask, of a video."""
    from wan22.media.image import read_image
    from wan22.preprocess import Options, prepare
    from wan22.preprocess.installed import open_networks
    from wan22.types import Phase

    networks = open_networks()
    given = work.given
    fps = float(given.get("fps") or 30.0)
    seconds = given.get("seconds") or (given["frames"] / fps if given.get("frames") else None)
    size = given.get("size")

    def seen(what: str, done: int, of: int) -> None:
        if done == 1:
            events.event(Phase("condition", f"looking for {what} in {of} frames"))

    return prepare(
        video,
        read_image(work.files["image"]),
        replace=work.replaces,
        size=size if size is not None and not any(side % 16 for side in size) else None,
        fps=fps,
        models=networks,
        options=Options(seconds=seconds),
        seen=seen,
    )


def _place(work: Work, video: str, output: str) -> Path:
    """A folder beside the output, by what goes into it."""
    digest = hashlib.sha256()
    for path in (video, work.files["image"]):
        try:
            with Path(path).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise MediaError(f"{path} cannot be read: {error.strerror}") from None
    asked = {name: work.given.get(name) for name in ("size", "fps", "frames", "seconds")}
    digest.update(json.dumps([asked, work.replaces]).encode())
    place = Path(output.rstrip("/"))
    return place.with_name(f"{place.stem}.driving-{digest.hexdigest()[:8]}")
