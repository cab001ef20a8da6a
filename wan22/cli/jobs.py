"""`wan22 jobs`: look at the queue of a server, and change it."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.help import GroupedCommand, GroupedCommands
from wan22.cli.remote import Watch, fetch, open_client, parts_of, target_of_job
from wan22.client import URL, Client
from wan22.clock import duration
from wan22.errors import OptionError, Wan22Error, choose
from wan22.jobs.job import STATES
from wan22.production.work import turn_of

jobs = typer.Typer(
    help="Look at the queue of a server, and change it: wan22 jobs list",
    no_args_is_help=True,
    cls=GroupedCommands,
)


def _known(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the id of a job, if its server answers at once."""
    try:
        client = open_client(ctx.params.get("server") or URL, ctx.params.get("token_file"))
        return [job["id"] for job in replace(client, timeout=1.0).jobs() if job["id"].startswith(incomplete)]
    except Wan22Error:
        return []


def _states(incomplete: str) -> list[str]:
    return [state for state in STATES if state.startswith(incomplete)]


Id = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a job.", show_default=False, autocompletion=_known)
]
Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID", help="The ids of jobs.", show_default=False, autocompletion=_known),
]
Server = Annotated[str, typer.Option("--server", metavar="URL", help="The address of the server.")]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="The file that holds its token; or give the token in $WAN22_TOKEN.",
    ),
]


@jobs.callback()
def group() -> None:
    """Hold what comes before the command."""


@jobs.command("list", cls=GroupedCommand)
def list_(
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only queued, running, paused, completed, failed or cancelled; again for more.",
            autocompletion=_states,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Only with these words in the prompt.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many.")] = 50,
    trashed: Annotated[
        bool, typer.Option("--trashed", help="What is in the trash, instead of what is not.")
    ] = False,
    server: Server = URL,
    token_file: TokenFile = None,
    json: o.Json = False,
) -> None:
    """List jobs, the newest first."""
    for name in state or ():
        choose("state", name, STATES)
    found = open_client(server, token_file).jobs(state=state, text=text, limit=limit, trashed=trashed)
    show = report.answer(json)
    if not json:
        show.result({}, _table(found, time.time()))
        return
    for job in found:
        show.result(job, ())


