"""Direction on the command line: the options of `wan22 generate`, `wan22 vocabulary` and `wan22 extend`.

What a prompt becomes is always shown, before and after, and kept in the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.production.direction import KEY, engine_of, extended


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

    rows = words.AXES if axis is None else (words.axis(axis.replace("-", "_")),)
    show = report.answer(json)
    for row in rows:
        if not json:
            show.result({}, _axis(row, language))
            continue
        for term in row.terms:
            names = dict(zip(words.LANGUAGES, term.names, strict=True))
            show.result({"axis": row.key, "key": term.key, "en": term.en, "zh": term.zh, "names": names}, ())


def _axis(row: Any, language: str) -> Iterator[str]:
    """An axis of direction and its terms, as lines."""
    from wan22.director.options import OPTIONS
    from wan22.director.vocabulary import PROMPT_LANGUAGES

    options = {key: option.replace("_", "-") for option, keys in OPTIONS.items() for key in keys}
    several = ", several at once" if row.many else ""
    yield f"{row.name(language)} (--{options[row.key]}{several})"
    for term in row.terms:
        called = "" if language in PROMPT_LANGUAGES else f"{term.name(language)} | "
        yield f"  {term.key:26} {called}{term.en} | {term.zh}"


def extend(
    prompt: Annotated[str, typer.Argument(help="What the video shows, in any language.", show_default=False)],
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
        str | None, typer.Option(metavar="FILE", help="The image that begins the video.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed extends in another way.")] = 0,
    json: o.Json = False,
) -> None:
    """Extend a prompt as a director would.

    The extended prompt is printed; what it was goes to stderr.
    """
    made = extended(prompt, engine_of(engine), seed=seed, image=image, language=language, restart=True)
    show = report.answer(json)
    if not json:  # the result says all of it
        show.note(f"before: {made['before']}")
        for words in made["lost"]:
            show.note(f"note: no longer said: {words}")
        if image is not None and not made["saw_image"]:
            show.note(f"note: {made['engine']} does not see the image")
    show.result(made, (made["after"],))
