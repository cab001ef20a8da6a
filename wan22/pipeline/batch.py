"""One request for each video of a call: its texts or encoded prompts, its images, and where it starts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from wan22.engine import Engine
from wan22.errors import OptionError
from wan22.pipeline import inputs
from wan22.types import Request


def texts_of(
    prompt: str | Sequence[str] | None,
    negative: str | Sequence[str] | None,
    embeds: Tensor | None,
    negative_embeds: Tensor | None,
    *,
    images: Any,
    width: int,
) -> list[dict[str, Any]]:
    """The texts or encoded prompts of each video, as fields of a Request; `width` is that of encoded prompts.

    There are as many as prompts, or as images for one prompt. Raises OptionError.
    """
    _check_embeds("prompt", prompt, embeds, width)
    _check_embeds("negative_prompt", negative, negative_embeds, width)
    if prompt is None and embeds is None:
        raise OptionError("give a prompt, or prompt_embeds")
    given = None if embeds is None else list(embeds if embeds.ndim == 3 else embeds[None])
    if given is not None:
        count = len(given)
    else:
        count = next((len(value) for value in (prompt, images) if isinstance(value, list | tuple)), 1)
    if not count:
        raise OptionError("the list of prompts is empty; give at least one")
    rows = zip(
        inputs.rows("prompt", prompt, count),
        [None] * count if given is None else given,
        inputs.rows("negative_prompt", negative, count),
        _negative_rows(negative_embeds, count),
        strict=True,
    )
    return [
        {
            "prompt": text or "" if own is not None else text,
            "prompt_embeds": own,
            "negative": avoid,
            "negative_prompt_embeds": avoid_embeds,
        }
        for text, own, avoid, avoid_embeds in rows
    ]


def _check_embeds(name: str, text: Any, embeds: Tensor | None, width: int) -> None:
    if embeds is None:
        return
    if text is not None:
        raise OptionError(f"give {name} or {name}_embeds, not both")
    if not isinstance(embeds, Tensor) or embeds.ndim not in (2, 3):
        found = tuple(embeds.shape) if isinstance(embeds, Tensor) else type(embeds).__name__
        raise OptionError(f"{name}_embeds must be a tensor (B, s, {width}), not {found}")


def _negative_rows(embeds: Tensor | None, count: int) -> list[Tensor | None]:
    if embeds is None or embeds.ndim == 2 or len(embeds) == 1:
        return [embeds if embeds is None or embeds.ndim == 2 else embeds[0]] * count
    return inputs.rows("negative_prompt_embeds", list(embeds), count)


def requests_of(
    common: Request, texts: Sequence[dict[str, Any]], image: Any, last_image: Any, times: int
) -> list[Request]:
    """What is common to all videos with the texts and images of each, each `times` times."""
    count = len(texts)
    images, lasts = inputs.rows("image", image, count), inputs.rows("last_image", last_image, count)
    made = [
        replace(common, **text, image=inputs.image_of(first), last_image=inputs.image_of(last))
        for text, first, last in zip(texts, images, lasts, strict=True)
    ]
    return inputs.repeated(made, times)


def started(
    engine: Engine, requests: Sequence[Request], generator: Any, seed: int | None, latents: Tensor | None
) -> list[Request]:
    """Say where each video starts. All that is asked is checked before anything is drawn."""
    canvases = [engine.check(request) for request in requests]
    noises: Sequence[Tensor | None] = [None] * len(requests)
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
        noises = list(latents)
        for request, noise in zip(requests, noises, strict=True):
            engine.check(replace(request, noise=noise))
    one_shape = len({canvas.latent for canvas in canvases}) == 1 and canvases[0].clips == 1
    shape = (engine.variant.dit.out_channels, *canvases[0].latent) if one_shape else None
    begun = inputs.starts(generator, seed, len(requests), shape)
    made = [
        replace(request, seed=number, noise=drawn if noise is None else noise)
        for request, noise, (number, drawn) in zip(requests, noises, begun, strict=True)
    ]
    for request in made:
        engine.check(request)
    return made