@jobs.command(cls=GroupedCommand)
def show(id: Id, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Show all that is known of a job."""
    job = open_client(server, token_file).job(id)
    report.answer(json).result(job, _lines(job, time.time()))


@jobs.command(cls=GroupedCommand)
def watch(id: Id, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Show how far a job is, until it has ended. Ctrl-C ends the watching, not the job."""
    client = open_client(server, token_file)
    client.job(id)  # a server that is not there is waited for only once it was
    with report.choose(json) as shown:
        job = Watch(client, id, shown).until_ended(cancel=False)
        shown.result(job, [f"{id} is complete: `wan22 jobs download {id} --server {client.url}` fetches it"])


@jobs.command(cls=GroupedCommand)
def cancel(ids: Ids, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """End jobs: at once, or after the step that they are in."""
    _act("cancel", ids, open_client(server, token_file), json)


@jobs.command(cls=GroupedCommand)
def pause(ids: Ids, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Let jobs wait; a running one stops after its step, and keeps what it has."""
    _act("pause", ids, open_client(server, token_file), json)


@jobs.command(cls=GroupedCommand)
def resume(ids: Ids, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Let paused jobs go on."""
    _act("resume", ids, open_client(server, token_file), json)


@jobs.command(cls=GroupedCommand)
def move(
    id: Id,
    first: Annotated[bool, typer.Option("--first", help="To the front of the queue.")] = False,
    last: Annotated[bool, typer.Option("--last", help="To its end.")] = False,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Just before this job.")] = None,
    priority: Annotated[
        int | None, typer.Option(metavar="N", help="Among those of this priority; higher goes first.")
    ] = None,
    server: Server = URL,
    token_file: TokenFile = None,
    json: o.Json = False,
) -> None:
    """Give a job that waits another place in the queue."""
    places = {"first": first or None, "last": last or None, "before": before, "priority": priority}
    said = {name: value for name, value in places.items() if value is not None}
    if len(said) != 1:
        raise OptionError("say where to: one of --first, --last, --before ID and --priority N")
    _tell([open_client(server, token_file).act(id, "move", **said)], json)


@jobs.command(cls=GroupedCommand)
def retry(ids: Ids, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Queue jobs again that failed or were cancelled; what they had computed is not computed again."""
    _act("retry", ids, open_client(server, token_file), json)


@jobs.command(cls=GroupedCommand)
def trash(ids: Ids, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Put jobs into the trash, their files too; one that has not ended is cancelled."""
    _act("trash", ids, open_client(server, token_file), json)


@jobs.command(cls=GroupedCommand)
def restore(ids: Ids, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Take jobs out of the trash."""
    _act("restore", ids, open_client(server, token_file), json)


@jobs.command(cls=GroupedCommand)
def purge(ids: Ids, server: Server = URL, token_file: TokenFile = None, json: o.Json = False) -> None:
    """Delete jobs that are in the trash, and their files, for ever."""
    client = open_client(server, token_file)
    for id in ids:
        client.purge(id)
        report.answer(json).result({"id": id, "state": "purged"}, [f"{id} is gone"])


@jobs.command(cls=GroupedCommand)
def download(
    id: Id,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A name, or a folder. Default: out/PROMPT-SEED and the kind of file.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace a file of the name that -o gives.")
    ] = True,
    server: Server = URL,
    token_file: TokenFile = None,
    json: o.Json = False,
) -> None:
    """Fetch what a job has made."""
    client = open_client(server, token_file)
    with report.choose(json) as shown:
        parts = parts_of(client, client.job(id))
        for turn, job in enumerate(parts):
            target = target_of_job(job, output, overwrite=overwrite)
            fetch(client, job, target if output is None or len(parts) == 1 else turn_of(target, turn), shown)


def _act(action: str, ids: Iterable[str], client: Client, machine: bool) -> None:
    _tell((client.act(id, action) for id in ids), machine)


def _tell(changed: Iterable[Mapping[str, Any]], machine: bool) -> None:
    """Say of each job what it is now."""
    show = report.answer(machine)
    for job in changed:
        show.result(dict(job), [f"{job['id']} {_state(job)}"])


def _state(job: Mapping[str, Any]) -> str:
    """The state of a job in words, with what it was asked and has not done yet."""
    asked = {"cancel": ", to be cancelled", "pause": ", to be paused"}.get(job.get("signal", ""), "")
    trashed = ", in the trash" if job.get("trashed") else ""
    return f"{job['state']}{asked}{trashed}"


def _table(found: list[dict[str, Any]], now: float) -> Iterator[str]:
    """A line for each job: id, state, how much is done, its age, its prompt."""
    for job in found:
        done = f"{100 * job.get('fraction', 0.0):.0f} %"
        age = duration(now - job["created"])
        yield f"{job['id']}  {_state(job):10} {done:>5} {age:>9}  {_prompt(job)}".rstrip()
    if not found:
        yield "no jobs"


def _prompt(job: Mapping[str, Any]) -> str:
    """The beginning of what a job shows, on one line; of a group, its name."""
    said = job["request"].get("prompt") or job.get("meta", {}).get("name") or job["kind"]
    text = " ".join(str(said).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


_SHOWN = ("kind", "priority", "parent", "worker", "attempts")


def _lines(job: Mapping[str, Any], now: float) -> Iterator[str]:
    """All of a job for people."""
    yield f"{'id':18} {job['id']}"
    yield f"{'state':18} {_state(job)}"
    if job.get("position") is not None:
        yield f"{'ahead':18} {job['position']}"
    if job["state"] in ("running", "paused"):
        yield f"{'done':18} {100 * job.get('fraction', 0.0):.0f} %"
    for name in ("created", "started", "ended"):
        if job.get(name):
            yield f"{name:18} {duration(now - job[name])} ago"
    for name in _SHOWN:
        if job.get(name):
            yield f"{name:18} {job[name]}"
    if job.get("error"):
        yield f"{'error':18} {job['error'].get('message')} ({job['error'].get('code')})"
    for part in ("request", "result"):
        for name, value in (job.get(part) or {}).items():
            if name != "recipe":
                yield f"{name:18} {value if isinstance(value, str) else jsonlib.dumps(value, ensure_ascii=False)}"
