"""Text to speech: a small interface and two engines, a local espeak-ng and any server of the OpenAI form.

A speaker turns text into a Sound at the engine's own rate and describes itself for the recipe. It reads no
environment: a key comes from the caller, and is never told to anyone but the server it is for.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import http.client
import json
import queue
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wan22.errors import MediaError, OptionError, SpeechError
from wan22.media.audio import probe_sound, read_sound, resample
from wan22.media.sniff import PathLike
from wan22.types import Sound

__all__ = ["EspeakSpeaker", "ServerSpeaker", "Speaker", "open_speaker", "split_text"]

MAX_TEXT = 200_000
"""Longest text in characters: about four hours of speech, the longest sound that is read."""

_INSTALL = (
    "Install it (Debian, Ubuntu: apt install espeak-ng; macOS: brew install espeak-ng; "
    "Windows: winget install eSpeak-NG.eSpeak-NG), or name a speech server by its http(s) address."
)


class Speaker(Protocol):
    """Something that can read a text aloud."""

    def say(self, text: str) -> Sound:
        """Speak `text`, at the engine's own rate. Raises OptionError for the text, SpeechError for the rest."""
        ...

    def describe(self, text: str) -> dict[str, Any]:
        """Return what the recipe keeps of speaking `text`: JSON-able, without secrets."""
        ...


