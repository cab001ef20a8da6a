"""The causal video VAE: Wan2.1's and Wan2.2's are two values of one `VAEArch`.

It knows no file, device or request. A video is a stream: frames may be given in chunks of any length, and
what the next chunk must know of the past travels in an explicit `State`, in and out. The official code works
in chunks of one and four frames with caches and sentinels; the equations below are its closed form
(spec: vae, section 4), so the chunk length is a matter of memory alone:

    3x3x3 convolution    sees two frames of history, zeros before the first
    temporal down        first frame unchanged; then y(2k-2), y(2k-1), y(2k) -> frame k
    temporal up          first frame unchanged; then u(k-2), u(k-1), u(k) -> frames 2k-1, 2k, with u(0) as zeros

Tiling is exact too. The only layer that looks across the whole image is the attention in the middle, at the
lowest resolution; everything at higher resolution is local, so it may be computed in bands of rows, each with
enough neighbouring rows around it (`halo`), without any blending.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from wan22.arch import VAEArch
from wan22.ops.attention import attend
from wan22.ops.conv import causal_conv3d, doubled_conv2d
from wan22.ops.norm import channel_norm

State = tuple[Tensor | None, ...]
"""What a chunk leaves for the next: one entry per layer that looks back, in the order of their use."""


class _Tape:
    """Hands each layer its past in call order, and collects what it leaves for the next chunk."""

    def __init__(self, past: State | None) -> None:
        self.first = past is None
        self._past = iter(past or ())
        self._left: list[Tensor | None] = []

    def past(self) -> Tensor | None:
        return None if self.first else next(self._past)

    def leave(self, x: Tensor | None) -> None:
        self._left.append(x)

    @property
    def state(self) -> State:
        return tuple(self._left)


def _recent(past: Tensor | None, x: Tensor, count: int = 2) -> Tensor:
    """The last `count` frames of past and x together; zeros stand for frames before the first."""
    missing = count - x.shape[2]
    if missing <= 0:
        return x[:, :, -count:].clone()  # a view would keep all of x
    past = x.new_zeros(*x.shape[:2], count, *x.shape[3:]) if past is None else past
    return torch.cat([past[:, :, -missing:], x], dim=2)


class CausalConv3d(nn.Conv3d):
    """A 3-D convolution that keeps the names of nn.Conv3d and looks only back in time."""

    def forward(self, x: Tensor, tape: _Tape | None = None) -> Tensor:
        if self.kernel_size[0] == 1 or tape is None:
            return causal_conv3d(x, self.weight, self.bias)
        past = tape.past()
        tape.leave(_recent(past, x))
        return causal_conv3d(x, self.weight, self.bias, past)


class ChannelNorm(nn.Module):
    """RMS norm over channels with a learned gain; `axes` is the number of axes after the channels."""

    def __init__(self, channels: int, axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * axes))

    def forward(self, x: Tensor) -> Tensor:
        return channel_norm(x, self.gamma)


class ResidualBlock(nn.Module):
    """norm, SiLU, conv, norm, SiLU, conv, and a shortcut."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        # The indices are the official names: 1 and 4 are activations, 5 was a dropout.
        self.residual = nn.ModuleDict(
            {
                "0": ChannelNorm(into),
                "2": CausalConv3d(into, out, 3),
                "3": ChannelNorm(out),
                "6": CausalConv3d(out, out, 3),
            }
        )
        self.shortcut = CausalConv3d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor, tape: _Tape) -> Tensor:
        h = self.residual["2"](F.silu(self.residual["0"](x), inplace=True), tape)
        h = self.residual["6"](F.silu(self.residual["3"](h), inplace=True), tape)
        return h + self.shortcut(x)


class AttentionBlock(nn.Module):
    """Attention among the positions of one frame; a single head as wide as the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tape: _Tape) -> Tensor:
        b, _, _, h, w = x.shape
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        qkv = self.to_qkv(self.norm(frames))
        q, k, v = rearrange(qkv, "f (three c) h w -> three f (h w) 1 c", three=3)
        y = attend(q, k, v)
        y = self.proj(rearrange(y, "f (h w) 1 c -> f c h w", h=h, w=w))
        return x + rearrange(y, "(b t) c h w -> b c t h w", b=b)


class Downsample(nn.Module):
    """Halve rows and columns, and time too if `temporal`."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, stride=2)})
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: Tensor, tape: _Tape) -> Tensor:
        b = x.shape[0]
        frames = F.pad(rearrange(x, "b c t h w -> (b t) c h w"), (0, 1, 0, 1))
        y = rearrange(self.resample["1"](frames), "(b t) c h w -> b c t h w", b=b)
        if self.time_conv is None:
            return y
        past = tape.past()
        tape.leave(y[:, :, -1:].clone())
        if past is not None:
            return self.time_conv(torch.cat([past, y], dim=2))
        return y if y.shape[2] == 1 else torch.cat([y[:, :, :1], self.time_conv(y)], dim=2)


