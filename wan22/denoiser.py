"""The networks of one clip as a denoise function: the expert of a level, its prompts and what drives it, and guidance.

It knows no steps and no solver: it is told which level comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from wan22.conditioning.clips import ClipCondition
from wan22.conditioning.image import ImageCondition
from wan22.conditioning.text import Context
from wan22.errors import OptionError
from wan22.memory.fallback import Fallback
from wan22.memory.placement import Placement
from wan22.models.dit import ExtraTokens, NoiseLevels, TextMemory, WanDiT
from wan22.request import Job
from wan22.sampling import Schedule, cfg, hold, hold_noisy, rescale, velocity_to_x0
from wan22.sampling.cache import CACHES, StepCache
from wan22.sampling.calibration import Recorder
from wan22.sampling.denoise import Denoise
from wan22.types import Events, Level, Phase, Reply

if TYPE_CHECKING:
    from wan22.parallel.divided import Divided

BATCH_TOKENS = 4096
"""Tokens up to which both branches of guidance are one batch."""


def contexts(job: Job, clip: int, texts: dict[str, Context], device: torch.device) -> tuple[Context, Context]:
    """The prompt and the negative prompt of a clip: the request's own tensors, or its texts as they were encoded."""
    request = job.request
    given = [
        None if embeds is None else _given(embeds, device)
        for embeds in (request.prompt_embeds, request.negative_prompt_embeds)
    ]
    return given[0] or texts[job.prompt(clip)], given[1] or texts[job.negative]


def _given(embeds: Tensor, device: torch.device) -> Context:
    rows, length = Context.of(embeds.detach())
    return Context(rows.to(device), length)


def guided(job: Job, level: Level) -> bool:
    """Whether both branches of guidance work at a level."""
    return job.walk.is_guided(level) and not job.alone(job.expert(level))


Group = tuple[int, ...]
"""Branches of guidance that are computed in one call: the prompt's is 0, the other 1."""


class Call(NamedTuple):
    """A call of the expert in charge: the sample and its level."""

    expert: str
    x: Tensor
    level: Level


class Undivided:
    """This process does all of a call. `parallel/divided.py` has the one of several.

    in_step: whether others read other branches, so that all must read at once: blocks may lie on all of them.
    """

    in_step = False

    def call(self, network: nn.Module) -> Callable[..., Tensor]:
        """What is called like the network, and returns the velocity of all tokens."""
        return network

    def groups(self, groups: list[Group]) -> list[Group]:
        """Of all branches of guidance, in the groups that are computed at once, those of this process."""
        return groups

    def join(self, velocities: Tensor) -> Tensor:
        """The velocities of both branches, from those of this process."""
        return velocities

    mean = staticmethod(Tensor.mean)
    """The mean of numbers of all tokens, from those of this process."""

    def agree(self, skip: bool) -> bool:
        """What all processes decide, from the decision of this one."""
        return skip


UNDIVIDED = Undivided()


