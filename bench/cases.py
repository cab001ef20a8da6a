"""What is compared. A case makes, for one contender, a call that returns its result; weights come from a seed.

Both contenders get the same numbers: ours under the official names, the peer's under its own, joined by the
tables of `wan22.weights.dialects`.
"""

import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from wan22.arch import VAEArch
from wan22.catalog import EMBEDDED, EMBEDDED_SPEECH, VAE_21, VAE_22
from wan22.engine import Engine
from wan22.weights.dialects import DIALECTS

Call = Callable[[], Tensor]
OURS, THEIRS = "ours", "theirs"


@dataclass(frozen=True)
class Case:
    """One comparison: what it is, at which sizes, and `make(contender)`. `seconds` is how long an audio file lasts."""

    name: str
    dtype: str
    shapes: str
    make: Callable[[str], Call]
    peer: str = "Diffusers"
    seconds: float | None = None


def official(part: str, names: list[str]) -> Callable[[str], str]:
    """Return the map from Diffusers' names to the official ones, of the table that knows all of `names`."""
    for table in DIALECTS[part]:
        if table.name == "diffusers" and all(table.to_native(n) for n in names if n not in table.ignored):
            return table.to_native
    raise LookupError(f"no table of Diffusers' names fits {names[:3]}")


@torch.no_grad()
def draw(module: nn.Module, native: Callable[[str], str]) -> None:
    """Fill parameters from seeds made of their official names: matrices keep the size of what passes through."""
    for name, parameter in module.named_parameters():
        own = native(name)
        noise = torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(zlib.crc32(own.encode()))
        )
        if own.endswith((".gamma", "norm_q.weight", "norm_k.weight", "norm3.weight", "layer_norm.weight")):
            noise = 1 + 0.1 * noise
        elif parameter.ndim > 1 and not own.endswith("modulation"):
            noise *= parameter[0].numel() ** -0.5
        else:
            noise *= 0.1
        parameter.copy_(noise)