def open_speaker(
    spec: str,
    *,
    voice: str | None = None,
    language: str | None = None,
    model: str | None = None,
    key: str | None = None,
    speed: float = 1.0,
    sample: PathLike | None = None,
    sample_text: str | None = None,
) -> Speaker:
    """Return the speaker that `spec` names: "espeak", or the http(s) address of a server.

    With espeak, `voice` is one of `EspeakSpeaker.voices()`, or one of its `variants()` ("f3") of the voice for
    `language`. `model`, `key`, `sample` (a recording of the voice to imitate) and `sample_text`
    (what is said in it) are for servers. Raises OptionError for a spec or option that cannot be, SpeechError
    if espeak-ng is not installed, MediaError for a sample that is no sound.
    """
    if re.match(r"https?://", spec, re.IGNORECASE):
        return ServerSpeaker(
            spec,
            model=model or ServerSpeaker.model,
            voice=voice or ServerSpeaker.voice,
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
    if voice and not language and voice in EspeakSpeaker().variants():
        language = EspeakSpeaker.voice
    name = f"{language}+{voice}" if language and voice else voice or language or EspeakSpeaker.voice
    return EspeakSpeaker(name, speed=speed)


@dataclass(frozen=True)
class EspeakSpeaker:
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

    def say(self, text: str) -> Sound:
        """Speak `text`. Raises OptionError for an impossible text, SpeechError if the program fails."""
        text = _checked_text(text)
        wpm, pitch = str(round(175 * self.speed)), str(self.pitch)
        options = ["--stdin", "--stdout", "-b", "1", "-v", self.voice, "-s", wpm, "-p", pitch]
        content = self._run(options, text.encode())
        try:
            return _decoded(content)
        except MediaError as error:
            raise SpeechError(
                f"{_espeak()} made no sound of {_excerpt(text)!r}: nothing to speak in it?"
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
            reason = _excerpt(error.stderr.decode(errors="replace")) or f"exit code {error.returncode}"
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
class ServerSpeaker:
    """A server that speaks the OpenAI form: POST {url}/v1/audio/speech, JSON in, a sound out.

    `url` may be the server's address, or go on to /v1 or /v1/audio/speech. `sample` is a recording of the voice
    to imitate and `sample_text` what is said in it; they are sent (base64 and text) in the JSON fields named by
    `sample_fields`, which differ between servers. `extra` are more JSON fields. `timeout` seconds are given to
    every request (4096 characters at most, the form's limit) with all its tries; a busy or absent server is
    tried again after each pause of `back_off` seconds.

    Raises OptionError for an impossible option, MediaError for a sample that is no sound.
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
        if self.key is not None and not re.fullmatch(r"[!-~]+", self.key):
            raise OptionError("the key for the speech server has spaces or characters that no key has.")
        if self.sample_text is not None and self.sample is None:
            raise OptionError("a text of the voice sample without a voice sample. Give both, or none.")
        if self.sample is not None:
            probe_sound(self.sample)
            if (size := Path(self.sample).stat().st_size) > self.MAX_SAMPLE:
                raise OptionError(
                    f"the voice sample {self.sample} has {size:,} bytes; {self.MAX_SAMPLE:,} can be sent. "
                    "Ten seconds of speech are enough."
                )

    def say(self, text: str) -> Sound:
        """Speak `text`, in several requests if it is long.

        Raises OptionError for an impossible text, SpeechError for a server that is down, slow, refuses, fails,
        or answers with something else than a sound.
        """
        sounds = [self._speak(part) for part in split_text(_checked_text(text), self.LIMIT)]
        rate = sounds[0].rate
        pieces = [(sound if sound.rate == rate else resample(sound, rate)).samples for sound in sounds]
        return Sound(np.concatenate(pieces), rate)

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
            content = Path(self.sample).read_bytes()
            entry["sample"] = {"name": Path(self.sample).name, "sha256": hashlib.sha256(content).hexdigest()}
            entry["sample_text"] = self.sample_text
        if self.extra:
            entry["extra"] = sorted(self.extra)
        return entry | {"speed": self.speed, "text": text}

    def _speak(self, text: str) -> Sound:
        content, kind = self._answer(self._request(text))
        try:
            return _decoded(content)
        except MediaError as error:
            raise SpeechError(
                f"{self.url} answered with {len(content):,} bytes of {kind or 'an unnamed kind'} that are no "
                f"sound: {self._shown(content)!r}. It must be a server of the OpenAI form that can write WAV."
            ) from error

    def _request(self, text: str) -> urllib.request.Request:
        body: dict[str, Any] = {"model": self.model, "input": text, "voice": self.voice}
        body |= {"response_format": "wav", "speed": self.speed}
        if self.instructions is not None:
            body["instructions"] = self.instructions
        if self.language is not None:
            body["language"] = self.language
        if self.sample is not None:
            body[self.sample_fields[0]] = base64.b64encode(Path(self.sample).read_bytes()).decode()
        if self.sample_text is not None:
            body[self.sample_fields[1]] = self.sample_text
        headers = {"Content-Type": "application/json", "Accept": "audio/wav", "User-Agent": "wan22"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        return urllib.request.Request(self.url, json.dumps({**self.extra, **body}).encode(), headers)

    def _answer(self, request: urllib.request.Request) -> tuple[bytes, str]:
        """Return content and kind of the answer; try again while the server is absent or busy."""
        deadline = time.monotonic() + self.timeout
        for pause in self.back_off:
            try:
                return self._within(request, deadline)
            except _BusyError:
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
        return self._within(request, deadline)

    def _within(self, request: urllib.request.Request, deadline: float) -> tuple[bytes, str]:
        """Ask once, in a thread that is left to itself at the deadline.

        No timeout of a socket covers the look-up of a name, or a server that sends a byte now and then.
        """
        answers: queue.SimpleQueue[tuple[bytes, str] | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._once(request, deadline))
            except BaseException as error:  # it belongs to the thread that waits
                answers.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise self._slow() from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _once(self, request: urllib.request.Request, deadline: float) -> tuple[bytes, str]:
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=max(0.01, deadline - time.monotonic())) as response:
                return self._body(response, deadline), response.headers.get_content_type()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from None
        except TimeoutError:
            raise self._slow() from None
        except (http.client.HTTPException, OSError) as error:
            raise SpeechError(
                f"{self.url} broke off in the middle: {error or type(error).__name__}."
            ) from None

    def _body(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while piece := response.read1(1 << 16):  # what is there, so that the deadline is seen
            content += piece
            if len(content) > self.MAX_BYTES:
                raise SpeechError(f"{self.url} answers with more than {self.MAX_BYTES >> 20} MiB of sound.")
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.length:  # what the header promised and never came
            raise http.client.IncompleteRead(b"", response.length)
        return bytes(content)

    def _refused(self, error: urllib.error.HTTPError) -> SpeechError:
        said = self._shown(error.read(4096))
        told = f"{self.url} answers {error.code} {error.reason}" + (f": {said}" if said else "")
        if error.code in (429, 503):
            return _BusyError(f"{told}. It is busy; wait, or give it less to do.")
        if error.code in (401, 403):
            return SpeechError(f"{told}. Give the key that this server wants.")
        if error.code == 404:
            return SpeechError(f"{told}. Check the address and the model {self.model!r}.")
        if 300 <= error.code < 400:
            return SpeechError(f"{told}. It sends on to {error.headers.get('Location')}; name that address.")
        side = "The server failed; see its log." if error.code >= 500 else "Check model, voice and text."
        return SpeechError(f"{told}. {side}")

    def _unreachable(self, reason: str | BaseException) -> SpeechError:
        if isinstance(reason, TimeoutError):
            return self._slow()
        if isinstance(reason, ConnectionRefusedError):
            return _BusyError(f"no speech server answers at {self.url}. Start it, or check address and port.")
        if isinstance(reason, socket.gaierror):
            return SpeechError(f"{self.url}: the name of the speech server is not known. Check the address.")
        return SpeechError(f"the speech server {self.url} cannot be reached: {reason}.")

    def _slow(self) -> SpeechError:
        return SpeechError(
            f"{self.url} did not answer in full within {self.timeout:g} s. Give it more time or less text."
        )

    def _shown(self, content: bytes) -> str:
        """Return the beginning of an answer for a message; a server may repeat the key it was given."""
        text = content[:4096].decode(errors="replace")
        return _excerpt(text.replace(self.key, "***") if self.key else text)


class _BusyError(SpeechError):
    """Worth another try."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn POST into GET, and carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


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


def _decoded(content: bytes) -> Sound:
    """Decode a sound in memory, at its own rate. Raises MediaError."""
    with tempfile.TemporaryDirectory(prefix="wan22-") as folder:
        path = Path(folder) / "speech"
        path.write_bytes(content)
        return read_sound(path, rate=None)


def _espeak() -> str:
    for name in ("espeak-ng", "espeak"):
        if found := shutil.which(name):
            return found
    raise SpeechError(f"there is no espeak-ng on this machine. {_INSTALL}")


def _speech_url(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url.strip())
        parts.port  # noqa: B018  # reading it is the check
    except ValueError as error:
        raise OptionError(f"{url!r} is no address of a speech server: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OptionError(f"{url!r} is no address of a speech server; one looks like http://localhost:8880.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise OptionError(
            "the address of a speech server holds no user, password or query: it is kept in the recipe. "
            "Give a secret as the key."
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/audio/speech"):
        path += "/audio/speech" if path.endswith("/v1") else "/v1/audio/speech"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))


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


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:200]}..."
