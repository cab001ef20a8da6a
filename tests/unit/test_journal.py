"""A video goes on inside its denoising, after any end, with the same bits and at most one step made again."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import write_tiny, write_tiny_speech

import wan22
from wan22.denoiser import Denoiser
from wan22.errors import OptionError
from wan22.models.umt5 import UMT5Encoder
from wan22.production.journal import FolderJournal, identity
from wan22.sampling import SOLVERS
from wan22.types import Audio, ClipDone, Frames, Latents, Progress, Reply, Request

ASK = Request(prompt="a red ball rolls left", steps=5, seed=3)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return wan22.load(write_tiny(tmp_path_factory.mktemp("tiny") / "tiny", layers=3), device="cpu")


@pytest.fixture
def calls(monkeypatch):
    """The timesteps at which a network was called."""
    made, denoise = [], Denoiser._denoise

    def counting(self, x, level):
        made.append(level.timestep)
        return denoise(self, x, level)

    monkeypatch.setattr(Denoiser, "_denoise", counting)
    return made


def journal(engine, folder, request=ASK):
    notes = []
    made = FolderJournal(folder, engine.recipe(request), notes.append)
    made.notes = notes
    return made


def stopped(engine, request, kept, after):
    """Make a video as far as `after` steps, and die."""
    steps = 0
    with closing(engine.generate(request, None, kept)) as events:
        for event in events:
            steps += isinstance(event, Progress)
            if steps == after:
                return


def outcome(events):
    """Latents of each clip's last step, and all frames."""
    found = list(events)
    last = [e.x for e in found if isinstance(e, Progress) and e.index == e.steps]
    frames = np.concatenate([e.frames for e in found if isinstance(e, Frames)])
    return torch.stack([x.float() for x in last]), frames


def same(one, other):
    return torch.equal(one[0], other[0]) and np.array_equal(one[1], other[1])


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_goes_on_after_any_step_with_the_same_bits(engine, tmp_path, calls, solver):
    request = replace(ASK, solver=solver)
    whole = outcome(engine.generate(request))
    everything = len(calls)
    for after in range(1, 6):
        folder = tmp_path / f"{after}"
        stopped(engine, request, journal(engine, folder, request), after)
        before = len(calls)
        assert same(outcome(engine.generate(request, None, journal(engine, folder, request))), whole)
        each = 2 if solver == "heun" else 1
        assert len(calls) - before == everything - each * after + (solver == "heun" and after == 5)


@pytest.mark.parametrize("cache", ["first-block:0.9", "teacache:0.9", "magcache:0.9"])
@pytest.mark.parametrize("interval", [None, (0.0, 0.6)])
def test_a_step_cache_goes_on_as_it_was(tmp_path, cache, interval):
    folder = write_tiny(tmp_path / "tiny", layers=3)
    engine = wan22.load(folder, device="cpu")
    curve = wan22.catalog.Calibration((1000.0, 1.0), (1.0, 1.2))
    engine.variant = replace(engine.variant, calibration={"high": curve, "low": curve})
    request = replace(ASK, steps=9, cache=cache, guidance_interval=interval, guidance=2.0)
    whole = list(engine.generate(request))
    reused = [e.reused for e in whole if isinstance(e, Progress)]
    assert any(reused)
    for after in (1, 2, 4, 7, 8):
        kept = journal(engine, tmp_path / f"{after}", request)
        stopped(engine, request, kept, after)
        rest = list(engine.generate(request, None, kept))
        assert [e.reused for e in rest if isinstance(e, Progress)] == reused
        assert same(outcome(rest), outcome(whole))


def test_what_was_read_is_not_read_again(engine, tmp_path, monkeypatch):
    fresh = wan22.load(write_tiny(tmp_path / "tiny", layers=3), device="cpu")
    stopped(engine, ASK, journal(engine, tmp_path / "j"), 5)
    monkeypatch.setattr(UMT5Encoder, "contexts", lambda *_: pytest.fail("the prompt is read again"))
    events = list(fresh.generate(ASK, None, journal(engine, tmp_path / "j")))
    assert any(isinstance(event, Latents) for event in events)
    assert not any(getattr(event, "name", "") == "load" for event in events)


def test_a_repeated_step_takes_no_time_and_says_nothing_of_the_next(engine, tmp_path):
    kept = journal(engine, tmp_path)
    stopped(engine, ASK, kept, 3)
    steps = [e for e in engine.generate(ASK, None, kept) if isinstance(e, Progress)]
    assert [step.index for step in steps] == [1, 2, 3, 4, 5]
    assert [step.seconds == 0 for step in steps] == [True, True, True, False, False]


