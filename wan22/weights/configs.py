"""The JSON files that other programs want beside weights, made from an `Identity`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wan22.arch import AnimateArch, CLIPArch, DiTArch, UMT5Arch, VAEArch
from wan22.catalog import VAE_21, VAE_22, VARIANTS
from wan22.errors import CheckpointError
from wan22.weights.recognise import HISTORY, AudioArch, Identity

_DIFFUSERS_VERSION = "0.35.0"  # the first with all that these configs say

TOKENIZER = {
    "tokenizer_class": "T5TokenizerFast",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}

# The shift of the released Diffusers folders (of s2v, the official one); the official code has defaults of its own.
FLOW_SHIFT = {"t2v": 3.0, "i2v": 3.0, "ti2v": 5.0, "s2v": 3.0, "animate": 5.0}
_PIPELINES = {
    "i2v": "WanImageToVideoPipeline",
    "s2v": "WanSpeechToVideoPipeline",
    "animate": "WanAnimatePipeline",
}


def official(identity: Identity) -> dict[str, Any]:
    """The official config.json of a transformer; our own field names for the others, which have none."""
    arch = identity.arch
    if isinstance(arch, AudioArch):
        return _transformers_audio(arch)
    if isinstance(arch, DiTArch):
        return {
            "_class_name": _OFFICIAL_CLASSES.get(str(identity.task), "WanModel"),
            "_diffusers_version": "0.33.0",
            "dim": arch.dim,
            "eps": arch.eps,
            "ffn_dim": arch.ffn_dim,
            "freq_dim": arch.freq_dim,
            "in_dim": arch.in_channels,
            "model_type": identity.task,
            "num_heads": arch.heads,
            "num_layers": arch.layers,
            "out_dim": arch.out_channels,
            "text_len": arch.text_len,
            **_official_speech(arch),
            **_official_animate(arch),
        }
    if isinstance(arch, CLIPArch):
        return _transformers_image(arch)
    if isinstance(arch, VAEArch):
        return {"latents_mean": list(arch.mean), "latents_std": list(arch.std)}
    return {"relative_attention_max_distance": arch.max_distance}


_OFFICIAL_CLASSES = {"s2v": "WanModel_S2V", "animate": "WanAnimateModel"}


def _official_animate(arch: DiTArch) -> dict[str, Any]:
    """What the official WanAnimateModel is told beside the base. It has every other size in its code."""
    if arch.animate is None:
        return {}
    if arch.animate != AnimateArch():
        raise CheckpointError(
            "this network has other sizes of faces or images than Wan2.2-Animate-14B, and the official code knows no "
            "others. Convert to diffusers or comfy instead."
        )
    return {"motion_encoder_dim": arch.animate.direction_dim, "use_img_emb": True}


def _official_speech(arch: DiTArch) -> dict[str, Any]:
    """What the official WanModel_S2V is told beside the base."""
    if arch.speech is None:
        return {}
    if arch.speech.history != HISTORY:
        raise CheckpointError(
            f"this network packs a motion history of {arch.speech.history} latent frames; the official code knows "
            f"{HISTORY} only. Convert to diffusers or comfy instead."
        )
    return {
        "add_last_motion": True,
        "adain_mode": "attn_norm",
        "audio_dim": arch.speech.audio_dim,
        "audio_inject_layers": list(arch.speech.inject),
        "cond_dim": arch.speech.pose_channels,
        "enable_adain": True,
        "enable_framepack": True,
        "enable_motioner": False,
        "enable_tsm": False,
        "framepack_drop_mode": "padd",
        "num_audio_token": arch.speech.audio_tokens,
        "zero_timestep": True,
    }


def official_vae_file(identity: Identity) -> str:
    """The file name under which the official code looks for this VAE."""
    return "Wan2.2_VAE.pth" if _vae(identity).residual else "Wan2.1_VAE.pth"


def comfy_vae_stem(identity: Identity) -> str:
    """The name of this VAE's file among ComfyUI's."""
    return "wan2.2_vae" if _vae(identity).residual else "wan_2.1_vae"


def comfy_audio_stem(identity: Identity) -> str:
    """The name of this encoder of audio among ComfyUI's files, without its dtype."""
    return "wav2vec2" if identity.variant is None else "wav2vec2_large_english"


