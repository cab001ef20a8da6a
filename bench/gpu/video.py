"""A whole video through the engine: its networks are random, everything around them is the engine's own."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bench.gpu import networks
from bench.gpu.cases import Case
from bench.gpu.items import Row
from wan22 import assembly
from wan22.catalog import NANO, VARIANTS
from wan22.engine import Engine
from wan22.library import open_model
from wan22.memory.placement import Placement
from wan22.types import Frames, Latents, Progress, Request

STEPS = 2


def engine(device: torch.device, case: Case, precision: torch.dtype) -> Engine:
    """An engine of a case's networks; it is asked with encoded prompts, so there is no text encoder."""
    row = VARIANTS[case.model]
    text = replace(row.text, dim=case.dit.text_dim)
    variant = replace(row, dit=case.dit, vae=case.vae, text=text)
    parts: Mapping[str, Any] = {
        **dict.fromkeys(
            variant.experts, lambda where: networks.transformer(case.dit, where, dtype=precision)
        ),
        "vae": lambda where: networks.vae(case.vae, where, torch.float32, False),
        "text": _no_text,
    }
    return Engine(
        f"random {case.model}",
        variant,
        tokenizer=assembly.open_tokenizer(open_model(NANO).tokenizer),
        placement=Placement(parts, dict.fromkeys(parts, "disk"), device),
        dtype=precision,
        weights={},
    )


def _no_text(device: torch.device) -> nn.Module:
    raise RuntimeError("the prompts are given as tensors")


def made(device: torch.device, case: Case) -> Iterator[Row]:
    """Make a video and say what its parts took."""
    maker = engine(device, case, torch.bfloat16)
    stride, space = case.vae.stride_time, case.vae.stride_space
    rows = torch.zeros(min(128, case.dit.text_len - 1), case.dit.text_dim)
    ask = Request(
        prompt="a red ball",
        size=(case.grid[2] * space, case.grid[1] * space),
        frames=(case.grid[0] - 1) * stride + 1,
        steps=STEPS,
        prompt_embeds=rows,
        negative_prompt_embeds=rows,
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    steps, frames, began = [], 0, 0.0
    for event in maker.generate(ask):
        if isinstance(event, Progress):
            steps.append(event.seconds)
        elif isinstance(event, Latents):
            began = time.perf_counter()
        elif isinstance(event, Frames):
            frames += len(event.frames)
    decoded = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    whole = 50 * min(steps) + decoded
    yield Row("video", f"{case.name}, a step", min(steps), note="with guidance: two predictions")
    yield Row(
        "video", f"{case.name}, decoding", decoded, note=f"{frames} frames in float32, brought to the host"
    )
    note = f"extrapolated from {STEPS} steps; weights included"
    yield Row("video", f"{case.name}, 50 steps", whole, peak=peak, note=note)
