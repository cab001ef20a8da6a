"""Does the embedded model that speaks do what the audio says? Measured from pixels, on voices never trained on.

    python -m bench.speech [--model nano-s2v] [--count 24] [--seed 0] [--sheet FILE] [-o FILE]

Puppets, sentences, voices and melodies are of the held-out split. The opening of the mouth is measured by
`wan22.director.mouth` and compared with what the stage's own puppet would do; beside it stands the same measure on the
stage's videos, and on those after the VAE: what can be reached. Six clips are chained with and without their motion
history. The same audio is made with three camera moves, and the same prompt with three audio files.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import numpy as np
import torch

import wan22
from wan22 import clip_plans
from wan22.conditioning.speech import RATE, SpeechClips
from wan22.director.mouth import agreement, face_of, mouth_opening
from wan22.engine import Engine
from wan22.media.image import write_image
from wan22.pipeline import collect
from wan22.stage.puppet import PuppetShot, perform, puppet_caption, sample_puppets
from wan22.stage.puppet_render import render_puppet
from wan22.stage.voice import audio_track, quiet
from wan22.types import Audio, Request

LIPS, LAG = 0.8, 1
"""The bars: correlation of the mouth's opening with the true one, and the lag in frames."""

CAMERAS = ("static", "pan left", "dolly in")

PAN, DOLLY = 0.05, 0.065
"""Travel of a face in image widths, and logarithm of its growth, over two seconds, from which a camera moves.

They lie between what stage videos with and without that move show.
"""


class Forgetful(SpeechClips):
    """The same story with its motion history removed: every clip is told what a first clip is, but for its audio."""

    def condition(self, clip: int, carry: dict[str, torch.Tensor]) -> Any:
        heard = self._features.clip(clip, self._speech.clip_frames, self._canvas.fps)[0]
        first = super().condition(0, {})
        return replace(first, speech=replace(first.speech, audio=heard))


