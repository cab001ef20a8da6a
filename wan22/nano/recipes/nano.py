"""The recipes of the embedded nano model, second edition: a real Wan2.2 in small, trained on the procedural film set.

    python -m wan22.nano nano            everything, in resumable pieces (see wan22/nano/stages.py)

Two experts in time, a causal VAE in Wan2.2's layout, a UMT5 encoder, each of a few million parameters. One network
does text to video and image to video, told of images as TI2V-5B is: by latent frames that are known. An edition
goes on from the one before: the experts and the decoder begin with the weights that the package ships, the encoder
of the VAE stays as it is.
"""

from dataclasses import dataclass, replace

from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.catalog import NANO, Defaults, Trained, Variant
from wan22.nano.dit import DiTRecipe
from wan22.nano.reward_model import RewardModelRecipe
from wan22.nano.reward_tuning import RewardTuningRecipe
from wan22.nano.state import Optimiser
from wan22.nano.vae import VAERecipe

FRAMES = 17
FPS = 8.0
BOUNDARY = 0.875
SHIFT = 5.0
GUIDANCE, RESCALE = (3.0, 5.0), 0.7
SEED = 23


@dataclass(frozen=True)
class Videos:
    """A set of clips: how many, of what size, drawn with which seed, for what share of the batches."""

    width: int
    height: int
    count: int
    seed: int
    share: float


SMALL = Videos(80, 48, count=5000, seed=30, share=1.0)
"""Small videos show the same world at a third of the cost: what a shot is, is learned on them."""
VIDEOS = (
    Videos(128, 80, count=3600, seed=31, share=0.84),
    Videos(96, 96, count=400, seed=32, share=0.08),
    Videos(80, 128, count=400, seed=33, share=0.08),
)

REWARD_MODEL_VIDEOS = (
    VIDEOS[0],
    Videos(128, 80, count=3000, seed=41, share=0.0),
    Videos(128, 80, count=3200, seed=42, share=0.0),
)
"""What the reward model learns from. It reads better the more it has seen; experts learn no better than it reads."""

REWARD_TUNED_SHARE = 0.5
"""How far the shipped experts go from what they were to what the reward model made of them: all the way they move less
(docs/nano.md). Networks before and after a fine-tuning are mixed as in Wortsman et al. 2022, arXiv:2109.01903.
"""

VAE = VAEArch(
    z=16,
    encoder_width=32,
    decoder_width=48,
    multipliers=(1, 2, 2),
    blocks=1,
    temporal=(True, True),
    patch=2,
    residual=True,
    mean=(0.0,) * 16,  # measured on the first edition's videos, and kept since
    std=(1.0,) * 16,
)

TEXT_LEN = 64
WORDS = 1500
"""Entries of the tokenizer, all four languages together."""
WORD_STEPS = 1500
"""Steps of 64 captions in which the text encoder learns to say their labels."""


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


def decoder(arch: VAEArch) -> VAERecipe:
    """The VAE, its encoder frozen, so that its latents stay what every network knows; the decoder learns the new video
    set, and goes on showing puppets.
    """
    return VAERecipe(
        arch=arch,
        optimiser=Optimiser(steps=950, peak=5e-4, warmup=20, average=0.98),
        shapes=((4, 17, 64, 64, 1.0),),
        freeze=1.0,
        seed=SEED,
    )


def both(vocab: int, steps: int = 600) -> DiTRecipe:
    """One network over all noise levels, from nothing: where the comparison of one and two experts starts."""
    return DiTRecipe(
        dit=DIT,
        text=text(vocab),
        optimiser=Optimiser(steps=steps, peak=2e-3, warmup=50, average=0.99, floor=0.8),
        batch=16,
        shift=SHIFT,
        seed=SEED,
        train_text=False,
    )


