"""Direction on the command line: the options of `wan22 generate`, `wan22 vocabulary` and `wan22 extend`.

What a prompt becomes is always shown, before and after, and kept in the recipe.
"""

from __future__ import annotations

import hashlib
import json as jsonlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.cli import options as o
from wan22.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from wan22.cli.report import Report
    from wan22.director.extend import Extender
    from wan22.director.vocabulary import Term

KEY = "WAN22_CHAT_KEY"
"""The environment variable with the key of a chat server."""


def _option(what: str, example: str) -> Any:
    return typer.Option(metavar="NAME", help=f"{what}, such as {example}. See `wan22 vocabulary`.")


ShotSize = Annotated[str | None, _option("How much of the subject is seen", "close-up or wide")]
Angle = Annotated[str | None, _option("From where the camera looks", "low-angle or overhead")]
Lens = Annotated[str | None, _option("The lens", "telephoto or fisheye")]
Composition = Annotated[str | None, _option("Where the subject stands in the frame", "center")]
Light = Annotated[
    str | None, _option("Source, quality and direction of the light", "'moonlight, soft, backlight'")
]
Time = Annotated[str | None, _option("Time of day", "dawn or night")]
Tone = Annotated[str | None, _option("Tone, saturation and contrast", "'warm, low-saturation'")]
Camera = Annotated[str | None, _option("The camera's movement", "'dolly in' or 'pan left, tilt up'")]
Style = Annotated[str | None, _option("Visual style", "claymation")]
Extend = Annotated[
    str | None,
    typer.Option(
        metavar="ENGINE",
        help="Extend the prompt first, and show it: rules, the address of a chat server (URL#MODEL; its key: "
        f"${KEY}), or an instruct model's folder or hub name.",
    ),
]


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
    ("@0s ... @5s ..."), around each text. `image` is the picture that begins the film. Raises OptionError for terms
    that exclude one another or what the prompt says, and ExtendError for an engine that fails.
    """
    from wan22.director.shot import add_terms, parse

    told: dict[str, Any] = {}
    if terms := direction.terms():
        before, prompt = prompt, _each(prompt, lambda text: add_terms(text, terms))
        shots = [parse(text).to_json() for _, text in _pieces(prompt)]
        told["directed"] = {"before": before, "after": prompt, "shot": shots[0] if len(shots) == 1 else shots}
    if direction.extend is not None:
        made = _extended(prompt, _engine(direction.extend), seed=seed, image=image)
        told["extended"] = made
        prompt = made["after"]
    return prompt, told


def show_change(told: dict[str, Any], report: Report) -> None:
    """Show each prompt before and after, and what a rewrite no longer says."""
    for name, entry in told.items():
        by = f" by {entry['engine']}" if "engine" in entry else ""
        report.note(f"prompt before: {entry['before']}")
        report.note(f"prompt {name}{by}: {entry['after']}")
        if lost := entry.get("lost"):
            report.note(f"note: the extended prompt no longer says {', '.join(lost)}")


def kept(recipe: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What a recipe told of its prompt, if the film is made again with that prompt."""
    same = "prompt" in recipe and given.get("prompt") == recipe["prompt"]
    return {name: recipe[name] for name in ("directed", "extended") if same and name in recipe}


def vocabulary(
    axis: Annotated[
        str | None, typer.Argument(help="One axis, such as shot-size. [default: all]", show_default=False)
    ] = None,
    language: Annotated[str, typer.Option(metavar="L", help="Names in en, zh, ko or ja.")] = "en",
    json: o.Json = False,
) -> None:
    """List the words that direct a shot.

    Every key that an option takes, with the phrase that a prompt gets in English and Chinese. Options take names in
    English, Chinese, Korean and Japanese.
    """
    from wan22.director import vocabulary as words
    from wan22.director.options import OPTIONS

    rows = words.AXES if axis is None else (words.axis(axis.replace("-", "_")),)
    if json:
        for row in rows:
            for term in row.terms:
                names = dict(zip(words.LANGUAGES, term.names, strict=True))
                entry = {"axis": row.key, "key": term.key, "en": term.en, "zh": term.zh, "names": names}
                print(jsonlib.dumps(entry, ensure_ascii=False))
        return
    options = {key: option.replace("_", "-") for option, keys in OPTIONS.items() for key in keys}
    for row in rows:
        several = ", several at once" if row.many else ""
        print(f"{row.name(language)} (--{options[row.key]}{several})")
        for term in row.terms:
            called = "" if language in words.PROMPT_LANGUAGES else f"{term.name(language)} | "
            print(f"  {term.key:26} {called}{term.en} | {term.zh}")