def given(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# A block of the transformer

GRID = (4, 16, 24)
TEXT, TEXT_ROWS = 64, 512
KEEP = ("norm", "modulation", "scale_shift_table")
"""Parts of names that stay float32 in both."""


def _cast(block: nn.Module, dtype: torch.dtype) -> nn.Module:
    for name, parameter in block.named_parameters():
        if not any(part in name for part in KEEP):
            parameter.data = parameter.data.to(dtype)
    return block.eval()


def a14b_block(dtype: torch.dtype, contender: str) -> Call:
    """One block of A14B's width. The prompt has 64 of 512 rows; its keys and values are made once by us, as in use."""
    dim, ffn, heads, tokens = 5120, 13824, 40, GRID[0] * GRID[1] * GRID[2]
    x, text = given(1, 1, tokens, dim).to(dtype), given(2, 1, TEXT, dim).to(dtype)
    padding, time = given(3, 1, 1, dim).to(dtype), 0.1 * given(4, 1, 6, dim)
    if contender == OURS:
        from wan22.models.block import Block, TimeRows
        from wan22.ops.attention import attend
        from wan22.ops.rope import rotation

        block = Block(dim, ffn, heads, 1e-6)
        draw(block, lambda name: f"blocks.0.{name}")
        _cast(block, dtype)
        _compute(block, dtype)
        bias = torch.zeros(1, 1, 1, TEXT + 1)
        bias[..., -1] = torch.tensor(float(TEXT_ROWS - TEXT)).log()
        memory = block.cross_attn.read(torch.cat([text, padding], dim=1), bias)
        table = rotation(GRID, dim // heads, torch.device("cpu"))
        return lambda: block(x, TimeRows(time.unsqueeze(1), None), table, memory, attend)
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformerBlock

    block = WanTransformerBlock(dim, ffn, heads, cross_attn_norm=True)
    native = official("dit", [f"blocks.0.{name}" for name in block.state_dict()])
    draw(block, lambda name: native(f"blocks.0.{name}"))
    _cast(block, dtype)
    rotary = WanRotaryPosEmbed(dim // heads, (1, 2, 2), 1024)(
        torch.zeros(1, 16, GRID[0], 2 * GRID[1], 2 * GRID[2])
    )
    rows = torch.cat([text, padding.expand(-1, TEXT_ROWS - TEXT, -1)], dim=1)
    return lambda: block(x, rows, time, rotary)


def _compute(block: nn.Module, dtype: torch.dtype) -> None:
    """Have layers compute in what the engine computes in on this machine."""
    from wan22.memory.precision import pick_compute_dtype
    from wan22.models.linear import Linear

    for layer in block.modules():
        if isinstance(layer, Linear):
            layer.compute = pick_compute_dtype("auto", dtype, torch.device("cpu"))


# The VAEs


def their_vae(arch: VAEArch) -> nn.Module:
    import diffusers

    more = {}
    if arch.residual:
        more = dict(is_residual=True, in_channels=3 * arch.patch**2, out_channels=3 * arch.patch**2)
        more |= dict(patch_size=arch.patch)
    return diffusers.AutoencoderKLWan(
        base_dim=arch.encoder_width,
        decoder_base_dim=arch.decoder_width,
        z_dim=arch.z,
        dim_mult=list(arch.multipliers),
        num_res_blocks=arch.blocks,
        temperal_downsample=list(arch.temporal),
        latents_mean=list(arch.mean),
        latents_std=list(arch.std),
        scale_factor_temporal=arch.stride_time,
        scale_factor_spatial=arch.stride_space,
        **more,
    )


def vae(arch: VAEArch, way: str, frames: int, pixels: int, contender: str) -> Call:
    """Encode or decode with latents as the networks have them (normalised), a chunk at a time in both."""
    side, latent_frames = pixels // arch.stride_space, (frames - 1) // arch.stride_time + 1
    video = given(5, 1, 3, frames, pixels, pixels).clamp(-2, 2) / 2
    z = given(6, 1, arch.z, latent_frames, side, side)
    if contender == OURS:
        from wan22.models.vae import WanVAE

        ours = WanVAE(arch).eval()
        draw(ours, str)
        if way == "encode":
            return lambda: ours.encode(video, chunk=1)
        return lambda: ours.decode(z, chunk=1)
    theirs = their_vae(arch).eval()
    draw(theirs, official("vae", list(theirs.state_dict())))
    mean = torch.tensor(arch.mean).view(1, -1, 1, 1, 1)
    inverse = 1 / torch.tensor(arch.std).view(1, -1, 1, 1, 1)
    if way == "encode":
        return lambda: (theirs.encode(video).latent_dist.mode() - mean) * inverse
    return lambda: theirs.decode(z / inverse + mean).sample.clamp(-1, 1)


# From prompt to video

PROMPT, NEGATIVE = "a red ball bounces in the snow at sunset", ""
STEPS = 20


def _engine() -> Engine:
    """The embedded model, or while there is none, one of its size with weights from a seed."""
    from wan22.engine import load

    if (EMBEDDED / "variant.json").is_file():
        return load("nano", device="cpu", dtype="float32")
    from wan22.conditioning.text import Tokenizer
    from wan22.memory.placement import Placement
    from wan22.nano.recipes import nano
    from wan22.nano.tokenizer import build_word_tokenizer
    from wan22.weights.load import meta_module

    row = nano.variant(nano.VAE, vocab=600)
    arches = {**dict.fromkeys(row.experts, row.dit), "vae": row.vae, "text": row.text}

    def make(part: str, _: torch.device) -> nn.Module:
        module = meta_module(arches[part]).to_empty(device="cpu").eval()
        draw(module, lambda name: f"{part}.{name}")
        return module

    placement = Placement(
        {part: partial(make, part) for part in arches}, dict.fromkeys(arches, "device"), torch.device("cpu")
    )
    tokenizer = Tokenizer(build_word_tokenizer([PROMPT], 600))
    return Engine(row.name, row, tokenizer=tokenizer, placement=placement, dtype=torch.float32, weights={})


def nano_video(contender: str) -> Call:
    """The whole way from words to 8-bit frames, with the model's own size, solver and guidance; models are loaded."""
    from wan22.types import Frames, Request

    engine = _engine()
    size = engine.variant.trained.sizes[0]
    frames = engine.variant.defaults.frames
    if contender == OURS:
        # The peer has no rescale on this pipeline, and both must make the same video.
        request = Request(
            prompt=PROMPT,
            negative=NEGATIVE,
            size=size,
            frames=frames,
            steps=STEPS,
            seed=0,
            guidance_rescale=0.0,
        )

        def video() -> Tensor:
            engine.prompts.forget()  # each video reads its prompt anew
            parts = [event.frames for event in engine.generate(request) if isinstance(event, Frames)]
            return torch.cat([torch.from_numpy(p) for p in parts]).float()

        return video
    return _their_video(engine, size, frames)


def _their_scheduler(shift: float) -> object:
    """Their UniPC on the official release's noise levels: their own differ in the third digit."""
    import diffusers

    from wan22.sampling.schedule import levels

    class Scheduler(diffusers.UniPCMultistepScheduler):
        def set_timesteps(self, steps: int, device: object = None) -> None:
            super().set_timesteps(steps, device)
            schedule = levels("unipc", steps, shift)
            self.sigmas = schedule.sigmas
            self.timesteps = torch.tensor(schedule.timesteps).long()

    return Scheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift)


def _their_video(engine: Engine, size: tuple[int, int], frames: int) -> Call:
    import diffusers
    import transformers

    from wan22.sampling import draw_noise

    row = engine.variant
    bring = engine._placement.bring

    def same(theirs: nn.Module, part: str, kind: str) -> nn.Module:
        native, weights = official(kind, list(theirs.state_dict())), bring(part).state_dict()
        theirs.load_state_dict(
            {n: weights[native(n)] for n in theirs.state_dict() if native(n)}, strict=False
        )
        return theirs.eval()

    dit, text = row.dit, row.text
    experts = [
        diffusers.WanTransformer3DModel(
            num_attention_heads=dit.heads,
            attention_head_dim=dit.dim // dit.heads,
            in_channels=dit.in_channels,
            out_channels=dit.out_channels,
            text_dim=dit.text_dim,
            freq_dim=dit.freq_dim,
            ffn_dim=dit.ffn_dim,
            num_layers=dit.layers,
        )
        for _ in row.experts
    ]
    experts = [same(e, name, "dit") for e, name in zip(experts, row.experts, strict=True)]
    config = transformers.UMT5Config(
        vocab_size=text.vocab,
        d_model=text.dim,
        d_kv=text.dim_attn // text.heads,
        d_ff=text.ffn_dim,
        num_layers=text.layers,
        num_heads=text.heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,  # ty: ignore[unknown-argument] - transformers takes it
    )
    encoder = same(transformers.UMT5EncoderModel(config), "text", "text")
    pipeline = diffusers.WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=same(their_vae(row.vae), "vae", "vae"),
        scheduler=_their_scheduler(row.defaults.shift),
        transformer=experts[0],
        transformer_2=experts[1] if len(experts) == 2 else None,
        boundary_ratio=row.boundary,
    )
    pipeline.set_progress_bar_config(disable=True)
    canvas = (row.dit.out_channels, (frames - 1) // row.vae.stride_time + 1)
    canvas += (size[1] // row.vae.stride_space, size[0] // row.vae.stride_space)
    noise = draw_noise(canvas, 0)[None]
    low, high = row.defaults.guidance

    def video() -> Tensor:
        ids, mask = engine._tokenizer.encode([PROMPT, NEGATIVE], dit.text_len)
        rows = encoder(ids, mask).last_hidden_state * mask.unsqueeze(-1)
        return torch.from_numpy(
            pipeline(
                prompt_embeds=rows[:1],
                negative_prompt_embeds=rows[1:],
                latents=noise,
                width=size[0],
                height=size[1],
                num_frames=frames,
                num_inference_steps=STEPS,
                guidance_scale=high,
                guidance_scale_2=low if len(experts) == 2 else None,
                output_type="np",
            ).frames[0]
            * 255
        ).round()

    return video


# From an audio file to what a video is told of it

FPS = 16


def released_ear() -> nn.Module:
    """The encoder of audio of S2V-14B, with weights from a seed."""
    from wan22.weights.recognise import RELEASED_AUDIO

    return _drawn_ear(asdict(RELEASED_AUDIO))


def nano_ear() -> nn.Module:
    """The embedded model's encoder of audio, or while there is none, one of its size with weights from a seed."""
    from wan22.nano.recipes import nano_speech
    from wan22.weights.wav2vec2 import load_audio_encoder

    if EMBEDDED_SPEECH.is_dir():
        return load_audio_encoder(EMBEDDED_SPEECH / "audio_encoder")
    return _drawn_ear(nano_speech.audio_encoder().config)


def _drawn_ear(config: dict[str, object]) -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        ear = Wav2Vec2Model(Wav2Vec2Config(**{**config, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}))
    ear = ear.to_empty(device="cpu").eval()
    draw(ear, str)
    return ear


def audio_features(ear: Callable[[], nn.Module], seconds: int, clip: int, contender: str) -> Call:
    """All hidden states at every frame of a video, (1, states, a, T), `clip` frames at a time where clips are made.

    The peer is the official release's way: transformers encodes the whole audio, all states are stacked, taken to 30 a
    second, and from there to the video's frames.
    """
    from wan22.conditioning.speech import FEATURE_RATE, RATE, VIDEO_RATE, AudioFeatures, hidden_states
    from wan22.types import Audio

    encoder, frames = ear(), seconds * FPS
    samples = given(7, seconds * RATE).mul_(0.1).numpy()
    if contender == OURS:
        audio = Audio(samples, RATE)

        def by_clips() -> Tensor:
            features = AudioFeatures(audio, partial(hidden_states, encoder))
            clips = [features.clip(i, clip, FPS) for i in range(-(-frames // clip))]
            return torch.cat(clips, dim=-1)[..., :frames]

        return by_clips
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True)

    def whole() -> Tensor:
        values = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_values
        out = encoder(values, output_hidden_states=True)
        states = torch.cat([*out.hidden_states[:-1], out.last_hidden_state]).transpose(1, 2)
        ticks = int(states.shape[2] / FEATURE_RATE * VIDEO_RATE)
        states = torch.nn.functional.interpolate(states, size=ticks, mode="linear", align_corners=True)
        index = np.round(np.arange(frames) / FPS * VIDEO_RATE).astype(np.int64)
        video = states.new_zeros(*states.shape[:2], frames)
        video[..., index < ticks] = states[..., index[index < ticks]]
        return video[None]

    return whole


_EAR = "the embedded encoder" if EMBEDDED_SPEECH.is_dir() else "random weights of its size"
_NANO = "the embedded model" if (EMBEDDED / "variant.json").is_file() else "random weights of its size"
_HALF_22 = replace(VAE_22, encoder_width=80, decoder_width=128)

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("nano video", "float32", f"128x80, 17 frames, {STEPS} steps; {_NANO}", nano_video),
        Case("A14B block fp32", "float32", "1,536 tokens x 5120", partial(a14b_block, torch.float32)),
        Case("A14B block bf16", "bfloat16", "1,536 tokens x 5120", partial(a14b_block, torch.bfloat16)),
        Case("vae 2.1 encode", "float32", "9 frames 128x128", partial(vae, VAE_21, "encode", 9, 128)),
        Case("vae 2.1 decode", "float32", "9 frames 128x128", partial(vae, VAE_21, "decode", 9, 128)),
        Case("vae 2.2 encode", "float32", "9 frames 128x128", partial(vae, VAE_22, "encode", 9, 128)),
        Case(
            "vae 2.2 decode",
            "float32",
            "9 frames 128x128, half width",
            partial(vae, _HALF_22, "decode", 9, 128),
        ),
        Case(
            "audio features, S2V-14B",
            "float32",
            "10 s of audio; 24 layers x 1024",
            partial(audio_features, released_ear, 10, 80),
            peer="transformers",
            seconds=10,
        ),
        *(
            Case(
                f"audio features, nano, {minutes} min",
                "float32",
                f"4 layers x 64; {_EAR}",
                partial(audio_features, nano_ear, 60 * minutes, 32),
                peer="transformers",
                seconds=60 * minutes,
            )
            for minutes in (1, 10)
        ),
    )
}
