"""What a client sent, as a form or as JSON, put together as one object: `input_reference[image_url]`, `lora[name]`,
`sizes[]`, and the JSON in `extra_body`, `extra_json` and `extra_params`.

Texts of a form stay texts; video_fields.py knows what they should be.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from wan22.errors import OptionError
from wan22.files import parse_object
from wan22.server.problems import Refusal

MAX_TEXT = 24 << 20
"""Bytes of all texts of a body together: OpenAI's data URLs have up to 20,971,520 characters."""
MAX_FILES, MAX_FIELDS = 8, 200

EXTRA = ("extra_body", "extra_json", "extra_params")
"""Fields whose entries are taken as fields of the request; what is said outside of them goes before."""

_NAME = re.compile(r"([^\[\]]{1,128})((?:\[[^\[\]]{0,128}\]){0,3})")
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class _Form(MultiPartParser):
    """All texts of a form together have at most `max_part_size` bytes; files go to the disk."""

    def on_part_end(self) -> None:
        super().on_part_end()
        value = self.items[-1][1]
        if isinstance(value, str):
            self.max_part_size -= len(value)


@asynccontextmanager
async def body_of(request: Request) -> AsyncGenerator[dict[str, Any]]:
    """Read a request's body; its files (`UploadFile`) are open until the end. Raises Refusal."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        yield merged(_object(b"".join([piece async for piece in _limited(request)]), "the body"))
    elif kind in _FORMS:
        try:
            form = await _parser(request, kind).parse()
        except MultiPartException as error:
            too_much = "xceeded" in error.message or "Too many" in error.message
            status, code = (413, "too_large") if too_much else (400, "invalid_form")
            raise Refusal(status, code, f"the form cannot be read: {error.message}") from None
        try:
            yield merged(nested(form.multi_items()))
        finally:
            await form.close()
    else:
        raise Refusal(
            415, "unsupported_media_type",
            f"a body of type {kind[:80] or 'nothing'!r} is not read; send multipart/form-data or application/json",
        )  # fmt: skip


def _parser(request: Request, kind: str) -> MultiPartParser | FormParser:
    if kind == "multipart/form-data":
        return _Form(
            request.headers,
            request.stream(),
            max_files=MAX_FILES,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_TEXT,
        )
    return FormParser(request.headers, _limited(request), max_fields=MAX_FIELDS, max_part_size=MAX_TEXT)


async def _limited(request: Request) -> AsyncGenerator[bytes]:
    """A body that is text as it comes. Raises Refusal (413) for more than `MAX_TEXT` bytes of it."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_TEXT:
            raise Refusal(
                413, "too_large", f"a body of text has at most {MAX_TEXT:,} bytes; send files in a form"
            )
        yield piece


def nested(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Fields of a form as an object: `a[b]` is entry b of a, `a[]` one more of a list, and so is a name said again.

    An empty file gives way to whatever else is said of its field: OpenAI's client demands a file beside `video[id]`.
    """
    items = list(items)
    said = {name.partition("[")[0] for name, value in items if not _is_empty(value)}
    found: dict[str, Any] = {}
    for name, value in items:
        if _is_empty(value) and (not value.filename or name.partition("[")[0] in said):
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise Refusal(400, "invalid_form", f"{name[:80]!r} is no name of a field", param=name[:80])
        place, key = found, match[1]
        for inner in re.findall(r"\[([^\[\]]*)\]", match[2]):
            place = place.setdefault(key, {} if inner else [])
            key = inner
            if not isinstance(place, dict if inner else list):
                raise Refusal(400, "invalid_form", f"{match[1]} is said in two ways", param=match[1])
            if not inner:
                break
        if isinstance(place, list):
            place.append(value)
        elif key not in place:
            place[key] = value
        elif isinstance(place[key], list):
            place[key].append(value)
        elif isinstance(place[key], dict):
            raise Refusal(400, "invalid_form", f"{match[1]} is said in two ways", param=match[1])
        else:
            place[key] = [place[key], value]
    return found


def _is_empty(value: Any) -> bool:
    return isinstance(value, UploadFile) and not value.size


def merged(values: dict[str, Any]) -> dict[str, Any]:
    """An object with the entries of `EXTRA` in it; nothing that is null."""
    found: dict[str, Any] = {}
    for name in EXTRA:
        extra = values.pop(name, None)
        if isinstance(extra, str):
            extra = _object(extra.encode(), name, name) if extra.strip() else None
        if extra is not None and not isinstance(extra, dict):
            raise Refusal(400, "invalid_value", f"{name} must be an object", param=name)
        found |= extra or {}
    return {name: value for name, value in (found | values).items() if value is not None}


def _object(text: bytes, what: str, param: str | None = None) -> dict[str, Any]:
    try:
        return parse_object(text, what, OptionError)
    except OptionError as error:
        raise Refusal(400, "invalid_json", str(error), param=param) from None
