"""All dialects, by part. To add one: write a file with its table, and put a line here."""

from wan22.weights.dialects import comfy, diffusers, gguf, official, wav2vec2
from wan22.weights.dialects.table import Dialect

# The more particular comes first: the text names of ComfyUI are those of transformers and one more.
DIALECTS: dict[str, tuple[Dialect, ...]] = {
    "dit": (official.DIT, comfy.DIT, comfy.DIT_SHORT, diffusers.DIT),
    "vae": (official.VAE_2_1, official.VAE_2_2, *diffusers.VAE_2_1, *diffusers.VAE_2_2),
    "text": (official.TEXT, comfy.TEXT, diffusers.TEXT, gguf.TEXT),
    "audio": wav2vec2.AUDIO,
}

__all__ = ["DIALECTS", "Dialect"]
