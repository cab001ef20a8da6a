"""An evaluation's videos as one set of numbers, one table, one plot."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from wan22.train.evaluation.metrics import frechet, mean_psnr
from wan22.train.evaluation.video_scores import Features, Numbers

Looked = Sequence[tuple[Numbers, Features]]


def summary(videos: Looked, references: Looked, losses: Mapping[str, Any] | None) -> dict[str, Any]:
    """Put what was measured on videos and real clips into one JSON-able table of scores.

    Scores that were not asked for, or cannot be had, are left out.
    """
    made, real = [numbers for numbers, _ in videos], [numbers for numbers, _ in references]
    found: dict[str, Any] = {
        "videos": len(made),
        "seconds_per_video": fmean(video["seconds"] for video in made),
        "adherence": adherence(made, real),
        "unknown": unknown(made),
    }
    found["motion"] = {"videos": _mean(made, "motion"), "references": _mean(real, "motion")}
    if drift := _drift(made):
        found["drift"] = drift
    if losses:
        found["loss"] = _loss(losses)
    for name, rows, key in (("vae", real, "vae"), ("first_frame", made, "first_frame")):
        if compared := [row[key] for row in rows if row.get(key)]:
            found[name] = {
                "psnr": mean_psnr([c["psnr"] for c in compared]),
                "worst": min(c["worst"] for c in compared),
                "ssim": fmean(c["ssim"] for c in compared),
                "of": len(compared),
            }
    for kind in ("fid", "fvd"):
        if videos and kind in videos[0][1] and references:
            a, b = (
                np.concatenate([np.atleast_2d(f[kind]) for _, f in side]) for side in (videos, references)
            )
            found[kind] = vars(frechet(a, b))
    if kept := [video["identity"] for video in made if video.get("identity")]:
        found["identity"] = {"mean": fmean(k["mean"] for k in kept), "least": min(k["least"] for k in kept)}
    if synced := [video["sync"] for video in made if video.get("sync")]:
        found["sync"] = {
            "correlation": fmean(s["correlation"] for s in synced),
            "seconds": fmean(s["seconds"] for s in synced),
        }
    return found


def adherence(videos: Sequence[Numbers], references: Sequence[Numbers] = ()) -> dict[str, dict[str, Any]]:
    """The share of videos that obey, for every axis that was judged, with counts; the same of real clips, if judged."""
    counts = {"videos": _counts(videos), "references": _counts(references)}
    found = {}
    for axis, (matches, of) in counts["videos"].items():
        found[axis] = {"videos": matches / of, "matches": matches, "of": of}
        if axis in counts["references"]:
            good, judged = counts["references"][axis]
            found[axis]["references"] = good / judged
    return found


def unknown(videos: Sequence[Numbers]) -> dict[str, int]:
    """Of how many videos it can't be told whether they show what was asked, for every axis of which there are some."""
    axes = (v["axis"] for row in videos for v in row.get("verdicts", ()) if v["matches"] is None)
    return dict(Counter(axes))


