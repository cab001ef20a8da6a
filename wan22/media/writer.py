"""Write videos: frame by frame in, one finished file (or folder of images) out.

Images go through an encoder as they come; the small encoded packets wait in memory and the file is written
at the end. So its recipe may be known last, and a video that is given up leaves nothing on the disk. What is
promised is the image: the recipe holds the hash of the frames that went in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np

from wan22.atomic import temporary_file, temporary_folder, temporary_name
from wan22.errors import OutputError
from wan22.files import PathLike
from wan22.media import gif, output_paths
from wan22.media.encoding import MUX_OPTIONS, Encoder, Encoding
from wan22.media.provenance import Marking, mark
from wan22.media.recipe_text import RECIPE_KEY, dump_comment, dump_recipe
from wan22.media.sequence_files import frames_folder, save_frame

Finish = Callable[[Path, Path], None]
"""Makes the video in its second argument (a name not yet taken) from the silent one in its first."""


class _Sink(Protocol):
    """Takes checked uint8 frames one at a time; `finish` puts everything on the disk, `discard` nothing."""

    def add(self, frame: np.ndarray) -> None: ...

    def finish(
        self, recipe: dict[str, Any] | None, existing: output_paths.Existing, audio: Finish | None
    ) -> str: ...

    def discard(self) -> None: ...


class VideoWriter:
    """Write uint8 RGB frames to a video; the extension says how.

    .mp4 H.264 (or codec="hevc", "av1") · .mov ProRes 422 HQ (or "h264", "hevc") · .webm VP9 (or "av1") · .gif
    PNG sequence: a folder, written "folder/", or a name with a number pattern, "shot-%04d.png"; it replaces
    a former sequence of ours of that name, and is refused where other images stand under its names.

    `size` is (width, height), 16 to 4096 pixels, odd sizes included: the decoded video has exactly that size.
    `fps` is exact for an int or Fraction; a float is taken as the nearest fraction with a denominator of at
    most 1001. GIF and WebM round times to 1/100 and 1/1000 s.

        with VideoWriter("out.mp4", fps=24, size=(832, 480)) as writer:
            for frames in pieces:          # uint8 (T, H, W, 3)
                writer.add(frames)
            writer.close(recipe)           # optional: the recipe may be known only now

    Leaving the block after an exception leaves no file. An old file of that name stays until the new one is
    complete; `existing` says what then becomes of it (output_paths.Existing). A video with a recipe is marked as made
    by a model, and signed, as `marking` says (provenance.py). Raises OutputError if the place cannot be written,
    OptionError for an unknown codec or quality or an impossible rate, SizeError for an impossible size.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        fps: float | Fraction,
        size: tuple[int, int],
        recipe: dict[str, Any] | None = None,
        quality: str = "high",
        codec: str | None = None,
        existing: output_paths.Existing = "replace",
        marking: Marking | None = None,
    ) -> None:
        marked = Marking.asked() if marking is None else marking
        encoding = Encoding.of(path, fps, size, quality, codec)
        output_paths.check_output(path, bytes_needed=0)
        self.path = Path(path)
        self.frames = 0
        self._encoding, self._existing = encoding, existing
        self._place = os.fspath(path)
        self._recipe = recipe
        self._open = True
        self._sink: _Sink = (
            _Frames(path, marked, known=recipe is not None or marking is not None)
            if encoding.kind == output_paths.SEQUENCE
            else _Video(self.path, encoding, marked)
        )

    def add(self, frames: np.ndarray) -> None:
        """Add uint8 frames (T, H, W, 3) or one frame (H, W, 3) of exactly the size given at the beginning."""
        if not self._open:
            raise ValueError(f"the writer of {self.path} is closed")
        frames = self._encoding.checked(frames)
        try:
            for frame in frames:
                self._sink.add(frame)
                self.frames += 1
        except BaseException as error:
            self.abort()
            if isinstance(error, (OSError, av.error.FFmpegError)):
                raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error
            raise

    def close(self, recipe: dict[str, Any] | None = None, finish: Finish | None = None) -> str:
        """Finish the file and put it in its place, with `recipe` inside (or the one given at the beginning).

        Returns its name, which is another one than was asked only with existing="next".

        `finish(silent, whole)`, if given, makes the file that is published from the silent one, which carries the
        recipe; both names have the target's extension. It adds the audio. ValueError for a sequence, which has none.
        A second call does nothing. Raises OutputError if there were no frames, or if writing fails.
        """
        if not self._open:
            return self._place
        if not self.frames:
            self.abort()
            raise OutputError(f"{self.path} was not written: there was not a single frame.")
        self._open = False
        try:
            self._place = self._sink.finish(
                recipe if recipe is not None else self._recipe, self._existing, finish
            )
            self.path = Path(self._place)
            return self._place
        except (OSError, av.error.FFmpegError) as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        finally:
            self._sink.discard()

    def abort(self) -> None:
        """Give the video up: nothing of it stays on the disk. A finished video stays."""
        if self._open:
            self._open = False
            self._sink.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _Video:
    """An encoder, and its packets in memory until the recipe is known."""

    def __init__(self, target: Path, encoding: Encoding, marking: Marking) -> None:
        self._target, self._kind, self._codec = target, encoding.kind, encoding.codec
        self._marking = marking
        self._packets: list[av.Packet] = []
        # PyAV creates the file with the first packet that is muxed: nothing is on the disk until `finish`.
        self._part = temporary_name(target)
        self._container = av.open(str(self._part), "w", format=self._kind, options=MUX_OPTIONS[self._kind])
        self._encoder = Encoder(self._container, encoding)

    def add(self, frame: np.ndarray) -> None:
        self._packets += self._encoder.encode(frame)

    def finish(
        self, recipe: dict[str, Any] | None, existing: output_paths.Existing, audio: Finish | None
    ) -> str:
        self._packets += self._encoder.flush()
        if self._codec == "hevc":
            _stamp(self._packets)
        if recipe is not None and self._kind != "gif":
            self._container.metadata[RECIPE_KEY] = dump_recipe(recipe)
        with temporary_file(self._target, self._part) as part:
            for packet in self._packets:
                self._container.mux(packet)
            self._container.close()
            if recipe is not None and self._kind == "gif":
                _insert_comment(part, dump_comment(recipe))
            if audio is None:
                mark(part, self._kind, recipe, self._marking)
                return output_paths.publish_file(part, self._target, existing)
            with temporary_folder(self._target) as folder:
                silent, whole = (folder / f"{name}.{self._kind}" for name in ("silent", "whole"))
                part.replace(silent)
                audio(silent, whole)
                mark(whole, self._kind, recipe, self._marking)
                return output_paths.publish_file(whole, self._target, existing)

    def discard(self) -> None:
        self._packets.clear()
        with suppress(OSError, av.error.FFmpegError):  # after a failure it cannot write its index
            self._container.close()
        self._part.unlink(missing_ok=True)


