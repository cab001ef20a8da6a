"""The causal video VAE: Wan2.1's and Wan2.2's are two values of one `VAEArch`.

It knows no file, device or request. A video is a stream: frames may be given in parts of any length, and what a layer
must know of the past is in a `History`: two frames, its own. The official code works in chunks of one and four frames
with caches and sentinels; the equations below are its closed form (spec: vae, section 4), so how many frames are
worked on at once is a matter of memory alone:

    3x3x3 convolution    sees two frames of history, zeros before the first
    temporal down        first frame unchanged; then y(2k-2), y(2k-1), y(2k) -> frame k
    temporal up          first frame unchanged; then u(k-2), u(k-1), u(k) -> frames 2k-1, 2k, with u(0) as zeros

`run` leads frames through a chain of layers, depth first: what one latent frame becomes leaves the network before
the next one enters, and no layer holds more than its history. So memory does not grow with the length of the video.

A frame may lie with several who work in step, each with some of its rows: then every x here is a share of that height,
and `Neighbours` give the few layers that look beyond it what they need.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from wan22.arch import VAEArch
from wan22.ops.attention import attend
from wan22.ops.conv import causal_conv3d, doubled_conv2d
from wan22.ops.fused import norm_silu
from wan22.ops.norm import channel_norm


@runtime_checkable
class Neighbours(Protocol):
    """Those who have the other rows of every frame. All of them call these equally often, in the same order."""

    def around(self, x: Float[Tensor, "b c t h w"], above: int, below: int) -> Float[Tensor, "b c t _ w"]:
        """x with so many rows of what lies above and below it; they are zeros where the frame ends."""
        ...

    def all(self, x: Tensor, dim: int) -> Tensor:
        """Everyone's x, from the top down, joined along `dim`: its rows, or its positions row by row."""
        ...


class History:
    """The frames (b, c, 1, h, w) that each layer still needs of its past, the oldest first.

    A video that is encoded or decoded part by part has one, and every part changes it. A subclass may keep the frames
    elsewhere (memory/history.py). `neighbours`: of a video of which only some rows are here; the past of a layer has
    the rows around it that the layer looks at.
    """

    def __init__(self, neighbours: Neighbours | None = None) -> None:
        self.neighbours = neighbours
        self._pieces: dict[nn.Module, list[Any]] = {}

    def past(self, layer: nn.Module) -> Sequence[Tensor] | None:
        """What `layer` still needs; None if it has seen nothing yet."""
        return self._pieces.get(layer)

    def append(self, layer: nn.Module, x: Tensor, keep: int) -> None:
        """Note that `layer` has seen x, and will need the last `keep` frames of all that it has seen."""
        count = x.shape[2]
        recent = [self.rest(x[:, :, i : i + 1]) for i in range(max(count - keep, 0), count)]
        pieces = [*self._pieces.get(layer, ()), *recent]
        self._pieces[layer] = pieces[max(len(pieces) - keep, 0) :]

    def rest(self, x: Tensor) -> Any:
        """Put a frame where it rests."""
        return _own(x)


def _own(x: Tensor) -> Tensor:
    """x, with memory of its own: a view would keep all that it was cut from."""
    return x.clone() if x.untyped_storage().nbytes() > x.nbytes else x


def run(
    layers: Iterable[nn.Module], x: Tensor, history: History | None, at_once: int | None
) -> Iterator[Tensor]:
    """Lead frames through a chain of layers and yield what comes out; no layer sees more than `at_once` at a time.

    Without a history x is a whole video. A layer may return no frame yet.
    """
    layers = list(layers)
    for i, layer in enumerate(layers):
        if at_once is not None and x.shape[2] > at_once:
            parts = [_own(part) for part in x.split(at_once, dim=2)]
            del x
            while parts:
                yield from run(layers[i:], parts.pop(0), history, at_once)
            return
        x = layer(x, history)
        if x.shape[2] == 0:
            return
    yield x


class CausalConv3d(nn.Conv3d):
    """A 3-D convolution that keeps the names of nn.Conv3d and looks only back in time."""

    def forward(self, x: Tensor, history: History | None = None) -> Tensor:
        """Convolve frames that follow those of the history, or a whole video."""
        if history is None or self.kernel_size[0] == 1:
            return causal_conv3d(x, self.weight, self.bias)
        x, halo = _around(x, history, 1, 1)
        y = causal_conv3d(x, self.weight, self.bias, history.past(self) or (), halo=halo)
        history.append(self, x, keep=2)
        return y


