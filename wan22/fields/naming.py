"""How a field is called in what people read: as an option of the command line, unless who is asked has other words."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from wan22.fields.field import Field
from wan22.fields.table import FIELDS

_FIELDS = {field.name: field for field in FIELDS}
_CALLED: ContextVar[Callable[[Field], str]] = ContextVar("called", default=lambda field: field.option)


def called(name: str) -> str:
    """The field of that name as the reader of a message calls it: `--last-image`."""
    return _CALLED.get()(_FIELDS[name])


@contextmanager
def naming(how: Callable[[Field], str]) -> Generator[None]:
    """Call fields otherwise meanwhile, in this thread or task: a server `lambda field: field.name`."""
    token = _CALLED.set(how)
    try:
        yield
    finally:
        _CALLED.reset(token)
