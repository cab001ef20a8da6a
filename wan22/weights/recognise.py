"""Say what a checkpoint is from its tensors alone: part, task, variant, dialect, sizes.

A file's name and folder play no role. The few numbers that tensors do not show (the number of heads, the
latents' statistics, the blocks that read audio) come from what the file says of itself, from the `variant.json` or
`config.json` beside it, or, where every release agrees, from the releases.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from wan22.arch import AnimateArch, CLIPArch, DiTArch, SpeechArch, UMT5Arch, VAEArch
from wan22.catalog import VAE_21, VAE_22
from wan22.catalog import VARIANTS as CATALOGUE
from wan22.errors import CheckpointError
from wan22.files import check_fields, parse_object, reading
from wan22.weights.dialects import DIALECTS, dialects_in, wav2vec2
from wan22.weights.edits.markers import plain_names, refuse_foreign
from wan22.weights.edits.quantised import find_scales
from wan22.weights.native import Native, seen_through
from wan22.weights.reader import Reader
from wan22.weights.relatives import SUPPORTED, is_animate_model, relative
from wan22.weights.released import VARIANTS, structure_hash
from wan22.weights.tensors import ITEM_BYTES

ARCH_KEY = "wan22.arch"
"""Metadata of our own single files: JSON of the Arch's fields. It comes before any other source."""

HISTORY = (1, 2, 16)
"""Latent frames of motion history that every release packs, newest first."""

_HEAD_WIDTH = 128  # of every released DiT
_S2V = CATALOGUE["s2v-14B"].dit
_SPEECH_MARK = "casual_audio_encoder.weights"  # the release spells it so
_CLIP_HEAD = 80  # of the released image tower

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class AudioArch:
    """The sizes of an encoder of audio: fields of transformers' Wav2Vec2Config, by its names.

    The network is transformers' own (`weights/wav2vec2.py`), so this is no Arch of `wan22.arch`.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    conv_dim: tuple[int, ...]
    conv_kernel: tuple[int, ...]
    conv_stride: tuple[int, ...]
    conv_bias: bool
    feat_extract_norm: str
    num_conv_pos_embeddings: int
    num_conv_pos_embedding_groups: int
    do_stable_layer_norm: bool
    vocab_size: int
    layer_norm_eps: float = 1e-5
    hidden_act: str = "gelu"
    feat_extract_activation: str = "gelu"


RELEASED_AUDIO = AudioArch(
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    conv_dim=(512,) * 7,
    conv_kernel=(10, 3, 3, 3, 3, 2, 2),
    conv_stride=(5, 2, 2, 2, 2, 2, 2),
    conv_bias=True,
    feat_extract_norm="layer",
    num_conv_pos_embeddings=128,
    num_conv_pos_embedding_groups=16,
    do_stable_layer_norm=True,
    vocab_size=33,
)
"""wav2vec2-large-xlsr-53-english, which S2V-14B was trained on (spec: speech_to_video, section 3)."""


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is.

    `task` is that of a DiT: "t2v", "i2v", "ti2v", "s2v", "animate", or that of a relative (`weights/relatives.py`)
    such as "vace", which is known but cannot be run: `problem` says so. `variant` names the release that has exactly
    these tensors, such as "t2v-A14B", if one has. `quantised` is "fp8", "int8" or a GGUF kind.
    """

    part: Literal["dit", "vae", "text", "audio", "image"]
    task: str | None
    variant: str | None
    dialect: str
    arch: DiTArch | VAEArch | UMT5Arch | AudioArch | CLIPArch | None
    quantised: str | None
    problem: str | None = None

    def require_supported(self) -> None:
        """Raise CheckpointError if this is a network that is recognised but cannot be run."""
        if self.problem is not None:
            raise CheckpointError(self.problem)


def recognise(reader: Reader, part: str | None = None) -> Identity:
    """Recognise a checkpoint, of an all-in-one file its transformer or the `part` that is named.

    Raises CheckpointError if it is no part of any Wan model.
    """
    return identify(open_native(reader, part))


