"""Storyboards: a script as a group of jobs, its shots with takes, scores and locks, and its cut as a timeline."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, StrictBool, model_validator

from wan22.jobs.job import ENDED, Child, Job, NotFoundError, State
from wan22.server.board_requests import MAX_TAKES, NewBoard, children_of, read_board, takes_of
from wan22.server.documents import DocumentView, shown
from wan22.server.native import MAX_CHILDREN, Id, Key, Strict, files_of
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.timeline.cut import Shot, Wanted, cut_of, source_of
from wan22.timeline.document import dump

router = APIRouter(prefix="/v1", tags=["storyboards"])


class TakeView(BaseModel):
    """A take of a shot: a job. `measured` is what its video shows beside what was asked, once that is known; `measure`
    is the job that finds out. `score` (0..1) is how much of what can be judged is as asked.
    """

    job: str
    take: int
    seed: int
    state: State
    fraction: float
    locked: bool
    rating: int | None
    files: list[str]
    error: dict[str, Any] | None
    measure: str | None
    measured: dict[str, Any] | None
    score: float | None


class ShotView(BaseModel):
    """A shot. `chosen`: the job of its locked take, or of its best. `failing`: whether the chosen take is not as asked,
    or none could be made; null while that is not known. `locked`: no take is made again.
    """

    shot: int
    where: str
    prompt: str
    subject: str
    asked: dict[str, Any]
    chosen: str | None
    failing: bool | None
    locked: bool
    takes: list[TakeView]


class BoardView(BaseModel):
    """A storyboard. `id` is that of its group of jobs."""

    id: str
    name: str
    title: str
    state: State
    fraction: float
    created: float
    script: str
    options: dict[str, Any]
    failing: list[int]
    shots: list[ShotView]


@router.post("/storyboards", status_code=201, summary="Make a storyboard")
def add_board(new: NewBoard, app: App, response: Response, key: Key = None) -> BoardView:
    """Make the shots of a script: a job for each take, and one that measures it."""
    app.checker.check_text(new.name or "", "name")
    request = read_board(app, new)
    children = children_of(request["shots"], new.options.takes)
    app.backlog.take(len(children))
    meta = {"name": new.name or request["title"] or "storyboard", "storyboard": len(request["shots"])}
    group = app.store.add_group(
        request,
        children,
        key=key,
        priority=new.priority,
        meta=meta,
        state="paused" if new.paused else "queued",
    )
    response.headers["Location"] = f"/v1/storyboards/{group.id}"
    return _view(app, group)


@router.get("/storyboards/{id}", summary="Show a storyboard")
def show_board(id: Id, app: App) -> BoardView:
    """The shots of a storyboard with their takes, as they are now."""
    return _view(app, _group(app, id))


class Again(Strict):
    """Which shots get new takes: these, or (`failing`) those whose best take is not as asked."""

    shots: list[Annotated[int, Field(strict=True, ge=1)]] | None = Field(
        default=None, min_length=1, max_length=1000
    )
    failing: StrictBool = False
    takes: Annotated[int, Field(strict=True, ge=1, le=MAX_TAKES)] = 1

    @model_validator(mode="after")
    def _one(self) -> Again:
        if (self.shots is not None) == self.failing:
            raise ValueError("say shots, or failing")
        return self


@router.post("/storyboards/{id}/again", summary="Make shots again")
def make_again(id: Id, asked: Again, app: App, key: Key = None) -> BoardView:
    """Add takes, with the next seeds, to shots that are not locked."""
    group = _group(app, id)
    known = key is not None and app.store.with_key(key) is not None
    children = [] if known else _more_takes(app, group, asked)
    if children or known:  # a key that is known is held against what came with it
        app.backlog.take(len(children))
        app.store.add_children(id, children, key=key, body=[id, asked.model_dump()])
    return _view(app, app.store.job(id))


def _more_takes(app: AppState, group: Job, asked: Again) -> list[Child]:
    """The jobs of new takes. Raises Refusal."""
    shots = {shot["shot"]: shot for shot in group.request["shots"]}
    wanted = _wanted(_view(app, group), asked)
    if len(wanted) * asked.takes > MAX_CHILDREN:
        raise Refusal(422, "invalid_request", f"takes: at most {MAX_CHILDREN} takes at once", param="takes")
    last, children = _last_takes(app, group.id), list[Child]()
    for number in wanted:
        first = last.get(number, 0) + 1
        children += takes_of(shots[number], range(first, first + asked.takes), len(children))
    return children


def _wanted(board: BoardView, asked: Again) -> list[int]:
    """The numbers of the shots that get new takes. Raises Refusal for one that is not there, or locked."""
    if asked.shots is None:
        return [shot.shot for shot in board.shots if shot.failing and not shot.locked]
    known = {shot.shot: shot for shot in board.shots}
    for number in asked.shots:
        if number not in known:
            raise Refusal(422, "invalid_request", f"shots: there is no shot {number}", param="shots")
        if known[number].locked:
            raise Refusal(
                409, "locked", f"shot {number} is locked: unlock its take {known[number].chosen} first"
            )
    return list(dict.fromkeys(asked.shots))


def _last_takes(app: AppState, id: str) -> dict[int, int]:
    """The greatest number of each shot's takes, of those in the trash too: a seed is not used twice."""
    found: dict[int, int] = {}
    for trashed in (False, True):
        for job in app.store.jobs(parent=id, kind="video", trashed=trashed, limit=_ALL):
            shot = job.meta.get("shot", 0)
            found[shot] = max(found.get(shot, 0), job.meta.get("take", 1))
    return found


