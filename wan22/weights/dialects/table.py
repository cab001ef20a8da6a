"""What a dialect is: a two-way table between somebody's tensor names and ours (the official names).

It knows names only. Every name is looked up whole: nothing is replaced inside a name, so no order matters and
a name that is not in the table is not in the dialect. A `*` stands for the number of a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wan22.weights.dialects.folds import PLAIN, Fold

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")

ALL_IN_ONE = ("model.diffusion_model.", "vae.", "first_stage_model.", "text_encoders.", "cond_stage_model.")
"""How names begin in a file that holds a transformer, a VAE and a text encoder together (ComfyUI's CheckpointSave)."""


class Table:
    """Pairs (ours, theirs) of whole names; one `*` on each side may stand for the same number."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        pairs = list(pairs)
        self._theirs = dict(pairs)
        self._ours = {theirs: ours for ours, theirs in pairs}
        assert len(self._theirs) == len(self._ours) == len(pairs), "a name stands twice in a dialect's table"

    @property
    def pairs(self) -> Iterable[tuple[str, str]]:
        """Every pair (ours, theirs), with its `*`."""
        return self._theirs.items()

    def theirs(self, name: str) -> str | None:
        """Their name for our `name`, or None."""
        return _look(self._theirs, name)

    def ours(self, name: str) -> str | None:
        """Our name for their `name`, or None."""
        return _look(self._ours, name)


class Identity:
    """The table of a dialect whose names are ours."""

    def theirs(self, name: str) -> str | None:
        return name

    def ours(self, name: str) -> str | None:
        return name


def _look(table: Mapping[str, str], name: str) -> str | None:
    if name in table:
        return table[name]
    number = _NUMBER.search(name)
    if number is None:
        return None
    found = table.get(f"{name[: number.start()]}*{name[number.end() :]}")
    return None if found is None else found.replace("*", number[0])


def with_suffixes(pairs: Mapping[str, str], *suffixes: str) -> list[tuple[str, str]]:
    """Each pair once per suffix, such as ".weight" and ".bias"."""
    return [(ours + suffix, theirs + suffix) for ours, theirs in pairs.items() for suffix in suffixes]


@dataclass(frozen=True)
class Dialect:
    """The names of one producer for one part.

    `marks` are names that no other dialect has; a checkpoint that has them all is in this dialect.
    `prefix` stands before every name. `ignored` are names that carry nothing which the network needs, and
    `ignored_starts` the beginnings of such names, without the prefix. `fold` says what is cut otherwise than here.
    """

    name: str
    part: str
    table: Table | Identity = field(repr=False)
    marks: tuple[str, ...]
    prefix: str = ""
    ignored: frozenset[str] = frozenset()
    ignored_starts: tuple[str, ...] = ()
    fold: Fold = field(default=PLAIN, repr=False)

    def matches(self, names: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with these tensor names is in this dialect."""
        return all(self.prefix + mark in names for mark in self.marks)

    def ignores(self, name: str) -> bool:
        """Whether a tensor carries nothing for this network, or is of another network in an all-in-one file."""
        if self.prefix.startswith(ALL_IN_ONE) and not name.startswith(self.prefix):
            return name.startswith(ALL_IN_ONE)
        if self.ignored_starts and name.startswith(self.ignored_starts):
            return True
        return name.removeprefix(self.prefix) in self.ignored

    def to_native(self, name: str) -> str | None:
        """Our name of their tensor `name`; None if the dialect has no such name."""
        if not name.startswith(self.prefix):
            return None
        return self.table.ours(name.removeprefix(self.prefix))

    def from_native(self, name: str) -> str | None:
        """Their name of our tensor `name`; None if the dialect has no such name."""
        theirs = self.table.theirs(name)
        return None if theirs is None else self.prefix + theirs
