"""The names of transformers' Wav2Vec2ForCTC, which encodes audio for S2V: with its prefix or without.

transformers and torch renamed the weight norm of one convolution; the releases have the old names, and everybody
still reads them. The native names are those of the release, and the CTC head stays: this network does not use it,
but other programs want to find it in a file. `*` stands for the number of a layer.
"""

from collections.abc import Iterator

from wan22.weights.dialects.table import Dialect, Table, with_suffixes

_MODEL = "wav2vec2."
_POSITION = "encoder.pos_conv_embed.conv"
_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}

_LINEARS = (
    *(f"attention.{p}_proj" for p in ("k", "v", "q", "out")),
    *(f"feed_forward.{p}_dense" for p in ("intermediate", "output")),
    "layer_norm",
    "final_layer_norm",
)
_ENDS = ("feature_projection.layer_norm", "feature_projection.projection", "encoder.layer_norm")
_CONVOLUTION = "feature_extractor.conv_layers"


def names(layers: int, convolutions: int, *, bias: bool, norms: int) -> Iterator[str]:
    """The native names that a whole encoder of these sizes has; `norms` of its convolutions have a norm."""
    for i in range(convolutions):
        yield f"{_MODEL}{_CONVOLUTION}.{i}.conv.weight"
        if bias:
            yield f"{_MODEL}{_CONVOLUTION}.{i}.conv.bias"
    modules = [f"{_CONVOLUTION}.{i}.layer_norm" for i in range(norms)]
    modules += [*_ENDS, *(f"encoder.layers.{i}.{linear}" for i in range(layers) for linear in _LINEARS)]
    for module in modules:
        yield f"{_MODEL}{module}.weight"
        yield f"{_MODEL}{module}.bias"
    yield from (f"{_MODEL}{_POSITION}.{leaf}" for leaf in ("bias", *_NORM))


def parameter(name: str) -> str | None:
    """The parameter of transformers' Wav2Vec2Model that a native name is; None of the head, and of training's mask."""
    if not name.startswith(_MODEL) or name == f"{_MODEL}masked_spec_embed":
        return None
    module, _, leaf = name.removeprefix(_MODEL).rpartition(".")
    return f"{module}.{_NORM.get(leaf, leaf)}"


def _dialect(name: str, prefix: str, norm: dict[str, str]) -> Dialect:
    modules = (
        *_ENDS,
        *(f"encoder.layers.*.{linear}" for linear in _LINEARS),
        *(f"{_CONVOLUTION}.*.{module}" for module in ("conv", "layer_norm")),
    )
    pairs = with_suffixes({_MODEL + module: prefix + module for module in modules}, ".weight", ".bias")
    pairs += [(f"{_MODEL}{_POSITION}.{old}", f"{prefix}{_POSITION}.{new}") for old, new in norm.items()]
    pairs += [(_MODEL + leaf, prefix + leaf) for leaf in (f"{_POSITION}.bias", "masked_spec_embed")]
    pairs += [(leaf, leaf) for leaf in ("lm_head.weight", "lm_head.bias")]
    marks = tuple(f"{prefix}{_POSITION}.{new}" for new in norm.values())
    return Dialect(name, "audio", Table(pairs), marks=marks)


RELEASED = _dialect("official", _MODEL, {leaf: leaf for leaf in _NORM})
AUDIO = (
    RELEASED,
    _dialect("transformers", _MODEL, _NORM),
    _dialect("transformers", "", {leaf: leaf for leaf in _NORM}),
    _dialect("transformers", "", _NORM),
)
