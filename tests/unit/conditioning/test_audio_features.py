"""Audio features, and the clips of a video that audio drives, on encoders whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wan22.canvas import fit_speech
from wan22.catalog import VARIANTS, Speech
from wan22.conditioning import speech as speech_module
from wan22.conditioning.image import to_pixels
from wan22.conditioning.speech import (
    RATE,
    AudioFeatures,
    SpeechClips,
    fit_reference,
    hidden_states,
)
from wan22.types import Audio, Clip, Request

HOP, FIELD, REACH = 320, 400, 7


def noise(seconds, seed=0):
    return Audio(np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32), RATE)


def ramp(seconds):
    """An audio file whose samples are their time."""
    return Audio((np.arange(round(seconds * RATE)) / RATE).astype(np.float32), RATE)


class Ear:
    """An encoder of two states: what a frame's own samples are in the mean, and the mean of that over its
    neighbours up to `REACH` frames away. It notes how many samples it was given.
    """

    def __init__(self):
        self.heard = []

    def __call__(self, samples):
        self.heard.append(samples.shape[1])
        own = samples.unfold(1, FIELD, HOP).mean(dim=2)
        around = F.avg_pool1d(own, 2 * REACH + 1, 1, REACH, count_include_pad=False)
        return torch.stack([own, around], dim=2).transpose(0, 2).transpose(1, 2).reshape(2, -1, 1)


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of 2 s with 0.4 s around them: more than the reach of Ear."""
    monkeypatch.setattr(speech_module, "PIECE", 100)
    monkeypatch.setattr(speech_module, "CONTEXT", 20)


@pytest.mark.parametrize(
    ("samples", "frames", "ticks"),
    [(1, 0, 0), (399, 0, 0), (400, 1, 0), (720, 2, 1), (3200, 9, 5), (80_000, 249, 149), (80_400, 251, 150)],
)  # fmt: skip
def test_an_audio_file_has_as_many_frames_as_its_encoder_makes(samples, frames, ticks):
    hearing = AudioFeatures(Audio(np.zeros(samples, np.float32), RATE), Ear())
    assert (hearing.frames, hearing.ticks) == (frames, ticks)
    heard = hearing.clip(0, 8, 8.0)
    assert heard.shape == (1, 2, 1, 8)
    assert heard.isfinite().all()


def test_audio_of_another_rate_is_refused():
    with pytest.raises(ValueError, match="takes 16000 samples a second, not 8000"):
        AudioFeatures(Audio(np.zeros(8000, np.float32), 8000), Ear())


def test_loudness_and_offset_do_not_matter():
    audio = noise(1.5)
    told = AudioFeatures(audio, Ear()).clip(0, 8, 8.0)
    louder = AudioFeatures(replace(audio, samples=audio.samples * 0.01 + 0.3), Ear()).clip(0, 8, 8.0)
    assert torch.allclose(told, louder, atol=1e-4)
    assert told.std() > 0.01


def test_silence_is_heard_as_zeros_and_not_as_noise_made_loud():
    assert AudioFeatures(Audio(np.zeros(16_000, np.float32), RATE), Ear()).clip(0, 8, 8.0).abs().max() == 0


def test_a_videos_clips_are_what_is_heard_in_their_frames():
    """Ticks of 30 a second, the nearest to each frame, half to even; linear between the encoder's 50."""
    hearing = AudioFeatures(noise(5), Ear())
    ticks = np.array([0, 2, 4, 6, 8, 9, 11, 13, 15, 17, 19, 21, 22, 24, 26, 28, 30, 32])  # spec: section 3
    expected = hearing.at_ticks(ticks)
    clips = torch.cat([hearing.clip(i, 6, 16.0) for i in range(3)], dim=3)
    assert torch.equal(clips[0].transpose(1, 2), expected)
    whole = hearing.at_ticks(np.arange(hearing.ticks))
    assert torch.equal(whole[:, ticks], expected)
    states = hearing._between(0, hearing.frames - 1)
    linear = F.interpolate(states.transpose(1, 2), size=hearing.ticks, mode="linear", align_corners=True)
    assert torch.allclose(whole.transpose(1, 2), linear, atol=1e-5)


