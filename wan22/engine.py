"""The engine: a request in, events out. The one file that puts conditioning, sampling, weights and memory together.

    check -> text -> known pictures -> noise -> steps (expert by noise level) -> latents -> frames

`Engine.generate` is a generator: the caller owns progress, and cancels by closing it, which takes effect before the
next step and leaves nothing behind. It writes no file; the edges do.
"""

import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wan22 import finish
from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.canvas import Canvas
from wan22.catalog import Variant
from wan22.conditioning.known import Known, channels, cover, frames, to_pixels
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, DecodeError
from wan22.library import Model, open_model
from wan22.memory.device import free_memory, pick_device, pick_dtype, wait
from wan22.memory.placement import Placement, plan
from wan22.models.dit import NoiseLevels, TextMemory
from wan22.request import Job, resolve
from wan22.sampling import SOLVERS, add_noise, cfg, draw_noise, hold, velocity_to_x0
from wan22.sampling.denoise import Denoise
from wan22.types import Event, Finished, Latents, Level, Notice, Phase, Progress, Request
from wan22.version import __version__
from wan22.weights.dialects.comfy import SPIECE
from wan22.weights.fingerprint import fingerprint
from wan22.weights.load import load_module, meta_module
from wan22.weights.reader import SUFFIXES, open_reader

Arch = DiTArch | VAEArch | UMT5Arch

SMALL = 200_000_000
"""Parameters up to which a model counts as small: float32 on the CPU, both guidance branches in one batch."""

_BATCH_TOKENS = 4096
_REMEMBERED_TEXTS = 16
_FLOAT32 = ("norm", "modulation", "time_embedding", "time_projection", "head.")
"""Parts of parameter names that stay float32 in every precision (spec: transformer, section 5)."""


@dataclass(frozen=True)
class _Texts:
    """The encoded prompt and negative prompt, each (s, d)."""

    positive: Tensor
    negative: Tensor


