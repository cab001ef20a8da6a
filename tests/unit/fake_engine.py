"""An engine that draws noise, with the command line before it: fixtures for the tests of commands."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wan22.catalog import VARIANTS, Defaults, Trained
from wan22.cli.__main__ import main
from wan22.request import resolve
from wan22.types import ClipDone, Finished, Frames, Latents, Notice, Phase, Progress

VARIANT = replace(
    VARIANTS["ti2v-5B"],
    name="fake",
    experts=("high", "low"),
    boundary=0.9,
    defaults=Defaults((64, 32), 5, 8, steps=2, shift=5.0, guidance=(5.0, 5.0), negative="grey"),
    trained=Trained(((64, 32),), (5,)),
)


class FakeEngine:
    """Real checks and recipes; frames of seeded noise. `fail` raises in the named phase."""

    variant = VARIANT

    def __init__(self):
        self.fail: dict[str, BaseException] = {}
        self.version = "0"
        self.requests = []
        self.loaded = {}

    def load(self, model="nano", **options):
        self.loaded = {"model": model, **options}
        return self

    def check(self, request):
        return self.resolve(request).canvas

    def recipe(self, request):
        return {
            "wan22": self.version,
            "model": "nano",
            "dtype": "float32",
            **self.resolve(request).as_recipe(),
        }

    def resolve(self, request):
        return resolve(request, self.variant)

    def generate(self, request, done=None):
        job, recipe = self.resolve(request), self.recipe(request)
        self.requests.append(request)
        if job.canvas.clips > 1 or request.audio is not None:
            yield from self.clips(job, recipe, done)
            return
        yield Phase("text")
        yield Notice("a word of warning")
        yield Phase("denoise")
        for index in range(job.steps):
            self._maybe_fail("denoise")
            yield Progress(index + 1, job.steps, "high", 0.5, 0.1, 0.1, torch.zeros(1), torch.zeros(1))
        tensors = {"latents": torch.full((2, 2), float(request.seed))}
        yield Latents(tensors, recipe)
        yield from self.decode_latents(tensors, recipe)

    def clips(self, job, recipe, done):
        for clip in range(done.clip if done else 0, job.canvas.clips):
            self._maybe_fail(f"clip {clip + 1}")
            yield Progress(
                1, 1, "high", 0.5, 0.1, 0.1, torch.zeros(1), torch.zeros(1), clip + 1, job.canvas.clips
            )
            start, end = job.canvas.span(clip)
            # Each clip is drawn from what the one before left, as a real one's is.
            seed = int(done.carry["left"][0]) if done else job.request.seed
            shape = (end - start, *job.canvas.out[::-1], 3)
            frames = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
            yield Frames(start, job.canvas.frames, frames)
            carry = {"left": torch.tensor([seed + 7])} if clip + 1 < job.canvas.clips else {}
            done = ClipDone(clip + 1, job.canvas.clips, carry)
            yield done
        yield Finished(job.canvas.fps, recipe)

    def decode_latents(self, tensors, recipe):
        yield Phase("decode")
        self._maybe_fail("decode")
        width, height = recipe["size"]
        noise = np.random.default_rng(int(tensors["latents"][0, 0]) + recipe["steps"])
        frames = noise.integers(0, 255, (recipe["frames"], height, width, 3), dtype=np.uint8)
        for start in range(0, len(frames), 2):
            yield Frames(start, len(frames), frames[start : start + 2])
        yield Finished(recipe["fps"], recipe)

    def _maybe_fail(self, phase):
        if phase in self.fail:
            raise self.fail[phase]


@pytest.fixture
def engine(monkeypatch, tmp_path):
    fake = FakeEngine()
    monkeypatch.setattr("wan22.engine.load", fake.load)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def run(capsys):
    """Run a command; return exit code, stdout, stderr."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
