"""The engine: a request in, events out. The one file that puts conditioning, sampling, weights and memory together.

    check -> text -> for every clip: what it is told -> noise -> steps (expert by noise level) -> latents -> frames

Most videos are one clip. A long one is made of several, each of which goes on from what the one before left
(conditioning/clips.py), so that memory does not grow with length.

`Engine.generate` is a generator: the caller owns progress, and cancels by closing it, which takes effect before the
next step and leaves nothing behind. It writes no file; the edges do.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from wan22 import assembly, postprocess
from wan22.canvas import Canvas
from wan22.catalog import NANO, Variant
from wan22.clip_plans import clip_noise, plan_clips
from wan22.clock import Clock
from wan22.codec import Codec
from wan22.conditioning.animate import image_features
from wan22.conditioning.clips import Carry, ClipCondition, ClipPlan, FrameChaining
from wan22.conditioning.color_match import match_clip
from wan22.conditioning.image import ImageCondition, channels, cover, frames, to_pixels
from wan22.conditioning.speech import hidden_states
from wan22.conditioning.text import Context, Tokenizer
from wan22.denoiser import Denoiser, Undivided, contexts, guided
from wan22.denoising import Calls, of_clip, walk
from wan22.errors import CheckpointError, DecodeError, DeviceError, OptionError
from wan22.library import Parts, open_model
from wan22.memory.device import device_name, free_memory, pick_device
from wan22.memory.fallback import Fallback
from wan22.memory.hardware import HOST_SHARE
from wan22.memory.placement import Load, Placement
from wan22.memory.plan import Plan
from wan22.parallel.divided import Divided
from wan22.parallel.group import Group, Team
from wan22.parallel.layout import Layout
from wan22.parallel.lead import Together, lead, serve
from wan22.parallel.mesh import Mesh
from wan22.parallel.rows import RowSplit
from wan22.parallel.weights import SharedWeights
from wan22.planner import Planner, alone, at_first
from wan22.planning import Model
from wan22.prompts import Prompts
from wan22.request import Job, resolve
from wan22.sampling import add_noise
from wan22.sampling.calibration import Recorder
from wan22.types import (
    ClipDone,
    Event,
    Events,
    Finished,
    Journal,
    Latents,
    Notice,
    Phase,
    Reply,
    Request,
)
from wan22.version import __version__
from wan22.weights.lora import Fitted, LoRA, fit, merging
from wan22.weights.reader import Reader


class Engine:
    """A model that generates videos. Create it with `load`. It serves any number of requests, one at a time."""

    def __init__(
        self,
        name: str,
        variant: Variant,
        *,
        tokenizer: Tokenizer,
        placement: Placement,
        dtype: torch.dtype,
        weights: Mapping[str, str],
        experts: Mapping[str, assembly.PartSource] | None = None,
        fast: Fitted = Fitted(),  # noqa: B008 - it is frozen
    ) -> None:
        self.name, self.variant = name, variant
        self.device, self.dtype = placement.device, dtype
        self.compute_dtype = dtype
        self.weights = dict(weights)
        self.notices: tuple[str, ...] = ()
        self.options: dict[str, Any] = {}  # how it works, where that is not the default: for the recipe
        self.loras, self.fast, self.relight = Fitted(), fast, Fitted()
        self.recorder: Recorder | None = None  # measures what step caches need, if it is there
        self._merged = Fitted()
        self._experts = dict(experts or {})
        self._tokenizer, self._placement = tokenizer, placement
        self._fallback = Fallback(placement)
        self.planner = Planner(Model(variant, self.dtype), placement, tokenizer)
        self.ranks: Mesh | None = None  # how the next video is divided
        self.prompts = Prompts(tokenizer, placement, self._fallback)

    def use_loras(self, loras: Sequence[LoRA | str | os.PathLike[str]]) -> None:
        """Use these LoRAs instead of the present ones; an empty list removes all. The experts are read again.

        Raises OptionError or CheckpointError, and changes nothing, if one does not fit the model.
        """
        self._use(fit(loras, self.variant.experts, self.variant.dit, self.name))

    def _use(self, fitted: Fitted) -> None:
        self.loras = fitted
        self._merge()

    def _merge(self, *more: Fitted) -> None:
        """See to it that the experts are read with the LoRAs in use, and with these."""
        fitted = (
            Fitted(tuple(use for each in (self.loras, *more) for use in each.uses)) if more else self.loras
        )
        for expert in self.variant.experts:
            if (mine := fitted.on(expert)) != self._merged.on(expert):
                read = self._experts[expert]
                self._placement.reread(expert, replace(read, lend=partial(merging, mine)) if mine else read)
        self._merged = fitted

    def _own_adapters(self, request: Request) -> dict[str, Fitted]:
        return assembly.own_adapters(request, self.fast, self.relight)

    def _work_with(self, others: Together) -> None:
        """Be one of the ranks of each video from now on."""
        self.ranks, self.planner.agree, self._fallback.again = others.mesh, others.agree, False
        self.planner.beside, self.planner.ranks = others.beside, others.mesh.world.size

    def show(self, part: str, load: Load) -> None:
        """Take a part ("high", "vae" ...) from `load(device)` from now on, for example a network in training."""
        self._placement.reread(part, load)

    def release(self) -> None:
        """Free the device memory of the part that was brought there from the host or the disk."""
        self._placement.release()

    def check(self, request: Request) -> Canvas:
        """Check a request and return its sizes, without loading weights. Raises RequestError if it cannot be served."""
        return resolve(request, self.variant).canvas

    def plan(self, request: Request) -> Plan:
        """What a request will take on this machine, as it is now. Raises RequestError as `check` does."""
        return self.planner.plan(resolve(request, self.variant))

    def is_guided(self, request: Request) -> bool:
        """Whether the branch without the prompt is computed at any step. Raises RequestError as `check` does."""
        job = resolve(request, self.variant)
        return any(guided(job, level) for level in job.schedule)

    def recipe(self, request: Request) -> dict[str, Any]:
        """Return every setting of a request, resolved, with the model and the machine, as JSON values.

        Raises RequestError as `check` does.
        """
        return self._recipe(resolve(request, self.variant))

    def generate(
        self, request: Request, done: ClipDone | None = None, journal: Journal | None = None
    ) -> Events:
        """Generate a video. Yields events (`types.Event`); closing the generator cancels.

        done: the last ClipDone of an interrupted long video; the clips after it are made. journal: keeps what is
        computed, and gives what was computed before an interruption, of this very video. Send a `Reply` in answer to a
        Progress to change the following steps; not with a journal (OptionError), which would not know of it.

        Raises RequestError before anything is loaded if the request cannot be served, DecodeError if the VAE fails
        after the latents were yielded.
        """
        job = resolve(request, self.variant)
        if done is not None and done.clips != job.canvas.clips:
            raise OptionError(
                f"clip {done.clip} is of a video of {done.clips} clips, and this one has {job.canvas.clips}"
            )
        self._merge(*self._own_adapters(request).values())
        if said := self.planner.arrange(job):
            yield Notice(said)
        yield from self._notices(job)
        texts = yield from self.prompts.of(job, journal, self.encode_text)
        recipe = self._recipe(job)
        clock = Clock(len(job.schedule), job.canvas.clips)
        if job.canvas.clips == 1 and not self.variant.by_clips:
            known, x = yield from self._condition(job)
            condition = ClipCondition(known)
            calls = self._calls(job, 0, texts, condition, journal)
            x = yield from self._denoise(job, calls, condition, x, clock)
            latents = {"latents": x.float().cpu()}
            yield Latents(latents, recipe)
            yield from self.decode_latents(latents, recipe)
            return
        plan = yield from self._plan(job)
        carry = {} if done is None else done.carry
        for clip in range(0 if done is None else done.clip, job.canvas.clips):
            condition = yield from self._clip_condition(clip, plan, carry)
            calls = self._calls(job, clip, texts, condition, journal)
            carry = yield from self._clip(job, calls, condition, plan, carry, clock)
            clock.next_clip()
            yield ClipDone(clip + 1, job.canvas.clips, carry)
            if journal is not None:
                journal.drop(of_clip(clip))
        yield Finished(job.canvas.fps, recipe)

    def _clip_condition(
        self, clip: int, plan: ClipPlan, carry: Carry
    ) -> Generator[Event, Reply | None, ClipCondition]:
        if clip > 0 or self.variant.by_clips:
            driven = "audio" if self.variant.speech else "driving video"
            yield Phase("condition", "going on from the clip before" if clip else f"encoding the {driven}")
        return plan.condition(clip, carry)

    def _clip(
        self,
        job: Job,
        calls: Calls,
        condition: ClipCondition,
        plan: ClipPlan,
        carry: Carry,
        clock: Clock,
    ) -> Generator[Event, Reply | None, Carry]:
        """Make one clip of several, and return what it leaves to the next."""
        clip = calls.clip
        x = clip_noise(job, clip)
        if self.variant.speech is not None:
            x = x.to(self.compute_dtype)  # as the release: each update is rounded to it (spec: quirk 46)
        x = (yield from self._denoise(job, calls, condition, x, clock)).float()
        yield Phase("decode", f"{job.canvas.latent[0]} latent frames")
        kept = postprocess.LastFrames(plan.keep)
        try:
            before = [] if condition.before is None else [condition.before.to(x)]
            stream = postprocess.own_frames(
                self._decode(torch.cat([*before, x[:, condition.skip :]], dim=1)[None]), condition
            )
            stream, colour = match_clip(stream, carry, job.request.color_match, postprocess.to_host)
            yield from postprocess.deliver(
                postprocess.repeat_first_frame(kept(stream), condition.repeat_first), job.canvas, clip
            )
            yield from self._fallback.said()
        except (RuntimeError, MemoryError, DeviceError) as error:
            raise DecodeError(f"the VAE could not decode clip {clip + 1}: {error}") from error
        if clip + 1 == job.canvas.clips:
            return {}
        return {**plan.carry(kept.frames(), carry), **colour}

    def _plan(self, job: Job) -> Generator[Event, Reply | None, ClipPlan]:
        """How the clips of a video follow one another."""
        if self.variant.by_clips:
            yield Phase("condition", "encoding the image")
            return plan_clips(job, self)
        known, _ = yield from self._condition(job)
        return FrameChaining(self.variant, job.canvas, self.encode_pixels, known)

    def encode_audio(self, samples: Tensor) -> Tensor:
        """Encode audio samples (1, n), 16,000 a second, of mean 0 and deviation 1, to hidden states (states, T, a)."""
        return hidden_states(self._placement.bring("audio"), samples)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Encode an image (3, H, W) in [-1, 1] by the image tower to features (s, d), the class token first."""
        return self._fallback.run("image", lambda: image_features(self._placement.bring("image"), pixels))

    def decode_latents(self, tensors: dict[str, Tensor], recipe: dict[str, Any]) -> Events:
        """Decode the tensors and the recipe of a `Latents` event; yields Frames and Finished.

        Raises CheckpointError if tensors and recipe do not fit one another or this model, DecodeError if the VAE
        fails.
        """
        canvas = postprocess.canvas_of(recipe, self.variant)
        latents = postprocess.check_latents(tensors, canvas, self.variant)
        yield Phase("decode", f"{canvas.latent[0]} latent frames")
        try:
            stream = self._decode(latents[None])
            yield from postprocess.deliver(stream, canvas)
            yield from self._fallback.said()
        except (RuntimeError, MemoryError, DeviceError) as error:
            raise DecodeError(f"the VAE could not decode the latents: {error}") from error
        yield Finished(canvas.fps, recipe)

    def encode_text(self, texts: Sequence[str], length: int | None = None) -> list[Tensor]:
        """Encode prompts to a list of tensors (s_i, text_dim) on the device. The last few results are cached.

        length: the maximal number of tokens; None is the model's own. Each prompt is encoded alone, so its result does
        not depend on the others.
        """
        return self.prompts.encode(texts, self.variant.dit.text_len if length is None else length)

    def vae(self) -> nn.Module:
        """Return the VAE on the device, or on its own."""
        return self._placement.bring("vae")

    def expert(self, name: str) -> nn.Module:
        """Return a transformer on the device, with the LoRAs in use. `name` is one of `variant.experts`."""
        self._merge()
        return self._placement.bring(name)

    def encode_pixels(self, video: Tensor) -> Tensor:
        """Encode pixels (b, 3, T, H, W) in [-1, 1] by the VAE to normalised latents (b, c, t, h, w), float32."""
        return self._fallback.run("vae", lambda: self._codec().encode(self.vae(), video)).to(self.device)

    def _codec(self) -> Codec:
        rows = None if self.ranks is None else RowSplit(self.ranks.world)
        place = self._placement
        return Codec(place.device_of("vae"), host_history=place.scheme("vae").host_history, rows=rows)

    def _decode(self, latents: Tensor) -> Iterator[Tensor]:
        return self._fallback.stream("vae", lambda: self._codec().decode(self.vae(), latents))

    def _notices(self, job: Job) -> Events:
        texts = [
            *(("prompt", text) for _, text in job.prompts),
            ("negative prompt", job.request.negative or ""),
        ]
        unread = self._tokenizer.notices(texts, job.text_length, self.name)
        said = self._own_adapters(job.request).get("relighting", Fitted()).notices
        for text in (*self.notices, *self.loras.notices, *job.notices, *unread, *said):
            yield Notice(text)

    def _condition(self, job: Job) -> Generator[Event, Reply | None, tuple[ImageCondition, Tensor]]:
        """Encode what is known of the video; return it and the sample to start from."""
        canvas, request = job.canvas, job.request
        x = clip_noise(job, 0)
        known = ImageCondition()
        if request.image is not None or request.last_image is not None:
            yield Phase("condition", "encoding the image")
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
            images = postprocess.resample_frames(request.video, canvas)
            video = torch.stack([to_pixels(cover(p, canvas.draw)) for p in images], dim=1)
            x = add_noise(self.encode_pixels(video[None])[0].cpu(), x, job.schedule[0])
        return known, x

    def _denoise(
        self, job: Job, calls: Calls, condition: ClipCondition, x: Tensor, clock: Clock
    ) -> Generator[Event, Reply | None, Tensor]:
        """Walk the sample of a clip through the schedule, and return it."""
        yield Phase("denoise", f"{len(job.schedule)} steps, {job.solver}")
        x = yield from walk(calls, condition.image, x.to(self.device), clock)
        if not bool(torch.isfinite(x).all()):
            raise CheckpointError(
                f"{self.name} gave numbers that are not finite in {self.compute_dtype}; try another dtype, and "
                "`wan22 verify` its files"
            )
        return x

    def _calls(
        self,
        job: Job,
        clip: int,
        texts: dict[str, Context],
        condition: ClipCondition,
        journal: Journal | None,
    ) -> Calls:
        """The networks of a clip; an expert is brought in when its turn comes."""
        prompts = contexts(job, clip, texts, self.device)
        mine = Undivided() if self.ranks is None else Divided(self.ranks)
        experts = Denoiser(self._placement, job, prompts, condition, self._fallback, self.recorder, mine)
        return Calls(experts, journal, clip)

    def _recipe(self, job: Job) -> dict[str, Any]:
        return {
            "wan22": __version__,
            "model": self.name,
            "weights": self.weights,
            **self.options,
            **({} if self.ranks is None else self.ranks.layout.recipe()),
            **({"loras": self.loras.recipe()} if self.loras.uses else {}),
            **{name: fitted.recipe() for name, fitted in self._own_adapters(job.request).items()},
            **job.as_recipe(),
            "torch": torch.__version__,
            "device": device_name(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "compute_dtype": str(self.compute_dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }


def load(  # noqa: PLR0913 - the options of the engine (fields/engine.py), a keyword each
    model: str | os.PathLike[str] | None = None,
    *,
    parts: Parts | None = None,
    task: str | None = None,
    device: str = "auto",
    text_device: str | None = None,
    vae_device: str | None = None,
    dtype: str = "auto",
    compute_dtype: str = "auto",
    quantize: str | None = None,
    vae_dtype: str = "float32",
    memory: str = "auto",
    attention: str = "auto",
    compile: bool = False,
    calibration: str | os.PathLike[str] | None = None,
    loras: Sequence[LoRA | str | os.PathLike[str]] = (),
    given: Mapping[str, Callable[[], Reader]] = MappingProxyType({}),
    gpus: int | None = None,
    parallel: str | Layout | None = None,
    ranks: Together | None = None,
) -> Engine:
    """Open a model and return its engine. Weights are read when they are first needed; nothing is downloaded.

    model: a catalogue name ("nano", "t2v-A14B" ...), a hub id in the local cache, a folder (official, Diffusers or
    ComfyUI layout), or an all-in-one file. None: "nano", or the model that `parts` make up.
    parts: files or folders that replace the model's own, by part: "high" and "low" or "dit", "vae", "text",
    "tokenizer", "audio".
    task: "t2v", "i2v", "v2v" or "s2v"; selects a model if a folder holds several.
    device: "auto" (the fastest one), "cpu", "cuda", "cuda:1", "mps".
    text_device, vae_device: where the text encoder and the VAE work, and stay, if not there: a smaller card, the CPU.
    dtype: what the large matrices are kept in: "auto", "float32", "bfloat16", "float16".
    compute_dtype: what they are multiplied in: one of these; "auto" is `dtype`, but float32 on a CPU that does not
        multiply bfloat16.
    quantize: "fp8", "int8" or "int4" quantises the large matrices while they load, and multiplies in 8 bits where the
        device can; "fp8-weights" and "int8-weights" do not. What is quantised in the files stays as it is.
    vae_dtype: what the VAE computes in: "float32" (on CUDA its products are in TF32), or "bfloat16" in half the memory.
    memory: how parts are kept: "device", "host" or "disk" whole, "stream" block by block, "ranks" with a part of each
        block on each of several devices, or "auto", as each plan says.
    attention: the backend of attention (`ops.attention.ATTENTION`): "auto", "sdpa", "flash", "sage", "flex" ...
    compile: whether PyTorch's compiler compiles the blocks of the transformers, which takes a minute at the first step.
    calibration: a file that `wan22 generate --calibrate` wrote, for step caches.
    loras: LoRA files, folders with a file for each expert, or `LoRA` values.
    given: functions that open readers of parts, in place of the model's files.
    gpus: the number of devices of this machine that make each video together, a process each; they can also be named:
        device="cuda:0+cuda:1". Under torchrun, the number of its processes: where rank is not 0, `load` serves rank 0
        and ends the process with it.
    parallel: how these divide the work, such as "guidance=2,context=4"; None chooses for each video.
    ranks: the others, if this is one of the ranks.

    Raises OptionError for an impossible argument, DeviceError for a device or memory plan that this machine has not
    (ParallelError for several that cannot work together), CheckpointError for files that are missing, damaged or of
    another model.
    """
    said = dict(locals())
    team = Team.of(device, gpus, parallel) if ranks is None else None
    where = pick_device(device if team is None else team.device)
    found = open_model(model if model is not None or parts else NANO, parts, task)
    if calibration is not None:
        found = replace(found, variant=assembly.calibrated(found.variant, calibration))
    fitted = fit(loras, found.variant.experts, found.variant.dit, found.name)
    if team is not None:
        return cast("Engine", lead(team, said, "wan22.engine:follow", load))
    agree = alone if ranks is None else ranks.agree
    how = assembly.choose_numerics(
        found, where, dtype, compute_dtype, vae_dtype, quantize, attention, compiled=compile
    )
    source = {**found.parts, **given}
    shared = None if ranks is None else SharedWeights(ranks.mesh.world)
    size = 1 if ranks is None else ranks.mesh.world.size
    read = assembly.sources(found, source, how, shared)
    skeletons = {part: one.skeleton() for part, one in read.items()}
    apart = assembly.apart({"text": text_device, "vae": vae_device}, where, how)
    loaders, audio = assembly.loaders(found, read, apart.get("vae", where))
    sizes = {part: skeleton.nbytes for part, skeleton in skeletons.items()} | audio
    mine = {part: number for part, number in sizes.items() if part not in apart}
    beside = 1 if ranks is None else ranks.beside
    host = agree(lambda: beside * sum(sizes.values()) <= HOST_SHARE * free_memory(torch.device("cpu")))
    engine = Engine(
        found.name,
        found.variant,
        tokenizer=assembly.open_tokenizer(found.tokenizer),
        placement=Placement(
            loaders,
            agree(lambda: at_first(mine, where, memory, host=host, ranks=size)),
            where,
            host_room=host,
            apart=apart,
        ),
        dtype=how.dtype,
        weights={part: assembly.source_fingerprint(source[part]) for part in loaders},
        experts={part: read[part] for part in found.variant.experts},
        fast=assembly.fit_fast(found),
    )
    kept = [
        text for part, skeleton in skeletons.items() for text in skeleton.notices(part, how.keep.quantize)
    ]
    engine.notices = (*found.notices, *how.notices, *kept)
    engine.relight = assembly.fit_relight(found)
    engine.compute_dtype = how.compute
    engine.planner.configure(memory, (how.compute, how.vae), skeletons, sizes.get("audio", 0))
    engine.options = assembly.said(how, attention, quantize, calibration)
    engine._use(fitted)
    if ranks is not None:
        engine._work_with(ranks)
    return engine


def follow(group: Group) -> None:
    """Be a rank of a group until its leader ends it."""
    serve(group, load)
