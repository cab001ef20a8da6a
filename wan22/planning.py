"""From a job to its plan: the stages of the work, how large the parts are, what fits, and what would.

It opens no file and loads no weights. What a network takes is counted of the network (memory/workload.py); how parts
are kept is decided in memory/plan.py.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from wan22.arch import CLIPArch, DiTArch, UMT5Arch, VAEArch
from wan22.assembly import EMBEDDING, FLOAT32, ON_HOST, image_dtype, passing
from wan22.canvas import Canvas
from wan22.catalog import Variant
from wan22.clock import duration
from wan22.codec import PIXELS, Codec, at_once
from wan22.denoiser import BATCH_TOKENS
from wan22.errors import RequestError
from wan22.memory import workload
from wan22.memory.hardware import Hardware
from wan22.memory.meter import Counts, Meter, metered
from wan22.memory.plan import PartSize, Plan, Stage, gigabytes, plan, possible
from wan22.memory.scheme import Scheme
from wan22.models.linear import Linear, StoredLinear
from wan22.models.meta import meta_module
from wan22.models.vae import WanVAE
from wan22.ops.stored import form_for
from wan22.parallel.rows import CountedRows
from wan22.request import Job, resolve
from wan22.types import Request

Arch = DiTArch | VAEArch | UMT5Arch | CLIPArch

AUDIO_BYTES = 4 * 315_472_545
"""Of the released encoder of audio, in float32."""


@dataclass(frozen=True)
class PartDtype:
    """The dtype of each parameter of a transformer, by its name: `dtype`, but for what stays float32."""

    dtype: torch.dtype

    def __call__(self, name: str) -> torch.dtype:
        return torch.float32 if any(part in name for part in FLOAT32) else self.dtype


@dataclass(frozen=True)
class Model:
    """What a plan knows of a model: its row, the dtype that its matrices are multiplied in and that of its VAE, bytes
    of its encoder of audio (0: it has none), and its networks on the meta device, if their weights are kept otherwise.
    without: parts that are left out of the plan, for they work on another device.
    """

    variant: Variant
    dtype: torch.dtype
    vae_dtype: torch.dtype = torch.float32
    audio: int = 0
    networks: Mapping[str, nn.Module] = field(default_factory=dict, compare=False)
    without: tuple[str, ...] = ()

    def part(self, name: str) -> tuple[Arch, torch.dtype | PartDtype]:
        """The sizes of a part and the dtype of its weights."""
        row = self.variant
        if name == "vae":
            return row.vae, self.vae_dtype
        if name == "image" and row.image_encoder is not None:
            return row.image_encoder, image_dtype(self.dtype)
        return (row.text, self.dtype) if name == "text" else (row.dit, PartDtype(self.dtype))

    def sizes(self, device: str) -> dict[str, PartSize]:
        """Bytes of every part."""
        found = {
            name: size_of(self.networks[name], device)
            if name in self.networks
            else part_size(*self.part(name), device)
            for name in (
                *self.variant.experts,
                "vae",
                "text",
                *(("image",) if self.variant.image_encoder else ()),
            )
            if name not in self.without
        }
        return found | ({"audio": PartSize(self.audio, self.audio)} if self.audio else {})


def quantised(row: Variant, dtype: torch.dtype, compute: torch.dtype, kind: str) -> dict[str, nn.Module]:
    """The networks of a model whose weights are kept in `dtype` and multiplied in `compute`, on the meta device; its
    matrices in a kind of `--quantize`, unless that is "none".
    """
    made = {}
    for part, arch in {**dict.fromkeys(row.experts, row.dit), "text": row.text}.items():
        network = meta_module(arch)
        of_part = PartDtype(dtype)
        for name, p in network.named_parameters():
            p.data = p.data.to(of_part(name) if isinstance(arch, DiTArch) else dtype)
        for name, layer in list(network.named_modules()):
            if type(layer) is Linear and kind != "none":
                parent, _, leaf = name.rpartition(".")
                form = form_for(kind, layer.in_features)
                if form is not None:
                    setattr(network.get_submodule(parent), leaf, StoredLinear(layer, form, compute))
        made[part] = network
    return made


@lru_cache(maxsize=64)
def part_size(arch: Arch, dtype: torch.dtype | PartDtype, device: str) -> PartSize:
    """Bytes of a network, whole and streamed. Streamed, two members of each list of blocks are on the device; the
    embedding of the text and what has little work are not.
    """
    network = meta_module(arch)
    for name, p in network.named_parameters():
        p.data = p.data.to(dtype if isinstance(dtype, torch.dtype) else dtype(name))
    return size_of(network, device)


def size_of(network: nn.Module, device: str) -> PartSize:
    """Bytes of a network on the meta device, as its tensors say. See `part_size`."""
    bytes_of = {name: t.nbytes for name, t in (*network.named_parameters(), *network.named_buffers())}
    chains = [[_below(bytes_of, f"{path}.") for path in chain] for chain in passing(network)]
    two = [max((sum(pair) for pair in pairwise(chain)), default=sum(chain)) for chain in chains]
    away = _below(bytes_of, EMBEDDING) + (0 if device == "cpu" else _below(bytes_of, ON_HOST))
    passes, whole = sum(map(sum, chains)), sum(bytes_of.values())
    there = max(two) if isinstance(network, WanVAE) else sum(two)
    return PartSize(whole, whole - passes - away + there, passes, there)


def _below(bytes_of: Mapping[str, int], prefix: str | tuple[str, ...]) -> int:
    return sum(size for name, size in bytes_of.items() if name.startswith(prefix))


def plan_job(
    job: Job, model: Model, hardware: Hardware, memory: str = "auto", tokens: int | None = None
) -> Plan:
    """The plan of a job. tokens: of its longest text; None estimates them.

    Raises OptionError for an unknown memory plan.
    """
    stages = list(stages_of(job, model, hardware.device, tokens or tokens_of(job), hardware.ranks))
    return plan(stages, model.sizes(hardware.device), hardware, memory)


def advised(made: Plan, request: Request, model: Model, memory: str = "auto") -> Plan:
    """The same plan; if it does not fit, with the smallest change that does as its advice."""
    if made.fits:
        return made
    worst, hardware = made.worst.name, made.hardware
    for words, changed, other, how in _changes(request, model, memory):
        try:
            job = resolve(changed, other.variant)
        except RequestError:
            continue
        stages = list(stages_of(job, other, hardware.device, tokens_of(job), hardware.ranks))
        stages.sort(key=lambda stage: stage.name != worst)  # what did not fit is asked first
        sizes = other.sizes(hardware.device)
        if possible(stages, sizes, hardware) and plan(stages, sizes, hardware, how).fits:
            return replace(made, advice=f"{words} would fit")
    return made


def _changes(request: Request, model: Model, memory: str) -> Iterator[tuple[str, Request, Model, str]]:
    """Changes to a request and to how it is made, the least first."""
    if memory != "auto":
        yield "--memory auto", request, model, "auto"
    if model.dtype == torch.float32:
        yield "--dtype bfloat16", request, replace(model, dtype=torch.bfloat16), memory
    canvas = resolve(request, model.variant).canvas
    stride = model.variant.vae.stride_time
    for share in (0.75, 0.5, 0.25, 0.0):
        frames = 1 + stride * int(share * (canvas.drawn_frames - 1) // stride)
        if not model.variant.by_clips and 1 + stride * (share == 0) <= frames < canvas.frames:
            yield f"--frames {frames}", replace(request, frames=frames, seconds=None), model, memory
    for size in _smaller_sizes(canvas, model.variant):
        yield f"--size {size[0]}x{size[1]}", replace(request, size=size), model, memory
    for size in _smaller_sizes(canvas, model.variant):
        frames = 1 + stride
        less = replace(request, size=size, frames=frames, seconds=None)
        yield f"--size {size[0]}x{size[1]} --frames {frames}", less, model, memory


def _smaller_sizes(canvas: Canvas, variant: Variant) -> list[tuple[int, int]]:
    """Sizes in the shape of the video, of the trained areas below its own and of fractions of it."""
    side = variant.grid[0] if variant.speech is None else variant.speech.side
    width, height = canvas.draw
    areas = {w * h / (width * height) for w, h in variant.trained.sizes}
    shares = sorted({*(a for a in areas if a < 0.95), 0.5, 0.25, 0.125}, reverse=True)
    return [
        (max(side, round(width * s**0.5 / side) * side), max(side, round(height * s**0.5 / side) * side))
        for s in shares
    ]


def tokens_of(job: Job) -> int:
    """About how many tokens the longest text has: a third as many as bytes."""
    texts = [*(text for _, text in job.prompts), job.negative or ""]
    return min(job.text_length, max(len(text.encode()) for text in texts) // 3 + 2)


def stages_of(job: Job, model: Model, device: str, tokens: int, ranks: int = 1) -> Iterator[Stage]:
    """The stages of a job, in their order, on one of so many ranks that make it together."""
    every = _stages(job, model, device, tokens, ranks)
    yield from (stage for stage in every if stage.part not in model.without)


def _stages(job: Job, model: Model, device: str, tokens: int, ranks: int) -> Iterator[Stage]:
    given = job.request.prompt_embeds, job.request.negative_prompt_embeds
    texts = (len({text for _, text in job.prompts}) if given[0] is None else 0) + (given[1] is None)
    if texts:
        arch, dtype = model.part("text")
        beside = _dequantised(model.networks.get("text"), device)
        yield Stage("text", "text", partial(_text, arch, tokens, dtype, device, beside), texts)
    yield from _conditions(job, model, device, ranks)
    yield from _experts(job, model, device, tokens, ranks)
    arch, dtype = model.part("vae")
    decode = partial(decoding, arch, decoded(job), dtype, device, ranks=ranks)
    yield Stage("decode", "vae", decode, job.canvas.clips)


def _conditions(job: Job, model: Model, device: str, ranks: int) -> Iterator[Stage]:
    """What the VAE encodes before and between clips, and the encoder of audio."""
    arch, dtype = model.part("vae")
    width, height = job.canvas.draw
    for frames, calls in _encoded(job):
        video = frames, height, width
        yield Stage("condition", "vae", partial(_encode, arch, video, dtype, device, ranks=ranks), calls)
    if model.audio and job.request.audio is not None:
        yield Stage("audio", "audio", lambda scheme: Counts())
    if job.variant.image_encoder is not None:
        yield Stage("image", "image", lambda scheme: Counts())


def _encoded(job: Job) -> Iterator[tuple[int, int]]:
    """Pixel frames of each kind of video that is encoded, and how often."""
    request, row, canvas = job.request, job.variant, job.canvas
    again = canvas.clips - 1
    if row.speech is not None:
        yield 1, 1
        yield row.speech.motion_frames, canvas.clips
        if request.pose is not None:
            yield row.speech.clip_frames + 1, canvas.clips
        return
    if row.animate is not None:
        yield 1, 1
        yield canvas.drawn_frames, 2 * canvas.clips  # the pose, and what is known of the video
        return
    if row.image == "channels":
        yield canvas.drawn_frames, 1 + again
    else:
        if request.image is not None:
            yield 1, 1
        if request.last_image is not None:
            yield 1 + canvas.stride_time, 1
        if again:
            yield canvas.overlap, again
    if request.video is not None:
        yield canvas.drawn_frames, 1


class Expert(NamedTuple):
    """A transformer that works at some level: its steps in all clips, one call of it, and whether without guidance."""

    name: str
    steps: int
    call: workload.Forward
    alone: bool


def experts_of(job: Job, tokens: int) -> Iterator[Expert]:
    """Each transformer that works at some level. tokens: of the longest text."""
    canvas, row = job.canvas, job.variant
    for expert in row.experts:
        steps = sum(job.expert(level) == expert for level in job.schedule)
        if not steps:
            continue
        alone = job.alone(expert)
        both = not alone and canvas.tokens <= BATCH_TOKENS
        known = row.image == "known" and (job.request.image is not None or job.request.last_image is not None)
        call = workload.Forward(
            canvas.latent,
            batch=2 if both else 1,
            prompt=tokens,
            kept=0 if alone or both else 1,
            levels=2 if known else 1,
        )
        yield Expert(expert, steps * canvas.clips, call, alone)


def _experts(job: Job, model: Model, device: str, tokens: int, ranks: int) -> Iterator[Stage]:
    for name, steps, call, alone in experts_of(job, tokens):
        arch, dtype = model.part(name)
        calls = steps * (1 if alone or call.batch > 1 else 2)
        beside = _dequantised(model.networks.get(name), device)
        if isinstance(dtype, PartDtype):
            beside += cached(job, job.variant.dit, dtype("patch_embedding.weight"), 1 if alone else 2)
        yield Stage(name, name, partial(_forward, arch, call, dtype, device, beside), calls, among=ranks)


def cached(job: Job, arch: DiTArch, dtype: torch.dtype, branches: int) -> int:
    """Bytes that the step cache of a job keeps: of each branch what the blocks added, and with `first-block` what the
    first one added for the prompt (sampling/cache.py).
    """
    choice = job.walk.cache
    samples = 0 if choice is None else branches + (choice.name == "first-block")
    return samples * job.canvas.tokens * arch.dim * dtype.itemsize


def _dequantised(network: nn.Module | None, device: str) -> int:
    """Bytes of work to make the largest weight of a network that is kept in another form; one is there at a time."""
    layers = {
        (layer.form, layer.in_features, layer.out_features): layer
        for layer in (() if network is None else network.modules())
        if isinstance(layer, StoredLinear)
    }
    return max((_making(copy.deepcopy(layer), device) for layer in layers.values()), default=0)


def _making(layer: StoredLinear, device: str) -> int:
    with metered(device) as meter:
        meter.place(layer, layer.dtype)
        _ = layer.weight
    return meter.counts.peak


def decoded(job: Job) -> tuple[int, int, int]:
    """The latents that are decoded at once: a clip's own, behind those of its past if audio drives it."""
    t, h, w = job.canvas.latent
    if job.variant.speech is not None:
        t += (job.variant.speech.motion_frames - 1) // job.canvas.stride_time + 1
    if job.variant.animate is not None:
        t -= 1  # of the reference image
    return t, h, w


