"""Other members of the Wan family: known by tensors that ours have not, in any dialect, and never mistaken for ours.

It sees names and shapes. What is here cannot be run; who asks is told what the file is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from wan22.weights.dialects import animate, diffusers
from wan22.weights.native import Native

SUPPORTED = "Supported are t2v, i2v, ti2v, s2v and animate: `wan22 models` lists them."

_MARKS: tuple[tuple[str, str, str], ...] = (
    ("vace", "a VACE network (control and editing)", r"vace_(blocks|patch_embedding)\."),
    (
        "animate-2",
        "a Wan-Animate-2 network (animation by the driving video itself)",
        r"^blocks\.\d+\.block\.",
    ),
    (
        "animate",
        "a part of a character animation network (Wan2.2-Animate)",
        r"(face_adapter|pose_patch_embedding|face_encoder)\.",
    ),
    ("fun-camera", "a Fun-Camera network (a camera's path as condition)", r"control_adapter\."),
    ("fun-control", "a Fun-Control network (a control video as condition)", r"ref_conv\."),
    (
        "humo",
        "a HuMo network (people driven by speech)",
        r"audio_proj\.audio_proj_glob|audio_cross_attn_wrapper\.",
    ),
    (
        "multitalk",
        "a MultiTalk or InfiniteTalk network (several speakers)",
        r"audio_proj\.proj\d|\.audio_cross_attn\.",
    ),
    ("fantasytalking", "a FantasyTalking network", r"^proj_model\.|cross_attn\.processor\."),
    ("omniavatar", "an OmniAvatar network", r"^audio_(pack|cond_projs|emb)\."),
    (
        "recammaster",
        "a ReCamMaster network (a video along another camera's path)",
        r"\.(cam_encoder|projector)\.",
    ),
    ("lynx", "a Lynx network (the identity of a face)", r"\.(ref_adapter|ip_adapter)\."),
    ("scail", "a SCAIL network (animation from poses)", r"^patch_embedding_(pose|mask)\."),
    ("wandancer", "a WanDancer network (dance from music)", r"^(music_\w+|patch_embedding_global)\."),
    ("unianimate", "a UniAnimate network", r"^(dwpose_embedding|randomref_embedding_pose)\."),
    ("mtvcrafter", "an MTV-Crafter network", r"\.motion_attn\."),
    ("stand-in", "a Stand-In network", r"\.[qkv]_loras\."),
    ("ovi", "an Ovi network (video with audio)", r"^(audio_model|video_model)\.|_fusion\."),
    ("skyreels", "a SkyReels-V2 network of diffusion forcing", r"(fps_embedding|fps_projection)\."),
    (
        "fastwan-vsa",
        "a FastWan network of sparse attention (take its FullAttn release)",
        r"\.to_gate_compress\.",
    ),
    ("turbowan", "a TurboWan network of sparse linear attention", r"\.proj_l\."),
    ("flf2v", "Wan2.1's first and last frame to video", r"^img_emb\.emb_pos|image_embedder\.pos_embed"),
    (
        "i2v-2.1",
        "Wan2.1's image to video",
        r"^img_emb\.|\.image_embedder\.|\.k_img\.|\.v_img\.|\.add_[kv]_proj\.",
    ),
)
"""Task, what it is, and names (inside a dialect's prefix) that only it has. The more particular stand first."""

_NUMBER = re.compile(r"\.\d+\.")
_ANIMATE_MARKS = {
    "pose_patch_embedding.weight",
    "motion_encoder.dec.direction.weight",
    "face_encoder.conv1_local.conv.weight",
    "face_adapter.fuser_blocks.0.linear1_q.weight",
    "blocks.0.cross_attn.k_img.weight",
}
_ANIMATE_HERE, _ANIMATE_THERE = (set(names) for names in zip(*animate.PAIRS, strict=True))
"""Names that are ours in a network of animation only, in the official naming and in Diffusers'."""

_CLASSES = {
    "WanVACETransformer3DModel": "a VACE network (control and editing)",
    "VaceWanModel": "a VACE network (control and editing)",
    "SkyReelsV2Transformer3DModel": "a SkyReels-V2 network",
    "ChronoEditTransformer3DModel": "a ChronoEdit network (an edit of an image as a video)",
    "CausalWanModel": "a causal network, which makes a video frame by frame",
    "CausalWanTransformer3DModel": "a causal network, which makes a video frame by frame",
}
"""Classes in a config.json whose networks have the tensors of ours and work otherwise."""

_NAMED = {r"krea.{0,6}realtime": "a Krea-realtime network, which makes a video frame by frame (causal)"}
"""File names of relatives that have the tensors of ours and work otherwise."""

_CHANNELS = {
    (20, 16): ("scail", "a SCAIL network (animation from poses)"),
    (32, 16): ("fun-camera", "a camera or control network"),
    (33, 16): ("omniavatar", "an OmniAvatar network"),
    (48, 16): ("fun-control", "a Fun-Control network (a control video as condition)"),
    (52, 16): ("fun-control", "a Fun-Control network (a control video as condition)"),
    (100, 48): ("fun-inp", "a Fun-InP network of 5B (a masked video as condition)"),
    (148, 48): ("fun-control", "a Fun-Control network of 5B (a control video as condition)"),
}
"""Channels in and out of relatives whose names are ours."""


def relative(view: Native) -> tuple[str | None, str] | None:
    """The task (None: not known) and the name of a transformer that is not one of ours; None if it is."""
    foreign = foreign_names(view)
    channels = _channels(view)
    for task, title, mark in _MARKS:
        if any(re.search(mark, name) for name in foreign):
            if task == "i2v-2.1" and channels is not None and channels[0] in (32, 48):
                return _CHANNELS[channels]
            return task, title
    if foreign:
        return None, (
            f"a Wan transformer with {len(foreign)} tensors that no network of Wan2.2 has, such as {foreign[0]}"
        )
    said = str(view.reader.beside("config.json").get("_class_name"))
    if said in _CLASSES:
        return None, _CLASSES[said]
    for pattern, title in _NAMED.items():
        if re.search(pattern, view.reader.path.stem, re.IGNORECASE):
            return None, f"by its file's name {title}"
    return None if channels is None or channels not in _CHANNELS else _CHANNELS[channels]


def foreign_names(view: Native) -> list[str]:
    """The tensors of a transformer that are no parameter of ours, nor stored beside one (a scale, say)."""
    theirs = view.dialect.table is diffusers.DIT.table
    known = diffusers.DIT.table.ours if theirs else diffusers.DIT.table.theirs
    of_animate = set() if is_animate_model(view.source) else _ANIMATE_THERE if theirs else _ANIMATE_HERE
    names = (name.removeprefix(view.dialect.prefix) for name in (*view.source.values(), *view.unknown))
    return [
        name
        for name in names
        if {name, _NUMBER.sub(".*.", name)} & of_animate or not any(known(near) for near in _near(name))
    ]


def is_animate_model(names: Iterable[str]) -> bool:
    """Whether a transformer with these official names is one of character animation, whole or not."""
    return _ANIMATE_MARKS <= set(names)


def _near(name: str) -> Iterable[str]:
    """The name, and the tensor or weight that every beginning of it could be."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        yield (start := ".".join(words[:count]))
        yield f"{start}.weight"


def _channels(view: Native) -> tuple[int, int] | None:
    shapes = view.shapes
    try:
        return shapes["patch_embedding.weight"][1], shapes["head.head.weight"][0] // 4
    except (KeyError, IndexError):
        return None