def extend(
    prompt: Annotated[str, typer.Argument(help="What the film shows, in any language.", show_default=False)],
    engine: Annotated[
        str,
        typer.Option(
            metavar="ENGINE",
            help="rules, the address of a chat server (URL#MODEL; its key: "
            f"${KEY}), or an instruct model's folder or hub name.",
        ),
    ] = "rules",
    language: Annotated[
        str | None,
        typer.Option(metavar="L", help="Answer in en or zh. [default: zh for a Chinese prompt, else en]"),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="FILE", help="The picture that begins the film.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed extends in another way.")] = 0,
    json: o.Json = False,
) -> None:
    """Extend a prompt as a director would.

    The extended prompt is printed; what it was goes to stderr.
    """
    made = _extended(prompt, _engine(engine), seed=seed, image=image, language=language, afresh=True)
    if json:
        print(jsonlib.dumps(made, ensure_ascii=False))
        return
    print(f"before: {made['before']}", file=sys.stderr)
    for words in made["lost"]:
        print(f"note: no longer said: {words}", file=sys.stderr)
    if image is not None and not made["saw_image"]:
        print(f"note: {made['engine']} does not see the picture", file=sys.stderr)
    print(made["after"])


def _engine(name: str) -> Extender:
    from wan22.director.extend import open_extender

    return open_extender(name, key=os.environ.get(KEY) if name.lower().startswith("http") else None)


def _extended(
    prompt: str,
    engine: Extender,
    *,
    seed: int,
    image: str | None,
    language: str | None = None,
    afresh: bool = False,
) -> dict[str, Any]:
    """Extend every text of a prompt; the recipe's entry. A model's answer is remembered, as a spoken text is.

    So a film that is made again, or goes on after an interruption, has the same prompt. `afresh` asks again.
    """
    from wan22.director.extend import extend
    from wan22.media.image import read_image

    picture = None if image is None else read_image(image)

    def made(text: str) -> dict[str, Any]:
        file = _memory(engine.describe(), text, seed, language, picture)
        if file.is_file() and not afresh:
            return jsonlib.loads(file.read_text("utf-8"))
        entry = extend(text, engine, language=language, seed=seed, image=picture).to_json()
        if entry["engine"] != "rules":  # those are the same anyway
            _write(file, jsonlib.dumps(entry, ensure_ascii=False))
        return entry

    entries = [made(text) for _, text in _pieces(prompt)]
    after = iter(entries)
    return {
        **entries[0],
        "before": prompt,
        "after": _each(prompt, lambda _: next(after)["after"]),
        "lost": list(dict.fromkeys(key for entry in entries for key in entry["lost"])),
    }


def _memory(
    engine: dict[str, Any], text: str, seed: int, language: str | None, image: np.ndarray | None
) -> Path:
    picture = None if image is None else hashlib.sha256(image.tobytes()).hexdigest()
    asked = jsonlib.dumps([engine, text, seed, language, picture])
    return extended_folder() / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"


def _write(file: Path, text: str) -> None:
    from wan22.media.place import written

    with written(file) as part:
        part.write_text(text, "utf-8")


def extended_folder() -> Path:
    """Where the answers of language models are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("wan22") / "extended"


def _pieces(prompt: str) -> tuple[tuple[float, str], ...]:
    from wan22.request import parse_prompt

    return parse_prompt(prompt)


def _each(prompt: str, change: Callable[[str], str]) -> str:
    """Change every text of a prompt that changes on the way."""
    pieces = _pieces(prompt)
    if len(pieces) == 1:
        return change(pieces[0][1])
    return " ".join(f"@{since:g}s {change(text)}" for since, text in pieces)
