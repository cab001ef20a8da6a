"""The application: what it holds, its routers, its guard, and its OpenAPI document.

It starts no worker and opens no port: serve.py does, and tests need neither.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from wan22 import fields
from wan22.catalog import rows
from wan22.jobs import references
from wan22.jobs.operator import read_operator
from wan22.server import native, openai_videos, problems, session, studio, uploads
from wan22.server.asked import COMMANDS, FIXED_BY_EXTENSION, ONLY, Backlog, Checker
from wan22.server.feed import Feed
from wan22.server.growing import Growths
from wan22.server.guard import Guard
from wan22.server.helper import Helper
from wan22.server.metrics import Metrics
from wan22.server.pages import BUILT, Pages
from wan22.server.state import App, WorkerLike
from wan22.version import __version__

if TYPE_CHECKING:
    from wan22.jobs.folder import Folder
    from wan22.server.settings import Settings
    from wan22.server.state import Workers


def create_app(
    folder: Folder, settings: Settings, supervisor: Workers | None = None, *, built: Path = BUILT
) -> FastAPI:
    """Put the server of a data folder together; `built` are the studio's files.

    Raises StoreError if its store cannot be opened.
    """
    app = FastAPI(
        title="wan22", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    state = app.state
    state.folder, state.settings, state.supervisor, state.draining = folder, settings, supervisor, False
    state.store = folder.open_store()
    state.checker = Checker(state.store, folder, settings, read_operator(folder.path))
    state.backlog = Backlog(state.store, settings.max_queued)
    state.metrics = Metrics(state)
    state.feed = Feed(state.store, limit=settings.stream_buffer, observe=state.metrics.observe)
    state.growths = Growths(folder, state.feed)
    state.pages, state.helper = Pages(built), Helper()
    for router in _routers():
        app.include_router(router)
    app.router.routes.append(state.pages)
    problems.install(app, [route for router in _routers() for route in router.routes])
    app.add_middleware(Guard, settings=settings, state=state)
    app.openapi = lambda: _document(app)
    return app


def _routers() -> list[APIRouter]:
    return [health, session.router, native.router, openai_videos.router, uploads.router, *studio.ROUTERS]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    app.state.feed.start()
    try:
        yield
    finally:
        app.state.feed.stop()
        app.state.helper.stop()
        app.state.store.close()


health = APIRouter(tags=["server"])


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Ready(BaseModel):
    """That a worker can take a job."""

    status: Literal["ready"] = "ready"


class Worker(BaseModel):
    """A worker. `message` says why it fails; `job` is what it makes."""

    name: str
    device: str
    state: Literal["starting", "idle", "running", "failing", "stopped"]
    job: str | None
    restarts: int
    message: str


class Trained(BaseModel):
    """What a model has seen: sizes (width, height), frame counts, and the pixels by which sizes grow."""

    sizes: list[tuple[int, int]]
    frames: list[int]
    multiple: int


class Model(BaseModel):
    """A model that requests may name. `defaults` are what a request leaves open; null for a model of the operator's.

    `fast`: it ships the adapters that the field `fast` takes.
    """

    name: str
    title: str
    tasks: list[str]
    defaults: dict[str, Any] | None
    trained: Trained | None = None
    fast: bool = False


class Limits(BaseModel):
    """The most that is taken: bytes of a body with files and without, jobs of a group and of the queue."""

    upload_bytes: int
    body_bytes: int
    children: int
    queued: int
    page: int


class Versions(BaseModel):
    """Of wan22, of this API, and of Python."""

    wan22: str
    api: int
    python: str


class Capabilities(BaseModel):
    """What this server can do. `fields`: JSON schemas of the `request` of a job, by kind. `workers`: of devices;
    `media_worker` renders and measures.
    """

    models: list[Model]
    loras: list[str]
    fields: dict[str, dict[str, Any]]
    limits: Limits
    workers: list[Worker]
    media_worker: Worker | None
    url_inputs: bool
    free_bytes: int
    versions: Versions


@health.get("/healthz", summary="Does it answer?")
async def healthz() -> Health:
    """The process is alive."""
    return Health()


@health.get("/readyz", summary="Can it work?")
def readyz(app: App) -> Ready:
    """A worker can take a job; 503 until the first one can."""
    if app.supervisor is None or not app.supervisor.ready:
        raise problems.Refusal(503, "not_ready", "no worker can take a job yet")
    return Ready()


@health.get(
    "/metrics", summary="Figures for Prometheus", response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text."}},
)  # fmt: skip
def metrics(app: App) -> Response:
    """Jobs, times, workers, bytes and requests, in Prometheus' text format."""
    return Response(app.metrics.text(), media_type=app.metrics.media_type)


