"""The texts in a file, under the names that its container gives them: recipes of ours and of other programs.

Video: the entries of mp4, mov, webm and mkv. Images: text chunks of PNG, comments of GIF and JPEG, and of Exif the
description, the maker and model (where ComfyUI writes into a WebP), and the user comment (where A1111's heirs do).
"""

from __future__ import annotations

from typing import Any

from wan22.errors import MediaError
from wan22.files import PathLike
from wan22.media.file_types import IMAGES, file_type
from wan22.media.opening import open_clip, open_image

__all__ = ["LIMIT", "read_notes"]

LIMIT = 8 << 20
"""Characters of all texts of a file together; a graph of ComfyUI with its layout has some hundred thousand."""

_EXIF = {0x010E: "description", 0x010F: "make", 0x0110: "model", 0x9286: "usercomment"}
_USER = 0x8769  # the part of Exif that holds the user comment
_CODES = {b"UNICODE\0": "utf-16", b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "utf-8", b"\0" * 8: "utf-8"}


def read_notes(path: PathLike) -> dict[str, str]:
    """The texts of a video or image by their names, in small letters.

    Raises MediaError if the file cannot be read, or has more than `LIMIT` characters of them.
    """
    found = _of_image(path) if file_type(path) in IMAGES else _of_video(path)
    if (size := sum(map(len, found.values()))) > LIMIT:
        raise MediaError(f"{path} carries {size:,} characters of text; {LIMIT:,} are read at most.")
    return found


def _of_video(path: PathLike) -> dict[str, str]:
    with open_clip(path) as container:
        return {name.lower(): value for name, value in container.metadata.items() if value.strip()}


def _of_image(path: PathLike) -> dict[str, str]:
    found: dict[str, str] = {}
    with open_image(path) as image:
        if image.format == "PNG":
            image.load()  # chunks may stand behind the image
        for name, value in image.info.items():
            if isinstance(name, str) and name not in ("exif", "icc_profile", "xmp"):
                _keep(found, name.lower(), value)
        exif = image.getexif()
        for tags in (exif, exif.get_ifd(_USER)):
            for tag, name in _EXIF.items():
                _keep(found, name, tags.get(tag))
    return found


def _keep(found: dict[str, str], name: str, value: Any) -> None:
    if isinstance(value, bytes):
        code, rest = _CODES.get(value[:8]), value[8:]
        if (
            code == "utf-16"
        ):  # with a mark of its order, or as the writer's machine has it: the one that reads well
            code = "utf-16" if rest[:2] in (b"\xff\xfe", b"\xfe\xff") else _order(rest)
        value = (rest if code else value).decode(code or "utf-8", "replace")
    if isinstance(value, str) and (text := value.strip("\0 \n\t")):
        found[name] = text


def _order(content: bytes) -> str:
    return "utf-16-be" if content[0::2].count(0) >= content[1::2].count(0) else "utf-16-le"
