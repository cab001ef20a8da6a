"""Real kills at random moments: `python -m bench.kills --count 20 [--kind NAME] [--seed N]`.

A command of the embedded model (a video, numbered images, a long video, a training run, a survey of data) is killed
with SIGKILL at random moments, up to twice, then run to its end. Counted are the runs that ended with the bits of one
that nobody killed (same), kills after which neither the old result nor the new one had the name (lost), or something
had it that no reader takes (half) or that is neither (unknown), files that were left beside the result in the end
(left), and runs that did not end (failed). The exit code is 1 unless all is well. tests/unit/test_kills.py dies at
every step of every writer, in seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from safetensors import safe_open

from wan22.errors import Wan22Error
from wan22.media.sequence_files import numbered
from wan22.media.video import stream_clip
from wan22.nano.filmset import shots_with, write_clips

_RECIPE = """
output = "out"
save = 2
[model]
name = "nano"
[adapter]
rank = 2
[data]
sources = "clips"
size = [96, 96]
frames = 17
fps = 8
[optimiser]
steps = 6
warmup = 1
"""
_COLUMNS = ("runs", "kills", "same", "lost", "half", "unknown", "left", "failed")
_SMALL = ("--size", "64x64", "--steps", "4")


@dataclass(frozen=True)
class Kind:
    """A command and what it makes in the folder it runs in. `read` is a digest, and raises if it is not whole."""

    command: tuple[str, ...]
    made: str
    read: Callable[[Path], str]
    old: bool = False
    """Whether it replaces a former result, which must not be lost."""


def frames_of(path: Path) -> str:
    """The hash of a video's frames."""
    digest = hashlib.sha256()
    for piece in stream_clip(path):
        digest.update(piece.tobytes())
    return digest.hexdigest()


def tensors_of(folder: Path) -> str:
    """The hash of every tensor of the LoRAs in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in sorted(file.keys()):
                digest.update(name.encode() + file.get_tensor(name).float().numpy().tobytes())
    return digest.hexdigest()


def report_of(path: Path) -> str:
    """The hash of a survey's numbers."""
    return hashlib.sha256(
        json.dumps(json.loads(path.read_text("utf-8")), sort_keys=True).encode()
    ).hexdigest()


def _generate(*more: str) -> tuple[str, ...]:
    return ("generate", "a red ball rolls left", *_SMALL, *more)


KINDS = {
    "mp4": Kind(_generate("--frames", "9", "-o", "v.mp4"), "v.mp4", frames_of, old=True),
    "sequence": Kind(_generate("--frames", "9", "-o", "shots/"), "shots", frames_of, old=True),
    "long": Kind(_generate("--frames", "41", "-o", "long.mp4"), "long.mp4", frames_of),
    "train": Kind(("train", "recipe.toml"), "out/lora", tensors_of),
    "data": Kind(
        ("data", "survey", "clips", "--size", "64x64", "--frames", "5", "--fps", "8", "-o", "report"),
        "report/report.json",
        report_of,
    ),
}


class Run:
    """A kind's command in a folder of its own."""

    def __init__(self, kind: Kind, folder: Path, clips: Path) -> None:
        self.kind, self.folder = kind, folder
        folder.mkdir()
        shutil.copytree(clips, folder / "clips")
        (folder / "recipe.toml").write_text(_RECIPE)
        self.made = folder / kind.made

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "wan22", *self.kind.command]
        path = os.pathsep.join(each for each in sys.path if each)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def finish(self) -> tuple[int, str]:
        process = self.start()
        _, said = process.communicate()
        return process.returncode, said.decode("utf-8", "replace")

    def put(self, former: Path) -> None:
        """Put a former result under the name."""
        (shutil.copytree if former.is_dir() else shutil.copyfile)(former, self.made)

    def state(self) -> str | None:
        """The digest of what has the name; None if nothing has; "half" if no reader takes it."""
        if not self.made.exists():
            return None
        try:
            if self.made.is_dir() and not list(self.made.glob("*.safetensors")) and not numbered(self.made):
                return "half"
            return self.kind.read(self.made)
        except (Wan22Error, OSError, ValueError):
            return "half"

    def names(self) -> set[str]:
        """Everything that is there."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


def trial(kind: Kind, whole: Run, seconds: float, folder: Path, chance: random.Random) -> Counter[str]:
    """Kill a command once or twice, then let it end; count what went wrong."""
    found: Counter[str] = Counter()
    run = Run(kind, folder, whole.folder / "clips")
    former = whole.folder.parent / f"former-{run.made.name}"
    good = {whole.state()}
    if kind.old:
        run.put(former)
        good.add(run.state())
    else:
        good.add(None)
    for _ in range(chance.choice((1, 1, 2))):
        process = run.start()
        _wait_for(process, chance.uniform(0.2, 1.0) * seconds)
        process.kill()
        process.communicate()
        if process.returncode == 0:
            found["had ended"] += 1
            break
        found["kills"] += 1
        state = run.state()
        found["half"] += state == "half"
        found["lost"] += state is None and None not in good
        found["unknown"] += state not in good and state not in ("half", None)
    code, said = run.finish()
    if code:
        found["failed"] += 1
        print(said[-500:], file=sys.stderr)
    found["runs"] += 1
    found["same"] += run.state() == whole.state()
    left = run.names() - whole.names()
    found["left"] += len(left)
    if left:
        print("left:", *sorted(left), file=sys.stderr)
    return found


def _wait_for(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until a process has used so many seconds of processors, which a busy machine does not change, or ended."""
    with suppress(psutil.NoSuchProcess):
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            used = watched.cpu_times()
            if used.user + used.system >= seconds:
                return
            time.sleep(0.002)


def _seconds_of_children() -> float:
    """The processor seconds of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=4, help="runs of each kind that are killed")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind; again for more")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, bad = random.Random(options.seed), 0
    print(f"| kind | {' | '.join(_COLUMNS)} |\n|---|{'--:|' * len(_COLUMNS)}", flush=True)
    for name in options.kind or KINDS:
        kind = KINDS[name]
        with tempfile.TemporaryDirectory() as place:
            base = Path(place)
            write_clips(base / "clips", shots_with(3, 0, {}), seed=0, size=(64, 64), frames=17)
            whole = Run(kind, base / "whole", base / "clips")
            former = base / f"former-{whole.made.name}"
            if kind.old:
                other = Run(
                    Kind((*kind.command, "--seed", "7"), kind.made, kind.read), base / "other", base / "clips"
                )
                other.finish()
                shutil.move(other.made, former)
            before = _seconds_of_children()
            code, said = whole.finish()
            if code:
                sys.exit(said)
            seconds = _seconds_of_children() - before
            found: Counter[str] = Counter()
            for i in range(options.count):
                found += trial(kind, whole, seconds, base / str(i), chance)
        print(f"| {name} | {' | '.join(str(found[key]) for key in _COLUMNS)} |", flush=True)
        bad += found["runs"] - found["same"] + sum(found[key] for key in _COLUMNS[3:])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
