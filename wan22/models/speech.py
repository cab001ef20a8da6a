"""The transformer that is driven by audio, Wan2.2-S2V: the base network, and what it is told besides.

A clip knows whom it shows (a reference image), what came before (motion history, packed the more coarsely the
older it is, after FramePack, Zhang & Agrawala 2025), how the body moves (a pose video, if given) and the audio. The
first two become clean tokens behind the video's own, the pose is added to them, and the audio is read after
chosen blocks, each latent frame its own. None of it depends on the noise: `read_speech` makes it once a clip.

Parameters bear the official names (spec: speech_to_video, section 2), the misspelt one included.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from wan22.arch import DiTArch, SpeechArch
from wan22.models.block import CrossAttention, Memory
from wan22.models.conv import CausalConv1d
from wan22.models.dit import ExtraTokens, PatchEmbedding, WanDiT
from wan22.models.linear import Linear
from wan22.models.taps import add_by_frame
from wan22.ops.attention import Attention, attend
from wan22.ops.linear import linear
from wan22.ops.norm import layer_norm
from wan22.ops.rope import angles, grid_positions

_REFERENCE_FRAME = 30
"""The position in time of the reference image: after every frame of a clip."""

_NOISY, _REFERENCE, _MOTION = range(3)
"""Rows of the role embedding."""


class AudioTokens(nn.Module):
    """Features of audio to tokens, a quarter as many frames as the video has, all in float32.

    The local tokens of a frame come from groups of channels, and one learned token stands with them; the global token
    comes from a path with one group. Both paths share their later convolutions.
    """

    def __init__(self, inward: int, dim: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.conv1_local = CausalConv1d(inward, dim // 4 * groups)
        self.conv1_global = CausalConv1d(inward, dim // 4)
        self.conv2 = CausalConv1d(dim // 4, dim // 2, stride=2)
        self.conv3 = CausalConv1d(dim // 2, dim, stride=2)
        self.final_linear = nn.Linear(dim, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Float[Tensor, "b T a"]) -> tuple[Float[Tensor, "b t m d"], Float[Tensor, "b t d"]]:
        """Return the local tokens (the learned one last) and the global one, of every latent frame."""
        batch = x.shape[0]
        grouped = rearrange(self.conv1_local(x), "b t (g c) -> (b g) t c", g=self.groups)
        local = rearrange(self._later(grouped), "(b g) t d -> b t g d", b=batch)
        learned = self.padding_tokens.float().expand(batch, local.shape[1], -1, -1)
        whole = self._later(self.conv1_global(x))
        whole = linear(whole, self.final_linear.weight.float(), self.final_linear.bias.float())
        return torch.cat([local, learned], dim=2), whole

    def _later(self, x: Tensor) -> Tensor:
        for conv in (self.conv2, self.conv3):
            x = conv(_normed(x))
        return _normed(x)


class AudioEncoder(nn.Module):
    """A weighted mean of the hidden states of the audio's encoder, then tokens."""

    def __init__(self, arch: SpeechArch, dim: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((1, arch.audio_states, 1, 1), 0.01))
        self.encoder = AudioTokens(arch.audio_dim, dim, arch.audio_tokens)

    def forward(
        self, audio: Float[Tensor, "b states a T"]
    ) -> tuple[Float[Tensor, "b t m d"], Float[Tensor, "b t d"]]:
        # Product in the weights' dtype, sum and quotient in float32 (spec: speech_to_video, section 4 a): the divisor
        # keeps its axes, for a number without any would not raise the dtype.
        weight = F.silu(self.weights)
        mixed = ((audio.to(weight.dtype) * weight) / weight.float().sum(dim=1, keepdim=True)).sum(dim=1)
        return self.encoder(mixed.transpose(1, 2))


