"""Documents that people edit: timelines and storyboards, with a revision that rises with each change.

Who writes says which revision it read: what another wrote meanwhile is never lost. What a document holds is not looked
at here.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Literal

from wan22.errors import RequestError, choose
from wan22.jobs.database import Database
from wan22.jobs.job import NotFoundError, RevisionError, StateError, checked, new_id
from wan22.jobs.rows import as_json

DocumentKind = Literal["timeline", "storyboard"]
DOCUMENT_KINDS: tuple[DocumentKind, ...] = ("timeline", "storyboard")

_ABOUT = "id, kind, name, revision, created, changed, trashed"


@dataclass(frozen=True)
class Document:
    """A document. Times are seconds since 1970. `data` is None where documents are listed."""

    id: str
    kind: DocumentKind
    name: str
    revision: int
    created: float
    changed: float
    trashed: float | None = None
    data: dict[str, Any] | None = None


class Documents:
    """The documents of a store. Every call is one transaction; any can raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, kind: DocumentKind, name: str, data: dict[str, Any]) -> Document:
        """Store a new document, as revision 1."""
        choose("kind of document", kind, DOCUMENT_KINDS)
        id, now = new_id("doc"), time.time()
        with self._db.write() as c:
            c.execute(
                "INSERT INTO document (id, kind, name, data, revision, created, changed) VALUES (?, ?, ?, ?, 1, ?, ?)",
                (id, kind, name, as_json(data, "the document"), now, now),
            )
            return _read(c, id)

    def get(self, id: str) -> Document:
        """A document with its data. Raises NotFoundError."""
        rows = self._db.read(f"SELECT {_ABOUT}, data FROM document WHERE id = ?", (checked(id, "doc"),))
        return _found(rows, id)

    def list(
        self, *, kind: DocumentKind | None = None, trashed: bool = False, after: str | None = None, limit: int = 100
    ) -> list[Document]:  # fmt: skip
        """A page of documents without their data, those that were changed last first. `after`: the last one before.

        Raises NotFoundError for `after`.
        """
        if limit < 1:
            raise RequestError(f"limit {limit} must be 1 or more")
        where, values = [f"trashed IS {'NOT ' if trashed else ''}NULL"], dict[str, Any](limit=limit)
        if kind is not None:
            where.append("kind = :kind")
            values["kind"] = choose("kind of document", kind, DOCUMENT_KINDS)
        if after is not None:
            where.append("(changed, n) < (SELECT changed, n FROM document WHERE id = :after)")
            values["after"] = self.get(after).id
        sql = f"SELECT {_ABOUT} FROM document WHERE {' AND '.join(where)} ORDER BY changed DESC, n DESC LIMIT :limit"
        return [Document(*row) for row in self._db.read(sql, values)]

    def write(self, id: str, revision: int, data: dict[str, Any], *, name: str | None = None) -> Document:
        """Put new data in the place of `revision`; the name stays unless another is given.

        Raises RevisionError if another revision is there, StateError if the document is in the trash.
        """
        with self._db.write() as c:
            found = _read(c, id)
            if found.trashed is not None:
                raise StateError(f"document {id} is in the trash: restore it first")
            if found.revision != revision:
                raise RevisionError(
                    f"document {id} is at revision {found.revision}, not {revision}: it was changed meanwhile. "
                    "Read it again"
                )
            c.execute(
                "UPDATE document SET data = ?, name = ?, revision = revision + 1, changed = ? WHERE id = ?",
                (as_json(data, "the document"), found.name if name is None else name, time.time(), id),
            )
            return _read(c, id)

    def trash(self, id: str) -> Document:
        """Put a document into the trash, where `restore` finds it."""
        return self._mark(id, time.time())

    def restore(self, id: str) -> Document:
        """Take a document out of the trash."""
        return self._mark(id, None)

    def _mark(self, id: str, trashed: float | None) -> Document:
        with self._db.write() as c:
            if (_read(c, id).trashed is None) != (trashed is None):
                c.execute("UPDATE document SET trashed = ? WHERE id = ?", (trashed, id))
            return _read(c, id)

    def purge(self, id: str) -> None:
        """Forget a document for ever. Raises StateError unless it is in the trash."""
        with self._db.write() as c:
            if _read(c, id).trashed is None:
                raise StateError(f"cannot purge document {id}: it is not in the trash. You can trash it.")
            c.execute("DELETE FROM document WHERE id = ?", (id,))


def _read(c: Connection, id: str) -> Document:
    rows = c.execute(f"SELECT {_ABOUT}, data FROM document WHERE id = ?", (checked(id, "doc"),))
    return _found(rows.fetchall(), id)


def _found(rows: list[tuple[Any, ...]], id: str) -> Document:
    if not rows:
        raise NotFoundError(f"there is no document {id}")
    *about, data = rows[0]
    return Document(*about, json.loads(data))
