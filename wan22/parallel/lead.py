"""An engine on many ranks. Rank 0 leads: it is asked, and yields events; the others run the same and drop theirs.

What the leader does is said to the followers in words, one for every call and one after every event, so closing a
generator and a reply reach all ranks between the same two events. Within a call every rank computes the same; what only
one of them can know (a journal, what fits in memory) the leader says.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from wan22.errors import DecodeError, ParallelError, Wan22Error
from wan22.parallel.group import Group, Team, is_lost, run_follower
from wan22.parallel.layout import Layout
from wan22.parallel.mesh import Mesh
from wan22.parallel.places import check_equal
from wan22.parallel.words import Call, Control, End, Go, Shared, SharedJournal, Stop

if TYPE_CHECKING:
    from wan22.engine import Engine
    from wan22.types import ClipDone, Event, Events, Journal, Reply, Request


@dataclass(frozen=True)
class Together:
    """What a rank's engine gets of the others. agree: calls a function on rank 0, and returns its result on all.
    beside: how many ranks share the memory of a machine.
    """

    mesh: Mesh
    agree: Callable[[Callable[[], Any]], Any]
    beside: int = 1


Load = Callable[..., "Engine"]
"""`engine.load`."""

_OF_ONE_RANK = ("device", "gpus", "parallel", "ranks")
"""Arguments of `load` that the ranks do not share."""


def open_engine(group: Group, control: Control, said: Mapping[str, Any], load: Load) -> Engine:
    """The engine of this rank. Raises ParallelError if the files are not the same everywhere."""
    mesh = group.mesh(Layout(context=group.size))
    engine = load(
        **said, device=str(group.device), ranks=Together(mesh, control.agree, -(-group.size // group.hosts))
    )
    check_equal("the weights of", group.exchange(engine.weights))
    engine.notices = control.agree(lambda: engine.notices)
    return engine


def serve(group: Group, load: Load) -> None:
    """Follow the leader of a group to the end of its words."""
    control = Control(group)
    engine = open_engine(group, control, control.agree(dict), load)
    running: dict[int, tuple[Events, str]] = {}
    while not isinstance(word := control.receive(), End):
        try:
            _do(word, group, control, engine, running)
        except Wan22Error as error:
            if not control.all_refuse(error):
                raise


def _do(
    word: Any, group: Group, control: Control, engine: Engine, running: dict[int, tuple[Events, str]]
) -> None:
    """What a word of the leader's asks of a follower; running: the events of calls, and the kind of the last one."""

    def run(number: int, events: Events, reply: Reply | None) -> None:
        running.pop(number, None)
        try:
            running[number] = events, type(events.send(reply)).__name__
        except StopIteration:
            return

    match word:
        case Call(number, method, arguments, layout):
            engine.ranks = group.mesh(layout)
            told = [SharedJournal(control) if isinstance(each, Shared) else each for each in arguments]
            result = getattr(engine, method)(*told)
            if isinstance(result, Generator):
                run(number, result, None)
        case Go(number, after, reply):
            events, last = running.get(number, (None, "the end"))
            if events is None or last != after:
                raise ParallelError(
                    f"the ranks are out of step: rank 0 is at {after}, and this one at {last}"
                )
            run(number, events, reply)
        case Stop(number):
            if number in running:
                running.pop(number)[0].close()
        case _:
            raise ParallelError(f"the ranks are out of step: a call is waited for, and {word} comes")


@dataclass
class _Session:
    """The group of an engine at work, and the leader's own part in it."""

    group: Group
    control: Control
    engine: Engine
    calls: int = 0

    def end(self) -> None:
        """Let the followers end."""
        try:
            self.control.say(End())
        except Exception:
            self.group.end(broken=True)
        else:
            self.group.end()