def parts_of(reader: Reader) -> list[str]:
    """The parts that a file holds; of an all-in-one file "dit", "vae" and "text"."""
    found = {dialect.part for dialect in dialects_in(reader.infos)}
    return [part for part in DIALECTS if part in found]


def open_native(reader: Reader, part: str | None = None) -> Native:
    """See a checkpoint through its own dialect, of an all-in-one file its transformer or the `part` that is named.

    Raises CheckpointError if it is in none.
    """
    dialects = dialects_in(reader.infos)
    wanted = part or next((d.part for d in dialects if d.part == "dit"), None)
    mine = [dialect for dialect in dialects if wanted in (None, dialect.part)]
    if not mine:
        if dialects_in(dict.fromkeys(plain_names(reader))):
            refuse_foreign(reader)
        known = ", ".join(sorted({dialect.name for dialects in DIALECTS.values() for dialect in dialects}))
        raise CheckpointError(
            f"{reader.path} is not recognised as a Wan transformer, VAE, text encoder, or encoder of audio or "
            f"images in any dialect ({known}). It holds {', '.join(list(reader.infos)[:5])}, ..."
        )
    scales = find_scales(reader)
    views = [seen_through(reader, dialect, scales) for dialect in mine]
    return max(views, key=lambda view: len(view.source) - len(view.unknown))


def is_speech_model(view: Native) -> bool:
    """Whether this is a transformer that audio drives."""
    return view.dialect.part == "dit" and _SPEECH_MARK in view.source


def is_animate_dit(view: Native) -> bool:
    """Whether this is a transformer that poses and a face drive."""
    return view.dialect.part == "dit" and is_animate_model(view.source)


def identify(view: Native) -> Identity:
    """Recognise a checkpoint that is already seen through its dialect."""
    shapes, part = view.shapes, view.dialect.part
    known = relative(view) if part == "dit" else None
    if known is not None:
        task, title = known
        said = title if task is None else f"{title} ({task})"
        problem = f"{view.reader.path} is {said}, which is not supported yet. {SUPPORTED}"
        return Identity(
            part,
            task,
            VARIANTS.get(structure_hash(shapes)),
            view.dialect.name,
            None,
            _quantised(view),
            problem,
        )
    what = f"looks like a {part} in the {view.dialect.name} dialect, but is not complete, or damaged"
    with reading(view.reader.path, CheckpointError, what, "Its sizes cannot be told."):
        arch = _ARCH[part](shapes, _Told(view.reader, part))
        check_fields(arch)
    return Identity(
        part=part,
        task=_task(shapes, arch) if isinstance(arch, DiTArch) else None,
        variant=VARIANTS.get(structure_hash(shapes)),
        dialect=view.dialect.name,
        arch=arch,
        quantised=_quantised(view),
    )


class _Told:
    """Numbers that are not in the tensors: asked of the file's metadata, then of what lies beside it."""

    def __init__(self, reader: Reader, part: str) -> None:
        self.path = reader.path
        own = parse_object(
            reader.metadata.get(ARCH_KEY, "{}"), f"{reader.path}: its {ARCH_KEY}", CheckpointError
        )
        row = reader.beside("variant.json").get("image_encoder" if part == "image" else part)
        self._sources = (own, row if isinstance(row, dict) else {}, reader.beside("config.json"))

    def get(self, *names: str) -> Any:
        """The first of these names that is known, or None."""
        for source in self._sources:
            for name in names:
                if source.get(name) is not None:
                    return source[name]
        return None


def _dit(shapes: Shapes, told: _Told) -> DiTArch:
    dim, in_channels = shapes["patch_embedding.weight"][:2]
    heads = told.get("heads", "num_heads", "num_attention_heads")
    if heads is None and dim % _HEAD_WIDTH:
        raise CheckpointError(
            f"{told.path}: the number of heads of a network of width {dim} cannot be told from its tensors. "
            'Put a config.json with "num_heads" beside it.'
        )
    eps, text_len = told.get("eps"), told.get("text_len")
    layers = _count(shapes, r"blocks\.(\d+)\.")
    return DiTArch(
        in_channels=in_channels,
        out_channels=shapes["head.head.weight"][0] // 4,
        dim=dim,
        ffn_dim=shapes["blocks.0.ffn.0.weight"][0],
        heads=dim // _HEAD_WIDTH if heads is None else int(heads),
        layers=layers,
        text_dim=shapes["text_embedding.0.weight"][1],
        text_len=512 if text_len is None else int(text_len),
        freq_dim=shapes["time_embedding.0.weight"][1],
        eps=1e-6 if eps is None else float(eps),
        speech=_speech(shapes, told, layers) if _SPEECH_MARK in shapes else None,
        animate=_animate(shapes, told, layers) if is_animate_model(shapes) else None,
    )


