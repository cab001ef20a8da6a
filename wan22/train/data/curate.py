"""Which clips of a folder are worth training on: every clip measured, thresholds applied, reasons written down.

    OUT/curate.json      every clip's numbers, whether it is kept, and why not
    OUT/kept.jsonl       the clips that are kept and have a text, as the trainer reads them
    OUT/curate.png       histograms of what was measured, with the thresholds

Nothing is deleted, moved or changed. What is measured, and how, is in measures.py.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from wan22.clock import StepCounter
from wan22.errors import MediaError, OptionError
from wan22.media.own_files import written_own
from wan22.train.data.found import CLIPS, MEDIA, walk
from wan22.train.data.measures import CUT, Measures, measure
from wan22.train.data.plan import Problem
from wan22.train.data.sources import collect
from wan22.train.log import Log

_SIGNS, _COLOURS = 12, 14.0
"""Signs that differ, of 192, and steps of 255 between small colours, up to which clips are alike."""


@dataclass(frozen=True)
class Thresholds:
    """What a clip must be to be kept; None asks nothing. Units are those of measures.py.

    `max_text` is for clips that move: of one that stands still, steady text may be of the scene, and is only noted.
    """

    min_sharpness: float | None = None
    min_motion: float | None = None
    max_motion: float | None = None
    min_brightness: float | None = 8.0
    max_brightness: float | None = 247.0
    max_cuts: int | None = 0
    max_text: float | None = 0.4
    duplicates: bool = False

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float | int) and not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{f.name} = {value} should be a number from 0 on")
        for low, high in (("min_motion", "max_motion"), ("min_brightness", "max_brightness")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise OptionError(f"{low} = {least:g} is more than {high} = {most:g}: nothing would be kept")


@dataclass(frozen=True)
class Judged:
    """A clip, its numbers, what speaks against it, and what is worth a word; `caption` is None without a text."""

    measures: Measures
    caption: str | None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return not self.reasons


@dataclass(frozen=True)
class Curated:
    """Every clip of a folder, and the files that could not be read, with the reason; `texts` are texts and tables."""

    folder: Path
    thresholds: Thresholds
    clips: tuple[Judged, ...]
    unread: Mapping[str, str]
    texts: tuple[Problem, ...] = ()

    @property
    def kept(self) -> tuple[Judged, ...]:
        return tuple(clip for clip in self.clips if clip.kept)

    def table(self) -> list[str]:
        """The clips as lines for a terminal, in order of name, and what came of it."""
        width = min(40, max(len(self._name(clip)) for clip in self.clips)) if self.clips else 4
        lines = [f"{'clip':{width}}  {'sharp':>7} {'motion':>7} {'light':>6} {'cuts':>4} {'text':>5}  kept"]
        for clip in self.clips:
            m, name = clip.measures, self._name(clip)
            name = name if len(name) <= width else f"...{name[3 - width :]}"
            numbers = f"{m.sharpness:7.1f} {m.motion:7.3f} {m.brightness:6.1f} {len(m.cuts):4} {m.text:5.0%}"
            said = "; ".join(("yes" if clip.kept else f"no: {', '.join(clip.reasons)}", *clip.notes))
            lines.append(f"{name:{width}}  {numbers}  {said}")
        lines += [f"not read: {name}: {reason}" for name, reason in self.unread.items()]
        lines += [f"text not used: {problem}" for problem in self.texts]
        silent = sum(clip.caption is None for clip in self.kept)
        lines.append(f"{len(self.kept)} of {len(self.clips) + len(self.unread)} clips kept")
        if silent:
            mend, usable = ("mend those named above, ", " that can be used") if self.texts else ("", "")
            lines.append(
                f"{silent} of them have no text{usable}, and are not in kept.jsonl: "
                f"{mend}write one, or run wan22 caption"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        rows = [
            {
                "video": self._name(clip),
                "kept": clip.kept,
                "reasons": list(clip.reasons),
                "notes": list(clip.notes),
                "caption": clip.caption,
                **clip.measures.to_json(),
            }
            for clip in self.clips
        ]
        return {
            "folder": str(self.folder),
            "thresholds": asdict(self.thresholds),
            "kept": len(self.kept),
            "clips": rows,
            "unread": dict(self.unread),
            "texts": {problem.file: problem.reason for problem in self.texts},
        }

    def _name(self, clip: Judged) -> str:
        return str(clip.measures.path.relative_to(self.folder))


def curate(
    folder: Path, thresholds: Thresholds | None = None, *, cut: float = CUT, log: Log | None = None
) -> Curated:
    """Measure every clip below a folder and judge it. A clip that cannot be read is reported, and ends nothing.

    Raises OptionError without OpenCV or without a folder, MediaError if there is no clip in it.
    """
    asked = thresholds or Thresholds()
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder of clips")
    if not 0 < cut <= 1:
        raise OptionError(f"cut = {cut:g} should be more than 0 and at most 1")
    paths = [path for path in walk(folder) if path.suffix.lower() in CLIPS]
    if not paths:
        raise MediaError(f"{folder} holds no clip. Known endings: {', '.join(sorted(CLIPS))}.")
    found = collect((folder,))
    captions = {item.path.resolve(): item.caption for item in found.items}
    # What is wrong with clips is said of them below, from what they show.
    texts = tuple(p for p in found.problems if not p.used and Path(p.file).suffix.lower() not in MEDIA)
    seen, unread = [], {}
    counter = StepCounter(len(paths), "clip", log)
    for path in paths:
        try:
            seen.append(measure(path, cut=cut))
        except MediaError as error:
            unread[str(path.relative_to(folder))] = str(error).removeprefix(str(path)).strip()
        counter.step()
    judged = [(measures, *judge(measures, asked)) for measures in seen]
    good = [measures for measures, reasons, _ in judged if not reasons]
    likes = {} if asked.duplicates else {good[a].path: good[b].path for a, b in duplicates(good).items()}
    clips = []
    for measures, reasons, notes in judged:
        other = likes.get(measures.path)
        why = reasons if other is None else (f"looks like {other.relative_to(folder)}",)
        clips.append(Judged(measures, captions.get(measures.path.resolve()), why, notes))
    return Curated(folder, asked, tuple(clips), unread, texts)


def judge(m: Measures, asked: Thresholds) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What speaks against a clip, and what is only worth a word."""
    reasons, notes = [], []
    for name, value, form in (
        ("sharpness", m.sharpness, ".1f"),
        ("motion", m.motion, ".3f"),
        ("brightness", m.brightness, ".1f"),
    ):
        least, most = getattr(asked, f"min_{name}"), getattr(asked, f"max_{name}", None)
        if least is not None and value < least:
            reasons.append(f"{name} {value:{form}} is under {least:g}")
        if most is not None and value > most:
            reasons.append(f"{name} {value:{form}} is over {most:g}")
    if asked.max_cuts is not None and len(m.cuts) > asked.max_cuts:
        reasons.append(f"cuts at {', '.join(f'{at:.1f} s' for at in m.cuts[:4])}")
    if asked.max_text is not None and m.text > asked.max_text:
        said = f"text over {m.text:.0%} of it"
        (reasons if m.text_sure else notes).append(
            said if m.text_sure else f"{said}, or in the scene: it stands still"
        )
    return tuple(reasons), tuple(notes)


