"""What the store knows of the files of a request, for plans: sizes and lengths, without a look at the files."""

from __future__ import annotations

from typing import Any

from wan22.jobs.store import Store

_FILES = ("image", "last_image", "video", "pose", "audio")
_KNOWN = ("width", "height", "frames", "fps", "seconds")


def media_of(store: Store, request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each file of a request, by field, the arguments of `wan22.production.planned.Media`. Raises NotFoundError."""
    found = {}
    for name in _FILES:
        if isinstance(id := request.get(name), str):
            row = store.input(id)
            known = {key: getattr(row, key) for key in _KNOWN}
            found[name] = {key: value for key, value in known.items() if value is not None}
    return found