@dataclass
class _Held:
    """The session that there is, where the end of the process finds it."""

    session: _Session | None = None

    def end(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.end()

    def broken(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.group.end(broken=True)


_OF_THE_LEADER = (
    "name", "variant", "device", "dtype", "compute_dtype", "weights", "notices", "options", "loras", "fast", "planner",
    "check", "plan", "is_guided",
)  # fmt: skip
"""What an engine knows by itself; the rest is a call on all ranks, or refused."""

_OF_ONE = {
    "vae": "a network of several ranks cannot be taken out of the engine",
    "expert": "a network of several ranks cannot be taken out of the engine",
    "show": "a network in training is shown by an engine on one device",
}


class Led:
    """An engine on many ranks, with the methods of `engine.Engine`.

    A mistake of the user's that all ranks refuse leaves them ready. After another error the group is ended; the next
    call starts a new one, if the group was started here. Closing it, or the end of the process, ends the followers.
    """

    def __init__(
        self,
        begin: Callable[[], Group],
        load: Load,
        said: Mapping[str, Any],
        layout: Layout | None = None,
    ) -> None:
        """begin: starts the group, or joins it. said: arguments of `load`. layout: None chooses for each video."""
        self._begin, self._load, self._said, self._asked = begin, load, dict(said), layout
        self._held = _Held()
        self._again = True
        self._loras: Sequence[Any] | None = None
        self._shown: Engine = self._open().engine
        weakref.finalize(self, self._held.end)

    def _open(self) -> _Session:
        """The session; a new one after an error."""
        if self._held.session is not None:
            return self._held.session
        if not self._again:
            raise ParallelError(
                "the ranks were ended by an error, and torchrun alone starts them anew: run the command again"
            )
        group = self._begin()
        self._again = group.again
        try:
            if self._asked is not None:
                self._asked.check(group.size)
            control = Control(group)
            said = control.agree(lambda: self._said)
            session = _Session(group, control, open_engine(group, control, said, self._load))
            self._held.session = session
            self._shown = session.engine
            if self._asked is not None:
                self._asked.check(group.size, session.engine.variant.dit.heads)
        except BaseException as error:
            self._held.session = None
            found = group.why(error) if is_lost(error) else error
            group.end(broken=True)
            raise found from (error if found is not error else None)
        if self._loras is not None:
            self.use_loras(self._loras)
        return session

    def __getattr__(self, name: str) -> Any:
        if name in _OF_ONE:
            raise ParallelError(f"{_OF_ONE[name]}; load the model without gpus for that ({name})")
        if name in _OF_THE_LEADER:
            return getattr(self._shown, name)
        raise AttributeError(f"an engine on several ranks has no {name!r}")

    @property
    def recorder(self) -> None:
        """Step caches are measured on one device."""
        return None

    @recorder.setter
    def recorder(self, recorder: object) -> None:
        if recorder is not None:
            raise ParallelError(
                "step caches are measured on one device, which sees all tokens; leave gpus out"
            )

    @property
    def pids(self) -> list[int]:
        """The processes that follow, on this machine."""
        return [] if self._held.session is None else self._held.session.group.pids

    def close(self) -> None:
        """End the followers, and let go of the weights here. The next call starts anew, where that can be."""
        self._held.end()

    def release(self) -> None:
        """As `Engine.release`, on all ranks."""
        if self._held.session is not None:
            self._call("release")

    def use_loras(self, loras: Sequence[Any]) -> None:
        """As `Engine.use_loras`, on all ranks."""
        self._open().engine.use_loras(loras)  # here first: what is refused changes nothing anywhere
        self._loras = list(loras)
        self._call("use_loras", self._loras)

    def encode_text(self, texts: Sequence[str], length: int | None = None) -> list[Tensor]:
        """As `Engine.encode_text`."""
        return self._call("encode_text", texts, length)

    def encode_pixels(self, video: Tensor) -> Tensor:
        """As `Engine.encode_pixels`."""
        return self._call("encode_pixels", video)

    def encode_audio(self, samples: Tensor) -> Tensor:
        """As `Engine.encode_audio`."""
        return self._call("encode_audio", samples)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """As `Engine.encode_image`."""
        return self._call("encode_image", pixels)

    def generate(
        self, request: Request, done: ClipDone | None = None, journal: Journal | None = None
    ) -> Events:
        """As `Engine.generate`: one video, made on all ranks."""
        session = self._open()
        session.engine.check(request)
        layout = self.layout(request)
        return self._events(session, "generate", (request, done), journal, layout)

    def decode_latents(self, tensors: dict[str, Tensor], recipe: dict[str, Any]) -> Events:
        """As `Engine.decode_latents`."""
        session = self._open()
        return self._events(session, "decode_latents", (tensors, recipe), None, self._any(session))

    def recipe(self, request: Request) -> dict[str, Any]:
        """As `Engine.recipe`."""
        return {**self._shown.recipe(request), **self.layout(request).recipe()}

    def layout(self, request: Request) -> Layout:
        """How a video is divided: as was asked, or as sends least. Raises ParallelError if it cannot be so."""
        session = self._open()
        guided = session.engine.is_guided(request)
        heads, size, hosts = session.engine.variant.dit.heads, session.group.size, session.group.hosts
        if self._asked is None:
            return picked(size, heads, guided=guided, hosts=hosts)
        if self._asked.guidance > 1 and not guided:
            raise ParallelError(
                "guidance=2 gives each branch of guidance ranks of its own, and this video has only the prompt's; "
                f"take context={size}"
            )
        return self._asked

    def _any(self, session: _Session) -> Layout:
        return self._asked or Layout(context=session.group.size)

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the engine on every rank; the leader's result."""
        session = self._open()
        with self._together(session):
            self._say_call(session, method, arguments, self._any(session))
            return getattr(session.engine, method)(*arguments)

    def _say_call(self, session: _Session, method: str, arguments: tuple[Any, ...], layout: Layout) -> int:
        session.calls += 1
        session.control.say(Call(session.calls, method, arguments, layout))
        session.engine.ranks = session.group.mesh(layout)
        return session.calls

    def _events(
        self,
        session: _Session,
        method: str,
        arguments: tuple[Any, ...],
        journal: Journal | None,
        layout: Layout,
    ) -> Events:
        """The events of a call on every rank."""
        more = () if journal is None else (Shared(),)
        mine = () if journal is None else (SharedJournal(session.control, journal),)
        with self._together(session):
            number = self._say_call(session, method, (*arguments, *more), layout)
            events = getattr(session.engine, method)(*arguments, *mine)
        reply: Reply | None = None
        while True:
            with self._together(session):
                event = _next(events, reply)
            if event is None:
                return
            try:
                reply = yield event
            except GeneratorExit:
                if self._held.session is session:  # else it was ended meanwhile
                    with self._together(session):
                        session.control.say(Stop(number))
                events.close()
                raise
            with self._together(session):
                session.control.say(Go(number, type(event).__name__, reply))

    @contextmanager
    def _together(self, session: _Session) -> Generator[None]:
        """What all ranks do in step: an error of one ends all, unless it is a mistake that all of them refuse."""
        if self._held.session is not session:
            raise ParallelError("the ranks that made this video were ended")
        try:
            yield
        except BaseException as error:
            if session.control.all_refuse(error):
                raise
            found = session.group.why(error) if is_lost(error) else None
            self._held.broken()
            if found is None:
                raise
            if isinstance(error, DecodeError):
                raise DecodeError(f"{found}", error.latents) from found
            raise found from error


def lead(team: Team, said: Mapping[str, Any], program: str, load: Load) -> Led:
    """The engine of a team, in the process that leads it; another rank serves here, and the process ends.

    said: the arguments of `load`. program: MODULE:FUNCTION, which serves a group by `load`. Raises ParallelError.
    """
    if team.follows:
        run_follower(team.begin(program), lambda group: serve(group, load))
        raise SystemExit(0)
    if said["given"]:
        raise ParallelError(
            "readers that are given as functions are of this process alone; name files instead"
        )
    for name in ("text_device", "vae_device"):
        if said[name] is not None:
            raise ParallelError(
                f"{name} is for a video that one device makes; ranks have their parts, each on its own"
            )
    shared = {name: value for name, value in said.items() if name not in _OF_ONE_RANK}
    return Led(team.begin(program), load, shared, team.layout)


def _next(events: Events, reply: Reply | None) -> Event | None:
    """The next event; None after the last."""
    try:
        return events.send(reply)
    except StopIteration:
        return None


def picked(ranks: int, heads: int, *, guided: bool, hosts: int = 1) -> Layout:
    """The layout that sends least: `Layout.pick`; between machines, keys are passed on in a ring."""
    layout = Layout.pick(ranks, heads, guided=guided)
    machines = -(-hosts // layout.guidance)  # that share the tokens of one branch
    ring = max(layout.ring, machines)
    return replace(layout, ring=ring) if layout.context % ring == 0 else layout
