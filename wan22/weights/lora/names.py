"""The names in LoRA files. Every key is a prefix, the name of a module, and an ending that says what the tensor is.

    transformer.           blocks.0.attn1.to_q      .lora_A.weight       Diffusers, PEFT
    diffusion_model.       blocks.0.self_attn.q     .lora_A.weight       ComfyUI
    lora_unet_             blocks_0_self_attn_q     .lora_down.weight    kohya, musubi
    diffusion_model.       blocks.0.norm3           .diff_b              LightX2V: full differences beside pairs

Prefix, naming and ending are told apart key by key, because files mix them. Names are looked up whole, never replaced
in pieces: `self_attn`, `k_img` and `ffn_0` hold underscores of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from wan22.weights.dialects import diffusers

_PREFIXES = {
    "base_model.": None,
    "_orig_mod.": None,
    "module.": None,
    "model.": None,
    "unet.": None,
    "diffusion_model.": None,
    "pipe.": None,
    "dit2.": "low",
    "dit.": "high",
    "transformer_2.": "low",
    "transformer_1.": "high",
    "transformer.": "high",
}
"""What stands before a module, in any order and number, and the expert that it means if the file has both."""

_FLAT_PREFIXES = ("lora_unet__", "lora_unet_", "lora_transformer_", "lycoris_")

_ROLES = {
    "down": r"\.lora_A(?:\.\w+)?\.weight|\.lora_A|\.lora_down\.weight|[._]lora\.down\.weight"
    r"|\.lora_linear_layer\.down\.weight",
    "up": r"\.lora_B(?:\.\w+)?\.weight|\.lora_B|\.lora_up\.weight|[._]lora\.up\.weight"
    r"|\.lora_linear_layer\.up\.weight",
    "up_bias": r"\.lora_B(?:\.\w+)?\.bias|\.lora_up\.bias",
    "alpha": r"\.alpha",
    "diff": r"\.diff",
    "diff_b": r"\.diff_b",
    "diff_m": r"\.diff_m",
}
_ENDING = re.compile(
    f"(?P<path>.+?)(?:{'|'.join(f'(?P<{role}>{ending})' for role, ending in _ROLES.items())})"
)

_OTHER_KINDS = {
    "LoHa": re.compile(r".+\.hada_\w+"),
    "LoKr": re.compile(r".+\.lokr_\w+"),
    "DoRA": re.compile(r".+\.(?:dora_scale|lora_magnitude_vector(?:\.\w+)*)"),
    "OFT": re.compile(r".+\.(?:oft_\w+|boft_\w+)(?:\.\w+)*"),
    "LoCon with a Tucker core": re.compile(r".+\.lora_mid\.weight"),
}
"""Adapters that are no plain LoRA, by the endings of their tensors."""

_IMAGE_ONLY = re.compile(
    r"(?:.*[._])?(?:(?:cross_attn|attn2)[._](?:k_img|v_img|norm_k_img|add_k_proj|add_v_proj|norm_added_k)"
    r"|img_emb[._].+|condition_embedder[._]image_embedder[._].+)"
)
"""Modules of Wan2.1's image to video that read CLIP's image, in the official naming, Diffusers' and flat ones. Of
Wan2.2's networks that of animation alone has them, and LoRAs that were made for image to video carry them nonetheless.
"""
_OF_IMAGE = re.compile(r"blocks\.\d+\.cross_attn\.(?:k_img|v_img|norm_k_img)\.\w+|img_emb\..+")


@dataclass(frozen=True)
class Key:
    """One tensor of a file: which parameter of the network it is about (official name; None if the name is not known),
    and in what `role`. `naming` is "official", "diffusers" or "flat"; `expert` is what the prefix means.
    """

    parameter: str | None
    role: str
    naming: str
    prefix: str
    expert: str | None


def read_key(key: str) -> Key | None:
    """Read a key; None if its ending is none of a LoRA's."""
    match = _ENDING.fullmatch(key)
    if match is None:
        return None
    role = str(match.lastgroup)
    prefix, expert, path = _split(match["path"])
    if prefix in _FLAT_PREFIXES:
        path = path.replace(".", "_")  # some write dots behind it, in part
        return Key(_first(_flat(name) for name in _flat_candidates(path, role)), role, "flat", prefix, expert)
    ours = _first(name for name in _candidates(path, role) if _table.theirs(name))
    if ours is not None:
        return Key(ours, role, "official", prefix, expert)
    theirs = _first(_table.ours(name) for name in _candidates(path, role))
    naming = "official" if theirs is None else "diffusers"
    return Key(theirs, role, naming, prefix, expert)


