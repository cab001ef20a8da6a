"""Wan22Pipeline: text, image, video or speech to video by one call, with Diffusers' names. It adds nothing to
the engine.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from wan22.conditioning.text import Context
from wan22.engine import Engine, load
from wan22.errors import OptionError
from wan22.library import find_model
from wan22.pipeline import inputs, loading
from wan22.pipeline.adapters import Adapters
from wan22.pipeline.components import Component, read_modules
from wan22.pipeline.output import OUTPUT_TYPES, PathLike, PipelineOutput, Video, collect
from wan22.pipeline.parts import PartsMixin
from wan22.pipeline.scheduler import Scheduler
from wan22.pipeline.steps import OnStep, StepCallback
from wan22.types import Event, Latents, Notice, Progress, Reply, Request
from wan22.weights.convert import convert

logger = logging.getLogger("wan22")


class Wan22Pipeline(PartsMixin):
    """Text, image, video or speech to video, by one call."""

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
        model: PathLike = "wan22-nano",
        *,
        torch_dtype: Any = "auto",
        dtype: Any = None,
        device: Any = "auto",
        device_map: Any = None,
        memory: str = "auto",
        variant: str | None = None,
        revision: str | None = None,
        cache_dir: PathLike | None = None,
        boundary_ratio: float | None = None,
        **options: Any,
    ) -> "Wan22Pipeline":
        """Open a model by catalogue name, hub id in the local cache, or folder (official, Diffusers or ComfyUI).

        torch_dtype, or dtype: a torch dtype or its name. device, or device_map: where the model works.
        cache_dir, revision:
        which copy of a hub id. boundary_ratio: the share of noise from which the high-noise expert works. In the place
        of parts of the model: vae, text_encoder, transformer, transformer_2 (modules of Diffusers or transformers),
        scheduler, audio_encoder. Nothing is downloaded. Raises OptionError, DeviceError, CheckpointError, or
        TypeError for
        an option that is unknown.
        """
        torch_dtype = ("auto" if torch_dtype is None else torch_dtype) if dtype is None else dtype
        if isinstance(torch_dtype, dict):
            raise OptionError("give one torch_dtype for all parts; the VAE works in float32 in any case")
        loading.check_variant(variant, torch_dtype)
        loading.check_options(options)
        found = loading.find_model(model, cache_dir, revision)
        opening = {
            "model": found,
            "device": loading.device_of(device, device_map),
            "dtype": torch_dtype,
            "memory": memory,
        }
        modules = {
            name: options[name]
            for name in ("vae", "text_encoder", "transformer", "transformer_2")
            if options.get(name) is not None and not isinstance(options[name], Component)
        }
        experts = load(found, device="cpu").variant.experts if modules else ()
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
        """Another pipeline on the same engine: it shares the weights, and the LoRAs that are in use."""
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
        shift: float | None = None,
        solver: str | None = None,
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
        """Make videos, one for each prompt (`num_videos_per_prompt` for each). What is left out is the model's
        own default.

        resolution: (width, height), in place of `width` and `height`.
        image, last_image: a path, a PIL image, uint8 (H, W, 3), or floats in [0, 1]; or a list, one for each prompt.
        video: a path, a Video, a Clip, an array (T, H, W, 3), or a list of images; strength: how much of it is
        made anew.
        audio: what drives the video: a path, an Audio, (samples, rate), or samples with sampling_rate;
        pose_video: a video of the body's pose; num_clips: at most so many clips; init_first_frame: begin with the image
        itself. color_match: 0..1, keep a long video's colours to those of its first clip.
        fast: the few steps, without guidance, of the adapters that the model ships, if it ships some.
        guidance_scale: for the high-noise expert; guidance_scale_2 for the low-noise one, the same if left out. Up to 1
        there is no guidance. guidance_rescale: 0..1, the share of the contrast that guidance adds which is taken back.
        generator: goes on from call to call; or one for each video; or give `seed`. Without either, chance.
        latents: the noise to start from, (B, c, t, h, w). prompt_embeds, negative_prompt_embeds: what
        `encode_prompt` gives.
        output_type: "np", "pt", "pil" or "latent", for `frames` of the output. attention_kwargs: {"scale": s},
        how much of
        the active LoRAs.
        callback_on_step_end: called as (pipeline, step, timestep, tensors) after every step of every video; what it
        changes or returns of the tensors that it asked for is used from then on. `pipeline._interrupt = True` ends the
        steps there.
        Raises a Wan22Error for what cannot be served, before any expensive work.
        """
        if output_type not in OUTPUT_TYPES:
            raise OptionError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, not {output_type!r}")
        if not isinstance(num_videos_per_prompt, int) or num_videos_per_prompt < 1:
            raise OptionError(
                f"num_videos_per_prompt must be a whole number from 1, not {num_videos_per_prompt!r}"
            )
        prompts = self._prompts(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, image)
        count = len(prompts)
        original = None if audio is None else inputs.original_audio(audio, sampling_rate)
        speech, defaults = self.engine.variant.speech, self.engine.variant.defaults
        if num_frames_per_chunk is not None and (
            speech is None or num_frames_per_chunk != speech.clip_frames
        ):
            own = "takes no audio" if speech is None else f"makes {speech.clip_frames} frames a clip"
            raise OptionError(f"{self.engine.name} {own}; leave num_frames_per_chunk away")
        common = Request(
            prompt="",
            video=inputs.video_of(video, fps, defaults.fps),
            strength=strength,
            audio=inputs.heard(original),
            pose=inputs.video_of(pose_video, fps, defaults.fps),
            clips=num_clips,
            from_image=init_first_frame,
            color_match=color_match,
            fast=fast,
            size=inputs.size_of(height, width, resolution),
            frames=num_frames,
            fps=fps,
            steps=num_inference_steps,
            solver=self._scheduler.solver if solver is None and self._scheduler and not fast else solver,
            shift=self._scheduler.shift if shift is None and self._scheduler and not fast else shift,
            guidance=inputs.guidance_of(guidance_scale, guidance_scale_2),
            guidance_rescale=guidance_rescale,
            max_sequence_length=max_sequence_length,
        )
        images = inputs.rows("image", image, count, ())
        lasts = inputs.rows("last_image", last_image, count, ())
        requests = [
            replace(common, **texts, image=inputs.image_of(first), last_image=inputs.image_of(last))
            for texts, first, last in zip(prompts, images, lasts, strict=True)
        ]
        requests = inputs.repeated(requests, num_videos_per_prompt)
        requests = self._started(requests, generator, seed, latents)
        if output_type == "latent" and (speech is not None or self.engine.check(requests[0]).clips > 1):
            raise OptionError(
                'output_type="latent" is for a video of one clip; a longer one is decoded clip by clip'
            )
        scale = _lora_scale(attention_kwargs)
        self._guidance_scale = defaults.guidance[1] if guidance_scale is None else guidance_scale
        self._attention_kwargs = attention_kwargs
        on_step = None
        if callback_on_step_end is not None:
            on_step = StepCallback(self, callback_on_step_end, callback_on_step_end_tensor_inputs)
        if scale != 1:
            self.engine.use_loras(self.adapters.in_use(scale))
        try:
            made = [self._make(request, on_step, output_type) for request in requests]
        finally:
            self._current_timestep = None
            if scale != 1:
                self.engine.use_loras(self.adapters.in_use())
        if output_type == "latent":
            output = PipelineOutput((), output_type, torch.stack(made))
        else:
            output = PipelineOutput([replace(v, audio=original) for v in made], output_type)
        return output if return_dict else output.to_tuple()

    def _prompts(
        self,
        prompt: str | list[str] | None,
        negative: str | list[str] | None,
        embeds: Tensor | None,
        negative_embeds: Tensor | None,
        image: Any,
    ) -> list[dict[str, Any]]:
        """The texts or encoded prompts of each video."""
        for name, text, tensor in (
            ("prompt", prompt, embeds),
            ("negative_prompt", negative, negative_embeds),
        ):
            if text is not None and tensor is not None:
                raise OptionError(f"give {name} or {name}_embeds, not both")
            if tensor is not None and (not isinstance(tensor, Tensor) or tensor.ndim not in (2, 3)):
                found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise OptionError(
                    f"{name}_embeds must be a tensor (B, s, {self.engine.variant.dit.text_dim}), not {found}"
                )
        if prompt is None and embeds is None:
            raise OptionError("give a prompt, or prompt_embeds")
        if embeds is not None:
            embeds = embeds if embeds.ndim == 3 else embeds[None]
            count = len(embeds)
        elif isinstance(prompt, list | tuple):
            count = len(prompt)
        else:
            count = len(image) if isinstance(image, list | tuple) else 1
        if not count:
            raise OptionError("the list of prompts is empty; give at least one")
        if negative_embeds is not None and negative_embeds.ndim == 3:
            negative_embeds = negative_embeds if len(negative_embeds) > 1 else negative_embeds[0]
        of_negative = [negative_embeds] * count
        if negative_embeds is not None and negative_embeds.ndim == 3:
            of_negative = inputs.rows("negative_prompt_embeds", list(negative_embeds), count, ())
        return [
            {"prompt": text or "" if own is not None else text, "prompt_embeds": own, "negative": no,
            "negative_prompt_embeds": less}
            for text, own, no, less in zip(
                inputs.rows("prompt", prompt, count, ()),
                [None] * count if embeds is None else list(embeds),
                inputs.rows("negative_prompt", negative, count, ()),
                of_negative,
                strict=True,
            )
        ]  # fmt: skip

    def _started(
        self, requests: list[Request], generator: Any, seed: int | None, latents: Tensor | None
    ) -> list[Request]:
        """Say where each video starts. All that is asked is checked before anything is drawn."""
        canvases = [self.engine.check(request) for request in requests]
        if latents is not None:
            if requests[0].video is not None:
                raise OptionError(
                    "give a video or latents, not both: latents are the noise that a video starts from"
                )
            if not isinstance(latents, Tensor) or latents.ndim != 5 or len(latents) != len(requests):
                found = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
                raise OptionError(
                    f"latents must be a tensor (B, c, t, h, w) with B = {len(requests)}, not {found}"
                )
            requests = [replace(r, noise=part) for r, part in zip(requests, latents, strict=True)]
            for request in requests:
                self.engine.check(request)
        one_shape = len({c.latent for c in canvases}) == 1 and canvases[0].clips == 1
        shape = (self.engine.variant.dit.out_channels, *canvases[0].latent) if one_shape else None
        begun = inputs.starts(generator, seed, len(requests), shape)
        started = [
            replace(r, seed=number, noise=noise if r.noise is None else r.noise)
            for r, (number, noise) in zip(requests, begun, strict=True)
        ]
        for request in started:
            self.engine.check(request)
        return started

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
        """Encode prompts, each to (B, max_sequence_length, text_dim), the rows behind a prompt's end zero.

        Without a negative prompt the empty text is encoded, as in Diffusers; without guidance, none.
        """
        texts = [prompt] if isinstance(prompt, str) else list(prompt or ())
        if prompt_embeds is None:
            prompt_embeds = self._encoded(inputs.repeated(texts, num_videos_per_prompt), max_sequence_length)
        if do_classifier_free_guidance and negative_prompt_embeds is None:
            negative = inputs.rows("negative_prompt", negative_prompt or "", max(1, len(texts)), ())
            negative_prompt_embeds = self._encoded(
                inputs.repeated(negative, num_videos_per_prompt), max_sequence_length
            )
        return prompt_embeds, negative_prompt_embeds

    def _encoded(self, texts: list[str], length: int) -> Tensor:
        length = min(length, self.engine.variant.dit.text_len)
        return torch.stack([Context(rows, length).embeds for rows in self.engine.encode_text(texts, length)])

    def save_pretrained(self, folder: PathLike, *, safe_serialization: bool = True, **options: Any) -> None:
        """Write the model as a Diffusers folder, where there is none yet. LoRAs stay files of their own.

        Raises OptionError with LoRAs in use or parts that were given in memory, OutputError if the place is taken.
        """
        if options or not safe_serialization:
            name = next(iter(options), "safe_serialization=False")
            raise OptionError(f"save_pretrained takes no {name} here; it writes safetensors into a folder")
        if self.engine.loras.uses:
            raise OptionError(
                "LoRAs are in use, and a model is saved without them; call unload_loras() first"
            )
        if not self._opening or self._opening["given"] or self._audio_encoder is not None:
            raise OptionError(
                "only a model that was opened from a folder, with no part given in memory, can be saved"
            )
        convert(find_model(self._opening["model"])[1], Path(os.fspath(folder)), "diffusers")

    def progress_bar(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> tqdm:
        """The bar that a call shows."""
        return tqdm(iterable, **self._bar) if iterable is not None else tqdm(total=total, **self._bar)

    def set_progress_bar_config(self, **options: Any) -> None:
        """Options of tqdm, such as disable=True."""
        self._bar = options

    @property
    def guidance_scale(self) -> float:
        """The scale of the call; a callback that sets `_guidance_scale` to at most 1 ends guidance."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the call is guided."""
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        """The steps of the call."""
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
        """As given to the call."""
        return self._attention_kwargs


def _lora_scale(attention_kwargs: dict[str, Any] | None) -> float:
    unknown = [name for name in attention_kwargs or {} if name != "scale"]
    if unknown:
        raise OptionError(f"attention_kwargs knows scale (of LoRAs), not {unknown[0]!r}")
    scale = (attention_kwargs or {}).get("scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not np.isfinite(scale):
        raise OptionError(f"the scale of attention_kwargs must be a number, not {scale!r}")
    return float(scale)