class Judge:
    """Makes videos with an engine and measures them."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.seed = engine, seed
        self.size = engine.variant.trained.sizes[0]
        self.fps = engine.variant.defaults.fps

    def video(
        self, shot: PuppetShot, samples: np.ndarray, *, seed: int, seconds: float | None = None
    ) -> np.ndarray:
        """A video of a puppet that performs an audio file, from the image of the silent puppet."""
        request = Request(
            prompt=puppet_caption(shot, Random(f"{self.seed} {seed}")),
            image=self.still(shot, seed),
            audio=Audio(samples, RATE),
            seconds=seconds,
            size=self.size,
            seed=seed,
        )
        return collect(self.engine.generate(request)).frames

    def still(self, shot: PuppetShot, seed: int) -> np.ndarray:
        """The puppet at rest, as the camera's move begins."""
        return self.truth(shot, np.zeros(RATE * 8, np.float32), 8.0, seed)[0]

    def truth(self, shot: PuppetShot, samples: np.ndarray, seconds: float, seed: int) -> np.ndarray:
        """The stage's own video."""
        frames = round(seconds * self.fps)
        part = perform(samples, RATE, frames, self.fps, seed=seed)
        width, height = self.size
        return render_puppet(
            [shot], [part], height=height, width=width, frames=frames, fps=self.fps, seed=5000 + seed
        )[0].numpy()

    def opening(self, samples: np.ndarray, frames: int) -> np.ndarray:
        """How far the puppet's mouth should be open."""
        return perform(samples, RATE, frames, self.fps, seed=0).mouth

    @torch.inference_mode()
    def through_vae(self, frames: np.ndarray) -> np.ndarray:
        """A video after the VAE."""
        video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        back = self.engine.vae().decode(self.engine.encode_pixels(video))[0]
        return ((back.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 3, 0).numpy()


def lips(judge: Judge, count: int, seconds: float = 4.0) -> dict[str, Any]:
    """Correlation and lag of the mouth with the audio, of generated videos and of the stage's."""
    rows: dict[str, list[Any]] = {"generated": [], "stage": [], "stage after VAE": []}
    for i, shot in enumerate(sample_puppets(count, 100 + judge.seed, split="held-out")):
        seed = judge.seed * 1000 + i
        samples = _voiced(seed, seconds)
        still = replace(shot, camera="static")
        truth = judge.truth(still, samples, seconds, seed)
        true = judge.opening(samples, len(truth))
        videos = {
            "generated": judge.video(still, samples, seed=seed),
            "stage": truth,
            "stage after VAE": judge.through_vae(truth[:-3]),
        }
        for name, video in videos.items():
            rows[name].append(agreement(mouth_opening(video), true[: len(video)]))
    return {name: _agreed(found) for name, found in rows.items()}


def _agreed(found: list[Any]) -> dict[str, Any]:
    best = np.array([a.correlation for a in found])
    lags = np.array([a.lag for a in found])
    return {
        "correlation": round(float(np.nanmean(best)), 3),
        "at no lag": round(float(np.nanmean([a.at_once for a in found])), 3),
        "worst": round(float(np.nanmin(best)), 3),
        "within one frame": round(float((np.abs(lags) <= LAG).mean()), 3),
        "videos": len(found),
    }


def silence(judge: Judge, count: int, seconds: float = 2.0) -> dict[str, float]:
    """How far the mouth is open while nobody speaks, 0 to 1."""
    openings = []
    for i, shot in enumerate(sample_puppets(count, 200 + judge.seed, split="held-out")):
        still = replace(shot, camera="static")
        openings.append(mouth_opening(judge.video(still, quiet(seconds, seed=i), seed=i)))
    whole = np.concatenate(openings)
    return {"mean": round(float(whole.mean()), 3), "highest tenth": round(float(np.percentile(whole, 90)), 3)}


def drift(judge: Judge, count: int, clips: int = 6) -> dict[str, Any]:
    """What the motion history is good for: chained clips with it and without, of a still camera and of a panning one.

    Without it every clip begins anew from the image: it cannot wander far from there, but jumps where clips meet, and
    cannot follow a camera. So three things are told: how far the face is from where the first clip had it (drift), how
    abrupt the seams are, and, while the camera pans, how far the face is from where the stage's own video has it.
    """
    seconds = clips * judge.engine.variant.speech.clip_frames / judge.fps
    result: dict[str, Any] = {}
    original = clip_plans.SpeechClips
    for name, story in (("with history", original), ("without", Forgetful)):
        clip_plans.SpeechClips = story
        try:
            rows, errors = [], []
            for i, shot in enumerate(sample_puppets(count, 300 + judge.seed, split="held-out")):
                still = replace(shot, camera="static")
                rows.append(_moved(judge.video(still, _voiced(900 + i, seconds), seed=i), clips))
                pan = replace(shot, camera=("pan left", "pan right")[i % 2])
                errors.append(_astray(judge, pan, i))
        finally:
            clip_plans.SpeechClips = original
        result[name] = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
        result[name]["astray while the camera pans"] = round(float(np.mean(errors)), 3)
    return result


def _astray(judge: Judge, shot: PuppetShot, i: int, seconds: float = 6.0) -> float:
    """How far the face is from where the stage's video of the same move has it, in hundredths of the image's width."""
    samples = _voiced(1900 + i, 8.0)
    video = judge.video(shot, samples, seed=i, seconds=seconds)
    truth = judge.truth(shot, samples, 8.0, i)[: len(video)]
    away = face_of(video).centre[:, 0] - face_of(truth).centre[:, 0]
    return float(np.abs(away).mean()) * 100 / video.shape[2]


def _moved(video: np.ndarray, clips: int) -> dict[str, float]:
    """Drift of a video's face from its first clip, and how abruptly it changes where clips meet.

    Colour in levels of 255 (mean of felt and coat), shape in hundredths of the image's side (place and height).
    """
    faces = face_of(video)
    colour = np.concatenate([faces.felt, faces.coat], axis=1)
    shape = np.concatenate([faces.centre, faces.height[:, None]], axis=1) * 100 / video.shape[1]
    per_clip = len(video) // clips
    means = {
        "colour": np.stack(
            [np.nanmean(colour[i * per_clip : (i + 1) * per_clip], axis=0) for i in range(clips)]
        ),
        "shape": np.stack(
            [np.nanmean(shape[i * per_clip : (i + 1) * per_clip], axis=0) for i in range(clips)]
        ),
    }
    moved = {name: float(np.abs(rows[1:] - rows[0]).mean()) for name, rows in means.items()}
    joins = np.arange(1, clips) * per_clip
    steps = {
        "colour": np.abs(np.diff(colour, axis=0)).mean(1),
        "shape": np.abs(np.diff(shape, axis=0)).mean(1),
    }
    images = np.abs(np.diff(video.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    ordinary = float(np.median(np.delete(images, joins - 1)))
    return {
        **moved,
        "colour jump at seams": float(np.nanmean(steps["colour"][joins - 1])),
        "shape jump at seams": float(np.nanmean(steps["shape"][joins - 1])),
        "image jump at seams over an ordinary step": float(images[joins - 1].mean()) / max(ordinary, 1e-3),
    }


def control(judge: Judge, count: int, sheet: Path | None) -> dict[str, Any]:
    """Audio and words act apart: cameras by the prompt, mouths by the audio."""
    shots = sample_puppets(count, 400 + judge.seed, split="held-out")
    cameras: dict[str, list[bool]] = {camera: [] for camera in CAMERAS}
    same_audio, other_audio, stage, rows = [], [], [], []
    for i, shot in enumerate(shots):
        tracks = [_voiced(2000 + 10 * i + k, 2.0) for k in range(3)]
        filmed = {camera: judge.video(replace(shot, camera=camera), tracks[0], seed=i) for camera in CAMERAS}
        for camera, video in filmed.items():
            cameras[camera].append(_camera(video) == camera)
            truth = judge.truth(replace(shot, camera=camera), tracks[0], 8.0, i)[: len(video)]
            stage.append(_camera(truth) == camera)
        spoken = [judge.video(replace(shot, camera="static"), audio, seed=i) for audio in tracks]
        still = mouth_opening(filmed["static"])
        same_audio += [agreement(mouth_opening(filmed[c]), still).correlation for c in CAMERAS[1:]]
        other_audio += [agreement(mouth_opening(video), still, most=0).at_once for video in spoken[1:]]
        rows.append([*filmed.values(), *spoken[1:]])
    if sheet is not None:
        _write_sheet(sheet, rows[:4])
    return {
        "camera obeyed": {camera: round(float(np.mean(found)), 3) for camera, found in cameras.items()},
        "camera, stage": round(float(np.mean(stage)), 3),
        "mouths, same audio, other camera": round(float(np.nanmean(same_audio)), 3),
        "mouths, same prompt, other audio": round(float(np.nanmean(other_audio)), 3),
    }


def _camera(video: np.ndarray) -> str:
    """The camera's move, from the path of the face: the puppet itself does not travel."""
    faces = face_of(video)
    across = _slope(faces.centre[:, 0]) / video.shape[2]
    growth = _slope(np.log(faces.height))
    if abs(across) > PAN:
        return "pan left" if across > 0 else "pan right"
    if abs(growth) > DOLLY:
        return "dolly in" if growth > 0 else "dolly out"
    return "static"


def _slope(values: np.ndarray) -> float:
    """How far a course goes from its beginning to its end, by a straight line through it."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) * (len(values) - 1)


def _write_sheet(path: Path, rows: list[list[np.ndarray]]) -> None:
    """A puppet in each row: four images of each of its videos, side by side."""
    images = []
    for row in rows:
        shown = [video[t] for video in row for t in np.linspace(2, len(video) - 3, 4).astype(int)]
        images.append(np.concatenate(shown, axis=1))
    write_image(path, np.concatenate(images, axis=0).repeat(2, axis=0).repeat(2, axis=1))


def _voiced(seed: int, seconds: float) -> np.ndarray:
    """A held-out track in which someone speaks or sings."""
    for attempt in range(100):
        samples = audio_track(seed + 100_000 * attempt, seconds, split="held-out")
        if perform(samples, RATE, round(seconds * 16), 16.0, seed=0).mouth.std() > 0.15:
            return samples
    raise RuntimeError("no voice in a hundred tracks")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano-s2v")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, default=None, help="write a contact sheet here (png)")
    parser.add_argument("-o", "--output", type=Path, default=None, help="write the figures here (json)")
    options = parser.parse_args()
    judge = Judge(wan22.load(options.model, device="cpu"), options.seed)
    started = monotonic()
    few = max(2, options.count // 4)
    result = {
        "model": options.model,
        "weights": judge.engine.weights,
        "lips": lips(judge, options.count),
        "silence": silence(judge, few),
        "drift over six clips": drift(judge, few),
        "control": control(judge, few, options.sheet),
        "seed": options.seed,
    }
    print(json.dumps(result, indent=1))
    print(f"{monotonic() - started:.0f} s")
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
