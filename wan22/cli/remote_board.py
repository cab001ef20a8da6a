"""A storyboard whose videos a server makes: its takes come here, and the board is made of them as at home."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.cli import remote
from wan22.errors import JobError, RequestError
from wan22.production.options import to_json
from wan22.production.publish import Target
from wan22.production.shots import TAKES, Shot, Take
from wan22.storyboard.script import YAML_SUFFIXES

if TYPE_CHECKING:
    from wan22.canvas import Canvas
    from wan22.catalog import Variant
    from wan22.cli.report import Report
    from wan22.client import Client
    from wan22.media.provenance import Marking
    from wan22.production.events import EventSink
    from wan22.production.options import Given
    from wan22.storyboard.script import Script

_OF_VERDICTS = ("axis", "asked", "measured", "matches", "why")


def board_request(
    client: Client, given: Given, script: Script, text: str, path: Path, show: Report
) -> dict[str, Any]:
    """What the server is asked: the script as it is, the options, and its images, which are sent there.

    Raises OptionError for options that are not for a client of a server to say.
    """
    remote.check_for_server(given)
    options = to_json(given, str)
    images: dict[str, str] = {}
    for name in dict.fromkeys(scene.image for scene in script.scenes if scene.image is not None):
        places = [place for place in (path.parent / name, Path(name)) if place.is_file()]
        images[name] = remote.upload(client, show, str(places[0] if places else name))
    form = "yaml" if path.suffix.lower() in YAML_SUFFIXES else "text"
    return {"script": text, "options": options | {"images": images, "format": form}}


@dataclass
class RemoteStudio:
    """Who has a server make the takes: for `make_board`, as `production.shots.Studio` is at home.

    row: the model's row of the catalogue, None for one that only the server knows.
    """

    client: Client
    folder: Path
    events: EventSink
    show: Report
    request: Mapping[str, Any]
    model: str
    row: Variant | None = None
    retries: int = 0
    quality: str = "high"
    marking: Marking | None = None
    label: str | None = None
    id: str = ""
    key: str = field(default_factory=lambda: secrets.token_hex(16))

    def begin(self) -> str:
        """Ask for the board, once however often it has to be said; return its id."""
        board = self.client.patiently(partial(self.client.add_board, self.request, self.key), self.show.note)
        self.id = board["id"]
        return self.id

    def check(self, shots: list[Shot]) -> list[Canvas]:
        """The sizes of the shots, for those that are joined. Raises RequestError that names the first that cannot
        be made.
        """
        from wan22.request import resolve

        if self.row is None:
            return []
        canvases = []
        for shot in shots:
            try:
                canvases.append(resolve(shot.request, self.row).canvas)
            except RequestError as error:
                raise type(error)(f"{shot.scene.where}: {error}") from None
        return canvases

    def clear(self) -> None:
        """Nothing is left half here: what comes from a server appears whole."""

    def target(self, path: Path) -> Target:
        """A file of the studio: how it is marked."""
        return Target(str(path), self.quality, marking=self.marking, label=self.label)

    def make(self, shot: Shot) -> tuple[Take, int]:
        """The best take of a shot, and how many there are; while it fails, the server makes more, as often as asked.

        Raises JobError if none could be made.
        """
        number = shot.scene.number
        for turn in range(self.retries + 1):
            seen = self._ended(number)
            if seen["failing"] is False or turn == self.retries:
                break
            again = partial(self.client.make_board_again, self.id, [number], secrets.token_hex(16))
            self.client.patiently(again, self.show.note)
        takes = {take["job"]: take for take in seen["takes"]}
        if seen["chosen"] is None:
            error = next((take["error"] for take in seen["takes"] if take["error"]), None) or {}
            raise JobError(str(error.get("message", "the server does not say why")))
        best = takes[seen["chosen"]]
        video = self._fetched(best["job"])
        return Take(best["take"], best["seed"], video.stem, video, None, _verdicts(best)), len(takes)

    def _ended(self, number: int) -> dict[str, Any]:
        """The shot, when its takes and what measures them have ended."""
        for take in self._shot(number)["takes"]:
            for job in (take["job"], take["measure"]):
                if job is not None:
                    self.show.note(f"shot {number}, take {take['take']}: {job} on {self.client.url}")
                    self._watch(job)
        return self._shot(number)

    def _watch(self, job: str) -> None:
        try:
            remote.Watch(self.client, job, self.show, whole=self.id).until_ended(cancel=True)
        except (JobError, RequestError) as error:
            self.show.note(str(error))

    def _shot(self, number: int) -> dict[str, Any]:
        board = self.client.patiently(partial(self.client.board, self.id), self.show.note)
        return next(shot for shot in board["shots"] if shot["shot"] == number)

    def _fetched(self, id: str) -> Path:
        """The video of a take, here."""
        job = self.client.patiently(partial(self.client.job, id), self.show.note)
        path = self.folder / TAKES / f"{id}.mp4"
        if not path.exists():
            target = replace(self.target(path), existing="replace")
            remote.fetch_file(self.client, id, remote.files_of(job)[0], target, self.show)
        return path


def _verdicts(take: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Rows of what was asked, as at home; none if it could not be measured."""
    rows = (take["measured"] or {}).get("axes", ())
    return tuple({name: row[name] for name in _OF_VERDICTS} for row in rows if row["asked"] is not None)
