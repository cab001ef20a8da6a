"""Wan22 Direct: the vocabulary of direction as widgets around a prompt, which is shown before and after."""

from __future__ import annotations

from typing import Any

from wan22.director.options import OPTIONS, answers
from wan22.director.vocabulary import AXES
from wan22.errors import OptionError

from ..definition import NONE, Input, Node, Output, Result
from ..options import PROMPT, SEED
from ..running import Run

SECOND_CAMERA = "camera_2"


def direct(run: Run, **values: Any) -> Result:
    """Put the chosen terms around a prompt, and extend it if that is asked.

    Raises OptionError for terms that exclude one another or what the prompt says, and ExtendError.
    """
    from wan22.production.direction import Direction, directed

    chosen = {row.key: values[row.key] for row in AXES} | {SECOND_CAMERA: values[SECOND_CAMERA]}
    said = {key: value for key, value in chosen.items() if value != NONE}
    options = {
        option: [
            said[key] for key in (*axes, *((SECOND_CAMERA,) if option == "camera" else ())) if key in said
        ]
        for option, axes in OPTIONS.items()
    }
    for word in _words(values["more"]):
        options[_option_of(word)].append(word)
    extend = values["extend"].strip()
    direction = Direction(
        **{name: ", ".join(words) for name, words in options.items() if words},
        extend=None if extend in ("", NONE) else extend,
    )
    prompt, notes = directed(values["prompt"], direction, seed=values["seed"])
    before = values["prompt"]
    lost = notes.get("extended", {}).get("lost") or ()
    shown = [
        f"before: {before}",
        f"after: {prompt}",
        *([f"no longer said: {', '.join(lost)}"] if lost else []),
    ]
    run.note("\n".join(shown))
    return Result((prompt, "\n".join(shown)), "\n".join(shown))


def _words(text: str) -> list[str]:
    from wan22.director.options import words

    return words(text.replace("\n", ","))


def _option_of(word: str) -> str:
    """The option whose term a word names. Raises OptionError if it is none's, or that of several."""
    found = []
    for option in OPTIONS:
        try:
            answers(option, word)
        except OptionError:
            continue
        found.append(option)
    if len(found) == 1:
        return found[0]
    why = f"names a term of {' and '.join(found)}: choose it in the list of one" if found else "names no term"
    raise OptionError(f"more: {word!r} {why}. `wan22 vocabulary` lists them")


def _axis(id: str, key: str, help: str) -> Input:
    row = next(row for row in AXES if row.key == key)
    return Input(
        id=id, kind="COMBO", help=help, default=NONE, options=(NONE, *(term.key for term in row.terms))
    )


DIRECT = Node(
    id="Wan22Direct",
    name="Wan22 Direct",
    help="Puts terms of the Wan2.2 prompt language around a prompt, which itself stays as it is, and shows it before "
    "and after. The prompt that comes out fits ComfyUI's own text encoders, too.",
    inputs=(
        PROMPT,
        *(_axis(row.key, row.key, f"The {row.name()} of the shot.") for row in AXES),
        _axis(SECOND_CAMERA, "camera", "A second movement of the camera, at the same time."),
        Input(
            id="more",
            kind="STRING",
            help="More terms, by name in any of four languages, with commas between: such as moonlight, backlight.",
            default="",
        ),
        Input(
            id="extend",
            kind="STRING",
            help="Extend the prompt after that: rules, the address of a chat server (URL#MODEL), or an instruct "
            "model's folder or hub name.",
            default=NONE,
        ),
        SEED,
    ),
    outputs=(
        Output(id="prompt", kind="STRING", help="The prompt as directed."),
        Output(id="change", kind="STRING", help="The prompt before and after, to be shown."),
    ),
    run=direct,
)
