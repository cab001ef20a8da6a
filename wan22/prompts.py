"""Prompts as the networks get them: encoded by the model's text encoder, remembered, or taken from a journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from functools import partial

import torch
from torch import Tensor

from wan22.conditioning.text import Context, Tokenizer
from wan22.memory.fallback import Fallback
from wan22.memory.placement import Placement
from wan22.request import Job
from wan22.types import Event, Journal, Phase, Reply

_REMEMBERED = 16
_ENTRY = "texts"
"""The entry of a journal with the encoded prompts."""

Encode = Callable[[Sequence[str], int], list[Tensor]]
"""Texts and their maximal number of tokens to a tensor for each; `Prompts.encode`, or what stands around it."""


class Prompts:
    """Encodes the prompts of one model's videos; the last few results are kept."""

    def __init__(self, tokenizer: Tokenizer, placement: Placement, fallback: Fallback) -> None:
        self._tokenizer, self._placement, self._fallback = tokenizer, placement, fallback
        self._kept: OrderedDict[tuple[str, int], Tensor] = OrderedDict()

    def encode(self, texts: Sequence[str], length: int) -> list[Tensor]:
        """Encode texts of at most so many tokens to a list of tensors (s_i, text_dim) on the device."""
        for text in dict.fromkeys(texts):
            if (text, length) not in self._kept:
                ids, mask = self._tokenizer.encode([text], length)
                self._kept[text, length] = self._fallback.run("text", partial(self._rows, ids, mask))
        found = [self._kept[text, length] for text in texts]
        while len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
        return found

    def forget(self) -> None:
        """Encode every prompt anew from now on."""
        self._kept.clear()

    def _rows(self, ids: Tensor, mask: Tensor) -> Tensor:
        encoder = self._placement.bring("text")
        with torch.inference_mode():
            rows = encoder.contexts(ids.to(self._placement.device_of("text")), mask)[0]
        return rows.to(self._placement.device)

    def of(
        self, job: Job, journal: Journal | None, encode: Encode
    ) -> Generator[Event, Reply | None, dict[str, Context]]:
        """Encode every text of the video for which the request has no tensor, or take them from the journal."""
        given = job.request.prompt_embeds, job.request.negative_prompt_embeds
        texts = [] if given[0] is not None else [text for _, text in job.prompts]
        texts = list(dict.fromkeys(texts if given[1] is not None else [*texts, job.negative]))
        if not texts:
            return {}
        yield Phase("text", "" if self._placement.is_here("text") else "loading the text encoder")
        kept = None if journal is None else journal.read(_ENTRY)
        if kept is not None:
            rows = [kept[f"{i}"].to(self._placement.device) for i in range(len(texts))]
        else:
            rows = encode(texts, job.text_length)
            yield from self._fallback.said()
            if journal is not None:
                journal.write(_ENTRY, {f"{i}": row for i, row in enumerate(rows)})
        return {text: Context(row, job.text_length) for text, row in zip(texts, rows, strict=True)}
