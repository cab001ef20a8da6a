"""Extend a prompt with any chat server of the OpenAI form. A picture goes along, small, as a data URL."""

from __future__ import annotations

import base64
import http.client
import io
import json
import queue
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wan22.director.brief import Brief, ExtendError, answer, instructions, wish
from wan22.errors import OptionError

MAX_BYTES = 4 << 20
"""Largest answer."""
PICTURE_AREA = 512 * 512
"""Pixels of the picture that is sent, at most."""


@dataclass(frozen=True)
class ChatExtender:
    """A server that knows POST {url}/v1/chat/completions.

    `url` may go on to /v1 or /v1/chat/completions. Without `model` the server is asked which
    it has, and must have one. `timeout` seconds are given to an answer with all its tries; a busy or absent server is
    tried again after each pause of `back_off` seconds. Raises OptionError for what cannot be.
    """

    url: str
    model: str | None = None
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    back_off: tuple[float, ...] = (0.5, 2.0)

    sees = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _base(self.url))
        if not 0.1 <= self.timeout <= 3600:
            raise OptionError(f"a chat server cannot be given {self.timeout} s; 0.1 to 3600 work")
        if self.key is not None and not re.fullmatch(r"[!-~]+", self.key):
            raise OptionError("the key for the chat server has spaces or characters that no key has")
        if self.model is not None and not self.model.strip():
            raise OptionError("the name of the chat server's model is empty")

    def extend(self, brief: Brief) -> str:
        """Return the longer prompt. Raises ExtendError for a server that is down, slow, refuses, or talks nonsense."""
        asked: str | list[dict[str, Any]] = wish(brief)
        if brief.image is not None:
            picture = {"type": "image_url", "image_url": {"url": data_url(brief.image)}}
            asked = [picture, {"type": "text", "text": asked}]
        return self.ask(instructions(brief, sees=brief.image is not None), asked, seed=brief.seed)

    def ask(self, system: str, asked: str | list[dict[str, Any]], *, seed: int = 0) -> str:
        """Return the server's answer to one turn, a text or parts of one. Raises ExtendError, as `extend` does."""
        deadline = time.monotonic() + self.timeout
        model = self.model or self._only_model(deadline)
        body = {
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": asked}],
            "seed": seed,
            "stream": False,
        }
        reply = self._ask("/chat/completions", body, deadline)
        try:
            choice = reply["choices"][0]
            text, ended = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError):
            text, ended = None, None
        if not isinstance(text, str):
            raise ExtendError(f"{self.url} answers with no message: {self._shown(json.dumps(reply))}")
        if ended == "length":
            raise ExtendError(
                f"{self.url} cut the answer of {model} off; allow it more tokens, or take another model"
            )
        return answer(text, f"{model} at {self.url}")

    def describe(self) -> dict[str, Any]:
        """Return what the recipe keeps."""
        return {"engine": "server", "url": self.url, **({"model": self.model} if self.model else {})}

    def _only_model(self, deadline: float) -> str:
        reply = self._ask("/models", None, deadline)
        try:
            names = [str(row["id"]) for row in reply["data"]]
        except (KeyError, TypeError):
            raise ExtendError(f"{self.url}/models lists no models; name one: URL#MODEL") from None
        if len(names) != 1:
            some = ", ".join(names[:10]) or "none"
            raise ExtendError(f"{self.url} has {len(names)} models ({some}); name one: {self.url}#MODEL")
        return names[0]

    def _ask(self, path: str, body: dict[str, Any] | None, deadline: float) -> Any:
        """Return the JSON of an answer; try again while the server is absent or busy."""
        headers = {"Accept": "application/json", "User-Agent": "wan22"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, headers)
        for pause in self.back_off:
            try:
                return self._within(request, deadline)
            except _BusyError:
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
        return self._within(request, deadline)

    def _within(self, request: urllib.request.Request, deadline: float) -> Any:
        """Ask once, in a thread that is left to itself at the deadline.

        No timeout of a socket covers the look-up of a name, or a server that sends a byte now and then.
        """
        answers: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._once(request, deadline))
            except BaseException as error:  # it belongs to the thread that waits
                answers.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            content = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise self._slow() from None
        if isinstance(content, BaseException):
            raise content
        try:
            return json.loads(content)
        except ValueError:
            shown = self._shown(content.decode(errors="replace"))
            raise ExtendError(f"{self.url} answers with something that is no JSON: {shown}") from None

    def _once(self, request: urllib.request.Request, deadline: float) -> bytes:
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=max(0.01, deadline - time.monotonic())) as response:
                content = response.read(MAX_BYTES + 1)
                if response.length and len(content) <= MAX_BYTES:  # what the header promised and never came
                    raise http.client.IncompleteRead(content, response.length)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from None
        except TimeoutError:
            raise self._slow() from None
        except (http.client.HTTPException, OSError) as error:
            raise ExtendError(
                f"{self.url} broke off in the middle: {error or type(error).__name__}"
            ) from None
        if len(content) > MAX_BYTES:
            raise ExtendError(f"{self.url} answers with more than {MAX_BYTES >> 20} MiB, which is no prompt")
        return content

    def _refused(self, error: urllib.error.HTTPError) -> ExtendError:
        said = self._shown(error.read(4096).decode(errors="replace"))
        told = f"{self.url} answers {error.code} {error.reason}" + (f": {said}" if said else "")
        if error.code in (429, 503):
            return _BusyError(f"{told}. It is busy; wait, or give it less to do")
        if error.code in (401, 403):
            return ExtendError(f"{told}. Give the key that this server wants")
        if 300 <= error.code < 400:
            return ExtendError(f"{told}. It sends on to {error.headers.get('Location')}; name that address")
        if error.code >= 500:
            return ExtendError(f"{told}. The server failed; see its log")
        return ExtendError(
            f"{told}. Check the address, the model, and whether it reads pictures if one was sent"
        )

    def _unreachable(self, reason: str | BaseException) -> ExtendError:
        if isinstance(reason, TimeoutError):
            return self._slow()
        if isinstance(reason, ConnectionRefusedError):
            return _BusyError(f"no chat server answers at {self.url}. Start it, or check address and port")
        if isinstance(reason, socket.gaierror):
            return ExtendError(f"{self.url}: the name of the chat server is not known. Check the address")
        return ExtendError(f"the chat server {self.url} cannot be reached: {reason}")

    def _slow(self) -> ExtendError:
        return ExtendError(f"{self.url} did not answer in full within {self.timeout:g} s. Give it more time")

    def _shown(self, text: str) -> str:
        """The beginning of an answer for a message; a server may repeat the key it was given."""
        text = " ".join((text.replace(self.key, "***") if self.key else text).split())
        return text if len(text) <= 200 else f"{text[:200]}..."


class _BusyError(ExtendError):
    """Worth another try."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn POST into GET, and carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def data_url(image: np.ndarray) -> str:
    """A picture, uint8 RGB (H, W, 3), as a JPEG in a data URL, of at most `PICTURE_AREA` pixels."""
    from PIL import Image

    picture = Image.fromarray(image)
    scale = min(1.0, (PICTURE_AREA / (picture.width * picture.height)) ** 0.5)
    if scale < 1:
        size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _base(url: str) -> str:
    """The address up to /v1, without a secret in it."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        parts.port  # noqa: B018  # reading it is the check
    except ValueError as error:
        raise OptionError(f"{url!r} is no address of a chat server: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OptionError(f"{url!r} is no address of a chat server; one looks like http://localhost:8000")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise OptionError(
            "the address of a chat server holds no user, password or query: it is kept in the recipe. "
            "Give a secret as the key"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urllib.parse.urlunsplit(
        (parts.scheme, parts.netloc, path if path.endswith("/v1") else f"{path}/v1", "", "")
    )
