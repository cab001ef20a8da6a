"""Networks of the recorded cases as any process builds them, and what a call of each is told."""

from typing import Any

import torch
from parity.builders import build, dit_arch
from parity.conftest import _read

from wan22.models.dit import NoiseLevels, WanDiT

CASES = ("dit_t2v", "dit_i2v", "dit_ti2v", "s2v_transformer", "animate_transformer")


def case(name: str, batch: int = 1) -> tuple[WanDiT, dict[str, Any]]:
    """The network of a case, and the arguments of a call. TI2V has a noise level for each token, S2V taps, a reference
    and a past, Animate taps and poses.
    """
    golden = _read(name)
    network, given = build(dit_arch(golden.config), golden.weights()), golden.inputs
    x = given["latents"][:1].expand(batch, -1, -1, -1, -1)
    levels = NoiseLevels.uniform(given["timestep"][:1].expand(batch))
    if name == "dit_ti2v":
        levels = NoiseLevels.per_token(given["timestep_per_token"][0])
        levels = NoiseLevels(levels.values.expand(batch, -1), levels.index)
    image = {"image": given["clip_features"][:1].expand(batch, -1, -1)} if "clip_features" in given else {}
    told = {"x": x, "levels": levels, "text": network.read_text([given["context.0"]] * batch, **image)}
    if "condition" in given:
        told["channels"] = given["condition"][:1].expand(batch, -1, -1, -1, -1)
    if name == "animate_transformer":
        pose, face = given["pose_latents"][:1], given["face"][:1]
        told["extra_tokens"] = network.read_animate(
            pose.expand(batch, -1, -1, -1, -1), face.expand(batch, -1, -1, -1, -1)
        )
    if name == "s2v_transformer":
        told["extra_tokens"] = network.read_speech(
            *(given[key] for key in ("ref_latents", "audio", "motion_latents", "pose_latents"))
        )
    return network, told


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Of all numbers together, relative."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())
