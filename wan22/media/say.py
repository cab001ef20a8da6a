"""Text to speech: a small interface and two engines, a local espeak-ng and any server of the OpenAI form.

A speaker turns text into an Audio at the engine's own rate and describes itself for the recipe. It reads no
environment: a key comes from the caller, and is never told to anyone but the server it is for.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wan22 import web
from wan22.errors import MediaError, OptionError, SpeechError
from wan22.files import read_bytes
from wan22.media.audio import probe_audio, read_audio, resample
from wan22.media.file_types import PathLike
from wan22.types import Audio

__all__ = ["EspeakSynthesizer", "ServerSynthesizer", "SpeechSynthesizer", "open_tts", "split_text"]

MAX_TEXT = 200_000
"""Longest text in characters: about four hours of speech, the longest audio that is read."""

_INSTALL = (
    "Install it (Debian, Ubuntu: apt install espeak-ng; macOS: brew install espeak-ng; "
    "Windows: winget install eSpeak-NG.eSpeak-NG), or name a speech server by its http(s) address."
)


class SpeechSynthesizer(Protocol):
    """Something that can read a text aloud."""

    def say(self, text: str) -> Audio:
        """Speak `text`, at the engine's own rate. Raises OptionError for the text, SpeechError for the rest."""
        ...

    def describe(self, text: str) -> dict[str, Any]:
        """Return what the recipe keeps of speaking `text`: JSON-able, without secrets."""
        ...


def open_tts(
    spec: str,
    *,
    voice: str | None = None,
    language: str | None = None,
    model: str | None = None,
    key: str | None = None,
    speed: float = 1.0,
    sample: PathLike | None = None,
    sample_text: str | None = None,
) -> SpeechSynthesizer:
    """Return the speaker that `spec` names: "espeak", or the http(s) address of a server.

    With espeak, `voice` is one of `EspeakSynthesizer.voices()`, or one of its `variants()` ("f3") of the voice for
    `language`. `model`, `key`, `sample` (a recording of the voice to imitate) and `sample_text`
    (what is said in it) are for servers. Raises OptionError for a spec or option that cannot be, SpeechError
    if espeak-ng is not installed, MediaError for a sample that is no audio.
    """
    if re.match(r"https?://", spec, re.IGNORECASE):
        return ServerSynthesizer(
            spec,
            model=model or ServerSynthesizer.model,
            voice=voice or ServerSynthesizer.voice,
            key=key,
            language=language,
            speed=speed,
            sample=sample,
            sample_text=sample_text,
        )
    if spec not in ("espeak", "espeak-ng"):
        raise OptionError(
            f"unknown speaker {spec!r}. Known: espeak, or the http(s) address of a speech server"
        )
    given = {"model": model, "key": key, "sample": sample, "sample_text": sample_text}
    for name, value in given.items():
        if value is not None:
            raise OptionError(f"espeak knows no {name}; only a speech server does.")
    if voice and not language and voice in EspeakSynthesizer().variants():
        language = EspeakSynthesizer.voice
    name = f"{language}+{voice}" if language and voice else voice or language or EspeakSynthesizer.voice
    return EspeakSynthesizer(name, speed=speed)


