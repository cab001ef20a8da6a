"""What Diffusers' WanAnimateTransformer3DModel calls the parameters that the base network has not, and cuts otherwise.

It has keys and values of a face as two maps, biases without axes of length one, and no kernels of the blurs. It counts
the halvings of the appearance network from 0, and has a name for what follows the last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wan22.weights.dialects.folds import Fold, Joined, Made, Piece, Shape, Shaped
from wan22.weights.dialects.table import with_suffixes

_HALVINGS = 12  # more than any appearance network has
_OURS, _THEIRS = "motion_encoder.enc.net_app.convs", "motion_encoder"
_KERNEL = tuple(a * b / 64 for a in (1, 3, 3, 1) for b in (1, 3, 3, 1))

LINEARS = {
    "pose_patch_embedding": "pose_patch_embedding",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "blocks.*.cross_attn.k_img": "blocks.*.attn2.add_k_proj",
    "blocks.*.cross_attn.v_img": "blocks.*.attn2.add_v_proj",
    "face_encoder.conv1_local.conv": "face_encoder.conv1_local",
    "face_encoder.conv2.conv": "face_encoder.conv2",
    "face_encoder.conv3.conv": "face_encoder.conv3",
    "face_encoder.out_proj": "face_encoder.out_proj",
    "face_adapter.fuser_blocks.*.linear1_kv": "face_adapter.*.to_kv",
    "face_adapter.fuser_blocks.*.linear1_q": "face_adapter.*.to_q",
    "face_adapter.fuser_blocks.*.linear2": "face_adapter.*.to_out",
    "motion_encoder.enc.fc.*": "motion_encoder.motion_network.*",
}
NORMS = {
    "blocks.*.cross_attn.norm_k_img": "blocks.*.attn2.norm_added_k",
    "face_adapter.fuser_blocks.*.q_norm": "face_adapter.*.norm_q",
    "face_adapter.fuser_blocks.*.k_norm": "face_adapter.*.norm_k",
}


def _halving(i: int) -> list[tuple[str, str]]:
    ours, theirs = f"{_OURS}.{i + 1}", f"{_THEIRS}.res_blocks.{i}"
    return [
        (f"{ours}.conv1.0.weight", f"{theirs}.conv1.weight"),
        (f"{ours}.conv1.1.bias", f"{theirs}.conv1.act_fn.bias"),
        (f"{ours}.conv2.0.kernel", f"{theirs}.conv2.kernel"),
        (f"{ours}.conv2.1.weight", f"{theirs}.conv2.weight"),
        (f"{ours}.conv2.2.bias", f"{theirs}.conv2.act_fn.bias"),
        (f"{ours}.skip.0.kernel", f"{theirs}.conv_skip.kernel"),
        (f"{ours}.skip.1.weight", f"{theirs}.conv_skip.weight"),
        (f"{_OURS}.{i + 1}.weight", f"{_THEIRS}.conv_out.{i}.weight"),
    ]


PAIRS = [
    *with_suffixes(LINEARS, ".weight", ".bias"),
    *with_suffixes(NORMS, ".weight"),
    ("face_encoder.padding_tokens", "face_encoder.padding_tokens"),
    ("motion_encoder.dec.direction.weight", "motion_encoder.motion_synthesis_weight"),
    (f"{_OURS}.0.0.weight", f"{_THEIRS}.conv_in.weight"),
    (f"{_OURS}.0.1.bias", f"{_THEIRS}.conv_in.act_fn.bias"),
    *(pair for i in range(_HALVINGS) for pair in _halving(i)),
]


class _Kernels:
    """Kernels of the blurs, which are the same everywhere; no file of this dialect has them."""

    def made(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Made]]:
        for name in shapes:
            if match := re.fullmatch(rf"({_THEIRS}\.res_blocks\.\d+\.(?:conv2|conv_skip))\.weight", name):
                yield f"{match[1]}.kernel", Made((), (4, 4), _KERNEL)

    def cut(self, name: str, shape: Shape) -> tuple[Piece, ...] | None:
        del shape
        return () if re.fullmatch(rf"{_THEIRS}\.res_blocks\.\d+\.\w+\.kernel", name) else None


class _Last:
    """The last convolution, whose number here is that of the halvings."""

    def made(self, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Made]]:
        name = f"{_THEIRS}.conv_out.weight"
        if name in shapes:
            found = {
                match[1] for key in shapes if (match := re.match(rf"{_THEIRS}\.res_blocks\.(\d+)\.", key))
            }
            yield f"{_THEIRS}.conv_out.{len(found)}.weight", Made((name,), shapes[name])

    def cut(self, name: str, shape: Shape) -> tuple[Piece, ...] | None:
        found = re.fullmatch(rf"{_THEIRS}\.conv_out\.\d+\.weight", name)
        return None if found is None else (Piece(f"{_THEIRS}.conv_out.weight", shape),)


FOLD = Fold(
    (
        Joined(r"face_adapter\.\d+", "to_kv", ("to_k", "to_v")),
        Shaped(rf"{_THEIRS}\.(?:conv_in|res_blocks\.\d+\.conv[12])\.act_fn\.bias", axes=1, lead=1, trail=2),
        _Kernels(),
        _Last(),
    )
)
