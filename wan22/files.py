"""Files as people give them: what may be wrong with one becomes an error of ours here, once, for every reader.

    check_file     it is a regular file and not too long, before anything opens it
    reading        what a library raises while it reads a file is that file's error
    read_text, read_json, read_toml, parse_json, parse_toml
                   texts within limits of length and nesting, numbers that a machine can hold
    check_fields   the values that were read are of the types that are written for them

It knows no format beyond JSON and TOML, and no model.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from wan22.errors import MediaError, Wan22Error

PathLike = str | os.PathLike[str]
Kind = type[Exception]

LATENTS_SUFFIX = ".latents.safetensors"
"""Ending of the file beside a video that holds the work while it is decoded."""

TEXT_LIMIT = 16_000_000
"""Longest text file in bytes, where a reader names no other."""
HEADER_LIMIT = 100_000_000
"""Longest header of a safetensors file in bytes; the format's own rule."""
TABLE_LIMIT = 512_000_000
"""Longest table of clips in bytes."""
NESTING = 64
"""Deepest nesting of lists and objects in JSON, TOML and YAML."""

_DIGITS = 300  # of a whole number in JSON; a float holds no more
_LARGEST = 1_000_000  # whole number in a description of a model
_KEY_PARTS = 16  # of a dotted key in TOML: tomllib needs a time that grows with the square of it
_BUGS = (NameError, ImportError)  # never a file's fault


@contextmanager
def reading(where: PathLike, kind: Kind, what: str = "cannot be read", remedy: str = "") -> Generator[None]:
    """Turn whatever is raised while a file is read into `kind`: "{where} {what}: reason. {remedy}".

    Libraries raise anything on a damaged file, and values of a wrong type end in TypeError, KeyError or the like;
    inside this block all of that is the file's fault. Our own errors pass, and so do names that are not defined. Keep
    the block small: a defect of ours in it would be taken for damage.
    """
    try:
        yield
    except (Wan22Error, *_BUGS):
        raise
    except Exception as error:
        raise kind(f"{where} {what}: {reason_of(error)}. {remedy}".rstrip()) from error


def reason_of(error: BaseException) -> str:
    """Why a file could not be read, in words for people, without a full stop."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is no {'UTF-16' if error.encoding.startswith('utf-16') else 'UTF-8'} text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, KeyError):
        return f"{error.args[0] if error.args else 'an entry'!r} is missing"
    said = getattr(error, "strerror", None) or str(error)  # FFmpeg's errors have it too
    return " ".join(said.split())[:300].rstrip(". ") or type(error).__name__


def check_file(path: PathLike, kind: Kind = MediaError, *, limit: int | None = None) -> Path:
    """Return the path of a regular file of at most `limit` bytes; it may be empty, and its user's folder is "~".

    Raises `kind` for what is missing, a folder, a pipe, a socket, a device (opening one may wait for ever, or never
    end), or longer. Call it before anything opens a path that was given by a user or by another file.
    """
    path = Path(path)
    try:
        path = path.expanduser()
        found = path.stat()
    except FileNotFoundError:
        raise kind(_missing(path)) from None
    except (OSError, ValueError, RuntimeError) as error:  # a name that no file can have; no such user
        raise kind(f"{_shown(path)} cannot be read: {reason_of(error)}.") from None
    if stat.S_ISDIR(found.st_mode):
        raise kind(f"{path} is a folder. Name one file in it.")
    if not stat.S_ISREG(found.st_mode):
        raise kind(f"{path} is {_special(found.st_mode)}, not a file. Save what comes from it as a file.")
    if limit is not None and found.st_size > limit:
        raise kind(f"{path} has {found.st_size:,} bytes, too many for what it should be; at most {limit:,}.")
    return path


def is_special(path: Path) -> bool:
    """Whether there is something at `path` that is neither a file nor a folder: a pipe, a socket, a device."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _special(mode: int) -> str:
    return "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"{path} is a link to {path.readlink()}, which is not there. Mend or remove it."
    return f"{_shown(path)} does not exist.{_neighbour(path)}"


def _neighbour(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f" Neither does its folder {path.parent}."
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.with_name(near[0])}?" if near else ""


def read_bytes(path: PathLike, kind: Kind, *, limit: int = TEXT_LIMIT) -> bytes:
    """The bytes of a regular file of at most `limit`. Raises `kind`."""
    path = check_file(path, kind, limit=limit)
    with reading(path, kind):
        return path.read_bytes()


def read_text(path: PathLike, kind: Kind, *, limit: int = TEXT_LIMIT) -> str:
    """The text of a file in UTF-8, a byte order mark left out. Raises `kind`."""
    with reading(path, kind, remedy="Save it as UTF-8 text."):
        return read_bytes(path, kind, limit=limit).decode("utf-8-sig")


def read_json(path: PathLike, kind: Kind, *, limit: int = TEXT_LIMIT, remedy: str = "") -> dict[str, Any]:
    """The JSON object in a file. Raises `kind` if it holds anything else."""
    return parse_object(read_bytes(path, kind, limit=limit), path, kind, remedy)


def parse_object(text: str | bytes, where: PathLike, kind: Kind, remedy: str = "") -> dict[str, Any]:
    """A JSON object; as `parse_json`, and `kind` for any other value."""
    value = parse_json(text, where, kind, remedy)
    if not isinstance(value, dict):
        raise kind(f"{where} is no JSON object, but {_named(value)}. {remedy}".rstrip())
    return value