def _stamp(packets: list[av.Packet]) -> None:
    """Count decoding times anew: x265 leaves them unset, random, when a video is shorter than its look-ahead."""
    delay = max(index - (packet.pts or 0) for index, packet in enumerate(packets))
    for index, packet in enumerate(packets):
        packet.dts = index - delay


def _insert_comment(path: Path, comment: bytes) -> None:
    """Put a comment extension (GIF89a, section 24) into a GIF."""
    blocks = [comment[at : at + 255] for at in range(0, len(comment), 255)]
    gif.insert(path, b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\x00")


class _Frames:
    """Numbered PNG files, kept in a hidden folder until all are there; the recipe is in the first.

    All are marked as made by a model if that is `known` from the beginning; else the first is, if there is a recipe.
    """

    def __init__(self, path: PathLike, marking: Marking, *, known: bool) -> None:
        self._path, self._marking = path, marking
        self._marked = marking.on and known
        self._first: np.ndarray | None = None
        self._files: list[Path] = []
        self._open = ExitStack()
        self._part = self._open.enter_context(frames_folder(path))

    def add(self, frame: np.ndarray) -> None:
        file = self._part / f"{len(self._files):08d}.png"
        if self._first is None:
            self._first = frame.copy()  # written last, with the recipe
        else:
            save_frame(file, frame, marked=self._marked)
        self._files.append(file)

    def finish(
        self, recipe: dict[str, Any] | None, existing: output_paths.Existing, audio: Finish | None
    ) -> str:
        if audio is not None:
            raise ValueError("a sequence of images has no audio to finish")
        assert self._first is not None
        save_frame(self._files[0], self._first, recipe, marked=self._marking.on and recipe is not None)
        place = output_paths.publish_images(self._files, self._path, existing)
        self._open.close()
        return place

    def discard(self) -> None:
        self._open.close()