class Upsample(nn.Module):
    """Double rows and columns (to `out` channels), and time before them if `temporal`."""

    def __init__(self, channels: int, out: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, out, 3, padding=1)})
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, tape: _Tape) -> Tensor:
        if self.time_conv is not None:
            x = self._double_time(x, tape)
        b = x.shape[0]
        conv = self.resample["1"]
        y = doubled_conv2d(rearrange(x, "b c t h w -> (b t) c h w"), conv.weight, conv.bias)
        return rearrange(y, "(b t) c h w -> b c t h w", b=b)

    def _double_time(self, x: Tensor, tape: _Tape) -> Tensor:
        past = tape.past()
        head = x[:, :, :1] if tape.first else x[:, :, :0]  # the very first frame is not doubled,
        x = x[:, :, head.shape[2] :]  # nor is it anyone's history
        tape.leave(_recent(past, x))
        if x.shape[2] == 0:
            return head
        pairs = causal_conv3d(x, self.time_conv.weight, self.time_conv.bias, past)
        return torch.cat([head, rearrange(pairs, "b (two c) t h w -> b c (t two) h w", two=2)], dim=2)


def average_down(x: Tensor, out: int, time: int, space: int) -> Tensor:
    """Wan2.2's shortcut down: fold time x space x space into channels and average groups of them."""
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % time, 0))
    x = rearrange(x, "b c (t i) (h j) (w k) -> b (c i j k) t h w", i=time, j=space, k=space)
    return rearrange(x, "b (o g) t h w -> b o g t h w", o=out).mean(dim=2)


def repeat_up(x: Tensor, out: int, time: int, space: int, first: bool) -> Tensor:
    """Wan2.2's shortcut up: repeat channels and unfold them into time x space x space."""
    x = x.repeat_interleave(out * time * space * space // x.shape[1], dim=1)
    x = rearrange(x, "b (c i j k) t h w -> b c (t i) (h j) (w k)", i=time, j=space, k=space)
    return x[:, :, time - 1 :] if first else x


class DownLevel(nn.Module):
    """One level of Wan2.2's encoder: blocks and a downsampling, with the averaging shortcut around them."""

    def __init__(self, into: int, out: int, blocks: int, down: bool, temporal: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [ResidualBlock(into if i == 0 else out, out) for i in range(blocks)]
        self.downsamples = nn.ModuleList(layers + ([Downsample(out, temporal)] if down else []))
        self.out, self.time, self.space = out, 2 if temporal else 1, 2 if down else 1

    def forward(self, x: Tensor, tape: _Tape) -> Tensor:
        shortcut = average_down(x, self.out, self.time, self.space)
        for layer in self.downsamples:
            x = layer(x, tape)
        return x + shortcut


class UpLevel(nn.Module):
    """One level of Wan2.2's decoder; the last, which does not upsample, has no shortcut."""

    def __init__(self, into: int, out: int, blocks: int, up: bool, temporal: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [ResidualBlock(into if i == 0 else out, out) for i in range(blocks)]
        self.upsamples = nn.ModuleList(layers + ([Upsample(out, out, temporal)] if up else []))
        self.out, self.time, self.up = out, 2 if temporal else 1, up

    def forward(self, x: Tensor, tape: _Tape) -> Tensor:
        shortcut = repeat_up(x, self.out, self.time, 2, tape.first) if self.up else None
        for layer in self.upsamples:
            x = layer(x, tape)
        return x if shortcut is None else x + shortcut


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResidualBlock(channels, channels), AttentionBlock(channels), ResidualBlock(channels, channels)]
    )


def _head(into: int, out: int) -> nn.ModuleDict:
    return nn.ModuleDict({"0": ChannelNorm(into), "2": CausalConv3d(into, out, 3)})


def _through(layers: nn.ModuleList, x: Tensor, tape: _Tape) -> Tensor:
    for layer in layers:
        x = layer(x, tape)
    return x


class Encoder(nn.Module):
    """Patched pixels to the moments of the latents; `local` is what bands may split, `whole` what they may not."""

    def __init__(self, arch: VAEArch) -> None:
        super().__init__()
        widths = [arch.encoder_width * m for m in (1, *arch.multipliers)]
        self.conv1 = CausalConv3d(3 * arch.patch**2, widths[0], 3)
        layers: list[nn.Module] = []
        for i, (into, out) in enumerate(pairwise(widths)):
            down = i < len(arch.temporal)
            temporal = down and arch.temporal[i]
            if arch.residual:
                layers.append(DownLevel(into, out, arch.blocks, down, temporal))
            else:
                layers += [ResidualBlock(into if j == 0 else out, out) for j in range(arch.blocks)]
                layers += [Downsample(out, temporal)] if down else []
        self.downsamples = nn.ModuleList(layers)
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * arch.z)

    def local(self, x: Tensor, past: State | None) -> tuple[Tensor, State]:
        tape = _Tape(past)
        x = _through(self.downsamples, self.conv1(x, tape), tape)
        return x, tape.state

    def whole(self, x: Tensor, past: State | None) -> tuple[Tensor, State]:
        tape = _Tape(past)
        x = _through(self.middle, x, tape)
        return self.head["2"](F.silu(self.head["0"](x), inplace=True), tape), tape.state


