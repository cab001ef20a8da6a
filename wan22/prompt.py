"""A prompt as it is written: one text, or texts that hold from a second on. It knows no tensor."""

from __future__ import annotations

import re
from itertools import pairwise

from wan22.errors import OptionError

_SINCE = re.compile(r"@(\d+(?:\.\d+)?)\s*s(?![\w.])")


def check_text(text: str) -> None:
    """Raise OptionError for a text with bytes that are no UTF-8, which Python keeps as half letters."""
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise OptionError(f"the prompt {text[:60]!r} holds bytes that are no text in UTF-8; type them anew")


def parse_prompt(prompt: str) -> tuple[tuple[float, str], ...]:
    """Read "@0s one text @5s another": the second from which each text holds. Without times, one text from 0 on.

    Raises OptionError for times that do not grow, for a time without a text, and for bytes that are no text.
    """
    check_text(prompt)
    pieces = _SINCE.split(prompt)
    before, times, texts = (
        pieces[0].strip(),
        [float(t) for t in pieces[1::2]],
        [t.strip() for t in pieces[2::2]],
    )
    if before or not times:
        times, texts = [0.0, *times], [before, *texts]
    if times[0] != 0:
        raise OptionError(f"the prompt says nothing before @{times[0]:g}s; begin it with @0s")
    for since, text in zip(times, texts, strict=True):
        if not text and len(times) > 1:
            raise OptionError(
                f"the prompt says nothing from @{since:g}s on; write what is to be seen after it"
            )
    for earlier, later in pairwise(times):
        if later <= earlier:
            raise OptionError(f"the times of the prompt must grow, and @{later:g}s follows @{earlier:g}s")
    return tuple(zip(times, texts, strict=True))
