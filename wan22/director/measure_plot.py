"""Draw a measurement: camera path, speed, the subject's path, brightness, and frames of the video beneath."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from wan22.director.flow import PARAMETERS
from wan22.director.reading import Measurement
from wan22.version import SOFTWARE

_FRAMES = 8
_WIDE = 88  # letters of a line of text


def plot_measurement(
    measurement: Measurement, frames: np.ndarray, path: str | os.PathLike[str], lines: Sequence[str] = ()
) -> None:
    """Draw a measurement of uint8 (T, H, W, 3) into a PNG; `lines` of text stand beside it."""
    from matplotlib.figure import Figure

    seconds = measurement.at / measurement.fps
    figure = Figure(figsize=(15, 9.5), layout="constrained")
    panels = figure.subplot_mosaic(
        [["camera", "flow", "text"], ["path", "light", "text"], ["strip", "strip", "strip"]],
        width_ratios=(1, 1, 1.4),
        height_ratios=(1, 1, 0.6),
    )
    camera = panels["camera"]
    for name, values in zip(PARAMETERS, measurement.camera.T, strict=True):
        wide = np.ptp(values) > 0.03
        camera.plot(seconds, values, lw=1.8 if wide else 0.7, alpha=1.0 if wide else 0.4, label=name)
    camera.set_title(f"camera: {measurement['camera'].value}", fontsize=10)
    camera.set_ylabel("units, radians, logarithms")
    camera.legend(fontsize=7, ncols=2)
    panels["flow"].plot(seconds, measurement.flow, color="tab:blue", lw=1.6)
    panels["flow"].set_title(
        f"speed of the camera at the subject; {measurement['motion'].value} moves", fontsize=10
    )
    panels["flow"].set_ylabel("units a second")
    _path(panels["path"], measurement)
    light = panels["light"]
    light.plot(seconds, measurement.light, color="0.2", lw=1.6)
    light.set_ylim(0, 1)
    light.set_title(f"brightness: {measurement['time'].value}, {measurement['tone'].value}", fontsize=10)
    for name in ("camera", "flow", "light"):
        panels[name].set_xlabel("seconds", fontsize=8)
        panels[name].margins(x=0)
        for cut in measurement.cuts:
            panels[name].axvline(cut / measurement.fps, color="tab:purple", lw=1)
    panels["text"].axis("off")
    short = "\n".join(line if len(line) <= _WIDE else line[: _WIDE - 3] + "..." for line in lines)
    words = panels["text"].text(0, 1, short, va="top", fontsize=6.5, family="monospace")
    words.set_in_layout(False)  # a long line must not squeeze the panels
    shown = np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int)
    panels["strip"].imshow(np.concatenate([frames[t] for t in shown], axis=1), aspect="equal")
    panels["strip"].axis("off")
    figure.savefig(path, dpi=110, format="png", metadata={"Software": SOFTWARE})


def _path(panel, measurement: Measurement) -> None:  # noqa: ANN001
    """The subject's middle as seen and in the world, in units, y up."""
    seen = measurement.subject[:, :2] * (1, -1)
    own = measurement.own - measurement.own[0] + seen[0]
    panel.plot(seen[:, 0], seen[:, 1], color="tab:orange", lw=1.4, marker=".", label="in the image")
    panel.plot(own[:, 0], own[:, 1], color="tab:green", lw=1.4, label="beside the camera's movement")
    panel.plot(*seen[0], marker="o", color="0.2")
    panel.set_xlim(-0.85, 0.85)
    panel.set_ylim(-0.6, 0.6)
    panel.set_title(f"subject: {measurement['colour'].value}, {measurement['action'].value}", fontsize=10)
    panel.legend(fontsize=7)
