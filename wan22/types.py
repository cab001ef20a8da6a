"""The values that travel between parts: what is asked, what is told to the network, what comes back.

It knows no file, device or network. One alphabet of axes for the whole project:

    b batch · c channels · t h w latent frames, rows, columns · T H W pixel frames, rows, columns
    l video tokens · s text tokens · k distinct noise levels · d width · n heads · e head width
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Image = np.ndarray
"""An RGB image: uint8, (H, W, 3)."""

Expert = Literal["high", "low"]
Solver = Literal[
    "unipc", "dpm++", "euler", "distilled", "uni_pc", "uni_pc_bh2", "dpmpp_2m", "dpmpp_2m_sde", "res_multistep", "lcm",
    "heun", "euler_ancestral",
]  # fmt: skip
"""The first four as the release and distilled models; the others as ComfyUI names them."""

ScheduleName = Literal[
    "official", "simple", "normal", "sgm_uniform", "beta", "karras", "exponential", "ddim_uniform", "linear_quadratic",
    "kl_optimal",
]  # fmt: skip
"""The first as the release; the others as ComfyUI names them."""


@dataclass(frozen=True)
class Clip:
    """Images in time: `frames` uint8 (T, H, W, 3), shown at `fps` frames a second.

    `notices` say what was changed while it was read, and what its reader may not expect.
    """

    frames: np.ndarray
    fps: float
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audio:
    """Audio in time: `samples` float32 (n,), one channel, within [-1, 1], `rate` of them a second."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate


@dataclass(frozen=True, kw_only=True)
class Request:
    """What someone wants. `None` always means: the model's own default.

    `negative=""` is a really empty negative prompt (the official code cannot say that).
    `guidance` is one number for both experts, or (low, high) as the official configuration writes it.
    `guidance_rescale` (0..1) takes back that share of the contrast and colour that guidance adds.
    `size` is (width, height). `seconds` is an alternative to `frames`.
    `strength` (0 < s <= 1) says how far an existing `video` is taken back towards noise.

    Tensors may stand in the place of what is made otherwise. `noise` (c, t, h, w) is where a video of one clip starts,
    in place of the seed's. `prompt_embeds` and `negative_prompt_embeds` (s, text_dim) are encoded prompts, of which the
    rows of zeros at the end are padding. `max_sequence_length` is how many tokens of a prompt are read, and to how many
    it is padded.

    `schedule` names the noise levels (`sampling.SCHEDULE_NAMES`). `sigmas` are all levels, falling from at most 1 to 0,
    in the place of steps, shift and schedule. Of a model with two experts, `boundary` (0..1) is the fraction of the
    1000 timesteps at and above which the high-noise one works; or `switch_step` says how many steps it takes.

    A prompt may change on the way: "@0s a cat sleeps @5s it wakes and stretches".
    `color_match` (0..1) keeps the colours of the later clips of a long video to those of the first.
    `fast` takes the few steps of the adapters that the model ships, if it ships some: steps, solver, shift and guidance
    are then theirs.

    Speech to video: `image` shows who is seen, `audio` (16,000 samples a second) drives the video, `pose` is a video of
    the body's pose, `clips` limits how many clips are made. With `from_image` the video begins with the image itself.
    """

    prompt: str
    negative: str | None = None
    image: Image | None = None
    last_image: Image | None = None
    video: Clip | None = None
    strength: float | None = None
    size: tuple[int, int] | None = None
    frames: int | None = None
    seconds: float | None = None
    fps: float | None = None
    steps: int | None = None
    solver: str | None = None
    shift: float | None = None
    schedule: str | None = None
    sigmas: Sequence[float] | None = None
    boundary: float | None = None
    switch_step: int | None = None
    guidance: float | tuple[float, float] | None = None
    guidance_rescale: float | None = None
    seed: int = 0
    noise: Tensor | None = None
    prompt_embeds: Tensor | None = None
    negative_prompt_embeds: Tensor | None = None
    max_sequence_length: int | None = None
    color_match: float = 0.0
    fast: bool = False
    audio: Audio | None = None
    pose: Clip | None = None
    clips: int | None = None
    from_image: bool = False


@dataclass(frozen=True)
class Level:
    """One noise level: `sigma` in 0..1 for the solver, `timestep` (0..1000) for the network.

    They are kept apart because the official schedules hand the network an integer timestep that is
    truncated from a sigma of higher precision (spec: sampling, section 3).
    """

    sigma: Tensor
    timestep: float


@dataclass(frozen=True)
class Step:
    """A solver's state after step `index` (from 0): the sample, and its prediction of the clean latents."""

    index: int
    x: Tensor
    x0: Tensor
    level: Level


# What `Engine.generate` yields, in the order in which it happens.


@dataclass(frozen=True)
class Phase:
    """Work of another kind begins: "text", "condition", "load", "denoise", "decode" or "finish"."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Notice:
    """Something that the person should know: the size was changed, the model was not trained for this."""

    text: str


@dataclass(frozen=True)
class Progress:
    """Step `index` of `steps` is done (1..steps), by `expert`, in `seconds`; `left` seconds are expected, for the whole
    video. It is a step of clip `clip` of `clips`, from 1.

    `x` and `x0` are latents (c, t, h, w): the sample and the current guess of the clean video. `timestep`
    (0..1000) is what
    the network was told of the noise, `sigma` what the solver reckons with.
    """

    index: int
    steps: int
    expert: str
    sigma: float
    seconds: float
    left: float
    x: Tensor = field(repr=False)
    x0: Tensor = field(repr=False)
    clip: int = 1
    clips: int = 1
    timestep: float = 0.0


@dataclass(frozen=True)
class Reply:
    """What a caller of `Engine.generate` may send back for a Progress; None leaves a thing as it is.

    `x`, of the shape of `Progress.x`, goes on in the place of the sample. The prompts (s, text_dim) are read from the
    next step on, and so is `guided`: False leaves the negative prompt out. With `stop` no further step is made: the
    sample as it is becomes the video.
    """

    x: Tensor | None = None
    prompt_embeds: Tensor | None = None
    negative_prompt_embeds: Tensor | None = None
    guided: bool | None = None
    stop: bool = False


@dataclass(frozen=True)
class Latents:
    """A video of one clip is denoised and nothing is decoded yet: the moment to put the work in a safe place.

    `tensors` and `recipe` are all that `Engine.decode_latents` needs to finish the video later.
    """

    tensors: dict[str, Tensor] = field(repr=False)
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Frames:
    """Decoded frames `start`..`start + len(frames) - 1` of `total`, uint8 (T, H, W, 3), in final size."""

    start: int
    total: int
    frames: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class ClipDone:
    """Clip `clip` of `clips`, from 1, is whole: all its frames were given.

    `carry` is everything that the next clip needs to know of this one; `Engine.generate` goes on from it. It is empty
    after the last clip.
    """

    clip: int
    clips: int
    carry: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class Finished:
    """The video is complete. `recipe` makes it again (see media/recipe.py)."""

    fps: float
    recipe: dict[str, Any]


Event = Phase | Notice | Progress | Latents | Frames | ClipDone | Finished
Events = Generator[Event, Reply | None]
