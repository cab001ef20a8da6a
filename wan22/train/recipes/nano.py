"""The recipes of the embedded nano model: a real Wan2.2 in small, trained on the procedural film set.

Two experts in time, a causal VAE in Wan2.2's layout, a UMT5 encoder, all in a few million parameters each.
"""

from wan22.arch import VAEArch
from wan22.train.state import Optimiser
from wan22.train.vae import VAERecipe

SIZE = (96, 64)
FRAMES = 17
FPS = 8.0

VAE = VAEArch(
    z=16,
    encoder_width=32,
    decoder_width=48,
    multipliers=(1, 2, 2),
    blocks=1,
    temporal=(True, True),
    patch=2,
    residual=True,
    mean=(0.0,) * 16,  # measured on the training clips when the latents are cached
    std=(1.0,) * 16,
)


def vae() -> VAERecipe:
    """The causal VAE: crops of 9 frames, and 40 % of the steps on the full length."""
    return VAERecipe(
        arch=VAE,
        optimiser=Optimiser(steps=2000, peak=1e-3, warmup=60, average=0.995),
        shapes=((8, 9, 64, 64, 0.6), (4, 17, 64, 80, 0.4)),
    )
