"""The variants: one row of numbers each, and nothing else.

Sources: spec transformer section 1, vae section 1, text_encoder section 1, sampling section 2. Equal parts of rows
are shared by name. This file imports no torch, so that the command line can print it at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from wan22.arch import AnimateArch, CLIPArch, DiTArch, SpeechArch, UMT5Arch, VAEArch
from wan22.errors import CheckpointError, choose
from wan22.files import check_fields, read_json, reading

Size = tuple[int, int]
"""Width, height."""

DEFAULT_NEGATIVE = "，".join(  # the official default; a real prompt to the model, so it stays in its language
    "色调艳丽 过曝 静态 细节模糊不清 字幕 风格 作品 画作 画面 静止 整体发灰 最差质量 低质量 JPEG压缩残留 丑陋的 残缺的 "
    "多余的手指 画得不好的手部 画得不好的脸部 畸形的 毁容的 形态畸形的肢体 手指融合 静止不动的画面 杂乱的背景 三条腿 "
    "背景人很多 倒着走".split()
)

SPEECH_NEGATIVE = "，".join(
    "画面模糊 最差质量 画面模糊 细节模糊不清 情绪激动剧烈 手快速抖动 字幕 丑陋的 残缺的 多余的手指 画得不好的手部 "
    "画得不好的脸部 畸形的 毁容的 形态畸形的肢体 手指融合 静止不动的画面 杂乱的背景 三条腿 背景人很多 倒着走".split()
)


@dataclass(frozen=True)
class Defaults:
    """What a request leaves open. `guidance` is (low noise, high noise), as the official configuration writes it;
    `guidance_rescale` (0..1) how much of the contrast that it adds is taken back. `sigmas` are the noise levels of a
    distilled model, as many as its steps; empty if the shift makes them.
    `schedule` is that of the solver, None its own. `strength` is how far a video to start from
    is taken back towards noise. `prompt` stands in the place of an empty one, if it is not empty itself.
    """

    size: Size
    frames: int
    fps: float
    steps: int
    shift: float
    guidance: tuple[float, float]
    solver: str = "unipc"
    schedule: str | None = None
    negative: str = DEFAULT_NEGATIVE
    guidance_rescale: float = 0.0
    sigmas: tuple[float, ...] = ()
    strength: float = 0.7
    prompt: str = ""


@dataclass(frozen=True)
class Trained:
    """What a model has seen: sizes, frame counts, and whether it should be kept to them.

    `only` models (the small embedded ones) always draw at a trained size and are scaled to what was asked;
    the others draw what was asked, with a word of warning outside.
    """

    sizes: tuple[Size, ...]
    frames: tuple[int, ...]
    only: bool = False


@dataclass(frozen=True)
class Speech:
    """How a model that is driven by audio makes its video, clip by clip (spec: speech_to_video, section 8).

    Every clip has `clip_frames` (a multiple of the VAE's time stride), and is told the last `motion_frames` before
    it. Of the first clip, which has no past, `warmup_frames` frames are dropped. Where a past is longer than
    what was shown, what came before is grey, as in the official release, or the image standing still
    (`static_history`). Sizes are multiples of `side`. An audio file whose deviation is under `silence_rms` is
    taken for a silence's noise and not raised to full loudness. `audio` is the hub id of the encoder of audio,
    if it is not in the model's folder.
    """

    clip_frames: int = 80
    motion_frames: int = 73
    warmup_frames: int = 3
    side: int = 64
    static_history: bool = False
    silence_rms: float = 0.0
    audio: str | None = "jonatasgrosman/wav2vec2-large-xlsr-53-english"


@dataclass(frozen=True)
class Animate:
    """How a model whose person moves as a driving video says makes its video, clip by clip (spec: animate, section 5).

    Every clip has `clip_frames` (a multiple of the VAE's time stride, and one), of which all but the first begin with
    the last frames of the one before: one of the numbers in `carried`, by default the first.
    """

    clip_frames: int = 77
    carried: tuple[int, ...] = (1, 5)


@dataclass(frozen=True)
class Fast:
    """How a model makes videos in a few steps: with adapters that lie in its folder.

    `loras` names a file for each expert that one changes. `sigmas` are the noise levels at which Euler's method asks
    the network, falling from noise (at most 1) and without the 0 at the end. `guidance` is usually 1: the adapters
    have the teacher's guidance in them.
    """

    loras: Mapping[str, str]
    sigmas: tuple[float, ...]
    guidance: float = 1.0

    @property
    def steps(self) -> int:
        """How often the network is asked."""
        return len(self.sigmas)


@dataclass(frozen=True)
class Calibration:
    """What one expert's blocks add to their tokens, measured by `wan22 calibrate`, for step caches.

    `magnitudes` at `timesteps`, which fall; the first is 1. `teacache`: coefficients, the highest power first, of the
    polynomial from the change of the time modulation to that of what the blocks add; empty if none was fitted.
    """

    timesteps: tuple[float, ...]
    magnitudes: tuple[float, ...]
    teacache: tuple[float, ...] = ()


@dataclass(frozen=True)
class Variant:
    """A row of the catalogue.

    `experts` names the networks from high noise to low: ("high", "low") or ("dit",); `boundary` is the timestep
    fraction at and above which the first one works. `image` says how a known image is told to the network:
    "channels" (a mask and latents beside the noisy channels), "known" (its latent frame is given at noise level
    zero and kept), "reference" (latents beside the video, of whom it shows; speech to video), or None (this model
    takes no image). `speech` says how audio drives it, if it does; `animate` how a driving video does, and
    `image_encoder` is the image tower that it is told the image by; `fast` how it is asked in a few steps, if it can.
    `calibration` is that of each expert, if it was measured.
    """

    name: str
    title: str
    dit: DiTArch
    vae: VAEArch
    text: UMT5Arch
    experts: tuple[str, ...]
    boundary: float | None
    image: Literal["channels", "known", "reference"] | None
    image_required: bool
    defaults: Defaults
    trained: Trained
    hub: str | None
    speech: Speech | None = None
    animate: Animate | None = None
    image_encoder: CLIPArch | None = None
    fast: Fast | None = None
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.animate is not None and (self.animate.clip_frames - 1) % self.vae.stride_time:
            raise ValueError(
                f"clips of {self.animate.clip_frames} frames: they need a multiple of {self.vae.stride_time} and 1"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """What this model can be asked for."""
        if self.speech is not None:
            return ("speech to video",)
        if self.animate is not None:
            return ("animate",)
        base = () if self.image_required else ("text to video", "text to image", "video to video")
        return base + (("image to video",) if self.image else ())

    @property
    def by_clips(self) -> bool:
        """Whether what drives its videos comes clip by clip, even of one clip: audio, or a driving video."""
        return self.speech is not None or self.animate is not None

    @property
    def grid(self) -> tuple[int, int]:
        """Pixels a side, and frames, by which sizes grow: 16 or 32, and 4."""
        return self.vae.stride_space * 2, self.vae.stride_time


VAE_21 = VAEArch(
    z=16,
    encoder_width=96,
    decoder_width=96,
    multipliers=(1, 2, 4, 4),
    blocks=2,
    temporal=(False, True, True),
    patch=1,
    residual=False,
    mean=(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
          0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    std=(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
         3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)  # fmt: skip

VAE_22 = VAEArch(
    z=48,
    encoder_width=160,
    decoder_width=256,
    multipliers=(1, 2, 4, 4),
    blocks=2,
    temporal=(False, True, True),
    patch=2,
    residual=True,
    mean=(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
          0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
          -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
          -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
    std=(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
         0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
         0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
         0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
)  # fmt: skip

UMT5_XXL = UMT5Arch(vocab=256384, dim=4096, dim_attn=4096, ffn_dim=10240, heads=64, layers=24)

_S2V = SpeechArch(
    audio_dim=1024, audio_states=25, audio_tokens=4, inject=(0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)
)
_A14B = DiTArch(in_channels=16, out_channels=16, dim=5120, ffn_dim=13824, heads=40, layers=40)
_A14B_TRAINED = Trained(sizes=((1280, 720), (720, 1280), (832, 480), (480, 832)), frames=(81,))

VARIANTS: dict[str, Variant] = {
    row.name: row
    for row in (
        Variant(
            name="t2v-A14B",
            title="Wan2.2 text to video, two 14B experts",
            dit=_A14B,
            vae=VAE_21,
            text=UMT5_XXL,
            experts=("high", "low"),
            boundary=0.875,
            image=None,
            image_required=False,
            defaults=Defaults((1280, 720), 81, 16, steps=40, shift=12.0, guidance=(3.0, 4.0)),
            trained=_A14B_TRAINED,
            hub="Wan-AI/Wan2.2-T2V-A14B",
        ),
        Variant(
            name="i2v-A14B",
            title="Wan2.2 image to video, two 14B experts",
            dit=replace(_A14B, in_channels=36),
            vae=VAE_21,
            text=UMT5_XXL,
            experts=("high", "low"),
            boundary=0.9,
            image="channels",
            image_required=True,
            defaults=Defaults((1280, 720), 81, 16, steps=40, shift=5.0, guidance=(3.5, 3.5)),
            trained=_A14B_TRAINED,
            hub="Wan-AI/Wan2.2-I2V-A14B",
        ),
        Variant(
            name="ti2v-5B",
            title="Wan2.2 text and image to video, one 5B network on a high-compression VAE",
            dit=DiTArch(in_channels=48, out_channels=48, dim=3072, ffn_dim=14336, heads=24, layers=30),
            vae=VAE_22,
            text=UMT5_XXL,
            experts=("dit",),
            boundary=None,
            image="known",
            image_required=False,
            defaults=Defaults((1280, 704), 121, 24, steps=50, shift=5.0, guidance=(5.0, 5.0)),
            trained=Trained(sizes=((1280, 704), (704, 1280)), frames=(121,)),
            hub="Wan-AI/Wan2.2-TI2V-5B",
        ),
        Variant(
            name="s2v-14B",
            title="Wan2.2 speech to video, one 14B network driven by audio",
            dit=replace(_A14B, speech=_S2V),
            vae=VAE_21,
            text=UMT5_XXL,
            experts=("dit",),
            boundary=None,
            image="reference",
            image_required=True,
            defaults=Defaults(
                (1024, 704), 80, 16, steps=40, shift=3.0, guidance=(4.5, 4.5), negative=SPEECH_NEGATIVE
            ),
            trained=Trained(sizes=((1024, 704), (704, 1024), (832, 480), (480, 832)), frames=(80,)),
            hub="Wan-AI/Wan2.2-S2V-14B",
            speech=Speech(),
        ),
        Variant(
            name="animate-14B",
            title="Wan2.2 Animate, one 14B network: a person moves as in a driving video, or is replaced in it",
            dit=replace(_A14B, in_channels=36, animate=AnimateArch()),
            vae=VAE_21,
            text=UMT5_XXL,
            experts=("dit",),
            boundary=None,
            image="reference",
            image_required=True,
            defaults=Defaults(
                (1280, 720), 77, 30, steps=20, shift=5.0, guidance=(1.0, 1.0), prompt="视频中的人在做动作"
            ),
            trained=Trained(sizes=_A14B_TRAINED.sizes, frames=(77,)),
            hub="Wan-AI/Wan2.2-Animate-14B",
            animate=Animate(),
            image_encoder=CLIPArch(),
        ),
        # Wan2.1's generate.py: 50 steps, shift 5, guidance 5 (1.3B: 8 and 6, as its README says).
        Variant(
            name="t2v-2.1-14B",
            title="Wan2.1 text to video, one 14B network",
            dit=_A14B,
            vae=VAE_21,
            text=UMT5_XXL,
            experts=("dit",),
            boundary=None,
            image=None,
            image_required=False,
            defaults=Defaults((1280, 720), 81, 16, steps=50, shift=5.0, guidance=(5.0, 5.0)),
            trained=_A14B_TRAINED,
            hub="Wan-AI/Wan2.1-T2V-14B",
        ),
        Variant(
            name="t2v-2.1-1.3B",
            title="Wan2.1 text to video, one 1.3B network",
            dit=DiTArch(in_channels=16, out_channels=16, dim=1536, ffn_dim=8960, heads=12, layers=30),
            vae=VAE_21,
            text=UMT5_XXL,
            experts=("dit",),
            boundary=None,
            image=None,
            image_required=False,
            defaults=Defaults((832, 480), 81, 16, steps=50, shift=8.0, guidance=(6.0, 6.0)),
            trained=Trained(sizes=((832, 480), (480, 832)), frames=(81,)),
            hub="Wan-AI/Wan2.1-T2V-1.3B",
        ),
    )
}

NANO = "nano"
EMBEDDED = Path(__file__).parent / "assets" / "nano"
"""The folder of the model that this package ships; its row is the `variant.json` in it."""

NANO_SPEECH = "nano-s2v"
EMBEDDED_SPEECH = Path(__file__).parent / "assets" / "nano-s2v"
"""Likewise of the one that audio drives; it draws into the latents of the other's VAE."""

ALIASES = {
    "wan22-nano": NANO,
    "wan2.2-nano": NANO,
    "wan22-nano-s2v": NANO_SPEECH,
    "wan2.2-nano-s2v": NANO_SPEECH,
}


def variant_names() -> list[str]:
    """The known names, the embedded models first."""
    return [NANO, NANO_SPEECH, *VARIANTS]


@cache
def rows() -> dict[str, Variant]:
    """All models by name, the embedded ones first."""
    here = {name: row for name, folder in embedded_folders().items() if (row := _embedded(folder))}
    return here | VARIANTS


def embedded_folders() -> dict[str, Path]:
    """Where the models lie that this package ships."""
    return {NANO: EMBEDDED, NANO_SPEECH: EMBEDDED_SPEECH}


def _embedded(folder: Path) -> Variant | None:
    """The row of an embedded model, or None in a source tree where it is not trained yet."""
    file = folder / "variant.json"
    if not file.is_file():
        return None
    values = read_json(file, CheckpointError)
    values.pop("parts", None)  # where it shares parts with another model
    return from_json(values)


def released(name: str) -> Variant:
    """The row of a released variant, by its short name or hub id; OptionError lists the known ones."""
    for row in VARIANTS.values():
        if name.lower() in (row.name.lower(), (row.hub or "").lower(), f"{row.hub}-diffusers".lower()):
            return row
    choose("model", name, variant_names())
    raise AssertionError("unreachable")


def to_json(row: Variant) -> dict:
    """A row as plain JSON values; the `variant.json` of a folder that our trainer writes."""
    values = asdict(row)
    if row.fast is not None:
        values["fast"]["steps"] = row.fast.steps
    return values


_FORMER_NAMES = {"settle": "warmup_frames", "begins_still": "static_history", "hush": "silence_rms"}
"""What fields of Speech were called in older variant.json files, read for one release."""


def from_json(values: dict) -> Variant:
    """Read back what `to_json` wrote. Raises CheckpointError if it is no such row."""
    with reading("variant.json", CheckpointError, "does not describe a model"):
        values = dict(values)
        for name, kind in (
            ("dit", DiTArch), ("vae", VAEArch), ("text", UMT5Arch), ("defaults", Defaults), ("trained", Trained),
        ):  # fmt: skip
            values[name] = kind(**{k: _tuples(v) for k, v in values[name].items()})
        if values.get("speech") is not None:
            speech = values["speech"].items()
            values["speech"] = Speech(**{_FORMER_NAMES.get(name, name): value for name, value in speech})
        for name, kind in (("animate", Animate), ("image_encoder", CLIPArch)):
            if values.get(name) is not None:
                values[name] = kind(**{k: _tuples(v) for k, v in values[name].items()})
        if values.get("fast") is not None:
            values["fast"] = _fast(values["fast"], values["experts"])
        values["calibration"] = calibration_of(values.get("calibration") or {}, values["experts"])
        row = Variant(**{k: _tuples(v) for k, v in values.items()})
        check_fields(row)
        return row


def _fast(values: dict, experts: Sequence[str]) -> Fast:
    """Read the few steps of a row; steps that are said beside the levels must be as many."""
    values = dict(values)
    sigmas = tuple(float(sigma) for sigma in values.pop("sigmas"))
    said = values.pop("steps", len(sigmas))
    fast = Fast(sigmas=sigmas, **values)
    falling = all(a > b for a, b in zip((*sigmas, 0.0), (*sigmas[1:], 0.0, -1.0), strict=True))
    if said != len(sigmas) or not sigmas or not falling or sigmas[0] > 1:
        raise CheckpointError(
            f"variant.json: the sigmas of fast must fall from at most 1, above 0, as many as its steps ({said}); they "
            f"are {list(sigmas)}"
        )
    if not fast.loras or not fast.loras.keys() <= set(experts):
        raise CheckpointError(
            f"variant.json: the loras of fast are for {', '.join(fast.loras) or 'nothing'}, and this model's experts "
            f"are {', '.join(experts)}"
        )
    return fast


def calibration_of(values: Mapping[str, dict], experts: Sequence[str], where: str = "variant.json") -> dict:
    """Read calibrations by expert; all experts have one, or none has. Raises CheckpointError."""
    with reading(where, CheckpointError, "holds no calibration"):
        found = {
            name: Calibration(**{key: _tuples(value) for key, value in values[name].items()})
            for name in (experts if values else ())
        }
        for name, each in found.items():
            check_fields(each)
            falling = all(a > b for a, b in pairwise(each.timesteps))
            if (
                not falling
                or len(each.timesteps) != len(each.magnitudes)
                or not all(m > 0 for m in each.magnitudes)
            ):
                raise CheckpointError(
                    f"{where}: the calibration of {name} needs timesteps that fall, and as many magnitudes above 0"
                )
    return found


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
