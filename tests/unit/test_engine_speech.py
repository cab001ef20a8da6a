"""Videos that audio drives, on a tiny random model: their length, their past, what they hear, and what is refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_variant, write_tiny, write_tiny_speech

import wan22
from wan22 import Video, Wan22Pipeline, clip_plans
from wan22 import denoiser as denoiser_module
from wan22.catalog import VARIANTS
from wan22.conditioning.speech import AudioFeatures
from wan22.errors import CheckpointError, OptionError, RequestError, SizeError
from wan22.media.audio import probe_audio, read_audio, write_audio
from wan22.media.video import probe, read_clip
from wan22.request import resolve
from wan22.sampling import cfg, draw_noise, levels, velocity_to_x0
from wan22.types import Audio, Clip, ClipDone, Finished, Frames, Latents, Notice, Phase, Progress, Request

pytest.importorskip("transformers")

FPS, CLIP = 8, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_speech(tmp_path_factory.mktemp("speech") / "tiny-s2v")


@pytest.fixture(scope="module")
def engine(folder):
    return wan22.load(folder, device="cpu")


def example_image(height=64, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def noise(seconds, seed=0):
    samples = np.random.default_rng(seed).standard_normal(round(seconds * 16_000)) * 0.1
    return Audio(samples.astype(np.float32), 16_000)


ASK = Request(
    prompt="a red ball rolls left", image=example_image(), audio=noise(2.5), steps=1
)  # 20 frames, 3 clips


@pytest.fixture(scope="module")
def events(engine):
    """All that happens when what ASK asks is made."""
    return list(engine.generate(ASK))


@pytest.fixture(scope="module")
def whole(events):
    """The video that ASK asks for."""
    return video(events)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def video(events):
    return np.concatenate([event.frames for event in of(Frames, events)])


def made(engine, **changes):
    return video(engine.generate(replace(ASK, **changes)))


def told(engine, **changes):
    """The notices of a request."""
    events = engine.generate(replace(ASK, **changes))
    return " | ".join(
        event.text for event in iter(lambda: next(events), Phase("text")) if isinstance(event, Notice)
    )


def calls_of(engine, monkeypatch):
    """What the network is told of every clip, and the batch of each of its steps, from now on."""
    network = engine._placement.bring("dit")
    read, forward = network.read_speech, network.forward
    heard, batches = [], []
    monkeypatch.setattr(network, "read_speech", lambda **k: heard.append(k) or read(**k))
    monkeypatch.setattr(network, "forward", lambda *a: batches.append(a[0].shape[0]) or forward(*a))
    return heard, batches


# Length and order.


def test_a_video_is_as_long_as_its_audio_and_made_clip_by_clip(engine):
    events = list(engine.generate(replace(ASK, steps=2)))
    frames = of(Frames, events)
    assert video(events).shape == (20, 64, 64, 3)
    assert [f.start for f in frames] == np.cumsum([0, *(len(f.frames) for f in frames)])[:-1].tolist()
    assert [(e.clip, e.clips) for e in of(ClipDone, events)] == [(1, 3), (2, 3), (3, 3)]
    assert [(e.clip, e.index) for e in of(Progress, events)] == [(c, i) for c in (1, 2, 3) for i in (1, 2)]
    assert not of(Latents, events) and not of(Notice, events)
    assert of(ClipDone, events)[-1].carry == {}
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.fps == FPS
    recipe = finished.recipe
    assert (recipe["task"], recipe["frames"], recipe["clips"]) == ("s2v", 20, [0, 8, 16])
    assert (recipe["audio_seconds"], recipe["from_image"]) == (2.5, False)
    assert set(recipe["inputs"]) == {"image", "audio"}
    assert set(recipe["weights"]) == {"dit", "vae", "text", "audio"}
    json.dumps(recipe)


def test_a_video_of_one_clip_is_finished_like_a_long_one(engine):
    events = list(engine.generate(replace(ASK, audio=noise(1))))
    assert len(video(events)) == 8 and not of(Latents, events)
    assert [(e.clip, e.clips) for e in of(ClipDone, events)] == [(1, 1)]
    names = [e.name if isinstance(e, Phase) else type(e).__name__ for e in events]
    assert names[-1] == "Finished" and names.index("denoise") < names.index("decode") < names.index("Frames")


@pytest.mark.parametrize(
    ("seconds", "asked", "frames", "clips"),
    [
        (0.2, {}, 2, 1),
        (0.125, {}, 1, 1),
        (1.0, {}, 8, 1),
        (1.1, {}, 9, 2),
        (2.0, {}, 16, 2),  # audio that fills the last clip exactly asks for no silent one
        (2.5, {"seconds": 1.0}, 8, 1),
        (2.5, {"frames": 3}, 3, 1),
        (2.5, {"clips": 2}, 16, 2),
        (2.5, {"clips": 2.0}, 16, 2),
        (2.5, {"clips": 9}, 20, 3),
        (2.5, {"clips": 2, "seconds": 1.5}, 12, 2),
        (1.0, {"seconds": 1.5}, 12, 2),
        (0.05, {"seconds": 1}, 8, 1),
    ],
)
def test_length_follows_the_audio_or_what_is_asked(engine, seconds, asked, frames, clips):
    request = replace(ASK, audio=noise(seconds), guidance=1, **asked)
    canvas = engine.check(request)
    assert (canvas.frames, canvas.clips) == (frames, clips)
    assert isinstance(canvas.frames, int)
    assert len(video(engine.generate(request))) == frames


def test_an_audio_file_that_ends_before_the_video_is_said_and_followed_by_silence(engine, monkeypatch):
    heard, _ = calls_of(engine, monkeypatch)
    assert told(engine, audio=noise(1.5), seconds=2.5) == (
        "the audio ends after 1.50 s; the video goes on in silence to 2.50 s"
    )
    made(engine, audio=noise(1.5), seconds=2.5)
    audio = [call["audio"][0].abs().amax(dim=(0, 1)) for call in heard]
    assert [int((s > 0).sum()) for s in audio] == [8, 4, 0]
    assert told(engine, audio=noise(2.5), seconds=1.5) == ""


def test_silence_music_and_clicks_make_finite_videos(engine):
    t = np.arange(24_000) / 16_000
    click = np.zeros(24_000)
    click[9000] = 1
    for samples in (t * 0, np.sign(np.sin(t * 3000)), click, np.ones(24_000) * 0.5):
        audio = Audio(samples.astype(np.float32), 16_000)
        assert made(engine, audio=audio).shape == (12, 64, 64, 3)


# In step with the audio.


def test_each_clip_is_told_what_is_heard_in_its_frames(engine, monkeypatch):
    heard, _ = calls_of(engine, monkeypatch)
    made(engine)
    hearing = AudioFeatures(ASK.audio, engine.encode_audio)
    assert len(heard) == 3
    for clip, call in enumerate(heard):
        expected = hearing.clip(clip, CLIP, FPS)[0]
        assert call["audio"].shape == (2, 3, 8, CLIP)
        assert torch.equal(call["audio"][0], expected)
        assert call["audio"][1].abs().max() == 0  # without the prompt, nothing is heard
        assert call["reference"].shape == (2, 4, 1, 8, 8)
        assert torch.equal(call["reference"][0], call["reference"][1])


def test_the_first_frames_stand_still_and_the_later_ones_are_not_shifted(engine):
    """The first clip cannot make its first three frames; its fourth stands for them, and is at its own time."""
    drawn = []
    decode = engine._decode
    try:
        engine._decode = lambda x: iter([drawn.append(torch.cat(list(decode(x)), dim=1)) or drawn[-1]])
        shown = made(engine)
    finally:
        del engine._decode
    levels_of = [
        d.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy() for d in drawn
    ]
    assert [len(d) for d in levels_of] == [1 + 8, 25 + 8, 25 + 8]
    assert np.array_equal(shown[3:8], levels_of[0][4:9])  # frame i of the clip is frame i of the video
    for i in range(3):
        assert np.array_equal(shown[i], shown[3])
    assert not np.array_equal(shown[4], shown[3])
    assert np.array_equal(shown[8:16], levels_of[1][25:])
    assert np.array_equal(shown[16:20], levels_of[2][25:29])


def test_a_request_makes_the_same_video_twice_and_another_audio_another(engine, whole):
    assert np.array_equal(whole, made(engine))
    other = made(engine, audio=noise(2.5, seed=1))
    for clip in range(3):
        assert not np.array_equal(whole[clip * CLIP :][:CLIP], other[clip * CLIP :][:CLIP])
    assert np.array_equal(made(engine, seconds=1), whole[:8])  # whatever is asked after it


def test_a_seed_counts_up_from_clip_to_clip(engine, monkeypatch):
    seeds = []
    draw = clip_plans.draw_noise
    monkeypatch.setattr(
        clip_plans, "draw_noise", lambda shape, seed: seeds.append((shape, seed)) or draw(shape, seed)
    )
    one = made(engine, seed=5)
    assert seeds == [((4, 2, 8, 8), s) for s in (5, 6, 7)]
    assert not np.array_equal(one[:8], made(engine, seed=6, seconds=1))


def test_each_clip_reads_the_prompt_that_holds_in_its_middle(engine, whole):
    two = made(engine, prompt="@0s a red ball rolls left @1.2s a blue cube spins")
    assert np.array_equal(whole[:8], two[:8])
    assert not np.array_equal(whole[8:16], two[8:16])
    assert "no clip lies between @0.6s" in told(
        engine, prompt="@0s a red ball @0.6s a cube @0.9s a blue cube"
    )


# The past.


@pytest.mark.parametrize("color_match", [0.0, 1.0])
@pytest.mark.parametrize("from_image", [False, True])
def test_a_video_resumed_after_any_clip_is_the_uninterrupted_one(engine, color_match, from_image):
    request = replace(ASK, color_match=color_match, from_image=from_image)
    events = list(engine.generate(request))
    whole = video(events)
    assert len(of(ClipDone, events)) == 3
    for done in of(ClipDone, events)[:-1]:
        carry = {name: tensor.clone() for name, tensor in done.carry.items()}
        assert any(name.startswith("colour.") for name in carry) == bool(color_match)
        rest = list(engine.generate(request, replace(done, carry=carry)))
        assert of(Frames, rest)[0].start == done.clip * CLIP
        assert np.array_equal(video(rest), whole[done.clip * CLIP :])
    assert [type(e) for e in engine.generate(request, of(ClipDone, events)[-1])][-1] is Finished


def test_a_video_of_a_long_audio_is_resumed_as_it_was(engine, monkeypatch):
    from wan22.conditioning import speech

    monkeypatch.setattr(speech, "PIECE", 100)
    monkeypatch.setattr(speech, "CONTEXT", 20)
    request = replace(ASK, audio=noise(5), guidance=1)
    events = list(engine.generate(request))
    for done in (of(ClipDone, events)[i] for i in (0, 2)):
        assert np.array_equal(video(engine.generate(request, done)), video(events)[done.clip * CLIP :])


def test_colours_are_held_from_the_second_clip_on(engine, whole):
    held = made(engine, color_match=1.0)
    assert np.array_equal(held[:8], whole[:8])
    assert not np.array_equal(held[8:], whole[8:])


def test_a_video_is_not_resumed_as_another(engine):
    with pytest.raises(OptionError, match="clip 1 is of a video of 7 clips, and this one has 3"):
        next(iter(engine.generate(ASK, ClipDone(1, 7, {}))))


def test_motion_history_is_what_was_shown_and_it_matters(engine, events):
    first, second = of(ClipDone, events)[:2]
    assert first.carry["motion"].shape == (4, 7, 8, 8)
    # The first clip made five frames of its own; before them all was grey.
    shown = torch.from_numpy(video(events)).permute(3, 0, 1, 2).float() / 127.5 - 1
    assert first.carry["pixels"][:, :-5].abs().max() == 0
    assert torch.allclose(first.carry["pixels"][:, -5:].clamp(-1, 1), shown[:, 3:8], atol=1 / 127)
    assert torch.allclose(second.carry["pixels"][:, -13:].clamp(-1, 1), shown[:, 3:16], atol=1 / 127)
    other = replace(first, carry={**first.carry, "motion": first.carry["motion"] + 1})
    assert not np.array_equal(video(engine.generate(ASK, other)), video(events)[8:])


def test_motion_reaches_the_network_as_tokens_from_the_second_clip_on(engine, monkeypatch):
    heard, _ = calls_of(engine, monkeypatch)
    events = list(engine.generate(ASK))
    motions = [call.get("motion") for call in heard]
    assert motions[0] is None
    for motion, done in zip(motions[1:], of(ClipDone, events), strict=False):
        assert torch.equal(motion[0], done.carry["motion"])


def test_a_video_may_begin_with_its_image(engine, whole, monkeypatch):
    heard, _ = calls_of(engine, monkeypatch)
    begun = made(engine, from_image=True)
    assert begun.shape == whole.shape
    assert not np.array_equal(begun[:8], whole[:8])
    assert len({frame.tobytes() for frame in begun[:4]}) == 4  # nothing stands: it has a past
    assert [call.get("motion") is not None for call in heard] == [True, True, True]
    past = torch.zeros(3, 25, 64, 64)
    past[:, -6:] = torch.from_numpy(ASK.image).permute(2, 0, 1)[:, None].float() / 127.5 - 1
    assert torch.allclose(heard[0]["motion"][0], engine.encode_pixels(past[None])[0], atol=1e-4)


# Guidance.


@pytest.mark.parametrize("guidance", [1, 0.5, 2.5])
def test_guidance_is_the_formula_and_up_to_one_only_what_is_heard_works(engine, monkeypatch, guidance):
    request = replace(ASK, audio=noise(1), steps=1, guidance=guidance, seed=5)
    heard, batches = calls_of(engine, monkeypatch)
    got = of(Progress, engine.generate(request))[-1].x
    assert batches == ([2] if guidance > 1 else [1])
    network = engine._placement.bring("dit")
    level = levels("unipc", 1, 3.0)[0]
    x = draw_noise((4, 2, 8, 8), 5)
    hearing = AudioFeatures(request.audio, engine.encode_audio)
    velocities = []
    for text, share in ((request.prompt, 1), ("a cube", 0)):
        with torch.inference_mode():
            extra_tokens = network.read_speech(
                reference=heard[0]["reference"][:1], audio=hearing.clip(0, CLIP, FPS) * share
            )
            now = denoiser_module.NoiseLevels(torch.tensor([[level.timestep]]))
            velocities.append(
                network(x[None], now, network.read_text(engine.encode_text([text])), None, extra_tokens)[0]
            )
    velocity = cfg(*velocities, guidance) if guidance > 1 else velocities[0]
    assert torch.allclose(got, velocity_to_x0(x, velocity, level), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "change", [{}, {"from_image": True}, {"pose": Clip(np.stack([example_image()] * 20), 8.0)}]
)
def test_both_branches_in_a_batch_or_one_after_the_other_agree(engine, monkeypatch, change):
    request = replace(ASK, audio=noise(1), **change)
    batch = of(Progress, engine.generate(request))[-1].x
    monkeypatch.setattr(denoiser_module, "BATCH_TOKENS", 0)
    heard, batches = calls_of(engine, monkeypatch)
    single = of(Progress, engine.generate(request))[-1].x
    assert batches == [1, 1]
    assert [bool(call["audio"].any()) for call in heard] == [True, False]
    assert torch.allclose(batch, single, atol=1e-4, rtol=1e-4)


def test_from_disk_part_by_part_the_video_is_the_same(folder, whole):
    swapping = wan22.load(folder, device="cpu", memory="disk")
    assert np.array_equal(video(swapping.generate(ASK)), whole)


def test_in_bfloat16_it_is_another_precision_of_the_same_video(engine, folder):
    half = wan22.load(folder, device="cpu", dtype="bf16")
    exact, rough = (
        of(Progress, e.generate(replace(ASK, audio=noise(1))))[-1].x.float() for e in (engine, half)
    )
    assert 0 < (exact - rough).norm() / exact.norm() < 0.2
    assert {p.dtype for p in half._placement.bring("audio").parameters()} == {torch.float32}
    network = half._placement.bring("dit").casual_audio_encoder
    assert network.weights.dtype == torch.bfloat16
    with torch.inference_mode():
        tokens = network(AudioFeatures(ASK.audio, half.encode_audio).clip(0, CLIP, FPS))
    assert {t.dtype for t in tokens} == {torch.float32}  # as the release computes them


# Images and poses.


@pytest.mark.parametrize(("shape", "size"), [((64, 64), None), ((40, 90), (64, 64)), ((90, 40), (128, 64))])
def test_an_image_of_any_shape_is_seen_without_black_bars(engine, monkeypatch, shape, size):
    seen = []
    encode = engine.encode_pixels
    monkeypatch.setattr(engine, "encode_pixels", lambda video: seen.append(video) or encode(video))
    white = np.full((*shape, 3), 255, np.uint8)
    shown = made(engine, image=white, size=size, audio=noise(0.5))
    assert seen[0].shape[2] == 1 and seen[0].min() == 1
    if size is not None:
        assert shown.shape[1:3] == size[::-1]


def test_a_video_of_another_size_is_cut_from_multiples_of_64(engine):
    assert made(engine, size=(100, 50), audio=noise(0.5)).shape == (4, 50, 100, 3)
    assert "drawn at 128x64 (multiples of 64) and cut to 100x50" in told(engine, size=(100, 50))


def pose(frames, fps, seed=0, height=48, width=96):
    generator = np.random.default_rng(seed)
    return Clip(generator.integers(0, 256, (frames, height, width, 3), dtype=np.uint8), fps)


def test_a_pose_video_of_another_shape_is_fitted_and_moves_the_body(engine, whole, monkeypatch):
    heard, _ = calls_of(engine, monkeypatch)
    one, two = (made(engine, pose=pose(20, 8.0, seed=seed)) for seed in (0, 1))
    assert not np.array_equal(whole, one) and not np.array_equal(one, two)
    assert {call["pose"].shape for call in heard} == {(2, 4, 2, 8, 8)}
    assert told(engine, pose=pose(20, 8.0)) == ""


def test_a_pose_video_shorter_than_the_audio_is_said_and_leaves_the_body_free(engine, monkeypatch):
    assert (
        told(engine, pose=pose(8, 8.0)) == "the pose video ends after 1.00 s of 2.50 s; "
        "the rest of that clip is told black, and after it the body is free"
    )
    heard, _ = calls_of(engine, monkeypatch)
    made(engine, pose=pose(8, 8.0))
    assert [call.get("pose") is None for call in heard] == [False, True, True]


def test_a_pose_video_is_sampled_by_its_own_time(engine):
    fast = pose(36, 24.0)
    slow, wrong = Clip(fast.frames[::3], 8.0), Clip(fast.frames, 8.0)
    one, two, three = (made(engine, audio=noise(1.5), pose=video) for video in (fast, slow, wrong))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


# What cannot be served.

NAN = Audio(np.array([0.0, np.nan] * 16_000, np.float32), 16_000)
REFUSED = {
    "no audio": ({"audio": None}, OptionError, "tiny-s2v needs audio that drives the video"),
    "no image": ({"image": None}, OptionError, "tiny-s2v needs an image of whom it shows"),
    "a video": ({"video": Clip(np.stack([example_image()] * 5), 8.0)}, OptionError, "takes no video; it is told by"),
    "a last image": ({"last_image": example_image()}, OptionError, "takes no last image"),
    "a blip": ({"audio": noise(0.1)}, SizeError, r"lasts 0.100 s, less than one frame at 8 frames a second"),
    "an empty audio": ({"audio": noise(0), "seconds": 1}, OptionError, "the audio is empty"),
    "44100": ({"audio": Audio(noise(1).samples, 44_100)}, OptionError, "must have 16000 samples a second, not 44100"),
    "no rate": ({"audio": Audio(noise(1).samples, 0)}, OptionError, "16000 samples a second, not 0"),
    "float64": ({"audio": Audio(noise(1).samples.astype(float), 16_000)}, OptionError, "float32 samples"),
    "int16": ({"audio": Audio(np.zeros(16_000, np.int16), 16_000)}, OptionError, "float32 samples"),
    "stereo": ({"audio": Audio(np.zeros((16_000, 2), np.float32), 16_000)}, OptionError, "of one channel, not float32"),
    "a list": ({"audio": Audio([0.0] * 16_000, 16_000)}, OptionError, "of one channel, not list"),
    "bare samples": ({"audio": noise(1).samples}, OptionError, "must be an Audio"),
    "a path": ({"audio": "a.wav"}, OptionError, "must be an Audio"),
    "not finite": ({"audio": NAN}, OptionError, "numbers that are not finite"),
    "another rate of frames": ({"fps": 24}, SizeError, "makes 8 frames a second; fps cannot be 24"),
    "no clips": ({"clips": 0}, SizeError, "clips must be a whole number from 1, not 0"),
    "half a clip": ({"clips": 1.5}, SizeError, "not 1.5"),
    "many clips": ({"clips": "all"}, SizeError, "not all"),
    "true clips": ({"clips": True}, SizeError, "not True"),
    "frames and seconds": ({"frames": 5, "seconds": 1}, SizeError, "not both"),
    "no seconds": ({"seconds": 0}, SizeError, "seconds must be above 0"),
    "months": ({"seconds": 1e6}, SizeError, "frames must be a whole number from 1 to 1000000"),
    "a size of nothing": ({"size": (0, 64)}, SizeError, "width must be"),
    "an image like a thread": ({"image": example_image(1, 33)}, OptionError, "too narrow"),
    "a grey pose": ({"pose": Clip(np.zeros((5, 9, 9), np.uint8), 8.0)}, OptionError, "a pose video must be"),
    "a pose of no frames": ({"pose": Clip(np.zeros((0, 9, 9, 3), np.uint8), 8.0)}, OptionError, "has no pixels"),
    "a pose without time": ({"pose": pose(5, 0.0)}, OptionError, "pose video must have .* frames a second, not 0"),
    "a pose backwards": ({"pose": pose(5, -8.0)}, OptionError, "frames a second, not -8"),
    "a pose at no rate": ({"pose": pose(5, float("nan"))}, OptionError, "must be a number, not nan"),
    "a bare pose": ({"pose": pose(5, 8.0).frames}, OptionError, "a pose video must be a Clip, not ndarray"),
    "two guidances": ({"guidance": (1, 2)}, OptionError, "is one network"),
    "colours beyond hold": ({"color_match": 1.5}, OptionError, "color_match must be from 0"),
}  # fmt: skip


@pytest.fixture(scope="module")
def unloaded(folder):
    """An engine whose networks cannot be loaded."""

    def fail(*_):
        raise AssertionError("a network was loaded")

    engine = wan22.load(folder, device="cpu")
    for part in list(engine._placement._loaders):
        engine.show(part, fail)
    return engine


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_one_error_before_a_network_is_loaded(unloaded, case):
    change, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message) as caught:
        list(unloaded.generate(replace(ASK, **change)))
    assert isinstance(caught.value, RequestError)
    assert len(str(caught.value).splitlines()) == 1


def test_what_can_be_served_loads_networks(unloaded):
    with pytest.raises(AssertionError, match="a network was loaded"):
        list(unloaded.generate(ASK))


@pytest.mark.parametrize("image", ["known", "channels", None])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": noise(1)}, "tiny is not driven by audio and takes no audio; take s2v-14B or nano-s2v"),
        ({"pose": pose(5, 8.0)}, "takes no pose"),
        ({"clips": 2}, "takes no clips"),
        ({"from_image": True}, "from_image is for videos driven by audio"),
    ],
)
def test_a_model_that_is_deaf_says_which_one_hears(image, change, message):
    request = Request(prompt="a red ball", image=example_image() if image else None, **change)
    with pytest.raises(OptionError, match=re.escape(message)):
        resolve(request, tiny_variant(image))


def test_the_released_model_makes_clips_of_five_seconds(tmp_path):
    canvas = resolve(replace(ASK, audio=noise(12)), VARIANTS["s2v-14B"]).canvas
    assert (canvas.frames, canvas.fps, canvas.clips, canvas.latent) == (192, 16, 3, (20, 8, 8))


# The familiar face.


@pytest.fixture(scope="module")
def pipeline(engine):
    return Wan22Pipeline(engine)


def call(pipeline, **options):
    asked = {"prompt": ASK.prompt, "image": ASK.image, "num_inference_steps": 1, "seed": ASK.seed}
    return pipeline(**{**asked, **options}).video


def test_the_example_of_diffusers_page_on_speech_to_video(pipeline, engine):
    audio = noise(1)
    expected = made(engine, audio=audio)
    output = pipeline(
        prompt=ASK.prompt, image=ASK.image, audio=audio.samples, sampling_rate=audio.rate,
        num_frames_per_chunk=8, num_inference_steps=1, seed=ASK.seed,
    ).frames[0]  # fmt: skip
    assert np.array_equal(np.round(output * 255).astype(np.uint8), expected)
    with pytest.raises(OptionError, match="makes 8 frames a clip; leave num_frames_per_chunk away"):
        call(pipeline, audio=audio, num_frames_per_chunk=80)


def test_audio_is_a_path_an_audio_file_or_samples_with_a_rate(pipeline, engine, tmp_path):
    audio = noise(1)
    write_audio(tmp_path / "a.wav", audio, exact=True)
    expected = made(engine, audio=audio)
    stereo = np.stack([audio.samples * 1.5, audio.samples * 0.5], axis=1)
    for given in (tmp_path / "a.wav", str(tmp_path / "a.wav"), audio, (audio.samples, 16_000)):
        assert np.array_equal(call(pipeline, audio=given).frames, expected)
    video = call(pipeline, audio=(stereo, 16_000))
    assert np.abs(video.frames.astype(int) - expected).mean() < 1  # to rounding, its channels in the mean
    assert video.recipe["task"] == "s2v" and isinstance(video.audio, Audio)


def test_audio_of_another_rate_is_resampled_and_kept_as_it_was(pipeline):
    t = np.arange(44_100) / 44_100
    tone = Audio((0.3 * np.sin(t * 2 * np.pi * 300)).astype(np.float32), 44_100)
    video = call(pipeline, audio=tone)
    assert len(video) == 8
    assert video.audio is tone
    low = Audio((0.3 * np.sin(t[::4] * 2 * np.pi * 300)).astype(np.float32), 11_025)
    assert len(call(pipeline, audio=low)) == 8


def test_every_name_of_speech_reaches_the_request(pipeline, monkeypatch):
    requests = []
    generate = pipeline.engine.generate
    monkeypatch.setattr(pipeline.engine, "generate", lambda r: requests.append(r) or generate(r))
    moves = pose(16, 8.0)
    call(
        pipeline, audio=noise(2), pose_video=Video(moves.frames, 8.0, {}), num_clips=1, init_first_frame=True,
        color_match=0.5,
    )  # fmt: skip
    request = requests[0]
    assert (request.clips, request.from_image, request.color_match) == (1, True, 0.5)
    assert np.array_equal(request.pose.frames, moves.frames) and request.pose.fps == 8.0
    assert request.audio.rate == 16_000


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.webm"])
def test_a_saved_video_has_its_audio_at_its_own_rate(pipeline, tmp_path, name):
    t = np.arange(36_000) / 24_000
    audio = Audio((0.3 * np.sin(t * 2 * np.pi * 440)).astype(np.float32), 24_000)
    path = call(pipeline, audio=audio).save(tmp_path / name)
    assert probe(path).has_audio and probe(path).frames == 12
    assert probe_audio(path).seconds == pytest.approx(1.5, abs=0.05)
    heard = read_audio(path, rate=24_000).samples
    assert np.corrcoef(heard[2000:30_000], audio.samples[2000:30_000])[0, 1] > 0.99
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_saved_video_has_the_audio_of_the_file_that_drove_it(pipeline, tmp_path):
    write_audio(tmp_path / "a.wav", noise(1.5))
    path = call(pipeline, audio=tmp_path / "a.wav", num_clips=1).save(tmp_path / "x.mp4")
    assert probe_audio(path).seconds == pytest.approx(1.0, abs=0.1)  # it ends with the video


def test_a_gif_and_images_are_saved_silently(pipeline, tmp_path):
    video = call(pipeline, audio=noise(0.5))
    assert len(read_clip(video.save(tmp_path / "x.gif")).frames) == 4
    assert not probe(tmp_path / "x.gif").has_audio
    folder = video.save(f"{tmp_path}/x/")
    assert len([*folder.glob("*.png")]) == 4


def test_a_video_without_audio_is_saved_without(pipeline, tmp_path):
    video = replace(call(pipeline, audio=noise(0.5)), audio=None)
    assert not probe(video.save(tmp_path / "x.mp4")).has_audio


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (7, r"audio must be a path, an Audio or \(samples, rate\), not int"),
        (np.zeros(9), "not ndarray"),
        ((np.zeros(16_000, np.int16), 16_000), "float samples .* not int16"),
        ((np.zeros((2, 16_000), np.float32), 16_000), r"\(n, channels\), .* \(2, 16000\)"),
        ((np.zeros((2, 3, 4), np.float32), 16_000), r"\(2, 3, 4\)"),
        ((16_000, np.zeros(16_000, np.float32)), r"\(samples, rate\)"),
        ((np.zeros(16_000, np.float32), "fast"), "rate"),
        ((np.zeros(16_000, np.float32), 5), "5 samples a second"),
        ((np.zeros(0, np.float32), 16_000), "empty|less than one frame"),
        (Audio(np.zeros((9, 2), np.float32), 16_000), "one channel"),
        (Audio(np.zeros(9000, np.int16), 44_100), "float32"),
        (Audio(np.full(9000, np.nan, np.float32), 44_100), "not finite"),
        (Audio(np.zeros(9000, np.float32), 0), "0 samples a second"),
    ],
)
def test_audio_that_is_none_is_one_clear_error(pipeline, audio, message):
    with pytest.raises(OptionError, match=message):
        call(pipeline, audio=audio)


def test_an_audio_file_for_a_deaf_model_is_refused_by_the_pipeline(tmp_path):
    deaf = Wan22Pipeline.from_pretrained(write_tiny(tmp_path / "tiny"), device="cpu")
    with pytest.raises(OptionError, match="is not driven by audio"):
        deaf("a red ball", audio=noise(1))


def test_a_model_without_its_encoder_of_audio_says_so(tmp_path, folder, monkeypatch):
    import shutil

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(folder, tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "audio_encoder")
    with pytest.raises(CheckpointError, match="Missing: the encoder of audio"):
        wan22.load(tmp_path / "m", device="cpu")
