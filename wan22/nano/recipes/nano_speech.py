"""The recipe of the nano model that speaks: Wan2.2-S2V in small, trained on the film set's puppet.

    python -m wan22.nano nano-speech       everything, in resumable pieces (see wan22/nano/speech_stages.py)

The same parts as the large one: an encoder of audio with all its hidden states, a transformer with taps, a frame packer
and a motion history of 73 frames. It draws into the latents of the nano model's VAE, and ships without one of its own.
"""

from wan22.arch import DiTArch, SpeechArch, UMT5Arch, VAEArch
from wan22.catalog import NANO_SPEECH, Defaults, Speech, Trained, Variant
from wan22.nano.audio_encoder import AudioEncoderRecipe
from wan22.nano.puppets import PuppetVideos
from wan22.nano.speech_dit import SpeechDiTRecipe
from wan22.nano.state import Optimiser
from wan22.nano.vae import VAERecipe

FPS = 16.0
CLIP, PAST = 32, 73
SIZE = 64
SHIFT = 3.0
TEXT_LEN = 48
SEED = 44

VIDEOS = PuppetVideos(count=1344, size=SIZE, past=PAST, clip=CLIP, spare=24, fps=FPS, seed=7)

_LAYERS, _WIDTH = 4, 64


def audio_encoder() -> AudioEncoderRecipe:
    """A wav2vec 2.0 of 4 layers, with the large one's strides; its states are 5."""
    return AudioEncoderRecipe(
        config=dict(
            vocab_size=12,
            hidden_size=_WIDTH,
            num_hidden_layers=_LAYERS,
            num_attention_heads=2,
            intermediate_size=192,
            conv_dim=[48] * 7,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            conv_bias=True,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            layerdrop=0.0,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            apply_spec_augment=False,
        ),
        optimiser=Optimiser(steps=1000, peak=1.5e-3, warmup=60, average=0.99),
        tracks=800,
        seconds=6.0,
        batch=8,
        seed=SEED,
    )


def decoder(arch: VAEArch) -> VAERecipe:
    """The nano model's VAE, its encoder frozen, so that its latents stay what the experts know; the decoder learns to
    show puppets too. Half of what it sees is the film set as before.
    """
    return VAERecipe(
        arch=arch,
        optimiser=Optimiser(steps=500, peak=5e-4, warmup=20, average=0.98),
        shapes=((4, 17, SIZE, SIZE, 1.0),),
        freeze=1.0,
        seed=SEED,
    )


DECODER_CLIPS = 1200
"""Clips of either kind that the decoder learns from."""

DIT = DiTArch(
    in_channels=16,
    out_channels=16,
    dim=192,
    ffn_dim=576,
    heads=3,
    layers=7,
    text_dim=128,
    text_len=TEXT_LEN,
    freq_dim=128,
    speech=SpeechArch(audio_dim=_WIDTH, audio_states=_LAYERS + 1, audio_tokens=4, inject=(1, 3, 5)),
)


def text(vocab: int) -> UMT5Arch:
    """The text encoder; the vocabulary is that of the captions."""
    return UMT5Arch(vocab=vocab, dim=128, dim_attn=128, ffn_dim=256, heads=4, layers=2)


def speech_dit(vocab: int) -> SpeechDiTRecipe:
    """The transformer, and the text encoder with it."""
    return SpeechDiTRecipe(
        dit=DIT,
        text=text(vocab),
        optimiser=Optimiser(steps=4400, peak=2e-3, warmup=100, average=0.998),
        batch=16,
        shift=SHIFT,
        seed=SEED,
    )


def variant(vae: VAEArch, vocab: int) -> Variant:
    """The catalogue's row of the trained model."""
    return Variant(
        name=NANO_SPEECH,
        title="the embedded model that speaks: Wan2.2-S2V in small, trained on wan22's own puppet",
        dit=DIT,
        vae=vae,
        text=text(vocab),
        experts=("dit",),
        boundary=None,
        image="reference",
        image_required=True,
        defaults=Defaults(
            (SIZE * 4, SIZE * 4), CLIP, FPS, steps=10, shift=SHIFT, guidance=(2.0, 2.0), negative=""
        ),
        trained=Trained(((SIZE, SIZE),), (CLIP,), only=True),
        hub=None,
        speech=Speech(
            clip_frames=CLIP,
            motion_frames=PAST,
            warmup_frames=3,
            side=SIZE,
            static_history=True,
            silence_rms=0.01,
            audio=None,
        ),
    )
