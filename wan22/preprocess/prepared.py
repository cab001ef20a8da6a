"""What Wan2.2-Animate is driven by, as a folder of videos with the official names.

src_pose.mp4, src_face.mp4, and to replace someone src_bg.mp4 and src_mask.mp4; src_ref.png. Ours are preprocess.json
(record.py) and preprocess.png, a sheet to look at. A folder of the official preprocessing is opened too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wan22.atomic import written_folder
from wan22.errors import MediaError, OutputError
from wan22.files import PathLike
from wan22.media.image import read_image, write_image
from wan22.media.video import VideoWriter
from wan22.preprocess.frames import read_whole
from wan22.preprocess.record import Record
from wan22.types import Clip, Image

POSE, FACE, BACKGROUND, MASK = "src_pose.mp4", "src_face.mp4", "src_bg.mp4", "src_mask.mp4"
REFERENCE, RECORD, SHEET = "src_ref.png", "preprocess.json", "preprocess.png"


@dataclass(frozen=True)
class Prepared:
    """The driving videos, all uint8 (T, H, W, 3), of one length and rate.

    pose: bodies drawn on black. face: square. background, mask: of the same size as the pose, or both None; the mask is
    0 or 255, white where the new character is drawn. reference: the image of the character, if it is known. landmarks:
    what the images were drawn from; None for folders of others. sheet: an image to look at. notices: what a person
    should know, as sentences.
    """

    pose: Clip
    face: Clip
    background: Clip | None = None
    mask: Clip | None = None
    reference: Image | None = None
    landmarks: Record | None = None
    sheet: Image | None = None
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.background is None) != (self.mask is None):
            there, absent = ("background", "mask") if self.mask is None else ("mask", "background")
            raise MediaError(f"a {there} video needs a {absent} video beside it: give both, or neither.")
        lengths = {name: len(clip.frames) for name, clip in self.clips().items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {count}" for name, count in lengths.items())
            raise MediaError(
                f"the driving videos differ in their number of frames ({said}); they must be equal."
            )
        for name in ("background", "mask"):
            clip = getattr(self, name)
            if clip is not None and clip.frames.shape != self.pose.frames.shape:
                (h, w), (ph, pw) = clip.frames.shape[1:3], self.pose.frames.shape[1:3]
                raise MediaError(
                    f"the {name} video is {w}x{h}, the pose video {pw}x{ph}; they must be equal."
                )

    @property
    def replaces(self) -> bool:
        """Whether the character replaces the person in the video, and is not animated alone."""
        return self.mask is not None

    def clips(self) -> dict[str, Clip]:
        """The videos that are there, by name."""
        clips = {"pose": self.pose, "face": self.face, "background": self.background, "mask": self.mask}
        return {name: clip for name, clip in clips.items() if clip is not None}

    @classmethod
    def open(cls, folder: PathLike) -> Prepared:
        """Open a folder of ours or of the official preprocessing. Raises MediaError if a file is missing or unfit."""
        place = Path(folder)
        if not place.is_dir():
            raise MediaError(f"{folder} is no folder. `wan22 preprocess DRIVING -o FOLDER` makes one.")
        for name in (POSE, FACE):
            if not (place / name).is_file():
                raise MediaError(
                    f"{folder} has no {name}. `wan22 preprocess DRIVING -o FOLDER` makes such a folder."
                )

        def read(name: str) -> Clip | None:
            return read_whole(place / name) if (place / name).is_file() else None

        pose, face = read_whole(place / POSE), read_whole(place / FACE)
        try:
            return cls(
                pose,
                face,
                read(BACKGROUND),
                read(MASK),
                read_image(place / REFERENCE) if (place / REFERENCE).is_file() else None,
                Record.read(place / RECORD) if (place / RECORD).is_file() else None,
                read_image(place / SHEET) if (place / SHEET).is_file() else None,
            )
        except MediaError as error:
            raise MediaError(f"{folder}: {error}") from error

    def save(self, folder: PathLike) -> Path:
        """Write the folder, whole or not at all. Raises OutputError if something is there."""
        place = Path(folder)
        check_free(place)
        with written_folder(place) as part:
            self.write(part)
        return place

    def write(self, folder: Path) -> None:
        """Write the files into a folder that is there."""
        named = {"pose": POSE, "face": FACE, "background": BACKGROUND, "mask": MASK}
        for name, clip in self.clips().items():
            height, width = clip.frames.shape[1:3]
            with VideoWriter(folder / named[name], fps=clip.fps, size=(width, height)) as writer:
                for frame in clip.frames:
                    writer.add(np.ascontiguousarray(frame))
        if self.reference is not None:
            write_image(folder / REFERENCE, self.reference)
        if self.landmarks is not None:
            (folder / RECORD).write_text(self.landmarks.dump(), "utf-8")
        if self.sheet is not None:
            write_image(folder / SHEET, self.sheet)


def check_free(folder: PathLike) -> None:
    """Raise OutputError, before any work, if a folder cannot be made there."""
    place = Path(folder)
    if place.is_dir() and any(place.iterdir()):
        raise OutputError(
            f"{place} exists already and is left as it is. Choose another name, or draw it again from its "
            f"{RECORD} with `wan22 preprocess {place} --redraw`."
        )
    if place.exists() and not place.is_dir():
        raise OutputError(f"{place} is a file, not a folder. Choose another name.")
