"""The official releases' names, which are the parameter names of our modules."""

from wan22.weights.dialects.table import Dialect, Identity

DIT = Dialect("official", "dit", Identity(), marks=("patch_embedding.weight", "head.head.weight"))
VAE_2_1 = Dialect("official", "vae", Identity(), marks=("encoder.downsamples.0.residual.2.weight",))
VAE_2_2 = Dialect(
    "official", "vae", Identity(), marks=("encoder.downsamples.0.downsamples.0.residual.2.weight",)
)
TEXT = Dialect("official", "text", Identity(), marks=("token_embedding.weight",))
