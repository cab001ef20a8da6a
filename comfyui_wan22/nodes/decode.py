"""Wan22 Decode: a LATENT, ours or ComfyUI's, to images and a video."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import values as of_comfy
from ..definition import Input, Node, Output, Result
from ..options import FPS, MODEL
from ..running import Model, Run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from wan22.catalog import Variant
    from wan22.types import Event


def decode(run: Run, model: Model, latent: dict[str, Any], fps: float) -> Result:
    """Decode every video of a LATENT, one after another. Raises OptionError for another VAE's, DecodeError."""
    engine = model.engine()
    batch = of_comfy.normalised(latent, engine.variant.vae)
    recipe = _recipe(latent.get(of_comfy.RECIPE), batch, engine.variant, fps)
    whole = []
    for z in batch:
        with closing(run.follow(engine, engine.decode_latents({"latents": z}, recipe))) as events:
            whole.append(frames_of(events))
    images, video = of_comfy.video(np.concatenate(whole), float(recipe["fps"]))
    return Result((images, video, float(recipe["fps"])), "\n".join(run.notes))


def frames_of(events: Iterable[Event]) -> np.ndarray:
    """All frames of a video, uint8 (T, H, W, 3)."""
    from wan22.types import Frames

    return np.concatenate([event.frames for event in events if isinstance(event, Frames)])


def _recipe(kept: dict[str, Any] | None, batch: Tensor, variant: Variant, fps: float) -> dict[str, Any]:
    """What `Engine.decode_latents` needs: the recipe that the LATENT carries, if it still has that video's shape;
    else the size, length and rate of the latents themselves, as ComfyUI decodes them.
    """
    from wan22.postprocess import canvas_of

    t, h, w = batch.shape[2:]
    if kept is not None and canvas_of(kept, variant).latent == (t, h, w):
        return {**kept, "fps": fps or kept["fps"]}
    arch = variant.vae
    return {
        "size": [w * arch.stride_space, h * arch.stride_space],
        "frames": (t - 1) * arch.stride_time + 1,
        "fps": fps or variant.defaults.fps,
        "inputs": {"video": "latents"},  # it is one clip, however long
    }


DECODE = Node(
    id="Wan22Decode",
    name="Wan22 Decode",
    help="Decodes latents of Wan22 Sample or of ComfyUI's own nodes, in bounded memory.",
    inputs=(MODEL, Input(id="latent", kind="LATENT", help="Latents of the model's VAE."), FPS),
    outputs=(
        Output(id="images", kind="IMAGE", help="The frames."),
        Output(id="video", kind="VIDEO", help="The same with its rate, for SaveVideo."),
        Output(id="fps", kind="FLOAT", help="Frames a second."),
    ),
    run=decode,
)