def _animate(shapes: Shapes, told: _Told, layers: int) -> AnimateArch:
    """The sizes that only animation has; a face is read after every block of so many as the adapters say."""
    convs, own = "motion_encoder.enc.net_app.convs", told.get("animate") or {}
    last = _count(shapes, rf"{re.escape(convs)}\.(\d+)\.") - 1
    widths = [
        shapes[f"{convs}.0.0.weight"][0],
        *(shapes[f"{convs}.{i}.skip.1.weight"][0] for i in range(1, last)),
    ]
    direction_dim, motion_dim = shapes["motion_encoder.dec.direction.weight"]
    conv_dim = shapes["face_encoder.conv2.conv.weight"][0]
    taps = _count(shapes, r"face_adapter\.fuser_blocks\.(\d+)\.")
    if not taps or layers % taps:
        raise ValueError(f"it has {taps} face adapters and {layers} blocks")
    return AnimateArch(
        channels=tuple(reversed(widths)),
        style_dim=shapes[f"{convs}.{last}.weight"][0],
        motion_dim=motion_dim,
        direction_dim=direction_dim,
        conv_dim=conv_dim,
        face_groups=shapes["face_encoder.conv1_local.conv.weight"][0] // conv_dim,
        every=layers // taps,
        image_dim=shapes["img_emb.proj.0.weight"][0],
        image_tokens=int(own.get("image_tokens") or CLIPArch().tokens),
        pose_channels=shapes["pose_patch_embedding.weight"][1],
    )


def _speech(shapes: Shapes, told: _Told, layers: int) -> SpeechArch:
    tokens = "casual_audio_encoder.encoder"
    width, audio_dim = shapes[f"{tokens}.conv1_local.conv.weight"][:2]
    history = (told.get("speech") or {}).get("history") or told.get("history") or HISTORY
    return SpeechArch(
        audio_dim=audio_dim,
        audio_states=shapes[_SPEECH_MARK][1],
        audio_tokens=width // shapes[f"{tokens}.conv1_global.conv.weight"][0],
        inject=_inject(shapes, told, layers),
        pose_channels=shapes["cond_encoder.weight"][1],
        history=tuple(history),
    )


def _inject(shapes: Shapes, told: _Told, layers: int) -> tuple[int, ...]:
    """The block after which each injector works, by its number (spec: quirk 57)."""
    count = _count(shapes, r"audio_injector\.injector\.(\d+)\.")
    said = (told.get("speech") or {}).get("inject") or told.get("audio_inject_layers")
    if said is None and _S2V.speech is not None and (count, layers) == (len(_S2V.speech.inject), _S2V.layers):
        return _S2V.speech.inject
    if said is None:
        raise CheckpointError(
            f"{told.path}: the blocks after which its {count} injectors of audio work cannot be told from tensors. "
            f'Put a config.json with "audio_inject_layers": [..] ({count} of the numbers 0 to {layers - 1}) beside it.'
        )
    blocks = tuple(int(block) for block in said)
    if len(set(blocks)) != count or len(blocks) != count or not set(blocks) <= set(range(layers)):
        raise CheckpointError(
            f"{told.path} has {count} injectors of audio and {layers} blocks, and is said to inject after the blocks "
            f"{list(blocks)}. Say {count} different numbers from 0 to {layers - 1} in audio_inject_layers."
        )
    return blocks


