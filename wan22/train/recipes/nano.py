"""The recipes of the embedded nano model: a real Wan2.2 in small, trained on the procedural film set.

    python -m wan22.train nano            everything, in resumable pieces (see wan22/train/nano.py)

Two experts in time, a causal VAE in Wan2.2's layout, a UMT5 encoder, each of a few million parameters. One network
does text to video and image to video, told of pictures as TI2V-5B is: by latent frames that are known.
"""

from dataclasses import dataclass, replace

from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.catalog import NANO, Defaults, Trained, Variant
from wan22.train.flow import FlowRecipe
from wan22.train.state import Optimiser
from wan22.train.vae import VAERecipe

FRAMES = 17
FPS = 8.0
BOUNDARY = 0.875
SHIFT = 5.0
SEED = 22


@dataclass(frozen=True)
class Films:
    """A set of clips: how many, of what size, drawn with which seed, for what share of the batches."""

    width: int
    height: int
    count: int
    seed: int
    share: float


FILMS = (
    Films(96, 64, count=7000, seed=3, share=0.8),
    Films(80, 80, count=900, seed=4, share=0.1),
    Films(64, 96, count=900, seed=5, share=0.1),
)

VAE = VAEArch(
    z=16,
    encoder_width=32,
    decoder_width=48,
    multipliers=(1, 2, 2),
    blocks=1,
    temporal=(True, True),
    patch=2,
    residual=True,
    mean=(0.0,) * 16,  # measured on the training films once the encoder is final
    std=(1.0,) * 16,
)

TEXT_LEN = 64


def text(vocab: int) -> UMT5Arch:
    """The text encoder; the vocabulary is that of the captions."""
    return UMT5Arch(vocab=vocab, dim=192, dim_attn=192, ffn_dim=384, heads=4, layers=2)


DIT = DiTArch(
    in_channels=16,
    out_channels=16,
    dim=256,
    ffn_dim=768,
    heads=4,
    layers=6,
    text_dim=192,
    text_len=TEXT_LEN,
    freq_dim=256,
)


def vae() -> VAERecipe:
    """The causal VAE: crops of 9 frames, and 40 % of the steps on the full length."""
    return VAERecipe(
        arch=VAE,
        optimiser=Optimiser(steps=1150, peak=1.5e-3, warmup=40, average=0.995),
        shapes=((8, 9, 64, 64, 0.6), (4, 17, 64, 80, 0.4)),
        seed=SEED,
    )


def both(vocab: int) -> FlowRecipe:
    """One network over all noise levels, and the text encoder with it: what the two experts start from."""
    return FlowRecipe(
        dit=DIT,
        text=text(vocab),
        optimiser=Optimiser(steps=750, peak=2e-3, warmup=100, average=0.998, floor=0.8),
        batch=32,
        shift=SHIFT,
        seed=SEED,
    )


def high(vocab: int) -> FlowRecipe:
    """The high-noise expert: layout, and with it direction and action. It goes on teaching the text encoder, since
    it is at high noise that words matter.
    """
    return replace(
        both(vocab),
        optimiser=Optimiser(steps=6200, peak=1.5e-3, warmup=50, average=0.998),
        batch=16,
        noise=(BOUNDARY, 1.0),
        seed=SEED + 1,
    )


def more(vocab: int) -> FlowRecipe:
    """The high-noise expert once more, from its moving average: motion is what it learns last."""
    return replace(
        high(vocab), optimiser=Optimiser(steps=950, peak=1e-3, warmup=30, average=0.995), seed=SEED + 3
    )


def low(vocab: int) -> FlowRecipe:
    """The low-noise expert: it refines, and reads through the text encoder of the other."""
    return replace(
        both(vocab),
        optimiser=Optimiser(steps=5400, peak=1.5e-3, warmup=50, average=0.998),
        batch=16,
        noise=(0.0, BOUNDARY),
        shift=3.0,
        train_text=False,
        seed=SEED + 2,
    )


def variant(vae: VAEArch, vocab: int) -> Variant:
    """The catalogue's row of the trained model."""
    return Variant(
        name=NANO,
        title="the embedded model: Wan2.2 in small, trained on wan22's own film set",
        dit=DIT,
        vae=vae,
        text=text(vocab),
        experts=("high", "low"),
        boundary=BOUNDARY,
        image="known",
        image_required=False,
        defaults=Defaults(
            (96 * 4, 64 * 4), FRAMES, FPS, steps=20, shift=SHIFT, guidance=(4.0, 8.0), negative=""
        ),
        trained=Trained(tuple((f.width, f.height) for f in FILMS), (1, FRAMES), only=True),
        hub=None,
    )
