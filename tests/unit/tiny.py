"""A whole model in a few kilobytes: random weights in our own layout, for tests of everything above the networks.

folder = write_tiny(tmp_path / "tiny", image="known")
engine = wan22.load(folder, device="cpu")

`write_tiny_speech` writes one that audio drives, with its encoder of audio; `write_tiny_animate` one whose person moves
as in a driving video.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from wan22.arch import AnimateArch, CLIPArch, DiTArch, SpeechArch, UMT5Arch, VAEArch
from wan22.catalog import Animate, Defaults, Speech, Trained, Variant, to_json
from wan22.models.animate import AnimateDiT
from wan22.models.clip import CLIPVision
from wan22.models.dit import WanDiT
from wan22.models.speech import SpeechDiT
from wan22.models.umt5 import UMT5Encoder
from wan22.models.vae import WanVAE
from wan22.nano.tokenizer import build_word_tokenizer

WORDS = ("a red ball rolls left at sunset", "a blue cube spins")
TEXT_LEN = 8
VAE = VAEArch(
    z=4,
    encoder_width=4,
    decoder_width=4,
    multipliers=(1, 1, 1),
    blocks=1,
    temporal=(True, True),
    patch=2,
    residual=True,
    mean=(0.1, -0.1, 0.2, 0.0),
    std=(0.5, 0.6, 0.7, 0.8),
)
"""Like Wan2.2's: 4 frames and 8 pixels a side in one latent, so sizes grow by 16."""


def tiny_variant(
    image: str | None = "known", *, only: bool = False, vocab: int = 16, layers: int = 1
) -> Variant:
    """A row of two experts; `image` and `only` as in the catalogue (image "channels" needs an image)."""
    told = VAE.stride_time + VAE.z if image == "channels" else 0
    return Variant(
        name="tiny",
        title="random weights",
        dit=DiTArch(
            VAE.z + told, VAE.z, 24, 32, heads=2, layers=layers, text_dim=8, text_len=TEXT_LEN, freq_dim=8
        ),
        vae=VAE,
        text=UMT5Arch(vocab=vocab, dim=8, dim_attn=8, ffn_dim=8, heads=2, layers=1),
        experts=("high", "low"),
        boundary=0.9,
        image=image,
        image_required=image == "channels",
        defaults=Defaults((48, 32), 5, 8.0, steps=4, shift=5.0, guidance=(3.0, 4.0), negative="a cube"),
        trained=Trained(((48, 32), (32, 48), (32, 32)), (1, 5, 9), only=only),
        hub=None,
    )


def write_tiny(folder: Path, image: str | None = "known", *, only: bool = False, layers: int = 1) -> Path:
    """Write the model into `folder`, the same bytes every time, and return it."""
    folder.mkdir(parents=True)
    tokenizer = build_word_tokenizer(WORDS, 100)
    tokenizer.save(str(folder / "tokenizer.json"))
    row = tiny_variant(image, only=only, vocab=tokenizer.get_vocab_size(), layers=layers)
    generator = torch.Generator().manual_seed(0)
    parts = {
        "high_noise_model": WanDiT(row.dit),
        "low_noise_model": WanDiT(row.dit),
        "vae": WanVAE(row.vae),
        "text_encoder": UMT5Encoder(row.text),
    }
    for name, module in parts.items():
        save_file(random_weights(module, generator), folder / f"{name}.safetensors")
    (folder / "variant.json").write_text(json.dumps(to_json(row)))
    return folder


def tiny_speech_variant(vocab: int = 16) -> Variant:
    """A row of one network that audio drives: clips of one second at 8 frames a second, drawn at 64x64 pixels."""
    speech = SpeechArch(
        audio_dim=8, audio_states=3, audio_tokens=4, inject=(0, 1), pose_channels=VAE.z, history=(1, 2, 4)
    )
    return replace(
        tiny_variant(vocab=vocab),
        name="tiny-s2v",
        dit=DiTArch(
            VAE.z, VAE.z, 24, 32, heads=2, layers=2, text_dim=8, text_len=TEXT_LEN, freq_dim=8, speech=speech
        ),
        experts=("dit",),
        boundary=None,
        image="reference",
        image_required=True,
        defaults=Defaults((64, 64), 8, 8.0, steps=2, shift=3.0, guidance=(3.0, 3.0), negative="a cube"),
        trained=Trained(((64, 64),), (8,)),
        speech=Speech(clip_frames=8, motion_frames=25, side=64, audio=None),
    )