def test_a_damaged_entry_costs_what_follows_it(engine, tmp_path, calls):
    whole = outcome(engine.generate(ASK))
    stopped(engine, ASK, journal(engine, tmp_path), 4)
    path = sorted(tmp_path.rglob("*call*.safetensors"))[2]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    kept = journal(engine, tmp_path)
    calls.clear()
    assert same(outcome(engine.generate(ASK, None, kept)), whole)
    assert len(calls) == 3  # of five
    assert kept.notes == [f"{path.name} in the journal is damaged; the video goes on from before it"]
    for size in (0, 7, 40, len(content) - 1):
        path.write_bytes(content[:size])
        assert journal(engine, tmp_path).read(path.stem) is None


def test_another_video_has_another_journal(engine, tmp_path, calls):
    stopped(engine, ASK, journal(engine, tmp_path), 4)
    other = replace(ASK, seed=4)
    calls.clear()
    outcome(engine.generate(other, None, journal(engine, tmp_path, other)))
    assert len(calls) == 5
    recipe = engine.recipe(ASK)
    assert identity(recipe) == identity(recipe | {"threads": 64, "device": "cuda"})
    foreign = journal(engine, tmp_path / "b")
    foreign.folder.mkdir(parents=True)
    source = sorted(journal(engine, tmp_path).folder.glob("*.safetensors"))[0]
    moved = FolderJournal(tmp_path / "b", recipe | {"seed": 9}, foreign.notes.append)
    moved.folder.mkdir()
    (moved.folder / source.name).write_bytes(source.read_bytes())
    assert moved.read(source.stem) is None


def test_of_two_that_write_an_entry_the_first_wins(engine, tmp_path):
    one, other = journal(engine, tmp_path), journal(engine, tmp_path)
    one.write("a", {"x0": torch.ones(3)})
    other.write("a", {"x0": torch.zeros(3)})
    assert torch.equal(other.read("a")["x0"], torch.ones(3)) and not other.notes
    assert [path.name for path in one.folder.iterdir()] == ["a.safetensors"]


def test_a_full_disk_ends_the_journal_and_not_the_video(engine, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    kept = journal(engine, tmp_path)
    assert same(outcome(engine.generate(ASK, None, kept)), outcome(engine.generate(ASK)))
    assert len(kept.notes) == 1 and "No space left on device" in kept.notes[0]


def test_a_video_with_a_journal_takes_no_replies(engine, tmp_path):
    events = engine.generate(ASK, None, journal(engine, tmp_path))
    while not isinstance(next(events), Progress):
        pass
    with pytest.raises(OptionError, match="takes no replies"):
        events.send(Reply(guided=False))


def test_a_long_video_goes_on_within_a_clip_and_forgets_those_that_are_done(engine, tmp_path, calls):
    request = replace(ASK, frames=20, steps=3)
    found = list(engine.generate(request))
    whole, done = outcome(found), next(e for e in found if isinstance(e, ClipDone))
    stopped(
        engine, request, journal(engine, tmp_path, request), 5
    )  # two steps into the second of three clips
    kept = journal(engine, tmp_path, request)
    names = sorted(path.stem for path in kept.folder.iterdir())
    assert names == ["clip-1-call-0000", "clip-1-call-0001", "texts"]
    calls.clear()
    rest = outcome(engine.generate(request, done, kept))
    assert len(calls) == 1 + 3
    assert torch.equal(rest[0], whole[0][1:]) and np.array_equal(rest[1], whole[1][-len(rest[1]) :])
    kept.clear()
    assert not kept.folder.exists()


@pytest.mark.parametrize("after", [1, 3])
def test_a_video_that_audio_drives_goes_on_within_a_clip(tmp_path, after):
    pytest.importorskip("transformers")
    engine = wan22.load(write_tiny_speech(tmp_path / "tiny"), device="cpu")
    noise = np.random.default_rng(0)
    audio = Audio((noise.standard_normal(24000) * 0.1).astype(np.float32), 16000)
    image = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    request = Request(prompt="a red ball", image=image, audio=audio, steps=2, seed=1)
    whole = outcome(engine.generate(request))
    kept = journal(engine, tmp_path / "j", request)
    stopped(engine, request, kept, after)
    done = None
    if after > 2:
        done = next(e for e in engine.generate(request) if isinstance(e, ClipDone))
    rest = outcome(engine.generate(request, done, kept))
    assert torch.equal(rest[0], whole[0][-len(rest[0]) :]) and np.array_equal(
        rest[1], whole[1][-len(rest[1]) :]
    )
