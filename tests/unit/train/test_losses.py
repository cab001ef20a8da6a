import tomllib
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
import torch
from unit.tiny import random_weights, tiny_speech_variant, tiny_variant
from unit.train.small import SMALL

from wan22.errors import OptionError
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.speech import SpeechDiT
from wan22.nano.dit import flow_loss
from wan22.train.losses import Batch, draw_batch, for_training, motion_weights, move, task_of, velocity_errors
from wan22.train.noise_ranges import generator
from wan22.train.recipe import ImagePart, SpeechPart, parse_recipe

RECIPE = parse_recipe(tomllib.loads(SMALL))


def asking(batch, *, image=None, **data):
    """A recipe of batches of so many clips."""
    part = replace(RECIPE.optimiser, batch_size=batch)
    return replace(RECIPE, optimiser=part, data=replace(RECIPE.data, **data), image=image)


CPU = torch.device("cpu")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network_of(variant):
    made = (WanDiT if variant.dit.speech is None else SpeechDiT)(variant.dit)
    made.load_state_dict(random_weights(made, torch.Generator().manual_seed(1)))
    return made


@dataclass
class Row:
    latents: torch.Tensor
    text: torch.Tensor
    extra: dict = field(default_factory=dict)


@dataclass
class Rows:
    rows: list
    buckets: dict

    def row(self, i):
        return self.rows[i]

    def __len__(self):
        return len(self.rows)


def plain_rows(extras=None):
    extras = extras or [{}] * 5
    rows = [Row(draw(4, 2, 4, 6, seed=i), draw(3, 8, seed=i), extra) for i, extra in enumerate(extras)]
    return Rows(rows, {"a": list(range(len(rows)))})


@pytest.mark.parametrize("told", [False, True])
def test_the_error_is_that_of_the_projects_own_loss(told):
    """wan22.train.flow_matching.flow_loss is written for the nano model; where both apply they are one formula."""
    variant = tiny_variant("known")
    network = network_of(variant)
    videos, noise, sigmas = draw(2, 4, 3, 4, 6), draw(2, 4, 3, 4, 6, seed=1), torch.tensor([0.3, 0.95])
    texts = [draw(3, 8), draw(5, 8, seed=2)]
    errors = velocity_errors(network, Batch(videos, texts, first_known=told), variant, sigmas, noise)
    known = torch.tensor([True, False, False]) if told else None
    wanted = flow_loss(network, videos, known, None, sigmas, noise, network.read_text(texts))
    assert errors.shape == (2,) and torch.allclose(errors.mean(), wanted, rtol=1e-5)


def test_channels_stand_beside_the_noise():
    variant = tiny_variant("channels")
    network = network_of(variant)
    videos, noise, sigmas = draw(2, 4, 2, 4, 6), draw(2, 4, 2, 4, 6, seed=1), torch.tensor([0.4, 0.8])
    told = draw(2, 8, 2, 4, 6, seed=3)
    batch = Batch(videos, [draw(3, 8)] * 2, channels=told, first_known=True)
    errors = velocity_errors(network, batch, variant, sigmas, noise)
    s = sigmas.view(-1, 1, 1, 1, 1)
    text = network.read_text(batch.texts)
    velocity = network((1 - s) * videos + s * noise, NoiseLevels.uniform(sigmas * 1000), text, told)
    assert torch.allclose(errors, (velocity - (noise - videos)).square().mean(dim=(1, 2, 3, 4)))
    # Every latent frame carries error: what is known is told beside, not held.
    other = velocity_errors(network, replace(batch, channels=told + 1), variant, sigmas, noise)
    assert not torch.allclose(errors, other)


@pytest.mark.parametrize("past", [False, True])
def test_a_network_that_hears_is_told_whom_it_shows_what_was_and_what_audio(past):
    variant = tiny_speech_variant()
    network = network_of(variant)
    videos, noise = draw(2, 4, 2, 8, 8), draw(2, 4, 2, 8, 8, seed=1)
    batch = Batch(
        videos,
        [draw(3, 8)] * 2,
        reference=draw(2, 4, 1, 8, 8, seed=2),
        audio=draw(2, 3, 8, 8, seed=3),
        motion=draw(2, 4, 7, 8, 8, seed=4) if past else None,
    )
    sigmas = torch.tensor([0.2, 0.7])
    errors = velocity_errors(network, batch, variant, sigmas, noise)
    s = sigmas.view(-1, 1, 1, 1, 1)
    extra_tokens = network.read_speech(batch.reference, batch.audio, batch.motion)
    text = network.read_text(batch.texts)
    velocity = network(
        (1 - s) * videos + s * noise, NoiseLevels.uniform(sigmas * 1000), text, extra_tokens=extra_tokens
    )
    assert torch.allclose(errors, (velocity - (noise - videos)).square().mean(dim=(1, 2, 3, 4)))
    errors.mean().backward()
    assert network.casual_audio_encoder.weights.grad.abs().sum() > 0


