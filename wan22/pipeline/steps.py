"""A callback after every step, as Diffusers calls it, and what it says back to the engine."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wan22.conditioning.text import Context
from wan22.errors import OptionError
from wan22.types import Progress, Reply, Request

if TYPE_CHECKING:
    from wan22.pipeline.pipeline import Wan22Pipeline

OnStep = Callable[["Wan22Pipeline", int, float, dict[str, Any]], dict[str, Any] | None]

TENSORS = ("latents", "prompt_embeds", "negative_prompt_embeds", "x0")
"""What a callback may ask for: Diffusers' three, each (1, ...), and the guess of the clean latents, which it
cannot change.
"""


class StepCallback:
    """Calls a person's function with copies of the tensors that it asked for, and turns what changed into a Reply."""

    def __init__(self, pipeline: "Wan22Pipeline", call: OnStep, names: Sequence[str]) -> None:
        names = getattr(call, "tensor_inputs", names)  # of Diffusers' PipelineCallback
        unknown = [name for name in names if name not in TENSORS]
        if unknown:
            raise OptionError(
                f"callback_on_step_end_tensor_inputs knows {', '.join(TENSORS)}, not {unknown[0]!r}"
            )
        self.pipeline, self.call, self.names = pipeline, call, tuple(names)
        self.changed = False
        self._texts: dict[str, Tensor] = {}

    def begin(self, request: Request) -> None:
        """Another video follows."""
        self.changed, self._texts, self._request = False, {}, request
        self._scale = self.pipeline._guidance_scale

    def __call__(self, event: Progress) -> Reply | None:
        """Show a step, and say what is to change."""
        shown = {"latents": event.x[None], "x0": event.x0[None]}
        asked = [name for name in self.names if name in shown or self._text(name) is not None]
        before = {name: shown[name] if name in shown else self._text(name) for name in asked}
        given = {name: tensor.clone() for name, tensor in before.items()}
        back = self.call(self.pipeline, event.index - 1, event.timestep, given)
        after = given if back is None else {**given, **back}
        unknown = [name for name in after if name not in TENSORS[:3] and name not in before]
        if unknown:
            raise OptionError(
                f"callback_on_step_end gave back {unknown[0]!r}; it may change {', '.join(TENSORS[:3])}"
            )
        changed = {}
        for name, value in after.items():
            if name == "x0":
                continue
            wanted = shown[name] if name in shown else self._text(name)
            if not isinstance(value, Tensor) or value.ndim != 3 + 2 * (name == "latents") or len(value) != 1:
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise OptionError(
                    f"callback_on_step_end gave {name} back as {found}; it is {tuple(wanted.shape)}"
                )
            if value.shape != wanted.shape or not torch.equal(value.to(wanted), wanted):
                changed["x" if name == "latents" else name] = value[0].detach()
                if name != "latents":
                    self._texts[name] = value
        guided = False if self._scale > 1 >= self.pipeline._guidance_scale else None
        self._scale = self.pipeline._guidance_scale
        if not changed and guided is None and not self.pipeline._interrupt:
            return None
        self.changed = True
        return Reply(**changed, guided=guided, stop=self.pipeline._interrupt)

    def _text(self, name: str) -> Tensor:
        """A prompt as the network reads it, (1, s, text_dim). The engine remembers the texts that it has just
        encoded.
        """
        if name not in self._texts:
            request, engine = self._request, self.pipeline.engine
            own = getattr(request, name)
            if own is None:
                negative = engine.variant.defaults.negative if request.negative is None else request.negative
                text = request.prompt if name == "prompt_embeds" else negative
                length = min(
                    request.max_sequence_length or engine.variant.dit.text_len, engine.variant.dit.text_len
                )
                own = Context(engine.encode_text([text], length)[0], length).embeds
            self._texts[name] = own[None]
        return self._texts[name]