class Denoiser:
    """The networks of one clip: which one works at a level, with everything that does not depend on noise read once."""

    def __init__(
        self,
        placement: Placement,
        job: Job,
        texts: tuple[Context, Context],
        condition: ClipCondition,
        fallback: Fallback,
        recorder: Recorder | None = None,
        divided: Undivided | Divided = UNDIVIDED,
    ) -> None:
        self.placement, self.job, self.texts, self.condition = placement, job, texts, condition
        self.fallback, self.divided = fallback, divided
        known = condition.image
        channels = known.channels if condition.animate is None else condition.animate.channels
        self.channels = None if channels is None else channels[None].to(placement.device)
        # On the device: the frames that are not known, and which noise level each token has.
        self._drawn = self._index = None
        if known.frames is not None:
            drawn = ~known.frames.cpu()
            self._drawn = drawn.nonzero().flatten().to(placement.device)
            index = drawn.long().repeat_interleave(job.canvas.tokens // len(drawn))
            self._index = None if known.noisy else index.to(placement.device)
        self.name = ""
        self.network: nn.Module | None = None
        self.branches: dict[tuple[int, ...], _Branch] = {}
        self._groups: list[Group] = []  # of all processes, that `branches` were read for
        self.recorder = recorder
        self.cache: StepCache | Recorder | None = None
        self.guided = True

    def arrive(self, level: Level) -> Events:
        """Bring in the expert of a level, if it is not the one at work."""
        name = self.job.expert(level)
        if name == self.name and self.network is not None:
            return
        if not self.placement.is_here(name):
            yield Phase("load", f"the {name}-noise expert" if name != "dit" else "the transformer")
        self.leave()  # the old one goes before the new one comes
        self.fallback.run(name, partial(self._enter, name, level), self.leave)

    def turn(self, level: Level) -> None:
        """The expert of a level is in charge, but its work was done before: nothing is brought in."""
        if (name := self.job.expert(level)) != self.name:
            self.leave()
            self.name = name

    def restore(self, calls: Sequence[Call]) -> None:
        """Bring the step cache to where it was: the first of these calls ran all blocks, the others left them out. They
        were made before; the first is made again, for what it added is not kept.
        """
        first, *skipped = calls
        if not isinstance(self.cache, StepCache) or first.expert != self.name:
            return
        with torch.inference_mode():
            self.fallback.run(self.name, partial(self._denoise, first.x, first.level), self.leave)
        for call in skipped:
            self.cache.skip(call.level)

    def expect(self, level: Level) -> None:
        """Have the expert of the level after this one read ahead, if it is another one."""
        if (name := self.job.expert(level)) != self.name:
            self.placement.expect(name)

    def _enter(self, name: str, level: Level) -> None:
        self.network = self.placement.bring(name)
        if isinstance(self.network, WanDiT):
            self.network.chunk = self.placement.scheme(name).chunk
        self.name = name
        with torch.inference_mode():
            self._read(level)

    def leave(self) -> None:
        """Let go of the network at work, so that another one can have its place."""
        self.network, self.branches, self.cache, self.name = None, {}, None, ""

    def said(self) -> Events:
        """What is to be said of a device that ran out of memory."""
        yield from self.fallback.said()

    @property
    def skipped(self) -> bool:
        """Whether the last call left the blocks out."""
        return self.cache is not None and self.cache.skipped

    def change(self, reply: Reply | None) -> None:
        """Go on as the caller says."""
        if reply is None:
            return
        prompts = reply.prompt_embeds, reply.negative_prompt_embeds
        if reply.guided is None and prompts == (None, None):
            return
        self.guided = self.guided if reply.guided is None else reply.guided
        new = [
            old if given is None else _given(given, old.rows.device)
            for given, old in zip(prompts, self.texts, strict=True)
        ]
        self.texts = (new[0], new[1])
        self.name = ""  # the expert at work reads them when it arrives anew

    def _read(self, level: Level) -> Iterable[_Branch]:
        """Both branches of guidance in a batch, or one after the other, or the prompt's alone without guidance. They
        are read when guidance begins or ends.
        """
        groups: list[Group] = [(0,)] if self._unguided(level) else [(0,), (1,)]
        mine = self.divided.groups(groups)
        if len(mine) == 2 and self.job.canvas.tokens <= BATCH_TOKENS:
            mine = [(0, 1)]
        if groups != self._groups or not self.branches:
            self._groups = groups
            known = {} if self.divided.in_step else self.branches
            self.branches = {group: known.get(group) or self._branch(group) for group in mine}
            self.cache = self._new_cache()
        return self.branches.values()

    def _branch(self, group: tuple[int, ...]) -> _Branch:
        assert self.network is not None
        return _Branch(group, self._read_text(self.network, group), self._read_driven(self.network, group))

    def _new_cache(self) -> StepCache | Recorder | None:
        choice, schedule = self.job.walk.cache, self.job.schedule
        if self.network is None or (choice is None and self.recorder is None):
            return None
        modulation = partial(_modulation, self.network, schedule, self.placement.device)
        if self.recorder is not None:
            self.recorder.arrive(self.name, modulation())
            return self.recorder
        assert choice is not None
        calibration = self.job.variant.calibration.get(self.name)
        rule = CACHES[choice.name].rule(modulation, calibration, self.divided.mean)
        return StepCache(choice, rule, schedule, self.divided.agree)

    def _read_text(self, network: nn.Module, group: tuple[int, ...]) -> TextMemory:
        texts = [self.texts[i] for i in group]
        rows, lengths = [text.rows for text in texts], [text.length for text in texts]
        animate = self.condition.animate
        if animate is None:
            return network.read_text(rows, lengths)
        image = animate.image.to(self.placement.device, _dtype(network))
        return network.read_text(rows, lengths, image=image.expand(len(group), -1, -1))

    def _unguided(self, level: Level) -> bool:
        """Whether the prompt's branch works alone."""
        return not self.guided or not guided(self.job, level)

    def _read_driven(self, network: nn.Module, group: tuple[int, ...]) -> ExtraTokens | None:
        """What stands beside the noisy tokens; the branch without the prompt has no audio, and a black face."""
        speech, animate = self.condition.speech, self.condition.animate
        if animate is not None:
            face = torch.stack([torch.full_like(animate.face, -1.0) if i else animate.face for i in group])
            pose = animate.pose.expand(len(group), *animate.pose.shape)
            device, dtype = self.placement.device, _dtype(network)
            return network.read_animate(pose.to(device, dtype), face.to(device, dtype))
        if speech is None:
            return None
        device = self.placement.device
        told = {
            name: value.to(device, network.patch_embedding.weight.dtype).expand(len(group), *value.shape)
            for name in ("reference", "motion", "pose")
            if (value := getattr(speech, name)) is not None
        }
        audio = speech.audio.to(device)
        return network.read_speech(audio=torch.stack([audio * (1 - i) for i in group]), **told)

    def denoise(self, x: Tensor, level: Level) -> Tensor:
        """The clean sample that the expert in charge sees: guided velocity, turned into x0."""
        name = self.name

        def call() -> Tensor:
            if self.network is None:  # it was let go, for it did not fit
                self._enter(name, level)
            return self._denoise(x, level)

        return self.fallback.run(name, call, self.leave)

    def _denoise(self, x: Tensor, level: Level) -> Tensor:
        levels = self._levels(level)
        branches = self._read(level)
        if self.cache is not None:
            self.cache.begin(level)
        velocities = torch.cat([self._velocities(x, levels, branch) for branch in branches])
        if not self._unguided(level):
            velocities = self.divided.join(velocities)
        told = velocity_to_x0(x, velocities[0], level)
        if len(velocities) == 1:
            return told
        velocity = cfg(velocities[0], velocities[1], self.job.scale(self.name))
        guided = velocity_to_x0(x, velocity, level)
        return self._rescaled(guided, told) if self.job.rescale else guided

    def _rescaled(self, guided: Tensor, told: Tensor) -> Tensor:
        """Only frames that are drawn count: of known ones the network says nothing."""
        if self._drawn is None:
            return rescale(guided, told, self.job.rescale)
        narrowed = guided.clone()
        narrowed[:, self._drawn] = rescale(guided[:, self._drawn], told[:, self._drawn], self.job.rescale)
        return narrowed

    def _velocities(self, x: Tensor, levels: NoiseLevels, branch: _Branch) -> Tensor:
        n = len(branch.group)
        known = None if self.channels is None else self.channels.expand(n, -1, -1, -1, -1)
        levels = NoiseLevels(levels.values.expand(n, -1), levels.index)
        around = None if self.cache is None else partial(self.cache.around, branch.group)
        assert self.network is not None
        call = self.divided.call(self.network)
        return call(x.expand(n, *x.shape), levels, branch.text, known, branch.extra_tokens, around)

    def _levels(self, level: Level) -> NoiseLevels:
        now = torch.tensor([[level.timestep]], dtype=torch.float32)
        if self._index is None:
            return NoiseLevels(now)
        return NoiseLevels(torch.cat([torch.zeros_like(now), now], dim=1), self._index)


def _modulation(network: nn.Module, schedule: Schedule, device: torch.device) -> dict[float, Tensor]:
    """The vectors by which the noise level enters the blocks, of each timestep, on the host."""
    values = torch.tensor([schedule.timesteps], dtype=torch.float32, device=device)
    _, of_blocks = network.read_time(NoiseLevels(values))
    return dict(zip(schedule.timesteps, of_blocks.rows[0].cpu(), strict=True))


def _dtype(network: nn.Module) -> torch.dtype:
    """Of what a network is told."""
    return network.get_parameter("patch_embedding.weight").dtype


@dataclass(frozen=True)
class _Branch:
    """What one call of the network is told of text and audio: of the prompt (0), the negative prompt (1), or both."""

    group: tuple[int, ...]
    text: TextMemory
    extra_tokens: ExtraTokens | None


def keep_known(denoise: Denoise, known: ImageCondition, noise: Tensor) -> Denoise:
    """A denoise that keeps the latents that are known, if there are any."""
    if known.latents is None or known.frames is None:
        return denoise
    where = known.frames.view(1, -1, 1, 1).to(noise.device)
    latents = known.latents.to(noise.device)
    return hold_noisy(denoise, latents, where, noise) if known.noisy else hold(denoise, latents, where)


def like(given: Tensor, x: Tensor) -> Tensor:
    """A sample that a caller sent, where `x` is and as precise."""
    if given.shape != x.shape:
        raise OptionError(f"the sample was {tuple(x.shape)}, and is to be replaced by {tuple(given.shape)}")
    return given.to(x)
