"""Extend a prompt: fill in what the model likes to read, and show and keep what it was before.

Three engines with one face: rules (rules.py), an instruct model on this machine (local.py), a chat server (chat.py).
None replaces anything silently: an `Extended` holds both prompts, and says which words of the vocabulary were lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from wan22.director.brief import Brief
from wan22.director.rules import RuleExtender
from wan22.director.vocabulary import language_of, said_in
from wan22.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Brief", "Extended", "Extender", "RuleExtender", "extend", "open_extender"]


class Extender(Protocol):
    """Something that can extend a prompt."""

    @property
    def sees(self) -> bool:
        """Whether it looks at the brief's image."""
        ...

    def extend(self, brief: Brief) -> str:
        """Return the longer prompt. Raises OptionError for the brief, ExtendError for what the engine does wrong."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the recipe keeps of the engine: JSON-able, without secrets."""
        ...


@dataclass(frozen=True)
class Extended:
    """A prompt before and after. `lost` are keys of what `before` says of the vocabulary and `after` does not."""

    before: str
    after: str
    engine: dict[str, Any]
    seed: int
    language: str
    saw_image: bool
    lost: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The recipe's entry `extended`."""
        return {
            **self.engine,
            "before": self.before,
            "after": self.after,
            "seed": self.seed,
            "language": self.language,
            "saw_image": self.saw_image,
            "lost": list(self.lost),
        }


def open_extender(spec: str, *, key: str | None = None, model: str | None = None) -> Extender:
    """The extender that `spec` names: "rules", an http(s) address, or an instruct model's folder or hub name.

    A server's model may follow its address: http://localhost:8000#qwen3. `key` is the server's. Raises OptionError for
    a spec or option that cannot be.
    """
    if re.match(r"https?://", spec, re.IGNORECASE):
        from wan22.director.chat import ChatExtender

        address, _, named = spec.partition("#")
        return ChatExtender(address, model=model or named or None, key=key)
    if model is not None or key is not None:
        raise OptionError(f"a model or key is for a chat server; {spec!r} is none")
    if spec == "rules":
        return RuleExtender()
    from wan22.director.local import LocalExtender

    return LocalExtender(spec)


def extend(
    prompt: str,
    extender: Extender,
    *,
    language: str | None = None,
    seed: int = 0,
    image: np.ndarray | None = None,
    task: str | None = None,
) -> Extended:
    """Extend a prompt in any language.

    `language` of the answer is "en" or "zh"; None: Chinese for Chinese, else English. `image` is the image that
    begins the video, uint8 RGB (H, W, 3); the task is i2v if there is one. Raises OptionError, ExtendError.
    """
    task = task or ("t2v" if image is None else "i2v")
    brief = Brief(prompt, task, language or language_of(prompt), seed, image)
    after = extender.extend(brief)
    kept = {said.term.key for said in said_in(after)}
    lost = tuple(dict.fromkeys(said.term.key for said in said_in(prompt) if said.term.key not in kept))
    saw = extender.sees and image is not None
    return Extended(prompt, after, extender.describe(), seed, brief.language, saw, lost)
