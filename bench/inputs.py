"""How much memory the largest inputs take that are read: `python -m bench.inputs [--only TEXT]`.

For each kind of input a file at the limit is made (docs/inputs.md), then read in a process of its own, as a command
reads it. Printed is the peak of that process above what it had before. The exit code is 1 if one is above 1 GB.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from bench.measure import peak, reset_peak

LIMIT = 1_000_000_000
"""Bytes above the base: the bar."""
PHOTOGRAPH = (11_000, 10_000)
SIDE = 4096


@dataclass(frozen=True)
class Case:
    """A file's name, what writes it, and how it is read: "condition", "stream" or "image"."""

    name: str
    file: str
    write: Callable[[Path], None]
    how: str


def gradient(size: tuple[int, int], shift: int = 0) -> Image.Image:
    """A grey image of (width, height) whose columns and rows differ."""
    across = (np.arange(size[0]) + shift).astype(np.uint8)
    return Image.fromarray(across[None] ^ np.arange(size[1]).astype(np.uint8)[:, None])


def video(size: tuple[int, int], count: int) -> Callable[[Path], None]:
    """What writes an MP4 of `count` frames."""

    def write(path: Path) -> None:
        import av

        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", 24, options={"preset": "ultrafast", "crf": "35"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for shift in range(count):
                frame = av.VideoFrame.from_ndarray(
                    np.asarray(gradient(size, shift).convert("RGB")), format="rgb24"
                )
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    return write


def animation(size: tuple[int, int], count: int) -> Callable[[Path], None]:
    """What writes a GIF, or an animated WebP, of `count` frames."""

    def write(path: Path) -> None:
        first, *rest = (gradient(size, shift) for shift in range(count))
        options = {"method": 0} if path.suffix == ".webp" else {}
        first.save(path, save_all=True, append_images=rest, duration=100, **options)

    return write


def photograph(mode: str) -> Callable[[Path], None]:
    """What writes an image of 110 megapixels in a mode of Pillow."""

    def write(path: Path) -> None:
        grey = gradient(PHOTOGRAPH)
        if mode == "I;16":
            Image.fromarray(np.asarray(grey).astype(np.uint16) << 8).save(path, compress_level=1)
        elif mode == "P":
            grey.convert("P").save(path, compress_level=1, transparency=3)
        elif path.suffix == ".tif":
            grey.convert(mode).save(path, compression="tiff_lzw")
        elif path.suffix == ".png":
            grey.convert(mode).save(path, compress_level=1)
        else:
            grey.convert(mode).save(path)

    return write


CASES = (
    Case("MP4, 1280x720, 260 frames, as a condition", "long.mp4", video((1280, 720), 260), "condition"),
    Case("MP4, 4096x4096, 48 frames, as a condition", "large.mp4", video((SIDE, SIDE), 48), "condition"),
    Case("MP4, 4096x4096, 48 frames, in a stream", "large.mp4", video((SIDE, SIDE), 48), "stream"),
    Case("GIF, 4096x4096, 12 frames, as a condition", "large.gif", animation((SIDE, SIDE), 12), "condition"),
    Case(
        "WebP, 4096x4096, 12 frames, as a condition", "large.webp", animation((SIDE, SIDE), 12), "condition"
    ),
    Case("JPEG, 110 megapixels", "photo.jpg", photograph("RGB"), "image"),
    Case("PNG, 110 megapixels", "photo.png", photograph("RGB"), "image"),
    Case("PNG with transparency, 110 megapixels", "clear.png", photograph("RGBA"), "image"),
    Case("PNG with a palette, 110 megapixels", "palette.png", photograph("P"), "image"),
    Case("PNG in 16 bits of grey, 110 megapixels", "deep.png", photograph("I;16"), "image"),
    Case("TIFF in CMYK, 110 megapixels", "print.tif", photograph("CMYK"), "image"),
)


def read(path: Path, how: str) -> int:
    """Read a file; return the bytes that this took at the most, above what the process had."""
    from wan22.media.image import read_image
    from wan22.media.video import read_condition, stream_clip

    small = path.with_name("small.png")
    gradient((64, 64)).save(small)
    read_image(small)  # what is loaded once, with the first image
    before = reset_peak() and peak()
    match how:
        case "image":
            read_image(path)
        case "stream":
            for piece in stream_clip(path):
                del piece
        case _:
            read_condition(path)
    return max(0, peak() - before)  # the system may take pages away meanwhile


def main() -> int:
    """Make, read and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.inputs", description=main.__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains this")
    parser.add_argument("--read", nargs=2, metavar=("FILE", "HOW"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(read(Path(given.read[0]), given.read[1]))
        return 0
    over = False
    with TemporaryDirectory() as folder:
        for case in CASES:
            if given.only not in case.name:
                continue
            path = Path(folder) / case.file
            if not path.exists():
                case.write(path)
            command = [sys.executable, "-m", "bench.inputs", "--read", str(path), case.how]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            taken = int(done.stdout)
            over |= taken > LIMIT
            print(f"{taken / 1e6:6.0f} MB  {case.name}", flush=True)
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
