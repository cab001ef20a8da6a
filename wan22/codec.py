"""The VAE at work: pixels to latents and back, frame by frame, in bounded memory of the device.

It knows no request. Small videos are worked on at once, which is faster.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wan22.memory.device import tf32_convolutions
from wan22.memory.history import HostHistory
from wan22.models.vae import History

if TYPE_CHECKING:
    from wan22.parallel.rows import RowShare, RowSplit

WHOLE_LATENTS = 4096
"""Positions of latents up to which the VAE works on a video at once, where memory is not short."""

PIXELS = 256
"""Pixels of a video that count as a position of latents, whatever the VAE's strides."""


def at_once(positions: int, *, host_history: bool) -> bool:
    """Whether a video of so many positions of latents is worked on at once. With the past on the host memory is short:
    then it goes frame by frame, whatever its size. The results differ by rounding.
    """
    return not host_history and positions <= WHOLE_LATENTS


class Codec:
    """Encodes and decodes with a VAE on the device. `host_history`: the past of its layers rests on the host.

    rows: splits the work over ranks, each of which calls the same and gets the whole result.
    """

    def __init__(self, device: torch.device, *, host_history: bool, rows: RowSplit | None = None) -> None:
        self._device, self._frugal, self._rows = device, host_history, rows
        self._host_history = host_history and device.type != "cpu"

    def encode(self, vae: nn.Module, video: Float[Tensor, "b 3 T H W"]) -> Float[Tensor, "b c t h w"]:
        """Encode pixels in [-1, 1] to normalised latents, float32. The video may be on the CPU.

        Raises ValueError for sizes that the VAE cannot encode.
        """
        vae.check(video)
        whole = at_once(-(-math.prod(video.shape[2:]) // PIXELS), host_history=self._frugal)
        share = self._share(video.shape[3] // vae.arch.stride_space)
        video = video if share is None else share.mine(video)
        with torch.inference_mode(), tf32_convolutions(), self._history(share, whole) as history:
            if whole:
                latents = vae.encode(video.to(self._device), history=history)
            else:
                frames = (frame.to(self._device) for frame in video.split(1, dim=2))
                latents = torch.cat(list(vae.encode_stream(frames, history=history)), dim=2)
            return (latents if share is None else share.all(latents, dim=3)).float()

    def decode(
        self, vae: nn.Module, latents: Float[Tensor, "1 c t h w"]
    ) -> Iterator[Float[Tensor, "3 _ H W"]]:
        """Decode normalised latents to pixels in [-1, 1], some frames at a time, on the device."""
        whole = at_once(math.prod(latents.shape[2:]), host_history=self._frugal)
        share = self._share(latents.shape[3])
        with self._history(share, whole) as history:
            z = (latents if share is None else share.mine(latents)).to(self._device)
            stream = vae.decode_stream(z, chunk=None if whole else 1, history=history)
            while True:
                with torch.inference_mode(), tf32_convolutions():
                    part = next(stream, None)
                    if part is not None and share is not None:
                        part = share.all(part, dim=3)
                if part is None:
                    return
                yield part[0]

    def _share(self, rows: int) -> RowShare | None:
        return None if self._rows is None else self._rows.of(rows)

    @contextmanager
    def _history(self, share: RowShare | None, whole: bool) -> Generator[History | None]:
        """A whole video has no past, but it may have neighbours."""
        if whole:
            yield None if share is None else History(share)
        elif self._host_history:
            with closing(HostHistory(self._device, neighbours=share)) as history:
                yield history
        else:
            yield History(share)
