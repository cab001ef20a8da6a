"""Loudness by EBU R128 (ITU-R BS.1770), measured by FFmpeg's ebur128 filter, and a limiter of peaks.

Blocks are float32 (n, 2) at SAMPLE_RATE.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import av
import av.filter
import numpy as np

__all__ = ["CEILING", "SILENCE", "Loudness", "Meter", "limited"]

CEILING = -1.0
"""dBTP, the highest true peak of what is normalised (EBU R128, 2020)."""

SILENCE = -70.0
"""LUFS of what the gate of the measurement leaves out altogether."""

_REACH = 480  # samples before and after a peak over which the gain goes down and up: 10 ms at 48 kHz
_PHASES, _TAPS = 4, 24  # of the interpolation that finds peaks between samples
_MARGIN = 0.15  # dB that the interpolation may miss (BS.1770, annex 2: 4 times oversampling)


class Loudness:
    """Integrated loudness in LUFS, and true peak in dBTP."""

    def __init__(self, integrated: float, true_peak: float) -> None:
        self.integrated, self.true_peak = integrated, true_peak


class Meter:
    """Measures blocks that are pushed one after another."""

    def __init__(self, rate: int, layout: str) -> None:
        self._rate, self._layout, self._read = rate, layout, 0
        self._told: dict[str, str] = {}
        self._graph = graph = av.filter.Graph()
        source = graph.add_abuffer(sample_rate=rate, format="flt", layout=layout, time_base=Fraction(1, rate))
        meter, sink = graph.add("ebur128", "metadata=1:peak=true"), graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        graph.configure()

    def push(self, block: np.ndarray) -> None:
        """Take a block."""
        packed = np.ascontiguousarray(block, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._read, Fraction(1, self._rate)
        self._read += len(block)
        self._graph.push(frame)
        self._pull()

    def measured(self) -> Loudness:
        """What was measured. No block can follow."""
        self._graph.push(None)
        self._pull()
        integrated = float(self._told.get("lavfi.r128.I", SILENCE))
        peak = float(self._told.get("lavfi.r128.true_peak", 0.0))
        return Loudness(
            max(SILENCE, integrated) if math.isfinite(integrated) else SILENCE,
            20 * math.log10(peak) if peak > 0 else -math.inf,
        )

    def _pull(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            self._told |= frame.metadata


def limited(blocks: Iterator[np.ndarray], ceiling: float) -> Iterator[np.ndarray]:
    """Turn blocks down where they would be above `ceiling` dBTP: smoothly, 10 ms before and after; in no other place.

    As many samples come out as go in, at their places.
    """
    most = 10 ** ((ceiling - _MARGIN) / 20)
    beside = 2 * _REACH + _TAPS  # samples that a gain depends on, before and after
    held = np.zeros((beside, 2), np.float32)  # `beside` samples that are out already, then those that are not
    for block in blocks:
        held = np.concatenate([held, block])
        if len(held) > 2 * beside:
            yield _turned_down(held, beside, most)
            held = held[-2 * beside :]
    left = len(held) - beside
    if left > 0:
        yield _turned_down(np.concatenate([held, np.zeros((beside, 2), np.float32)]), beside, most)


def _turned_down(samples: np.ndarray, beside: int, most: float) -> np.ndarray:
    """The samples but for `beside` at both ends."""
    middle = samples[beside:-beside]
    needed = np.minimum(1.0, most / np.maximum(_peaks(samples), 1e-9))
    if needed.min() == 1.0:
        return middle
    window = 2 * _REACH + 1
    least = np.lib.stride_tricks.sliding_window_view(needed, window).min(1)
    # A mean of minima, each of which reaches over the sample in the middle, is at most what that sample needs.
    total = np.cumsum(np.concatenate([[0.0], least]))
    gain = (total[window:] - total[:-window]) / window
    spare = (len(gain) - len(middle)) // 2
    return (middle * gain[spare : spare + len(middle), None]).astype(np.float32)


def _peaks(samples: np.ndarray) -> np.ndarray:
    """The highest value at and right after each sample, of both channels, also between samples: (n,)."""
    highest = np.abs(samples).max(1)
    for phase in range(1, _PHASES):
        taps = _interpolation(phase)
        for channel in samples.T:
            between = np.abs(np.convolve(channel, taps, "same"))
            np.maximum(highest, between, out=highest)
    return highest


def _interpolation(phase: int) -> np.ndarray:
    """A windowed sinc that gives the value `phase` quarters of a sample after each."""
    times = np.arange(-_TAPS, _TAPS + 1) + phase / _PHASES
    window = np.cos(np.pi * times / (2 * _TAPS + 2)) ** 2
    return np.sinc(times) * window
