"""Documents that people edit in the studio: timelines and storyboards. Two who write at once lose nothing.

A document has a revision, which is also its ETag. Who writes says which one was read (`If-Match`): 412 if another is
there, 428 without. A timeline that is wrong is refused with all that is wrong in `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field

from wan22.jobs.documents import Document, DocumentKind
from wan22.jobs.job import NotFoundError, RevisionError
from wan22.server.native import ID, Strict
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.storyboard.reading import LIMIT
from wan22.timeline.document import check

router = APIRouter(prefix="/v1", tags=["documents"])

MAX_DEPTH = 24
"""Lists and objects within one another: a clip's recipe lies deep in a timeline."""
_MOST_ERRORS = 100

DocumentId = Annotated[str, Path(pattern=ID, description="The id of a document.")]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=100, description="The ETag of the revision that was read."),
]
Name = Annotated[str, Field(max_length=200)]
_TAG = re.compile(r'"([1-9][0-9]{0,14})"')


class NewDocument(Strict):
    """A document to be kept."""

    kind: DocumentKind = "timeline"
    name: Name | None = Field(default=None, description="For people; without, the name in the data.")
    data: dict[str, Any]


class Written(Strict):
    """What a document holds from now on."""

    name: Name | None = Field(default=None, description="Without, it stays.")
    data: dict[str, Any]


class DocumentAbout(BaseModel):
    """A document without its data. Times are seconds since 1970."""

    id: str
    kind: DocumentKind
    name: str
    revision: int
    created: float
    changed: float
    trashed: float | None


class DocumentView(DocumentAbout):
    """A document."""

    data: dict[str, Any]


class DocumentPage(BaseModel):
    """A page of documents, last changed first. `next`: the `after` of the next page; null where there is none."""

    data: list[DocumentAbout]
    next: str | None


_STALE: dict[int | str, dict[str, Any]] = {
    412: {"description": "Another has changed it meanwhile."},
    428: {"description": "Say which revision was read: If-Match."},
}


@router.post("/documents", status_code=201, summary="Keep a document")
def add_document(new: NewDocument, app: App, response: Response) -> DocumentView:
    """Keep a new document, as revision 1."""
    check_document(app, new.kind, new.data)
    said = new.data.get("name")
    name = new.name if new.name is not None else said[:200] if isinstance(said, str) else ""
    app.checker.check_text(name, "name")
    made = app.store.documents.add(new.kind, name, new.data)
    response.headers["Location"] = f"/v1/documents/{made.id}"
    return shown(made, response)


class DocumentQuery(Strict):
    """Which documents are listed."""

    kind: DocumentKind | None = None
    trashed: bool = Field(default=False, description="What is in the trash, instead of what is not.")
    after: str | None = Field(default=None, pattern=ID, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=1000)


@router.get("/documents", summary="List documents")
def list_documents(query: Annotated[DocumentQuery, Query()], app: App) -> DocumentPage:
    """List documents, those that were changed last first."""
    try:
        found = app.store.documents.list(**query.model_dump())
    except NotFoundError as error:
        raise Refusal(422, "invalid_request", str(error), param="after") from None
    more = found[-1].id if len(found) == query.limit else None
    return DocumentPage(data=[DocumentAbout(**_about(each)) for each in found], next=more)


@router.get("/documents/{id}", summary="Read a document")
def read_document(id: DocumentId, app: App, response: Response) -> DocumentView:
    """Read a document; the ETag is its revision."""
    return shown(app.store.documents.get(id), response)


@router.put("/documents/{id}", responses=_STALE, summary="Change a document")
def write_document(
    id: DocumentId, said: Written, app: App, response: Response, if_match: IfMatch = None
) -> DocumentView:
    """Put new data in the place of the revision that was read."""
    found = app.store.documents.get(id)
    revision = _revision(if_match, found)
    check_document(app, found.kind, said.data)
    app.checker.check_text(said.name or "", "name")
    try:
        written = app.store.documents.write(id, revision, said.data, name=said.name)
    except RevisionError as error:
        raise _stale(str(error), app.store.documents.get(id)) from None
    return shown(written, response)


