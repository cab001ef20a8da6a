"""What people say of jobs: name, rating, boards, note, lock; and the boards that there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, StrictBool, model_validator

from wan22.server.native import Id, JobView, Strict, view
from wan22.server.problems import Refusal
from wan22.server.state import App

router = APIRouter(prefix="/v1", tags=["jobs"])

MAX_BOARDS, MAX_NOTE = 100, 10_000

BoardName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]


class Said(Strict):
    """What is said of a job. What is left out stays; null removes it."""

    name: str | None = Field(default=None, max_length=200, description="For people.")
    rating: Annotated[int, Field(strict=True, ge=0, le=5)] | None = None
    boards: list[BoardName] | None = Field(
        default=None, max_length=MAX_BOARDS, description="All boards that it is on."
    )
    note: str | None = Field(default=None, max_length=MAX_NOTE)
    locked: StrictBool | None = Field(default=None, description="Of a take: its shot is not made again.")

    @model_validator(mode="after")
    def _something(self) -> Said:
        if not self.model_fields_set:
            raise ValueError(f"say one or more of {', '.join(type(self).model_fields)}")
        if self.boards is not None and len(set(self.boards)) != len(self.boards):
            raise ValueError("boards names a board twice")
        return self


class Board(BaseModel):
    """A board, and how many jobs are on it, without those in the trash."""

    name: str
    jobs: int


class Boards(BaseModel):
    """All boards, by name."""

    data: list[Board]


@router.patch("/jobs/{id}", summary="Say something of a job")
def say_of_job(id: Id, said: Said, app: App) -> JobView:
    """Give a job a name, a rating, boards, a note, or a lock; its `meta` holds them."""
    changes = said.model_dump(include=said.model_fields_set)
    for name in ("name", "note"):
        app.checker.check_text(changes.get(name) or "", name)
    for board in changes.get("boards") or ():
        app.checker.check_text(board, "boards")
        if not board.isprintable():
            raise Refusal(
                422, "invalid_request", "boards: a name has characters that do not print", param="boards"
            )
    if changes.get("boards") == []:
        changes["boards"] = None
    job = app.store.change_meta(id, changes)
    if app.folder.job(id).is_dir():
        app.folder.describe(job)  # which `rebuild` reads
    return view(job, app.store.position(id))


@router.get("/boards", summary="List boards")
def list_boards(app: App) -> Boards:
    """The names of boards, and how many jobs are on each."""
    return Boards(data=[Board(name=name, jobs=count) for name, count in app.store.boards()])
