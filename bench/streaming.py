"""How much memory a model takes whose blocks are streamed from disk: one video, in a process of its own.

    python -m bench.random_model ti2v-5B /somewhere/r5b
    python -m bench.streaming /somewhere/r5b --size 480x256 --frames 17
    python -m bench.streaming /somewhere/r5b --no-text --no-decode          a step alone

The highest resident memory of each phase and of the whole process, and what the plan foresaw for its tensors. While it
denoises, weights come to the device; that belongs to the denoising.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measure import peak, reset_peak

if TYPE_CHECKING:
    from wan22.types import Event


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Make one video; bytes of resident memory by phase."""
    import torch

    import wan22
    from wan22.cli.options import parse_size
    from wan22.types import Request

    base = _resident()
    engine = wan22.load(options.model, device="cpu", dtype=options.dtype, memory=options.memory)
    request = Request(
        prompt="a red ball rolls left at sunset",
        size=parse_size(options.size),
        frames=options.frames,
        steps=options.steps,
        guidance=options.guidance,
        seed=0,
        prompt_embeds=torch.ones(20, engine.variant.dit.text_dim) if options.no_text else None,
    )
    foreseen = engine.plan(request)
    frames = engine.check(request).frames
    phases, seconds = measured(engine.generate(request), decode=not options.no_decode)
    return {
        "model": Path(options.model).name,
        "size": options.size,
        "frames": frames,
        "base": base,
        "peak": max(phases.values()),
        "phases": phases,
        "seconds": seconds,
        "foreseen": {stage.name: stage.peak for stage in foreseen.stages},
        "files": {
            file.name: file.stat().st_size
            for file in sorted(Path(options.model).iterdir())
            if file.suffix in (".safetensors", ".gguf")
        },
    }


def measured(
    events: Iterable[Event], *, decode: bool = True, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, int], dict[str, float]]:
    """Bytes of resident memory at most, and seconds, of each phase of a video; before the first it is opened."""
    from wan22.types import Latents, Phase, Progress

    phases: dict[str, int] = {}
    seconds: dict[str, float] = {}
    phase, start = "open", clock()

    def close() -> None:
        phases[phase] = max(phases.get(phase, 0), peak())
        seconds[phase] = round(seconds.get(phase, 0.0) + clock() - start, 1)
        print(f"{phase}: {phases[phase] / 1e9:.2f} GB, {seconds[phase]} s", file=sys.stderr, flush=True)

    for event in events:
        if isinstance(event, Phase) and event.name != "load":  # an expert is loaded within the denoising
            close()
            phase, start = event.name, clock()
            reset_peak()
        elif isinstance(event, Latents) and not decode:
            break
        elif isinstance(event, Progress):
            print(f"step {event.index} of {event.steps}: {event.seconds:.1f} s", file=sys.stderr, flush=True)
    close()
    return phases, seconds


def _resident() -> int:
    import psutil

    return psutil.Process(os.getpid()).memory_info().rss


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming", description=__doc__)
    parser.add_argument("model", help="a folder")
    parser.add_argument("--size", default="480x256")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--memory", default="stream")
    parser.add_argument("--no-text", action="store_true", help="random embeddings in place of the prompt")
    parser.add_argument("--no-decode", action="store_true", help="stop at the latents")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    row = run(options)
    if options.json:
        print(json.dumps(row))
        return
    print(
        f"{row['model']} {row['size']}x{row['frames']}: peak {row['peak'] / 1e9:.2f} GB, "
        f"of which Python and PyTorch {row['base'] / 1e9:.2f}"
    )
    print(
        "  the plan foresaw "
        + ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in row["foreseen"].items())
    )
    for name, size in row["phases"].items():
        print(f"  {name:10} {size / 1e9:6.2f} GB  {row['seconds'][name]:7.1f} s")


if __name__ == "__main__":
    main()