@router.delete("/documents/{id}", status_code=204, summary="Delete a document for ever")
def delete_document(id: DocumentId, app: App) -> None:
    """Forget a document that is in the trash for ever."""
    app.store.documents.purge(id)


@router.post("/documents/{id}/trash", summary="Put a document into the trash")
def trash_document(id: DocumentId, app: App, response: Response) -> DocumentView:
    """Put a document into the trash."""
    return shown(app.store.documents.trash(id), response)


@router.post("/documents/{id}/restore", summary="Take a document out of the trash")
def restore_document(id: DocumentId, app: App, response: Response) -> DocumentView:
    """Take a document out of the trash."""
    return shown(app.store.documents.restore(id), response)


def shown(document: Document, response: Response) -> DocumentView:
    """A document as it is answered, with its ETag."""
    response.headers["ETag"] = f'"{document.revision}"'
    return DocumentView.model_construct(**_about(document), data=document.data)


def _about(document: Document) -> dict[str, Any]:
    return {name: getattr(document, name) for name in DocumentAbout.model_fields}


def _revision(said: str | None, found: Document) -> int:
    """The revision that a client has read. Raises Refusal."""
    if said is None:
        raise Refusal(428, "revision_required", 'say which revision was read: If-Match: "REVISION", its ETag')
    match = _TAG.fullmatch(said.strip())
    if match is None or int(match[1]) != found.revision:
        raise _stale(f"document {found.id} is at revision {found.revision}. Read it again", found)
    return int(match[1])


def _stale(message: str, found: Document) -> Refusal:
    return Refusal(412, "changed_meanwhile", message, headers={"ETag": f'"{found.revision}"'})


# What a document may be


def check_document(app: AppState, kind: DocumentKind, data: dict[str, Any]) -> None:
    """Refuse what is no document of its kind: 422, with `errors`."""
    app.checker.check_json(data, "data", MAX_DEPTH)
    if kind == "timeline":
        check_timeline(data)
    else:
        script = data.get("script")
        if not isinstance(script, str) or len(script) > LIMIT:
            raise Refusal(
                422, "invalid_request", f"data.script must be the text of a script, of at most {LIMIT:,} characters",
                param="data.script",
            )  # fmt: skip


def check_timeline(data: Mapping[str, Any], param: str = "data") -> None:
    """Refuse a timeline that is wrong, or names a path: over HTTP, media are jobs' files and inputs.

    A bare name is a media that is missing: it is never opened.
    """
    errors = [problem.as_json() for problem in check(data)]
    if not errors:
        errors = [
            {
                "code": "media",
                "where": where,
                "message": f"{where}: a path is not taken here; send the file as an input",
            }
            for where, media in media_of(data)
            if not _is_name(media.get("path", "missing"))
        ]
    refuse_timeline(errors, param)


def _is_name(path: str) -> bool:
    return path not in (".", "..") and not set(path) & set("/\\:\0")


def refuse_timeline(errors: Sequence[Mapping[str, str]], param: str = "data") -> None:
    """Refuse a timeline (422) if anything is wrong with it."""
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise Refusal(
            422, "invalid_timeline", f"the timeline is wrong: {errors[0]['message']}{more}", param=param,
            errors=errors[:_MOST_ERRORS],
        )  # fmt: skip


def timeline_document(app: AppState, id: str) -> Document:
    """A timeline by its id. Raises Refusal for another document, and for one in the trash."""
    document = app.store.documents.get(id)
    if document.kind != "timeline":
        raise Refusal(409, "wrong_kind", f"document {id} is a {document.kind}, not a timeline")
    if document.trashed is not None:
        raise Refusal(409, "wrong_state", f"document {id} is in the trash: restore it first")
    return document


def media_of(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """The media of every clip and take of a timeline that is right, and where they stand."""
    for number, track in enumerate(data["tracks"]):
        for at, item in enumerate(track["items"]):
            if item.get("type") == "clip":
                where = f"tracks[{number}].items[{at}]"
                yield f"{where}.media", item["media"]
                yield from ((f"{where}.takes[{n}]", take) for n, take in enumerate(item.get("takes") or ()))