class Scale(nn.Module):
    """From the global token of a frame: shift and scale of its video tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = Linear(dim, 2 * dim)

    def forward(self, whole: Float[Tensor, "b t d"]) -> tuple[Tensor, Tensor]:
        shift, scale = self.linear(F.silu(whole)).unsqueeze(2).chunk(2, dim=-1)
        return shift, 1 + scale


class AudioMemory(NamedTuple):
    """What one tap knows of every frame's audio: modulation (b, t, 1, d), keys and values (b, t, m, n, e)."""

    shift: Tensor
    scale: Tensor
    k: Tensor
    v: Tensor

    def of(self, frames: slice) -> "AudioMemory":
        """What it knows of some of the frames."""
        return AudioMemory(*(part[:, frames] for part in self))


class Injector(nn.Module):
    """The taps: after block `inject[i]`, the video's tokens of each latent frame attend to the audio of that frame."""

    def __init__(self, arch: DiTArch, taps: int) -> None:
        super().__init__()
        self.injector = nn.ModuleList(CrossAttention(arch.dim, arch.heads, arch.eps) for _ in range(taps))
        self.injector_adain_layers = nn.ModuleList(Scale(arch.dim) for _ in range(taps))

    def read(self, i: int, local: Float[Tensor, "b t m d"], whole: Float[Tensor, "b t d"]) -> AudioMemory:
        """Project the audio for tap i."""
        shift, scale = self.injector_adain_layers[i](whole)
        read = self.injector[i].read(local.flatten(0, 1), None)
        return AudioMemory(shift, scale, *(part.unflatten(0, whole.shape[:2]) for part in (read.k, read.v)))

    def tap(
        self,
        i: int,
        memory: AudioMemory,
        attention: Attention,
        tokens: int,
        x: Float[Tensor, "b l d"],
        chunk: int | None = None,
        first: int = 0,
    ) -> Float[Tensor, "b l d"]:
        """Add to the video's tokens, `tokens` of each frame, what tap i reads of the audio (see `add_by_frame`)."""

        def found(frames: slice, own: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t p d"]:
            return self._speech(i, memory.of(frames), attention, own)

        return add_by_frame(found, tokens, x, chunk, first)

    def _speech(
        self, i: int, memory: AudioMemory, attention: Attention, frames: Float[Tensor, "b t p d"]
    ) -> Float[Tensor, "b t p d"]:
        y = layer_norm(frames, eps=1e-5) * memory.scale + memory.shift
        k, v = memory.k.flatten(0, 1), memory.v.flatten(0, 1)
        return self.injector[i](y.flatten(0, 1), Memory(k, v, None), attention).view_as(frames)


class FramePacker(nn.Module):
    """Motion history to few tokens: the newest frame as fine as the video, older ones two and four times as coarse."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = PatchEmbedding(channels, dim, (1, 2, 2))
        self.proj_2x = PatchEmbedding(channels, dim, (2, 4, 4))
        self.proj_4x = PatchEmbedding(channels, dim, (4, 8, 8))

    def forward(
        self, motion: Float[Tensor, "b c m h w"], history: tuple[int, int, int]
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "l 3"]]:
        """Return the tokens of the last frames of `motion`, newest group first, and their positions.

        Where there are fewer frames than the history holds, the oldest are zero.
        """
        batch, channels, _, h, w = motion.shape
        total = sum(history)
        recent = motion[:, :, -total:]
        missing = total - recent.shape[2]
        full = torch.cat([recent.new_zeros(batch, channels, missing, h, w), recent], dim=2)
        tokens, positions, end = [], [], 0
        for count, packer in zip(history, (self.proj, self.proj_2x, self.proj_4x), strict=True):
            begin = end - count
            part = full[:, :, total + begin : total + end]
            tokens.append(packer(part))
            pt, ph, pw = packer.patch
            positions.append(
                grid_positions(
                    _spread(begin, end - 1, count // pt),
                    _spread(0, h // 2 - 1, h // ph),
                    _spread(0, w // 2 - 1, w // pw),
                )
            )
            end = begin
        return torch.cat(tokens, dim=1), torch.cat(positions)


class SpeechDiT(WanDiT):
    """The network of speech to video. Its forward pass is the base's; `read_speech` makes what stands beside."""

    def __init__(self, arch: DiTArch, attention: Attention = attend) -> None:
        if arch.speech is None:
            raise ValueError("a SpeechDiT needs arch.speech")
        super().__init__(arch, attention)
        self.speech = arch.speech
        self.cond_encoder = PatchEmbedding(self.speech.pose_channels, arch.dim)
        self.casual_audio_encoder = AudioEncoder(self.speech, arch.dim)
        self.audio_injector = Injector(arch, len(self.speech.inject))
        self.trainable_cond_mask = nn.Embedding(3, arch.dim)
        self.frame_packer = FramePacker(arch.in_channels, arch.dim)

    @torch.no_grad()
    def init_weights(self) -> None:
        """As the base; audio and pose begin at zero (spec: speech_to_video, section 1, zero_init)."""
        super().init_weights()
        nn.init.constant_(self.casual_audio_encoder.weights, 0.01)
        nn.init.normal_(self.trainable_cond_mask.weight, std=0.02)
        nn.init.zeros_(self.cond_encoder.weight)
        for injector in self.audio_injector.injector:
            nn.init.zeros_(injector.o.weight)

    def read_speech(
        self,
        reference: Float[Tensor, "b c 1 h w"],
        audio: Float[Tensor, "b states a T"],
        motion: Float[Tensor, "b c m h w"] | None = None,
        pose: Float[Tensor, "b p t h w"] | None = None,
    ) -> ExtraTokens:
        """Read the condition of a clip: whom it shows, the audio, what came before, how the body moves.

        `audio` holds the features of every video frame of the clip, T = 4 t, h and w must be multiples of 8. Without
        `motion` the clip has no past; without `pose` the body is free.
        """
        role = self.trainable_cond_mask.weight
        noisy = self.cond_encoder.bias[None, None] if pose is None else self.cond_encoder(pose)
        noisy = (noisy + role[_NOISY]).expand(reference.shape[0], -1, -1)
        tokens, positions = (
            [self.patch_embedding(reference) + role[_REFERENCE]],
            [self._reference_at(reference)],
        )
        if motion is not None:
            packed, at = self.frame_packer(motion, self.speech.history)
            tokens.append(packed + role[_MOTION])
            positions.append(at)
        cos, sin = angles(torch.cat(positions), self.arch.dim // self.arch.heads)
        device = reference.device
        return ExtraTokens(
            noisy,
            torch.cat(tokens, dim=1),
            (cos.to(device), sin.to(device)),
            self._taps(audio, math.prod(self.grid(reference))),
        )

    def _taps(self, audio: Tensor, tokens: int) -> dict[int, partial]:
        """tokens: of the video, in a frame."""
        local, whole = self._encode_audio(audio)
        taps = {}
        for i, block in enumerate(self.speech.inject):
            memory = self.audio_injector.read(i, local, whole)
            taps[block] = partial(self.audio_injector.tap, i, memory, self.attention, tokens)
        return taps

    def _encode_audio(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the clip's frames. Its past is told as if the first moment had always sounded."""
        past = sum(self.speech.history)
        before = audio[..., :1].expand(*audio.shape[:-1], (past - 1) * 4 + 1)
        local, whole = self.casual_audio_encoder(torch.cat([before, audio], dim=-1))
        return local[:, past:], whole[:, past:]

    def _reference_at(self, reference: Tensor) -> Tensor:
        _, h, w = self.grid(reference)
        return grid_positions(torch.tensor([_REFERENCE_FRAME]), torch.arange(h), torch.arange(w))


def _normed(x: Tensor) -> Tensor:
    return F.silu(layer_norm(x, eps=1e-6))


def _spread(first: int, last: int, count: int) -> Tensor:
    """`count` whole positions from first to last, cut towards zero as the release does."""
    return torch.from_numpy(np.linspace(first, last, count)).trunc()