def is_image_only(key: str) -> bool:
    """Whether a LoRA's tensor is of the modules that read CLIP's image (k_img, v_img, norm_k_img, img_emb)."""
    match = _ENDING.fullmatch(key)
    return match is not None and _IMAGE_ONLY.fullmatch(match["path"]) is not None


def reads_image(parameter: str) -> bool:
    """Whether an official parameter is of these modules."""
    return _OF_IMAGE.fullmatch(parameter) is not None


def is_lora(keys: Iterable[str]) -> bool:
    """Whether a file with these keys is an adapter of any kind, rather than a network."""
    return any(other_kind(key) or ((read := read_key(key)) and read.role != "alpha") for key in keys)


def other_kind(key: str) -> str | None:
    """The kind of adapter that a tensor of this name belongs to, if it is no plain LoRA: "LoHa", "DoRA", ..."""
    return _first(kind for kind, pattern in _OTHER_KINDS.items() if pattern.fullmatch(key))


def module_of(parameter: str) -> str:
    """The module that a parameter belongs to: `blocks.0.self_attn.q` of `blocks.0.self_attn.q.weight`."""
    return parameter.rpartition(".")[0]


def module_in_file(key: str) -> str:
    """The name of a key's module as its maker's network has it: without prefixes and the ending."""
    match = _ENDING.fullmatch(key)
    return _split(match["path"])[2] if match else key


def kind_of(parameter: str) -> str:
    """What kind of module a parameter is of, over all blocks: `self_attn.q` of `blocks.7.self_attn.q.weight`."""
    parts = parameter.split(".")
    return ".".join(parts[2:] if parts[0] == "blocks" else parts).removesuffix(".weight")


def flat(name: str) -> str:
    """A name as kohya writes it: `blocks_0_self_attn_q`."""
    return name.replace(".", "_")


def diffusers_name(parameter: str) -> str | None:
    """Diffusers' name of an official parameter."""
    return _table.theirs(parameter)


def is_cut_by_diffusers(theirs: str) -> bool:
    """Whether Diffusers has other tensors in place of the one that its table calls so."""
    (first, *_) = diffusers.DIT.fold.cut(theirs, (2, 1))
    return first.name != theirs


_table = diffusers.DIT.table

_LEAVES = {
    "down": ("weight",),
    "up": ("weight",),
    "alpha": ("weight",),
    "up_bias": ("bias",),
    "diff": ("weight", ""),  # some write the parameter itself: blocks.0.modulation.diff
    "diff_b": ("bias",),
    "diff_m": ("modulation", "scale_shift_table"),
}
"""The parameters of a module that a role can be about; "" is the name itself."""


def _candidates(path: str, role: str) -> list[str]:
    return [f"{path}.{leaf}" if leaf else path for leaf in _LEAVES[role]]


def _flat_candidates(path: str, role: str) -> list[str]:
    return [f"{path}_{leaf}" if leaf else path for leaf in _LEAVES[role]]


def _split(path: str) -> tuple[str, str | None, str]:
    """Prefix, the expert it means, and the rest."""
    for start in _FLAT_PREFIXES:
        if path.startswith(start):
            return start, None, path.removeprefix(start)
    prefix, expert = "", None
    while start := _first(start for start in _PREFIXES if path.startswith(start)):
        prefix, path = prefix + start, path.removeprefix(start)
        expert = _PREFIXES[start] or expert
    return prefix, expert, path


def _flat_table() -> dict[str, str]:
    """Official patterns by their flat names, in the official naming and in Diffusers'."""
    return {flat(theirs): ours for ours, theirs in _table.pairs} | {
        flat(ours): ours for ours, _ in _table.pairs
    }


_FLAT = _flat_table()
_NUMBER = re.compile(r"(?<=_)\d+(?=_)")


def _flat(name: str) -> str | None:
    """The official parameter of a flat name: a block's number is the first one between underscores."""
    if name in _FLAT:
        return _FLAT[name]
    number = _NUMBER.search(name)
    if number is None:
        return None
    found = _FLAT.get(f"{name[: number.start()]}*{name[number.end() :]}")
    return None if found is None else found.replace("*", number[0])


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value), None)