def duplicates(clips: Sequence[Measures]) -> dict[int, int]:
    """For every clip that looks like another one: the number of the best of its likes, which is not named itself.

    The best is the one with the least overlaid text, of those the largest, of those the sharpest: letters, and making
    smaller, only look sharp.

    Alike are clips whose three moments have nearly the same low frequencies and colours: copies that were scaled,
    compressed again, or renamed. Cut-outs, mirrored copies and other moments of one scene are not found.
    """
    signs = np.array([clip.mark.signs.ravel() for clip in clips], np.float32).reshape(len(clips), 192)
    colours = np.array([clip.mark.colours.ravel() for clip in clips], np.float32).reshape(len(clips), 144)
    best = sorted(
        range(len(clips)),
        key=lambda i: (clips[i].text, -math.prod(clips[i].size), -clips[i].sharpness, clips[i].path),
    )
    found: dict[int, int] = {}
    for rank, i in enumerate(best):
        if i in found:
            continue
        others = np.array([j for j in best[rank + 1 :] if j not in found], np.int64)
        differ = np.abs(signs[others] - signs[i]).sum(axis=1)
        apart = np.abs(colours[others] - colours[i]).mean(axis=1)
        found |= {int(j): i for j in others[(differ <= _SIGNS) & (apart <= _COLOURS)]}
    return found


