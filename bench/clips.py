"""What the clips of a long video cost beside denoising and decoding.

    python -m bench.clips [--model NAME]... [--clips 10] [--steps N] [--clock cpu] [-o FILE]

The video is made as on the command line (`publish_long`), and timed from outside: what passes before an event of the
engine is the engine's work, what passes after it is the work of whoever took it. A short video is made first, so that
loading is not counted.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import wan22
from bench.measure import CLOCKS
from bench.scene import portrait, voice_with_clicks
from wan22.cli.report import LineReport
from wan22.director.drift import DriftMeter
from wan22.engine import Engine
from wan22.media.audio import write_audio
from wan22.production.audio import AudioTrack
from wan22.production.long_video import LongWork, publish_long
from wan22.production.publish import Target
from wan22.types import ClipDone, Event, Finished, Frames, Phase, Progress, Request

MODELS = ("nano", "nano-s2v")
PROMPT = "a red ball bounces in the snow at sunset"

DENOISE, DECODE = "denoising", "decoding"
CONDITION, READ = (
    "encoding the condition: audio features, or the last frame",
    "the network reads text, audio and history",
)
KEEP, WRITE, DRIFT = "encoding history for the next clip", "frames to the video encoder", "measuring drift"
STORE, ONCE = "writing the clip to disk", "once a video: opening, closing, adding the audio"
PARTS = (DENOISE, DECODE, CONDITION, READ, KEEP, WRITE, DRIFT, STORE)


class Quiet(LineReport):
    """Says nothing."""

    def event(self, event: Event) -> None: ...

    def note(self, text: str) -> None: ...

    def made(self, path: str, recipe: dict[str, Any]) -> None: ...


class Timed:
    """An engine that counts, in `spent`, the seconds of every part of a long video."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine, self._clock = engine, clock
        self._meter = DriftMeter(engine.variant.defaults.fps)
        self.recipe = engine.recipe
        self.spent: Counter[str] = Counter()

    def generate(self, request: Request, done: ClipDone | None = None) -> Iterator[Event]:
        """The engine's events."""
        steps: list[float] = []
        now = self._clock()
        for event in self._engine.generate(request, done):
            before, now = now, self._clock()
            match event:
                case Progress():
                    steps.append(now - before)
                case Phase("decode"):
                    # Reading comes before the first step, which else is like the others.
                    read = max(0.0, steps[0] - sum(steps[1:]) / max(1, len(steps) - 1)) if steps[1:] else 0.0
                    self.spent[READ] += read
                    self.spent[DENOISE] += sum(steps) - read + now - before
                    steps = []
                case Frames():
                    self.spent[DECODE] += now - before
                case ClipDone():
                    self.spent[KEEP] += now - before
                case Finished():
                    self.spent[ONCE] += now - before
                case _:
                    self.spent[CONDITION] += now - before
            yield event
            before, now = now, self._clock()
            self.spent[STORE if isinstance(event, ClipDone) else WRITE] += now - before
            if isinstance(event, Frames):
                # Whoever took the frames has measured their drift; a meter of our own tells how long that took.
                self._meter.add(event.frames)
                before, now = now, self._clock()
                self.spent[DRIFT] += now - before
                self.spent[WRITE] -= now - before


def video(engine: Engine, clips: int, steps: int | None, folder: Path) -> tuple[Request, AudioTrack | None]:
    """A request for a video of so many clips, and its audio if it has one."""
    row = engine.variant
    size, fps = row.trained.sizes[0], row.defaults.fps
    if row.speech is None:
        frames = clips * (max(row.trained.frames) - 1) + 1
        return Request(prompt=PROMPT, size=size, frames=frames, steps=steps), None
    frames = clips * row.speech.clip_frames
    path = folder / f"{clips}.wav"
    write_audio(path, voice_with_clicks(-(-frames // int(fps)), 48_000))
    audio = AudioTrack(str(path))
    image, prompt = portrait(size, fps)
    return Request(
        prompt=prompt, image=image, audio=audio.samples(), size=size, frames=frames, steps=steps
    ), audio


def measure(model: str, clips: int, steps: int | None, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds a clip of every part, and those that a video takes besides."""
    engine = wan22.load(model, device="cpu")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for count in (2, clips):
            request, audio = video(engine, count, steps, folder)
            timed = Timed(engine, clock)
            work = LongWork(Target(str(folder / f"{count}.mp4")), engine.check(request), audio)
            assert work.canvas.clips == count
            began = clock()
            publish_long(timed, request, work, Quiet())
            whole = clock() - began
    spent = {part: timed.spent[part] / clips for part in PARTS}
    # The second meter of drift is no part of the video.
    return spent | {ONCE: whole - timed.spent[DRIFT] - sum(timed.spent[part] for part in PARTS)}


def share(spent: dict[str, float]) -> float:
    """Of a clip's time, what is neither denoising nor decoding."""
    whole = sum(spent[part] for part in PARTS)
    return 1 - (spent[DENOISE] + spent[DECODE]) / whole


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "python -m bench.clips", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", help=f"a model or its folder; left out: {' and '.join(MODELS)}"
    )
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: for one thread on a busy machine"
    )
    parser.add_argument("-o", "--output", type=Path, default=None, help="write the figures here (json)")
    options = parser.parse_args()
    if options.clips < 2:
        parser.error(f"a long video has 2 clips or more, not {options.clips}")
    models = options.model or list(MODELS)
    found = {model: measure(model, options.clips, options.steps, CLOCKS[options.clock]) for model in models}
    print(f"{options.clips} clips; ms a clip, {options.clock} clock, {torch.get_num_threads()} threads\n")
    print("|", " | ".join(["", *models]), "|")
    print("|---|" + "--:|" * len(models))
    for part in (*PARTS, ONCE):
        print(f"| {part} |", " | ".join(f"{1000 * spent[part]:.1f}" for spent in found.values()), "|")
    shares = " | ".join(f"{share(spent):.1%}" for spent in found.values())
    print(f"| share of a clip that is neither denoising nor decoding | {shares} |")
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
