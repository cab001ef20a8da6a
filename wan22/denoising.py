"""The steps of one clip: a solver over the calls of a network, from a journal as far as it goes, and then made.

A solver is a function of what it is answered, so an interrupted video needs no state of it: with the answers of the
journal it walks to where it was, in no time and bit for bit. What a step cache keeps of the last call is made again.
"""

from collections.abc import Generator

import torch
from torch import Tensor

from wan22.clock import Clock
from wan22.conditioning.image import ImageCondition
from wan22.denoiser import Call, Denoiser, keep_known, like
from wan22.errors import OptionError
from wan22.memory.device import wait
from wan22.sampling import solve
from wan22.sampling.cache import MAX_SKIPS
from wan22.types import Event, Events, Journal, Level, Progress, Reply

X0, REUSED = "x0", "reused"


class Calls:
    """A denoise function. Without a journal it is the denoiser's own."""

    def __init__(self, experts: Denoiser, journal: Journal | None, clip: int) -> None:
        self.experts, self.clip = experts, clip
        self._journal = journal
        self._made = 0
        self._before: list[Call] = []  # of the journal: the last call that ran all blocks, and those after it
        self._entry = self._read()
        self.reused = False

    @property
    def known(self) -> bool:
        """Whether the next call is in the journal."""
        return self._entry is not None

    def denoise(self, x: Tensor, level: Level) -> Tensor:
        """The clean sample that the expert in charge sees, or saw."""
        if self._entry is not None:
            return self._replayed(x, level, self._entry)
        if self._before:
            self.experts.restore(self._before)
            self._before = []
        x0 = self.experts.denoise(x, level)
        self.reused = self.experts.skipped
        if self._journal is not None:
            reused = {REUSED: x0.new_ones(1)} if self.reused else {}
            self._journal.write(self._name(), {X0: x0, **reused})
            self._made += 1
        return x0

    def _replayed(self, x: Tensor, level: Level, entry: dict[str, Tensor]) -> Tensor:
        self.reused = REUSED in entry
        call = Call(self.experts.name, x, level)
        self._before = [*self._before, call] if self.reused else [call]
        assert len(self._before) <= MAX_SKIPS + 1
        self._made += 1
        self._entry = self._read()
        return entry[X0].to(x.device)

    def arrive(self, level: Level, following: Level | None) -> Events:
        """Bring in the expert of a level, if it has a call to make, and read ahead that of the level after it."""
        if self.known:
            self.experts.turn(level)
            return
        yield from self.experts.arrive(level)
        if following is not None:
            self.experts.expect(following)

    def change(self, reply: Reply | None) -> None:
        """Go on as the caller says. Raises OptionError with a journal: what is in it would no longer be true."""
        if self._journal is not None and reply is not None and not reply.empty:
            raise OptionError("a video with a journal takes no replies")
        self.experts.change(reply)

    def _read(self) -> dict[str, Tensor] | None:
        return None if self._journal is None else self._journal.read(self._name())

    def _name(self) -> str:
        return f"{of_clip(self.clip)}call-{self._made:04d}"


def of_clip(clip: int) -> str:
    """How the names of the entries of a clip begin."""
    return f"clip-{clip}-"


def walk(
    calls: Calls, known: ImageCondition, x: Tensor, clock: Clock
) -> Generator[Event, Reply | None, Tensor]:
    """Walk the sample `x`, on the device, through the schedule, and return it."""
    experts, job = calls.experts, calls.experts.job
    levels = list(job.schedule)
    denoise = keep_known(calls.denoise, known, x)
    steps = solve(job.solver, denoise, x, job.schedule, seed=job.request.seed + calls.clip)
    reply: Reply | None = None
    for level, following in zip(levels, [*levels[1:], None], strict=True):
        calls.change(reply)
        repeated = calls.known
        yield from calls.arrive(level, following)
        replaced = None if reply is None else reply.x
        with torch.inference_mode():
            if repeated:
                step = steps.send(replaced)
                clock.repeat()
            else:
                with clock:
                    step = steps.send(replaced)
                    wait(experts.placement.device)  # so that seconds are true, and closing stops at once
        yield from experts.said()
        reply = yield Progress(
            index=clock.done,
            steps=clock.steps,
            expert=experts.name,
            sigma=float(level.sigma),
            timestep=level.timestep,
            seconds=clock.last,
            left=clock.left(calls.clip),
            x=step.x,
            x0=step.x0,
            clip=calls.clip + 1,
            clips=job.canvas.clips,
            reused=calls.reused,
        )
        x = step.x if reply is None or reply.x is None else like(reply.x, step.x)
        if reply is not None and reply.stop:
            break
    experts.leave()  # what decodes comes to the device next, while the caller still holds the calls
    return x