@pytest.mark.parametrize("seconds", [3, 600])
def test_what_is_heard_in_a_frame_is_what_audio_at_its_time(seconds):
    """To half a tick, an encoder's frame and its field: within 60 ms at the end of ten minutes as at the beginning."""
    audio, fps = ramp(seconds), 16.0
    hearing = AudioFeatures(audio, Ear())
    count = int(seconds * fps) - 2  # the encoder's last frame lies before the end
    heard = hearing.clip(0, count, fps)[0, 0, 0].double() / hearing._scale + hearing._mean
    late = heard.numpy() - np.arange(count) / fps
    assert np.abs(late).max() < 0.06
    assert abs(late[-10:].mean() - late[:10].mean()) < 0.035


def test_after_its_end_an_audio_file_is_zero():
    hearing = AudioFeatures(noise(1.5), Ear())
    clips = [hearing.clip(i, 8, 8.0)[0, 0, 0] for i in range(3)]
    ticks = np.round(np.arange(24) / 8 * 30)
    assert torch.equal(torch.cat(clips) != 0, torch.from_numpy(ticks < hearing.ticks))
    assert hearing.ticks == 44


def test_an_audio_file_of_a_minute_is_heard_whole_and_once():
    ear = Ear()
    hearing = AudioFeatures(noise(60), ear)
    for clip in range(12):
        hearing.clip(clip, 80, 16.0)
    assert ear.heard == [60 * RATE]


def test_a_long_audio_is_heard_in_pieces_as_if_it_were_heard_whole(small_pieces, monkeypatch):
    audio, ear = noise(11), Ear()
    hearing = AudioFeatures(audio, ear)
    pieces = [hearing.clip(i, 16, 16.0) for i in range(12)]
    assert (
        len([n for n in ear.heard if n > FIELD]) == 6
    )  # of two seconds each; the silence after them is short
    assert max(ear.heard) <= (100 + 2 * 20) * HOP + FIELD
    monkeypatch.setattr(speech_module, "PIECE", 10_000)
    whole = AudioFeatures(audio, Ear())
    for i, piece in enumerate(pieces):
        assert torch.allclose(piece, whole.clip(i, 16, 16.0), atol=1e-5), i


def test_context_that_is_too_short_is_heard_at_the_borders_alone(small_pieces, monkeypatch):
    audio = noise(11)
    monkeypatch.setattr(speech_module, "CONTEXT", 0)
    hearing = AudioFeatures(audio, Ear())
    monkeypatch.setattr(speech_module, "PIECE", 10_000)
    whole = AudioFeatures(audio, Ear())
    heard, exact = (h._between(0, hearing.frames - 1)[1, :, 0] for h in (hearing, whole))
    off = ~torch.isclose(heard, exact, atol=1e-5)
    at = torch.arange(hearing.frames)
    border = ((at % 100 < REACH) | (at % 100 >= 100 - REACH)) & (at >= REACH) & (at < 500 + REACH)
    assert torch.equal(off, border)


def test_memory_for_a_long_audio_does_not_grow(small_pieces):
    hearing = AudioFeatures(noise(21), Ear())
    held = []
    for clip in range(21):
        hearing.clip(clip, 16, 16.0)
        held.append(sum(piece.shape[1] for piece in hearing._pieces.values()))
        assert all(p.untyped_storage().nbytes() == p.nbytes for p in hearing._pieces.values())
    assert max(held) <= 200  # a clip that lies across a border needs the pieces on both of its sides


@pytest.mark.parametrize("first", [1, 2, 5])
def test_a_video_that_goes_on_hears_what_the_uninterrupted_one_hears(small_pieces, first):
    """Attention reaches over a whole piece, so pieces are cut alike wherever hearing begins."""

    class Attentive(Ear):
        def __call__(self, samples):
            states = super().__call__(samples)
            return states + states.mean(dim=1, keepdim=True)

    audio = noise(11)
    through, later = AudioFeatures(audio, Attentive()), AudioFeatures(audio, Attentive())
    whole = [through.clip(i, 16, 16.0) for i in range(11)]
    for i in range(first, 11):
        assert torch.equal(later.clip(i, 16, 16.0), whole[i])


