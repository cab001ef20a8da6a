"""Wan22Pipeline: text, image, video or speech to video by one call, with Diffusers' names."""

import logging
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from wan22.catalog import NANO
from wan22.conditioning.text import Context
from wan22.engine import Engine, load
from wan22.errors import OptionError
from wan22.fields import OPTIONS
from wan22.library import find_model
from wan22.pipeline import batch, inputs, loading
from wan22.pipeline.adapters import Adapters
from wan22.pipeline.components import Component, read_modules
from wan22.pipeline.output import PathLike, PipelineOutput, Video, collect
from wan22.pipeline.parts import PartsMixin
from wan22.pipeline.scheduler import Scheduler
from wan22.pipeline.steps import OnStep, StepCallback
from wan22.types import Event, Latents, Notice, Progress, Reply, Request
from wan22.weights.convert import convert

logger = logging.getLogger("wan22")


class Wan22Pipeline(PartsMixin):
    """Generate videos from text, images, a video or audio by one call, with the argument names of Diffusers.

    Open a model with `from_pretrained`, then call the pipeline with a prompt. `engine` is the engine below it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.adapters = Adapters()
        self._scratch: TemporaryDirectory | None = None
        self._opening: dict[str, Any] = {}
        self._scheduler: Scheduler | None = None
        self._boundary: float | None = None
        self._bar: dict[str, Any] = {}
        self._interrupt = False
        self._guidance_scale = 1.0
        self._num_timesteps = 0
        self._current_timestep: float | None = None
        self._attention_kwargs: dict[str, Any] | None = None

    @classmethod
    def from_pretrained(
        cls,
        model: PathLike | None = None,
        *,
        parts: Mapping[str, PathLike] | None = None,
        torch_dtype: Any = "auto",
        dtype: Any = None,
        device: Any = "auto",
        device_map: Any = None,
        memory: str = "auto",
        calibration: PathLike | None = None,
        quantize: str | None = None,
        compute_dtype: Any = "auto",
        variant: str | None = None,
        revision: str | None = None,
        cache_dir: PathLike | None = None,
        boundary_ratio: float | None = None,
        **options: Any,
    ) -> "Wan22Pipeline":
        """Open a model. Weights are read when they are first needed; nothing is downloaded.

        model: a catalogue name, a hub id in the local cache, or a folder (official, Diffusers or ComfyUI layout).
        None: the embedded model, or the one that `parts` make up.
        parts: files or folders that replace the model's own, by part: "high" and "low" or "dit", "vae", "text",
        "tokenizer", "audio".
        torch_dtype or dtype: a torch dtype or its name, for the large matrices.
        device or device_map: "auto", "cpu", "cuda", "cuda:1", "mps".
        memory: where parts are kept until they are needed: "device", "host", "disk", or "auto".
        calibration: a file that `wan22 generate --calibrate` wrote, for step caches.
        quantize, compute_dtype, attention, compile, vae_dtype: as in `wan22.load`.
        cache_dir, revision: which copy of a hub id.
        boundary_ratio: the default of later calls.
        vae, text_encoder, transformer, transformer_2 (modules of Diffusers or transformers), scheduler, audio_encoder:
        used in place of the model's parts.

        Raises OptionError, DeviceError or CheckpointError; TypeError for an unknown option.
        """
        torch_dtype = ("auto" if torch_dtype is None else torch_dtype) if dtype is None else dtype
        engine = {name: options.pop(name) for name in OPTIONS if name in options}
        if isinstance(torch_dtype, dict):
            raise OptionError("give one torch_dtype for all parts; the VAE works in float32 in any case")
        loading.check_variant(variant, torch_dtype)
        loading.check_options(options)
        found = loading.find_model(model, cache_dir, revision)
        opening = {
            "model": found,
            "parts": parts,
            "device": loading.device_of(device, device_map),
            "dtype": torch_dtype,
            "memory": memory,
            "calibration": calibration,
            "quantize": quantize,
            "compute_dtype": compute_dtype,
            **engine,
        }
        modules = {
            name: options[name]
            for name in ("vae", "text_encoder", "transformer", "transformer_2")
            if options.get(name) is not None and not isinstance(options[name], Component)
        }
        experts = load(found, parts=parts, device="cpu").variant.experts if modules else ()
        pipeline = cls(load(**opening, given=(given := read_modules(modules, experts))))
        pipeline._opening = {**opening, "given": given}
        pipeline._audio_encoder = options.get("audio_encoder")
        pipeline._boundary = boundary_ratio
        if options.get("tokenizer") is not None:
            raise OptionError("the model's own tokenizer is used; leave tokenizer away")
        if options.get("scheduler") is not None:
            pipeline.scheduler = options["scheduler"]
        pipeline._settle()
        return pipeline

    @classmethod
    def from_pipe(cls, pipeline: "Wan22Pipeline", **options: Any) -> "Wan22Pipeline":
        """Return another pipeline on the same engine. Both share weights and LoRAs."""
        if options:
            raise TypeError(
                f"from_pipe takes no {next(iter(options))!r}; open the model again with from_pretrained"
            )
        other = cls(pipeline.engine)
        other.adapters, other._opening, other._scratch = (
            pipeline.adapters,
            pipeline._opening,
            pipeline._scratch,
        )
        other._scheduler, other._boundary = pipeline._scheduler, pipeline._boundary
        other._cache = pipeline._cache
        return other

    def __call__(
        self,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = None,
        *,
        image: Any = None,
        last_image: Any = None,
        video: Any = None,
        strength: float = 0.8,
        audio: Any = None,
        sampling_rate: int | None = None,
        pose_video: Any = None,
        face_video: Any = None,
        background_video: Any = None,
        mask_video: Any = None,
        prev_segment_conditioning_frames: int | None = None,
        relight: float = 1.0,
        num_clips: int | None = None,
        num_frames_per_chunk: int | None = None,
        init_first_frame: bool = False,
        color_match: float = 0.0,
        fast: bool = False,
        height: int | None = None,
        width: int | None = None,
        resolution: tuple[int, int] | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_scale_2: float | None = None,
        guidance_rescale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        cache: str | None = None,
        shift: float | None = None,
        solver: str | None = None,
        schedule: str | None = None,
        sigmas: Sequence[float] | np.ndarray | Tensor | None = None,
        boundary_ratio: float | None = None,
        switch_step: int | None = None,
        num_videos_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        seed: int | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: OnStep | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        max_sequence_length: int | None = None,
    ) -> Any:
        """Generate one video for each prompt, or `num_videos_per_prompt`. None is the model's own default.

        prompt, negative_prompt: a text or a list of texts.
        image, last_image: the first and the last frame: a path, a PIL image, uint8 (H, W, 3), or floats in [0, 1]; or a
        list, one for each prompt.
        video: the video to start from: a path, a Video, a Clip, an array (T, H, W, 3), or a list of images.
        strength: 0..1, how much of it is replaced.
        audio: drives the video: a path, an Audio, (samples, rate), or samples with sampling_rate. pose_video: a video
        of body poses. num_clips: the maximal number of clips. init_first_frame: begin with the image itself.
        face_video: with pose_video, how the person of the image moves (Animate); with background_video and mask_video,
        the person takes the place of the one in that video. prev_segment_conditioning_frames: frames that each clip
        takes over from the one before, 1 or 5. relight: 0..1, strength of the model's adapter for light.
        width, height, or resolution (width, height): in pixels. num_frames, fps: length and frames a second.
        num_inference_steps, solver, shift, schedule: the sampler (`types.Solver`, `types.ScheduleName`). sigmas: all
        noise levels, from at most 1 down to 0, in place of steps, shift and schedule.
        boundary_ratio: the high-noise expert works at and above this fraction of the 1000 timesteps; or switch_step:
        the number of steps that it takes.
        guidance_scale: of the high-noise expert; guidance_scale_2: of the low-noise one, by default the same. Up to 1
        there is no guidance. guidance_rescale: 0..1, the share of the contrast that guidance adds which is removed.
        guidance_interval: (start, stop), fractions of the steps: guidance in these steps only.
        cache: "first-block", "teacache" or "magcache", with a threshold such as "first-block:0.1": leave out the
        transformer's blocks at steps where little has changed. None: as `transformer.enable_cache` set it.
        fast: use the model's adapters for few steps, without guidance.
        color_match: 0..1, how far later clips of a long video are corrected to the colours of the first.
        generator: one, which continues from call to call, or one for each video; or a seed. By default random.
        latents: the noise to start from, (B, c, t, h, w). prompt_embeds, negative_prompt_embeds: from `encode_prompt`.
        output_type: "np", "pt", "pil" or "latent", for `frames` of the output.
        attention_kwargs: {"scale": s}, a factor of the active LoRAs.
        callback_on_step_end: called as (pipeline, step, timestep, tensors) after every step of every video. What it
        changes or returns of the requested tensors is used from then on. `pipeline._interrupt = True` ends the steps.

        Raises a Wan22Error before any expensive work if the request cannot be served.
        """
        inputs.check_call(self.engine, output_type, num_videos_per_prompt, num_frames_per_chunk)
        variant = self.engine.variant
        own_fps = variant.defaults.fps
        original = None if audio is None else inputs.original_audio(audio, sampling_rate)
        driving = inputs.driving_of(pose_video, face_video, background_video, mask_video, fps, own_fps)
        common = Request(
            prompt="",
            video=inputs.video_of(video, fps, own_fps),
            strength=strength,
            audio=inputs.audio_input(original),
            pose=inputs.video_of(pose_video, fps, own_fps) if driving is None else None,
            driving=driving,
            carried=prev_segment_conditioning_frames,
            relight=relight,
            clips=num_clips,
            from_image=init_first_frame,
            color_match=color_match,
            fast=fast,
            size=inputs.size_of(height, width, resolution),
            frames=num_frames,
            fps=fps,
            steps=num_inference_steps,
            guidance=inputs.guidance_of(guidance_scale, guidance_scale_2),
            guidance_rescale=guidance_rescale,
            guidance_interval=guidance_interval,
            cache=self._cache if cache is None and not fast else cache,
            max_sequence_length=max_sequence_length,
            **self._walk(fast, solver, shift, schedule, sigmas, boundary_ratio, switch_step),
        )
        if prompt is None and prompt_embeds is None and driving is not None:
            prompt = ""  # the model's own
        texts = batch.texts_of(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds,
            images=image, width=variant.dit.text_dim,
        )  # fmt: skip
        requests = batch.requests_of(common, texts, image, last_image, num_videos_per_prompt)
        requests = batch.started(self.engine, requests, generator, seed, latents)
        inputs.check_latent_output(self.engine, requests[0], output_type)
        self._guidance_scale = variant.defaults.guidance[1] if guidance_scale is None else guidance_scale
        on_step = None
        if callback_on_step_end is not None:
            on_step = StepCallback(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
        with self._lora_scale(attention_kwargs):
            made = [self._make(request, on_step, output_type) for request in requests]
        output = PipelineOutput.of(made, output_type, *inputs.audio_of(video, original))
        return output if return_dict else output.to_tuple()

    def _walk(
        self,
        fast: bool,
        solver: str | None,
        shift: float | None,
        schedule: str | None,
        sigmas: Any,
        boundary: float | None,
        switch_step: int | None,
    ) -> dict[str, Any]:
        """What a call says of its steps, as fields of a Request. What it leaves open is the pipeline's scheduler's and
        boundary's to say, unless it asks for the steps of the model's own adapters (`fast`).
        """
        if not fast and self._scheduler is not None:
            if sigmas is None:
                own = self._scheduler.schedule if solver is None else None
                schedule = own if schedule is None else schedule
                shift = self._scheduler.shift if shift is None else shift
            solver = self._scheduler.solver if solver is None else solver
        if not fast and boundary is None and switch_step is None:
            boundary = self._boundary
        return {
            "solver": solver,
            "shift": shift,
            "schedule": schedule,
            "sigmas": inputs.sigmas_of(sigmas),
            "boundary": boundary,
            "switch_step": switch_step,
        }

    @contextmanager
    def _lora_scale(self, attention_kwargs: dict[str, Any] | None) -> Generator[None]:
        """Use the active LoRAs as much as a call says, and as they are again afterwards."""
        scale = inputs.lora_scale(attention_kwargs)
        self._attention_kwargs = attention_kwargs
        if scale != 1:
            self.engine.use_loras(self.adapters.in_use(scale))
        try:
            yield
        finally:
            self._current_timestep = None
            if scale != 1:
                self.engine.use_loras(self.adapters.in_use())

    def _make(self, request: Request, on_step: StepCallback | None, output_type: str) -> Any:
        """One video, or its latents."""
        self._interrupt = False
        if on_step is not None:
            on_step.begin(request)
        bar: tqdm | None = None

        def on_event(event: Event) -> Reply | None:
            nonlocal bar
            if isinstance(event, Notice):
                logger.info("%s", event.text)
            if not isinstance(event, Progress):
                return None
            bar = self.progress_bar(total=event.steps * event.clips) if bar is None else bar
            bar.update()
            self._num_timesteps, self._current_timestep = event.steps, event.timestep
            return None if on_step is None else on_step(event)

        events, reply = self.engine.generate(request), None
        try:
            if output_type == "latent":
                while not isinstance(event := events.send(reply), Latents):
                    reply = on_event(event)
                return event.tensors["latents"]
            made = collect(events, on_event)
        finally:
            events.close()
            if bar is not None:
                bar.close()
        if on_step is None or not on_step.changed:
            return made
        given = {**made.recipe.get("given", {}), "callback_on_step_end": "changed the steps"}
        return Video(made.frames, made.fps, {**made.recipe, "given": given})

    def encode_prompt(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None = None,
        do_classifier_free_guidance: bool = True,
        num_videos_per_prompt: int = 1,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        max_sequence_length: int = 226,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode prompts and negative prompts, each to (B, max_sequence_length, text_dim). Padding rows are zero.

        Without a negative prompt, the empty text is encoded, as in Diffusers. Without guidance the second result is
        None.
        """
        texts = [prompt] if isinstance(prompt, str) else list(prompt or ())
        if prompt_embeds is None:
            prompt_embeds = self._encoded(inputs.repeated(texts, num_videos_per_prompt), max_sequence_length)
        if do_classifier_free_guidance and negative_prompt_embeds is None:
            negative = inputs.rows("negative_prompt", negative_prompt or "", max(1, len(texts)))
            negative_prompt_embeds = self._encoded(
                inputs.repeated(negative, num_videos_per_prompt), max_sequence_length
            )
        return prompt_embeds, negative_prompt_embeds

    def _encoded(self, texts: list[str], length: int) -> Tensor:
        length = min(length, self.engine.variant.dit.text_len)
        return torch.stack([Context(rows, length).embeds for rows in self.engine.encode_text(texts, length)])

    def save_pretrained(self, folder: PathLike, *, safe_serialization: bool = True, **options: Any) -> None:
        """Write the model to a new folder in Diffusers' layout, with the boundary and scheduler of the pipeline. LoRAs
        are not included.

        Raises OptionError if LoRAs are in use or parts were given in memory, OutputError if the folder exists.
        """
        if options or not safe_serialization:
            name = next(iter(options), "safe_serialization=False")
            raise OptionError(f"save_pretrained takes no {name} here; it writes safetensors into a folder")
        if self.engine.loras.uses:
            raise OptionError(
                "LoRAs are in use, and a model is saved without them; call unload_loras() first"
            )
        opening = self._opening
        if not opening or opening["given"] or opening["parts"] or self._audio_encoder is not None:
            raise OptionError(
                "only a model that was opened from a folder, with no part given beside it, can be saved"
            )
        said: dict[str, Any] = {} if self._boundary is None else {"boundary": float(self._boundary)}
        if self._scheduler is not None:
            said["scheduler"] = self._scheduler.config
        convert(find_model(opening["model"] or NANO)[1], Path(os.fspath(folder)), "diffusers", said=said)

    def progress_bar(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> tqdm:
        """Return the progress bar (tqdm) that a call shows."""
        return tqdm(iterable, **self._bar) if iterable is not None else tqdm(total=total, **self._bar)

    def set_progress_bar_config(self, **options: Any) -> None:
        """Set options of tqdm, such as disable=True."""
        self._bar = options

    @property
    def guidance_scale(self) -> float:
        """The guidance scale of the call. A callback that sets `_guidance_scale` to at most 1 turns guidance off."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the call uses guidance."""
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        """The number of steps of the call."""
        return self._num_timesteps

    @property
    def current_timestep(self) -> float | None:
        """The timestep of the last step, during a call."""
        return self._current_timestep

    @property
    def interrupt(self) -> bool:
        """Whether a callback ended the steps."""
        return self._interrupt

    @property
    def attention_kwargs(self) -> dict[str, Any] | None:
        """The `attention_kwargs` of the call."""
        return self._attention_kwargs
