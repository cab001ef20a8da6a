"""`wan22 generate` and `wan22 decode`, and the work of `wan22 image`: from words on the command line to a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.catalog import NANO, NANO_SPEECH
from wan22.cli import again, direct, report
from wan22.cli import options as o
from wan22.cli.long import LongWork, publish_long
from wan22.cli.publish import LATENTS_SUFFIX, Target, is_picture, publish, read_latents
from wan22.cli.sound import Asked, Soundtrack
from wan22.cli.takes import best_of as best_takes
from wan22.cli.takes import check_canvas, check_takes
from wan22.errors import CheckpointError, OptionError, OutputError, choose

if TYPE_CHECKING:
    from wan22.engine import Engine
    from wan22.types import Request


@dataclass(frozen=True)
class Machine:
    """With what to work, as typed; None: from the recipe, or the default."""

    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    memory: str | None = None

    def load(self, recipe: dict[str, Any], loras: Sequence[again.AskedLoRA] = ()) -> Engine:
        """Assemble the engine, with LoRAs as (path, strength, expert)."""
        engine = self._load(recipe)
        if loras:
            from wan22.weights.lora import LoRA

            engine.use_loras([LoRA(*lora) for lora in loras])
        return engine

    def _load(self, recipe: dict[str, Any]) -> Engine:
        from wan22.engine import load

        device, memory = self.device or "auto", self.memory or "auto"
        dtype = self.dtype or recipe.get("dtype") or "auto"
        if self.model or not recipe:
            return load(self.model or NANO, device=device, dtype=dtype, memory=memory)
        try:
            return load(recipe["model"], device=device, dtype=dtype, memory=memory)
        except (OptionError, CheckpointError) as error:
            raise type(error)(
                f"made with the model {recipe['model']!r}; name it with --model: {error}"
            ) from error


@dataclass(frozen=True)
class Takes:
    """How many takes are made to keep the best, and whether the others stay."""

    number: int | None = None
    keep: bool = False


@dataclass(frozen=True)
class Work:
    """A command as it was typed: `given` are fields of a request, `files` its pictures and clips."""

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
    json: bool = False
    recipe: dict[str, Any] = field(default_factory=dict)
    sound: Asked = field(default_factory=Asked)
    afresh: bool = False
    loras: tuple[again.AskedLoRA, ...] = ()
    direction: direct.Direction = field(default_factory=direct.Direction)
    takes: Takes = Takes()


def generate(
    prompt: o.Prompt = None,
    output: o.Output = None,
    model: o.Model = None,
    image: o.Image = None,
    last_image: o.LastImage = None,
    video: o.Video = None,
    strength: o.Strength = None,
    shot_size: direct.ShotSize = None,
    angle: direct.Angle = None,
    lens: direct.Lens = None,
    composition: direct.Composition = None,
    light: direct.Light = None,
    time: direct.Time = None,
    tone: direct.Tone = None,
    camera: direct.Camera = None,
    style: direct.Style = None,
    extend: direct.Extend = None,
    task: o.Task = None,
    audio: o.Audio = None,
    audio_start: o.AudioStart = None,
    say: o.Say = None,
    speaker: o.SpeakerName = None,
    voice: o.Voice = None,
    language: o.Language = None,
    voice_sample: o.VoiceSample = None,
    pose: o.Pose = None,
    clips: o.Clips = None,
    from_image: o.FromImage = False,
    hold_colour: o.HoldColour = 0.0,
    fast: o.Fast = False,
    size: o.Size = None,
    frames: o.FrameCount = None,
    seconds: o.Seconds = None,
    fps: o.Fps = None,
    negative: o.Negative = None,
    source: o.From = None,
    steps: o.Steps = None,
    solver: o.SolverName = None,
    shift: o.Shift = None,
    guidance: o.Guidance = None,
    seed: o.Seed = None,
    count: o.Count = 1,
    best_of: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Make N takes with seeds from --seed on, measure each against the prompt, keep the best.",
        ),
    ] = None,
    keep_takes: Annotated[
        bool,
        typer.Option("--keep-takes", help="With --best-of: keep the other takes, too, as OUT-take-SEED."),
    ] = False,
    lora: o.Lora = None,
    quality: o.Quality = "high",
    codec: o.CodecName = None,
    overwrite: o.Overwrite = True,
    afresh: o.Afresh = False,
    device: o.Device = None,
    dtype: o.Dtype = None,
    memory: o.Memory = None,
    json: o.Json = False,
) -> None:
    """Make a film from a prompt, pictures, a film, or a sound.

    A film longer than the model makes at once is made in clips; interrupted, the same command goes on after the last
    finished one.

    Prints the path of the file; progress goes to stderr. What is left out is the model's own default: see
    `wan22 models NAME`.
    """
    asked = {
        "prompt": prompt, "negative": negative, "strength": strength, "size": o.parse_size(size), "frames": frames,
        "seconds": seconds, "fps": fps, "steps": steps, "solver": solver, "shift": shift,
        "guidance": o.parse_guidance(guidance), "seed": seed, "clips": clips, "from_image": from_image or None,
        "hold_colour": hold_colour or None, "fast": fast or None,
    }  # fmt: skip
    sound = Asked(audio, say, audio_start, seconds, speaker, voice, language, voice_sample)
    files = {"image": image, "last_image": last_image, "video": video, "pose": pose}
    check_task(task, sound, files)
    if model is None and source is None and (sound.given or task == "s2v"):
        model = NANO_SPEECH
    _make(
        Work(
            given=_present(asked),
            files=_present(files),
            source=source,
            output=output,
            suffix=".mp4",
            machine=Machine(model, device, dtype, memory),
            quality=quality,
            codec=codec,
            count=count,
            overwrite=overwrite,
            json=json,
            sound=sound,
            afresh=afresh,
            loras=_loras(lora),
            direction=direct.Direction(
                shot_size, angle, lens, composition, light, time, tone, camera, style, extend
            ),
            takes=Takes(best_of, keep_takes),
        )
    )


TASKS = ("t2v", "i2v", "v2v", "s2v")


def check_task(task: str | None, sound: Asked, files: dict[str, str | None]) -> None:
    """Raise OptionError if a task is named and the options ask for another."""
    if task is None:
        return
    choose("task", task, TASKS)
    pictured = files["image"] is not None or files["last_image"] is not None
    asked = "s2v" if sound.given else "v2v" if files["video"] else "i2v" if pictured else "t2v"
    if task == asked:
        return
    needs = {
        "s2v": "a sound: --audio FILE, or --say TEXT",
        "v2v": "a clip: --video FILE",
        "i2v": "a picture: --image FILE",
        "t2v": "a prompt alone",
    }
    raise OptionError(f"--task {task} takes {needs[task]}; what is given asks for {asked}")


def decode(
    latents: Annotated[str, typer.Argument(help=f"A file OUTPUT{LATENTS_SUFFIX}.", show_default=False)],
    output: o.Output = None,
    model: o.Model = None,
    quality: o.Quality = "high",
    codec: o.CodecName = None,
    overwrite: o.Overwrite = True,
    device: o.Device = None,
    dtype: o.Dtype = None,
    memory: o.Memory = None,
    json: o.Json = False,
) -> None:
    """Finish a film from latents that were kept.

    They are kept beside the output while a film is decoded, and stay if that fails or is cancelled.
    """
    tensors, recipe, intended = read_latents(latents)
    target = Target(output or intended, quality, codec)
    _check_place(target, recipe["size"], recipe["frames"], overwrite)
    with report.choose(json) as show:
        engine = Machine(model, device, dtype, memory).load(recipe)
        publish(
            engine.decode_latents(tensors, recipe),
            target,
            show,
            size=tuple(recipe["size"]),
            fps=recipe["fps"],
        )
        show.note(f"{latents} is no longer needed")


def _make(work: Work) -> None:
    """Check everything that can be checked, then make the films one after another."""
    if work.source is not None:
        recipe = again.read(work.source)
        work = replace(
            work,
            recipe=recipe,
            given=again.settings(recipe, work.given, work.sound),
            files=again.find_files(recipe, work.source, work.files),
            sound=again.find_sound(recipe, work.source, work.sound),
            loras=work.loras or again.find_loras(recipe, work.source),
        )
    if "prompt" not in work.given:
        raise OptionError(
            'there is no prompt: wan22 generate "a red ball rolls left at sunset", or give --from FILE'
        )
    if "strength" in work.given and "video" not in work.files:
        raise OptionError("--strength says how far a clip is changed; give the clip with --video")
    target = _target(work)
    _check_place(target, (1, 1), 1, work.overwrite)
    with report.choose(work.json) as show:
        work, told = _directed(work, show)
        check_takes(work.takes.number, work.count, work.given["prompt"])
        track = work.sound.open()
        request = _request(work, track)
        engine = work.machine.load(work.recipe, work.loras)
        engine.check(replace(request, seed=request.seed + max(work.count, work.takes.number or 1) - 1))
        canvas = engine.check(request)
        check_canvas(work.takes.number, canvas, request)
        notes = again.note_files(work.files | ({"sound": track.path} if track and not track.said else {}))
        notes |= _of_sound(track) | told
        for turn in range(work.count):
            place = target.tagged(str(turn + 1)) if work.count > 1 else target
            _check_place(place, canvas.out, canvas.frames * (work.count - turn), work.overwrite)
            now = replace(request, seed=request.seed + turn)
            if work.takes.number is not None:
                made = best_takes(
                    work.takes.number,
                    engine.generate,
                    now,
                    place,
                    show,
                    canvas=canvas,
                    notes=notes,
                    keep=work.takes.keep,
                )
            elif canvas.clips > 1 or request.sound is not None:
                made = publish_long(engine, now, LongWork(place, canvas, track, notes, work.afresh), show)
            else:
                made = publish(
                    engine.generate(now), place, show, size=canvas.out, fps=canvas.fps, notes=notes
                )
            if work.source is not None and turn == 0:
                show.compared(work.source, again.differences(work.recipe, made))


def _directed(work: Work, show: report.Report) -> tuple[Work, dict[str, Any]]:
    """The work with its prompt directed and extended, and what the recipe keeps of that."""
    given = work.given
    if not work.direction.given:
        return work, direct.kept(work.recipe, given)
    prompt, told = direct.directed(
        given["prompt"], work.direction, seed=given.get("seed", 0), image=work.files.get("image")
    )
    direct.show_change(told, show)
    return replace(work, given=given | {"prompt": prompt}), told


def _of_sound(track: Soundtrack | None) -> dict[str, Any]:
    """What a recipe notes of a film's sound: the piece of a file, or what was said by whom."""
    if track is None:
        return {}
    entry = _present({"said": track.said or None, "start": track.start or None, "seconds": track.seconds})
    return {"sound": entry} if entry else {}


