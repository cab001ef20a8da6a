"""ComfyUI's single files: official names for the DiT, behind a prefix or not, and transformers' for the text.

Without the prefix a DiT file is in the official dialect, and so is ComfyUI's VAE. The text encoder may carry
its tokenizer along as the bytes of `spiece_model`. Scaled fp8 is not a matter of names: see `edits/quantised.py`.
"""

from collections.abc import Iterable

from wan22.weights.dialects import diffusers
from wan22.weights.dialects.table import Dialect, Identity

SPIECE = "spiece_model"

DIT = Dialect(
    "comfy",
    "dit",
    Identity(),
    marks=("patch_embedding.weight", "head.head.weight"),
    prefix="model.diffusion_model.",
)
DIT_SHORT = Dialect(
    "comfy",
    "dit",
    Identity(),
    marks=("patch_embedding.weight", "head.head.weight"),
    prefix="diffusion_model.",
)
TEXT = Dialect(
    "comfy",
    "text",
    diffusers.TEXT.table,
    marks=("shared.weight", SPIECE),
    ignored=diffusers.TEXT.ignored | {SPIECE},
)


def spiece_name(names: Iterable[str]) -> str | None:
    """The tensor that holds the tokenizer, behind any prefix; None if there is none."""
    return next((name for name in names if name.rpartition(".")[2] == SPIECE), None)
