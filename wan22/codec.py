"""The VAE at work: pixels to latents and back, frame by frame, in bounded memory of the device.

It knows no request. Small videos are worked on at once, which is faster.
"""

import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wan22.memory.device import tf32_convolutions
from wan22.memory.history import HostHistory
from wan22.models.vae import History

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
    """Encodes and decodes with a VAE on the device. `host_history`: the past of its layers rests on the host."""

    def __init__(self, device: torch.device, *, host_history: bool) -> None:
        self._device, self._frugal = device, host_history
        self._host_history = host_history and device.type != "cpu"

    def encode(self, vae: nn.Module, video: Float[Tensor, "b 3 T H W"]) -> Float[Tensor, "b c t h w"]:
        """Encode pixels in [-1, 1] to normalised latents, float32. The video may be on the CPU."""
        with torch.inference_mode(), tf32_convolutions():
            if at_once(-(-math.prod(video.shape[2:]) // PIXELS), host_history=self._frugal):
                return vae.encode(video.to(self._device)).float()
            vae.check(video)
            frames = (frame.to(self._device) for frame in video.split(1, dim=2))
            with self._history() as history:
                return torch.cat(list(vae.encode_stream(frames, history=history)), dim=2).float()

    def decode(
        self, vae: nn.Module, latents: Float[Tensor, "1 c t h w"]
    ) -> Iterator[Float[Tensor, "3 _ H W"]]:
        """Decode normalised latents to pixels in [-1, 1], some frames at a time, on the device."""
        whole = at_once(math.prod(latents.shape[2:]), host_history=self._frugal)
        with self._history() as history:
            z = latents.to(self._device)
            stream = vae.decode_stream(z, chunk=None if whole else 1, history=history)
            while True:
                with torch.inference_mode(), tf32_convolutions():
                    part = next(stream, None)
                if part is None:
                    return
                yield part[0]

    @contextmanager
    def _history(self) -> Generator[History]:
        if self._host_history:
            with closing(HostHistory(self._device)) as history:
                yield history
        else:
            yield History()
