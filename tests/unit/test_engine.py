"""The engine on a tiny random model: what is promised of events, seeds, cancelling, experts and known images."""

import itertools
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXT_LEN, write_tiny

import wan22
from wan22 import clock as clock_module
from wan22 import denoiser as denoiser_module
from wan22 import engine as engine_module
from wan22.conditioning.image import cover, to_pixels
from wan22.errors import CheckpointError, DecodeError, OptionError
from wan22.models.dit import NoiseLevels
from wan22.sampling import cfg, draw_noise, levels, rescale, velocity_to_x0
from wan22.types import Clip, Finished, Frames, Latents, Notice, Phase, Progress, Request

ASK = Request(prompt="a red ball rolls left", steps=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    write_tiny(root / "only", only=True)
    return {image: write_tiny(root / str(image), image) for image in ("known", "channels", None)} | {
        "only": root / "only"
    }


@pytest.fixture(scope="module")
def engines(folders):
    """One warm engine for each way of telling images, and one that is kept to its trained sizes."""
    return {name: wan22.load(folder, device="cpu") for name, folder in folders.items()}


@pytest.fixture
def engine(engines):
    return engines["known"]


def image(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def frames_of(events):
    return np.concatenate([event.frames for event in of(Frames, events)])


def latents_of(events):
    return of(Latents, events)[0].tensors["latents"]


def video(engine, request):
    return frames_of(engine.generate(request))


def notices(engine, request):
    return " | ".join(
        event.text
        for event in itertools.takewhile(lambda e: not isinstance(e, Phase), engine.generate(request))
    )


def test_a_seed_makes_the_same_video_twice_and_another_seed_another(engine):
    first = video(engine, ASK)
    assert np.array_equal(first, video(engine, ASK))
    assert not np.array_equal(first, video(engine, replace(ASK, seed=1)))


def test_a_video_does_not_depend_on_what_was_asked_before(engine, folders):
    fresh = wan22.load(folders["known"], device="cpu")
    for prompt in ("a blue cube", "a", ASK.prompt):
        last = list(engine.generate(replace(ASK, prompt=prompt)))
    assert torch.equal(latents_of(last), latents_of(list(fresh.generate(ASK))))


def test_events_come_in_the_promised_order(folders):
    engine = wan22.load(folders["known"], device="cpu")
    events = list(engine.generate(replace(ASK, image=image())))
    names = [e.name if isinstance(e, Phase) else type(e).__name__ for e in events]
    assert names[: names.index("decode") + 1] == [
        "text", "condition", "denoise",
        "load", "Progress", "Progress", "load", "Progress", "Progress", "Latents", "decode",
    ]  # fmt: skip
    assert names[names.index("decode") + 1 :] == ["Frames"] * len(of(Frames, events)) + ["Finished"]
    warm = [e.name for e in of(Phase, engine.generate(ASK))]
    assert warm == ["text", "denoise", "decode"]


def test_progress_counts_steps_and_time(engine):
    steps = of(Progress, engine.generate(ASK))
    assert [(s.index, s.steps) for s in steps] == [(i, 4) for i in range(1, 5)]
    assert [s.expert for s in steps] == ["high", "high", "low", "low"]
    assert [s.sigma for s in steps] == pytest.approx(levels("unipc", 4, 5.0).sigmas[:-1].tolist())
    assert all(s.seconds > 0 for s in steps)
    assert steps[0].left == pytest.approx(3 * steps[0].seconds)
    assert steps[2].left == pytest.approx((steps[1].seconds + steps[2].seconds) / 2)
    assert steps[-1].left == 0
    assert torch.equal(steps[-1].x, steps[-1].x0)


def test_the_callers_own_time_is_not_counted_as_the_models(engine, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: float(next(clock)))
    for event in engine.generate(ASK):
        if isinstance(event, Progress):
            assert (event.seconds, event.left) == (1.0, 4.0 - event.index)
            for _ in range(100):
                next(clock)


def test_frames_are_numbered_and_the_recipe_says_everything(engine):
    events = list(engine.generate(replace(ASK, frames=7, negative="")))
    parts = of(Frames, events)
    starts = [0, *itertools.accumulate(len(p.frames) for p in parts)]
    assert [p.start for p in parts] == starts[:-1]
    assert starts[-1] == 7 == parts[0].total
    assert all(p.frames.dtype == np.uint8 and p.frames.shape[1:] == (32, 48, 3) for p in parts)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.fps == 8.0
    expected = {
        "model": "known", "task": "t2v", "prompt": ASK.prompt, "negative": "", "seed": 0, "size": [48, 32],
        "frames": 7, "steps": 4, "solver": "unipc", "shift": 5.0, "guidance": [3.0, 4.0], "dtype": "float32",
        "device": "cpu",
    }  # fmt: skip
    assert {name: finished.recipe[name] for name in expected} == expected
    assert set(finished.recipe["weights"]) == {"high", "low", "vae", "text"}
    assert all(value.startswith("sha256:") for value in finished.recipe["weights"].values())


def calls_of(engine, monkeypatch):
    """The expert of every call of a network from now on."""
    calls = []
    for name in ("high", "low"):
        network = engine._placement.bring(name)
        forward = network.forward
        monkeypatch.setattr(
            network, "forward", lambda *a, f=forward, n=name: (calls.append((n, a[0].shape[0])), f(*a))[1]
        )
    return calls


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_closing_stops_before_the_next_step_and_the_engine_goes_on(engine, monkeypatch, stop):
    before = video(engine, ASK)
    calls = calls_of(engine, monkeypatch)
    events = engine.generate(ASK)
    for event in events:
        if isinstance(event, Progress) and event.index == stop:
            break
    events.close()
    assert len(calls) == stop
    with pytest.raises(StopIteration):
        next(events)
    assert np.array_equal(before, video(engine, ASK))


def test_latents_can_be_decoded_later_by_another_engine(engine, folders):
    events = list(engine.generate(ASK))
    kept = of(Latents, events)[0]
    later = list(wan22.load(folders["known"], device="cpu").decode_latents(kept.tensors, kept.recipe))
    assert np.array_equal(frames_of(events), frames_of(later))
    assert [e.name for e in of(Phase, later)] == ["decode"]
    assert later[-1] == events[-1]


def test_a_failing_vae_is_a_decode_error_after_the_latents_were_given(engine, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(engine._placement.bring("vae"), "decode_stream", fail)
    events, seen = engine.generate(ASK), []
    with pytest.raises(DecodeError, match=r"could not decode.*no memory left"):
        for event in events:
            seen.append(event)
    assert len(of(Latents, seen)) == 1
    monkeypatch.undo()
    kept = of(Latents, seen)[0]
    assert np.array_equal(frames_of(engine.decode_latents(kept.tensors, kept.recipe)), video(engine, ASK))


@pytest.mark.parametrize(
    ("tensors", "recipe", "message"),
    [
        ({"other": torch.zeros(1)}, {}, "no tensor 'latents'; there are: other"),
        ({"latents": torch.zeros(4, 3, 4, 6)}, {}, r"\(4, 3, 4, 6\), but tiny draws this video as \(4, 2, 4, 6\)"),
        ({"latents": torch.zeros(16, 2, 4, 6)}, {}, "another model's"),
        ({"latents": torch.zeros(4, 2, 4, 6)}, {"size": None}, "does not say what was asked"),
    ],
)  # fmt: skip
def test_latents_that_do_not_fit_are_refused(engine, tensors, recipe, message):
    said = {"size": [48, 32], "frames": 5, "fps": 8.0} | recipe
    with pytest.raises(CheckpointError, match=message):
        list(engine.decode_latents(tensors, said))


def test_on_disk_no_two_parts_are_ever_resident_and_the_video_is_the_same(engine, folders, monkeypatch):
    resident, most = weakref.WeakSet(), []
    load_part = engine_module.assembly.PartSource.__call__

    def counted(*args):
        part = load_part(*args)
        resident.add(part)
        most.append(len(resident))
        return part

    monkeypatch.setattr(engine_module.assembly.PartSource, "__call__", counted)
    swapping = wan22.load(folders["known"], device="cpu", memory="disk")
    request = replace(ASK, image=image())
    for _ in range(2):
        events = list(swapping.generate(request))
    assert set(most) == {1}
    loads = [e.detail for e in of(Phase, events) if e.name == "load"]
    assert loads == ["the high-noise expert", "the low-noise expert"]
    assert np.array_equal(frames_of(events), video(engine, request))


def test_bfloat16_keeps_the_release_float32_parts_and_stays_near(engine, folders):
    half = wan22.load(folders["known"], device="cpu", dtype="bf16")
    dtypes = {name: p.dtype for name, p in half._placement.bring("high").named_parameters()}
    assert dtypes["blocks.0.self_attn.q.weight"] == torch.bfloat16
    for name in (
        "head.head.weight",
        "blocks.0.modulation",
        "blocks.0.norm3.weight",
        "time_embedding.0.weight",
    ):
        assert dtypes[name] == torch.float32, name
    assert {p.dtype for p in half.vae().parameters()} == {torch.float32}
    exact, rough = (latents_of(list(e.generate(ASK))) for e in (engine, half))
    assert 0 < (exact - rough).norm() / exact.norm() < 0.2


def velocity(engine, name, x, timestep, text):
    """What an expert predicts for one prompt, asked directly."""
    network = engine._placement.bring(name)
    with torch.inference_mode():
        memory = network.read_text(engine.encode_text([text]))
        return network(x[None], NoiseLevels.uniform(torch.tensor([timestep])), memory)[0]


@pytest.mark.parametrize("guidance", [1, 2.5])
def test_guidance_is_the_formula_and_at_one_only_the_prompt_is_read(engine, monkeypatch, guidance):
    request = replace(ASK, steps=1, guidance=guidance, negative="a cube", seed=5)
    noise = draw_noise((4, 2, 4, 6), 5)
    level = levels("unipc", 1, 5.0)[0]
    cond, uncond = (velocity(engine, "high", noise, level.timestep, t) for t in (request.prompt, "a cube"))
    expected = velocity_to_x0(noise, cond if guidance == 1 else cfg(cond, uncond, guidance), level)
    calls = calls_of(engine, monkeypatch)
    got = latents_of(list(engine.generate(request)))
    assert torch.allclose(got, expected, atol=1e-4, rtol=1e-4)
    assert calls == [("high", 1 if guidance == 1 else 2)]


def test_a_rescale_takes_back_what_guidance_spreads(engine):
    request = replace(ASK, steps=1, guidance=2.5, negative="a cube", seed=5, guidance_rescale=0.7)
    noise = draw_noise((4, 2, 4, 6), 5)
    level = levels("unipc", 1, 5.0)[0]
    cond, uncond = (velocity(engine, "high", noise, level.timestep, t) for t in (request.prompt, "a cube"))
    told, guided = (velocity_to_x0(noise, v, level) for v in (cond, cfg(cond, uncond, 2.5)))
    expected = rescale(guided, told, 0.7)
    assert torch.allclose(latents_of(list(engine.generate(request))), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, guided, atol=1e-3)


def test_a_rescale_counts_no_frames_that_are_known(engine, monkeypatch):
    seen = []
    monkeypatch.setattr(denoiser_module, "rescale", lambda g, c, share: seen.append((g.shape, share)) or g)
    list(engine.generate(replace(ASK, image=np.zeros((32, 48, 3), np.uint8), guidance_rescale=0.5, steps=2)))
    list(engine.generate(replace(ASK, guidance_rescale=0.5, steps=1)))
    assert seen == [((4, 1, 4, 6), 0.5)] * 2 + [((4, 2, 4, 6), 0.5)]


def test_each_expert_has_its_own_guidance(engine):
    def run(low, high):
        return of(Progress, engine.generate(replace(ASK, guidance=(low, high))))

    a, b, c = run(3, 4), run(3, 6), run(5, 4)
    assert not torch.equal(a[0].x, b[0].x)
    assert [step.expert for step in a] == ["high", "high", "low", "low"]
    assert torch.equal(a[1].x, c[1].x)
    assert not torch.equal(a[2].x, c[2].x)


@pytest.mark.parametrize("name", ["known", "channels"])
def test_both_branches_in_a_batch_or_one_after_the_other_agree(engines, monkeypatch, name):
    request = replace(ASK, image=image())
    batch = latents_of(list(engines[name].generate(request)))
    monkeypatch.setattr(denoiser_module, "BATCH_TOKENS", 0)
    calls = calls_of(engines[name], monkeypatch)
    single = latents_of(list(engines[name].generate(request)))
    assert {size for _, size in calls} == {1}
    assert len(calls) == 8
    assert torch.allclose(batch, single, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler", "distilled"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_every_solver_makes_a_finite_video(engine, solver, steps):
    events = list(engine.generate(replace(ASK, solver=solver, steps=steps, image=image())))
    assert latents_of(events).isfinite().all()
    assert len(of(Progress, events)) == steps


def encoded(engine, images, size=(48, 32)):
    video = torch.stack([to_pixels(cover(p, size)) for p in images], dim=1)
    return engine.encode_pixels(video[None])[0]


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
def test_a_first_image_is_the_first_latent_frame_exactly(engine, solver):
    request = replace(ASK, image=image(), size=(48, 32), frames=9, solver=solver)
    latents = latents_of(list(engine.generate(request)))
    assert torch.equal(latents[:, :1], encoded(engine, [image()]))
    other = latents_of(list(engine.generate(replace(request, image=image(seed=1)))))
    assert not torch.equal(latents[:, 1:], other[:, 1:])  # the rest of the video sees it


def test_a_last_image_is_the_last_latent_frame_and_both_are_both(engine):
    first, last = image(seed=1), image(seed=2)
    request = replace(ASK, size=(48, 32), frames=9, last_image=last)
    still = encoded(engine, [last] * 5)[:, 1:]
    only_last = latents_of(list(engine.generate(request)))
    both = latents_of(list(engine.generate(replace(request, image=first))))
    assert torch.equal(only_last[:, 2:], still)
    assert torch.equal(both[:, 2:], still)
    assert torch.equal(both[:, :1], encoded(engine, [first]))
    assert not torch.equal(only_last[:, :1], both[:, :1])


def test_a_last_image_is_reached_by_a_video_shorter_than_what_is_drawn(engines):
    """A model kept to 5 or 9 frames draws 9 for 7; the seventh, not the ninth, is the end that was asked for."""
    request = replace(ASK, frames=7, last_image=image(), size=(48, 32))
    events = list(engines["only"].generate(request))
    canvas = engines["only"].check(request)
    assert (canvas.drawn_frames, canvas.frames, canvas.stretched) == (9, 7, True)
    kept = of(Latents, events)[0]
    with torch.inference_mode():
        drawn = engines["only"].vae().decode(kept.tensors["latents"][None])[0]
    expected = drawn[:, -1].add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(frames_of(events)[-1], expected)
    again = engines["only"].decode_latents(kept.tensors, kept.recipe)
    assert np.array_equal(frames_of(again), frames_of(events))


def test_channels_tell_which_frames_are_known(engines, monkeypatch):
    seen = []
    network = engines["channels"]._placement.bring("high")
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda *a: (seen.append(a[3]), forward(*a))[1])
    request = replace(ASK, steps=1, size=(48, 32), frames=8)
    list(engines["channels"].generate(replace(request, image=image())))
    list(engines["channels"].generate(replace(request, last_image=image())))
    first, last = (channels[0, :4, :, 0, 0].T.tolist() for channels in seen)
    assert first == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    # 8 frames are delivered of 9 drawn: the eighth is the last one asked for, and the ninth stands still on it.
    assert last == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_a_clip_is_kept_at_small_strength_and_left_at_full_strength(engine):
    clip = Clip(np.stack([image(32, 48, seed=i) for i in range(5)]), 8.0)
    request = replace(ASK, video=clip, steps=20, shift=1, strength=0.05)
    events = list(engine.generate(request))
    assert len(of(Progress, events)) == 1
    kept = encoded(engine, clip.frames)
    near = (latents_of(events) - kept).norm() / kept.norm()
    full = list(engine.generate(replace(request, strength=1.0)))
    far = (latents_of(full) - kept).norm() / kept.norm()
    assert len(of(Progress, full)) == 20
    assert near < 0.1 < 0.5 < far
    assert events[-1].recipe["task"] == "v2v"
    assert events[-1].recipe["strength"] == 0.05


def test_one_frame_is_an_image(engine):
    events = list(engine.generate(replace(ASK, frames=1)))
    assert frames_of(events).shape == (1, 32, 48, 3)
    assert events[-1].recipe["task"] == "t2i"


def test_words_and_lengths_that_are_not_read_are_said(engine):
    assert notices(engine, ASK) == ""
    assert "these words of the prompt: green, fish" in notices(engine, replace(ASK, prompt="a green fish"))
    assert "words of the negative prompt: fog" in notices(engine, replace(ASK, negative="fog"))
    long = " ".join(["a"] * TEXT_LEN) + " ball"
    assert notices(engine, replace(ASK, prompt=long)) == (
        "the prompt is too long; this part is not read: 'a ball'"
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("known", {"size": (96, 64)}, "was trained at 48x32, 32x48, 32x32; 96x64 may look worse"),
        ("known", {"size": (50, 31)}, r"drawn at 64x32 \(multiples of 16\) and cut to 50x31"),
        ("known", {"frames": 13}, "was trained on 9 frames; 13 may drift or repeat"),
        ("known", {"frames": 20}, "20 frames are made in 3 clips of 9, each going on from the one before"),
        ("only", {"size": (96, 64)}, "tiny draws 48x32, .* the video is scaled to 96x64"),
        ("only", {"frames": 12}, "draws 9 frames; they are spread over the 12"),
    ],
)
def test_sizes_outside_the_trained_ones_are_said(engines, name, change, message):
    import re

    assert re.search(message, notices(engines[name], replace(ASK, **change)))


def test_a_refused_request_calls_no_network(folders, monkeypatch):
    def fail(*_):
        raise AssertionError("a network was loaded")

    monkeypatch.setattr(engine_module.assembly.PartSource, "__call__", fail)
    engine = wan22.load(folders["known"], device="cpu")
    with pytest.raises(OptionError, match="prompt is empty"):
        list(engine.generate(Request(prompt=" ")))
    with pytest.raises(AssertionError, match="a network was loaded"):
        list(engine.generate(ASK))


@settings(max_examples=12, deadline=None, database=None)
@given(
    name=st.sampled_from(["known", "only"]),
    frames=st.integers(1, 14),
    width=st.integers(16, 80),
    height=st.integers(16, 80),
)
def test_any_size_and_length_asked_is_delivered(engines, name, frames, width, height):
    request = replace(ASK, steps=1, guidance=1, frames=frames, size=(width, height))
    events = list(engines[name].generate(request))
    assert frames_of(events).shape == (frames, height, width, 3)


def test_notices_come_first_and_are_text(engine):
    first = next(iter(engine.generate(replace(ASK, size=(96, 64)))))
    assert isinstance(first, Notice)