class Engine:
    """An assembled model. Make one with `load`; it serves any number of requests, one at a time."""

    def __init__(
        self,
        name: str,
        variant: Variant,
        *,
        tokenizer: Tokenizer,
        placement: Placement,
        dtype: torch.dtype,
        weights: Mapping[str, str],
    ) -> None:
        self.name, self.variant = name, variant
        self.device, self.dtype = placement.device, dtype
        self.weights = dict(weights)
        self._tokenizer, self._placement = tokenizer, placement
        self._texts: OrderedDict[str, Tensor] = OrderedDict()

    def check(self, request: Request) -> Canvas:
        """Validate a request and return its sizes; raises a RequestError before any expensive work."""
        return resolve(request, self.variant).canvas

    def generate(self, request: Request) -> Iterator[Event]:
        """Make a film, one event after another (see types.Event).

        Raises RequestError for a request that cannot be served, before anything is loaded; DecodeError if the VAE
        fails after the latents were handed out.
        """
        job = resolve(request, self.variant)
        yield from self._notices(job)
        texts = yield from self._encode_texts(job)
        known, x = yield from self._condition(job)
        for event in self._denoise(job, texts, known, x):
            if isinstance(event, Progress):
                x = event.x
            yield event
        if not bool(torch.isfinite(x).all()):
            raise CheckpointError(
                f"{self.name} gave numbers that are not finite in {self.dtype}; try another dtype, and `wan22 verify` "
                "its files"
            )
        latents = {"latents": x.float().cpu()}
        recipe = self._recipe(job)
        yield Latents(latents, recipe)
        yield from self.decode_latents(latents, recipe)

    def decode_latents(self, tensors: dict[str, Tensor], recipe: dict[str, Any]) -> Iterator[Event]:
        """Turn the content of a Latents event into Frames and Finished; also long after it was made.

        Raises CheckpointError if tensors and recipe do not belong together or to this model, and DecodeError if the
        VAE fails.
        """
        canvas = finish.canvas_of(recipe, self.variant)
        latents = finish.check_latents(tensors, canvas, self.variant)
        yield Phase("decode", f"{canvas.latent[0]} latent frames")
        try:
            stream = self._decode(self.vae(), latents[None])
            yield from finish.deliver(stream, canvas)
        except (RuntimeError, MemoryError) as error:
            raise DecodeError(f"the VAE could not decode the latents: {error}") from error
        yield Finished(canvas.fps, recipe)

    def encode_text(self, texts: Sequence[str]) -> list[Tensor]:
        """Encode prompts to contexts (s_i, text_dim) on the device; the last few are remembered.

        Each is encoded by itself, so that its bits do not depend on what else was asked, now or before.
        """
        for text in dict.fromkeys(texts):
            if text not in self._texts:
                ids, mask = self._tokenizer.encode([text], self.variant.dit.text_len)
                encoder = self._placement.bring("text")
                with torch.inference_mode():
                    self._texts[text] = encoder.contexts(ids.to(self.device), mask.to(self.device))[0]
        found = [self._texts[text] for text in texts]
        while len(self._texts) > _REMEMBERED_TEXTS:
            self._texts.popitem(last=False)
        return found

    def vae(self) -> nn.Module:
        """The VAE, on the device."""
        return self._placement.bring("vae")

    def encode_pixels(self, video: Tensor) -> Tensor:
        """Encode pixels (b, 3, T, H, W) in [-1, 1] to normalised latents, float32."""
        vae = self.vae()
        with torch.inference_mode():
            return vae.encode(video.to(self.device), chunk=None if self._small_video(video) else 1).float()

    def _decode(self, vae: nn.Module, latents: Tensor) -> Iterator[Tensor]:
        whole = math.prod(latents.shape[2:]) <= _BATCH_TOKENS
        stream = vae.decode_stream(latents.to(self.device), chunk=None if whole else 1)
        while True:
            with torch.inference_mode():
                part = next(stream, None)
            if part is None:
                return
            yield part[0]

    def _small_video(self, video: Tensor) -> bool:
        return math.prod(video.shape[2:]) <= _BATCH_TOKENS * 256

    def _notices(self, job: Job) -> Iterator[Event]:
        for text in job.notices:
            yield Notice(text)
        for what, text in (("prompt", job.prompt), ("negative prompt", job.request.negative or "")):
            unread = self._tokenizer.unread(text, self.variant.dit.text_len)
            if unread:
                yield Notice(f"the {what} is too long; this part is not read: {unread!r}")
            unknown = self._tokenizer.unknown(text)
            if unknown:
                yield Notice(f"{self.name} does not know these words of the {what}: {', '.join(unknown)}")

    def _encode_texts(self, job: Job) -> Generator[Event, None, _Texts]:
        detail = "" if self._placement.is_here("text") else "loading the text encoder"
        yield Phase("text", detail)
        positive, negative = self.encode_text([job.prompt, job.negative])
        return _Texts(positive, negative)

    def _condition(self, job: Job) -> Generator[Event, None, tuple[Known, Tensor]]:
        """Encode what is known of the film; return it and the sample to start from."""
        canvas, request = job.canvas, job.request
        x = draw_noise((self.variant.dit.out_channels, *canvas.latent), request.seed)
        known = Known()
        if request.image is not None or request.last_image is not None:
            yield Phase("condition", "encoding the picture")
            if self.variant.image == "channels":
                known = channels(
                    request.image,
                    request.last_image,
                    canvas,
                    self.encode_pixels,
                    exact_shape=request.size is not None,
                )
            else:
                known = frames(request.image, request.last_image, canvas, self.encode_pixels)
        if request.video is not None:
            yield Phase("condition", "encoding the clip")
            pictures = finish.spread(request.video, canvas)
            film = torch.stack([to_pixels(cover(p, canvas.draw)) for p in pictures], dim=1)
            x = add_noise(self.encode_pixels(film[None])[0].cpu(), x, job.schedule[0])
        return known, x

    def _denoise(self, job: Job, texts: _Texts, known: Known, x: Tensor) -> Iterator[Event]:
        """Walk the sample through the schedule; the expert in charge is brought in when its turn comes."""
        yield Phase("denoise", f"{len(job.schedule)} steps, {job.solver}")
        x = x.to(self.device)
        experts = _Experts(self._placement, job, texts, known)
        denoise: Denoise = experts.denoise
        if known.latents is not None and known.frames is not None:
            where = known.frames.view(1, -1, 1, 1).to(self.device)
            denoise = hold(denoise, known.latents.to(self.device), where)
        steps = SOLVERS[job.solver](denoise, x, job.schedule)
        clock = _Clock(len(job.schedule))
        for level in job.schedule:
            yield from experts.arrive(level)
            with clock, torch.inference_mode():
                step = next(steps)
                wait(self.device)  # so that seconds are true, and closing stops at once
            seconds, left = clock.read()
            yield Progress(
                clock.done, clock.total, experts.name, float(level.sigma), seconds, left, step.x, step.x0
            )

    def _recipe(self, job: Job) -> dict[str, Any]:
        return {
            "wan22": __version__,
            "model": self.name,
            "weights": self.weights,
            **job.as_recipe(),
            "torch": torch.__version__,
            "device": _device_name(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }


class _Experts:
    """The networks of one job: which one works at a level, with the text read once for each."""

    def __init__(self, placement: Placement, job: Job, texts: _Texts, known: Known) -> None:
        self.placement, self.job, self.texts, self.known = placement, job, texts, known
        self.channels = None if known.channels is None else known.channels[None].to(placement.device)
        self.name = ""
        self.network: nn.Module | None = None
        self.memories: tuple[TextMemory, ...] = ()

    def arrive(self, level: Level) -> Iterator[Event]:
        """Bring in the expert of a level, if it is not the one at work."""
        name = self.job.expert(level)
        if name == self.name:
            return
        if not self.placement.is_here(name):
            yield Phase("load", f"the {name}-noise expert" if name != "dit" else "the transformer")
        self.network, self.memories = None, ()  # let go of the old one before the new one comes
        self.network = self.placement.bring(name)
        self.name = name
        with torch.inference_mode():
            self.memories = self._read_texts(self.network)

    def _read_texts(self, network: nn.Module) -> tuple[TextMemory, ...]:
        """One memory for both branches in a batch, or one for each, or the prompt's alone without guidance."""
        both = [self.texts.positive, self.texts.negative]
        if self.job.scale(self.name) == 1:
            both = both[:1]
        if len(both) == 2 and self.job.canvas.tokens <= _BATCH_TOKENS:
            return (network.read_text(both),)
        return tuple(network.read_text([text]) for text in both)

    def denoise(self, x: Tensor, level: Level) -> Tensor:
        """The clean sample that the expert in charge sees: guided velocity, turned into x0."""
        levels = self._levels(level, x)
        known = self.channels
        if len(self.memories) == 1 and self.job.scale(self.name) != 1:
            doubled = NoiseLevels(levels.values.expand(2, -1), levels.index)
            twice = None if known is None else known.expand(2, -1, -1, -1, -1)
            velocities = self.network(x.expand(2, *x.shape), doubled, self.memories[0], twice)
        else:
            velocities = torch.cat([self.network(x[None], levels, memory, known) for memory in self.memories])
        velocity = velocities[0]
        if len(velocities) == 2:
            velocity = cfg(velocity, velocities[1], self.job.scale(self.name))
        return velocity_to_x0(x, velocity, level)

    def _levels(self, level: Level, x: Tensor) -> NoiseLevels:
        now = torch.tensor([[level.timestep]], dtype=torch.float32, device=x.device)
        if self.known.frames is None:
            return NoiseLevels(now)
        unknown = (~self.known.frames).to(x.device, torch.int64)
        index = unknown.repeat_interleave(self.job.canvas.tokens // len(unknown))
        return NoiseLevels(torch.cat([torch.zeros_like(now), now], dim=1), index)


class _Clock:
    """Times steps and tells how long the others will take. What lies between them (an expert's loading, the caller's
    own work) is not counted, and the first one's warm-up does not spoil the estimate.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._began = 0.0
        self._taken: list[float] = []

    @property
    def done(self) -> int:
        """Steps that were timed."""
        return len(self._taken)

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._taken.append(time.monotonic() - self._began)

    def read(self) -> tuple[float, float]:
        """The seconds of the last step, and those that are left."""
        recent = self._taken[1:][-5:] or self._taken
        return self._taken[-1], sum(recent) / len(recent) * (self.total - self.done)


def load(
    model: str | os.PathLike[str] = "nano", *, device: str = "auto", dtype: str = "auto", memory: str = "auto"
) -> Engine:
    """Assemble a model: find its files, choose device, precision and where its parts rest. Weights come when needed.

    model: a catalogue name ("nano", "t2v-A14B"...), a hub id that is in the local cache, or a folder.
    device: "auto", "cpu", "cuda", "cuda:1", "mps". dtype: "auto", "float32", "bfloat16", "float16".
    memory: "auto", or where the parts rest: "device", "host", "disk".
    Raises OptionError, DeviceError or CheckpointError.
    """
    where = pick_device(device)
    found = open_model(model)
    arches = _arches(found)
    counts = {part: sum(p.numel() for p in meta_module(arch).parameters()) for part, arch in arches.items()}
    precision = pick_dtype(dtype, where, small=sum(counts.values()) <= SMALL)
    # The VAE is float32 in the official release, whatever the rest is.
    dtypes = {part: torch.float32 if part == "vae" else precision for part in arches}
    sizes = {part: counts[part] * dtypes[part].itemsize for part in arches}
    host = torch.device("cpu")
    rest = plan(sizes, where, free_memory(where), free_memory(host), memory)
    loaders: dict[str, Callable[[torch.device], nn.Module]] = {
        part: partial(_load_part, found.parts[part], arches[part], dtypes[part]) for part in arches
    }
    weights = {part: fingerprint(found.parts[part]) for part in arches}
    return Engine(
        found.name,
        found.variant,
        tokenizer=_open_tokenizer(found.tokenizer),
        placement=Placement(loaders, rest, where),
        dtype=precision,
        weights=weights,
    )


def _arches(model: Model) -> dict[str, Arch]:
    row = model.variant
    return {**dict.fromkeys(row.experts, row.dit), "vae": row.vae, "text": row.text}


def _open_tokenizer(path: Path) -> Tokenizer:
    """From its own file, or from the bytes that ComfyUI keeps within the text encoder's."""
    if not (path.is_file() and path.suffix in SUFFIXES):
        return Tokenizer.open(path)
    with open_reader(path) as reader:
        return Tokenizer.from_pieces(reader.read(SPIECE).to(torch.uint8).numpy().tobytes())


def _load_part(path: Path, arch: Arch, dtype: torch.dtype, device: torch.device) -> nn.Module:
    def dtype_of(name: str) -> torch.dtype:
        keep = isinstance(arch, DiTArch) and any(part in name for part in _FLOAT32)
        return torch.float32 if keep else dtype

    with open_reader(path) as reader:
        return load_module(meta_module(arch), reader, dtype=dtype_of, device=device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
