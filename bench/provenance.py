"""What marks of provenance cost: `python -m bench.provenance [--runs N]` (docs/provenance.md).

First `wan22 image` with the embedded model as a whole command, with and without marks, in turn; then files of each
kind that are signed and read in a process of their own. Times are processor time, medians; memory is the peak above the
base.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from bench.measure import peak, reset_peak

IMAGE = ("-m", "wan22", "image", "a red ball at sunset", "-o", "x.png")
SIZE = (1280, 704)
RECIPE = {"wan22": "0", "model": "nano", "prompt": "a red ball at sunset"}
FILES = (
    ("a.png", 0),
    ("a.jpg", 0),
    ("a.webp", 0),
    ("a.gif", 0),
    ("a.mp4", 0),
    ("a.mov", 0),
    ("large.mp4", 32),
    ("huge.mp4", 1024),
)
"""Names, and megabytes that are added to a short video."""  # fmt: skip


def spent(words: tuple[str, ...], folder: str, marks: str) -> float:
    """Processor time of a program and what it starts, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "WAN22_PROVENANCE": marks, "XDG_DATA_HOME": folder}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, *words], cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command(runs: int) -> None:
    """Print what `wan22 image` takes with and without marks."""
    with TemporaryDirectory() as folder:
        spent(IMAGE, folder, "on")  # makes the certificate, and warms the disk's cache
        rows = [{marks: spent(IMAGE, folder, marks) for marks in ("on", "off")} for _ in range(runs)]
    on, off = (median(row[marks] for row in rows) for marks in ("on", "off"))
    ratio = median(row["on"] / row["off"] for row in rows)
    print(f"wan22 image: {off:.2f} s without, {on:.2f} s with marks; ratio {ratio:.3f}")


def write(path: Path, megabytes: int) -> None:
    """Write a file without marks."""
    from wan22.media.image import write_image
    from wan22.media.provenance import Marking
    from wan22.media.video import VideoWriter

    noise = np.random.default_rng(0).integers(0, 255, (5, SIZE[1] // 4, SIZE[0] // 4, 3), dtype=np.uint8)
    frames = noise.repeat(4, 1).repeat(4, 2)
    if path.suffix in (".png", ".jpg", ".webp"):
        write_image(path, frames[0], RECIPE, marking=Marking(on=False))
        return
    with VideoWriter(path, fps=24, size=SIZE, quality="draft", marking=Marking(on=False)) as writer:
        writer.add(frames)
        writer.close(RECIPE)
    if megabytes:
        with path.open("ab") as file:  # another box of media data, which no track names
            file.write((8 + (megabytes << 20)).to_bytes(4, "big") + b"mdat")
            for _ in range(megabytes):
                file.write(os.urandom(1 << 20))


def file(name: str, megabytes: int) -> None:
    """Print what signing and reading one file takes; the first time includes the import of the library."""
    from wan22.media import provenance
    from wan22.media.output_paths import target_kind

    with TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        path = Path(folder) / name
        write(path, megabytes)
        small = Path(folder) / "first.png"
        write(small, 0)
        began = time.process_time()
        provenance.mark(small, "png", RECIPE)
        first = time.process_time() - began
        size = path.stat().st_size
        reset_peak()
        base, began = peak(), time.process_time()
        provenance.mark(path, target_kind(path), RECIPE)
        signed, grown = time.process_time() - began, path.stat().st_size - size
        began, used = time.process_time(), peak() - base
        assert provenance.read(path).signed
        read = time.process_time() - began
    print(
        f"{name:10} {size / 1e6:8.1f} MB  sign {signed * 1e3:6.0f} ms  read {read * 1e3:6.0f} ms  "
        f"+{grown / 1e3:.1f} KB  +{used / 1e6:.0f} MB of memory  (first of a process: {first * 1e3:.0f} ms)"
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="how often the command is run each way")
    parser.add_argument("--file", help="one file, in this process: NAME MEGABYTES", nargs=2)
    options = parser.parse_args()
    if options.file:
        file(options.file[0], int(options.file[1]))
        return
    command(options.runs)
    for name, megabytes in FILES:
        subprocess.run([sys.executable, "-m", "bench.provenance", "--file", name, str(megabytes)], check=True)


if __name__ == "__main__":
    main()
