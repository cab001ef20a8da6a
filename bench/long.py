"""Does a video of ten minutes need no more memory than one of a minute, and is it in sync at its end?

    python -m bench.long [--minutes 10] [--against 1] [--model nano-s2v] [--steps N] [--folder DIR] [-o FILE]

Both videos are made by the command line in processes of their own, from a singing voice with a click at every second.
The files are judged from outside: how many frames they have, and how far the click of a second is heard from the time
stamp of the frame that belongs to it. For a trained model, so is the mouth: its agreement with the audio, as the video
begins and as it ends. Returns 1 if a bar is missed.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import psutil

import wan22
from bench.measure import high_water
from bench.scene import click, portrait, voice_with_clicks
from wan22.catalog import Variant
from wan22.director.mouth import agreement, mouth_opening
from wan22.library import open_model
from wan22.media.audio import AudioReader, read_audio, write_audio
from wan22.media.image import write_image
from wan22.media.video import stream_clip
from wan22.stage.puppet import perform

MEMORY, SYNC = 1.10, 0.020
"""The bars: the peak over that of the short video, and seconds between a click and its frame."""

RATE = 48_000
_EVERY = 0.1
"""Seconds between two looks at the memory."""

_CLICKS, _FRAMES = 10, 320
"""Clicks, and frames of the mouth, that are judged at either end."""


@dataclass(frozen=True)
class Memory:
    """What a process needed, in bytes: at most, and at most in each tenth of its time."""

    peak: int
    tenths: tuple[int, ...]


@dataclass(frozen=True)
class Ends:
    """A figure of a video's beginning and of its end."""

    first: float
    last: float


@dataclass(frozen=True)
class Made:
    """A video, and what is measured of it: `offset` are the largest ones in ms (positive: the audio comes late),
    `mouth` is the agreement with the audio at no lag, `lag` where it is best, in frames.
    """

    seconds: int
    took: float
    frames: int
    expected: int
    memory: Memory
    offset: Ends
    mouth: Ends
    lag: Ends


def watched(command: list[str]) -> Memory:
    """Run a command and watch its resident memory. Raises CalledProcessError if it fails."""
    samples, peak = [], 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                samples.append(psutil.Process(process.pid).memory_info().rss)
            except psutil.NoSuchProcess:
                break
            peak = max(peak, samples[-1], high_water(process.pid) or 0)
            time.sleep(_EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Memory(peak, tuple(int(part.max()) for part in np.array_split(samples, 10) if len(part)))


def make(folder: Path, seconds: int, model: str, row: Variant, steps: int | None) -> Made:
    """Make the video of an audio file of `seconds`, and judge it."""
    size, fps = row.trained.sizes[0], row.defaults.fps
    image, audio, video = (folder / f"{seconds}{suffix}" for suffix in (".png", ".wav", ".mp4"))
    portrayed, prompt = portrait(size, fps)
    write_image(image, portrayed)
    write_audio(audio, voice_with_clicks(seconds, RATE))
    command = [sys.executable, "-m", "wan22.cli", "generate", prompt, "--model", model, "-o", str(video)]
    command += ["--image", str(image), "--audio", str(audio), "--size", f"{size[0]}x{size[1]}"]
    command += [] if steps is None else ["--steps", str(steps)]
    began = time.monotonic()
    memory = watched(command)
    took = time.monotonic() - began
    moments = frame_times(video)
    mouth, lag = lips(video, audio, fps)
    return Made(
        seconds,
        took,
        len(moments),
        round(seconds * fps),
        memory,
        offsets(video, seconds, moments, fps),
        mouth,
        lag,
    )


def frame_times(video: Path) -> np.ndarray:
    """When each frame is shown, in seconds from where a player begins."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stamps = sorted(packet.pts * stream.time_base for packet in container.demux(stream) if packet.size)
    return np.array([float(stamp) for stamp in stamps]) - float(AudioReader(video).origin)


def offsets(video: Path, seconds: int, moments: np.ndarray, fps: float) -> Ends:
    """How late the first and the last clicks are heard after the frames of their seconds, in ms: the worst of each."""
    heard = read_audio(video, rate=None)
    wave = click(heard.rate)

    def late(second: int) -> float:
        first = round((second - 0.25) * heard.rate)
        likeness = np.correlate(heard.samples[first : first + heard.rate // 2], wave, mode="same")
        return (first + int(likeness.argmax())) / heard.rate - moments[round(second * fps)]

    def worst(which: list[int]) -> float:
        return 1000 * float(max(map(late, which), key=abs))

    known = list(range(1, seconds))
    return Ends(worst(known[:_CLICKS]), worst(known[-_CLICKS:]))


def lips(video: Path, audio: Path, fps: float) -> tuple[Ends, Ends]:
    """The mouth's agreement with the audio over the first and the last frames: at no lag, and the best lag."""
    frames = (frame for piece in stream_clip(video) for frame in piece)
    first = np.stack(list(islice(frames, _FRAMES)))
    last, count = deque(first, maxlen=_FRAMES), len(first)
    for frame in frames:
        last.append(frame)
        count += 1
    heard = read_audio(audio)
    true = perform(heard.samples, heard.rate, count, fps, seed=0).mouth
    begin = agreement(mouth_opening(first), true[: len(first)])
    end = agreement(mouth_opening(np.stack(last)), true[-len(last) :])
    return Ends(begin.at_once, end.at_once), Ends(begin.lag, end.lag)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "python -m bench.long", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--against", type=float, default=1, metavar="MINUTES", help="length of the short video"
    )
    parser.add_argument("--model", default="nano-s2v", help="a model that audio drives, or its folder")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="keep videos and audio here")
    parser.add_argument("-o", "--output", type=Path, default=None, help="write the figures here (json)")
    options = parser.parse_args()
    row = open_model(options.model).variant
    lengths = [round(60 * minutes) for minutes in (options.against, options.minutes)]
    with TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        short, whole = (make(folder, seconds, options.model, row, options.steps) for seconds in lengths)
    growth = whole.memory.peak / short.memory.peak
    _show(short, whole, growth)
    if options.output:
        about = {"model": options.model, "steps": options.steps, "wan22": wan22.__version__}
        figures = {**about, "short": asdict(short), "whole": asdict(whole), "growth": growth}
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    counted = all(video.frames == video.expected for video in (short, whole))
    heard = abs(whole.offset.last) <= 1000 * SYNC
    return 0 if counted and heard and growth <= MEMORY else 1


def _show(short: Made, whole: Made, growth: float) -> None:
    print("| video | made in | frames (expected) | peak MiB | click after its frame, first and last "
          "| mouth and audio, first and last | lag in frames |")  # fmt: skip
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for video in (short, whole):
        print(
            f"| {video.seconds} s | {video.took:.0f} s | {video.frames:,} ({video.expected:,}) "
            f"| {video.memory.peak / 2**20:.0f} | {video.offset.first:+.2f}, {video.offset.last:+.2f} ms "
            f"| {video.mouth.first:.2f}, {video.mouth.last:.2f} | {video.lag.first:+.0f}, {video.lag.last:+.0f} |"
        )
    print(
        f"\npeak over the short video's: {growth:.3f} (at most {MEMORY}); sync at most {1000 * SYNC:.0f} ms"
    )
    print("MiB in each tenth of the long run:", *(f"{tenth / 2**20:.0f}" for tenth in whole.memory.tenths))


if __name__ == "__main__":
    sys.exit(main())