def test_what_moves_counts_more_and_a_clip_as_much_as_before():
    videos = torch.zeros(1, 4, 6, 4, 4)
    videos[..., 0, 0] = torch.tensor([0.05, -0.05] * 3)  # deviates by a little more than 0.05
    videos[..., 0, 1] = torch.tensor([5.0, -5.0] * 3)
    weights = motion_weights(videos, moving=0.05, most=10.0)
    assert weights.shape == (1, 1, 1, 4, 4) and weights.mean() == pytest.approx(1)
    ratio = (weights / weights[..., 3, 3])[0, 0, 0]
    assert ratio[0, 0] == pytest.approx(1 + 6 / 5, rel=1e-4) and ratio[0, 1] == pytest.approx(10, rel=1e-4)
    assert torch.equal(motion_weights(videos, moving=0.05, most=1.0), torch.ones(1, 1, 1, 4, 4))
    variant = tiny_variant("known")
    network, batch = network_of(variant), Batch(draw(2, 4, 3, 4, 6), [draw(3, 8)] * 2)
    noise, sigmas = draw(2, 4, 3, 4, 6, seed=1), torch.tensor([0.3, 0.9])
    half = torch.zeros(2, 1, 1, 4, 6)
    half[..., :3] = 2.0
    left, right = (
        velocity_errors(network, replace(batch, weights=w), variant, sigmas, noise) for w in (half, 2 - half)
    )
    plain = velocity_errors(network, batch, variant, sigmas, noise)
    assert torch.allclose((left + right) / 2, plain, rtol=1e-5) and not torch.allclose(left, right)


def test_a_past_is_worn_for_speech_and_weights_follow_the_recipe():
    past = {"motion": draw(4, 3, 4, 6), "reference": draw(4, 1, 4, 6), "audio": draw(3, 8, 8)}
    data = plain_rows([past] * 5)

    def batch(speech, task="s2v"):
        recipe = replace(asking(4), speech=speech)
        return draw_batch(data, recipe, task, torch.zeros(1, 8), generator(4, "dit", 0, 0))

    worn, plain = batch(None), batch(SpeechPart(motion_noise=0.0, motion_weight_max=1.0))
    changed = (worn.motion - plain.motion).flatten(1).std(dim=1)
    assert torch.equal(plain.motion[0], past["motion"]) and torch.equal(
        plain.weights, torch.ones(4, 1, 1, 4, 6)
    )
    assert bool((changed > 0).all()) and bool((changed < 0.2).all()) and len(set(changed.tolist())) == 4
    assert torch.equal(worn.weights, motion_weights(worn.videos, 0.05, 10.0)) and torch.equal(
        worn.videos, plain.videos
    )
    assert batch(None, "t2v").weights is None


def test_texts_are_dropped_as_often_as_asked_and_audio_with_them():
    extras = [{"audio": torch.ones(3, 8, 8), "reference": torch.ones(4, 1, 4, 6)} for _ in range(4)]
    data, empty = plain_rows(extras), torch.full((1, 8), 9.0)
    dropped = 0
    for step in range(200):
        batch = draw_batch(data, asking(4, caption_dropout=0.25), "s2v", empty, generator(0, "dit", step, 0))
        for text, heard in zip(batch.texts, batch.audio, strict=True):
            silent = torch.equal(text, empty)
            dropped += silent
            assert bool((heard == 0).all()) == silent
    assert 0.18 < dropped / 800 < 0.32


def told(task, rows, image=None, batches=60):
    """Of a number of batches, in which shares none, the first, the last, both are known."""
    drawn = [
        draw_batch(rows, asking(2, image=image), task, torch.zeros(1, 8), generator(1, "x", i, 0))
        for i in range(batches)
    ]
    kinds = Counter((batch.first_known, batch.last is not None) for batch in drawn)
    return [kinds[kind] / batches for kind in ((False, False), (True, False), (False, True), (True, True))]


