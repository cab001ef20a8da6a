"""What the catalogue says to people: the rows, their defaults in words, what they weigh and need.

It imports no torch: parameters are counted from the sizes of the networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

from wan22.arch import CLIPArch, DiTArch, UMT5Arch
from wan22.catalog import EMBEDDED, NANO, VAE_21, VAE_22, Variant, rows
from wan22.errors import CheckpointError
from wan22.files import HEADER_LIMIT, parse_object, read_json, reading

_VAE_PARAMETERS = {VAE_21: 126_892_531, VAE_22: 704_688_668}  # spec: checkpoints, section 1
_TOKENIZER_BYTES = 25_000_000
_AUDIO_PARAMETERS = 315_472_545  # of the released encoder of audio
_ANIMATE_BYTES = (
    4 * 1_193_014_785 + 1_436_549_120
)  # of CLIP with its text tower, and of the adapter for light


def own(field: str) -> str:
    """Say a default in a help text: the embedded model's value, as an example."""
    row = rows().get(NANO)
    return "default: the model's own" + (f"; {NANO} {defaults_in_words(row)[field]}" if row else "")


def defaults_in_words(row: Variant) -> dict[str, str]:
    """Every default of a model, as the command line's options spell it."""
    d = row.defaults
    low, high = d.guidance
    strength = {"strength": f"{d.strength:g}"} if "video to video" in row.tasks else {}
    return {
        "size": f"{d.size[0]}x{d.size[1]}",
        "frames": _frames(row),
        "fps": f"{d.fps:g}",
        "steps": str(d.steps),
        "solver": d.solver,
        "shift": f"{d.shift:g}",
        "guidance": f"{low:g}" if low == high else f"{low:g},{high:g}",
        "guidance_rescale": f"{d.guidance_rescale:g}",
        "negative": d.negative,
        **strength,
        "seed": "0",
    }


def _frames(row: Variant) -> str:
    if row.animate is not None:
        return "as many as the driving video has"
    return str(row.defaults.frames) if row.speech is None else "as many as the audio lasts"


def dit_parameters(arch: DiTArch) -> int:
    """Count a transformer's parameters (spec: transformer, section 2)."""
    d, f = arch.dim, arch.ffn_dim
    attention = 4 * (d * d + d) + 2 * d
    block = 2 * attention + 2 * d + (d * f + f) + (f * d + d) + 6 * d
    patch, head = 4 * arch.in_channels * d + d, d * 4 * arch.out_channels + 4 * arch.out_channels + 2 * d
    text = (arch.text_dim * d + d) + (d * d + d)
    time = (arch.freq_dim * d + d) + (d * d + d) + (6 * d * d + 6 * d)
    return (
        patch + text + time + arch.layers * block + head + speech_parameters(arch) + animate_parameters(arch)
    )


