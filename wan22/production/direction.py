"""What is asked of a prompt's direction, and the prompt that comes of it: terms put around it, an extender's rewrite.

What a prompt becomes is always shown, before and after, and kept in the recipe. A model's answer is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import ExtendError, OptionError
from wan22.files import read_json

if TYPE_CHECKING:
    import numpy as np

    from wan22.director.extend import Extender
    from wan22.director.vocabulary import Term
    from wan22.production.events import EventSink

KEY = "WAN22_CHAT_KEY"
"""The environment variable with the key of a chat server."""


_ANSWER = {"engine", "before", "after", "lost"}


@dataclass(frozen=True)
class Direction:
    """The options of direction, as typed: names of terms in any language, several between commas."""

    shot_size: str | None = None
    angle: str | None = None
    lens: str | None = None
    composition: str | None = None
    light: str | None = None
    time: str | None = None
    tone: str | None = None
    camera: str | None = None
    style: str | None = None
    extend: str | None = None

    @property
    def given(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))

    def terms(self) -> list[Term]:
        """The terms of all options. Raises OptionError for an unknown one, naming the option."""
        from wan22.director.options import OPTIONS, answers

        found = []
        for option in OPTIONS:
            try:
                found += answers(option, getattr(self, option))
            except OptionError as error:
                raise OptionError(f"--{option.replace('_', '-')}: {error}") from None
        return found


def directed(
    prompt: str, direction: Direction, *, seed: int = 0, image: str | None = None
) -> tuple[str, dict[str, Any]]:
    """The prompt as directed and extended, and what the recipe keeps of it: `directed` and `extended`.

    The options' terms are put around the prompt, which itself stays as it is; of a prompt that changes on the way
    ("@0s ... @5s ..."), around each text. `image` is the image that begins the video. Raises OptionError for terms
    that exclude one another or what the prompt says, and ExtendError for an engine that fails.
    """
    from wan22.director.shot import add_terms, parse

    notes: dict[str, Any] = {}
    if terms := direction.terms():
        before, prompt = prompt, each_text(prompt, lambda text: add_terms(text, terms))
        shots = [parse(text).to_json() for _, text in _pieces(prompt)]
        notes["directed"] = {
            "before": before,
            "after": prompt,
            "shot": shots[0] if len(shots) == 1 else shots,
        }
    if direction.extend is not None:
        made = extended(prompt, engine_of(direction.extend), seed=seed, image=image)
        notes["extended"] = made
        prompt = made["after"]
    return prompt, notes


def show_change(notes: dict[str, Any], events: EventSink) -> None:
    """Show each prompt before and after, and what a rewrite no longer says."""
    for name, entry in notes.items():
        by = f" by {entry['engine']}" if "engine" in entry else ""
        events.note(f"prompt before: {entry['before']}")
        events.note(f"prompt {name}{by}: {entry['after']}")
        if lost := entry.get("lost"):
            events.note(f"note: the extended prompt no longer says {', '.join(lost)}")


def kept(recipe: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What a recipe says of its prompt, if the video is made again with that prompt."""
    same = "prompt" in recipe and given.get("prompt") == recipe["prompt"]
    return {name: recipe[name] for name in ("directed", "extended") if same and name in recipe}


def engine_of(name: str) -> Extender:
    from wan22.director.extend import open_extender

    return open_extender(name, key=os.environ.get(KEY) if name.lower().startswith("http") else None)


def extended(
    prompt: str,
    engine: Extender,
    *,
    seed: int,
    image: str | None,
    language: str | None = None,
    restart: bool = False,
    task: str | None = None,
) -> dict[str, Any]:
    """Extend every text of a prompt; the recipe's entry. A model's answer is remembered, as a spoken text is.

    So a video that is made again, or goes on after an interruption, has the same prompt. `restart` asks again. `task`
    is i2v where an image begins the video, also one that is not here.
    """
    from wan22.director.extend import extend

    pixels = None
    if image is not None:
        from wan22.media.image import read_image

        pixels = read_image(image)

    def made(text: str) -> dict[str, Any]:
        file = _memory(engine.describe(), text, seed, language, pixels)
        if not restart and (kept := _kept_answer(file)) is not None:
            return kept
        entry = extend(text, engine, language=language, seed=seed, image=pixels, task=task).to_json()
        if entry["engine"] != "rules":  # those are the same anyway
            _write(file, json.dumps(entry, ensure_ascii=False))
        return entry

    entries = [made(text) for _, text in _pieces(prompt)]
    after = iter(entries)
    return {
        **entries[0],
        "before": prompt,
        "after": each_text(prompt, lambda _: next(after)["after"]),
        "lost": list(dict.fromkeys(key for entry in entries for key in entry["lost"])),
    }


def _memory(
    engine: dict[str, Any], text: str, seed: int, language: str | None, image: np.ndarray | None
) -> Path:
    digest = None if image is None else hashlib.sha256(image.tobytes()).hexdigest()
    asked = json.dumps([engine, text, seed, language, digest])
    return extended_folder() / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"


def _kept_answer(file: Path) -> dict[str, Any] | None:
    """A remembered answer; None if there is none, or what is there is damaged."""
    try:
        entry = read_json(file, ExtendError)
    except ExtendError:
        return None
    return entry if _ANSWER <= entry.keys() else None


def _write(file: Path, text: str) -> None:
    from wan22.atomic import written

    with written(file) as part:
        part.write_text(text, "utf-8")


def extended_folder() -> Path:
    """Where the answers of language models are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("wan22") / "extended"


def _pieces(prompt: str) -> tuple[tuple[float, str], ...]:
    from wan22.prompt import parse_prompt

    return parse_prompt(prompt)


def each_text(prompt: str, change: Callable[[str], str]) -> str:
    """Change every text of a prompt that changes on the way."""
    pieces = _pieces(prompt)
    if len(pieces) == 1:
        return change(pieces[0][1])
    return " ".join(f"@{since:g}s {change(text)}" for since, text in pieces)