NUMBERS, KEPT, CHART = "curate.json", "kept.jsonl", "curate.png"


def write(result: Curated, out: Path) -> list[Path]:
    """Write curate.json, kept.jsonl and curate.png into `out`, and return them. Raises OutputError, and OptionError
    without matplotlib.
    """
    base = out.resolve()
    rows = [
        json.dumps(
            {"video": os.path.relpath(clip.measures.path.resolve(), base), "caption": clip.caption},
            ensure_ascii=False,
        )
        for clip in result.kept
        if clip.caption is not None
    ]
    texts = {
        NUMBERS: json.dumps(result.to_json(), ensure_ascii=False, indent=1) + "\n",
        KEPT: "".join(f"{row}\n" for row in rows),
    }
    for name, text in texts.items():
        with written_own(out / name) as part:
            part.write_text(text, encoding="utf-8")
    with written_own(out / CHART) as part:
        plot(result, part)
    return [out / name for name in (*texts, CHART)]


def plot(result: Curated, path: Path) -> None:
    """Draw histograms of the numbers, what is kept in colour, with the thresholds, into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    asked = result.thresholds
    for panel, (name, unit, limits) in zip(panels, (
        ("sharpness", "variance of the Laplacian", (asked.min_sharpness,)),
        ("motion", "widths a second", (asked.min_motion, asked.max_motion)),
        ("brightness", "mean grey, 0 to 255", (asked.min_brightness, asked.max_brightness)),
        ("cuts", "of a clip", (None if asked.max_cuts is None else asked.max_cuts + 0.5,)),
        ("text", "share of looks with overlaid text", (asked.max_text,)),
        ("seconds", "of a clip", ()),
    ), strict=True):  # fmt: skip
        _histogram(panel, result.clips, name, [limit for limit in limits if limit is not None])
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(unit, fontsize=8)
        panel.tick_params(labelsize=8)
    panels[0].legend(fontsize=8)
    figure.suptitle(f"{len(result.kept)} of {len(result.clips)} clips kept", fontsize=11)
    figure.savefig(path, dpi=110, format="png")


def _histogram(panel: Any, clips: Sequence[Judged], name: str, limits: Sequence[float]) -> None:
    def number(clip: Judged) -> float:
        value = getattr(clip.measures, name)
        return float(len(value) if name == "cuts" else value)

    values = [[number(clip) for clip in clips if clip.kept is kept] for kept in (True, False)]
    every = [*values[0], *values[1]]
    low, high = min(every, default=0.0), max(every, default=1.0)
    if name == "cuts":
        edges = np.arange(int(high) + 2) - 0.5
        panel.xaxis.get_major_locator().set_params(integer=True)
    elif name == "sharpness" and high > 50 * max(low, 0.1):
        edges = np.geomspace(max(low, 0.1), high, 25)
        panel.set_xscale("log")
    else:
        low = 0.0 if name in ("motion", "text", "seconds") else low
        edges = np.linspace(low, high if high > low else low + 1, 25)
    panel.hist(
        values, bins=edges, stacked=True, rwidth=0.9, color=["tab:blue", "0.75"], label=["kept", "not kept"]
    )
    panel.yaxis.get_major_locator().set_params(integer=True)
    for limit in limits:
        if edges[0] <= limit <= edges[-1]:
            panel.axvline(limit, color="tab:red", linewidth=1)
    panel.set_ylabel("clips", fontsize=8)