def _text(
    arch: UMT5Arch, tokens: int, dtype: torch.dtype, device: str, beside: int, scheme: Scheme
) -> Counts:
    counts = workload.text(arch, tokens, dtype, device)
    return replace(counts, peak=counts.peak + beside)


def _forward(
    arch: DiTArch, call: workload.Forward, dtype: PartDtype, device: str, beside: int, scheme: Scheme
) -> Counts:
    counts = workload.forward(arch, replace(call, chunk=scheme.chunk), dtype, device)
    return replace(counts, peak=counts.peak + beside)


def decoding(
    arch: VAEArch,
    latent: tuple[int, int, int],
    dtype: torch.dtype,
    device: str,
    scheme: Scheme,
    ranks: int = 1,
) -> Counts:
    """A VAE decoding latents (t, h, w), as `codec.py` does it; each part of the pixels is let go. ranks: so many have
    some rows each, and one with most of them is counted.
    """
    at = partial(_decoding, arch, latent[1:], dtype, device, scheme.host_history, ranks)
    whole = at_once(math.prod(latent), host_history=scheme.host_history)
    return at(latent[0]) if whole else workload.of_frames(at, latent[0])


def _encode(
    arch: VAEArch,
    video: tuple[int, int, int],
    dtype: torch.dtype,
    device: str,
    scheme: Scheme,
    ranks: int = 1,
) -> Counts:
    """A VAE encoding pixels (T, H, W), which are on the host, as `codec.py` does it."""
    frames = (video[0] - 1) // arch.stride_time + 1
    at = partial(_encoding, arch, video[1:], dtype, device, scheme.host_history, ranks)
    whole = at_once(-(-math.prod(video) // PIXELS), host_history=scheme.host_history)
    return at(frames) if whole else workload.of_frames(at, frames)


@lru_cache(maxsize=64)
def _decoding(
    arch: VAEArch,
    side: tuple[int, int],
    dtype: torch.dtype,
    device: str,
    host_history: bool,
    ranks: int,
    frames: int,
) -> Counts:
    network = meta_module(arch)
    with metered(device) as meter:
        meter.place(network, dtype)
        _count_passing(network, meter)
        codec = Codec(meter.device, host_history=host_history, rows=CountedRows(ranks))
        for pixels in codec.decode(network, meter.empty(1, arch.z, frames, *side)):
            del pixels
    return meter.counts


@lru_cache(maxsize=64)
def _encoding(
    arch: VAEArch,
    side: tuple[int, int],
    dtype: torch.dtype,
    device: str,
    host_history: bool,
    ranks: int,
    frames: int,
) -> Counts:
    network = meta_module(arch)
    shape = 1, 3, 1 + (frames - 1) * arch.stride_time, *side
    with metered(device) as meter:
        meter.place(network, dtype)
        _count_passing(network, meter)
        video = (
            torch.empty(shape) if device != "cpu" else meter.empty(*shape)
        )  # the host's memory stays untouched
        rows = CountedRows(ranks)
        Codec(meter.device, host_history=host_history, rows=rows).encode(network, video)
    return meter.counts


def _count_passing(network: nn.Module, meter: Meter) -> None:
    """Count the bytes of a VAE's layers whenever they work, which is when they come if they pass through the device."""

    def count(layer: nn.Module, given: object) -> None:
        meter.passed += sum(weight.nbytes for weight in layer.parameters())

    for chain in passing(network):
        for path in chain:
            network.get_submodule(path).register_forward_pre_hook(count)


def in_short(made: Plan) -> str:
    """A plan in one line."""
    ways = {stage.part: stage.kept for stage in made.stages}
    said = [
        f"{', '.join(part for part in ways if ways[part] == way)} {way}"
        for way in dict.fromkeys(ways.values())
    ]
    took = f"about {duration(made.seconds)}, {gigabytes(made.peak)} at the peak ({made.worst.name})"
    if made.fits:
        return f"{took}; {'; '.join(said)}"
    return (
        f"{took}, more than the {gigabytes(made.hardware.room)} that are free; {made.advice or 'it may fail'}"
    )
