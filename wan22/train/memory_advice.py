"""What helps where training does not fit into memory, in the words of a recipe."""

import math
from dataclasses import replace

from wan22.errors import DeviceError
from wan22.train.memory import MemoryEstimate, StepSpec, estimate_of, numbers


def check_memory(need: MemoryEstimate, available: int) -> None:
    """Raise DeviceError unless `need` fits into `available` bytes; it says what would help most, and how far.

    What changes nothing of the result comes first; a smaller clip, and a LoRA in place of all weights, come last.
    """
    if need.total <= available:
        return
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in need.parts.items())
    found, steps = need, []
    for ways in (_savings, _sacrifices):
        while found.total > available:
            made = {said: estimate_of(spec) for said, spec in ways(found.spec).items()}
            said = min(made, key=lambda way: made[way].total, default="")
            if not said or made[said].total > 0.98 * found.total:
                break
            found = made[said]
            steps.append(f"{said} ({found.total / 1e9:.2f} GB)")
    fits = "which fits" if found.total <= available else "and even that does not fit"
    help_ = (
        f"What helps most: {', then '.join(steps)}, {fits}" if steps else "Nothing helps but a larger device"
    )
    raise DeviceError(
        f"training needs {need.total / 1e9:.2f} GB ({parts}), and {available / 1e9:.2f} GB are free. {help_}"
    )


def _savings(spec: StepSpec) -> dict[str, StepSpec]:
    """What a person could change without changing what is learned from what, in the words of a recipe."""
    ways: dict[str, StepSpec] = {}
    if not spec.checkpointing:
        ways["memory.gradient_checkpointing = true"] = replace(spec, checkpointing=True)
    if spec.batch > 1:
        ways[f"optimiser.batch_size = 1 with optimiser.gradient_accumulation = {spec.batch}"] = replace(
            spec, batch=1
        )
    if spec.ranks > 1 and spec.gathered:
        ways['parallel.gradient_sync = "each"'] = replace(spec, gathered=False)
    if spec.experts > 1:
        ways[f'memory.offload_inactive_expert = "{spec.resting}"'] = replace(spec, experts=1)
    if spec.dtype == "fp32" and spec.base == "fp32":
        ways['memory.dtype = "bf16"'] = replace(spec, dtype="bf16")
    if spec.adapts and spec.mixed:
        ways['memory.base_dtype = "bf16"'] = replace(spec, base="bf16")
    if spec.adapts and spec.base != "int8" and spec.ranks == 1:
        ways['memory.base_dtype = "int8"'] = replace(spec, base="int8")
    if spec.adapts and spec.checkpointing and spec.device == "cuda" and not spec.streamed and spec.ranks == 1:
        ways["memory.stream_base = true"] = replace(spec, streamed=True)
    if spec.ema:
        ways["optimiser.ema_decay = 0"] = replace(spec, ema=False)
    if spec.optimiser == "adamw" and not spec.adapts:
        ways['optimiser.name = "muon"'] = replace(spec, optimiser="muon")
    return ways


def _sacrifices(spec: StepSpec) -> dict[str, StepSpec]:
    """What a person could give up."""
    half = math.ceil(spec.tokens / 2)
    ways = {}
    if half >= 128:
        said = f"clips of {half} tokens (a smaller data.size, fewer data.frames)"
        ways[said] = replace(spec, tokens=half)
    if not spec.adapts:
        small = replace(spec, trainable=16 * numbers(spec.arch)["rank"], base="bf16")
        ways["an [adapter] of rank 16"] = small
    return ways
