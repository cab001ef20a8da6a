"""Where the frames of a long video lie while it grows: one fragmented file, or numbered images."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from wan22.atomic import sync, temporary_file, written
from wan22.errors import OutputError
from wan22.files import PathLike
from wan22.media.encoding import HEVC_TAG, MUX_OPTIONS, Encoder, Encoding
from wan22.media.image import read_image
from wan22.media.output_paths import Existing, publish_file, publish_images
from wan22.media.provenance import Marking, mark
from wan22.media.recipe_text import RECIPE_KEY, dump_recipe
from wan22.media.sequence_files import numbered, save_frame, split_sequence
from wan22.media.writer import Finish

# One fragment for a clip, whose header is the same for every clip: it holds no length, bit rate or first time.
_FRAGMENT = "frag_custom+empty_moov+delay_moov+default_base_moof+frag_discont+skip_trailer"
# Frames that decoding runs ahead of showing, where frames are reordered. The same for every clip, so that the
# decoding times of one clip go on where those of the clip before end.
_REORDER = {"h264": 2, "hevc": 2}


@dataclass(frozen=True)
class Last:
    """What a finished video still gets: its recipe, its audio by `finish`, and its name as `existing` says."""

    recipe: dict[str, Any] | None = None
    finish: Finish | None = None
    existing: Existing = "replace"


class Store(Protocol):
    """Where the frames of a long video lie. An end is what `end_clip` returned: where a finished clip ends."""

    path: Path

    def rewind(self, end: int) -> str | None:
        """Drop everything behind `end`; say what is wrong if something before it is missing."""

    def add(self, frame: np.ndarray) -> None: ...

    def end_clip(self, at: int, first: int) -> int:
        """Bring the clip in progress to the disk, behind `at`; `first` is the number of its first frame."""
        ...

    def publish(self, target: PathLike, frames: int, last: Last) -> str: ...


class FragmentStore:
    """A fragmented MP4 or MOV, one fragment for a clip; the packets of the clip in progress are in memory."""

    def __init__(self, folder: Path, encoding: Encoding, marking: Marking) -> None:
        self._folder, self._encoding, self._marking = folder, encoding, marking
        # VP9 and AV1 grow in MP4 too: its times are exact, and one way of appending is enough.
        self._kind = "mov" if encoding.kind == "mov" else "mp4"
        self.path = folder / f"video.{self._kind}"
        self._clip: _EncodedClip | None = None

    def rewind(self, end: int) -> str | None:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < end:
            return f"{self.path.name} has {size:,} bytes, and its clips need {end:,}"
        if size > end:
            os.truncate(self.path, end)
        return None

    def add(self, frame: np.ndarray) -> None:
        if self._clip is None:
            self._clip = _EncodedClip(self._kind, self._encoding)
        self._clip.add(frame)

    def end_clip(self, at: int, first: int) -> int:
        assert self._clip is not None
        header, fragment = self._clip.finish(first)
        self._clip = None
        if not at:
            return _append(self.path, _append(self.path, 0, header), fragment)
        with self.path.open("rb") as file:
            if file.read(len(header)) != header:
                raise OutputError(
                    f"{self.path} was begun with another version of the {self._encoding.codec} encoder, "
                    "so it cannot grow. Go on with that version, or begin afresh."
                )
        return _append(self.path, at, fragment)

    def publish(self, target: PathLike, frames: int, last: Last) -> str:
        silent, whole = (self._folder / f"{name}.{self._encoding.kind}" for name in ("silent", "whole"))
        with temporary_file(Path(target), whole):
            if last.finish is None:
                self._copy(whole, frames, last.recipe)
            else:
                try:
                    self._copy(silent, frames, last.recipe)
                    last.finish(silent, whole)
                finally:
                    silent.unlink(missing_ok=True)
            mark(whole, self._encoding.kind, last.recipe, self._marking)
            return publish_file(whole, target, last.existing)

    def _copy(self, to: Path, frames: int, recipe: dict[str, Any] | None) -> None:
        """Copy the packets into an ordinary file of the target's kind."""
        kind = self._encoding.kind
        metadata = {} if recipe is None else {RECIPE_KEY: dump_recipe(recipe)}
        with (
            av.open(str(self.path), format="mov") as source,
            av.open(str(to), "w", format=kind, options=MUX_OPTIONS[kind]) as video,
        ):
            grown = source.streams.video[0]
            stream = video.add_stream_from_template(grown, opaque=True)
            assert isinstance(stream, av.VideoStream)
            stream.time_base = 1 / self._encoding.rate
            stream.codec_context.framerate = self._encoding.rate
            if self._encoding.codec == "hevc":
                stream.codec_context.codec_tag = HEVC_TAG
            video.metadata.update(metadata)
            assert grown.time_base is not None
            frame = int(1 / (self._encoding.rate * grown.time_base))
            count = 0
            for packet in source.demux(grown):
                if packet.size:  # the last one is empty
                    packet.stream = stream
                    packet.duration = frame  # the demuxer loses that of VP9
                    video.mux(packet)
                    count += 1
        if count != frames:
            raise OutputError(f"{self.path} is damaged: it holds {count} of {frames} frames.")


