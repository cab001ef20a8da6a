"""The values that travel between parts: what is asked, what is told to the network, what comes back.

It knows no file, device or network. One alphabet of axes for the whole project:

    b batch · c channels · t h w latent frames, rows, columns · T H W pixel frames, rows, columns
    l video tokens · s text tokens · k distinct noise levels · d width · n heads · e head width
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

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
    """A video in memory, without its recipe: `frames` uint8 (T, H, W, 3) at `fps` frames a second.

    `notices`: what was changed while the file was read, as sentences.
    """

    frames: np.ndarray
    fps: float
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Driving:
    """How a person moves, for a model that animates: clips of one length.

    pose: the body as a drawn skeleton. face: the face, cropped. With background and mask (white where the person of
    that video is, read from its first channel), the person is replaced in it; without, the reference image is animated.
    """

    pose: Clip
    face: Clip
    background: Clip | None = None
    mask: Clip | None = None

    @property
    def clips(self) -> dict[str, Clip]:
        """The clips that are there, by name."""
        return {name: clip for name, clip in vars(self).items() if clip is not None}

    @property
    def replaces(self) -> bool:
        """Whether the person is replaced in the background."""
        return self.background is not None


@dataclass(frozen=True)
class Audio:
    """Audio in memory: `samples` float32 (n,), one channel, values in [-1, 1]; `rate` samples a second."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to generate. `None` means the model's own default for every field.

    prompt: what the video shows. With times, "@0s a cat sleeps @5s it wakes", it changes during a long video.
    negative: what to avoid. "" is an empty negative prompt.
    image, last_image: the first and the last frame, uint8 (H, W, 3).
    video: a `Clip` to start from. strength: 0 < s <= 1, how much noise is added to it; 1 replaces it.
    size: (width, height) in pixels. frames: their number; or seconds: the duration. fps: frames a second.
    steps, solver, shift: the sampler (`types.Solver`). schedule: names the noise levels (`types.ScheduleName`).
    sigmas: all noise levels, falling from at most 1 to 0; they replace steps, shift and schedule.
    boundary: 0..1, the high-noise expert works at and above this fraction of the 1000 timesteps. switch_step: the
    high-noise expert takes this many steps; it replaces boundary.
    guidance: the guidance scale of both experts, or (low, high) as in the official configuration.
    guidance_rescale: 0..1, the share of the contrast that guidance adds which is removed.
    guidance_interval: (start, stop), fractions of the steps, 0..1: guidance in these steps only.
    cache: "first-block", "teacache" or "magcache", with a threshold such as "first-block:0.1": leave out the network's
    blocks at steps where little has changed.
    seed: the same seed gives the same video.
    fast: use the model's adapters for few steps; steps, solver, shift and guidance are then fixed.
    color_match: 0..1, how far later clips of a long video are corrected to the colours of the first.

    Tensors in place of what is computed otherwise: noise (c, t, h, w), the start of a video of one clip.
    prompt_embeds, negative_prompt_embeds (s, text_dim), encoded prompts; rows of zeros at the end are padding.
    max_sequence_length: the number of tokens of a prompt that are read, and to which it is padded.

    Speech to video: image is the reference image, audio (16,000 samples a second) drives the video, pose is a video of
    body poses, clips limits the number of clips. from_image: the video begins with the image itself.

    Animate: image is who is seen, driving how that person moves, carried (1 or 5) the frames that each clip takes over
    from the one before. An empty prompt is the model's own. relight: the strength of the model's adapter that fits the
    light of a person to the background, where one is replaced.
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
    guidance_interval: tuple[float, float] | None = None
    cache: str | None = None
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
    driving: Driving | None = None
    carried: int | None = None
    relight: float = 1.0

    @property
    def by_clips(self) -> bool:
        """Whether what drives the video comes clip by clip, even of one clip: audio, or a driving video."""
        return self.audio is not None or self.driving is not None


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
    """A stage of the work begins: `name` is "text", "condition", "load", "denoise", "decode" or "finish"."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Notice:
    """A message for the user, such as that the size was changed or the model was not trained for the request."""

    text: str


@dataclass(frozen=True)
class Progress:
    """Step `index` (1..`steps`) of clip `clip` (1..`clips`) is done.

    expert: the network that made it. seconds: how long it took. left: seconds expected until the video is complete.
    x, x0: latents (c, t, h, w), the sample and the predicted clean video. sigma: the noise level of the solver, 0..1.
    timestep: the noise level that the network got, 0..1000. reused: whether a step cache left out the network's blocks.
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
    reused: bool = False


@dataclass(frozen=True)
class Reply:
    """What the caller of `Engine.generate` may send in answer to a Progress. None changes nothing.

    x: replaces the sample; it has the shape of `Progress.x`. prompt_embeds, negative_prompt_embeds (s, text_dim):
    encoded prompts from the next step on. guided: False turns guidance off from the next step on. stop: make no
    further step; the present sample is decoded.
    """

    x: Tensor | None = None
    prompt_embeds: Tensor | None = None
    negative_prompt_embeds: Tensor | None = None
    guided: bool | None = None
    stop: bool = False

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        changes = self.x, self.prompt_embeds, self.negative_prompt_embeds, self.guided
        return not self.stop and all(change is None for change in changes)


@dataclass(frozen=True)
class Latents:
    """A video of one clip is denoised and not yet decoded. Save it here to lose nothing if decoding fails.

    tensors, recipe: the arguments of `Engine.decode_latents`, which decodes the video later.
    """

    tensors: dict[str, Tensor] = field(repr=False)
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Frames:
    """Decoded frames, uint8 (T, H, W, 3) in the requested size: number `start` (from 0) and following, of `total`."""

    start: int
    total: int
    frames: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class ClipDone:
    """All frames of clip `clip` (1..`clips`) of a long video were yielded.

    carry: the tensors that the next clip needs; empty after the last clip. Pass the event to `Engine.generate` to
    continue an interrupted video.
    """

    clip: int
    clips: int
    carry: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class Playable:
    """The first `frames` of a long video's `total` frames are in the file `path`, and can be played while it grows.

    Said by a production, which writes the file; not by `Engine.generate`. type: the file's media type, with its codec.
    """

    path: Path
    frames: int
    total: int
    fps: float
    type: str


@dataclass(frozen=True)
class Finished:
    """The video is complete. `recipe` holds every setting, as JSON values; `media/recipe.py` writes it into files."""

    fps: float
    recipe: dict[str, Any]


Event = Phase | Notice | Progress | Latents | Frames | ClipDone | Playable | Finished
Events = Generator[Event, Reply | None]


class Journal(Protocol):
    """Keeps what was computed of one video, by name, so that it goes on after any end (`production/journal.py`)."""

    def read(self, name: str) -> dict[str, Tensor] | None:
        """The tensors of an entry, or None if there is none that is whole."""
        ...

    def write(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors of an entry, unless it is there. It does not fail."""
        ...

    def drop(self, prefix: str) -> None:
        """Forget the entries whose names begin so."""
        ...
