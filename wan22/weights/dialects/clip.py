"""The names of CLIP's image tower: in the official file, which holds the text's tower too, and of transformers.

ComfyUI's `clip_vision_h.safetensors` and Diffusers' `image_encoder/` have transformers' names, with three maps where
the release has one. The last block and what follows it are part of the files, and no network of ours computes them.
"""

from __future__ import annotations

from wan22.weights.dialects.folds import Fold, Joined, Shaped, Transposed
from wan22.weights.dialects.table import Dialect, Identity, Table, with_suffixes

_TOWER = "vision_model."
_LAYER = "encoder.layers.*"
_MODULES = {
    "pre_norm": "pre_layrnorm",  # transformers spells it so
    "transformer.*.norm1": f"{_LAYER}.layer_norm1",
    "transformer.*.norm2": f"{_LAYER}.layer_norm2",
    "transformer.*.attn.to_qkv": f"{_LAYER}.self_attn.qkv_proj",
    "transformer.*.attn.proj": f"{_LAYER}.self_attn.out_proj",
    "transformer.*.mlp.0": f"{_LAYER}.mlp.fc1",
    "transformer.*.mlp.2": f"{_LAYER}.mlp.fc2",
    "post_norm": "post_layernorm",
}
_ALONE = {
    "cls_embedding": "embeddings.class_embedding",
    "pos_embedding": "embeddings.position_embedding.weight",
    "patch_embedding.weight": "embeddings.patch_embedding.weight",
}

_PROJECTION = "visual_projection.transposed"


def _transformers(tower: str) -> Dialect:
    """With the names of the tower behind `tower`."""
    pairs = [*with_suffixes(_MODULES, ".weight", ".bias"), *_ALONE.items()]
    within = tower.replace(".", r"\.")
    return Dialect(
        "diffusers",
        "image",
        Table([*((ours, tower + theirs) for ours, theirs in pairs), ("head", _PROJECTION)]),
        marks=(f"{tower}embeddings.patch_embedding.weight", f"{tower}pre_layrnorm.weight"),
        ignored=frozenset({f"{tower}embeddings.position_ids", "logit_scale"}),
        ignored_starts=("text_model.", "text_projection."),
        fold=Fold(
            (
                Joined(
                    rf"{within}encoder\.layers\.\d+\.self_attn", "qkv_proj", ("q_proj", "k_proj", "v_proj")
                ),
                Shaped(rf"{within}embeddings\.class_embedding", axes=1, lead=2),
                Shaped(rf"{within}embeddings\.position_embedding\.weight", axes=2, lead=1),
                Transposed("visual_projection.weight", _PROJECTION),
            )
        ),
    )


_MARKS = ("cls_embedding", "pos_embedding", "pre_norm.weight")
OFFICIAL = Dialect(
    "official",
    "image",
    Identity(),
    marks=_MARKS,
    prefix="visual.",
    ignored_starts=("textual.", "log_scale"),
)
TRANSFORMERS = _transformers(_TOWER)
IMAGE = (OFFICIAL, Dialect("official", "image", Identity(), marks=_MARKS), TRANSFORMERS, _transformers(""))
