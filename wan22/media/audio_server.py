"""Music and effects from a server of the operator's: one of the OpenAI form, or a ComfyUI with a workflow.

OpenAI has no call for these; servers that speak its form take them at /v1/audio/speech, which is asked with the
description as `input`. ComfyUI gets the workflow with the description, the length and a seed in place of `%prompt%`,
`%seconds%` and `%seed%`.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from wan22 import web
from wan22.errors import OptionError, SpeechError
from wan22.files import PathLike, read_json

__all__ = ["AudioServer", "ComfyUI", "OpenAIForm", "open_audio_server"]

MOST = 256 << 20
"""Bytes of an answer."""
_PAUSE = 0.5  # seconds between two looks at a workflow that runs
_WORDING = web.Wording(
    kind="audio server",
    too_long=" of audio",
    too_slow="Give it more time or ask for less",
    not_found="Check the address",
    refused="Check what the server expects",
)


class AudioServer(Protocol):
    """Something that makes audio of a description."""

    def make(self, prompt: str, seconds: float, seed: int) -> bytes:
        """A file of audio. Raises SpeechError for a server that is down, slow, refuses or answers something else."""
        ...


def open_audio_server(url: str, workflow: PathLike | None = None, *, key: str | None = None) -> AudioServer:
    """The server at an http(s) address; with a workflow, as ComfyUI saves it for its API, it is a ComfyUI.

    Raises OptionError for an address or a workflow that is none.
    """
    try:
        parts = web.parse_url(url, "audio server", "http://localhost:8188")
    except web.WebError as error:
        raise OptionError(f"{error}.") from None
    base = parts._replace(path=parts.path.rstrip("/")).geturl()
    if workflow is None:
        return OpenAIForm(base, key=key)
    graph = read_json(workflow, OptionError)
    text = json.dumps(graph)
    if "%prompt%" not in text or not all(isinstance(n, dict) and "class_type" in n for n in graph.values()):
        raise OptionError(
            f"{workflow} is no workflow of ComfyUI's API with %prompt% in it: save it by Export (API), and write "
            "%prompt%, %seconds% and %seed% where they belong"
        )
    return ComfyUI(base, graph, key=key)


@dataclass(frozen=True)
class OpenAIForm:
    """POST {url}/v1/audio/speech, JSON in, an audio file out."""

    url: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 600.0

    def make(self, prompt: str, seconds: float, seed: int) -> bytes:
        path = (
            self.url
            if self.url.endswith("/audio/speech")
            else self.url.removesuffix("/v1") + "/v1/audio/speech"
        )
        server = web.Server(path, _WORDING, self.key, self.timeout, most=MOST)
        body = {"model": "audio", "input": prompt, "voice": "none", "response_format": "wav", "duration": seconds,
                "seed": seed}  # fmt: skip
        try:
            return server.ask(body, time.monotonic() + self.timeout, accept="audio/wav")[0]
        except web.WebError as error:
            raise SpeechError(f"{error}.") from None


@dataclass(frozen=True)
class ComfyUI:
    """POST /prompt, then /history until the workflow has ended, then the first audio of it by /view."""

    url: str
    workflow: Mapping[str, Any]
    key: str | None = field(default=None, repr=False)
    timeout: float = 600.0

    def make(self, prompt: str, seconds: float, seed: int) -> bytes:
        deadline = time.monotonic() + self.timeout
        server = web.Server(self.url, _WORDING, self.key, self.timeout, most=MOST)
        values = {"%prompt%": prompt, "%seconds%": seconds, "%seed%": seed}
        try:
            begun = self._json(server, deadline, "/prompt", {"prompt": _filled(self.workflow, values)})
            id = urllib.parse.quote(str(begun.get("prompt_id", "")), safe="")
            if not id:
                raise SpeechError(
                    f"{self.url} did not take the workflow: {server.shown(json.dumps(begun).encode())}"
                )
            while not (entry := self._json(server, deadline, f"/history/{id}").get(id)):
                if time.monotonic() + _PAUSE > deadline:
                    raise SpeechError(f"{self.url} did not end the workflow within {self.timeout:g} s.")
                time.sleep(_PAUSE)
            file = _first_audio(entry)
            if file is None:
                said = server.shown(json.dumps(entry.get("status", {})).encode())
                raise SpeechError(f"the workflow of {self.url} made no audio: {said}")
            query = urllib.parse.urlencode(
                {key: str(file.get(key, "")) for key in ("filename", "subfolder", "type")}
            )
            return server.ask(None, deadline, path=f"/view?{query}", accept="*/*")[0]
        except web.WebError as error:
            raise SpeechError(f"{error}.") from None

    def _json(
        self, server: web.Server, deadline: float, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        content, _ = server.ask(body, deadline, path=path)
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise SpeechError(f"{self.url} is no ComfyUI: it answers {server.shown(content)!r}")
        return found


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A workflow with values in their places: a text that is a place alone becomes the value itself."""
    if isinstance(value, dict):
        return {name: _filled(each, values) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    if isinstance(value, str):
        if value in values:
            return values[value]
        for name, each in values.items():
            value = value.replace(name, str(each))
    return value


def _first_audio(entry: Any) -> dict[str, Any] | None:
    outputs = entry.get("outputs") if isinstance(entry, dict) else None
    for output in outputs.values() if isinstance(outputs, dict) else ():
        found = output.get("audio") if isinstance(output, dict) else None
        if isinstance(found, list) and found and isinstance(found[0], dict):
            return found[0]
    return None
