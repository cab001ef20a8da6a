"""What a file really is, told from its first bytes and never from its name.

Nothing is decoded here. Readers force the decoder that belongs to the kind found, so a playlist, a web page
or a script that calls itself `clip.mp4` never reaches a demuxer that would follow it elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from wan22.errors import MediaError, MediaTypeError
from wan22.files import PathLike, check_file, reading

IMAGES = ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "heif")  # names of Pillow's readers
VIDEOS = ("mov", "matroska", "avi")  # names of FFmpeg demuxers; "mov" reads mp4 and m4a too
AUDIO = ("wav", "flac", "mp3", "ogg", "aac", "aiff")  # likewise

_KNOWN = "images: PNG, JPEG, WebP, HEIC, AVIF, GIF, BMP, TIFF; clips: MP4, MOV, WebM, MKV, AVI, GIF"
_KNOWN_AUDIO = "WAV, FLAC, MP3, OGG, Opus, M4A, AAC, AIFF, and the audio of MP4, MOV, WebM, MKV, AVI"
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\x1a\x45\xdf\xa3", "matroska"),
)
_HEIF_BRANDS = (
    b"avif",
    b"avis",
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hevc",
    b"hevx",
    b"mif1",
    b"mif2",
    b"msf1",
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_REFUSED = (
    (b"#extm3u", "a streaming playlist (HLS)"),
    (b"ffconcat", "a list of other files (concat)"),
    (b"<svg", "an SVG drawing"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML or SVG document"),
    (b"%pdf", "a PDF document"),
    (b"pk\x03\x04", "a ZIP archive"),
)


def file_type(path: PathLike) -> str:
    """Tell the kind of the file: one of `IMAGES` or `VIDEOS`.

    Raises MediaError for a missing file, a folder, an empty or unreadable file, and every other kind.
    """
    head = _head(path)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"AVI "):
        return "webp" if head[8:12] == b"WEBP" else "avi"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "avif" if b"avif" in head or b"avis" in head else "heif"
    if head[4:8] in _BOXES:
        return "mov"
    raise MediaTypeError(f"{path} is {_describe(head)}, not an image or clip. What can be read: {_KNOWN}.")


def audio_file_type(path: PathLike) -> str:
    """Tell the kind of a file that may hold audio: one of `AUDIO` or `VIDEOS`.

    Raises MediaError as `file_type` does, and for images.
    """
    head = _head(path)
    if kind := _audio_kind(first_frame(path, head)):
        return kind
    if any(head.startswith(magic) for magic in (b"\x1a\x45\xdf\xa3", b"RIFF")) or head[4:8] in _BOXES:
        kind = file_type(path)
        if kind in VIDEOS:
            return kind
    if any(head.startswith(magic) for magic, _ in _MAGIC) or head[8:12] in (b"WEBP", *_HEIF_BRANDS):
        raise MediaTypeError(f"{path} is an image and holds no audio. What can be read: {_KNOWN_AUDIO}.")
    raise MediaTypeError(f"{path} is {_describe(head)}, not an audio file. What can be read: {_KNOWN_AUDIO}.")


def first_frame(path: PathLike, head: bytes | None = None) -> bytes:
    """Return the first 64 bytes behind an ID3v2 tag (its length has 7 bits a byte), or of the file."""
    head = head or _head(path)
    if head[:3] != b"ID3" or len(head) < 10:
        return head
    length = 0
    for byte in head[6:10]:
        length = length << 7 | byte & 0x7F
    with Path(path).open("rb") as file:
        file.seek(10 + length)
        return file.read(64) or head


def check_whole(path: PathLike, kind: str) -> None:
    """Raise MediaError if a file's own structure says that it is longer than it is: it was cut off.

    Without this, a demuxer ends a cut file quietly and half a clip would pass for a whole one.
    """
    ends = {
        **dict.fromkeys(("mov", "heif", "avif"), _mov_end),
        **dict.fromkeys(("avi", "wav"), _riff_end),
        "matroska": _matroska_end,
        "ogg": _ogg_end,
    }
    if kind not in ends:
        return
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        claimed = ends[kind](file, size)
    if claimed > size:
        raise MediaError(
            f"{path} is cut off: it should have {claimed:,} bytes and has {size:,}. "
            "Copy or download it again."
        )


def _head(path: PathLike) -> bytes:
    path = check_file(path)
    with reading(path, MediaError), path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise MediaError(f"{path} is empty (0 bytes). Copy or download it again.")
    return head


def _describe(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, name in _REFUSED:
        if start.startswith(magic):
            return name
    if kind := _audio_kind(head):
        return f"an audio file ({kind.upper()})"
    try:
        head.decode("ascii")
    except UnicodeDecodeError:
        return "of an unknown kind"
    return "text"


def _audio_kind(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] in (b"fLaC", b"OggS"):
        return "flac" if head[:4] == b"fLaC" else "ogg"
    if head[:1] == b"\xff" and len(head) > 1:  # frame sync, version, layer (ISO 11172-3, 2.4.1.3)
        version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
        if head[1] & 0xF6 == 0xF0:  # layer 0 is AAC's (ISO 13818-7, 6.2)
            return "aac"
        if head[1] & 0xE0 == 0xE0 and version != 1 and layer in (1, 2):
            return "mp3"
    return "mp3" if head[:3] == b"ID3" else None


def _mov_end(file: BinaryIO, size: int) -> int:
    """Walk the top-level boxes (ISO 14496-12, 4.2): size, type, and a 64-bit size when size is 1."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        header = file.read(16)
        length, smallest = int.from_bytes(header[:4], "big"), 8
        if length == 0:  # "to the end of the file"
            return size
        if length == 1:
            length, smallest = int.from_bytes(header[8:16], "big"), 16
        if length < smallest:  # rubbish after the last box is ignored by every player
            return size
        end += length
    return end


def _matroska_end(file: BinaryIO, size: int) -> int:
    """Read the EBML header and the Segment's length (RFC 8794, 4 and 11); an unknown length is allowed."""
    end = 0
    for _ in range(2):
        file.seek(end)
        element = file.read(12)
        if len(element) < 5 or not element[0]:
            return size
        id_length = 9 - element[0].bit_length()
        first = element[id_length] if id_length < len(element) else 0
        if not first:
            return size
        length = 9 - first.bit_length()
        value = int.from_bytes(element[id_length : id_length + length], "big") - (1 << 7 * length)
        if value == (1 << 7 * length) - 1:
            return size
        end += id_length + length + value
    return end


def _riff_end(file: BinaryIO, size: int) -> int:
    """Read the length of a RIFF; one written to a pipe has 0 or about 2 or 4 GiB there, for "not known".

    It counts from byte 8 on, but many writers count those eight bytes in, so they are not asked for.
    """
    length = int.from_bytes(file.read(8)[4:], "little")
    unknown = not length or 0x7FFFF000 <= length <= 0x7FFFFFFF or length >= 0xFFFFF000
    return size if unknown else length


def _ogg_end(file: BinaryIO, size: int) -> int:
    """Walk the pages (RFC 3533, 6): a header of 27 bytes, a table of segment lengths, the segments."""
    end = 0
    while end + 27 <= size:
        file.seek(end)
        header = file.read(27)
        if header[:4] != b"OggS":  # damage is the demuxer's matter
            return size
        end += 27 + header[26] + sum(file.read(header[26]))
    return end