def test_a_clip_longer_than_a_piece_is_heard(small_pieces):
    audio = noise(11)
    one = AudioFeatures(audio, Ear()).clip(0, 160, 16.0)
    many = torch.cat([h.clip(i, 16, 16.0) for h in [AudioFeatures(audio, Ear())] for i in range(10)], dim=3)
    assert torch.equal(one, many)


def test_all_hidden_states_are_taken_and_the_last_one_is_normed():
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, conv_dim=(4,) * 7,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Wav2Vec2Model(config).eval()
    states = hidden_states(model, torch.randn(1, 4000))
    assert (states.shape, states.dtype) == ((3, 12, 8), torch.float32)
    assert torch.allclose(states[2].mean(dim=1), torch.zeros(12), atol=1e-5)  # a norm that is as it began
    assert torch.allclose(states[2].std(dim=1, correction=0), torch.ones(12), atol=1e-2)
    assert not torch.allclose(states[1].mean(dim=1), torch.zeros(12), atol=1e-3)


# An image, and the story.


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (300, 20), (64, 65), (1000, 700), (3, 90), (65, 64)])
@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 192)])
def test_an_image_of_any_shape_covers_the_video(shape, size):
    white = np.full((*shape, 3), 255, np.uint8)
    fitted = fit_reference(white, size)
    assert fitted.shape == (size[1], size[0], 3)
    assert fitted.min() == 255


def test_an_image_keeps_its_shape_and_its_centre():
    image = np.zeros((128, 256, 3), np.uint8)
    image[:, 64:192] = 255
    assert fit_reference(image, (64, 64)).mean() > 250
    disc = (np.hypot(*np.mgrid[-60:60, -100:100]) < 40)[..., None].repeat(3, axis=2).astype(np.uint8) * 255
    fitted = fit_reference(disc, (192, 64))[..., 0] > 127
    assert abs(fitted.any(axis=0).sum() - fitted.any(axis=1).sum()) <= 2 or fitted.any(axis=1).all()


S2V = VARIANTS["s2v-14B"]
VARIANT = replace(
    S2V, speech=Speech(clip_frames=8, motion_frames=25), defaults=replace(S2V.defaults, fps=8.0)
)
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


