"""What a dialect has in other tensors than we: cut in pieces, in another shape, or not at all.

A rule knows names and shapes, not data. The dialect's table has a name of its own for each whole tensor, which no file
has: `made` says what a file's tensors are then, `cut` what to write in place of a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Made:
    """A whole tensor: its `shape`, and the file's tensors that make it, joined along their first axis, or the one that
    is the same but for its axes, which are `transposed`; or `values`.
    """

    pieces: tuple[str, ...]
    shape: Shape
    values: tuple[float, ...] = ()
    transposed: bool = False


class Piece(NamedTuple):
    """One tensor in a file, of those that a whole one is cut into along its first axis, or that it is `transposed`."""

    name: str
    shape: Shape
    transposed: bool = False


class Rule(Protocol):
    """One way in which tensors differ."""

    def made(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Made]]:
        """The whole tensors, by the table's names, that a file with these tensors has in another form."""
        ...

    def cut(self, name: str, shape: Shape) -> tuple[Piece, ...] | None:
        """What stands in a file for the whole tensor `name`; None if the rule is not about it."""
        ...


@dataclass(frozen=True)
class Joined:
    """Weights and biases of several linear maps of one input, which are one map here: `{at}.{whole}.weight`."""

    at: str
    whole: str
    pieces: tuple[str, ...]

    def made(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Made]]:
        first = re.compile(rf"({self.at}\.){self.pieces[0]}(\.(?:weight|bias))")
        for name in shapes:
            if (match := first.fullmatch(name)) is None:
                continue
            names = tuple(f"{match[1]}{piece}{match[2]}" for piece in self.pieces)
            if all(piece in shapes and shapes[piece][1:] == shapes[name][1:] for piece in names):
                rows = sum(shapes[piece][0] for piece in names)
                yield f"{match[1]}{self.whole}{match[2]}", Made(names, (rows, *shapes[name][1:]))

    def cut(self, name: str, shape: Shape) -> tuple[Piece, ...] | None:
        match = re.fullmatch(rf"({self.at}\.){self.whole}(\.(?:weight|bias))", name)
        if match is None:
            return None
        part = (shape[0] // len(self.pieces), *shape[1:])
        return tuple(Piece(f"{match[1]}{piece}{match[2]}", part) for piece in self.pieces)


@dataclass(frozen=True)
class Shaped:
    """Tensors of `axes` axes that have more of length one here: `lead` in front, `trail` behind. Those that have them
    in a file too are as they are.
    """

    name: str
    axes: int
    lead: int = 0
    trail: int = 0

    def made(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Made]]:
        for name, shape in shapes.items():
            if len(shape) == self.axes and re.fullmatch(self.name, name):
                yield name, Made((name,), (*[1] * self.lead, *shape, *[1] * self.trail))

    def cut(self, name: str, shape: Shape) -> tuple[Piece, ...] | None:
        if not re.fullmatch(self.name, name) or len(shape) != self.lead + self.axes + self.trail:
            return None
        return (Piece(name, shape[self.lead : self.lead + self.axes]),)


@dataclass(frozen=True)
class Transposed:
    """A matrix whose axes are exchanged; `whole` is what the table calls it."""

    name: str
    whole: str

    def made(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Made]]:
        if len(shape := shapes.get(self.name, ())) == 2:
            yield self.whole, Made((self.name,), shape[::-1], transposed=True)

    def cut(self, name: str, shape: Shape) -> tuple[Piece, ...] | None:
        return (Piece(self.name, shape[::-1], transposed=True),) if name == self.whole else None


@dataclass(frozen=True)
class Fold:
    """All rules of a dialect."""

    rules: tuple[Rule, ...]

    def made(self, shapes: Mapping[str, Shape], prefix: str = "") -> dict[str, Made]:
        """As a rule's; the file's names have a prefix, and so have the table's then."""
        bare = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
        return {
            prefix + name: replace(made, pieces=tuple(prefix + piece for piece in made.pieces))
            for rule in self.rules
            for name, made in rule.made(bare)
        }

    def cut(self, name: str, shape: Shape, prefix: str = "") -> tuple[Piece, ...]:
        """As a rule's; the tensor itself if none is about it."""
        for rule in self.rules:
            if (pieces := rule.cut(name.removeprefix(prefix), shape)) is not None:
                return tuple(piece._replace(name=prefix + piece.name) for piece in pieces)
        return (Piece(name, shape),)


PLAIN = Fold(())
