"""The report that is read before anything is trained: one HTML page that needs no other file, and JSON."""

from __future__ import annotations

import base64
import json
import statistics
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from wan22.media.own_files import written_own
from wan22.train.data.plan import Problem
from wan22.train.data.survey import Survey, Video
from wan22.version import __version__

HTML, JSON = "report.html", "report.json"

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .3rem .9rem .3rem 0; vertical-align: top;
border-bottom: 1px solid var(--line); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.clip { border: 1px solid var(--line); border-radius: 6px; padding: .6rem; overflow-wrap: anywhere; }
.clip div { display: flex; gap: 3px; } .clip img { flex: 1; min-width: 0; max-width: 100%; border-radius: 3px; }
.clip p { margin: .4rem 0 0; } small { opacity: .7; } .bad { color: #c33; } .bar { background: #59f; height: .7rem; }
"""


def write_report(survey: Survey, folder: Path) -> Path:
    """Write report.html and report.json into `folder`, and return the former. Raises OutputError."""
    folder = Path(folder)
    with written_own(folder / JSON) as part:
        part.write_text(json.dumps(as_json(survey), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with written_own(folder / HTML) as part:
        part.write_text(as_html(survey), encoding="utf-8")
    return folder / HTML


def as_json(survey: Survey) -> dict[str, Any]:
    """All numbers of the report, and every clip and problem, as JSON values."""
    plan = survey.plan
    return {
        "wan22": __version__,
        "plan": {
            "sources": [str(source) for source in plan.sources],
            "size": list(plan.size),
            "frames": list(plan.frames),
            "fps": plan.fps,
        },
        "found": survey.found,
        "used": len(survey.videos),
        "refused": len(survey.refused),
        "seconds": round(survey.seconds, 3),
        "buckets": {name: _bucket(survey, rows) for name, rows in survey.buckets.items()},
        "captions": _captions(survey.videos),
        "lengths": _lengths(survey.videos),
        "problems": [vars(problem) for problem in survey.problems],
        "clips": [
            {
                "file": str(video.item.path),
                "caption": video.item.caption,
                "size": list(video.facts.size),
                "seconds": round(video.facts.seconds, 3),
                "fps": round(video.facts.fps, 3),
                "variable": video.facts.variable,
                "repeats": video.item.repeats,
                "pieces": [
                    {"bucket": w.bucket, "start": round(w.start, 3), "seconds": round(w.frames * w.step, 3)}
                    for w in survey.windows
                    if w.video == index
                ],
            }
            for index, video in enumerate(survey.videos)
        ],
    }


def _bucket(survey: Survey, rows: list[int]) -> dict[str, Any]:
    pieces = [survey.windows[i] for i in set(rows)]
    return {
        "pieces": len(pieces),
        "weighed": len(rows),
        "seconds": round(sum(w.frames * w.step for w in pieces), 3),
    }


def _captions(videos: Iterable[Video]) -> dict[str, Any]:
    """Words of the texts: the shortest, the middle one, the longest, and how many texts are distinct."""
    texts = [video.item.caption for video in videos]
    words = sorted(len(text.split()) for text in texts)
    return {
        "least": words[0],
        "median": statistics.median(words),
        "most": words[-1],
        "distinct": len(set(texts)),
        "shortest": min(texts, key=len),
        "longest": max(texts, key=len),
    }


def _lengths(videos: Iterable[Video]) -> dict[str, Any]:
    """The shortest and the longest clip; none if there are only images."""
    clips = sorted((f for f in videos if not f.facts.still), key=lambda video: video.facts.seconds)
    if not clips:
        return {}
    return {
        name: {"file": str(video.item.path), "seconds": round(video.facts.seconds, 3)}
        for name, video in (("shortest", clips[0]), ("longest", clips[-1]))
    }


def as_html(survey: Survey) -> str:
    """The page."""
    plan, numbers = survey.plan, as_json(survey)
    title = f"{len(survey.videos)} of {survey.found} clips, {survey.seconds:.1f} seconds"
    lengths = ", ".join(map(str, plan.frames))
    parts = [
        f"<h1>Training data: {escape(title)}</h1>",
        f"<p>{escape(', '.join(map(str, plan.sources)))}<br>size {plan.size[0]}x{plan.size[1]}, "
        f"lengths {lengths} frames, {plan.fps:g} frames a second</p>",
        "<h2>Buckets</h2>",
        _bucket_table(numbers["buckets"]),
        "<h2>Texts and lengths</h2>",
        _facts_table(numbers),
        _problem_table("Refused", survey.refused),
        _problem_table("Used, but worth a look", [p for p in survey.problems if p.used]),
        _cards(survey),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<p><small>wan22 {__version__}</small></p></body></html>\n"
    )


def _bucket_table(buckets: dict[str, dict[str, Any]]) -> str:
    most = max(bucket["weighed"] for bucket in buckets.values())
    rows = [
        f'<tr><td>{name}</td><td class="n">{b["pieces"]}</td><td class="n">{b["weighed"]}</td>'
        f'<td class="n">{b["seconds"]:.1f}</td>'
        f'<td><div class="bar" style="width:{12 * b["weighed"] / most:.2f}rem"></div></td></tr>'
        for name, b in buckets.items()
    ]
    head = '<th>width x height x frames</th><th class="n">pieces</th><th class="n">with repeats</th>'
    return f'<table><tr>{head}<th class="n">seconds</th><th></th></tr>{"".join(rows)}</table>'


def _facts_table(numbers: dict[str, Any]) -> str:
    words = numbers["captions"]
    rows = [
        ("words in a text", f"{words['least']} to {words['most']}, {words['median']:g} in the middle"),
        ("distinct texts", str(words["distinct"])),
        ("shortest text", words["shortest"]),
        ("longest text", words["longest"]),
    ]
    rows += [
        (f"{name} clip", f"{clip['seconds']:.2f} s: {clip['file']}")
        for name, clip in numbers["lengths"].items()
    ]
    return "<table>" + "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in rows) + "</table>"


def _problem_table(title: str, problems: Iterable[Problem]) -> str:
    rows = [
        f"<tr><td>{escape(p.file)}</td><td>{escape(p.reason)}</td><td>{escape(p.help)}</td></tr>"
        for p in problems
    ]
    if not rows:
        return ""
    head = "<tr><th>file</th><th>reason</th><th>what would help</th></tr>"
    return f"<h2>{title} ({len(rows)})</h2><table>{head}{''.join(rows)}</table>"


def _cards(survey: Survey) -> str:
    pieces: dict[int, list[str]] = {}
    for window in survey.windows:
        pieces.setdefault(window.video, []).append(window.bucket)
    shown = [(i, video) for i, video in enumerate(survey.videos) if video.thumbs]
    some = "" if len(shown) == len(survey.videos) else f": {len(shown)} of {len(survey.videos)}"
    cards = "".join(_card(video, pieces[index]) for index, video in shown)
    return f'<h2>What will be seen{some}</h2><div class="clips">{cards}</div>'


def _card(video: Video, buckets: list[str]) -> str:
    images = "".join(
        f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for data in video.thumbs
    )
    facts = video.facts
    rate = "image" if facts.still else f"{facts.seconds:.2f} s, {facts.fps:.4g} a second"
    rate += ", variable" if facts.variable else ""
    where = ", ".join(f"{buckets.count(b)} of {b}" for b in dict.fromkeys(buckets))
    return (
        f'<div class="clip"><div>{images}</div><p>{escape(video.item.caption)}</p>'
        f"<small>{escape(str(video.item.path))}<br>{facts.size[0]}x{facts.size[1]}, {rate}; {where}</small></div>"
    )
