"""What the store knows of the files of a request, for plans: sizes and lengths, without a look at the files."""

from __future__ import annotations

from typing import Any

from wan22.jobs import references
from wan22.jobs.store import Store

_KNOWN = ("width", "height", "frames", "fps", "seconds")


def media_of(store: Store, request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each file of a request, by field, the arguments of `wan22.production.planned.Media`. Raises NotFoundError.

    Of what another job has yet to make, nothing is known.
    """
    found = {}
    for name in references.FILES:
        if isinstance(said := request.get(name), str):
            known = _row(store, said)
            found[name] = {key: known[key] for key in _KNOWN if known.get(key) is not None}
    return found


def _row(store: Store, said: str) -> dict[str, Any]:
    reference = references.read(said)
    if reference is None:
        return vars(store.input(said))
    files = (store.job(reference.job).result or {}).get("files") or [{}]
    return files[0]