def _counts(rows: Sequence[Numbers]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        for verdict in row.get("verdicts", ()):
            if verdict["matches"] is not None:
                good, of = found.get(verdict["axis"], (0, 0))
                found[verdict["axis"]] = (good + bool(verdict["matches"]), of + 1)
    return found


def _mean(rows: Sequence[Numbers], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return fmean(values) if values else None


def _drift(videos: Sequence[Numbers]) -> dict[str, dict[str, float]]:
    found = {}
    rows = [video["drift"] for video in videos if video.get("drift")]
    for axis in rows[0] if rows else ():
        known = [row[axis]["noticed"] for row in rows if row[axis]["noticed"] is not None]
        share = fmean(row[axis]["verdict"] == "drifts" for row in rows)
        if known:
            found[axis] = {"times_noticed": fmean(known), "drifts": share, "of": len(rows)}
    return found


def _loss(rows: Mapping[str, Any]) -> dict[str, Any]:
    bands = []
    for sigma, row in rows.items():
        losses = np.array(row["losses"])
        error = losses.std(ddof=1) / math.sqrt(len(losses)) if len(losses) > 1 else 0.0
        band = {
            "sigma": float(sigma),
            "expert": row["expert"],
            "loss": float(losses.mean()),
            "error": float(error),
        }
        bands.append(band)
    experts = dict.fromkeys(band["expert"] for band in bands)
    by_expert = {name: fmean(b["loss"] for b in bands if b["expert"] == name) for name in experts}
    return {"mean": fmean(b["loss"] for b in bands), "by_expert": by_expert, "bands": bands}


def table(result: Mapping[str, Any]) -> list[str]:
    """Put the scores into lines."""
    lines = [
        f"{result['videos']} videos of {result.get('model', 'a model')}, {result['seconds_per_video']:.2f} s each"
    ]
    if result.get("unknown"):
        shares = (
            f"{axis} of {count} of {result['videos']} videos" for axis, count in result["unknown"].items()
        )
        lines.append(f"unknown: {', '.join(shares)}")
    if result["adherence"]:
        lines += ["", f"{'matches':18} {'videos':>8} {'real':>8}    of"]
        for axis, row in result["adherence"].items():
            real = f"{row['references']:8.1%}" if "references" in row else f"{'-':>8}"
            lines.append(f"{axis:18} {row['videos']:8.1%} {real} {row['of']:5}")
    lines += ["", *_scores(result)]
    if drift := result.get("drift"):
        lines += ["", f"{'drift':18} {'x noticed':>9} {'drifts':>8}"]
        lines += [
            f"{axis:18} {row['times_noticed']:9.2f} {row['drifts']:8.1%}" for axis, row in drift.items()
        ]
    if loss := result.get("loss"):
        lines += ["", f"{'noise level':12} {'expert':>8} {'loss':>9}  +-"]
        lines += [
            f"{b['sigma']:<12g} {b['expert']:>8} {b['loss']:9.4f}  {b['error']:.4f}" for b in loss["bands"]
        ]
        lines += [f"{'mean':12} {name:>8} {value:9.4f}" for name, value in loss["by_expert"].items()]
    return lines


def _scores(result: Mapping[str, Any]) -> list[str]:
    lines = []
    motion = result["motion"]
    if motion["videos"] is not None:
        real = "" if motion["references"] is None else f"; real clips {motion['references']:.2f} %"
        lines.append(f"motion: {motion['videos']:.2f} % of the width a frame{real}")
    for name, what in (("vae", "VAE there and back"), ("first_frame", "first frame against the given one")):
        if row := result.get(name):
            lines.append(
                f"{what}: {row['psnr']:.2f} dB, worst {row['worst']:.2f} dB, SSIM {row['ssim']:.4f} ({row['of']})"
            )
    for kind in ("fid", "fvd"):
        if row := result.get(kind):
            shrunk = "" if row["shrunk"] is None else f", {row['shrunk']:.3f} with shrunk covariances"
            lines.append(
                f"{kind.upper()}: {row['value']:.3f}{shrunk} ({row['samples'][0]} and {row['samples'][1]} vectors)"
            )
            lines += [f"  {row['note']}"] if row["note"] else []
    if row := result.get("identity"):
        lines.append(f"identity: cosine {row['mean']:.4f}, least {row['least']:.4f}")
    if row := result.get("sync"):
        lines.append(
            f"sync: correlation {row['correlation']:.3f}, image {row['seconds']:+.3f} s behind the audio"
        )
    return [*lines, *(f"note: {note}" for note in result.get("notes", ()))]


def plot(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw adherence, validation loss and drift into a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    spaces = figure.add_gridspec(2, 2, width_ratios=(1.1, 1))
    _bars(figure.add_subplot(spaces[:, 0]), result["adherence"])
    plot_loss(figure.add_subplot(spaces[0, 1]), (result.get("loss") or {}).get("bands", []))
    _drift_bars(figure.add_subplot(spaces[1, 1]), result.get("drift") or {})
    figure.suptitle(f"{result.get('model', '')}: {result['videos']} videos", fontsize=11)
    figure.savefig(path, dpi=110, format="png")


def _bars(panel: Any, rows: Mapping[str, Any]) -> None:
    panel.set_title("what videos obey", fontsize=10)
    if not rows:
        panel.text(0.5, 0.5, "nothing was judged", ha="center")
        return
    at = np.arange(len(rows))[::-1]
    real = [row.get("references", math.nan) for row in rows.values()]
    panel.barh(at + 0.2, [row["videos"] for row in rows.values()], 0.4, color="tab:blue", label="videos")
    panel.barh(at - 0.2, real, 0.4, color="0.75", label="real clips")
    panel.set_yticks(at, [f"{axis} ({row['of']})" for axis, row in rows.items()])
    panel.set_xlim(0, 1)
    panel.set_ylim(min(-0.6, len(rows) - 8.6), len(rows) - 0.4)  # a few bars are not blown up
    panel.set_xlabel("share", fontsize=8)
    panel.legend(fontsize=8, loc="lower left")


def plot_loss(panel: Any, bands: Sequence[Mapping[str, Any]]) -> None:
    """Draw loss over noise level, a line for each expert, with standard errors."""
    panel.set_title("validation loss by noise level", fontsize=10)
    for expert in dict.fromkeys(band["expert"] for band in bands):
        mine = sorted((b for b in bands if b["expert"] == expert), key=lambda b: b["sigma"])
        levels, losses, errors = ([b[name] for b in mine] for name in ("sigma", "loss", "error"))
        panel.errorbar(levels, losses, errors, label=expert, lw=1.5, capsize=2)
    if bands:
        panel.legend(fontsize=8)
    panel.set_xlabel("sigma", fontsize=8)
    panel.set_xlim(0, 1)


def _drift_bars(panel: Any, rows: Mapping[str, Any]) -> None:
    panel.set_title("drift, in multiples of what people notice", fontsize=10)
    panel.bar(list(rows), [row["times_noticed"] for row in rows.values()], color="tab:orange")
    if rows:
        panel.axhline(1, color="0.3", lw=0.9, ls="--")
        panel.tick_params(axis="x", labelrotation=40, labelsize=8)
