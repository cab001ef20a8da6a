"""One piece of work: what was asked is checked, put together, made and published.

What a command takes, and what its words are called, is its own: options.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import CheckpointError, OptionError, OutputError, ParallelError
from wan22.fields import DIVISION, REPEATED, called
from wan22.production import rerender
from wan22.production.animate import DRIVEN, driven, is_driven, of_folder, prepared
from wan22.production.audio import AudioOptions, AudioTrack, of_video
from wan22.production.calibration import calibrating, check_calibration
from wan22.production.direction import Direction, directed, kept, show_change
from wan22.production.journal import journaled
from wan22.production.long_video import LongWork, publish_long
from wan22.production.publish import Target, is_image, publish
from wan22.production.takes import best_of as best_takes
from wan22.production.takes import check_canvas, check_takes

if TYPE_CHECKING:
    from wan22.engine import Engine
    from wan22.media.provenance import Marking
    from wan22.production.events import EventSink
    from wan22.types import Request


@dataclass(frozen=True)
class Machine:
    """With what to work, as typed; what is not comes from the recipe, or is the default. `engine` are keywords of
    `wan22.load` (`fields.OPTIONS`), `parts` files in place of the model's own, by part, or all of it; `task` is what is
    asked for, which chooses among several models in one folder.
    """

    model: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None

    def load(self, recipe: dict[str, Any], loras: Sequence[rerender.LoRAOption] = ()) -> Engine:
        """Assemble the engine, with LoRAs as (path, strength, expert)."""
        engine = self._load(recipe)
        if loras:
            use_loras(engine, loras)
        return engine

    @property
    def whole(self) -> bool:
        """Whether the parts that are named are a model by themselves, rather than in place of some of another's."""
        return bool(self.parts.keys() & {"dit", "high", "low"})

    @property
    def options(self) -> tuple[str, ...]:
        """What names the model to another command; empty if a recipe's name of it is enough."""
        from wan22.catalog import ALIASES, variant_names

        model = () if self.model in (None, *ALIASES, *variant_names()) else ("--model", str(self.model))
        return (*model, *(word for part, file in self.parts.items() for word in (f"--{part}", file)))

    def _load(self, recipe: dict[str, Any]) -> Engine:
        from wan22.engine import load

        here = self.engine.keys() & {"device", *DIVISION}
        names = REPEATED if here else (*REPEATED, *DIVISION)
        repeated = {name: recipe[name] for name in names if recipe.get(name) is not None} | self.engine
        if "gpus" in repeated.keys() - self.engine.keys():
            _check_division(**{name: repeated.get(name) for name in DIVISION})
        assemble = partial(load, parts=self.parts, task=self.task, **repeated)
        if self.model or self.whole or not recipe:
            return assemble(self.model)
        name = rerender.model_of(recipe)
        try:
            return assemble(name)
        except (OptionError, CheckpointError) as error:
            raise type(error)(
                f"made with the model {name!r}; name it with {called('model')}: {error}"
            ) from error


def _check_division(gpus: Any, parallel: Any) -> None:
    """Raise ParallelError if a recipe asks for devices that are not here."""
    from wan22.parallel.group import Team

    try:
        Team.of("auto", gpus, parallel)
    except ParallelError as error:
        raise ParallelError(f"made on {gpus} devices: {error}. {called('gpus')} 1 makes it on one") from error


def use_loras(engine: Engine, loras: Sequence[rerender.LoRAOption]) -> None:
    """Let an engine use these LoRAs instead of those that it has. Raises as `Engine.use_loras`."""
    from wan22.weights.lora import LoRA

    engine.use_loras([LoRA(*lora) for lora in loras])


Load = Callable[[Machine, dict[str, Any], Sequence[rerender.LoRAOption]], "Engine"]
"""As `Machine.load`."""


@dataclass(frozen=True)
class Takes:
    """How many takes are made to keep the best, and whether the others stay."""

    number: int | None = None
    keep: bool = False