class Eye:
    """Encodes by taking means: latent frame 0 is the first pixel frame, the others are of four. It notes all it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, video):
        self.seen.append(video)
        small = F.avg_pool2d(video[0], 8)
        later = small[:, 1:].unflatten(1, (-1, 4)).mean(dim=2)
        return torch.cat([small[:, :1], later], dim=1)[None]


def story(seconds=3.0, speech=VARIANT.speech, **changes):
    request = Request(prompt="a", image=IMAGE, audio=noise(seconds), **changes)
    row = replace(VARIANT, speech=speech)
    canvas = fit_speech(
        row, size=None, frames=None, seconds=None, fps=None, image=(64, 64), audio_seconds=seconds
    )
    eye = Eye()
    return SpeechClips(speech, canvas, eye, AudioFeatures(request.audio, Ear()), request), eye


def test_the_first_clip_has_no_past_and_stands_until_it_is_in_step():
    tale, _ = story()
    condition = tale.condition(0, {})
    assert condition.speech.motion is None and condition.speech.pose is None
    assert torch.equal(condition.before, condition.speech.reference)
    # 1 frame is the reference's, 3 are dropped, and the first of the others stands in their place.
    assert (condition.drop, condition.repeat_first) == (1 + 3, 3)
    assert torch.equal(condition.speech.audio, tale._features.clip(0, 8, 8.0)[0])


def test_a_video_that_begins_with_its_image_has_it_in_its_past():
    tale, eye = story(from_image=True)
    condition = tale.condition(0, {})
    past = eye.seen[-1][0]
    assert past.shape == (3, 25, 64, 64)
    assert past[:, :-6].abs().max() == 0
    assert torch.equal(past[:, -1], to_pixels(IMAGE))
    assert condition.speech.motion.shape == (3, 7, 8, 8)
    assert (condition.drop, condition.repeat_first) == (25, 0)
    assert torch.equal(condition.before, condition.speech.motion)


@pytest.mark.parametrize("from_image", [False, True])
def test_a_past_that_was_never_shown_may_be_the_image_standing_still(from_image):
    tale, eye = story(speech=replace(VARIANT.speech, static_history=True), from_image=from_image)
    still = to_pixels(IMAGE)[:, None]
    assert (tale.condition(0, {}).speech.motion is None) == (not from_image)
    shown = torch.rand(3, 5, 64, 64)
    tale.carry(shown, {})
    assert torch.equal(eye.seen[-1][0], torch.cat([still.expand(-1, 20, -1, -1), shown], dim=1))


def test_motion_history_is_the_last_frames_of_all_that_was_shown():
    tale, eye = story()
    assert tale.keep == 25
    video = torch.rand(3, 5 + 8 * 4, 64, 64)
    carry, begin, end = {}, 0, 5
    for clip in range(4):
        carry = tale.carry(video[:, begin:end], carry)
        grey = torch.zeros(3, max(0, 25 - end), 64, 64)
        assert torch.equal(eye.seen[-1][0], torch.cat([grey, video[:, max(0, end - 25) : end]], dim=1))
        assert torch.equal(tale.condition(clip + 1, carry).speech.motion, carry["motion"])
        begin, end = end, end + 8


def test_clips_longer_than_the_history_leave_its_latents_alone():
    tale, eye = story(speech=replace(VARIANT.speech, clip_frames=28, motion_frames=25))
    shown = torch.rand(3, 25, 64, 64)
    carry = tale.carry(shown, {})
    assert list(carry) == ["motion"]
    assert torch.equal(eye.seen[-1][0], shown)


def test_a_later_clip_without_the_past_that_it_needs_is_not_made_up():
    tale, _ = story()
    with pytest.raises(KeyError, match="motion"):
        tale.condition(1, {})


def posed(frames, fps):
    """A pose video whose frames are their numbers."""
    return Clip(
        np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 40, 90, 3)), fps
    )


def numbers(eye):
    return eye.seen[-1][0, 0, :, 32, 32].add(1).mul(127.5).round().int().tolist()


@pytest.mark.parametrize(("fps", "step"), [(8.0, 1), (24.0, 3), (16.0, 2), (4.0, 0.5)])
def test_a_pose_video_is_seen_at_the_times_of_the_video(fps, step):
    tale, eye = story(pose=posed(100, fps))
    for clip in range(2):
        pose = tale.condition(clip, {"motion": torch.zeros(3, 7, 8, 8)}).speech.pose
        times = [int((clip * 8 + i) * step) for i in range(8)]
        assert numbers(eye) == [times[0], *times]  # one more in front, so that every four make a latent
        assert pose.shape == (3, 2, 8, 8)
        assert eye.seen[-1].shape == (1, 3, 9, 64, 64)


def test_after_the_end_of_its_pose_video_the_body_is_free():
    tale, eye = story(pose=posed(10, 8.0))
    carry = {"motion": torch.zeros(3, 7, 8, 8)}
    tale.condition(1, carry)
    assert numbers(eye) == [8, 8, 9, 0, 0, 0, 0, 0, 0]
    seen = len(eye.seen)
    assert tale.condition(2, carry).speech.pose is None
    assert len(eye.seen) == seen


def test_a_pose_video_of_30000_1001_frames_a_second_does_not_slip():
    """Rates of television are no whole numbers, and times of frames are sums of rounded ones."""
    tale, eye = story(pose=Clip(posed(90, 30.0).frames, 30000 / 1001))
    for clip in range(3):
        tale.condition(clip, {"motion": torch.zeros(3, 7, 8, 8)})
        exact = [(clip * 8 + i) * 30000 // (8 * 1001) for i in range(8)]
        assert numbers(eye)[1:] == exact