@dataclass(frozen=True)
class EspeakSynthesizer:
    """The program espeak-ng (or the older espeak) on this machine: a robot's voice, in 100 languages.

    `voice` is one of `voices()`, or one with a variant: "en", "de", "en-us+f3". `speed` 1 is 175 words a minute;
    `pitch` is 0 to 99; `timeout` is in seconds. Raises OptionError for what espeak does not know, SpeechError
    if the program is not here.
    """

    voice: str = "en"
    speed: float = 1.0
    pitch: int = 50
    timeout: float = 120.0

    def __post_init__(self) -> None:
        _check_range("speed", self.speed, 0.5, 2.5)
        _check_range("pitch", self.pitch, 0, 99)
        _check_range("timeout", self.timeout, 0.1, 3600)
        base, plus, variant = self.voice.partition("+")
        _check_voice("voice", base, self.voices())
        if plus:
            _check_voice("variant of a voice", variant, self.variants())

    def voices(self) -> list[str]:
        """Return the voices by language ("en-gb") and name ("English_(America)"), sorted."""
        return self._listed("--voices")

    def variants(self) -> list[str]:
        """Return the variants ("f3", "whisper"), sorted."""
        return self._listed("--voices=variant")

    def say(self, text: str) -> Audio:
        """Speak `text`. Raises OptionError for an impossible text, SpeechError if the program fails."""
        text = _checked_text(text)
        wpm, pitch = str(round(175 * self.speed)), str(self.pitch)
        options = ["--stdin", "--stdout", "-b", "1", "-v", self.voice, "-s", wpm, "-p", pitch]
        content = self._run(options, text.encode())
        try:
            return _decoded(content)
        except MediaError as error:
            raise SpeechError(
                f"{_espeak()} made no audio of {web.excerpt(text)!r}: nothing to speak in it?"
            ) from error

    def describe(self, text: str) -> dict[str, Any]:
        """Return the recipe entry."""
        return {
            "engine": "espeak",
            "voice": self.voice,
            "speed": self.speed,
            "pitch": self.pitch,
            "text": text,
        }

    def _run(self, options: list[str], given: bytes = b"") -> bytes:
        program = _espeak()
        try:
            done = subprocess.run(
                [program, *options], input=given, capture_output=True, timeout=self.timeout, check=True
            )
        except subprocess.TimeoutExpired:
            raise SpeechError(
                f"{program} did not finish within {self.timeout:g} s. Shorten the text."
            ) from None
        except subprocess.CalledProcessError as error:
            reason = web.excerpt(error.stderr.decode(errors="replace")) or f"exit code {error.returncode}"
            raise SpeechError(f"{program} failed: {reason}") from None
        except OSError as error:
            raise SpeechError(f"{program} cannot be run: {error.strerror}. {_INSTALL}") from None
        return done.stdout

    def _listed(self, option: str) -> list[str]:
        """Read the table of voices: priority, language, age and gender, name, file, (other language n)..."""
        found = set()
        for line in self._run([option]).decode(errors="replace").splitlines()[1:]:
            columns = line.split()
            if len(columns) >= 5:
                found |= {columns[1], columns[3], columns[4].rpartition("/")[2]}
                found |= set(re.findall(r"\((\S+) \d+\)", line))
        return sorted(found - {"variant"})


@dataclass(frozen=True)
class ServerSynthesizer:
    """A server that speaks the OpenAI form: POST {url}/v1/audio/speech, JSON in, an audio file out.

    `url` may be the server's address, or go on to /v1 or /v1/audio/speech. `sample` is a recording of the voice
    to imitate and `sample_text` what is said in it; they are sent (base64 and text) in the JSON fields named by
    `sample_fields`, which differ between servers. `extra` are more JSON fields. `timeout` seconds are given to
    every request (4096 characters at most, the form's limit) with all its tries; a busy or absent server is
    tried again after each pause of `back_off` seconds.

    Raises OptionError for an impossible option, MediaError for a sample that is no audio.
    """

    url: str
    model: str = "tts-1"
    voice: str = "alloy"
    key: str | None = field(default=None, repr=False)
    language: str | None = None
    speed: float = 1.0
    instructions: str | None = None
    sample: PathLike | None = None
    sample_text: str | None = None
    sample_fields: tuple[str, str] = ("reference_audio", "reference_text")
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    timeout: float = 300.0
    back_off: tuple[float, ...] = (0.5, 2.0)

    LIMIT = 4096
    """Characters of one request."""
    MAX_BYTES = 256 << 20
    """Largest answer. 4096 characters are about five minutes: 60 MB at 48 kHz in stereo."""
    MAX_SAMPLE = 25 << 20

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _speech_url(self.url))
        _check_range("speed", self.speed, 0.25, 4)
        _check_range("timeout", self.timeout, 0.1, 3600)
        for name in ("model", "voice"):
            if not getattr(self, name).strip():
                raise OptionError(f"the {name} is empty; a speech server needs its name.")
        if self.key is not None and not web.is_key(self.key):
            raise OptionError("the key for the speech server has spaces or characters that no key has.")
        if self.sample_text is not None and self.sample is None:
            raise OptionError("a text of the voice sample without a voice sample. Give both, or none.")
        if self.sample is not None:
            probe_audio(self.sample)
            if (size := Path(self.sample).stat().st_size) > self.MAX_SAMPLE:
                raise OptionError(
                    f"the voice sample {self.sample} has {size:,} bytes; {self.MAX_SAMPLE:,} can be sent. "
                    "Ten seconds of speech are enough."
                )

    def say(self, text: str) -> Audio:
        """Speak `text`, in several requests if it is long.

        Raises OptionError for an impossible text, SpeechError for a server that is down, slow, refuses, fails,
        or answers with something else than an audio file.
        """
        spoken = [self._speak(part) for part in split_text(_checked_text(text), self.LIMIT)]
        rate = spoken[0].rate
        pieces = [(audio if audio.rate == rate else resample(audio, rate)).samples for audio in spoken]
        return Audio(np.concatenate(pieces), rate)

    def describe(self, text: str) -> dict[str, Any]:
        """Return the recipe entry; of `extra` only the names, for a value may be a secret."""
        entry: dict[str, Any] = {
            "engine": "server",
            "url": self.url,
            "model": self.model,
            "voice": self.voice,
        }
        if self.language is not None:
            entry["language"] = self.language
        if self.instructions is not None:
            entry["instructions"] = self.instructions
        if self.sample is not None:
            content = read_bytes(self.sample, MediaError, limit=self.MAX_SAMPLE)
            entry["sample"] = {"name": Path(self.sample).name, "sha256": hashlib.sha256(content).hexdigest()}
            entry["sample_text"] = self.sample_text
        if self.extra:
            entry["extra"] = sorted(self.extra)
        return entry | {"speed": self.speed, "text": text}

    def _speak(self, text: str) -> Audio:
        wording = web.Wording(
            kind="speech server",
            too_long=" of audio",
            too_slow="Give it more time or less text",
            not_found=f"Check the address and the model {self.model!r}",
            refused="Check model, voice and text",
        )
        server = web.Server(self.url, wording, self.key, self.timeout, self.back_off, self.MAX_BYTES)
        deadline = time.monotonic() + self.timeout
        try:
            content, kind = server.ask(self._body(text), deadline, accept="audio/wav")
        except web.WebError as error:
            raise SpeechError(f"{error}.") from None
        try:
            return _decoded(content)
        except MediaError as error:
            raise SpeechError(
                f"{self.url} answered with {len(content):,} bytes of {kind or 'an unnamed kind'} that are no "
                f"audio: {server.shown(content)!r}. It must be a server of the OpenAI form that can write WAV."
            ) from error

    def _body(self, text: str) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "input": text, "voice": self.voice}
        body |= {"response_format": "wav", "speed": self.speed}
        if self.instructions is not None:
            body["instructions"] = self.instructions
        if self.language is not None:
            body["language"] = self.language
        if self.sample is not None:
            body[self.sample_fields[0]] = base64.b64encode(
                read_bytes(self.sample, MediaError, limit=self.MAX_SAMPLE)
            ).decode()
        if self.sample_text is not None:
            body[self.sample_fields[1]] = self.sample_text
        return {**self.extra, **body}


