"""`wan22 generate` and `wan22 decode`: from words, pictures and sounds on the command line to a film."""

from __future__ import annotations

from typing import Annotated

import typer

from wan22.catalog import NANO_SPEECH
from wan22.cli import direct, report
from wan22.cli import options as o
from wan22.errors import OptionError, choose
from wan22.production.audio import Asked
from wan22.production.direction import Direction
from wan22.production.publish import LATENTS_SUFFIX, Target, publish, read_latents
from wan22.production.work import Machine, Takes, Work, check_place, make, present


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
    guidance_rescale: o.GuidanceRescale = None,
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
        "guidance": o.parse_guidance(guidance),
        "guidance_rescale": guidance_rescale, "seed": seed, "clips": clips, "from_image": from_image or None,
        "hold_colour": hold_colour or None, "fast": fast or None,
    }  # fmt: skip
    sound = Asked(audio, say, audio_start, seconds, speaker, voice, language, voice_sample)
    files = {"image": image, "last_image": last_image, "video": video, "pose": pose}
    check_task(task, sound, files)
    if model is None and source is None and (sound.given or task == "s2v"):
        model = NANO_SPEECH
    work = Work(
        given=present(asked),
        files=present(files),
        source=source,
        output=output,
        suffix=".mp4",
        machine=Machine(model, device, dtype, memory),
        quality=quality,
        codec=codec,
        count=count,
        overwrite=overwrite,
        sound=sound,
        afresh=afresh,
        loras=o.parse_loras(lora),
        direction=Direction(shot_size, angle, lens, composition, light, time, tone, camera, style, extend),
        takes=Takes(best_of, keep_takes),
    )
    with report.choose(json) as show:
        make(work, show)


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
    check_place(target, recipe["size"], recipe["frames"], overwrite)
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
