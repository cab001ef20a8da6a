"""What the leader of a group says to its followers, a word at a time, and how all learn what only one can know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from wan22.errors import DecodeError, ParallelError, Wan22Error
from wan22.parallel.group import Group, is_lost
from wan22.parallel.layout import Layout

if TYPE_CHECKING:
    from wan22.types import Journal, Reply

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """Call a method of the engine. Events that it yields are run up to the first; `number` is their name."""

    number: int
    method: str
    arguments: tuple[Any, ...]
    layout: Layout


@dataclass(frozen=True)
class Go:
    """Run the events of a call to the next one; `after` is the kind of the last, which all ranks must have had."""

    number: int
    after: str
    reply: Reply | None


@dataclass(frozen=True)
class Stop:
    """Close the events of a call."""

    number: int


@dataclass(frozen=True)
class Value:
    """What the leader found."""

    value: Any


@dataclass(frozen=True)
class Refusal:
    """Why the leader found nothing: all ranks have its error."""

    error: Wan22Error


@dataclass(frozen=True)
class End:
    """The leader needs its followers no more."""


@dataclass(frozen=True)
class Shared:
    """Stands for the leader's journal in a call."""


class Control:
    """The leader's words to the ranks of a group; `count` of them were said until now."""

    def __init__(self, group: Group) -> None:
        self._group, self._ranks = group, group.control
        self.leads = group.rank == 0
        self.count = 0

    def say(self, word: Any) -> None:
        """Say a word to all followers."""
        self.count += 1
        self._ranks.broadcast(on_host(word))

    def receive(self) -> Any:
        """The leader's next word."""
        self.count += 1
        return self._ranks.broadcast(None)

    def agree(self, find: Callable[[], T]) -> T:
        """What `find` finds on rank 0, or its Wan22Error, on all ranks; the others do not look."""
        word = self._find(find) if self.leads else self.receive()
        if self.leads:
            self.say(word)
        match word:
            case Value(value):
                return value
            case Refusal(error):
                raise error
        raise ParallelError(f"the ranks are out of step: a value is waited for, and {word} comes")

    def _find(self, find: Callable[[], Any]) -> Value | Refusal:
        try:
            return Value(find())
        except Wan22Error as error:
            return Refusal(error)

    def all_refuse(self, error: BaseException) -> bool:
        """Whether every rank has this error, a mistake of the user's, at this place: they are in step then, the next
        call may come.
        """
        mistake = isinstance(error, Wan22Error) and not isinstance(error, ParallelError | DecodeError)
        return mistake and not is_lost(error) and self._group.all_say(f"{self.count} {type(error).__name__}")


class SharedJournal:
    """The leader's journal, as each rank sees it: what is read there, all read; what is written, the leader writes."""

    def __init__(self, control: Control, journal: Journal | None = None) -> None:
        self._control, self._journal = control, journal

    def read(self, name: str) -> dict[str, Tensor] | None:
        return self._control.agree(lambda: None if self._journal is None else self._journal.read(name))

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self._control.agree(lambda: None if self._journal is None else self._journal.write(name, tensors))

    def drop(self, prefix: str) -> None:
        self._control.agree(lambda: None if self._journal is None else self._journal.drop(prefix))


_HOLDERS = Tensor, Mapping, list, tuple


def on_host(value: Any) -> Any:
    """The same with tensors on the CPU, without what computed them: it goes to other devices."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {name: on_host(each) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(on_host, value))
    if is_dataclass(value) and not isinstance(value, type):
        changed = {}
        for each in fields(value):
            before = getattr(value, each.name)
            after = on_host(before) if isinstance(before, _HOLDERS) or is_dataclass(before) else before
            if each.init and after is not before:
                changed[each.name] = after
        return replace(value, **changed) if changed else value
    return value