class Cut(Strict):
    """How the cut of a storyboard is called, and the order of its shots."""

    name: str | None = Field(default=None, max_length=200)
    order: list[Annotated[int, Field(strict=True, ge=1)]] | None = Field(
        default=None, max_length=1000, description="Numbers of shots; without, as in the script."
    )

    @model_validator(mode="after")
    def _once(self) -> Cut:
        if self.order is not None and len(set(self.order)) != len(self.order):
            raise ValueError("order names a shot twice")
        return self


@router.post("/storyboards/{id}/timeline", status_code=201, summary="A storyboard as a timeline")
def cut_board(id: Id, app: App, response: Response, asked: Cut | None = None) -> DocumentView:
    """Keep a new timeline: a clip for each shot, in order, with its takes; a gap where no take is complete.

    Shots that `order` leaves out stand at its end.
    """
    group = _group(app, id)
    board = _view(app, group)
    name = (asked.name if asked else None) or board.name
    app.checker.check_text(name, "name")
    shots = _in_order(board.shots, asked.order if asked and asked.order else [])
    cut = [_shown(app, shot) for shot in shots]
    if all(shot.media is None for shot in cut):
        raise Refusal(409, "no_result", f"no shot of storyboard {id} is complete yet")
    data = dump(cut_of(name, cut, Wanted(), {"storyboard": id}))
    made = app.store.documents.add("timeline", name, data)
    response.headers["Location"] = f"/v1/documents/{made.id}"
    return shown(made, response)


def _in_order(shots: list[ShotView], order: list[int]) -> list[ShotView]:
    if unknown := sorted(set(order) - {shot.shot for shot in shots}):
        raise Refusal(422, "invalid_request", f"order: there is no shot {unknown[0]}", param="order")
    places = {number: place for place, number in enumerate(order)}
    return sorted(shots, key=lambda shot: (places.get(shot.shot, len(places)), shot.shot))


def _shown(app: AppState, shot: ShotView) -> Shot:
    """A shot as the cut has it."""
    files = {take.job: take.files[0] for take in shot.takes if take.files}
    job = app.store.job(shot.chosen) if shot.chosen in files else None
    return Shot(
        name=f"shot {shot.shot}",
        media=None if job is None else {"job": job.id, "file": files[job.id]},
        source=None if job is None else source_of(files_of(job.result)[files[job.id]]),
        recipe=None if job is None else (job.result or {}).get("recipe"),
        takes=tuple({"job": id, "file": name} for id, name in files.items()),
    )


# A board as it is now

_ALL = 1_000_000


def _group(app: AppState, id: str) -> Job:
    job = app.store.job(id)
    if job.kind != "group" or "shots" not in job.request:
        raise NotFoundError(f"job {id} is no storyboard")
    return job


def _view(app: AppState, group: Job) -> BoardView:
    takes: dict[int, list[Job]] = {}
    measures: dict[str, str] = {}
    for job in app.store.jobs(parent=group.id, order="asc", limit=_ALL):
        if job.kind == "video":
            takes.setdefault(job.meta.get("shot", 0), []).append(job)
        elif job.after:
            measures[job.after[0]] = job.id
    shots = [
        _shot(shot, [_take(job, measures.get(job.id)) for job in takes.get(shot["shot"], [])])
        for shot in group.request["shots"]
    ]
    said = {name: group.request[name] for name in ("title", "script", "options")}
    return BoardView(
        id=group.id, name=str(group.meta.get("name", "")), state=group.state, fraction=group.fraction,
        created=group.created, shots=shots, failing=[shot.shot for shot in shots if shot.failing], **said,
    )  # fmt: skip


def _take(job: Job, measure: str | None) -> TakeView:
    measured = job.meta.get("measured")
    return TakeView(
        job=job.id, take=job.meta.get("take", 1), seed=job.request.get("seed", 0), state=job.state,
        fraction=job.fraction, locked=job.meta.get("locked") is True, rating=job.meta.get("rating"),
        files=[str(each["name"]) for each in (job.result or {}).get("files", ())], error=job.error, measure=measure,
        measured=measured, score=None if measured is None else measured.get("score"),
    )  # fmt: skip


def _shot(said: dict[str, Any], takes: list[TakeView]) -> ShotView:
    complete = [take for take in takes if take.state == "completed"]
    best = min(complete, key=_rank, default=None)
    failing = None
    if best is not None and best.measured is not None:
        failing = bool(best.measured.get("failed"))
    elif best is None and takes and all(take.state in ENDED for take in takes):
        failing = True
    return ShotView(
        **{name: said[name] for name in ("shot", "where", "prompt", "subject", "asked")},
        chosen=None if best is None else best.job,
        failing=failing,
        locked=any(take.locked for take in takes),
        takes=takes,
    )


def _rank(take: TakeView) -> tuple[bool, bool, int, int, int]:
    """The smallest is shown: the locked one, else that of the fewest failures, the most that obey, the earliest."""
    measured = take.measured or {}
    return (
        not take.locked, take.measured is None, len(measured.get("failed", ())), -len(measured.get("matched", ())),
        take.take,
    )  # fmt: skip
