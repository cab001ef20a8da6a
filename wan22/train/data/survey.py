"""Look at every clip before anything is trained: what will be used, at which size and length, and what is wrong.

No model is needed. Each clip's packets are read, and its first, middle and last frames decoded, so that most damage
is found here and not after hours.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wan22.clock import StepCounter
from wan22.errors import MediaError
from wan22.train.data.buckets import best_size, cut, enlargement
from wan22.train.data.found import Found
from wan22.train.data.frames import frames_at
from wan22.train.data.plan import DataPlan, Item, Problem, Window
from wan22.train.data.probe import FREEZE, Facts, probe
from wan22.train.data.sources import collect
from wan22.train.log import Log

MOST_ENLARGED = 2.0
"""Times that a small clip is enlarged; beyond, a model would learn the blur."""

MOST_THUMBS = 400
"""Clips whose images are kept for the report; of more, evenly spread ones."""

MANY_WORDS = 350
"""About as many as 512 tokens hold."""

_SAME = 8  # of 255
_THUMB = 192  # pixels of the longer side
_SLOW = 0.75  # of the plan's rate, under which motion stutters


@dataclass(frozen=True)
class Video:
    """A clip or image that is used: what its source says, what it is, and three small JPEGs of what will be seen."""

    item: Item
    facts: Facts
    thumbs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What a plan comes to. `found` counts the clips named; `windows` are the pieces that will be trained."""

    plan: DataPlan
    videos: tuple[Video, ...]
    windows: tuple[Window, ...]
    problems: tuple[Problem, ...]
    found: int

    @property
    def refused(self) -> tuple[Problem, ...]:
        """Problems of what is not used."""
        return tuple(problem for problem in self.problems if not problem.used)

    @property
    def buckets(self) -> dict[str, list[int]]:
        """Windows by bucket, the fullest first; a window stands there as often as its source repeats it."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, window in enumerate(self.windows):
            found[window.bucket] += [index] * self.videos[window.video].item.repeats
        return dict(sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0])))

    @property
    def seconds(self) -> float:
        """Seconds of video that are used, without repeats; images have none."""
        return sum(w.frames * w.step for w in self.windows if w.frames > 1)

    def table(self) -> list[str]:
        """The survey as lines for a terminal: buckets, then problems, counted by reason."""
        lines = [f"{'bucket':>16} {'pieces':>7} {'weighed':>8} {'seconds':>8}"]
        for name, indices in self.buckets.items():
            pieces = set(indices)
            seconds = sum(self.windows[i].frames * self.windows[i].step for i in pieces)
            lines.append(f"{name:>16} {len(pieces):7} {len(indices):8} {seconds:8.1f}")
        used = len(self.videos)
        lines.append(f"{used} of {self.found} clips used, {self.seconds:.1f} s; {len(self.refused)} refused")
        for title, used in (("refused", False), ("used, but", True)):
            shown = [problem for problem in self.problems if problem.used is used]
            lines += [f"  {title}: {problem}" for problem in shown[:_SHOWN]]
            if len(shown) > _SHOWN:
                lines.append(f"  and {len(shown) - _SHOWN} more; the report names them all")
        return lines


_SHOWN = 12


def survey(plan: DataPlan, log: Log | None = None) -> Survey:
    """Look at every clip that the plan's sources name.

    Raises OptionError for a source that is not there, and MediaError if nothing can be used at all.
    """
    found = collect(plan.sources)
    named = len(found.items) + sum(not problem.used for problem in found.problems)
    items = _different(found)
    videos: list[Video] = []
    windows: list[Window] = []
    every = max(1, -(-len(items) // MOST_THUMBS))
    counter = StepCounter(len(items), "clip", log)
    for index, item in enumerate(items):
        try:
            facts = probe(item.path)
            pieces = _windows(plan, item, facts, len(videos), found)
            if pieces:
                videos.append(
                    Video(item, facts, _looked_at(item, facts, pieces, found, keep=index % every == 0))
                )
                windows += pieces
        except MediaError as error:
            found.refuse(item.path, *split(str(error), item.path))
        counter.step()
    if not windows:
        raise MediaError(_nothing(plan, found.problems))
    return Survey(plan, tuple(videos), tuple(windows), tuple(found.problems), named)


def _windows(plan: DataPlan, item: Item, facts: Facts, video: int, found: Found) -> list[Window]:
    """The pieces of a clip; none, with a Problem, if it is too small or too short."""
    wanted = item.size or plan.size
    size = best_size(facts.size, _multiple(wanted, plan.side), plan.side, plan.only)
    times = enlargement(facts.size, size)
    if times > MOST_ENLARGED:
        found.refuse(
            item.path,
            f"is {facts.size[0]}x{facts.size[1]} and would be enlarged {times:.1f} times to {size[0]}x{size[1]}",
            f"At most {MOST_ENLARGED:g} times: give a larger copy, or train at a smaller size.",
        )
        return []
    lengths = item.frames or plan.frames
    if facts.still:
        return [Window(video, 0.0, 1 / plan.fps, 1, size)]
    pieces = cut(video, facts.seconds, size, lengths, plan.fps)
    if not pieces:
        found.refuse(
            item.path,
            f"lasts {facts.seconds:.2f} s, {facts.seconds * plan.fps:.0f} frames at {plan.fps:g} a second; "
            f"the shortest length is {min(lengths)}",
            "Give a longer clip, or add a smaller number of frames.",
        )
    if pieces:
        _remark(plan, item, facts, found)
    return pieces[:1] if item.head else pieces


def _remark(plan: DataPlan, item: Item, facts: Facts, found: Found) -> None:
    """Note what may spoil a clip that is used."""
    if facts.fps < _SLOW * plan.fps:
        found.note(
            item.path,
            f"has {facts.fps:.3g} frames a second, fewer than the {plan.fps:g} that are trained",
            "Its frames are repeated and motion will stutter; a clip of a higher rate is better.",
        )
    if facts.longest > FREEZE:
        found.note(item.path, f"stands still for {facts.longest:.1f} s", "Cut that part out.")
    if facts.hdr:
        found.note(
            item.path,
            f"is HDR ({facts.hdr}); it is brought to SDR",
            "Convert it to SDR (BT.709) to choose how.",
        )
    if facts.interlaced:
        found.note(item.path, "is interlaced: motion has combs", "Deinterlace it first.")
    if len(item.caption.split()) > MANY_WORDS:
        words = len(item.caption.split())
        found.note(item.path, f"has a text of {words} words", "The end may not be read: 512 tokens are.")


def _looked_at(
    item: Item, facts: Facts, pieces: list[Window], found: Found, *, keep: bool
) -> tuple[bytes, ...]:
    """Decode the first, middle and last frame that will be used; return small JPEGs of them if they are to be kept.

    Notes a clip in which they are one image.
    """
    last = pieces[-1]
    end = last.start + (last.frames - 1) * last.step
    begin = pieces[0].start
    size = pieces[0].size
    scale = min(1.0, _THUMB / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    times = [begin] if facts.still or end <= begin else [begin, (begin + end) / 2, end]
    frames = [next(frames_at(item.path, [time], facts.clock, small, facts.size)) for time in times]
    if end - begin >= FREEZE and all(_alike(frames[0], frame) for frame in frames):
        found.note(
            item.path,
            "shows one and the same image at its beginning, middle and end",
            "Leave it out if it stands still throughout; wan22 curate measures motion.",
        )
    return tuple(_jpeg(frame) for frame in frames) if keep else ()


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two images differ by no more than compression makes them."""
    return int(np.abs(one.astype(np.int16) - other).max()) <= _SAME


