"""What helps where training does not fit into memory, in the words of a recipe."""

import math
from dataclasses import replace

from wan22.errors import DeviceError
from wan22.train.memory import Load, Need, need_of, numbers


def require(need: Need, available: int) -> None:
    """Raise DeviceError unless `need` fits into `available` bytes; it says what would help most, and how far.

    What changes nothing of the result comes first; a smaller clip, and a LoRA in place of all weights, come last.
    """
    if need.total <= available:
        return
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in need.parts.items())
    found, steps = need, []
    for ways in (_savings, _sacrifices):
        while found.total > available:
            made = {said: need_of(load) for said, load in ways(found.load).items()}
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


def _savings(load: Load) -> dict[str, Load]:
    """What a person could change without changing what is learned from what, in the words of a recipe."""
    ways: dict[str, Load] = {}
    if not load.checkpointing:
        ways["memory.gradient_checkpointing = true"] = replace(load, checkpointing=True)
    if load.batch > 1:
        ways[f"optimiser.batch_size = 1 with optimiser.gradient_accumulation = {load.batch}"] = replace(
            load, batch=1
        )
    if load.experts > 1:
        ways[f'memory.offload_inactive_expert = "{load.resting}"'] = replace(load, experts=1)
    if load.dtype == "fp32" and load.base == "fp32":
        ways['memory.dtype = "bf16"'] = replace(load, dtype="bf16")
    if load.adapts and load.mixed:
        ways['memory.base_dtype = "bf16"'] = replace(load, base="bf16")
    if load.adapts and load.base != "int8":
        ways['memory.base_dtype = "int8"'] = replace(load, base="int8")
    if load.ema:
        ways["optimiser.ema_decay = 0"] = replace(load, ema=False)
    if load.optimiser == "adamw" and not load.adapts:
        ways['optimiser.name = "muon"'] = replace(load, optimiser="muon")
    return ways


def _sacrifices(load: Load) -> dict[str, Load]:
    """What a person could give up."""
    half = math.ceil(load.tokens / 2)
    ways = {}
    if half >= 128:
        said = f"clips of {half} tokens (a smaller data.size, fewer data.frames)"
        ways[said] = replace(load, tokens=half)
    if not load.adapts:
        small = replace(load, trainable=16 * numbers(load.arch)["rank"], base="bf16")
        ways["an [adapter] of rank 16"] = small
    return ways
