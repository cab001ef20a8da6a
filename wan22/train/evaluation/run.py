"""Evaluate a model by a recipe: make its videos, measure each as it is made, put it all into numbers, a table, a plot.

    FOLDER/videos/00000.json .mp4 .npz     what each video shows, the video, its features (a stop loses none)
    FOLDER/references/00000.json .npz     the same of the real clips
    FOLDER/loss.json                      validation loss by noise band
    FOLDER/eval.json eval.png             the result

Run again after a stop, it goes on. Everything that can be wrong with a recipe is found before the first video.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch

from wan22.atomic import swept, written
from wan22.canvas import Canvas
from wan22.clock import StepCounter
from wan22.conditioning.image import channels, cover
from wan22.director.judge import present_row
from wan22.director.measure import judge, measure
from wan22.engine import Engine, load
from wan22.errors import CheckpointError, MediaError, OptionError, OutputError
from wan22.files import read_json, reading
from wan22.inputs import AUDIO_RATE
from wan22.media.audio import read_audio
from wan22.media.image import read_image
from wan22.media.output_paths import check_output
from wan22.media.own_files import check_own, written_own
from wan22.media.video import VideoWriter, probe
from wan22.postprocess import to_frames
from wan22.train.evaluation.bands import band_losses, expert_at
from wan22.train.evaluation.material import Reference, material, to_video
from wan22.train.evaluation.metrics import MIN_SAMPLES
from wan22.train.evaluation.recipe import EvalRecipe
from wan22.train.evaluation.report import summary
from wan22.train.evaluation.video_scores import MIN_FRAMES, Features, Numbers, compare, look
from wan22.train.log import Log
from wan22.train.losses import Batch
from wan22.train.settings import present_names
from wan22.types import Clip, Finished, Frames, Request

_ANEW = "Remove it, and the same command makes it again; or give --restart."


def evaluate(recipe: EvalRecipe, folder: Path, *, log: Log, restart: bool = False) -> dict[str, Any]:
    """Run a recipe into `folder` and return what `eval.json` holds.

    Raises a Wan22Error, before any video is made, for what cannot be served; OptionError if the folder holds another
    recipe's videos and not `restart`.
    """
    check_output(f"{folder}/", bytes_needed=0)
    _check_folder(folder)
    for each in (folder, folder / "videos", folder / "references"):
        swept(each)
    work = _Work(recipe, folder, log)
    work.claim(restart)
    references = list(work.references())
    videos = list(work.videos())
    result = {
        "model": work.engine.name,
        "recipe": work.identity,
        **summary(videos, references, work.losses()),
        "notes": work.notes,
    }
    _write_json(folder / "eval.json", result, own=True)
    return result


def _check_folder(folder: Path) -> None:
    """Raise OutputError for a folder that was not begun by an evaluation and holds what has its names."""
    check_own(folder, ("recipe.json", "eval.json", "eval.png"))
    if not (folder / "recipe.json").exists():
        for name in ("videos", "references", "loss.json"):
            if os.path.lexists(folder / name):
                raise OutputError(f"{folder / name} is not of an evaluation. Name another folder with -o.")


class _Work:
    """One evaluation under way: the model, what is asked of it, and where results go."""

    def __init__(self, recipe: EvalRecipe, folder: Path, log: Log) -> None:
        self.recipe, self.folder, self.log = recipe, folder, log
        self.engine: Engine = load(recipe.model, device=recipe.device, dtype=recipe.dtype, loras=recipe.loras)
        self.notes: list[str] = []
        self.prompts, self.real = material(recipe)
        self.canvas = self._check()
        self.notes += self.canvas.notices
        if self.canvas.frames < MIN_FRAMES:
            self.notes.append(
                f"nothing is judged: what a video obeys is measured from {MIN_FRAMES} frames on, and these have "
                f"{self.canvas.frames}"
            )
        for note in self.notes:
            log(f"note: {note}")

    @property
    def identity(self) -> dict[str, Any]:
        """What results depend on; videos of another one are not mixed with these."""
        recipe = self.recipe
        settings = {
            name: getattr(recipe, name)
            for name in (
                "prompts",
                "seed",
                "task",
                "negative",
                "frames",
                "fps",
                "steps",
                "solver",
                "shift",
                "guidance",
                "guidance_rescale",
            )
        }
        return json.loads(
            json.dumps({
                "model": self.engine.name,
                "weights": self.engine.weights,
                "loras": self.engine.loras.recipe(),
                **settings,
                "size": self.canvas.out,
                "count": recipe.videos,
                "prompt_hashes": [_hash(asdict(each)) for each in self.prompts],
                "references": [p.name for p in recipe.clips],
                "extractors": {kind: each.source for kind, each in recipe.extractors.items()},
                "loss": None if recipe.loss is None else asdict(recipe.loss),
            }, default=str)
        )  # fmt: skip

    def claim(self, restart: bool) -> None:
        """Take the folder, or go on in it. `count` alone may differ: more videos join those that are there."""
        path = self.folder / "recipe.json"
        if path.exists() and not restart:
            there = present_names(read_json(path, CheckpointError, remedy=_ANEW), {"asked": "prompt_hashes"})
            differs = [
                k
                for k, v in self.identity.items()
                if there.get(k) != v and k not in ("count", "prompt_hashes")
            ]
            both = zip(there.get("prompt_hashes", []), self.identity["prompt_hashes"], strict=False)
            differs += ["prompts"] if any(a != b for a, b in both) else []
            if differs:
                raise OptionError(
                    f"{self.folder} holds videos of another recipe ({', '.join(differs)} differ); "
                    "give another --output, or --restart to throw them away"
                )
        if restart:
            numbered = "[0-9]" * 5 + ".*"
            for old in (
                *self.folder.glob(f"videos/{numbered}"),
                *self.folder.glob(f"references/{numbered}"),
                self.folder / "loss.json",
            ):
                old.unlink(missing_ok=True)
        _write_json(path, self.identity, own=True)

    def request(self, i: int, *, first: bool = True) -> Request:
        """What is asked of the engine for video `i`; without the `first` frame of a real clip, a grey one stands in."""
        recipe, prompt = self.recipe, self.prompts[i]
        only = self.engine.variant.trained.only and recipe.size is None
        request = Request(
            prompt=prompt.prompt,
            negative=recipe.negative,
            size=self.engine.variant.trained.sizes[0] if only else recipe.size,
            frames=recipe.frames,
            fps=recipe.fps,
            steps=recipe.steps,
            solver=recipe.solver,
            shift=recipe.shift,
            guidance=recipe.guidance,
            guidance_rescale=recipe.guidance_rescale,
            seed=recipe.seed + i,
            audio=None if prompt.audio is None else read_audio(prompt.audio, rate=AUDIO_RATE),
        )
        if prompt.image is not None:
            return replace(request, image=read_image(prompt.image))
        if recipe.task != "image":
            return request
        grey = replace(request, image=np.full((64, 64, 3), 128, np.uint8))
        if not first:
            return grey
        canvas, real = self.engine.check(grey), self.real[i % len(self.real)]
        return replace(request, image=real.frames(canvas.out, canvas.frames, canvas.fps)[0])

    def _check(self) -> Canvas:
        """Everything that can be known to fail, before any video."""
        canvas = self.engine.check(self.request(0, first=False))
        for i in range(1, len(self.prompts)):
            self.engine.check(self.request(i, first=False))
        for path in self.recipe.clips:
            info = probe(path)
            if info.seconds + 0.5 / info.fps < canvas.frames / canvas.fps:
                raise MediaError(
                    f"reference {path} lasts {info.seconds:.2f} s; videos are {canvas.frames / canvas.fps:.2f} s. "
                    "Remove it, or ask for fewer frames."
                )
        for what, number in (("videos", len(self.prompts)), ("references", len(self.real))):
            if "fid" in self.recipe.extractors and number * canvas.frames < MIN_SAMPLES:
                raise OptionError(
                    f"FID needs at least {MIN_SAMPLES} frames of {what}, not {number * canvas.frames}"
                )
        grey = np.full((canvas.frames, canvas.out[1], canvas.out[0], 3), 128, np.uint8)
        for extractor in self.recipe.extractors.values():
            extractor(grey)
        if canvas.frames >= MIN_FRAMES:
            blank = measure(grey, canvas.fps)
            for prompt in self.prompts:
                judge(blank, prompt.labels or prompt.prompt)  # labels that cannot be judged say so
        return canvas

    def references(self) -> Iterator[tuple[Numbers, Features]]:
        """Measure the real clips, those that are not measured yet."""
        return self._each("references", len(self.real), lambda i: self._real(self.real[i], self.canvas))

    def _real(self, real: Reference, canvas: Canvas) -> tuple[Numbers, Features]:
        frames = real.frames(canvas.out, canvas.frames, canvas.fps)
        numbers, features = look(Clip(frames, canvas.fps), real.labels or real.prompt, self._judging_real)
        drawn = real.frames(canvas.draw, canvas.drawn_frames, canvas.fps)
        latents = self.engine.encode_pixels(to_video(drawn))
        with torch.inference_mode():
            back = torch.cat(list(self.engine.vae().decode_stream(latents, chunk=1)), dim=2)[0]
        return {"name": real.name, **numbers, "vae": compare(to_frames(back), drawn)}, features

    @property
    def _judging_real(self) -> dict[str, Any]:
        return {kind: each for kind, each in self.recipe.extractors.items() if kind in ("fid", "fvd")}

    def videos(self) -> Iterator[tuple[Numbers, Features]]:
        """Make and measure the videos that are not there yet."""
        return self._each("videos", len(self.prompts), self._video)

    def _video(self, i: int) -> tuple[Numbers, Features]:
        request, prompt = self.request(i), self.prompts[i]
        began = monotonic()
        clip, recipe = _made(self.engine, request)
        seconds = monotonic() - began
        path = self.folder / "videos" / f"{i:05}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(path, fps=clip.fps, size=(clip.frames.shape[2], clip.frames.shape[1])) as writer:
            writer.add(clip.frames)
            writer.close(recipe)
        shown = (
            None
            if request.image is None
            else cover(request.image, (clip.frames.shape[2], clip.frames.shape[1]))
        )
        first = None if self.engine.variant.speech is not None else shown  # a reference is no first frame
        like = None if shown is None else shown[None]
        numbers, features = look(
            clip,
            prompt.labels or prompt.prompt,
            self.recipe.extractors,
            first=first,
            like=like,
            audio=request.audio,
        )
        return {"prompt": prompt.prompt, "seed": request.seed, "seconds": seconds, **numbers}, features

    def _each(
        self, kind: str, count: int, make: Callable[[int], tuple[Numbers, Features]]
    ) -> Iterator[tuple[Numbers, Features]]:
        """What is on the disk already, else what `make` gives, put there: the numbers last, which say it is whole."""
        paths = [self.folder / kind / f"{i:05}.json" for i in range(count)]
        counter = StepCounter(sum(not path.exists() for path in paths), kind.removesuffix("s"), self.log)
        for i, path in enumerate(paths):
            if not path.exists():
                numbers, features = make(i)
                with written(path.with_suffix(".npz")) as part, part.open("wb") as file:
                    np.savez(file, **features)
                _write_json(path, numbers)
                counter.step(detail=numbers.get("prompt", "")[:70])
            numbers = _present_names(read_json(path, CheckpointError, remedy=_ANEW))
            features = path.with_suffix(".npz")
            with reading(features, CheckpointError, "is damaged or missing", _ANEW):
                with np.load(features, allow_pickle=False) as file:
                    yield numbers, {name: file[name] for name in file.files}

    def losses(self) -> dict[str, Any] | None:
        """Validation loss of each expert at the levels at which it works; None if it cannot be had, which is noted."""
        bands, variant, path = self.recipe.loss, self.engine.variant, self.folder / "loss.json"
        if bands is None:
            return None
        if variant.speech is not None or not self.real:
            why = "the model is driven by audio" if variant.speech is not None else "there are no references"
            self.notes.append(f"no validation loss: {why}")
            return None
        rows = _kept_losses(path)
        turns: dict[str, list[float]] = {}
        for sigma in bands.sigmas:
            turns.setdefault(expert_at(sigma, variant), []).append(sigma)
        missing = {
            name: todo for name, all_ in turns.items() if (todo := [s for s in all_ if str(s) not in rows])
        }
        held = self._held(bands.clips) if missing else None
        for name, sigmas in missing.items():
            assert held is not None
            self.log(f"validation loss of {name} at {len(sigmas)} noise levels")
            found = band_losses(self.engine.expert(name), held, variant, sigmas=sigmas, seeds=bands.seeds)
            for sigma, losses in zip(sigmas, found.tolist(), strict=True):
                rows[str(sigma)] = {"expert": name, "losses": losses}
            _write_json(path, rows)
        return {str(sigma): rows[str(sigma)] for sigma in bands.sigmas}

    def _held(self, count: int) -> Batch:
        canvas, engine = self.canvas, self.engine
        real = self.real[:count]
        clips = [each.frames(canvas.draw, canvas.drawn_frames, canvas.fps) for each in real]
        videos = torch.cat([engine.encode_pixels(to_video(clip)) for clip in clips])
        given = engine.variant.image_required or self.recipe.task == "image"
        beside = None
        if given and engine.variant.image == "channels":
            each = [
                channels(c[0], None, canvas, engine.encode_pixels, exact_shape=True).channels for c in clips
            ]
            beside = torch.stack([c for c in each if c is not None]).to(videos.device)
        return Batch(videos, engine.encode_text([r.prompt for r in real]), beside, given)


def _made(engine: Engine, request: Request) -> tuple[Clip, dict[str, Any]]:
    parts: list[np.ndarray] = []
    for event in engine.generate(request):
        if isinstance(event, Frames):
            parts.append(event.frames)
        if isinstance(event, Finished):
            return Clip(np.concatenate(parts), event.fps), event.recipe
    raise RuntimeError("the engine ended without finishing a video")


def _kept_losses(path: Path) -> dict[str, Any]:
    """The rows of `loss.json` by sigma, none if it is not there; CheckpointError if they are no such rows."""
    rows = read_json(path, CheckpointError, remedy=_ANEW) if path.exists() else {}
    with reading(path, CheckpointError, "is damaged", _ANEW):
        for row in rows.values():
            str(row["expert"]), [float(loss) for loss in row["losses"]]
    return rows


def _present_names(numbers: Numbers) -> Numbers:
    """A video's numbers, whose `verdicts` were called `obeyed` by earlier versions."""
    rows = numbers.pop("obeyed", None)
    return numbers | ({"verdicts": [present_row(row) for row in rows]} if rows is not None else {})


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _write_json(path: Path, value: Any, *, own: bool = False) -> None:
    with (written_own if own else written)(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
