"""Work that a server does: what was typed goes there; its progress and its files come back, as if made here."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wan22 import fields
from wan22.cli import report, terminal
from wan22.client import TOKEN, AwayError, Client, connect
from wan22.errors import Cancelled, JobError, OptionError, OutputError, RequestError, ServerError
from wan22.files import read_text
from wan22.production.options import Given, as_work, said, to_json, typed
from wan22.production.work import check_place, slug, target_of, turn_of
from wan22.version import __version__

if TYPE_CHECKING:
    from wan22.cli.report import Report
    from wan22.production.publish import Target

_HERE = frozenset({"output", "overwrite", "json", "server", "token_file", "detach"})
"""Options of the command itself, whoever does the work."""
_ASKED_WRONGLY = ("invalid_request", "unreadable_input")
"""Codes of failed jobs that say that what was asked cannot be."""
_MISUNDERSTOOD = (404, 405, 422)
"""What a server of another version may answer to what it does not know."""


def is_remote(given: Given) -> bool:
    """Whether a server is to do the work. Raises OptionError for options that are for a server, and none is named."""
    if given["server"] is not None:
        return True
    for name in ("detach", "token_file"):
        if said(given[name]):
            raise OptionError(f"{fields.called(name)} is for work that a server does; name it: --server URL")
    return False


def open_client(url: str, token_file: str | None) -> Client:
    """The client of a server, with the token of a file or of the environment. Raises OptionError."""
    token = os.environ.get(TOKEN) or None
    if token_file is not None:
        token = read_text(token_file, OptionError, limit=4096).strip()
        if not token:
            raise OptionError(f"{token_file} is empty; it should hold the token of the server")
    return connect(url, token)


def make(given: Given, kind: str) -> None:
    """Let a server make what was typed, and put the result where it would have come to be here."""
    client = open_client(given["server"], given["token_file"])
    given = _for_server(given)
    to_json(given, str)  # says what is wrong, before anything is sent
    target = None if given["detach"] else _target(given)
    with report.choose(given["json"]) as show:
        with _of_another_version(client.capabilities()):
            request = to_json(given, partial(upload, client, show))
            job = _add(client, kind, request, show)
        if target is None:
            show.result({"id": job["id"], "server": client.url}, [job["id"]])
            return
        show.note(f"{job['id']} on {client.url}")
        parts = parts_of(client, job)
        for turn, part in enumerate(parts):
            ended = Watch(client, part["id"], show, whole=job["id"]).until_ended(cancel=True)
            fetch(client, ended, target if len(parts) == 1 else turn_of(target, turn), show)


def check_for_server(given: Given) -> None:
    """Raise OptionError for options that are not for a client of a server to say."""
    rows = [
        row for row in fields.of_command(given.command) if "http" not in row.where and row.name not in _HERE
    ]
    wrong = [row.option for row in rows if typed(given, row)]
    if wrong:
        raise OptionError(
            f"{', '.join(wrong)}: not for a client of a server to say; its operator does, or the work is done here. "
            "Leave out that, or --server"
        )


def _for_server(given: Given) -> Given:
    """What was typed, if a server can be asked for it, and with the codec that the file's name says."""
    check_for_server(given)
    if given["prompt"] is None:
        raise OptionError("there is no prompt: give one, such as 'a red ball rolls left at sunset'")
    if given["detach"] and given["output"] is not None:
        raise OptionError(
            "-o says where the file goes when it is complete, and --detach does not wait for that; leave out one, and "
            "fetch the file with `wan22 jobs download ID -o FILE`"
        )
    codec = _codec(given)
    return given if codec == given["codec"] else replace(given, values={**given.values, "codec": codec})


def _codec(given: Given) -> str | None:
    """The codec to ask for: as typed, or what makes a file of the kind that -o names."""
    from wan22.media.encoding import CONTAINERS

    if given["codec"] is not None or given["output"] is None:
        return given["codec"]
    codecs = CONTAINERS.get(Path(given["output"]).suffix.lower().removeprefix("."), ())
    return codecs[0] if codecs and codecs != CONTAINERS["mp4"] else None


def _suffix(given: Given) -> str:
    """The ending of the file that a server makes."""
    if given.command == fields.IMAGE:
        return ".png"
    from wan22.media.encoding import CONTAINERS

    return next((f".{kind}" for kind, codecs in CONTAINERS.items() if given["codec"] in codecs), ".mp4")