class Decoder(nn.Module):
    """Latents to patched pixels; `whole` comes first here, then `local`."""

    def __init__(self, arch: VAEArch) -> None:
        super().__init__()
        widths = [arch.decoder_width * m for m in (arch.multipliers[-1], *reversed(arch.multipliers))]
        temporal_up = tuple(reversed(arch.temporal))
        self.conv1 = CausalConv3d(arch.z, widths[0], 3)
        self.middle = _middle(widths[0])
        layers: list[nn.Module] = []
        for i, (into, out) in enumerate(pairwise(widths)):
            up = i < len(temporal_up)
            temporal = up and temporal_up[i]
            if arch.residual:
                layers.append(UpLevel(into, out, arch.blocks + 1, up, temporal))
            else:
                halved = into if i == 0 else into // 2  # Wan2.1's upsampling also halves the channels
                layers += [ResidualBlock(halved if j == 0 else out, out) for j in range(arch.blocks + 1)]
                layers += [Upsample(out, out // 2, temporal)] if up else []
        self.upsamples = nn.ModuleList(layers)
        self.head = _head(widths[-1], 3 * arch.patch**2)

    def whole(self, x: Tensor, past: State | None) -> tuple[Tensor, State]:
        tape = _Tape(past)
        return _through(self.middle, self.conv1(x, tape), tape), tape.state

    def local(self, x: Tensor, past: State | None) -> tuple[Tensor, State]:
        tape = _Tape(past)
        x = _through(self.upsamples, x, tape)
        return self.head["2"](F.silu(self.head["0"](x), inplace=True), tape), tape.state


@dataclass(frozen=True)
class _Band:
    """Rows `start`..`stop` of the low-resolution grid, computed from rows `top`..`bottom`."""

    start: int
    stop: int
    top: int
    bottom: int


def _bands(rows: int, height: int | None, halo: int) -> list[_Band]:
    height = height or rows
    return [
        _Band(start, min(start + height, rows), max(start - halo, 0), min(start + height + halo, rows))
        for start in range(0, rows, height)
    ]


class WanVAE(nn.Module):
    """Pixels (b, 3, T, H, W) in [-1, 1] to normalised latents (b, z, t, h, w), and back.

    T must be 1 + n * stride_time; H and W multiples of stride_space (ValueError otherwise: `canvas.py`
    makes sizes fit). Encoding is deterministic: the mean of the posterior (spec: vae, section 1).
    `chunk` is in latent frames, `band` in latent rows; neither changes the result beyond rounding.
    """

    def __init__(self, arch: VAEArch) -> None:
        super().__init__()
        self.arch = arch
        self.encoder = Encoder(arch)
        self.conv1 = CausalConv3d(2 * arch.z, 2 * arch.z, 1)
        self.conv2 = CausalConv3d(arch.z, arch.z, 1)
        self.decoder = Decoder(arch)

    def encode(
        self, video: Float[Tensor, "b 3 T H W"], *, chunk: int | None = None, band: int | None = None
    ) -> Float[Tensor, "b z t h w"]:
        """Encode to normalised latents."""
        mean, _ = self.moments(video, chunk=chunk, band=band).chunk(2, dim=1)
        return self.normalise(mean)

    def decode(
        self, latents: Float[Tensor, "b z t h w"], *, chunk: int | None = None, band: int | None = None
    ) -> Float[Tensor, "b 3 T H W"]:
        """Decode normalised latents to pixels, clamped to [-1, 1]."""
        return torch.cat(list(self.decode_stream(latents, chunk=chunk, band=band)), dim=2)

    def decode_stream(
        self, latents: Float[Tensor, "b z t h w"], *, chunk: int | None = 1, band: int | None = None
    ) -> Iterator[Float[Tensor, "b 3 _ H W"]]:
        """Decode `chunk` latent frames at a time and yield their pixel frames, clamped to [-1, 1]."""
        x = self.conv2(self.denormalise(latents).to(self.conv2.weight.dtype))
        state = None
        for part in x.split(chunk or x.shape[2], dim=2):
            y, state = self.decode_chunk(part, state, band=band)
            yield y.float().clamp_(-1, 1)

    def decode_chunk(
        self, z: Tensor, state: tuple | None, *, band: int | None = None
    ) -> tuple[Tensor, tuple]:
        """Decode denormalised latents that follow those which left `state` (None: the video begins here)."""
        whole, local = state or (None, None)
        x, whole = self.decoder.whole(z, whole)
        scale = 2 ** len(self.arch.temporal)
        bands = _bands(x.shape[3], band, self._halo(self.arch.blocks + 1))
        outs, states = [], []
        for i, b in enumerate(bands):
            y, kept = self.decoder.local(x[:, :, :, b.top : b.bottom], local[i] if local else None)
            outs.append(y[:, :, :, (b.start - b.top) * scale : (b.stop - b.top) * scale])
            states.append(kept)
        y = outs[0] if len(outs) == 1 else torch.cat(outs, dim=3)
        return self._unpatch(y), (whole, tuple(states))

    def moments(
        self, video: Float[Tensor, "b 3 T H W"], *, chunk: int | None = None, band: int | None = None
    ) -> Float[Tensor, "b z2 t h w"]:
        """Mean and log-variance of the posterior, before normalisation; training takes both."""
        self._check(video)
        x = self._patch(video.to(self.conv1.weight.dtype))
        step = self.arch.stride_time * (chunk or x.shape[2])
        parts, state = [], None
        for part in (x[:, :, : 1 + step], *x[:, :, 1 + step :].split(step, dim=2)):
            if part.shape[2] == 0:
                continue
            y, state = self._encode_chunk(part, state, band)
            parts.append(y)
        return self.conv1(torch.cat(parts, dim=2))

    def _encode_chunk(self, x: Tensor, state: tuple | None, band: int | None) -> tuple[Tensor, tuple]:
        whole, local = state or (None, None)
        scale = 2 ** len(self.arch.temporal)
        bands = _bands(x.shape[3] // scale, band, self._halo(self.arch.blocks))
        outs, states = [], []
        for i, b in enumerate(bands):
            rows = x[:, :, :, b.top * scale : b.bottom * scale]
            y, kept = self.encoder.local(rows, local[i] if local else None)
            outs.append(y[:, :, :, b.start - b.top : b.stop - b.top])
            states.append(kept)
        y, whole = self.encoder.whole(outs[0] if len(outs) == 1 else torch.cat(outs, dim=3), whole)
        return y, (whole, tuple(states))

    def _halo(self, blocks: int) -> int:
        """Rows of the low-resolution grid that a row depends on, to either side, through the local layers.

        At level i a row of pixels is 2**-i of a low-resolution row; each block has two 3x3 convolutions,
        each resampling one more, and the ends of the network one each.
        """
        reach = sum((2 * blocks + 2) / 2**i for i in range(len(self.arch.multipliers)))
        return int(reach) + 2

    def normalise(self, z: Tensor) -> Tensor:
        """Subtract the mean and multiply by the reciprocal of std, in float32."""
        mean, inverse = self._scale(z)
        return (z.float() - mean) * inverse

    def denormalise(self, z: Tensor) -> Tensor:
        """Divide by the float32 reciprocal, as the official release does, and add the mean."""
        mean, inverse = self._scale(z)
        return z.float() / inverse + mean

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, self.arch.z, 1, 1, 1)
        mean = torch.tensor(self.arch.mean, device=like.device).view(shape)
        return mean, 1.0 / torch.tensor(self.arch.std, device=like.device).view(shape)

    def _patch(self, x: Tensor) -> Tensor:
        p = self.arch.patch
        return rearrange(x, "b c t (h q) (w r) -> b (c r q) t h w", q=p, r=p)

    def _unpatch(self, x: Tensor) -> Tensor:
        p = self.arch.patch
        return rearrange(x, "b (c r q) t h w -> b c t (h q) (w r)", q=p, r=p)

    def _check(self, video: Tensor) -> None:
        frames, height, width = video.shape[2:]
        if (frames - 1) % self.arch.stride_time:
            raise ValueError(f"{frames} frames are not 1 + a multiple of {self.arch.stride_time}")
        if height % self.arch.stride_space or width % self.arch.stride_space:
            raise ValueError(f"{width}x{height} is not a multiple of {self.arch.stride_space}")