def write_tiny_speech(folder: Path) -> Path:
    """Write a model that audio drives into `folder`, as `write_tiny` does. It needs the package transformers."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    folder.mkdir(parents=True)
    tokenizer = build_word_tokenizer(WORDS, 100)
    tokenizer.save(str(folder / "tokenizer.json"))
    row = tiny_speech_variant(tokenizer.get_vocab_size())
    assert row.dit.speech is not None
    generator = torch.Generator().manual_seed(0)
    parts = {"vae": WanVAE(row.vae), "text_encoder": UMT5Encoder(row.text)}
    for name, module in parts.items():
        save_file(random_weights(module, generator), folder / f"{name}.safetensors")
    network = random_weights(SpeechDiT(row.dit), generator)
    network["casual_audio_encoder.weights"].abs_()  # of a mean, so that their sum is not near zero
    save_file(network, folder / "transformer.safetensors")
    config = Wav2Vec2Config(
        hidden_size=row.dit.speech.audio_dim,
        num_hidden_layers=row.dit.speech.audio_states - 1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,  # their kernels and strides are the released ones
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
    )
    audio = folder / "audio_encoder"
    audio.mkdir()
    save_file(random_weights(Wav2Vec2Model(config), generator), audio / "model.safetensors")
    (audio / "config.json").write_text(config.to_json_string())
    (folder / "variant.json").write_text(json.dumps(to_json(row)))
    return folder


TINY_CLIP = CLIPArch(dim=16, ffn_dim=16, heads=2, layers=2, image_size=28, patch=14)
FACE = 16
"""Pixels a side of the faces."""


def tiny_animate_variant(vocab: int = 16) -> Variant:
    """A row of one network that a driving video moves, by clips of 9 frames."""
    animate = AnimateArch(
        channels=(8, 8, 8), style_dim=8, motion_dim=3, direction_dim=8, conv_dim=8, face_groups=2, every=2,
        image_dim=TINY_CLIP.dim, image_tokens=TINY_CLIP.tokens, pose_channels=VAE.z,
    )  # fmt: skip
    dit = DiTArch(
        2 * VAE.z + VAE.stride_time, VAE.z, 24, 32, heads=2, layers=2, text_dim=8, text_len=TEXT_LEN, freq_dim=8,
        animate=animate,
    )  # fmt: skip
    return replace(
        tiny_variant(vocab=vocab),
        name="tiny-animate",
        dit=dit,
        experts=("dit",),
        boundary=None,
        image="reference",
        image_required=True,
        defaults=Defaults(
            (48, 32), 9, 8.0, steps=2, shift=5.0, guidance=(1.0, 1.0), negative="a cube", prompt="a red ball"
        ),
        trained=Trained(((48, 32),), (9,)),
        animate=Animate(clip_frames=9, carried=(1, 5)),
        image_encoder=TINY_CLIP,
    )


def write_tiny_animate(folder: Path) -> Path:
    """Write a model that a driving video moves into `folder`, as `write_tiny` does."""
    folder.mkdir(parents=True)
    tokenizer = build_word_tokenizer(WORDS, 100)
    tokenizer.save(str(folder / "tokenizer.json"))
    row = tiny_animate_variant(tokenizer.get_vocab_size())
    names = {"vae": "vae", "text": "text_encoder", "dit": "transformer", "image": "image_encoder"}
    for part, module in animate_modules(row).items():
        prefix = "visual." if part == "image" else ""
        weights = {prefix + name: tensor for name, tensor in module.state_dict().items()}
        place = folder / f"{names[part]}.safetensors"
        if part == "image":  # the number of its heads is not in its tensors
            place = folder / names[part] / "model.safetensors"
            place.parent.mkdir()
            (place.parent / "config.json").write_text(json.dumps({"num_attention_heads": TINY_CLIP.heads}))
        save_file(weights, place)
    (folder / "variant.json").write_text(json.dumps(to_json(row)))
    return folder


def animate_modules(row: Variant) -> dict[str, torch.nn.Module]:
    """The networks of a model that a driving video moves, by part, with random weights."""
    assert row.image_encoder is not None
    generator = torch.Generator().manual_seed(0)
    parts = {
        "vae": WanVAE(row.vae),
        "text": UMT5Encoder(row.text),
        "dit": AnimateDiT(row.dit),
        "image": CLIPVision(row.image_encoder),
    }
    for module in parts.values():
        module.load_state_dict(random_weights(module, generator))
    return parts


def random_weights(module: torch.nn.Module, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights of about unit gain, so that a signal neither dies nor explodes on its way."""

    def draw(shape: torch.Size) -> torch.Tensor:
        if len(shape) < 2:
            return 1 + 0.1 * torch.randn(shape, generator=generator)
        return torch.randn(shape, generator=generator) / shape[1:].numel() ** 0.5

    return {
        name: 0.1 * draw(t.shape) if name.endswith("bias") else draw(t.shape)
        for name, t in module.state_dict().items()
    }
