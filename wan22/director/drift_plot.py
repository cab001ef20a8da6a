"""Draw drift: every axis over time, the camera, and the seams."""

from __future__ import annotations

import os

import numpy as np

from wan22.director.trend import Drift, median
from wan22.version import SOFTWARE


def plot_drift(drift: Drift, path: str | os.PathLike[str]) -> None:
    """Draw every axis over time, as small multiples, into a PNG.

    The grey band is what people do not notice; the dashed line is the slope; vertical lines are seams (dotted)
    and cuts.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), layout="constrained")
    panels = figure.subplots(4, 3, sharex=True).ravel()
    times = np.array(drift.times)
    for panel, (name, axis) in zip(panels, drift.axes.items(), strict=False):
        fit = axis.per_second * (times - times.mean()) + median(np.array(axis.values))
        panel.axhspan(axis.start - axis.visible, axis.start + axis.visible, color="0.92", lw=0)
        panel.plot(times, axis.values, color=_COLOURS[axis.verdict], lw=1.6)
        panel.plot(times, fit, color="0.3", lw=0.9, ls="--")
        panel.set_title(f"{name}: {axis.per_second:+.3f} {axis.unit}/s, {axis.verdict}", fontsize=10)
        panel.set_ylabel(axis.unit)
        panel.margins(x=0)
    panels[9].plot(times, drift.camera, color="0.3", lw=1.6, label="way, in image widths")
    panels[9].plot(times, np.array(drift.zoom) - 1, color="tab:blue", lw=1.2, label="growth of the middle")
    panels[9].set_title(f"camera: {drift.travel:.2f} widths, {drift.growth:.2f} times", fontsize=10)
    panels[9].margins(x=0, y=0.1)
    panels[9].legend(fontsize=7)
    if drift.seams:
        panels[10].stem(
            [seam.seconds for seam in drift.seams], [seam.times for seam in drift.seams], basefmt=" "
        )
        panels[10].axhline(1, color="0.3", lw=0.9, ls="--")
    panels[10].set_title(
        "seams: step over the ordinary one" if drift.seams else "seams: none known", fontsize=10
    )
    panels[10].set_ylabel("times")
    panels[11].axis("off")
    panels[11].text(0, 0.95, _legend(drift), va="top", fontsize=9, family="monospace")
    for panel in panels[:11]:
        panel.xaxis.set_tick_params(labelbottom=True)
        panel.set_xlabel("seconds", fontsize=8)
        panel.tick_params(labelsize=8)
        for cut in drift.cuts:
            panel.axvline(cut / drift.fps, color="tab:purple", lw=1)
    for panel in panels[:9]:
        for seam in drift.seams:
            panel.axvline(seam.seconds, color="0.6", lw=0.7, ls=":")
    figure.savefig(path, dpi=110, format="png", metadata={"Software": SOFTWARE})


_COLOURS = {"steady": "tab:green", "uneven": "tab:orange", "drifts": "tab:red", "unknown": "0.5"}


def _legend(drift: Drift) -> str:
    return "\n".join([
        f"{drift.seconds:.1f} s, {drift.frames} frames at {drift.fps:g}/s",
        f"{drift.size[0]}x{drift.size[1]}, {len(drift.seams)} seams, {len(drift.cuts)} cuts",
        "",
        "green   steady",
        "red     drifts: slope and end agree",
        "orange  uneven: only one of the two, or",
        "        only some of the shots",
        "band    not noticed against the start",
        "dashed  robust slope",
        "dotted  seams; purple: cuts",
    ])  # fmt: skip
