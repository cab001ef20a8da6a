"""The names of Diffusers' WanTransformer3DModel and AutoencoderKLWan, and of transformers' UMT5EncoderModel.

All but those of animate.py are pure renames: shapes and values are the same. Diffusers numbers norms in the order of
the call, hence norm3 here is norm2 there. Its VAE folds levels of both kinds into "blocks", so 2.1 and 2.2 need a
table each.

No release of Diffusers has speech to video; those names are of its open pull request 12258 (WanS2VTransformer3DModel).
"""

from wan22.weights.dialects import animate
from wan22.weights.dialects.table import Dialect, Table, with_suffixes

_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0"}

_DIT_LINEARS = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "blocks.*.norm3": "blocks.*.norm2",
    "blocks.*.ffn.0": "blocks.*.ffn.net.0.proj",
    "blocks.*.ffn.2": "blocks.*.ffn.net.2",
    **{f"blocks.*.self_attn.{a}": f"blocks.*.attn1.{b}" for a, b in _ATTENTION.items()},
    **{f"blocks.*.cross_attn.{a}": f"blocks.*.attn2.{b}" for a, b in _ATTENTION.items()},
}
_DIT_NORMS = {
    f"blocks.*.{ours}.{norm}": f"blocks.*.{theirs}.{norm}"
    for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2"))
    for norm in ("norm_q", "norm_k")
}
_AUDIO, _AUDIO_THERE = "casual_audio_encoder", "condition_embedder.causal_audio_encoder"
_DIT_LINEARS |= {
    "cond_encoder": "condition_embedder.pose_embedder",
    **{f"frame_packer.{proj}": f"frame_packer.{proj}" for proj in ("proj", "proj_2x", "proj_4x")},
    f"{_AUDIO}.encoder.final_linear": f"{_AUDIO_THERE}.encoder.final_linear",
    # There the later convolutions stand in a layer with their norm, hence one level deeper.
    **{
        f"{_AUDIO}.encoder.{conv}.conv": f"{_AUDIO_THERE}.encoder.{conv}.{deeper}conv"
        for conv, deeper in (
            ("conv1_local", ""),
            ("conv1_global", ""),
            ("conv2", "conv."),
            ("conv3", "conv."),
        )
    },
    **{f"audio_injector.injector.*.{a}": f"audio_injector.injector.*.{b}" for a, b in _ATTENTION.items()},
    "audio_injector.injector_adain_layers.*.linear": "audio_injector.injector_adain_layers.*.linear",
}
_DIT_NORMS |= {
    f"audio_injector.injector.*.{n}": f"audio_injector.injector.*.{n}" for n in ("norm_q", "norm_k")
}
_DIT = Table(
    [
        *with_suffixes(_DIT_LINEARS, ".weight", ".bias"),
        *with_suffixes(_DIT_NORMS, ".weight"),
        (f"{_AUDIO}.weights", f"{_AUDIO_THERE}.weighted_avg.weights"),
        (f"{_AUDIO}.encoder.padding_tokens", f"{_AUDIO_THERE}.encoder.padding_tokens"),
        ("trainable_cond_mask.weight", "trainable_condition_mask.weight"),
        ("blocks.*.modulation", "blocks.*.scale_shift_table"),
        ("head.modulation", "scale_shift_table"),
        *animate.PAIRS,
    ]
)
DIT = Dialect(
    "diffusers",
    "dit",
    _DIT,
    marks=("condition_embedder.time_proj.weight", "proj_out.weight"),
    fold=animate.FOLD,
)

_LEVELS = 8  # more than any VAE has


def _residual(ours: str, theirs: str) -> list[tuple[str, str]]:
    convolutions = {"residual.2": "conv1", "residual.6": "conv2", "shortcut": "conv_shortcut"}
    norms = {"residual.0": "norm1", "residual.3": "norm2"}
    return [
        *with_suffixes({f"{ours}.{a}": f"{theirs}.{b}" for a, b in convolutions.items()}, ".weight", ".bias"),
        *with_suffixes({f"{ours}.{a}": f"{theirs}.{b}" for a, b in norms.items()}, ".gamma"),
    ]


def _resample(ours: str, theirs: str) -> list[tuple[str, str]]:
    names = ("resample.1", "time_conv")
    return with_suffixes({f"{ours}.{name}": f"{theirs}.{name}" for name in names}, ".weight", ".bias")