def _task(shapes: Shapes, arch: DiTArch) -> str | None:
    if arch.animate is not None:
        return "animate"
    if arch.speech is not None:
        return "s2v"
    if arch.in_channels == arch.out_channels:
        return "ti2v" if arch.in_channels == 48 else "t2v"
    # Four channels of mask and the latents of the image stand beside the noise.
    return "i2v" if arch.in_channels == 2 * arch.out_channels + 4 else None


def _vae(shapes: Shapes, told: _Told) -> VAEArch:
    encoder_width, folded = shapes["encoder.conv1.weight"][:2]
    residual = "encoder.downsamples.0.downsamples.0.residual.2.weight" in shapes
    levels = _nested_levels(shapes) if residual else _flat_levels(shapes)
    multipliers = tuple(level.width // encoder_width for level in levels)
    z = shapes["conv2.weight"][0]
    mean, std = told.get("mean", "latents_mean"), told.get("std", "latents_std")
    if mean is None or std is None:
        known = {arch.z: arch for arch in (VAE_21, VAE_22)}
        if z not in known:
            raise CheckpointError(
                f"{told.path}: the mean and deviation of {z} latent channels are not in a VAE's tensors. "
                'Put a config.json with "latents_mean" and "latents_std" beside it.'
            )
        mean, std = known[z].mean, known[z].std
    return VAEArch(
        z=z,
        encoder_width=encoder_width,
        decoder_width=shapes["decoder.conv1.weight"][0] // multipliers[-1],
        multipliers=multipliers,
        blocks=levels[0].blocks,
        temporal=tuple(level.temporal for level in levels[:-1]),
        patch=math.isqrt(folded // 3),
        residual=residual,
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
    )


@dataclass(frozen=True)
class _Level:
    width: int
    blocks: int
    temporal: bool


def _nested_levels(shapes: Shapes) -> list[_Level]:
    levels = []
    for i in range(_count(shapes, r"encoder\.downsamples\.(\d+)\.")):
        level = f"encoder.downsamples.{i}.downsamples"
        blocks = _count(shapes, rf"{re.escape(level)}\.(\d+)\.residual\.")
        temporal = f"{level}.{blocks}.time_conv.weight" in shapes
        levels.append(_Level(shapes[f"{level}.0.residual.2.weight"][0], blocks, temporal))
    return levels


def _flat_levels(shapes: Shapes) -> list[_Level]:
    levels, width, blocks = [], 0, 0
    for i in range(_count(shapes, r"encoder\.downsamples\.(\d+)\.")):
        layer = f"encoder.downsamples.{i}"
        if f"{layer}.resample.1.weight" in shapes:
            levels.append(_Level(width, blocks, f"{layer}.time_conv.weight" in shapes))
            blocks = 0
        else:
            width, blocks = shapes[f"{layer}.residual.2.weight"][0], blocks + 1
    return [*levels, _Level(width, blocks, False)]


def _text(shapes: Shapes, told: _Told) -> UMT5Arch:
    layers = _count(shapes, r"blocks\.(\d+)\.")
    if layers > 1 and f"blocks.{layers - 1}.pos_embedding.embedding.weight" not in shapes:
        raise CheckpointError(
            f"{told.path} is a T5 encoder, of another family of models: only its first block has a position bias. "
            "Wan's text encoder is a UMT5 (umt5_xxl, models_t5_umt5-xxl-enc-bf16)."
        )
    vocab, dim = shapes["token_embedding.weight"]
    buckets, heads = shapes["blocks.0.pos_embedding.embedding.weight"]
    return UMT5Arch(
        vocab=vocab,
        dim=dim,
        dim_attn=shapes["blocks.0.attn.q.weight"][0],
        ffn_dim=shapes["blocks.0.ffn.fc1.weight"][0],
        heads=heads,
        layers=layers,
        buckets=buckets,
        max_distance=told.get("max_distance", "relative_attention_max_distance") or 128,
    )


def _image(shapes: Shapes, told: _Told) -> CLIPArch:
    dim, _, patch, _ = shapes["patch_embedding.weight"]
    heads, eps = told.get("heads", "num_attention_heads"), told.get("eps", "layer_norm_eps")
    if heads is None and dim % _CLIP_HEAD:
        raise CheckpointError(
            f"{told.path}: the number of heads of an image encoder of width {dim} cannot be told from its tensors. "
            'Put a config.json with "num_attention_heads" beside it.'
        )
    return CLIPArch(
        dim=dim,
        ffn_dim=shapes["transformer.0.mlp.0.weight"][0],
        heads=dim // _CLIP_HEAD if heads is None else int(heads),
        # A file may leave away the last block, which nobody computes: what it says of itself counts.
        layers=int(told.get("layers", "num_hidden_layers") or _count(shapes, r"transformer\.(\d+)\.")),
        image_size=math.isqrt(shapes["pos_embedding"][1] - 1) * patch,
        patch=patch,
        eps=1e-5 if eps is None else float(eps),
    )


def _audio(shapes: Shapes, told: _Told) -> AudioArch:
    convolutions = range(_count(shapes, r"wav2vec2\.feature_extractor\.conv_layers\.(\d+)\."))
    kernels = [shapes[f"wav2vec2.feature_extractor.conv_layers.{i}.conv.weight"] for i in convolutions]
    hidden, grouped, width = shapes["wav2vec2.encoder.pos_conv_embed.conv.weight_v"]
    vocab = shapes.get("lm_head.weight")
    bias = "wav2vec2.feature_extractor.conv_layers.0.conv.bias" in shapes
    norms = _count(shapes, r"wav2vec2\.feature_extractor\.conv_layers\.(\d+)\.layer_norm\.")
    layers = _count(shapes, r"wav2vec2\.encoder\.layers\.(\d+)\.")
    missing = set(wav2vec2.names(layers, len(kernels), bias=bias, norms=norms)) - shapes.keys()
    if missing:
        raise ValueError(f"it lacks {len(missing)} tensors, such as {min(missing)}")
    shown = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": shapes["wav2vec2.encoder.layers.0.feed_forward.intermediate_dense.weight"][0],
        "conv_dim": tuple(shape[0] for shape in kernels),
        "conv_kernel": tuple(shape[2] for shape in kernels),
        "conv_bias": bias,
        "feat_extract_norm": "layer" if norms > 1 else "group",
        "num_conv_pos_embeddings": width,
        "num_conv_pos_embedding_groups": hidden // grouped,
        "vocab_size": RELEASED_AUDIO.vocab_size if vocab is None else vocab[0],
    }
    said = {name: value for name in _NOT_SHOWN if (value := told.get(name)) is not None}
    if isinstance(said.get("conv_stride"), list):
        said["conv_stride"] = tuple(said["conv_stride"])
    arch = replace(RELEASED_AUDIO, **shown, **said)
    if (
        "num_attention_heads" not in said
        and replace(arch, vocab_size=RELEASED_AUDIO.vocab_size) != RELEASED_AUDIO
    ):
        raise CheckpointError(
            f"{told.path} is a wav2vec2 encoder of other sizes than wav2vec2-large-xlsr-53-english, and its number of "
            "heads cannot be told from its tensors. Put its config.json beside it."
        )
    return arch


_NOT_SHOWN = (
    "num_attention_heads",
    "conv_stride",
    "do_stable_layer_norm",
    "layer_norm_eps",
    "hidden_act",
    "feat_extract_activation",
)
"""Fields of AudioArch that no tensor shows."""

_ARCH = {"dit": _dit, "vae": _vae, "text": _text, "audio": _audio, "image": _image}


def _count(shapes: Shapes, pattern: str) -> int:
    """One more than the highest number in the names that begin like this."""
    found = {int(m[1][:9]) for name in shapes if (m := re.match(pattern, name))}
    if found != set(range(len(found))):  # one name may say "blocks.999999999"
        missing = next(number for number in range(len(found)) if number not in found)
        raise ValueError(f"of its numbered parts, {len(found)}, number {missing} is missing")
    return len(found)


def _quantised(view: Native) -> str | None:
    kinds = Counter(view.reader.infos[source].dtype for source in view.source.values())
    if any(kind.startswith("F8") for kind in kinds):
        return "fp8"
    if "I8" in kinds:
        return "int8"
    packed = [kind for kind, _ in kinds.most_common() if kind not in ITEM_BYTES]
    return packed[0] if packed else None
