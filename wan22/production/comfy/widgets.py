"""ComfyUI's nodes as far as a workflow names them: their widgets in order, and which of these mean nothing here.

A drawn node holds values by their order alone. The names are those of ComfyUI's own nodes (docs/comfyui.md maps each).
"""

from __future__ import annotations

_SIZE = ("width", "height", "length", "batch_size")
_CONTROL = "control_after_generate"

WIDGETS: dict[str, tuple[str, ...]] = {
    "KSampler": ("seed", _CONTROL, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise", "noise_seed", _CONTROL, "steps", "cfg", "sampler_name", "scheduler", "start_at_step",
        "end_at_step", "return_with_leftover_noise",
    ),
    "SamplerCustom": ("add_noise", "noise_seed", _CONTROL, "cfg"),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "ManualSigmas": ("sigmas",),
    "SplitSigmas": ("step",),
    "RandomNoise": ("noise_seed", _CONTROL),
    "CFGGuider": ("cfg",),
    "CLIPTextEncode": ("text",),
    "EmptyHunyuanLatentVideo": _SIZE,
    "WanImageToVideo": _SIZE,
    "WanFirstLastFrameToVideo": _SIZE,
    "Wan22ImageToVideoLatent": _SIZE,
    "WanSoundImageToVideo": _SIZE,
    "WanSoundImageToVideoExtend": ("length",),
    "WanAnimateToVideo": (*_SIZE, "continue_motion_max_frames", "video_frame_offset"),
    "WanFunControlToVideo": _SIZE,
    "Wan22FunControlToVideo": _SIZE,
    "WanFunInpaintToVideo": _SIZE,
    "WanCameraImageToVideo": _SIZE,
    "WanCameraEmbedding": ("camera_pose", "width", "height", "length", "speed", "fx", "fy", "cx", "cy"),
    "ModelSamplingSD3": ("shift",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
    "CLIPLoader": ("clip_name", "type", "device"),
    "CLIPLoaderGGUF": ("clip_name", "type"),
    "CLIPVisionLoader": ("clip_name",),
    "CLIPVisionEncode": ("crop",),
    "VAELoader": ("vae_name",),
    "AudioEncoderLoader": ("audio_encoder_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "CreateVideo": ("fps", "bit_depth"),
    "SaveVideo": ("filename_prefix", "format", "codec", "quality"),
    "LoadImage": ("image", "upload"),
    "LoadAudio": ("audio", "audioUI", "upload"),
    "LoadVideo": ("file", "upload"),
    "LatentConcat": ("dim",),
    "LatentCut": ("dim", "index", "amount"),
    "ImageFromBatch": ("batch_index", "length"),
    "TrimVideoLatent": ("trim_amount",),
    "Canny": ("low_threshold", "high_threshold"),
    "VAEDecodeTiled": ("tile_size", "overlap", "temporal_size", "temporal_overlap"),
    "ComfySwitchNode": ("switch",),
    "ComfyMathExpression": ("expression",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
    "PrimitiveInt": ("value", _CONTROL),
    "PrimitiveFloat": ("value",),
    "PrimitiveBoolean": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveNode": ("value", _CONTROL),
}  # fmt: skip
"""Values of a drawn node by their order."""

OURS = ("Wan22Sample", "Wan22Speech", "Wan22Animate", "Wan22LongVideo")
"""Our own nodes that make a video."""

_FILE = "a button of the page"
_STREAM = "frames are decoded in a stream, always"
_OUTPUT = "the output has a name of its own here"
_CODEC = "the codec of the output is said where it is named"
_QUALITY = "the quality of the output is said where it is named"
_JOIN = "the clips of a video are joined by wan22 itself"
UNUSED: dict[str, dict[str, str]] = {
    "*": {
        _CONTROL: "what the page does to the number after a run; a number of videos counts the seed up",
        "upload": _FILE,
        "audioUI": _FILE,
        "channel": "which channel of the image is its mask",
    },
    "KSamplerAdvanced": {
        "add_noise": "sampling begins with noise, or with a video",
        "return_with_leftover_noise": "both experts are used in one run of the sampler",
    },
    "SamplerCustom": {"add_noise": "sampling begins with noise, or with a video"},
    "UNETLoader": {"weight_dtype": "the file says its precision; what is computed in is said where wan22 works"},
    "CLIPLoader": {"device": "the text encoder comes to the device when it is needed; how is said where wan22 works"},
    "LoraLoader": {"strength_clip": "LoRAs of Wan2.2 change its networks alone"},
    "CLIPVisionEncode": {"crop": "images are cropped as the official release does"},
    "CreateVideo": {"bit_depth": _CODEC},
    "SaveVideo": {
        "filename_prefix": _OUTPUT, "format": _OUTPUT, "codec": _CODEC, "quality": _QUALITY,
        "codec.quality": _QUALITY, "codec.encoder": _CODEC,
    },
    "VAEDecodeTiled": dict.fromkeys(WIDGETS["VAEDecodeTiled"], _STREAM),
    "LatentConcat": {"dim": _JOIN},
    "LatentCut": dict.fromkeys(WIDGETS["LatentCut"], _JOIN),
    "ImageFromBatch": dict.fromkeys(WIDGETS["ImageFromBatch"], _JOIN),
    "TrimVideoLatent": {"trim_amount": _JOIN},
    "WanSoundImageToVideoExtend": {"length": "every clip of a video that audio drives has the same length"},
    "WanAnimateToVideo": {"video_frame_offset": _JOIN},
    "WanVideoModelLoader": dict.fromkeys(
        ("base_precision", "quantization", "load_device", "attention_mode"), "the file says its precision"
    ),
    "Wan22Load": dict.fromkeys(
        (
            "memory", "dtype", "compute_dtype", "quantize", "vae_dtype", "attention", "task", "device", "compile",
            "text_device", "vae_device",
        ),
        "how the machine works, which is said where it works",
    ),
    **{kind: {"preview": "shown in ComfyUI", "quality": _QUALITY} for kind in OURS},
    "WanVideoSampler": {"force_offload": "parts come and go as the memory plan says"},
}  # fmt: skip
"""Widgets that are left out without a word, and why: they change nothing of the video, or wan22 has its own way."""

IMPOSSIBLE: dict[str, str] = {
    "WanFunControlToVideo": "Wan-Fun-Control",
    "Wan22FunControlToVideo": "Wan2.2-Fun-Control",
    "WanFunInpaintToVideo": "Wan-Fun-InP",
    "WanCameraImageToVideo": "Wan2.2-Fun-Camera",
    "WanVaceToVideo": "VACE",
    "WanTrackToVideo": "ATI",
    "WanMoveTrackToVideo": "Wan-Move",
    "WanPhantomSubjectToVideo": "Phantom",
    "WanHuMoImageToVideo": "HuMo",
    "WanAnimate2ToVideo": "Wan Animate 2",
    "WanInfiniteTalkToVideo": "InfiniteTalk",
    "WanDancerVideo": "Wan Dancer",
    "WanSCAILToVideo": "SCAIL",
    "BerniniConditioning": "Bernini",
    "WanVideoVACEEncode": "VACE",
    "WanVideoControlEmbeds": "Wan-Fun-Control",
    "WanVideoAddControlEmbeds": "Wan-Fun-Control",
    "WanVideoFunCameraEmbeds": "Wan2.2-Fun-Camera",
    "WanVideoPhantomEmbeds": "Phantom",
    "WanVideoATITracks": "ATI",
    "MultiTalkWav2VecEmbeds": "MultiTalk",
    "WanVideoReCamMasterCameraEmbed": "ReCamMaster",
}
"""Nodes of other model families, and what these are called."""

TASKS: dict[str, str] = {
    "EmptyHunyuanLatentVideo": "t2v",
    "WanImageToVideo": "i2v",
    "WanFirstLastFrameToVideo": "i2v",
    "Wan22ImageToVideoLatent": "ti2v",
    "WanSoundImageToVideo": "s2v",
    "WanSoundImageToVideoExtend": "s2v",
    "WanAnimateToVideo": "animate",
    "VAEEncode": "v2v",
    "VAEEncodeTiled": "v2v",
}
"""Nodes that a sampler's latents come from, and what they make."""

RUNS = "text, image and first and last frame to video with A14B, TI2V-5B, S2V-14B, Animate-14B"


def names_of(kind: str, given: list[str], values: list[object]) -> list[str]:
    """The names of a drawn node's values: from the table, or from its own inputs that are widgets, or none."""
    if kind in WIDGETS:
        return list(WIDGETS[kind])
    names: list[str] = []
    for name in given:
        names.append(name)
        if name in ("seed", "noise_seed") and len(names) < len(values):
            names.append(_CONTROL)
    return names if len(names) == len(values) else [f"value {at + 1}" for at in range(len(values))]
