"""The options that commands share: their names, help and how their text becomes values.

The names are frozen by tests/contracts/test_cli_options.py: people's scripts depend on them.
"""

from __future__ import annotations

import math
import re
from typing import Annotated

import typer

from wan22.catalog import NANO
from wan22.cli.catalogue import own
from wan22.errors import OptionError, SizeError

Prompt = Annotated[
    str | None,
    typer.Argument(
        help="What the film shows; '@0s ... @5s ...' to change on the way. May be left out with --from.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help=f"A catalogue name or a folder. [default: {NANO}]"),
]
Image = Annotated[str | None, typer.Option(metavar="FILE", help="First picture of the film.")]
LastImage = Annotated[str | None, typer.Option(metavar="FILE", help="Last picture of the film.")]
Video = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Start from this clip; see --strength."),
]
Strength = Annotated[
    float | None,
    typer.Option(help="With --video: near 0 keeps the clip, 1 ignores it. [default: 0.7]"),
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="T",
        help="t2v, i2v, v2v or s2v (speech to video). [default: what the other options ask for]",
    ),
]
Audio = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="The sound that drives the film: a sound, or a film that has one."),
]
AudioStart = Annotated[
    float | None,
    typer.Option(metavar="S", help="Begin so many seconds into the sound; --seconds says where it ends."),
]
Say = Annotated[str | None, typer.Option(metavar="TEXT", help="Speak this text, and let it drive the film.")]
SpeakerName = Annotated[
    str | None,
    typer.Option(
        "--speaker",
        metavar="NAME|URL",
        help="Who speaks: espeak, or a server that knows /v1/audio/speech (its key: $WAN22_SPEECH_KEY). "
        "[default: espeak]",
    ),
]
Voice = Annotated[str | None, typer.Option(metavar="NAME", help="The speaker's voice.")]
Language = Annotated[str | None, typer.Option(metavar="L", help="The language to speak: en, de, zh, ...")]
VoiceSample = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="A recording of the voice to imitate, for servers that can."),
]
Pose = Annotated[
    str | None, typer.Option(metavar="FILE", help="A film of the body's pose, for a film that sound drives.")
]
Clips = Annotated[
    int | None, typer.Option(metavar="N", help="Make at most N clips of a film that sound drives.")
]
FromImage = Annotated[
    bool,
    typer.Option("--from-image", help="A film that sound drives begins with the image itself."),
]
HoldColour = Annotated[
    float,
    typer.Option(
        metavar="0..1", help="Keep the colours of later clips of a long film to those of the first."
    ),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="Take the few steps, without guidance, of the adapters that the model ships, if it ships some.",
    ),
]
Afresh = Annotated[
    bool,
    typer.Option("--afresh", help="Throw an unfinished long film of that name away instead of going on."),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WxH", help=f"Width x height in pixels. [{own('size')}]"),
]
FrameCount = Annotated[int | None, typer.Option(metavar="N", help=f"Number of frames. [{own('frames')}]")]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="S", help="Length in seconds, instead of --frames."),
]
Fps = Annotated[float | None, typer.Option(metavar="F", help=f"Frames a second. [{own('fps')}]")]
SequenceFps = Annotated[
    float | None,
    typer.Option(
        "--fps", metavar="F", help="Frames a second of a sequence of pictures whose recipe does not tell it."
    ),
]
Negative = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="What to avoid; '' for nothing at all. [default: the model's own; see `wan22 models NAME`]",
    ),
]
Steps = Annotated[int | None, typer.Option(metavar="N", help=f"Denoising steps. [{own('steps')}]")]
SolverName = Annotated[
    str | None,
    typer.Option(
        "--solver",
        metavar="NAME",
        help=f"unipc, dpm++, euler or distilled. [{own('solver')}]",
    ),
]
Shift = Annotated[
    float | None,
    typer.Option(metavar="S", help=f"Where the steps lie: higher, more at high noise. [{own('shift')}]"),
]  # fmt: skip
Guidance = Annotated[
    str | None,
    typer.Option(
        metavar="G|LOW,HIGH",
        help=f"How closely to follow the prompt; two numbers for the low- and high-noise experts. [{own('guidance')}]",
    ),
]
GuidanceRescale = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help=f"Share (0 to 1) of the contrast that guidance adds which is taken back. [{own('guidance_rescale')}]",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="The same seed makes the same film. [default: 0]"),
]
Count = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Make N films, with seeds from --seed on, into out-1.mp4, out-2.mp4, ...",
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="FILE[:STRENGTH][@high|low]",
        help="Add a LoRA, of any common dialect; again for more, or for another strength on the other expert. "
        "A folder with a file for each expert is a pair. [default: strength 1, on the expert that the file says]",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="D", help="cpu, cuda, cuda:1, mps. [default: auto, the fastest here]"),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="T",
        help="float32, bfloat16, float16. [default: auto, fit for the device]",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="PLAN",
        help="Where weights wait for their turn: device, host or disk. [default: auto, from what is free]",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Make the film or picture in FILE again from the recipe inside it; options given here come first. "
        "Says whether the result is bit-identical, and if not, what differs.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help=".mp4, .mov, .webm, .gif, a folder 'shots/' or 'shot-%04d.png'. [default: out/PROMPT-SEED.mp4]",
    ),
]
PictureOutput = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help=".png, .jpg or .webp. [default: out/PROMPT-SEED.png]",
    ),
]
Quality = Annotated[str, typer.Option(metavar="NAME", help="high, good or draft.")]
CodecName = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        help="mp4: h264, hevc, av1; mov: prores, h264, hevc; webm: vp9, av1. [default: the first]",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite/--no-overwrite", help="Replace a file of that name."),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object per event, for machines."),
]


_LORA = re.compile(r"(?P<path>.+?)(?::(?P<strength>[-+]?(?:\d+\.?\d*|\.\d+)))?(?:@(?P<expert>[A-Za-z]+))?")


def parse_lora(text: str) -> tuple[str, float, str | None]:
    """Read "style.safetensors:0.8@high": path, strength (1 if left out), expert (None if left out)."""
    match = _LORA.fullmatch(text)
    if match is None:
        raise OptionError("--lora is empty; give FILE, FILE:0.8 or FILE:0.8@high")
    return match["path"], float(match["strength"] or 1.0), match["expert"]


def parse_loras(texts: list[str] | None) -> tuple[tuple[str, float, str | None], ...]:
    """Read every --lora, as `parse_lora`; none were given: ()."""
    return tuple(parse_lora(text) for text in texts or ())


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read "832x480". Raises SizeError for any other form; whether the size can be made is the engine's to say."""
    if text is None:
        return None
    width, _, height = text.lower().replace("×", "x").partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise SizeError(f"size must be WIDTHxHEIGHT in pixels, such as 832x480, not {text!r}") from None


def parse_guidance(text: str | None) -> float | tuple[float, float] | None:
    """Read "4" or "3,4" (low noise, high noise). Raises OptionError for any other form."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) for number in numbers):
        raise OptionError(f"guidance must be one number, or LOW,HIGH such as 3,4; not {text!r}")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
