"""Encode what a survey found, once: every piece of every clip, and every distinct text, into a folder.

It streams: one piece of one clip is in memory at a time. A run that is killed goes on where it was.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from wan22.catalog import Variant
from wan22.clock import StepCounter
from wan22.engine import Engine
from wan22.errors import CheckpointError, MediaError, OptionError, SizeError, choose
from wan22.train.data.cache import Contents, Shapes, Store, check_room, key_of
from wan22.train.data.encode import Conditioning, Encoder
from wan22.train.data.plan import Problem, Window
from wan22.train.data.survey import Survey, Video, split
from wan22.train.lock import locked
from wan22.train.log import Log
from wan22.train.world import ALONE, World

TASKS = ("t2v", "i2v", "ti2v", "s2v")


@dataclass(frozen=True)
class Row:
    """One training example: `latents` (c, t, h, w) float32, normalised; `text` (s, d), the text encoder's rows.

    `extra`, float32: "last" (c, h, w), the latent frame of its last image standing still (ti2v, if asked for);
    "channels" (y, t, h, w), channels beside the noise (i2v); "reference" (c, 1, h, w), "audio" (states, a, T) and,
    if the clip has a past, "motion" (c, m, h, w) (s2v).
    """

    latents: Tensor
    text: Tensor
    extra: dict[str, Tensor]
    caption: str
    source: Path


@dataclass(frozen=True)
class Entry:
    """Where an example lies in the cache."""

    key: str
    text: str
    video: Video
    window: Window


@dataclass(frozen=True)
class Dataset:
    """Examples on the disk. `buckets` are those that can stand in one batch, by name; an index stands there as often as
    its source repeats it. `empty` (s, d) is the text encoder's answer to an empty prompt, for caption dropout.
    `dropped` says what the survey had and this has not.
    """

    clips: Store
    texts: Store
    entries: tuple[Entry, ...]
    buckets: dict[str, list[int]]
    empty: Tensor
    dropped: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def row(self, i: int) -> Row:
        """Read an example, checked. Raises CheckpointError if it was damaged since it was prepared."""
        entry = self.entries[i]
        tensors = self.clips.read(entry.key)
        text = self.texts.read(entry.text)["text"]
        return Row(tensors.pop("latents"), text, tensors, entry.video.item.caption, entry.video.item.path)


def prepare(
    survey: Survey,
    engine: Engine,
    folder: Path,
    *,
    task: str,
    ends: bool = False,
    log: Log,
    world: World = ALONE,
) -> Dataset:
    """Encode everything that is not in `folder` yet, for a task: "t2v", "i2v", "ti2v" or "s2v".

    `ends` gives clips for ti2v their last images too, for a model that is conditioned on them. The processes of
    `world`, each of which calls this, encode a share each; the leader looks what is there, and makes what is left.
    Clips that break on the way are dropped with a word. Raises OptionError or SizeError if engine, task and survey do
    not fit, OutputError without room or while another process encodes into the folder, MediaError if no clip is left.
    """
    conditioning = _conditioning(task, engine.variant, ends)
    wanted, dropped = _fitting(survey, engine.variant, conditioning)
    for problem in dropped:
        log(f"not used: {problem}")
    with ExitStack() as held:
        lock = locked(Path(folder) / "prepare.lock", f"encodes clips into {folder}")
        world.first(lambda: held.enter_context(lock))
        made = _encode(survey, engine, Path(folder), conditioning, wanted, log, world)
    return replace(made, dropped=(*dropped, *made.dropped))


def _encode(
    survey: Survey,
    engine: Engine,
    folder: Path,
    conditioning: Conditioning,
    wanted: Sequence[Window],
    log: Log,
    world: World,
) -> Dataset:
    texts = Store(folder / "texts")
    captions = [survey.videos[w.video].item.caption for w in wanted]
    keys = _Texts(engine, texts, log, world).make(captions)
    clips = _Clips(Encoder(engine, conditioning, survey.plan.fps), Store(folder / "clips"), log, world)
    entries, dropped = clips.make(survey.videos, wanted, keys)
    if not entries:
        raise MediaError(f"no clip could be encoded. {dropped[-1]}")
    buckets: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        buckets[entry.window.bucket] += [index] * entry.video.item.repeats
    return Dataset(
        clips=clips.store,
        texts=texts,
        entries=tuple(entries),
        buckets=dict(sorted(buckets.items(), key=lambda pair: (-len(pair[1]), pair[0]))),
        empty=texts.read(keys[""])["text"],
        dropped=dropped,
    )


def _conditioning(task: str, row: Variant, ends: bool) -> Conditioning:
    """How a model is conditioned; OptionError if it cannot do the task."""
    choose("task", task, TASKS)
    fits = {
        "t2v": row.speech is None and not row.image_required,
        "i2v": row.speech is None and row.image in ("channels", "known"),
        "ti2v": row.speech is None and row.image == "known",
        "s2v": row.speech is not None,
    }
    if not fits[task]:
        known = ", ".join(name for name, fit in fits.items() if fit)
        raise OptionError(f"{row.name} cannot be trained for {task}; it can for {known}")
    if ends and task != "ti2v":
        raise OptionError(f"last images are for ti2v, not for {task}")
    if task == "s2v":
        return "speech"
    if ends:
        return "ends"
    return "channels" if task == "i2v" and row.image == "channels" else "plain"


def _fitting(survey: Survey, row: Variant, conditioning: Conditioning) -> tuple[list[Window], list[Problem]]:
    """The windows that the model can be trained on, and why others cannot. Raises SizeError if none can."""
    side = row.speech.side if row.speech is not None else row.grid[0]
    kept: list[Window] = []
    dropped: dict[tuple[int, str], Problem] = {}
    for window in survey.windows:
        video = survey.videos[window.video]
        if any(length % side for length in window.size):
            raise SizeError(
                f"{row.name} draws multiples of {side} pixels, and a bucket is {window.size[0]}x{window.size[1]}. "
                f"Plan a size whose sides are multiples of {side}."
            )
        reason = _unfit(video, window, conditioning, row.grid[1])
        if reason is None:
            kept.append(window)
        else:
            dropped[window.video, reason[0]] = Problem(str(video.item.path), *reason)
    if not kept:
        raise SizeError(f"{row.name} cannot be trained on any of the clips: {next(iter(dropped.values()))}")
    return kept, list(dropped.values())


def _unfit(video: Video, window: Window, conditioning: Conditioning, group: int) -> tuple[str, str] | None:
    if conditioning == "speech":
        if window.frames % group:
            return (
                f"has a piece of {window.frames} frames",
                f"With audio, lengths are multiples of {group}: plan 80.",
            )
        if video.item.audio is None and not video.facts.has_audio:
            return "has no audio", "Give a clip with audio, or name its audio in the column audio."
    elif window.frames % group != 1:
        near = window.frames // group * group + 1
        return (
            f"has a piece of {window.frames} frames",
            f"Without audio, lengths are {group}n + 1: plan {near}.",
        )
    elif conditioning == "channels" and window.frames == 1:
        return "is one image", "A video that goes on from its first image needs more than one frame."
    return None


class _Texts:
    """The making of the entries of texts."""

    def __init__(self, engine: Engine, store: Store, log: Log, world: World) -> None:
        self._engine, self._store, self._log, self._world = engine, store, log, world

    def make(self, captions: Sequence[str]) -> dict[str, str]:
        """Encode every distinct text, and the empty one, that is not there; return the keys by text."""
        keys, missing = self._world.first(lambda: self._look(captions))
        mine = missing[self._world.rank :: self._world.size]
        counter = StepCounter(len(mine), "text", self._log)
        for caption, key, settings in mine:
            self._store.write(key, {"text": self._engine.encode_text([caption])[0]}, settings)
            counter.step()
        self._world.any(False)  # now all are there
        return keys

    def _look(self, captions: Sequence[str]) -> tuple[dict[str, str], list[tuple[str, str, dict[str, Any]]]]:
        keys: dict[str, str] = {}
        missing = []
        engine = self._engine
        for caption in dict.fromkeys(["", *captions]):
            settings = {
                "text": caption,
                "encoder": engine.weights["text"],
                "dtype": str(engine.dtype),
                "length": engine.variant.dit.text_len,
            }
            keys[caption] = key = key_of(settings)
            if not _ready(self._store, key, None, self._log):
                missing.append((caption, key, settings))
        if missing:
            self._log(f"texts: {len(keys) - len(missing)} ready, {len(missing)} to encode")
        return keys, missing


_Plan = dict[str, tuple[Entry, dict[str, Any]]]
"""Entries and what makes them, by key."""


class _Clips:
    """The making of the clips' entries; `dropped` tells by video which broke on the way, and why."""

    def __init__(self, encoder: Encoder, store: Store, log: Log, world: World) -> None:
        self._encoder, self.store, self._log, self._world = encoder, store, log, world
        self.dropped: dict[int, Problem] = {}

    def make(
        self, videos: Sequence[Video], windows: Sequence[Window], texts: dict[str, str]
    ) -> tuple[list[Entry], tuple[Problem, ...]]:
        """Encode what is not there. A clip that breaks loses its other pieces too, for they are as suspect."""
        world = self._world
        plan, missing = world.first(lambda: self._look(videos, windows, texts))
        if world.size > 1:
            self._help(plan, missing[world.rank :: world.size])
            world.any(
                False
            )  # now all that can be made is there, and the leader says of the others what broke
        return world.first(lambda: self._finish(plan, missing))

    def _look(
        self, videos: Sequence[Video], windows: Sequence[Window], texts: dict[str, str]
    ) -> tuple[_Plan, list[str]]:
        """All entries, and the keys of those that are not there."""
        contents = Contents(self.store.folder.parent / "contents.json")
        before = self.store.keys()
        plan: _Plan = {}
        for window in windows:
            video = videos[window.video]
            try:
                settings = self._encoder.settings(video, window, contents)
            except OSError as error:
                self._drop(window.video, video, f"cannot be read: {error.strerror or error}", "Survey again.")
                continue
            key = key_of(settings)
            plan[key] = Entry(key, texts[video.item.caption], video, window), settings
        contents.save()
        missing = [
            key
            for key, (entry, _) in plan.items()
            if not _ready(self.store, key, self._encoder.shapes(entry.window), self._log)
        ]
        self._say(len(plan), len(missing), len(before - plan.keys()))
        check_room(self.store.folder, sum(self._bytes(plan[key][0].window) for key in missing))
        return plan, missing

    def _help(self, plan: _Plan, mine: Sequence[str]) -> None:
        """Encode a share of what is missing; what breaks is left to the leader."""
        counter = StepCounter(len(mine), "clip", self._log)
        for key in mine:
            entry, settings = plan[key]
            with suppress(MediaError):
                self.store.write(key, self._encoder.encode(entry.video, entry.window), settings)
            counter.step()

    def _finish(self, plan: _Plan, missing: Sequence[str]) -> tuple[list[Entry], tuple[Problem, ...]]:
        """Encode what is missing still; the entries that are there then, and what was dropped."""
        left = (
            [key for key in missing if not self.store.path(key).exists()] if self._world.size > 1 else missing
        )
        counter = StepCounter(len(left), "clip", self._log)
        for key in left:
            entry, settings = plan[key]
            if entry.window.video not in self.dropped:
                self._encode(entry, settings)
            counter.step()
        entries = [entry for entry, _ in plan.values() if entry.window.video not in self.dropped]
        return entries, tuple(self.dropped.values())

    def _encode(self, entry: Entry, settings: dict[str, Any]) -> None:
        try:
            tensors = self._encoder.encode(entry.video, entry.window)
        except MediaError as error:
            self._drop(entry.window.video, entry.video, *split(str(error), entry.video.item.path))
            return
        self.store.write(entry.key, tensors, settings)

    def _drop(self, index: int, video: Video, reason: str, help_: str) -> None:
        if index not in self.dropped:
            self.dropped[index] = Problem(str(video.item.path), reason, help_)
            self._log(f"not used: {self.dropped[index]}")

    def _say(self, wanted: int, missing: int, others: int) -> None:
        self._log(f"clips: {wanted - missing} ready, {missing} to encode")
        if others:
            self._log(f"made by other settings: {others} kept, {missing} made")

    def _bytes(self, window: Window) -> int:
        return 4 * sum(math.prod(shape) for shape in self._encoder.shapes(window).values())


def _ready(store: Store, key: str, shapes: Shapes | None, log: Log) -> bool:
    """Whether an entry is there and whole; a damaged one is reported, and made again."""
    if not store.path(key).exists():
        return False
    try:
        store.read(key, shapes)
    except CheckpointError:
        log(f"damaged, made again: {store.path(key)}")
        return False
    return True
