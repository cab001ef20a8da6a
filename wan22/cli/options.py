"""From the table of fields to the options of a command, and from what was typed to values.

`takes(command)` gives a function the options that `wan22.fields` lists for the command; the function gets what was
typed as one `Given`. Names are frozen by tests/contracts/test_cli_options.py: people's scripts depend on them.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from wan22 import fields
from wan22.cli import ranks
from wan22.cli.catalogue import own
from wan22.cli.complete import completion
from wan22.errors import OptionError, SizeError
from wan22.fields import Field
from wan22.production.options import Given, parse_lora, said
from wan22.production.rerender import LoRAOption

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for machines.")]
SequenceFps = Annotated[
    float | None,
    typer.Option(
        "--fps", metavar="F", help="Frames a second of a sequence of images whose recipe does not say it."
    ),
]


def renamed(old: str, new: str) -> None:
    """Say that an option has another name now."""
    print(f"note: {old} is called {new} now", file=sys.stderr)


def of_group(group: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Give a function whose one parameter is a dataclass `group` an option for each of its annotated fields."""
    hints = get_type_hints(group, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(row.name, keyword, default=row.default, annotation=hints[row.name])
        for row in dataclasses.fields(group)
    ]

    def decorated(function: Callable[[T], None]) -> Callable[..., None]:
        @wraps(function)
        def run(**typed: Any) -> None:
            function(group(**typed))

        run.__signature__ = inspect.Signature(parameters, return_annotation=None)  # ty: ignore[missing-attribute]
        run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return run

    return decorated


def takes(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a function whose first parameter is a Given the options of the table, after its own.

    Raises OptionError and SizeError for what cannot be read, when the command is called.
    """
    rows = fields.of_command(command)

    def decorated(function: Callable[..., None]) -> Callable[..., None]:
        _, *mine = inspect.signature(function, eval_str=True).parameters.values()

        @wraps(function)
        def run(**typed: Any) -> None:
            asked = Given(command, {row.name: _value(row, typed) for row in rows})
            with nullcontext(asked) if command == fields.TRAIN else ranks.placed(asked) as given:
                if given is not None:
                    function(given, **{one.name: typed[one.name] for one in mine})

        parameters = [*mine]
        for row in rows:
            parameters += _parameters(row, command)
        run.__signature__ = inspect.Signature(parameters, return_annotation=None)  # ty: ignore[missing-attribute]
        run.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return run

    return decorated


_TYPES: dict[fields.Kind, Any] = {"integer": int, "number": float, "flag": bool}
_SEVERAL = ("lora", "terms")


def _parameters(row: Field, command: str) -> list[inspect.Parameter]:
    """A field as a parameter that typer reads, and one for each older name of it."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    flag, several = row.kind == "flag", row.kind in _SEVERAL
    of_type = list[str] if several else _TYPES.get(row.kind, str)
    hint = of_type if flag else of_type | None
    if row.name == "prompt":
        argument = typer.Argument(help=row.help, show_default=False)
        return [inspect.Parameter("prompt", keyword, default=None, annotation=Annotated[hint, argument])]
    option = typer.Option(
        *_names(row),
        metavar=row.metavar or None,
        help=_help(row),
        show_default=False,
        rich_help_panel=row.group,
        autocompletion=completion(row.choices),
    )
    found = [inspect.Parameter(row.name, keyword, default=_unsaid(row), annotation=Annotated[hint, option])]
    for alias in row.aliases:
        older = typer.Option(f"--{alias}", hidden=True, help=f"The old name of {row.option}.")
        name = f"old_{alias.replace('-', '_')}"
        found.append(
            inspect.Parameter(name, keyword, default=_unsaid(row), annotation=Annotated[hint, older])
        )
    return found


def _names(row: Field) -> tuple[str, ...]:
    if row.kind == "flag" and row.default is True:
        return (f"{row.option}/--no-{row.option[2:]}",)
    return (row.option, row.short) if row.short not in ("", row.option) else (row.option,)


def _unsaid(row: Field) -> Any:
    return row.default if row.kind == "flag" else None


def _help(row: Field) -> str:
    if row.own_default:
        return f"{row.help} [{own(row.name)}]"
    shown = row.shown_default or ("" if row.default is None or row.kind == "flag" else f"{row.default}")
    return f"{row.help} [default: {shown}]" if shown else row.help


def _value(row: Field, typed: dict[str, Any]) -> Any:
    """What was typed of a field, also under its older names, read and checked."""
    value = typed[row.name]
    for alias in row.aliases:
        older = typed[f"old_{alias.replace('-', '_')}"]
        if not said(older):
            continue
        renamed(f"--{alias}", row.option)
        value = value if said(value) else older
    match row.kind:
        case "size":
            return parse_size(value)
        case "expert_pair":
            return parse_guidance(value)
        case "interval":
            return parse_interval(row.name, value)
        case "numbers":
            return parse_numbers(row.name, value)
        case "lora":
            return parse_loras(value)
        case "terms":
            return ", ".join(value) if value else None
    if not row.of:  # the others are checked with the whole request
        fields.check(row.name, value, called=row.option)
    return row.default if value is None and not row.of else value


def parse_loras(texts: list[str] | None) -> tuple[LoRAOption, ...]:
    """Read every --lora, as `parse_lora`; none were given: ()."""
    return tuple(parse_lora(text) for text in texts or ())


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read "832x480". Raises SizeError for any other form; whether the size can be made is the engine's to say."""
    if text is None:
        return None
    width, _, height = text.lower().replace("×", "x").partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise SizeError(f"size must be WIDTHxHEIGHT in pixels, such as 832x480, not {text!r}") from None


def parse_numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """Read "1,0.94,0.83,0.63,0". Raises OptionError for any other form; what they must be is the engine's to say."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"{name} must be numbers with commas, such as 1,0.94,0.83,0.63,0; not {text!r}"
        ) from None


def parse_interval(name: str, text: str | None) -> tuple[float, float] | None:
    """Read "0.2,0.8". Raises OptionError for any other form; what they must be is the engine's to say."""
    if text is None:
        return None
    try:
        start, stop = (float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"{name} must be START,STOP such as 0.2,0.8; not {text!r}") from None
    return start, stop


def parse_guidance(text: str | None) -> float | tuple[float, float] | None:
    """Read "4" or "3,4" (low noise, high noise). Raises OptionError for any other form."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) for number in numbers):
        raise OptionError(f"guidance must be one number, or LOW,HIGH such as 3,4; not {text!r}")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
