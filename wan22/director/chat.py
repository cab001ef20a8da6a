"""Extend a prompt with any chat server of the OpenAI form. An image goes along, small, as a data URL."""

from __future__ import annotations

import base64
import io
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wan22 import web
from wan22.director.brief import Brief, answer, instructions, user_message
from wan22.errors import ExtendError, OptionError

MAX_BYTES = 4 << 20
"""Largest answer."""
IMAGE_AREA = 512 * 512
"""Pixels of the image that is sent, at most."""

_WRONG = "Check the address, the model, and whether it reads images if one was sent"
_WORDING = web.Wording(
    kind="chat server",
    too_long=", which is no prompt",
    too_slow="Give it more time",
    not_found=_WRONG,
    refused=_WRONG,
)


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
        if self.key is not None and not web.is_key(self.key):
            raise OptionError("the key for the chat server has spaces or characters that no key has")
        if self.model is not None and not self.model.strip():
            raise OptionError("the name of the chat server's model is empty")

    def extend(self, brief: Brief) -> str:
        """Return the longer prompt. Raises ExtendError for a server that is down, slow, refuses, or talks nonsense."""
        asked: str | list[dict[str, Any]] = user_message(brief)
        if brief.image is not None:
            image = {"type": "image_url", "image_url": {"url": data_url(brief.image)}}
            asked = [image, {"type": "text", "text": asked}]
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
            raise ExtendError(
                f"{self.url} answers with no message: {self._server.shown(json.dumps(reply).encode())}"
            )
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

    @property
    def _server(self) -> web.Server:
        return web.Server(self.url, _WORDING, self.key, self.timeout, self.back_off, MAX_BYTES)

    def _ask(self, path: str, body: dict[str, Any] | None, deadline: float) -> Any:
        """Return the JSON of an answer."""
        try:
            content, _ = self._server.ask(body, deadline, path=path)
        except web.WebError as error:
            raise ExtendError(str(error)) from None
        try:
            return json.loads(content)
        except ValueError:
            shown = self._server.shown(content)
            raise ExtendError(f"{self.url} answers with something that is no JSON: {shown}") from None


def data_url(image: np.ndarray) -> str:
    """An image, uint8 RGB (H, W, 3), as a JPEG in a data URL, of at most `IMAGE_AREA` pixels."""
    from PIL import Image

    small = Image.fromarray(image)
    scale = min(1.0, (IMAGE_AREA / (small.width * small.height)) ** 0.5)
    if scale < 1:
        size = (max(1, int(small.width * scale)), max(1, int(small.height * scale)))
        small = small.resize(size, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _base(url: str) -> str:
    """The address up to /v1, without a secret in it."""
    try:
        parts = web.parse_url(url, "chat server", "http://localhost:8000")
    except web.WebError as error:
        raise OptionError(str(error)) from None
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return parts._replace(path=path if path.endswith("/v1") else f"{path}/v1").geturl()
