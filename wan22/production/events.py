"""Where a production says what happens. The command line implements it, and so does whatever else makes files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from wan22.types import Event


class EventSink(Protocol):
    """Takes what a production says, in the order in which it happens. It must not raise."""

    def event(self, event: Event) -> None:
        """Take an event of the engine."""
        ...

    def note(self, text: str) -> None:
        """Take a sentence of the production's own, for a person."""
        ...

    def compared(self, source: str, differences: list[str] | None) -> None:
        """Take how the video made again differs from `source`; None: not at all."""
        ...

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        """Take where a result lies, and its recipe."""
        ...


class Quiet:
    """An event sink for steps on the way: it passes everything on but `made`."""

    def __init__(self, events: EventSink) -> None:
        self._events = events

    def event(self, event: Event) -> None:
        self._events.event(event)

    def note(self, text: str) -> None:
        self._events.note(text)

    def compared(self, source: str, differences: list[str] | None) -> None:
        self._events.compared(source, differences)

    def made(self, path: str, recipe: dict[str, Any]) -> None:
        del path, recipe