def split_text(text: str, limit: int) -> list[str]:
    """Cut a text into parts of at most `limit` characters: at ends of sentences, else at spaces, else anywhere."""
    parts: list[str] = []
    rest = text.strip()
    while len(rest) > limit:
        head = rest[: limit + 1]
        ends = [found.end() for found in re.finditer(r"[.!?…][\"'”’»)]*(?=\s)|[。！？][”’」』）]*|\n", head)]
        cut = max((end for end in ends if end <= limit), default=0) or head.rfind(" ")
        cut = cut if cut > 0 else limit
        parts.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [part for part in (*parts, rest) if part]


def _checked_text(text: str) -> str:
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", " ", text).strip()
    if not text:
        raise OptionError("there is no text to speak; it is empty.")
    if len(text) > MAX_TEXT:
        raise OptionError(f"the text to speak has {len(text):,} characters; {MAX_TEXT:,} are the limit.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OptionError(
            f"the text to speak has a broken character at {error.start}. Write it again."
        ) from None
    return text


def _decoded(content: bytes) -> Audio:
    """Decode an audio file in memory, at its own rate. Raises MediaError."""
    with tempfile.TemporaryDirectory(prefix="wan22-") as folder:
        path = Path(folder) / "speech"
        path.write_bytes(content)
        return read_audio(path, rate=None)


def _espeak() -> str:
    for name in ("espeak-ng", "espeak"):
        if found := shutil.which(name):
            return found
    raise SpeechError(f"there is no espeak-ng on this machine. {_INSTALL}")


def _speech_url(url: str) -> str:
    try:
        parts = web.parse_url(url, "speech server", "http://localhost:8880")
    except web.WebError as error:
        raise OptionError(f"{error}.") from None
    path = parts.path.rstrip("/")
    if not path.endswith("/audio/speech"):
        path += "/audio/speech" if path.endswith("/v1") else "/v1/audio/speech"
    return parts._replace(path=path).geturl()


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise OptionError(f"the {name} of speech cannot be {value}; {least:g} to {most:g} work.")


def _check_voice(kind: str, name: str, known: list[str]) -> None:
    if name.lower() in {entry.lower() for entry in known}:
        return
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise OptionError(
        f"espeak knows no {kind} {name!r}.{hint} `espeak-ng --voices` lists {len(known)} names."
    )