def _target(given: Given) -> Target:
    """Where the file goes, as if it were made here. Raises OutputError if it cannot, or is none that a server makes."""
    suffix = _suffix(given)
    target = target_of(replace(as_work(given), suffix=suffix))
    if Path(target.path).suffix.lower() != suffix:
        raise OutputError(
            f"{target.path}: what a server makes of this is one {suffix} file; name that, or leave out --server"
        )
    check_place(target, (1, 1), 1)
    return target


def upload(client: Client, show: Report, path: str) -> str:
    """Send a file; return the id of the input that it is there."""
    from wan22.types import Phase

    show.event(Phase("upload", Path(path).name))
    return client.upload(path)["id"]


@contextmanager
def _of_another_version(capabilities: Mapping[str, Any]) -> Generator[None]:
    """Say of what a server refuses that it has another version, if it has."""
    try:
        yield
    except ServerError as error:
        version = capabilities.get("versions", {}).get("wan22")
        if error.status not in _MISUNDERSTOOD or version == __version__:
            raise
        text = f"{error}. The server is wan22 {version}, this is {__version__}"
        raise ServerError(text, error.status) from None


def _add(client: Client, kind: str, request: dict[str, Any], show: Report) -> dict[str, Any]:
    """Ask for the job once, however often it has to be said; Ctrl-C meanwhile leaves none. Several are a group."""
    key, count = secrets.token_hex(16), request.pop("count", 1)
    if count == 1:
        add = partial(client.add, kind, request, key)
    else:
        seeds = range(request.get("seed", 0), request.get("seed", 0) + count)
        children = [{"kind": kind, "request": request | {"seed": seed}} for seed in seeds]
        add = partial(client.add, "group", None, key, children=children)
    try:
        return client.patiently(add, show.note)
    except KeyboardInterrupt:
        try:
            client.act(add()["id"], "cancel")
        except ServerError as error:
            raise Cancelled(f"cancelled; whether {client.url} took the job is not known: {error}") from None
        raise Cancelled("cancelled, nothing was made") from None


class Watch:
    """A job of a server, shown by a report. It may be part of a `whole`, which is cancelled with it."""

    def __init__(self, client: Client, id: str, show: Report, whole: str = "") -> None:
        self._client, self._id, self._show, self._whole = client, id, show, whole or id

    def until_ended(self, *, cancel: bool) -> dict[str, Any]:
        """Show the job until it has ended, and return it complete. Ctrl-C leaves it to itself, or asks to `cancel` it.

        Raises RequestError or JobError if it failed, Cancelled if it was cancelled.
        """
        try:
            self._follow()
        except KeyboardInterrupt:
            raise Cancelled(self._cancel() if cancel else f"the job goes on: {self._how_to_watch}") from None
        job = self._client.patiently(partial(self._client.job, self._id), self._show.note)
        if job["state"] == "cancelled":
            raise Cancelled(f"{self._id} was cancelled")
        if job["state"] == "failed":
            error = job["error"] or {}
            kind = RequestError if error.get("code") in _ASKED_WRONGLY else JobError
            raise kind(f"{self._id} failed: {error.get('message', 'the server does not say why')}")
        return job

    @property
    def _how_to_watch(self) -> str:
        return f"`wan22 jobs watch {self._whole} --server {self._client.url}` shows it"

    def _follow(self) -> None:
        for data in self._client.follow(self._id, self._show.note):
            self._take(data)

    def _cancel(self) -> str:
        """Cancel the job, and wait until it has ended; another Ctrl-C leaves it to itself. Returns what came of it."""
        terminal.raise_on_interrupt()
        try:
            self._show.note("cancelling; Ctrl-C again leaves the job to itself")
            self._client.act(self._whole, "cancel")
            self._follow()
            state = self._client.job(self._id)["state"]
        except KeyboardInterrupt:
            return f"the job is left to itself: {self._how_to_watch}"
        except AwayError as error:
            return f"the job was not cancelled: {error}. It may go on: {self._how_to_watch}"
        except ServerError as error:  # it has ended meanwhile
            return f"the job was not cancelled: {error}"
        return "cancelled, nothing was written" if state == "cancelled" else f"the job is {state} already"

    def _take(self, data: Mapping[str, Any]) -> None:
        """Show an event of the job as the engine's own would be shown."""
        from wan22.types import Notice, Phase

        match data.get("type"):
            case "state":
                self._enter(str(data.get("state")))
            case "phase":
                self._show.event(Phase(str(data.get("name")), str(data.get("detail") or "")))
            case "note":
                self._show.event(Notice(str(data.get("text"))))
            case "progress":
                self._show.event(_progress(data))
            case "frames":
                self._show.event(_frames(data))

    def _enter(self, state: str) -> None:
        from wan22.types import Phase

        if state == "queued":
            before = None
            with suppress(ServerError):  # it only adds to what is shown
                before = self._client.job(self._id).get("position")
            self._show.event(Phase("queue", f"{before} ahead" if before else ""))
        elif state == "paused":
            self._show.note(f"the job is paused: `wan22 jobs resume {self._id} --server {self._client.url}`")


