"""Wan22 Sample: a video of one clip, denoised by both experts in one node."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wan22.errors import OptionError

from .. import values as of_comfy
from ..definition import Input, Node, Output, Result
from ..options import FPS, FRAMES, MODEL, NEGATIVE, PREVIEW, PROMPT, SAMPLING, SIZE, asked, decimal
from ..running import Model, Run

if TYPE_CHECKING:
    from wan22.engine import Engine
    from wan22.types import Latents, Request


def sample(
    run: Run,
    model: Model,
    prompt: str,
    takes: int,
    preview: bool,
    image: Any = None,
    last_image: Any = None,
    video: Any = None,
    **values: Any,
) -> Result:
    """Denoise one video or several takes of it; nothing is decoded. Raises RequestError before any work."""
    from wan22.types import Request

    engine = model.engine()
    request = Request(
        prompt=prompt,
        image=None if image is None else of_comfy.image(image, "image"),
        last_image=None if last_image is None else of_comfy.image(last_image, "last_image"),
        video=None if video is None else of_comfy.clip(video),
        strength=None if video is None or not values["strength"] else values["strength"],
        **asked(values, engine.variant),
    )
    _check(engine, request)
    made = [
        _latents(run, engine, replace(request, seed=request.seed + turn), (turn, takes), preview=preview)
        for turn in range(takes)
    ]
    arch = engine.variant.vae
    latents = [of_comfy.latent(each.tensors["latents"], arch, each.recipe) for each in made]
    recipes = [json.dumps(each.recipe, ensure_ascii=False) for each in made]
    return Result((latents, recipes), "\n".join(run.notes))


def _check(engine: Engine, request: Request) -> None:
    """Raise RequestError for a request that gives no latents of one clip."""
    if engine.variant.speech is not None:
        raise OptionError(f"{engine.name} is driven by audio: use Wan22 Speech to Video")
    if getattr(engine.variant, "animate", None) is not None:
        raise OptionError(f"{engine.name} is driven by a video: use Wan22 Animate")
    if (canvas := engine.check(request)).clips > 1:
        raise OptionError(
            f"{canvas.frames} frames are made in {canvas.clips} clips, which are no LATENT of one video: use Wan22 "
            f"Long Video, or at most {max(engine.variant.trained.frames)} frames"
        )


def _latents(run: Run, engine: Engine, request: Request, turn: tuple[int, int], *, preview: bool) -> Latents:
    from wan22.types import Latents

    with closing(run.follow(engine, engine.generate(request), preview=preview, turn=turn)) as events:
        return next(event for event in events if isinstance(event, Latents))


SAMPLE = Node(
    id="Wan22Sample",
    name="Wan22 Sample",
    help="Makes the latents of a video with both experts, by text, images or a video. The preview shows what it is "
    "becoming.",
    inputs=(
        MODEL,
        PROMPT,
        NEGATIVE,
        *SIZE,
        FRAMES,
        FPS,
        *SAMPLING,
        decimal("strength", own=0.0),
        Input(
            id="takes",
            kind="INT",
            help="How many videos are made, with seeds from seed on: a list. Wan22 Measure passes on the best.",
            default=1,
            low=1,
            high=64,
            step=1,
        ),
        PREVIEW,
        Input(id="image", kind="IMAGE", help="The first frame.", optional=True),
        Input(id="last_image", kind="IMAGE", help="The last frame.", optional=True),
        Input(
            id="video",
            kind="VIDEO",
            help="A video to start from; strength says how much changes.",
            optional=True,
        ),
    ),
    outputs=(
        Output(id="latent", kind="LATENT", help="As ComfyUI's own Wan latents, a list of takes.", many=True),
        Output(id="recipe", kind="STRING", help="Every setting as JSON, for each take.", many=True),
    ),
    run=sample,
)
