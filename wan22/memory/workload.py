"""What each network of a video takes: its real code, counted by a Meter on a few layers and frames that stand for all.

Layers of one kind are alike, and so are the frames of a stream after the first few: two counts that differ by one give
what one more costs, and the rest is multiplication. `device` is "cuda" (any accelerator) or "cpu", as for the Meter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from wan22.arch import DiTArch, UMT5Arch
from wan22.memory.meter import Counts, Meter, extrapolated, metered
from wan22.models.animate import AnimateDiT
from wan22.models.dit import PATCH, ExtraTokens, NoiseLevels, TextMemory, WanDiT
from wan22.models.meta import meta_module
from wan22.models.speech import SpeechDiT
from wan22.ops import attention as backends

DtypeOf = Callable[[str], torch.dtype]
Around = Callable[[WanDiT], Callable[..., Tensor]]
_STEADY = 3
"""Latent frames after which every further one of a stream costs the same."""


@dataclass(frozen=True)
class Forward:
    """One call of a transformer: the latent grid (t, h, w), samples in the batch, tokens of the prompt, other prompts
    of which it keeps keys and values meanwhile (one if guidance works in turns), and distinct noise levels.
    """

    grid: tuple[int, int, int]
    batch: int = 1
    prompt: int = 128
    kept: int = 0
    levels: int = 1
    chunk: int | None = None


def alone(call: Forward) -> Forward:
    """The call of one branch of guidance, where another device has the other."""
    return replace(call, batch=1, kept=0)


@lru_cache(maxsize=64)
def text(arch: UMT5Arch, tokens: int, dtype: torch.dtype, device: str) -> Counts:
    """One prompt of `tokens` tokens through the text encoder."""

    @lru_cache(maxsize=4)
    def at(layers: int) -> Counts:
        network = meta_module(replace(arch, layers=layers))
        with metered(device, scalar=tokens) as meter:
            meter.place(network, dtype)
            ids, mask = (meter.empty(1, tokens, dtype=torch.int64) for _ in range(2))
            network(ids, mask)
        return meter.counts

    return extrapolated(at(2), at(3), arch.layers - 2) if arch.layers > 3 else at(arch.layers)


@lru_cache(maxsize=64)
def forward(
    arch: DiTArch, call: Forward, dtype: torch.dtype | DtypeOf, device: str, around: Around | None = None
) -> Counts:
    """One call of a transformer, beside its weights and what it keeps of the prompts. around: what is called in
    place of the network, made of it.
    """

    @lru_cache(maxsize=4)
    def at(layers: int, taps: int) -> Counts:
        return _forward(_smaller(arch, layers, taps), call, dtype, device, around)

    if arch.layers <= 3:
        return _forward(arch, call, dtype, device, around)
    if arch.speech is not None:
        least, more = 0, len(arch.speech.inject)
    elif arch.animate is not None:
        least, more = 1, len(arch.animate.taps(arch.layers)) - 1
    else:
        least, more = 0, 0
    counts = extrapolated(at(2, least), at(3, least), arch.layers - 2)
    return counts.plus(at(2, least + 1), more).plus(at(2, least), -more) if more else counts


def _smaller(arch: DiTArch, layers: int, taps: int) -> DiTArch:
    """A transformer of so many blocks, after so many of which audio or a face is read."""
    speech = None if arch.speech is None else replace(arch.speech, inject=tuple(range(taps)))
    animate = None if arch.animate is None else replace(arch.animate, every=layers // taps)
    return replace(arch, layers=layers, speech=speech, animate=animate)


def of_frames(at: Callable[[int], Counts], frames: int) -> Counts:
    """Counts of a stream of latent frames, from those of few."""
    return (
        at(frames) if frames <= _STEADY + 1 else extrapolated(at(_STEADY), at(_STEADY + 1), frames - _STEADY)
    )


def _forward(
    arch: DiTArch, call: Forward, dtype: torch.dtype | DtypeOf, device: str, around: Around | None = None
) -> Counts:
    network = meta_module(arch)
    with metered(device) as meter:
        meter.place(network, dtype)
        assert isinstance(network, WanDiT)
        network.chunk = call.chunk
        network.attention = backends.sdpa if device != "cpu" else _one_head(meter)
        weight = network.get_submodule("text_embedding.0").weight.dtype
        prompts = [_prompt(network, meter, call, n, weight) for n in (call.batch, *[1] * call.kept)]
        told = _driven(network, meter, call, weight)
        known = arch.in_channels - arch.out_channels
        x = meter.empty(call.batch, arch.out_channels, *call.grid)
        beside = meter.empty(call.batch, known, *call.grid) if known else None
        levels = NoiseLevels(torch.zeros(call.batch, call.levels), _index(meter, call))
        meter.restart()
        (network if around is None else around(network))(x, levels, prompts[0], beside, told)
    return meter.counts


def _index(meter: Meter, call: Forward) -> Tensor | None:
    """Which level each token has, if there are several."""
    t, h, w = (size // side for size, side in zip(call.grid, PATCH, strict=True))
    return None if call.levels == 1 else meter.empty(t * h * w, dtype=torch.int64)


def _prompt(network: WanDiT, meter: Meter, call: Forward, batch: int, dtype: torch.dtype) -> TextMemory:
    """What a network keeps of a prompt for so many samples, and of an image, if it reads one there."""
    arch = network.arch
    contexts = [meter.empty(call.prompt, arch.text_dim, dtype=dtype)] * batch
    if not isinstance(network, AnimateDiT):
        return network.read_text(contexts)
    image = meter.empty(batch, network.animate.image_tokens, network.animate.image_dim, dtype=dtype)
    return network.read_text(contexts, image=image)


def _driven(network: WanDiT, meter: Meter, call: Forward, dtype: torch.dtype) -> ExtraTokens | None:
    """What a network is told of the audio or the driving video."""
    if isinstance(network, SpeechDiT):
        return network.read_speech(**_speech(meter, network.arch, call, dtype))
    if not isinstance(network, AnimateDiT):
        return None
    (t, h, w), side = call.grid, network.animate.face_size
    pose = meter.empty(call.batch, network.animate.pose_channels, t - 1, h, w, dtype=dtype)
    face = meter.empty(call.batch, 3, 4 * (t - 2) + 1, side, side, dtype=dtype)
    return network.read_animate(pose, face)


def _speech(meter: Meter, arch: DiTArch, call: Forward, dtype: torch.dtype) -> dict[str, Tensor | None]:
    """What a network that audio drives is told of a clip, without a pose."""
    assert arch.speech is not None
    t, h, w = call.grid
    batch, channels, told = call.batch, arch.in_channels, arch.speech
    return {
        "reference": meter.empty(batch, channels, 1, h, w, dtype=dtype),
        "motion": meter.empty(batch, channels, sum(told.history), h, w, dtype=dtype),
        "audio": meter.empty(batch, told.audio_states, told.audio_dim, 4 * t),
    }


def _one_head(meter: Meter) -> backends.Attention:
    """The CPU's attention, which goes by heads and blocks of queries: one of them is counted, and stands for all."""

    def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        b, length, n, _ = q.shape
        rows = min(max(backends._SCORES // k.shape[1], 64), length)
        if k.shape[1] < 256 or length < 64:
            return backends.attend(q, k, v, bias)
        out = torch.empty_like(q)
        with meter.times(b * n * length / rows):
            one = None if bias is None else bias[:1]
            out[:1, :rows, :1] = backends.attend(q[:1, :rows, :1], k[:1, :, :1], v[:1, :, :1], one)
        return out

    return attention