def _progress(data: Mapping[str, Any]) -> Any:
    """A step as the engine says it, but for the tensors, which no report looks at."""
    from wan22.types import Progress

    return Progress(
        index=int(data.get("step", 0)),
        steps=int(data.get("steps", 0)),
        expert=str(data.get("expert", "")),
        sigma=float(data.get("sigma", 0.0)),
        seconds=float(data.get("seconds", 0.0)),
        left=float(data.get("left", 0.0)),
        x=cast("Any", None),
        x0=cast("Any", None),
        clip=int(data.get("clip", 1)),
        clips=int(data.get("clips", 1)),
        reused=bool(data.get("reused", False)),
    )


def _frames(data: Mapping[str, Any]) -> Any:
    """How many frames are decoded; the frames stay on the server."""
    import numpy as np

    from wan22.types import Frames

    return Frames(int(data.get("done", 0)), int(data.get("total", 0)), np.empty((0, 0, 0, 3), np.uint8))


def target_of_job(job: Mapping[str, Any], output: str | None, *, overwrite: bool) -> Target:
    """Where the file of a job goes: as if it had been made here. Raises OutputError for a name of another kind."""
    from wan22.media.output_paths import place
    from wan22.production.publish import Target

    suffix = Path(files_of(job)[0]["name"]).suffix
    asked = job["request"]
    default = f"out/{slug(str(asked.get('prompt', '')))}-{asked.get('seed') or 0}{suffix}"
    path, existing = place(output, default, overwrite=overwrite, still=suffix == ".png")
    if Path(path).suffix.lower() != suffix:
        raise OutputError(f"{path}: the file of the job is a {suffix}; name one, or a folder")
    return Target(path, existing=existing)


def parts_of(client: Client, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The jobs of a group, in order; of any other job, itself."""
    if job["kind"] != "group":
        return [dict(job)]
    return client.jobs(parent=job["id"], order="asc", limit=1000)


def fetch(client: Client, job: Mapping[str, Any], target: Target, show: Report) -> None:
    """Fetch the files of a complete job; takes that were kept lie beside the best.

    Raises OutputError if there is no place, ServerError if there is no file.
    """
    best, *others = files_of(job)
    path = fetch_file(client, job["id"], best, target, show)
    for file in others:
        tag = Path(file["name"]).stem.removeprefix(f"{Path(best['name']).stem}-")
        show.note(f"kept {fetch_file(client, job['id'], file, target.tagged(tag), show)}")
    show.made(path, job["result"].get("recipe") or {})


def files_of(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a job's result, with what the server says of each."""
    said_of = (job.get("result") or {}).get("files") or ()
    files = [each if isinstance(each, dict) else {"name": each} for each in said_of]
    if not files:
        raise ServerError(f"{job['id']} is {job['state']}, and has no file to fetch")
    return files


def fetch_file(client: Client, id: str, file: Mapping[str, Any], target: Target, show: Report) -> str:
    """Fetch one file whole, and return where it lies."""
    from wan22.atomic import temporary_file
    from wan22.media.output_paths import check_output, publish_file
    from wan22.types import Phase

    def room(count: int) -> None:
        check_output(target.path, bytes_needed=count, overwrite=target.existing == "replace")

    name = str(file["name"])
    if Path(name).suffix != Path(target.path).suffix.lower():
        target = replace(target, path=str(Path(target.path).with_suffix(Path(name).suffix))).free()
        show.note(f"the server made a {Path(name).suffix}")
    kept = f"The server keeps the file: `wan22 jobs download {id} --server {client.url}` fetches it"
    show.event(Phase("download", name))
    try:
        with temporary_file(Path(target.path)) as part:
            client.download(id, name, part, show.note, room)
            if file.get("sha256") not in (None, _sha256(part)):
                raise ServerError(f"{name} arrived damaged")
            return publish_file(part, target.path, target.existing)
    except (OutputError, ServerError) as error:
        raise type(error)(f"{str(error).rstrip('. ')}. {kept}") from None
    except KeyboardInterrupt:
        raise Cancelled(f"cancelled, nothing was written. {kept}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
