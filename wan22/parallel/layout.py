"""How the ranks of one video divide its work: `guidance` x `context`, and context = Ulysses x `ring`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from wan22.errors import ParallelError


@dataclass(frozen=True)
class Layout:
    """How many ranks share what.

    guidance: 2 if the branch of the prompt and the one without it are computed by different ranks, else 1.
    context: ranks that share the tokens of one branch.
    ring: of those, how many keep their keys and pass them on; within each of its places, context / ring ranks share the
        heads (Ulysses). It divides `context`.
    """

    guidance: int = 1
    context: int = 1
    ring: int = 1

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ParallelError(f"{part.name} must be a whole number from 1, not {value!r}")
        if self.guidance > 2:
            raise ParallelError(f"guidance must be 1 or 2, for there are two branches, not {self.guidance}")
        if self.context % self.ring:
            able = [n for n in range(1, self.context + 1) if self.context % n == 0]
            raise ParallelError(
                f"ring={self.ring} does not divide context={self.context}; what does: {', '.join(map(str, able))}"
            )

    @property
    def ranks(self) -> int:
        """How many processes it takes."""
        return self.guidance * self.context

    @property
    def ulysses(self) -> int:
        """Ranks that share the heads."""
        return self.context // self.ring

    def recipe(self) -> dict[str, int | str]:
        """As a recipe says it."""
        return {"gpus": self.ranks, "parallel": str(self)}

    def __str__(self) -> str:
        return ",".join(f"{part.name}={getattr(self, part.name)}" for part in fields(self))

    @classmethod
    def parse(cls, text: object) -> Layout:
        """Read "guidance=2,context=4,ring=2"; what is not named is 1. Raises ParallelError for anything else."""
        known = [part.name for part in fields(cls)]
        example = "such as guidance=2,context=4"
        if not isinstance(text, str) or not text.strip():
            raise ParallelError(f"a layout of ranks must be words {example}, not {text!r}")
        found: dict[str, int] = {}
        for word in text.split(","):
            name, equals, number = (part.strip() for part in word.partition("="))
            if name not in known or not equals or not (number.isascii() and number.isdigit()):
                raise ParallelError(
                    f"{word.strip()!r} is not {' or '.join(f'{n}=N' for n in known)}, {example}"
                )
            if name in found:
                raise ParallelError(f"{name} is said twice in {text!r}")
            found[name] = int(number[:9])
        return cls(**found)

    @classmethod
    def pick(cls, ranks: int, heads: int, *, guided: bool = True) -> Layout:
        """The layout of so many ranks that is fastest on equal links: both branches of guidance apart if there are two,
        then heads shared, and a ring only where heads would be shared too unevenly, or are fewer than the ranks.
        """
        if ranks < 1:
            raise ParallelError(f"there must be at least one rank, not {ranks}")
        guidance = 2 if guided and ranks % 2 == 0 else 1
        context = ranks // guidance
        rings = [n for n in range(1, context + 1) if context % n == 0 and context // n <= heads]
        even = (n for n in rings if -(-heads // (context // n)) * (context // n) <= 1.1 * heads)
        return cls(guidance, context, next(even))

    def check(self, ranks: int, heads: int | None = None) -> None:
        """Raise ParallelError if it does not take exactly `ranks` processes, or shares more heads than a model has."""
        if self.ranks != ranks:
            raise ParallelError(
                f"the layout {self} takes {self.ranks} ranks (guidance x context), and there are {ranks}"
            )
        if heads is not None and self.ulysses > heads:
            rings = [
                n for n in range(1, self.context + 1) if self.context % n == 0 and self.context // n <= heads
            ]
            raise ParallelError(
                f"the layout {self} shares heads among {self.ulysses} ranks, and the model has {heads}; "
                f"take ring={rings[0]}, or fewer ranks"
            )
