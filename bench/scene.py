"""What the measured videos show and audio like: the stage's puppet, a singing voice, and a click at every second."""

from random import Random

import numpy as np

from wan22.stage.puppet import PuppetShot, perform, puppet_caption, sample_puppets
from wan22.stage.puppet_render import render_puppet
from wan22.stage.voice import singing
from wan22.types import Audio, Image

_PHRASE = 20
"""Seconds after which the voice begins again."""

_AUDIO = 16_000


def puppet() -> PuppetShot:
    """A puppet that no model was trained on, before a camera that stands still."""
    return next(shot for shot in sample_puppets(100, 1, split="held-out") if shot.camera == "static")


def portrait(size: tuple[int, int], fps: float) -> tuple[Image, str]:
    """The silent puppet, `size` (width, height), and the words for it."""
    width, height = size
    silent = perform(np.zeros(_AUDIO, np.float32), _AUDIO, 1, fps, seed=0)
    video = render_puppet([puppet()], [silent], height=height, width=width, frames=1, fps=fps)
    return video[0, 0].numpy(), puppet_caption(puppet(), Random(0))


def click(rate: int) -> np.ndarray:
    """Two milliseconds, the loudest in the middle."""
    count = round(0.001 * rate) * 2 + 1
    wave = np.cos(2 * np.pi * 3000 * (np.arange(count) - count // 2) / rate)
    return (0.9 * np.hanning(count) * wave).astype(np.float32)


def voice_with_clicks(seconds: int, rate: int) -> Audio:
    """A voice that sings without end, and a click at every whole second but the first and the last."""
    phrase = 0.5 * singing(_PHRASE, rate=rate)
    samples = np.resize(phrase, seconds * rate)
    wave = click(rate)
    for second in range(1, seconds):
        first = second * rate - len(wave) // 2
        samples[first : first + len(wave)] = wave
    return Audio(samples, rate)