@dataclass(frozen=True)
class Work:
    """A command as it was typed: `given` are fields of a request, `files` its images and clips.

    `workflow` is another program's file that it was read from (workflow.py); `nodes` say what of it is made, and `left`
    what of it is not.
    """

    given: dict[str, Any]
    files: dict[str, str]
    source: str | None
    output: str | None
    suffix: str
    machine: Machine
    quality: str = "high"
    codec: str | None = None
    count: int = 1
    overwrite: bool = True
    recipe: dict[str, Any] = field(default_factory=dict)
    audio: AudioOptions = field(default_factory=AudioOptions)
    restart: bool = False
    loras: tuple[rerender.LoRAOption, ...] = ()
    direction: Direction = field(default_factory=Direction)
    takes: Takes = Takes()
    calibrate: str | None = None
    marking: Marking | None = None
    label: str | None = None
    workflow: str | None = None
    nodes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    replaces: bool = False


def make(work: Work, events: EventSink, journal: Path | None = None, *, load: Load = Machine.load) -> None:
    """Check everything that can be checked, then make the videos one after another.

    `journal` is a folder that keeps what was computed, so that the same work goes on after any end (`FolderJournal`).
    `load` assembles the engine, or has it already.
    """
    work = of_folder(work)
    typed = {*work.files, *(("audio",) if work.audio != AudioOptions() else ())}
    if work.source is not None:
        work = _followed(work, work.source, events)
    work = driven(work)
    if "prompt" not in work.given:
        raise OptionError(
            f"there is no prompt: give one, such as 'a red ball rolls left at sunset', or {called('source')} FILE"
        )
    check_strength(work)
    target = target_of(work)
    check_place(target, (1, 1), 1)
    target.check_marks(events)
    if work.calibrate is not None:
        check_calibration(work.calibrate)
    work, told = with_direction(work, events)
    check_takes(work.takes.number, work.count, work.given["prompt"])
    track = work.audio.open()
    source_video = work.files.get("video")
    work, of_driving = prepared(work, target.path, events)
    told |= of_driving
    request = _request(work, track)
    rerender.check_inputs(work.recipe, request, typed)
    engine = load(work.machine, work.recipe, work.loras)
    engine.check(replace(request, seed=request.seed + max(work.count, work.takes.number or 1) - 1))
    canvas = engine.check(request)
    target.check_label(canvas.out)
    check_canvas(work.takes.number, canvas, request)
    notes = rerender.note_files(work.files | ({"audio": track.path} if track and not track.said else {}))
    kept_audio = None if source_video is None else of_video(source_video, target.path, events)
    notes |= _of_audio(track) | ({"audio": {"kept": True}} if kept_audio else {}) | told
    deliver = partial(publish, size=canvas.out, fps=canvas.fps, notes=notes, audio=kept_audio)
    generate = journaled(engine, journal, events.note)

    def video(now: Request, place: Target) -> dict[str, Any]:
        if (number := work.takes.number) is not None:
            return best_takes(number, generate, now, place, events, deliver=deliver, keep=work.takes.keep)
        if canvas.clips > 1 or request.by_clips:
            long = LongWork(place, canvas, track or kept_audio, notes, work.restart, journal)
            return publish_long(engine, now, long, events)
        return deliver(generate(now), place, events)

    with calibrating(engine, work.calibrate, events):
        for turn in range(work.count):
            place = turn_of(target, turn) if work.count > 1 else target
            check_place(place, canvas.out, canvas.frames * (work.count - turn))
            made = video(replace(request, seed=request.seed + turn), place)
            if work.source is not None and turn == 0:
                events.compared(work.source, rerender.differences(work.recipe, made))
    for line in work.left:
        events.note(line)


def _followed(work: Work, source: str, events: EventSink) -> Work:
    """The work with what the recipe of `source` says where nothing else is said."""
    found = rerender.follow(source, work.given, work.files, work.audio, work.loras)
    for note in found.notes:
        events.note(note)
    return replace(
        work,
        recipe=found.recipe,
        given=found.given,
        files=found.files,
        audio=found.audio,
        loras=found.loras,
        label=found.recipe.get("label") if work.label is None else work.label,
    )


def check_strength(work: Work) -> None:
    """Raise OptionError for a strength without the video that it would change."""
    if "strength" in work.given and "video" not in work.files:
        raise OptionError(
            f"{called('strength')} says how far a clip is changed; give the clip with {called('video')}"
        )


