"""How fast a timeline is rendered: frames a processor second, beside a plain transcode of the same frames by PyAV.

    python -m bench.render
    python -m bench.render --seconds 10 --size 1280x720 --format h264

The transcode decodes a video and encodes it with the same encoder, quality and one thread, from one pixel format to the
other; it composes nothing and writes no audio. The timelines have the same number of frames: a cut of three clips; the
same with dissolves, a title and two tracks of audio at a loudness.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from wan22.media.audio import write_audio
from wan22.media.encoding import Encoder, Encoding
from wan22.media.video import VideoWriter
from wan22.timeline.document import read
from wan22.timeline.formats import FORMATS
from wan22.timeline.items import Timeline
from wan22.timeline.render import Settings, render
from wan22.timeline.sources import files_beside
from wan22.types import Audio

RATE, SAMPLES = 24, 48_000


def source(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A video with something that moves, and noise that costs the encoder something."""
    random = np.random.default_rng(0)
    grain = random.integers(0, 4, (4, size[1], size[0], 1), np.uint8)
    rows = np.linspace(0, 200, size[1])[:, None, None] * np.ones((1, size[0], 3))
    with VideoWriter(path, fps=RATE, size=size, quality="high") as writer:
        for number in range(frames):
            frame = np.roll(rows, number * 3, 0).astype(np.uint8) + grain[number % 4]
            frame[100:200, number % (size[0] - 100) :][:, :100] = (230, 80, 40)
            writer.add(frame)


def timelines(frames: int, size: tuple[int, int]) -> dict[str, Timeline]:
    """A cut, and one with effects; each of `frames` frames."""
    part = frames // 3
    known = {"frames": frames, "rate": [RATE, 1], "size": list(size), "audio": False}
    audio = {"frames": frames, "rate": [RATE, 1], "size": None, "audio": True}
    lengths = [part, part, frames - 2 * part]
    handle = min(12, part // 3)
    clips = [
        {
            "id": f"c{number}", "type": "clip", "media": {"path": "source.mp4"}, "in": handle,
            "out": handle + length, "duration": length, "source": known | {"frames": frames + 2 * handle},
        }
        for number, length in enumerate(lengths)
    ]  # fmt: skip
    dissolves = [
        {"id": f"t{number}", "type": "transition", "in_offset": handle, "out_offset": handle}
        for number in (1, 2)
    ]
    tracks = [
        {
            "id": name, "kind": "audio", "duck": None if name == "a1" else {"under": "a1", "by_db": 9},
            "items": [{"id": f"s{name}", "type": "clip", "media": {"path": "tone.wav"}, "in": 0, "out": frames,
                       "duration": frames, "source": audio}],
        }
        for name in ("a1", "a2")
    ]  # fmt: skip
    plain = {"wan22_timeline": 1, "rate": [RATE, 1], "size": list(size)}
    mixed = [clips[0], dissolves[0], clips[1], dissolves[1], clips[2]]
    title = {"id": "x", "from": 0, "to": frames, "text": "A title", "fade": 12}
    video = {"id": "v", "kind": "video"}
    return {
        "three clips": read(plain | {"tracks": [video | {"items": clips}]}),
        "dissolves, title, audio": read(
            plain | {"tracks": [video | {"items": mixed}, *tracks], "titles": [title], "loudness": -16}
        ),
    }


def transcode(path: Path, target: Path, encoding: Encoding, frames: int) -> None:
    """Decode, change the pixels' format, encode, write: nothing else."""
    with av.open(str(path)) as container, av.open(str(target), "w", format=encoding.kind) as out:
        encoder = Encoder(out, encoding)
        stream = encoder._stream
        for number, frame in enumerate(container.decode(video=0)):
            if number == frames:
                break
            plain = frame.reformat(format=stream.pix_fmt)
            plain.pts, plain.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(plain))
        out.mux(stream.encode(None))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.render", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", default="832x480")
    parser.add_argument(
        "--format", default="h264", choices=[n for n, f in FORMATS.items() if f.codec and f.audio]
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the fastest counts")
    asked = parser.parse_args(arguments)
    width, height = map(int, asked.size.split("x"))
    frames, size, form = round(asked.seconds * RATE), (width, height), FORMATS[asked.format]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source(folder / "source.mp4", frames + 24, size)
        tone = 0.2 * np.sin(np.arange(round(asked.seconds * SAMPLES)) / 20)
        write_audio(folder / "tone.wav", Audio(tone.astype(np.float32), SAMPLES))
        target = folder / f"out{form.suffix}"
        encoding = form.encoding(target, Fraction(RATE), size, "high")
        base = least(lambda: transcode(folder / "source.mp4", target, encoding, frames), asked.repeats)
        print(f"{asked.format}, {asked.size}, {frames} frames; one encoder thread")
        print(f"{'plain transcode':28} {frames / base:7.1f} frames a processor second")
        for label, timeline in timelines(frames, size).items():
            settings = Settings(format=asked.format, existing="replace")
            taken = least(
                lambda cut=timeline, how=settings: list(render(cut, target, files_beside(folder), how)),
                asked.repeats,
            )
            print(f"{label:28} {frames / taken:7.1f} frames/s   {taken / base:.2f} times as long")
    return 0


def least(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds, of all threads, of the fastest of several runs: other work of the machine adds none."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


if __name__ == "__main__":
    raise SystemExit(main())