def test_a_first_image_is_told_by_the_task_and_never_of_a_still():
    data = plain_rows()
    assert told("t2v", data)[0] == 1 and told("i2v", data)[1] == 1
    assert 0.3 < told("ti2v", data)[1] < 0.7 and sum(told("ti2v", data)[2:]) == 0
    ends = ImagePart(first=0.2, last=0.4, both=0.4)
    stills = Rows([Row(draw(4, 1, 4, 6), draw(3, 8))], {"s": [0]})
    assert told("i2v", stills)[0] == 1 and told("ti2v", stills, ends)[0] == 1


def test_first_and_last_images_are_told_as_often_as_asked():
    data = plain_rows([{"last": draw(4, 4, 6, seed=i)} for i in range(5)])
    shares = told("ti2v", data, ImagePart(first=0.3, last=0.2, both=0.1), batches=400)
    assert shares == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.06)
    batch = draw_batch(
        data, asking(3, image=ImagePart(0, 1, 0)), "ti2v", torch.zeros(1, 8), generator(0, "x", 0, 0)
    )
    rows = [next(r for r in data.rows if torch.equal(r.latents, video)) for video in batch.videos]
    assert torch.equal(batch.last, torch.stack([row.extra["last"] for row in rows]))


def test_a_last_image_is_given_clean_and_has_no_error():
    variant = tiny_variant("known")
    network = network_of(variant)
    videos, noise, sigmas = draw(2, 4, 3, 4, 6), draw(2, 4, 3, 4, 6, seed=1), torch.tensor([0.3, 0.95])
    last, texts = draw(2, 4, 4, 6, seed=5), [draw(3, 8), draw(5, 8, seed=2)]
    for first in (False, True):
        batch = Batch(videos, texts, first_known=first, last=last)
        errors = velocity_errors(network, batch, variant, sigmas, noise)
        known = torch.tensor([first, False, True])
        wanted = flow_loss(network, videos, known, last, sigmas, noise, network.read_text(texts))
        assert errors.shape == (2,) and torch.allclose(errors.mean(), wanted, rtol=1e-5)
        moved = move(batch, CPU)
        assert torch.equal(moved.last, last) and moved.first_known is first


def test_buckets_are_drawn_by_their_share_and_never_mixed():
    rows = [Row(draw(4, 2, 4, 6), draw(3, 8)) for _ in range(6)] + [
        Row(draw(4, 2, 6, 4), draw(3, 8)) for _ in range(2)
    ]
    data, shapes = Rows(rows, {"wide": list(range(6)), "high": [6, 7]}), []
    for step in range(200):
        batch = draw_batch(data, asking(4), "t2v", torch.zeros(1, 8), generator(2, "x", step, 0))
        shapes.append(tuple(batch.videos.shape))
    assert set(shapes) == {(4, 4, 2, 4, 6), (2, 4, 2, 6, 4)}
    assert 0.65 < shapes.count((4, 4, 2, 4, 6)) / 200 < 0.85


def test_clips_with_and_without_a_past_stand_in_different_batches():
    past = {"motion": torch.ones(4, 3, 4, 6)}
    data = plain_rows([past, {}, past, {}, {}, past])
    for step in range(20):
        batch = draw_batch(data, asking(3), "s2v", torch.zeros(1, 8), generator(3, "x", step, 0))
        assert len(batch.videos) == 3 and (batch.motion is None or batch.motion.shape[0] == 3)


def test_what_is_float32_stays_so_under_autocast():
    variant = tiny_variant("known")
    plain, ready = network_of(variant), for_training(network_of(variant), CPU)
    levels = NoiseLevels.uniform(torch.tensor([873.0]))
    with torch.autocast("cpu", torch.bfloat16):
        _, kept = ready.read_time(levels)
        _, rounded = plain.read_time(levels)
    _, exact = plain.read_time(levels)
    assert torch.equal(kept.rows, exact.rows) and not torch.equal(rounded.rows, exact.rows)
    assert ready.training


def test_a_task_that_a_model_cannot_learn_is_refused():
    assert (
        task_of(None, tiny_variant("known")) == "ti2v" and task_of("i2v", tiny_variant("channels")) == "i2v"
    )
    assert task_of(None, tiny_variant(None)) == "t2v" and task_of(None, tiny_speech_variant()) == "s2v"
    with pytest.raises(OptionError, match=r'model\.task = "i2v" is not one of tiny; it can learn t2v'):
        task_of("i2v", tiny_variant(None))