def _around(x: Tensor, history: History | None, above: int, below: int) -> tuple[Tensor, bool]:
    """x with rows of its neighbours, and whether it has any."""
    if history is None or history.neighbours is None:
        return x, False
    return history.neighbours.around(x, above, below), True


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

    def forward(self, x: Tensor, history: History | None) -> Tensor:
        h = self.residual["2"](norm_silu(x, self.residual["0"].gamma), history)
        h = self.residual["6"](norm_silu(h, self.residual["3"].gamma), history)
        return h + self.shortcut(x)


class AttentionBlock(nn.Module):
    """Attention among the positions of one frame; a single head as wide as the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, history: History | None) -> Tensor:
        b, _, _, h, w = x.shape
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        qkv = self.to_qkv(self.norm(frames))
        # Contiguous, because the fast kernels of CUDA refuse other strides than 1 along the channels.
        qkv = rearrange(qkv, "f (three c) h w -> three f (h w) 1 c", three=3).contiguous()
        q, kv = qkv[0], qkv[1:]
        if history is not None and history.neighbours is not None:
            kv = history.neighbours.all(kv, dim=2)
        y = attend(q, kv[0], kv[1])
        y = self.proj(rearrange(y, "f (h w) 1 c -> f c h w", h=h, w=w))
        return x + rearrange(y, "(b t) c h w -> b c t h w", b=b)


class Downsample(nn.Module):
    """Halve rows and columns, and time too if `temporal`."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, stride=2)})
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: Tensor, history: History | None) -> Tensor:
        b = x.shape[0]
        x, halo = _around(x, history, 0, 1)
        frames = F.pad(rearrange(x, "b c t h w -> (b t) c h w"), (0, 1, 0, 0 if halo else 1))
        y = rearrange(self.resample["1"](frames), "(b t) c h w -> b c t h w", b=b)
        return y if self.time_conv is None else self._halve_time(y, history)

    def _halve_time(self, y: Tensor, history: History | None) -> Tensor:
        past = None if history is None else history.past(self)
        head = y[:, :, :1] if past is None else y[:, :, :0]  # the very first frame stands for itself
        seen = torch.cat([*past, y], dim=2) if past else y
        made = (seen.shape[2] - 1) // 2
        if history is not None:
            history.append(self, y, keep=seen.shape[2] - 2 * made)
        if made == 0:
            return head
        return torch.cat([head, self.time_conv(seen[:, :, : 2 * made + 1])], dim=2)


class Upsample(nn.Module):
    """Double rows and columns (to `out` channels), and time before them if `temporal`."""

    def __init__(self, channels: int, out: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, out, 3, padding=1)})
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, history: History | None) -> Tensor:
        if self.time_conv is not None:
            x = self._double_time(x, history)
        b = x.shape[0]
        conv = self.resample["1"]
        x, halo = _around(x, history, 1, 1)
        y = doubled_conv2d(rearrange(x, "b c t h w -> (b t) c h w"), conv.weight, conv.bias, halo=halo)
        return rearrange(y, "(b t) c h w -> b c t h w", b=b)

    def _double_time(self, x: Tensor, history: History | None) -> Tensor:
        past = None if history is None else history.past(self)
        head = x[:, :, :1] if past is None else x[:, :, :0]  # the very first frame is not doubled,
        x = x[:, :, head.shape[2] :]  # nor is it anyone's history
        if history is not None:
            history.append(self, x, keep=2)
        if x.shape[2] == 0:
            return head
        pairs = causal_conv3d(x, self.time_conv.weight, self.time_conv.bias, past or ())
        return torch.cat([head, rearrange(pairs, "b (two c) t h w -> b c (t two) h w", two=2)], dim=2)


def average_down(x: Tensor, out: int, time: int, space: int) -> Tensor:
    """Wan2.2's shortcut down: fold time x space x space into channels and average groups of them."""
    x = rearrange(x, "b c (t i) (h j) (w k) -> b (c i j k) t h w", i=time, j=space, k=space)
    return rearrange(x, "b (o g) t h w -> b o g t h w", o=out).mean(dim=2)