def _half(half: str) -> list[tuple[str, str]]:
    """What the encoder and the decoder of both VAEs have at their ends and in the middle."""
    attention = f"{half}.middle.1", f"{half}.mid_block.attentions.0"
    return [
        *with_suffixes(
            {
                f"{half}.conv1": f"{half}.conv_in",
                f"{half}.head.2": f"{half}.conv_out",
                f"{attention[0]}.to_qkv": f"{attention[1]}.to_qkv",
                f"{attention[0]}.proj": f"{attention[1]}.proj",
            },
            ".weight",
            ".bias",
        ),
        (f"{half}.head.0.gamma", f"{half}.norm_out.gamma"),
        (f"{attention[0]}.norm.gamma", f"{attention[1]}.norm.gamma"),
        *_residual(f"{half}.middle.0", f"{half}.mid_block.resnets.0"),
        *_residual(f"{half}.middle.2", f"{half}.mid_block.resnets.1"),
    ]


_ENDS = [
    *with_suffixes({"conv1": "quant_conv", "conv2": "post_quant_conv"}, ".weight", ".bias"),
    *_half("encoder"),
    *_half("decoder"),
]


def _flat_levels(blocks: int) -> list[tuple[str, str]]:
    """Wan2.1: one flat list of layers here; there the encoder's is flat too, and the decoder has levels."""
    pairs = [
        *_residual("encoder.downsamples.*", "encoder.down_blocks.*"),
        *_resample("encoder.downsamples.*", "encoder.down_blocks.*"),
    ]
    for level in range(_LEVELS):
        first = level * (blocks + 2)  # a level of the decoder: one block more, and the upsampling
        theirs = f"decoder.up_blocks.{level}"
        for i in range(blocks + 1):
            pairs += _residual(f"decoder.upsamples.{first + i}", f"{theirs}.resnets.{i}")
        pairs += _resample(f"decoder.upsamples.{first + blocks + 1}", f"{theirs}.upsamplers.0")
    return pairs


def _nested_levels(blocks: int) -> list[tuple[str, str]]:
    """Wan2.2: levels of layers; the resampling is the last layer here and has a name of its own there."""
    pairs = []
    for level in range(_LEVELS):
        for ours, theirs, count, resampler in (
            (
                f"encoder.downsamples.{level}.downsamples",
                f"encoder.down_blocks.{level}",
                blocks,
                "downsampler",
            ),
            (f"decoder.upsamples.{level}.upsamples", f"decoder.up_blocks.{level}", blocks + 1, "upsampler"),
        ):
            for layer in range(count):
                pairs += _residual(f"{ours}.{layer}", f"{theirs}.resnets.{layer}")
            pairs += _resample(f"{ours}.{count}", f"{theirs}.{resampler}")
    return pairs


def _vae(blocks: int, *, nested: bool) -> Dialect:
    """The names of a VAE with so many residual blocks a level: where the resampling stands depends on it."""
    levels = _nested_levels(blocks) if nested else _flat_levels(blocks)
    first = "encoder.down_blocks.0.resnets.0.conv1.weight" if nested else "encoder.down_blocks.0.conv1.weight"
    return Dialect("diffusers", "vae", Table([*_ENDS, *levels]), marks=("quant_conv.weight", first))


# The released VAEs have two blocks a level; small ones have one. Fewer come first: a table for more blocks
# knows the names of fewer as well, but means others by them.
VAE_2_1 = tuple(_vae(blocks, nested=False) for blocks in (1, 2, 3))
VAE_2_2 = tuple(_vae(blocks, nested=True) for blocks in (1, 2, 3))

_ATTENTION_LAYER = "encoder.block.*.layer.0"
_FEED_FORWARD_LAYER = "encoder.block.*.layer.1"
_TEXT = Table(
    with_suffixes(
        {
            "token_embedding": "shared",
            "norm": "encoder.final_layer_norm",
            "blocks.*.norm1": f"{_ATTENTION_LAYER}.layer_norm",
            **{f"blocks.*.attn.{p}": f"{_ATTENTION_LAYER}.SelfAttention.{p}" for p in "qkvo"},
            "blocks.*.pos_embedding.embedding": f"{_ATTENTION_LAYER}.SelfAttention.relative_attention_bias",
            "blocks.*.norm2": f"{_FEED_FORWARD_LAYER}.layer_norm",
            "blocks.*.ffn.gate.0": f"{_FEED_FORWARD_LAYER}.DenseReluDense.wi_0",
            "blocks.*.ffn.fc1": f"{_FEED_FORWARD_LAYER}.DenseReluDense.wi_1",
            "blocks.*.ffn.fc2": f"{_FEED_FORWARD_LAYER}.DenseReluDense.wo",
        },
        ".weight",
    )
)
TEXT = Dialect(
    "diffusers",
    "text",
    _TEXT,
    marks=("shared.weight",),
    # Tied, so the same tensor again; and a number of CLIP's that ComfyUI saves with every text encoder.
    ignored=frozenset({"encoder.embed_tokens.weight", "logit_scale"}),
)