def with_direction(work: Work, events: EventSink) -> tuple[Work, dict[str, Any]]:
    """The work with its prompt directed and extended, and what the recipe keeps of that."""
    given = work.given
    if not work.direction.given:
        return work, kept(work.recipe, given)
    prompt, told = directed(
        given["prompt"], work.direction, seed=given.get("seed", 0), image=work.files.get("image")
    )
    show_change(told, events)
    return replace(work, given=given | {"prompt": prompt}), told


def _of_audio(track: AudioTrack | None) -> dict[str, Any]:
    """What a recipe notes of a video's audio: the piece of a file, or what was said by whom."""
    if track is None:
        return {}
    entry = present({"said": track.said or None, "start": track.start or None, "seconds": track.seconds})
    return {"audio": entry} if entry else {}


def _request(work: Work, track: AudioTrack | None) -> Request:
    """Read the images, clips and audio, and put the request together."""
    from wan22.media.image import read_image
    from wan22.media.video import read_condition
    from wan22.types import Clip, Driving, Request

    length = {name: work.given.get(name) for name in ("frames", "seconds")}

    def read_video(path: str) -> Clip:
        return read_condition(path, work.given.get("fps"), **length)

    def read_pose(path: str) -> Clip:
        return read_condition(path, work.given.get("fps"))

    readers = {"image": read_image, "last_image": read_image, "video": read_video, "pose": read_pose}
    if is_driven(work):
        readers |= dict.fromkeys(DRIVEN, read_video)
    media: dict[str, Any] = {name: readers[name](path) for name, path in work.files.items()}
    if is_driven(work):
        media["driving"] = Driving(**{name: media.pop(name) for name in DRIVEN if name in media})
    if track is not None:
        media["audio"] = track.samples()
    return Request(**work.given, **media)


def target_of(work: Work) -> Target:
    """Where the result goes: as typed, beside the video that is made again, or under out/."""
    from wan22.media.output_paths import place, same_file

    made_from = work.source or work.workflow
    if made_from is not None:
        default = Target(made_from).tagged("again").path
        if default.endswith(".json"):
            default = f"{Path(default).with_suffix(work.suffix)}"
        if is_image(default) != (work.suffix == ".png"):
            default = f"{Path(default).with_suffix(work.suffix)}"
    else:
        default = f"out/{slug(work.given['prompt'])}-{work.given.get('seed', 0)}{work.suffix}"
    path, existing = place(work.output, default, overwrite=work.overwrite, still=work.suffix == ".png")
    if is_image(path) and work.suffix != ".png":
        raise OutputError(
            f"{path} is an image, and `wan22 generate` makes videos; use `wan22 image`, or name a .mp4"
        )
    if not is_image(path) and work.suffix == ".png":
        raise OutputError(f"{path} is no image, and `wan22 image` makes one; use a .png, .jpg or .webp")
    inputs = (made_from, *work.files.values(), work.audio.audio, work.audio.voice_sample)
    if any(name is not None and same_file(name, path) for name in inputs):
        raise OutputError(f"{path} is what the video is made from, and stays; name another output")
    return Target(
        path, work.quality, work.codec, existing, work.machine.options, work.marking, work.label or None
    )


def turn_of(target: Target, turn: int) -> Target:
    """Where one of several videos goes: a name that nobody typed replaces nothing."""
    one = target.tagged(str(turn + 1))
    return one if one.existing == "refuse" else one.free()


def check_place(target: Target, size: tuple[int, int], frames: int) -> None:
    """Raise OutputError if a video of that size cannot be written there."""
    from wan22.media.output_paths import check_output, estimate_bytes

    check_output(
        target.path,
        bytes_needed=estimate_bytes(size, frames, target.path),
        overwrite=target.existing == "replace",
    )


def slug(prompt: str) -> str:
    """A file name from a prompt: its first words, letters of any language, at most 48 characters and 120 bytes.

    A name has 255 bytes on most disks, and endings such as -take-7.mp4.latents.safetensors follow.
    """
    from wan22.media.output_paths import shortened

    words = "-".join(re.findall(r"\w+", prompt.lower()))[:48]
    return shortened(words, 120).strip("-_") or "video"


def present(values: dict[str, Any]) -> dict[str, Any]:
    """The values that were given: without those that are None."""
    return {name: value for name, value in values.items() if value is not None}