def repeat_up(x: Tensor, out: int, time: int, space: int) -> Tensor:
    """Wan2.2's shortcut up: repeat channels and unfold them into time x space x space."""
    x = x.repeat_interleave(out * time * space * space // x.shape[1], dim=1)
    return rearrange(x, "b (c i j k) t h w -> b c (t i) (h j) (w k)", i=time, j=space, k=space)


class DownLevel(nn.Module):
    """One level of Wan2.2's encoder: blocks and a downsampling, with the averaging shortcut around them."""

    def __init__(self, into: int, out: int, blocks: int, down: bool, temporal: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [ResidualBlock(into if i == 0 else out, out) for i in range(blocks)]
        self.downsamples = nn.ModuleList(layers + ([Downsample(out, temporal)] if down else []))
        self.out, self.time, self.space = out, 2 if temporal else 1, 2 if down else 1

    def forward(self, x: Tensor, history: History | None) -> Tensor:
        y = x
        for layer in self.downsamples:
            y = layer(y, history)
        return y + self._shortcut(x, history)

    def _shortcut(self, x: Tensor, history: History | None) -> Tensor:
        if self.time == 2:
            past = None if history is None else history.past(self)
            past = [torch.zeros_like(x[:, :, :1])] if past is None else past  # the first frame's other half
            odd = (x.shape[2] + sum(piece.shape[2] for piece in past)) % 2
            if history is not None:
                history.append(self, x, keep=odd)
            x = torch.cat([*past, x], dim=2)
            x = x[:, :, : x.shape[2] - odd]
        return average_down(x, self.out, self.time, self.space)


class UpLevel(nn.Module):
    """One level of Wan2.2's decoder; the last, which does not upsample, has no shortcut."""

    def __init__(self, into: int, out: int, blocks: int, up: bool, temporal: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [ResidualBlock(into if i == 0 else out, out) for i in range(blocks)]
        self.upsamples = nn.ModuleList(layers + ([Upsample(out, out, temporal)] if up else []))
        self.out, self.time, self.up = out, 2 if temporal else 1, up

    def forward(self, x: Tensor, history: History | None) -> Tensor:
        y = x
        for layer in self.upsamples:
            y = layer(y, history)
        # The very first frame is not doubled: of its shortcut the last half stays.
        return y + repeat_up(x, self.out, self.time, 2)[:, :, -y.shape[2] :] if self.up else y


class Head(nn.ModuleDict):
    """norm, SiLU, conv: the end of either network."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__({"0": ChannelNorm(into), "2": CausalConv3d(into, out, 3)})

    def forward(self, x: Tensor, history: History | None) -> Tensor:
        return self["2"](norm_silu(x, self["0"].gamma), history)


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResidualBlock(channels, channels), AttentionBlock(channels), ResidualBlock(channels, channels)]
    )


class Encoder(nn.Module):
    """Patched pixels to the moments of the latents."""

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
        self.head = Head(widths[-1], 2 * arch.z)

    def forward(
        self, x: Tensor, history: History | None = None, at_once: int | None = None
    ) -> Iterator[Tensor]:
        """Lead frames through (`run`)."""
        return run([self.conv1, *self.downsamples, *self.middle, self.head], x, history, at_once)


class Decoder(nn.Module):
    """Latents to patched pixels."""

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
        self.head = Head(widths[-1], 3 * arch.patch**2)

    def forward(
        self, x: Tensor, history: History | None = None, at_once: int | None = None
    ) -> Iterator[Tensor]:
        """Lead frames through (`run`)."""
        return run([self.conv1, *self.middle, *self.upsamples, self.head], x, history, at_once)


LAYERS = (CausalConv3d, ResidualBlock, AttentionBlock, Downsample, Upsample, Head)
"""What an encoder or decoder is a chain of; between them stand shortcuts, which have no weights."""


def layers(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of an encoder or decoder in the order of their work, with their names."""
    for name, child in network.named_children():
        if isinstance(child, LAYERS):
            yield prefix + name, child
        else:
            yield from layers(child, f"{prefix}{name}.")


class WanVAE(nn.Module):
    """Pixels (b, 3, T, H, W) in [-1, 1] to normalised latents (b, z, t, h, w), and back.

    T must be 1 + n * stride_time; H and W multiples of stride_space (ValueError otherwise: `canvas.py`
    makes sizes fit). Encoding is deterministic: the mean of the posterior (spec: vae, section 1).

    `chunk` is how many frames a layer sees at once; None is all, which is faster for small videos and has a gradient.
    It does not change the result beyond rounding. `history` is where the past rests meanwhile: a new `History`. With
    neighbours in it, what is given and returned are some rows of a video: whole latents.
    """

    def __init__(self, arch: VAEArch) -> None:
        super().__init__()
        self.arch = arch
        self.encoder = Encoder(arch)
        self.conv1 = CausalConv3d(2 * arch.z, 2 * arch.z, 1)
        self.conv2 = CausalConv3d(arch.z, arch.z, 1)
        self.decoder = Decoder(arch)

    def encode(
        self, video: Float[Tensor, "b 3 T H W"], *, chunk: int | None = None, history: History | None = None
    ) -> Float[Tensor, "b z t h w"]:
        """Encode to normalised latents."""
        mean, _ = self.moments(video, chunk=chunk, history=history).chunk(2, dim=1)
        return self.normalise(mean)

    def encode_stream(
        self,
        parts: Iterable[Float[Tensor, "b 3 _ H W"]],
        *,
        chunk: int | None = 1,
        history: History | None = None,
    ) -> Iterator[Float[Tensor, "b z _ h w"]]:
        """Encode a video that comes in parts of any length and yield its normalised latents."""
        for moments in self._moments(parts, chunk, history or History()):
            yield self.normalise(moments.chunk(2, dim=1)[0])

    def decode(
        self, latents: Float[Tensor, "b z t h w"], *, chunk: int | None = None, history: History | None = None
    ) -> Float[Tensor, "b 3 T H W"]:
        """Decode normalised latents to pixels, clamped to [-1, 1]."""
        return torch.cat(list(self.decode_stream(latents, chunk=chunk, history=history)), dim=2)

    def decode_stream(
        self, latents: Float[Tensor, "b z t h w"], *, chunk: int | None = 1, history: History | None = None
    ) -> Iterator[Float[Tensor, "b 3 _ H W"]]:
        """Decode and yield pixel frames, clamped to [-1, 1], as they are made: at most `chunk` at a time."""
        z = self.conv2(self.denormalise(latents).to(self.conv2.weight.dtype))
        for y in self.decoder(z, self._history(chunk, history), chunk):
            yield self._unpatch(y).float().clamp_(-1, 1)

    def decode_chunk(self, z: Tensor, history: History | None) -> tuple[Tensor, History]:
        """Decode denormalised latents that follow those which `history` has seen (None: the video begins here).

        Returns pixel frames, not clamped, and the history for the next call.
        """
        history = history or History()
        (y,) = self.decoder(z, history)
        return self._unpatch(y), history

    def moments(
        self, video: Float[Tensor, "b 3 T H W"], *, chunk: int | None = None, history: History | None = None
    ) -> Float[Tensor, "b z2 t h w"]:
        """Mean and log-variance of the posterior, before normalisation; training takes both."""
        self.check(video)
        parts = video.split(chunk or video.shape[2], dim=2)
        return torch.cat(list(self._moments(parts, chunk, self._history(chunk, history))), dim=2)

    def _moments(
        self, parts: Iterable[Tensor], chunk: int | None, history: History | None
    ) -> Iterator[Tensor]:
        for part in parts:
            x = self._patch(part.to(self.conv1.weight.dtype))
            for y in self.encoder(x, history, chunk):
                yield self.conv1(y)

    @staticmethod
    def _history(chunk: int | None, history: History | None) -> History | None:
        """A whole video needs none."""
        return History() if history is None and chunk is not None else history

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
        mean, std = (
            torch.tensor(row).to(like.device, non_blocking=True) for row in (self.arch.mean, self.arch.std)
        )
        return mean.view(shape), 1.0 / std.view(shape)

    def _patch(self, x: Tensor) -> Tensor:
        p = self.arch.patch
        return rearrange(x, "b c t (h q) (w r) -> b (c r q) t h w", q=p, r=p)

    def _unpatch(self, x: Tensor) -> Tensor:
        p = self.arch.patch
        return rearrange(x, "b (c r q) t h w -> b c t (h q) (w r)", q=p, r=p)

    def check(self, video: Float[Tensor, "b 3 T H W"]) -> None:
        """Raise ValueError for a video of sizes that the grid of latents does not allow."""
        frames, height, width = video.shape[2:]
        if (frames - 1) % self.arch.stride_time:
            raise ValueError(f"{frames} frames are not 1 + a multiple of {self.arch.stride_time}")
        if height % self.arch.stride_space or width % self.arch.stride_space:
            raise ValueError(f"{width}x{height} is not a multiple of {self.arch.stride_space}")
