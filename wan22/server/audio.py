"""Spoken lines, music and effects as inputs: by espeak, or by the servers that the operator names."""

from __future__ import annotations

import io
import os
import secrets
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from wan22.errors import OptionError, SpeechError
from wan22.jobs.job import Input
from wan22.server.child import in_turn
from wan22.server.native import Strict
from wan22.server.problems import Refusal
from wan22.server.state import App, AppState
from wan22.server.uploads import InputView, keep, shown_input

router = APIRouter(prefix="/v1", tags=["audio"])

KEY = "WAN22_AUDIO_KEY"
"""The environment variable with the key of an audio server."""
_SHOWN = 40  # characters of a text that become a name


_UPSTREAM: dict[int | str, dict[str, Any]] = {
    501: {"description": "The operator names no such server."},
    502: {"description": "The server that was asked failed."},
}


class Voice(BaseModel):
    """A voice. `language`: what it speaks; null where the server does not say."""

    id: str
    name: str
    language: str | None


class Voices(BaseModel):
    """Who speaks: `engine` is espeak, or the operator's server. `audio`: whether music and effects can be made."""

    engine: Literal["espeak", "server"]
    data: list[Voice]
    audio: bool


class Speech(Strict):
    """A line to be spoken."""

    text: Annotated[str, Field(min_length=1, max_length=5000)]
    voice: Annotated[str, Field(max_length=100, pattern=r"^[\w+\-(). ]+$")] | None = None
    language: Annotated[str, Field(max_length=20, pattern="^[A-Za-z0-9-]+$")] | None = None
    speed: float = Field(default=1.0, ge=0.5, le=2.5)


class NewAudio(Strict):
    """Music or an effect to be made. `seed`: null takes a new one."""

    prompt: Annotated[str, Field(min_length=1, max_length=2000)]
    seconds: float = Field(default=10.0, ge=0.5, le=190.0)
    kind: Literal["music", "effect"] = "effect"
    seed: int | None = Field(default=None, ge=0, lt=2**31)


@router.get("/voices", summary="Who can speak")
def list_voices(app: App) -> Voices:
    """The voices of espeak on this machine, or those of the usual names of the operator's server."""
    audio = app.settings.audio_server is not None
    if app.settings.speech_server is not None:
        names = (
            "alloy",
            "ash",
            "ballad",
            "coral",
            "echo",
            "fable",
            "nova",
            "onyx",
            "sage",
            "shimmer",
            "verse",
        )
        return Voices(engine="server", data=[Voice(id=n, name=n, language=None) for n in names], audio=audio)
    try:
        found = [Voice(id=name, name=name, language=name) for name in _languages()]
    except SpeechError:
        found = []  # none is installed
    return Voices(engine="espeak", data=found, audio=audio)


@lru_cache(maxsize=1)
def _languages() -> tuple[str, ...]:
    from wan22.media.say import EspeakSynthesizer

    return tuple(
        name
        for name in EspeakSynthesizer().voices()
        if name.islower() and "_" not in name and "/" not in name
    )


@router.post("/speech", status_code=201, summary="Speak a line", responses=_UPSTREAM)
async def speak(asked: Speech, app: App, response: Response) -> InputView:
    """Speak a text; the audio is kept as an input."""
    app.checker.check_text(asked.text, "text")
    return _answered(await in_turn(partial(_spoken, app, asked)), response)


@router.post("/sounds", status_code=201, summary="Make music or an effect", responses=_UPSTREAM)
async def make_audio(asked: NewAudio, app: App, response: Response) -> InputView:
    """Let the operator's audio server make something; it is kept as an input. 501 where there is no such server."""
    app.checker.check_text(asked.prompt, "prompt")
    if app.settings.audio_server is None:
        raise Refusal(
            501,
            "no_audio_server",
            "no server makes music and effects here; its operator names one by --audio-server",
        )
    return _answered(await in_turn(partial(_made, app, asked)), response)


def _answered(row: Input, response: Response) -> InputView:
    response.headers["Location"] = f"/v1/inputs/{row.id}"
    return shown_input(row)


def _spoken(app: AppState, asked: Speech) -> Input:
    from wan22.media.audio import write_audio
    from wan22.media.say import open_tts
    from wan22.production.audio import KEY as SPEECH_KEY

    server = app.settings.speech_server
    try:
        voice: dict[str, Any] = {"voice": asked.voice, "language": asked.language, "speed": asked.speed}
        if server is None:
            if asked.voice is not None and asked.voice == asked.language:
                voice["language"] = None
            speaker = open_tts("espeak", **voice)
        else:
            speaker = open_tts(server, key=os.environ.get(SPEECH_KEY), **voice)
        audio = speaker.say(asked.text)
    except OptionError as error:
        raise Refusal(422, "invalid_request", " ".join(str(error).split())) from None
    except SpeechError as error:
        raise _failed(error) from None
    with tempfile.TemporaryDirectory(prefix="wan22-") as folder:
        path = Path(folder) / "speech.wav"
        write_audio(path, audio)
        with path.open("rb") as stream:
            return keep(app, stream, f"{asked.text[:_SHOWN]}.wav")


def _made(app: AppState, asked: NewAudio) -> Input:
    from wan22.media.audio_server import open_audio_server

    settings = app.settings
    try:
        server = open_audio_server(
            str(settings.audio_server), settings.audio_workflow, key=os.environ.get(KEY)
        )
        seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
        content = server.make(asked.prompt, asked.seconds, seed)
    except SpeechError as error:
        raise _failed(error) from None
    return keep(app, io.BytesIO(content), f"{asked.prompt[:_SHOWN]}.wav")


def _failed(error: Exception) -> Refusal:
    return Refusal(502, "audio_failed", " ".join(str(error).split()))