def sketch(vocab: int) -> DiTRecipe:
    """The high-noise expert on small videos: layout, and with it direction and action."""
    return DiTRecipe(
        dit=DIT,
        text=text(vocab),
        optimiser=Optimiser(steps=4000, peak=2e-3, warmup=50, average=0.998, floor=0.4),
        batch=32,
        noise=(BOUNDARY, 1.0),
        shift=SHIFT,
        known_shares=(0.7, 0.25, 0.03, 0.02),
        motion_loss_weight=1.0,
        seed=SEED,
        train_text=False,
    )


def high(vocab: int) -> DiTRecipe:
    """The high-noise expert at full size."""
    return DiTRecipe(
        dit=DIT,
        text=text(vocab),
        optimiser=Optimiser(steps=4400, peak=1.3e-3, warmup=30, average=0.997),
        batch=12,
        noise=(BOUNDARY, 1.0),
        shift=SHIFT,
        known_shares=(0.7, 0.25, 0.03, 0.02),
        motion_loss_weight=1.0,
        seed=SEED + 1,
        train_text=False,
    )


def low(vocab: int) -> DiTRecipe:
    """The low-noise expert: it refines."""
    return DiTRecipe(
        dit=DIT,
        text=text(vocab),
        optimiser=Optimiser(steps=5900, peak=1.3e-3, warmup=30, average=0.997),
        batch=12,
        noise=(0.0, BOUNDARY),
        shift=3.0,
        seed=SEED + 2,
        train_text=False,
    )


def high_more(vocab: int) -> DiTRecipe:
    """The high-noise expert goes on."""
    return replace(high(vocab), optimiser=Optimiser(steps=3800, peak=1.1e-3, average=0.998), seed=SEED + 11)


def low_more(vocab: int) -> DiTRecipe:
    """The low-noise expert goes on, with its noise levels spread evenly.

    That gives twice as many samples to levels under 0.2, where the ground gets the texture by which a camera is seen to
    move (docs/nano.md).
    """
    more = Optimiser(steps=6600, peak=1.1e-3, average=0.998)
    return replace(low(vocab), optimiser=more, shift=1.0, seed=SEED + 12)


def reward_model() -> RewardModelRecipe:
    """What reads labels off latents; it begins with the low-noise expert."""
    return RewardModelRecipe(
        dit=DIT,
        optimiser=Optimiser(steps=6100, peak=1e-3, warmup=50, average=0.99),
        batch=16,
        noise=(0.05, 0.65),
        seed=SEED + 20,
    )


def reward_tuning(vocab: int) -> RewardTuningRecipe:
    """Both experts learn what the reward model says of their videos."""
    return RewardTuningRecipe(
        high=high_more(vocab),
        low=low_more(vocab),
        optimiser=Optimiser(steps=500, peak=3e-4, warmup=20, average=0.98, floor=0.3),
        batch=12,
        weight=0.03,  # its gradients pass through guidance, and are two hundred times those of flow matching
        guidance=GUIDANCE,
        rescale=RESCALE,
        shape=(VAE.z, 1 + (FRAMES - 1) // 4, VIDEOS[0].height // 8, VIDEOS[0].width // 8),
        seed=SEED + 21,
    )


def decoder_more(arch: VAEArch) -> VAERecipe:
    """The decoder goes on, with more weight on large errors."""
    more = Optimiser(steps=600, peak=4e-4, warmup=20, average=0.98)
    return replace(decoder(arch), optimiser=more, squares=8.0, seed=SEED + 10)


def decoder_last(arch: VAEArch) -> VAERecipe:
    """The decoder once more, with most of the weight on large errors."""
    last = Optimiser(steps=640, peak=2.5e-4, warmup=20, average=0.98)
    return replace(decoder(arch), optimiser=last, squares=16.0, seed=SEED + 11)


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
            (128 * 4, 80 * 4),
            FRAMES,
            FPS,
            steps=20,
            shift=SHIFT,
            guidance=GUIDANCE,
            negative="",
            guidance_rescale=RESCALE,
            strength=0.9,  # at 0.7 colour and shape of what moves stay
        ),
        trained=Trained(tuple((f.width, f.height) for f in VIDEOS), (1, FRAMES), only=True),
        hub=None,
    )
