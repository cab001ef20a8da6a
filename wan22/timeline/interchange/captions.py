"""Captions as files: SubRip (srt), WebVTT (vtt) and Advanced SubStation (ass), and back, by pysubs2.

One file holds one language. Times are those of frames, to the thousandth of a second (a hundredth in ass).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from wan22.errors import MediaError
from wan22.files import reading
from wan22.timeline.interchange.common import Notes, printable, whole
from wan22.timeline.items import Caption, Timeline

__all__ = ["CAPTIONS", "languages", "read_captions", "write_captions"]

CAPTIONS = ("srt", "vtt", "ass")
_MOST = 100_000  # captions of a file
_BACKSLASH = "\ue000"  # stands for one while pysubs2 writes: it would read \N as a line's end
_JOINER = "\u2060"  # after a backslash in ass, so that no player reads a command


def languages(timeline: Timeline) -> list[str]:
    """The languages of a timeline's captions, in order of appearance."""
    return list(dict.fromkeys(caption.language for caption in timeline.captions))


def write_captions(timeline: Timeline, form: str, language: str, notes: Notes) -> str:
    """The captions of one language as text of a file."""
    import pysubs2

    file = pysubs2.SSAFile()
    file.info |= {"PlayResX": str(timeline.size[0]), "PlayResY": str(timeline.size[1])}
    file.styles["Default"] = pysubs2.SSAStyle(
        fontsize=round(timeline.size[1] * 0.06), outline=timeline.size[1] / 480, shadow=0.0
    )
    told = sorted((each for each in timeline.captions if each.language == language), key=lambda c: c.start)
    for caption in told:
        start, end = (whole(frame / timeline.fps * 1000) for frame in (caption.start, caption.end))
        text = printable(caption.text).replace("\r", "")
        if "\n\n" in text or text.strip() != text:
            notes.add("empty lines and spaces around captions are left out", caption.id)
        if not text.strip():
            notes.add("empty captions are left out", caption.id)
            continue
        file.append(pysubs2.SSAEvent(start=start, end=end, text=_WRITE[form](text, notes, caption.id)))
    _note(timeline, form, notes)
    if form == "ass":
        return file.to_string("ass")
    return file.to_string(form, keep_ssa_tags=True).replace(_BACKSLASH, "\\")


def _srt(text: str, notes: Notes, name: str) -> str:
    if re.search(r"</?(?:[ibus]|font)\b[^>]*>|\{\\", text, re.IGNORECASE):
        notes.add("<i> and the like in captions as srt are styles to players", name)
    if "-->" in text:
        notes.add('"-->" is an arrow in captions as srt, where it parts times', name)
    return text.replace("-->", "→").replace("\\", _BACKSLASH)


def _vtt(text: str, notes: Notes, name: str) -> str:
    return html.escape(text, quote=False).replace("\\", _BACKSLASH)


def _ass(text: str, notes: Notes, name: str) -> str:
    if "{" in text or "}" in text:
        notes.add("{ and } are ｛ and ｝ in captions as ass, where they hold commands", name)
    text = text.replace("{", "｛").replace("}", "｝").replace("\\", f"\\{_JOINER}")
    return text.replace("\n", "\\N")


_WRITE = {"srt": _srt, "vtt": _vtt, "ass": _ass}


def _note(timeline: Timeline, form: str, notes: Notes) -> None:
    if form == "ass" and timeline.fps > 100:
        notes.add("ass has hundredths of a second, so captions move by less than a frame")
    if timeline.length / timeline.fps >= 100 * 3600:
        notes.add("captions after 100 hours have the last time that the format can write")
    if timeline.titles:
        notes.add(
            "titles are no captions, and not kept", *(title.text.split("\n")[0] for title in timeline.titles)
        )


def read_captions(
    text: str, form: str, rate: Fraction, language: str = "", notes: Notes | None = None
) -> tuple[Caption, ...]:
    """Captions from the text of a file, at frames of `rate`. Raises MediaError for one that holds none.

    Styles are not taken. What a timeline does not hold is mended and noted: captions over one another, more than two
    lines.
    """
    import pysubs2

    notes = notes or Notes()
    with reading(f"captions as {form}", MediaError, "cannot be read"):
        if form != "ass":
            # A number follows each caption but the last, and pysubs2 takes it away: also from a last line of digits.
            text = text.replace("\r\n", "\n").replace("\\", _BACKSLASH).rstrip() + f"\n\n{_MOST}\n"
        file = pysubs2.SSAFile.from_string(text, form, **({} if form == "ass" else {"keep_html_tags": True}))
        lines = sorted(file.get_text_events(), key=lambda line: (line.start, line.end))
        if not lines:
            raise ValueError("there are no captions in it")
        if len(lines) > _MOST:
            raise ValueError(f"there are {len(lines):,} captions in it, more than {_MOST:,}")
        found = [
            Caption(
                id=f"s{number}",
                start=max(0, whole(Fraction(line.start, 1000) * rate)),
                end=whole(Fraction(line.end, 1000) * rate),
                text=_lines(_READ[form](line), f"s{number}", notes),
                language=language,
            )
            for number, line in enumerate(lines, 1)
        ]
    return tuple(_apart(found, notes))


def _read_ass(line: Any) -> str:
    return line.plaintext.replace(_JOINER, "")


def _read_srt(line: Any) -> str:
    """The lines of a caption up to an empty one; what follows is no caption, as a NOTE of vtt."""
    text = line.text.replace("\\N", "\n").split("\n\n")[0].replace(_BACKSLASH, "\\")
    return re.sub(r"</?(?:[ibus]|font)\b[^>]*>|\{\\[^}]*\}", "", text, flags=re.IGNORECASE)


def _read_vtt(line: Any) -> str:
    text = line.text.replace("\\N", "\n").split("\n\n")[0].replace(_BACKSLASH, "\\")
    return html.unescape(re.sub(r"<[^>]*>", "", text))


_READ = {"srt": _read_srt, "vtt": _read_vtt, "ass": _read_ass}


def _lines(text: str, name: str, notes: Notes) -> str:
    """At most two lines."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) > 2:
        notes.add("captions of more than two lines have two now", name)
        half = (len(lines) + 1) // 2
        lines = [" ".join(lines[:half]), " ".join(lines[half:])]
    return "\n".join(lines)


def _apart(captions: Sequence[Caption], notes: Notes) -> Iterator[Caption]:
    """Captions in order that do not overlap: a later one ends the one before, or takes its place."""
    for caption, later in zip(captions, [*captions[1:], None], strict=True):
        end = max(caption.end, caption.start + 1)
        if later is not None and later.start == caption.start:
            notes.add("captions at the same time are left out but for the last", caption.text)
            continue
        if later is not None and later.start < end:
            notes.add("captions over one another end where the next begins", caption.text)
            end = later.start
        yield replace(caption, end=end)