def speech_parameters(arch: DiTArch) -> int:
    """Count what a transformer has to be driven by audio (spec: speech_to_video, section 2)."""
    speech, d = arch.speech, arch.dim
    if speech is None:
        return 0
    quarter = d // 4
    narrow = 3 * speech.audio_dim * quarter + quarter
    layers = (
        speech.audio_states + (speech.audio_tokens + 1) * narrow + d
    )  # both first convolutions, the learned token
    layers += (3 * quarter * (d // 2) + d // 2) + (3 * (d // 2) * d + d) + (d * d + d)
    tap = 4 * (d * d + d) + 2 * d + (d * 2 * d + 2 * d)
    pose = 4 * speech.pose_channels * d + d
    packer = (4 + 32 + 256) * arch.in_channels * d + 3 * d
    return layers + len(speech.inject) * tap + pose + packer + 3 * d


def animate_parameters(arch: DiTArch) -> int:
    """Count what a transformer has to be driven by a pose and a face (spec: animate, section 1)."""
    told, d = arch.animate, arch.dim
    if told is None:
        return 0
    pose = 4 * told.pose_channels * d + d
    image = 2 * told.image_dim + told.image_dim**2 + told.image_dim + told.image_dim * d + 3 * d
    blocks = arch.layers * (2 * (d * d + d) + d)
    tap = 4 * (d * d + d) + 2 * (d // arch.heads)
    wide = told.conv_dim * told.face_groups
    face = (3 * told.direction_dim + 1) * wide + 2 * (3 * told.conv_dim + 1) * told.conv_dim
    face += told.conv_dim * d + 2 * d
    style, widths = told.style_dim, told.channels[::-1]  # from the largest side on
    looks = 4 * widths[0] + sum(10 * a * b + 9 * a * a + a + b for a, b in pairwise(widths))
    motion = 16 * widths[-1] * style + 4 * (style + 1) * style + (style + 1) * told.motion_dim
    motion += told.direction_dim * told.motion_dim
    return pose + image + blocks + len(told.taps(arch.layers)) * tap + face + looks + motion


def image_parameters(arch: CLIPArch | None) -> int:
    """Count the parameters of an image tower that are used (spec: animate, section 4)."""
    if arch is None:
        return 0
    d = arch.dim
    block = 4 * (d * d + d) + 2 * d * arch.ffn_dim + arch.ffn_dim + d + 4 * d
    return d * (1 + arch.tokens + 3 * arch.patch**2 + 2) + (arch.layers - 1) * block


def text_parameters(arch: UMT5Arch) -> int:
    """Count a text encoder's parameters (spec: text_encoder, section 1)."""
    block = (
        4 * arch.dim * arch.dim_attn + 3 * arch.dim * arch.ffn_dim + arch.buckets * arch.heads + 2 * arch.dim
    )
    return arch.vocab * arch.dim + arch.layers * block + arch.dim


@dataclass(frozen=True)
class Weight:
    """What a model weighs. Counts of parameters; bytes of a download and of memory in bfloat16.

    `together` bytes hold every part at once; `in_turn` hold the largest part and the VAE, the others waiting elsewhere.
    Both leave room for the activations of the model's default size.
    """

    parameters: int
    download: int
    together: int
    in_turn: int


def weigh(row: Variant, folder: Path = EMBEDDED) -> Weight:
    """Estimate what a row needs. The download is the official release: float32 networks, bfloat16 text encoder, and
    a bfloat16 transformer if audio or a video drives it.

    A VAE and an encoder of audio that are no release's are counted from the files in `folder`.
    """
    dit, text = dit_parameters(row.dit), text_parameters(row.text)
    dits = dit * len(row.experts)
    audio = _AUDIO_PARAMETERS if row.speech is not None and row.speech.audio is not None else 0
    image = image_parameters(row.image_encoder)
    vae = _VAE_PARAMETERS.get(row.vae) or max(_stored_parameters(folder) - dits - text - audio - image, 0)
    width, height = row.defaults.size
    side, stride = row.grid
    tokens = (width // side) * (height // side) * ((row.defaults.frames - 1) // stride + 1)
    working = tokens * (8 * row.dit.dim + 2 * row.dit.ffn_dim) * 2 + 4 * vae
    return Weight(
        parameters=dits + text + vae + audio + image,
        download=(2 if row.by_clips else 4) * dits
        + 4 * (vae + audio)
        + 2 * text
        + _TOKENIZER_BYTES
        + (_ANIMATE_BYTES if row.animate is not None else 0),
        together=2 * (dits + text + image) + 4 * audio + working,
        in_turn=2 * max(dit, text) + working,
    )


def _stored_parameters(folder: Path) -> int:
    """Count the numbers in a folder's safetensors, and in those that it shares with another model, from their headers
    (8 bytes of length, then JSON).
    """
    own = folder / "variant.json"
    said = read_json(own, CheckpointError) if own.is_file() else {}
    with reading(own, CheckpointError, "does not describe a model"):
        shared, adapters = said.get("parts") or {}, ((said.get("fast") or {}).get("loras") or {}).values()
        files = [file for file in folder.glob("**/*.safetensors") if file.name not in adapters]
        files += [folder / path for path in shared.values()]
    return sum(_stored(file) for file in files if file.suffix == ".safetensors" and file.is_file())


def _stored(file: Path) -> int:
    """Count the numbers in a safetensors file."""
    with reading(file, CheckpointError, "is no safetensors file"), file.open("rb") as stream:
        header = parse_object(
            stream.read(min(int.from_bytes(stream.read(8), "little"), HEADER_LIMIT)), file, CheckpointError
        )
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def count(number: int) -> str:
    """Write a number of parameters for people: 14.3 B, 2.6 M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def gigabytes(number: float) -> str:
    """Write a number of bytes for people: 57.2 GB, 12 MB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"
