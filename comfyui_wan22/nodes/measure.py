"""Wan22 Measure: what videos show beside what was asked; of several takes the best goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wan22.errors import OptionError

from .. import values as of_comfy
from ..definition import Input, Node, Output, Result
from ..options import PROMPT
from ..running import Run

if TYPE_CHECKING:
    from wan22.types import Clip


def measure(run: Run, video: list[Any], prompt: list[str]) -> Result:
    """Measure each video against the prompt and pass on the one that matches best, of equals the first.

    Raises OptionError for several prompts, and for several videos of which nothing that was asked can be measured;
    MediaError for a video that is too short.
    """
    from wan22.director.judge import measurable

    if len(set(prompt)) != 1:
        raise OptionError(f"measure compares takes of one prompt, not of {len(set(prompt))}")
    asked = prompt[0].strip()
    if len(video) > 1 and not (asked and measurable(asked)):
        raise OptionError(
            f"{len(video)} videos are compared with what the prompt says, and this one says nothing that is measured: "
            "name a camera movement, a time of day, a colour, or another term of `wan22 vocabulary`"
        )
    clips = [of_comfy.clip(each) for each in video]
    found = [_measured(clip, asked) for clip in clips]
    scores = [each["score"] for each in found]
    best = max(range(len(found)), key=lambda at: -1.0 if scores[at] is None else scores[at])
    text = "\n".join(_lines(found, best))
    return Result(
        (
            video[best],
            of_comfy.images(clips[best].frames),
            best,
            scores[best] or 0.0,
            text,
            json.dumps(found, ensure_ascii=False),
        ),
        text,
    )


def _measured(clip: Clip, asked: str) -> dict[str, Any]:
    """The table of axes of a video, and its score (0..1; None if nothing that was asked can be judged)."""
    from wan22.director.judge import judge, score
    from wan22.director.measure import measure
    from wan22.production.measured import axes_table

    shown = measure(clip.frames, clip.fps)
    verdicts = judge(shown, asked) if asked else []
    judged = any(verdict.matches is not None for verdict in verdicts)
    return {"axes": axes_table(shown, verdicts), "score": round(score(verdicts), 4) if judged else None}


def _lines(found: list[dict[str, Any]], best: int) -> list[str]:
    """What was asked and measured, for people."""
    lines = []
    for at, one in enumerate(found):
        score = (
            "nothing that was asked can be judged" if one["score"] is None else f"{one['score']:.0%} as asked"
        )
        chosen = ", passed on" if at == best and len(found) > 1 else ""
        lines.append(f"take {at + 1}: {score}{chosen}")
        lines += [_line(row) for row in one["axes"]]
    return lines


def _line(row: dict[str, Any]) -> str:
    if row["asked"] is None:
        return f"  {row['axis']}: {row['measured']}"
    answer = {True: "yes", False: "no", None: "not known"}[row["matches"]]
    why = f" ({row['why']})" if row["why"] else ""
    return f"  {row['axis']}: asked {row['asked']}, measured {row['measured']}: {answer}{why}"


MEASURE = Node(
    id="Wan22Measure",
    name="Wan22 Measure",
    help="Measures camera, light, colours and action of videos against the prompt; of several takes the best is "
    "passed on.",
    inputs=(
        Input(id="video", kind="VIDEO", help="One video, or the takes of Wan22 Sample after Wan22 Decode."),
        PROMPT,
    ),
    outputs=(
        Output(id="video", kind="VIDEO", help="The best."),
        Output(id="images", kind="IMAGE", help="Its frames."),
        Output(id="take", kind="INT", help="Which it is, from 0."),
        Output(
            id="score",
            kind="FLOAT",
            help="The share of what was asked and can be judged that it shows, 0..1.",
        ),
        Output(id="report", kind="STRING", help="What was asked and measured."),
        Output(id="table", kind="STRING", help="The same as JSON, for every take."),
    ),
    run=measure,
    takes_lists=True,
)