def _request(work: Work, track: Soundtrack | None) -> Request:
    """Read the pictures, clips and sound, and put the request together."""
    from wan22.media.image import read_image
    from wan22.media.video import read_clip
    from wan22.types import Request

    readers = {"image": read_image, "last_image": read_image, "video": read_clip, "pose": read_clip}
    media: dict[str, Any] = {name: readers[name](path) for name, path in work.files.items()}
    if track is not None:
        media["sound"] = track.heard()
    return Request(**work.given, **media)


def _target(work: Work) -> Target:
    """Where the result goes: as typed, beside the film that is made again, or under out/."""
    if work.output is not None:
        path = work.output
    elif work.source is not None:
        path = Target(work.source).tagged("again").path
        path = (
            path if is_picture(path) == (work.suffix == ".png") else f"{Path(path).with_suffix(work.suffix)}"
        )
    else:
        path = f"out/{slug(work.given['prompt'])}-{work.given.get('seed', 0)}{work.suffix}"
    if is_picture(path) and work.suffix != ".png":
        raise OutputError(
            f"{path} is a picture, and `wan22 generate` makes films; use `wan22 image`, or name a .mp4"
        )
    if not is_picture(path) and work.suffix == ".png":
        raise OutputError(f"{path} is no picture, and `wan22 image` makes one; use a .png, .jpg or .webp")
    return Target(path, work.quality, work.codec)


def _check_place(target: Target, size: tuple[int, int], frames: int, overwrite: bool) -> None:
    from wan22.media.place import check_output, estimate_bytes

    check_output(target.path, bytes_needed=estimate_bytes(size, frames, target.path), overwrite=overwrite)


def slug(prompt: str) -> str:
    """A file name from a prompt: its first words, letters of any language, at most 48 characters."""
    words = "-".join(re.findall(r"\w+", prompt.lower()))[:48].strip("-_")
    return words or "film"


def _loras(texts: list[str] | None) -> tuple[again.AskedLoRA, ...]:
    return tuple(o.parse_lora(text) for text in texts or ())


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