def require_released_statistics(identity: Identity) -> None:
    """Raise CheckpointError if a VAE's latents are normalised otherwise than in the official code."""
    arch = _vae(identity)
    known = VAE_22 if arch.residual else VAE_21
    if (arch.mean, arch.std) != (known.mean, known.std):
        raise CheckpointError(
            "this VAE has its own latent mean and deviation, and the official layout has no place for them. "
            "Convert to diffusers or comfy instead."
        )


def diffusers(identity: Identity) -> dict[str, Any]:
    """The config.json of WanTransformer3DModel, AutoencoderKLWan, UMT5EncoderModel or Wav2Vec2ForCTC."""
    return diffusers_of(identity.arch)


def diffusers_of(arch: DiTArch | VAEArch | UMT5Arch | AudioArch | CLIPArch) -> dict[str, Any]:
    """As `diffusers`, of sizes alone."""
    if isinstance(arch, CLIPArch):
        return _transformers_image(arch)
    if isinstance(arch, AudioArch):
        return _transformers_audio(arch)
    if isinstance(arch, DiTArch):
        return _diffusers_dit(arch)
    return _diffusers_vae(arch) if isinstance(arch, VAEArch) else _transformers_text(arch)


def _diffusers_dit(arch: DiTArch) -> dict[str, Any]:
    speech = arch.speech
    speech = (
        {}
        if speech is None
        else {
            "audio_dim": speech.audio_dim,
            "audio_inject_layers": list(speech.inject),
            "history": list(speech.history),  # a word of ours: the pull request packs the released one only
            "num_weighted_avg_layers": speech.audio_states,
            "pose_dim": speech.pose_channels,
        }
    )
    animate = arch.animate
    return {
        "_class_name": _diffusers_class(arch),
        "_diffusers_version": _DIFFUSERS_VERSION,
        "added_kv_proj_dim": None if animate is None else arch.dim,
        "attention_head_dim": arch.dim // arch.heads,
        "cross_attn_norm": True,
        "eps": arch.eps,
        "ffn_dim": arch.ffn_dim,
        "freq_dim": arch.freq_dim,
        "image_dim": None if animate is None else animate.image_dim,
        "in_channels": arch.in_channels,
        "num_attention_heads": arch.heads,
        "num_layers": arch.layers,
        "out_channels": arch.out_channels,
        "patch_size": [1, 2, 2],
        "pos_embed_seq_len": None,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
        "text_dim": arch.text_dim,
        **speech,
        **({} if animate is None else _diffusers_animate(animate, arch)),
    }


def _diffusers_animate(animate: AnimateArch, arch: DiTArch) -> dict[str, Any]:
    sides = [4 * 2**i for i in range(len(animate.channels))]
    return {
        "face_encoder_hidden_dim": animate.conv_dim,
        "face_encoder_num_heads": animate.face_groups,
        "inject_face_latents_blocks": animate.every,
        "latent_channels": arch.out_channels,
        "motion_dim": animate.motion_dim,
        "motion_encoder_channel_sizes": {
            str(side): width for side, width in zip(sides, animate.channels, strict=True)
        },
        "motion_encoder_dim": animate.direction_dim,
        "motion_encoder_size": animate.face_size,
        "motion_style_dim": animate.style_dim,
    }


def _diffusers_class(arch: DiTArch) -> str:
    if arch.animate is not None:
        return "WanAnimateTransformer3DModel"
    return "WanTransformer3DModel" if arch.speech is None else "WanS2VTransformer3DModel"


def _diffusers_vae(arch: VAEArch) -> dict[str, Any]:
    pixels = 3 * arch.patch**2
    return {
        "_class_name": "AutoencoderKLWan",
        "_diffusers_version": _DIFFUSERS_VERSION,
        "attn_scales": [],
        "base_dim": arch.encoder_width,
        "decoder_base_dim": arch.decoder_width,
        "dim_mult": list(arch.multipliers),
        "dropout": 0.0,
        "in_channels": pixels,
        "is_residual": arch.residual,
        "latents_mean": list(arch.mean),
        "latents_std": list(arch.std),
        "num_res_blocks": arch.blocks,
        "out_channels": pixels,
        "patch_size": arch.patch if arch.patch > 1 else None,
        "scale_factor_spatial": arch.stride_space,
        "scale_factor_temporal": arch.stride_time,
        "temperal_downsample": list(arch.temporal),
        "z_dim": arch.z,
    }


