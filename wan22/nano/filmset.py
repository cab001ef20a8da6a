"""`python -m wan22.nano.filmset -o FOLDER`: clips of the film set with their captions, a folder for a recipe.

The labels that are given hold for every clip; the others are drawn. Besides, `labels.jsonl` says all of them.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from wan22.atomic import write_text
from wan22.errors import OptionError, Wan22Error, choose
from wan22.media.writer import VideoWriter
from wan22.stage.caption import caption
from wan22.stage.labels import AXES, Shot, Split, labels, sample
from wan22.stage.render import render

_TRIES = (2, 14, 60)
"""Draws for each shot that is wanted: with labels in place, one in ten of them is of the held-out split."""


def shots_with(count: int, seed: int, fixed: Mapping[str, str], *, split: Split = "train") -> list[Shot]:
    """Sampled shots of a split with the labels of `fixed` in place; each is of that split with them, too.

    Raises OptionError for an unknown axis or value, and if next to no shot of the split can have these labels.
    """
    for axis, value in fixed.items():
        known = AXES[choose("axis of the film set", axis, tuple(AXES))]
        choose(axis, value, tuple(known))
    for tries in _TRIES:  # longer series begin as shorter ones do
        shots = list(_placed(sample(tries * count, seed, split=split), fixed, split))
        if len(shots) >= count:
            return shots[:count]
    said = ", ".join(f"{axis}={value}" for axis, value in fixed.items())
    raise OptionError(
        f"there are not {count} {split} shots with {said}: fix fewer labels, or take the other split"
    )


def _placed(drawn: Iterable[Shot], fixed: Mapping[str, str], split: Split) -> Iterator[Shot]:
    """The shots with other labels in place, as far as they can be and are of the split."""
    for shot in drawn:
        told = labels(shot) | fixed
        if told["camera"] == "follow" and not told["action"].startswith("travel"):
            continue
        if (changed := Shot(**told)).held_out == (split == "held-out"):
            yield changed


def write_clips(
    folder: Path,
    shots: list[Shot],
    *,
    seed: int,
    size: tuple[int, int] = (128, 80),
    frames: int = 17,
    fps: int = 8,
    language: str | None = "en",
    trigger: dict[str, str] | None = None,
) -> list[Path]:
    """Write each shot as NAME.mp4 beside NAME.txt; `trigger` replaces words of the captions.

    Raises OptionError if the folder holds clips already: nothing is overwritten.
    """
    if folder.exists() and any(folder.glob("*.mp4")):
        raise OptionError(f"{folder} holds clips already: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    words = random.Random(seed)
    made, lines = [], []
    clips = render(shots, height=size[1], width=size[0], frames=frames, fps=fps, seed=seed)
    for i, (shot, clip) in enumerate(zip(shots, clips, strict=True)):
        text = caption(shot, words, language=language).text
        for old, new in (trigger or {}).items():
            text = text.replace(old, new)
        path = folder / f"{i:03d}.mp4"
        with VideoWriter(path, fps=fps, size=size) as writer:
            writer.add(clip.numpy())
        write_text(path.with_suffix(".txt"), text + "\n")
        made.append(path)
        lines.append(json.dumps({"video": path.name, "text": text, **labels(shot)}, ensure_ascii=False))
    write_text(folder / "labels.jsonl", "\n".join(lines) + "\n")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wan22.nano.filmset", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=_size, default=(128, 80), metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--fps", type=int, default=8)
    parser.add_argument("--held-out", action="store_true", help="combinations that no training sees")
    parser.add_argument("--language", default="en", choices=("en", "zh", "ko", "ja"))
    parser.add_argument("label", nargs="*", metavar="AXIS=VALUE", help="labels that hold for every clip")
    options = parser.parse_args(arguments)
    try:
        fixed = dict(_pair(text) for text in options.label)
        split: Split = "held-out" if options.held_out else "train"
        shots = shots_with(options.count, options.seed, fixed, split=split)
        made = write_clips(
            options.output,
            shots,
            seed=options.seed,
            size=options.size,
            frames=options.frames,
            fps=options.fps,
            language=options.language,
        )
    except Wan22Error as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"{len(made)} clips in {options.output}")  # noqa: T201
    return 0


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no WIDTHxHEIGHT in pixels, such as 128x80") from None


def _pair(text: str) -> tuple[str, str]:
    axis, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"{text!r} is no label: say AXIS=VALUE, as in subject=mushroom")
    return axis, value


if __name__ == "__main__":
    sys.exit(main())