def parse_json(text: str | bytes, where: PathLike, kind: Kind, remedy: str = "") -> Any:
    """A value from JSON text; `where` is for errors.

    Raises `kind` for what is no JSON (also NaN and infinities), nested deeper than `NESTING`, or with a number beyond
    the range of floats.
    """
    with reading(where, kind, "is no JSON", remedy):
        value = _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8-sig"))
        if _depth(value) > NESTING:
            raise RecursionError
        return value


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"the number {digits[:24]}... has {len(digits):,} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:24]} is too large")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _depth(value: Any) -> int:
    """How deeply lists and objects are nested; a plain value is 0."""
    level, depth = [value], 0
    while level := [
        inner
        for outer in level
        if isinstance(outer, (dict, list))
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
    return depth


def _named(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def read_toml(path: PathLike, kind: Kind) -> dict[str, Any]:
    """The table in a TOML file, in UTF-8. Raises `kind`."""
    return parse_toml(read_text(path, kind, limit=TEXT_LIMIT // 16), path, kind)


_TOML_ASIDE = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_TOML_LONG_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{_KEY_PARTS}}}")


def parse_toml(text: str, where: PathLike, kind: Kind) -> dict[str, Any]:
    """The table in TOML text. Raises `kind` for what is no TOML, or nested deeper than `NESTING`.

    Brackets and dots are counted before the text is parsed: tomllib recurses, and needs hours for a long dotted key.
    """
    import tomllib

    with reading(where, kind, "is no TOML"):
        bare = _TOML_ASIDE.sub(lambda found: "" if found[0].startswith("#") else "s", text)
        depth = 0
        for bracket in re.findall(r"[\[{\]}]", bare):
            depth = max(0, depth + (1 if bracket in "[{" else -1))
            if depth > NESTING:
                raise RecursionError
        if _TOML_LONG_KEY.search(bare):
            raise ValueError(f"a key has more than {_KEY_PARTS} parts")
        values = tomllib.loads(text)
        _check_numbers(values)
        return values


def _check_numbers(value: Any) -> None:
    """Raise ValueError for a whole number of more than 64 bits, which no setting is."""
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            stack += each.values()
        elif isinstance(each, list):
            stack += each
        elif isinstance(each, int) and not -(1 << 63) <= each < 1 << 64:
            raise ValueError("a number has more than 64 bits")


def check_fields(value: Any, name: str = "", *, most: int = _LARGEST) -> None:
    """Raise TypeError or ValueError if a dataclass made from a file's values holds what its fields cannot be.

    A field has the type that is written for it (a whole number is a float, too, and a tuple may stand for a tuple of
    any length where its type is no dataclass); numbers are finite, whole ones from 0 to `most`, and above 0 where they
    are a field of their own.
    """
    hints = get_type_hints(type(value))
    for each in fields(value):
        found, where = getattr(value, each.name), f"{name}{each.name}"
        check_value(hints[each.name], found, where)
        for number in found if isinstance(found, tuple) else (found,):
            least = 0 if isinstance(found, tuple) else 1
            if isinstance(number, int) and not isinstance(number, bool) and not least <= number <= most:
                raise ValueError(f"{where} is {found}, and should be from {least} to {most:,}")


def check_value(hint: Any, value: Any, name: str) -> None:
    """Raise TypeError or ValueError if a value from a file is not of the type `hint`; as `check_fields`."""
    origin, arms = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in arms:
            return
        kinds = [arm for arm in arms if arm is not NoneType]
        fitting = (arm for arm in kinds if isinstance(value, tuple) == (get_origin(arm) is tuple))
        check_value(next(fitting, kinds[0]), value, name)
        return
    if origin is Literal:
        if value not in arms:
            raise ValueError(f"{name} is {value!r}, and should be one of {', '.join(map(str, arms))}")
        return
    if is_dataclass(hint):
        check_fields(value, f"{name}.") if isinstance(value, hint) else _refuse(name, value, "a section")
    elif origin is tuple:
        _check_tuple(arms, value, name)
    elif origin is not None:  # Mapping[str, X]
        if not isinstance(value, Mapping):
            _refuse(name, value, "a section")
        for key, each in value.items():
            check_value(arms[1], each, f"{name}.{key}")
    else:
        _check_plain(hint, value, name)


def _check_tuple(arms: tuple[Any, ...], value: Any, name: str) -> None:
    if not isinstance(value, tuple):
        _refuse(name, value, "a list")
    if arms[-1] is not Ellipsis and len(value) != len(arms):
        _refuse(name, value, f"a list of {len(arms)}")
    for number, each in enumerate(value):
        check_value(arms[0] if arms[-1] is Ellipsis else arms[number], each, f"{name}[{number}]")


def _check_plain(hint: Any, value: Any, name: str) -> None:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    fits = isinstance(value, (int, float) if hint is float else hint)
    if not fits or (isinstance(value, bool) and hint is not bool):
        _refuse(name, value, words.get(hint, str(hint)))
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(name, value, "a finite number")


def _refuse(name: str, value: Any, should: str) -> NoReturn:
    shown = repr(value)
    raise TypeError(f"{name} is {shown[:60]}{'...' * (len(shown) > 60)}, and should be {should}")