def _jpeg(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=80)
    return file.getvalue()


def _different(found: Found) -> list[Item]:
    """Leave out files with the same content; only those of equal length are read."""
    sizes: dict[Item, int] = {}
    for item in found.items:
        try:
            sizes[item] = item.path.stat().st_size
        except OSError:
            sizes[item] = -1  # the probe will say what is wrong
    common = Counter(sizes.values())
    seen: dict[str, Item] = {}
    kept = []
    for item, size in sizes.items():
        if size > 0 and common[size] > 1:
            key = _content(item.path)
            if key and key in seen:
                found.refuse(item.path, f"has the same content as {seen[key].path}", "Remove one of them.")
                continue
            seen[key] = item
        kept.append(item)
    return kept


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _multiple(size: tuple[int, int], step: int) -> tuple[int, int]:
    return max(step, size[0] // step * step), max(step, size[1] // step * step)


def split(message: str, path: Path) -> tuple[str, str]:
    """An error's reason, without the file's name before it, and what would help, its last sentence."""
    text = message.removeprefix(str(path)).strip()
    reason, _, help_ = text.rstrip(".").rpartition(". ")
    return (reason or text.rstrip("."), f"{help_}." if reason else "Export it again.")


def _nothing(plan: DataPlan, problems: list[Problem]) -> str:
    named = ", ".join(str(source) for source in plan.sources)
    refused = [problem for problem in problems if not problem.used]
    first = "; ".join(str(problem) for problem in refused[:3])
    more = f" (and {len(refused) - 3} more)" if len(refused) > 3 else ""
    return f"nothing in {named} can be trained on. {first}{more}"
