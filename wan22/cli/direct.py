"""Direction on the command line: the options of `wan22 generate`, `wan22 vocabulary` and `wan22 extend`.

What a prompt becomes is always shown, before and after, and kept in the recipe.
"""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import typer

from wan22.cli import options as o
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
    made = extended(prompt, engine_of(engine), seed=seed, image=image, language=language, afresh=True)
    if json:
        print(jsonlib.dumps(made, ensure_ascii=False))
        return
    print(f"before: {made['before']}", file=sys.stderr)
    for words in made["lost"]:
        print(f"note: no longer said: {words}", file=sys.stderr)
    if image is not None and not made["saw_image"]:
        print(f"note: {made['engine']} does not see the image", file=sys.stderr)
    print(made["after"])