def _transformers_text(arch: UMT5Arch) -> dict[str, Any]:
    return {
        "architectures": ["UMT5EncoderModel"],
        "d_ff": arch.ffn_dim,
        "d_kv": arch.dim_attn // arch.heads,
        "d_model": arch.dim,
        "dense_act_fn": "gelu_new",
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": True,
        "is_gated_act": True,
        "layer_norm_epsilon": arch.eps,
        "model_type": "umt5",
        "num_decoder_layers": arch.layers,
        "num_heads": arch.heads,
        "num_layers": arch.layers,
        "pad_token_id": 0,
        "relative_attention_max_distance": arch.max_distance,
        "relative_attention_num_buckets": arch.buckets,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": arch.vocab,
    }


def _transformers_image(arch: CLIPArch) -> dict[str, Any]:
    return {
        "architectures": ["CLIPVisionModel"],
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": arch.dim,
        "image_size": arch.image_size,
        "intermediate_size": arch.ffn_dim,
        "layer_norm_eps": arch.eps,
        "model_type": "clip_vision_model",
        "num_attention_heads": arch.heads,
        "num_channels": 3,
        "num_hidden_layers": arch.layers,
        "patch_size": arch.patch,
        "projection_dim": 1024,
    }


def image_processor(identity: Identity) -> dict[str, Any]:
    """The preprocessor_config.json of CLIPImageProcessor, beside an encoder of images."""
    assert isinstance(identity.arch, CLIPArch)
    size = identity.arch.image_size
    return {
        "crop_size": {"height": size, "width": size},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": size},
    }


def _transformers_audio(arch: AudioArch) -> dict[str, Any]:
    return {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", **asdict(arch)}


def scheduler(identity: Identity, shift: float | None, own: Mapping[str, Any]) -> dict[str, Any]:
    """The scheduler_config.json: the model's `own`, else that of the releases; `shift` None means that of the released
    folder of this task.
    """
    if own.get("_class_name") is not None:
        return dict(own)
    return {
        "_class_name": "UniPCMultistepScheduler",
        "_diffusers_version": _DIFFUSERS_VERSION,
        "final_sigmas_type": "zero",
        "flow_shift": FLOW_SHIFT[_task(identity)] if shift is None else shift,
        "lower_order_final": True,
        "num_train_timesteps": 1000,
        "predict_x0": True,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "solver_type": "bh2",
        "timestep_spacing": "linspace",
        "use_flow_sigmas": True,
    }


def model_index(
    identity: Identity, *, experts: int, boundary: float | None, tokenizer: str
) -> dict[str, Any]:
    """The model_index.json; `boundary` None means that of the release of this task, `tokenizer` is a class."""
    task = _task(identity)
    assert isinstance(identity.arch, DiTArch)
    transformer = ["diffusers", _diffusers_class(identity.arch)]
    if boundary is None:
        boundary = next((row.boundary for row in VARIANTS.values() if row.name.startswith(f"{task}-")), None)
    index: dict[str, Any] = {
        "_class_name": _PIPELINES.get(task, "WanPipeline"),
        "_diffusers_version": _DIFFUSERS_VERSION,
        "boundary_ratio": boundary if experts == 2 else None,
        "expand_timesteps": task == "ti2v",
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", tokenizer],
        "transformer": transformer,
        "transformer_2": transformer if experts == 2 else [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    if task == "s2v":
        index["audio_encoder"] = ["transformers", "Wav2Vec2ForCTC"]
    if task == "animate":
        index |= {
            "image_encoder": ["transformers", "CLIPVisionModel"],
            "image_processor": ["transformers", "CLIPImageProcessor"],
        }
    if task == "i2v":
        index |= {"image_encoder": [None, None], "image_processor": [None, None]}
    return index


def _task(identity: Identity) -> str:
    if identity.task not in FLOW_SHIFT:
        raise CheckpointError(
            f"there is no Diffusers pipeline for the task {identity.task!r} of this network."
        )
    return identity.task


def _vae(identity: Identity) -> VAEArch:
    assert isinstance(identity.arch, VAEArch)
    return identity.arch