class _EncodedClip:
    """One clip on its way through an encoder of its own, so that it begins with a key frame."""

    def __init__(self, kind: str, encoding: Encoding) -> None:
        options = {"movflags": _FRAGMENT, "fflags": "+bitexact", "write_btrt": "0"}
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format=kind, options=options)
        self._encoder = Encoder(self._container, encoding)
        self._delay = _REORDER.get(encoding.codec, 0)
        self._packets: list[av.Packet] = []

    def add(self, frame: np.ndarray) -> None:
        self._packets += self._encoder.encode(frame)

    def finish(self, first: int) -> tuple[bytes, memoryview]:
        """Return the video's header and the clip's fragment, whose times begin with frame `first`."""
        self._packets += self._encoder.flush()
        for index, packet in enumerate(self._packets):
            assert packet.pts is not None and packet.pts >= index - self._delay
            packet.pts += first
            packet.dts = first + index - self._delay
            packet.duration = 1
            self._container.mux(packet)
        self._container.close()
        content = self._file.getbuffer()
        end = 0
        while (
            content[end + 4 : end + 8] != b"moof"
        ):  # over the boxes before it: size, type (ISO 14496-12, 4.2)
            end += int.from_bytes(content[end : end + 4], "big")
        return bytes(content[:end]), content[end:]


class FrameStore:
    """Numbered PNG files in the working folder; in the end they get their names, and the first the recipe."""

    def __init__(self, path: PathLike, folder: Path, marking: Marking) -> None:
        self._folder, self._marking = folder, marking
        self._name = split_sequence(path)[1]
        self.path = folder / self._name
        self._count = 0

    def rewind(self, end: int) -> str | None:
        there = {image.name for image in numbered(self.path)}
        names = {self._name % index for index in range(end)}
        for name in there - names:
            (self._folder / name).unlink()
        self._count = end
        return f"{min(names - there)} is missing" if names - there else None

    def add(self, frame: np.ndarray) -> None:
        save_frame(self._folder / (self._name % self._count), frame, marked=self._marking.on)
        self._count += 1

    def end_clip(self, at: int, first: int) -> int:
        for index in range(at, self._count):
            sync(self._folder / (self._name % index))
        return self._count

    def publish(self, target: PathLike, frames: int, last: Last) -> str:
        if last.finish is not None:
            raise ValueError("a sequence of images has no audio to finish")
        files = [self._folder / (self._name % index) for index in range(frames)]
        if last.recipe is not None:
            with written(files[0]) as part:
                save_frame(part, read_image(files[0]), last.recipe, marked=self._marking.on)
        return publish_images(files, target, last.existing)


def _append(path: Path, at: int, content: bytes | memoryview) -> int:
    """Write `content` at byte `at`, the end of what counts; return the new end. After an error, nothing is new."""
    # Unbuffered: a buffer would try again on closing what a full disk has refused.
    with path.open("r+b" if at else "wb", buffering=0) as file:
        try:
            file.seek(at)
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), at)
            raise
    if not at:
        sync(path.parent)
    return at + len(content)