@health.get("/v1/capabilities", summary="What this server can do", tags=["jobs"])
def capabilities(app: App) -> Capabilities:
    """Models and their defaults, fields of requests, limits, workers, versions."""
    settings = app.settings
    return Capabilities(
        models=[_model(name) for name in app.checker.models],
        loras=list(app.checker.operator.loras),
        fields={kind: request_schema(kind, app.checker) for kind in COMMANDS},
        limits=Limits(
            upload_bytes=settings.max_upload, body_bytes=settings.max_body, children=native.MAX_CHILDREN,
            queued=settings.max_queued, page=native.MAX_PAGE,
        ),
        workers=[] if app.supervisor is None else [_worker(each) for each in app.supervisor.status()],
        media_worker=_worker(media) if (media := getattr(app.supervisor, "media", None)) else None,
        url_inputs=settings.allow_url_inputs,
        free_bytes=shutil.disk_usage(app.folder.path).free,
        versions=Versions(wan22=__version__, api=1, python=platform.python_version()),
    )  # fmt: skip


def _worker(worker: WorkerLike) -> Worker:
    return Worker.model_validate({name: getattr(worker, name) for name in Worker.model_fields})


def _model(name: str) -> Model:
    row = rows().get(name)
    if row is None:
        return Model(name=name, title=name, tasks=[], defaults=None)
    said = row.defaults
    names = ("size", "frames", "fps", "steps", "shift", "guidance", "solver", "negative", "strength")
    return Model(
        name=name,
        title=row.title,
        tasks=list(row.tasks),
        defaults={each: getattr(said, each) for each in names},
        trained=Trained(
            sizes=list(row.trained.sizes),
            frames=list(row.trained.frames),
            multiple=row.grid[0] if row.speech is None else row.speech.side,
        ),
        fast=row.fast is not None,
    )


def request_schema(kind: str, checker: Checker) -> dict[str, Any]:
    """The JSON schema of a request of this kind, as this server takes it: files are ids of inputs."""
    takes = {field.name for field in fields.of_command(COMMANDS[kind])}
    schema = fields.json_schema()
    if kind == "extend":
        takes = takes - {*FIXED_BY_EXTENSION, "count"}
        schema = schema | {"required": [*schema["required"], "video"]}
    properties = {name: shape for name, shape in schema["properties"].items() if name in takes}
    for name, values in (ONLY | {"model": checker.models}).items():
        properties[name] = properties[name] | {"enum": list(values)} if name in properties else {}
    for field in fields.FIELDS:
        if field.name in properties and field.kind == "file":
            properties[field.name] |= {
                "pattern": f"^(in_[a-z0-9]{{24}}|{references.PATTERN})$",
                "description": f"{field.help} The id of an input; or what another job makes: its id, and for a frame "
                "of its video /first, /last or a number from 0.",
            }
    return schema | {"properties": {name: shape for name, shape in properties.items() if shape}}


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with every error of every operation; made once."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version="1", routes=app.routes, description=_DESCRIPTION)
        components = schema["components"]["schemas"]
        components["JobRequest"] = request_schema("video", app.state.checker)
        components["ChildOf"]["properties"]["request"] = {"$ref": "#/components/schemas/JobRequest"}
        components["NewJob"]["properties"]["request"] = {
            "anyOf": [{"$ref": "#/components/schemas/JobRequest"}, {"type": "null"}]
        }
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}, {}]
        app.openapi_schema = problems.document(schema)
    return app.openapi_schema


_DESCRIPTION = "Jobs that make videos: an own API under /v1/jobs, and one as OpenAI's under /v1/videos."
