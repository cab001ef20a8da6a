"""Networks and engines from the numbers and weights of a recorded case."""

import pytest
import torch
from torch import nn

from wan22.arch import AnimateArch, CLIPArch, DiTArch, SpeechArch, VAEArch
from wan22.models.animate import AnimateDiT
from wan22.models.dit import WanDiT
from wan22.models.speech import SpeechDiT
from wan22.models.vae import WanVAE


def dit_arch(config: dict) -> DiTArch:
    return DiTArch(
        in_channels=config["in_dim"],
        out_channels=config["out_dim"],
        dim=config["dim"],
        ffn_dim=config["ffn_dim"],
        heads=config["num_heads"],
        layers=config["num_layers"],
        text_dim=config["text_dim"],
        text_len=config["text_len"],
        freq_dim=config["freq_dim"],
        eps=config["eps"],
        speech=speech_arch(config) if "audio_dim" in config else None,
        animate=animate_arch(config) if "adapter_every" in config else None,
    )


def animate_arch(config: dict) -> AnimateArch:
    motion, face = config["motion_encoder"], config["face_encoder"]
    sides = sorted(int(side) for side in motion["channels"] if int(side) <= motion["size"])
    return AnimateArch(
        channels=tuple(motion["channels"][str(side)] for side in sides),
        style_dim=motion["style_dim"],
        motion_dim=motion["motion_dim"],
        direction_dim=motion["direction_dim"],
        conv_dim=face["conv_dim"],
        face_groups=face["num_heads"],
        every=config.get("adapter_every", 5),
        image_dim=config.get("image_dim", 1280),
        image_tokens=config.get("image_tokens", 257),
        pose_channels=config.get("pose_dim", 16),
    )


def clip_arch(config: dict) -> CLIPArch:
    return CLIPArch(
        dim=config["dim"],
        ffn_dim=config["dim"] * config["mlp_ratio"],
        heads=config["num_heads"],
        layers=config["num_layers"],
        image_size=config["image_size"],
        patch=config["patch_size"],
        eps=config["norm_eps"],
    )


def speech_arch(config: dict) -> SpeechArch:
    return SpeechArch(
        audio_dim=config["audio_dim"],
        audio_states=25,
        audio_tokens=config["num_audio_token"],
        inject=tuple(config["audio_inject_layers"]),
        pose_channels=config["cond_dim"],
    )


def vae_arch(config: dict, *, residual: bool) -> VAEArch:
    return VAEArch(
        z=config["z_dim"],
        encoder_width=config["dim"],
        decoder_width=config.get("dec_dim", config["dim"]),
        multipliers=tuple(config["dim_mult"]),
        blocks=config["num_res_blocks"],
        temporal=tuple(config["temperal_downsample"]),
        patch=2 if residual else 1,
        residual=residual,
        mean=tuple(config["latents_mean"]),
        std=tuple(config["latents_std"]),
    )


def build(arch: DiTArch | VAEArch, weights: dict[str, torch.Tensor]) -> nn.Module:
    if isinstance(arch, DiTArch):
        module = dit(arch)
    else:
        module = WanVAE(arch)
    module.load_state_dict(weights)
    return module.eval()


def dit(arch: DiTArch) -> WanDiT:
    if arch.animate is not None:
        return AnimateDiT(arch)
    return WanDiT(arch) if arch.speech is None else SpeechDiT(arch)


def wav2vec2(config: dict, weights: dict[str, torch.Tensor]) -> nn.Module:
    """The encoder of audio, from a state dict with the old names of the weight norm."""
    transformers = pytest.importorskip("transformers")
    model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**config)).eval()
    new = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    renamed = {}
    for name, tensor in weights.items():
        bare = name.removeprefix("wav2vec2.")
        old = bare.rpartition(".")[2]
        renamed[bare.replace(old, new[old]) if old in new else bare] = tensor
    missing, _ = model.load_state_dict(renamed, strict=False)
    assert not missing
    return model
