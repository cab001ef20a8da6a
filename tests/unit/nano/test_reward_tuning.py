"""A reward model that reads labels off latents, and experts that learn from what it says."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import save_file

from wan22.arch import DiTArch, UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.engine import load
from wan22.nano import reward_tuning, stages
from wan22.nano.dit import DiTRecipe
from wan22.nano.latents import LatentSet
from wan22.nano.recipes import nano
from wan22.nano.reward_model import (
    RewardModel,
    RewardModelRecipe,
    add_noise,
    shot_classes,
    train_reward_model,
    verdict,
)
from wan22.nano.reward_tuning import (
    Pair,
    RewardTuningRecipe,
    draw_schedule,
    reward_loss,
    sample_videos,
    tune_with_reward,
)
from wan22.nano.state import Optimiser, load_average
from wan22.nano.tokenizer import build_caption_tokenizer
from wan22.request import resolve
from wan22.sampling import draw_noise
from wan22.stage.caption import caption
from wan22.stage.labels import AXES, Shot, sample
from wan22.types import Progress, Request

pytestmark = pytest.mark.slow

DIT = DiTArch(
    in_channels=4,
    out_channels=4,
    dim=32,
    ffn_dim=32,
    heads=2,
    layers=1,
    text_dim=16,
    text_len=64,
    freq_dim=32,
)
SHAPE = (4, 3, 4, 6)


def quiet(line):
    """Say nothing."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    words = random.Random(0)
    return Tokenizer(build_caption_tokenizer((caption(s, words).text for s in sample(300, seed=2)), 1500))


def videos(count: int = 120) -> LatentSet:
    """Latents that show but one thing: the time of day, as the level of a channel."""
    shots = sample(count, seed=3)
    latents = 0.3 * torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))
    times = shot_classes(shots)[:, list(AXES).index("time")]
    latents[:, 0] += (times - 2.5).view(-1, 1, 1, 1)
    return LatentSet(latents.half(), latents[:, :, -1].half(), shots)


def reward_model_recipe(steps: int) -> RewardModelRecipe:
    return RewardModelRecipe(
        dit=DIT,
        optimiser=Optimiser(steps=steps, peak=1e-2, warmup=5, average=0.9),
        batch=16,
        bfloat16=False,
        compiled=False,
    )


def recipe(tokenizer: Tokenizer, steps: int = 4, **changes) -> RewardTuningRecipe:
    text = UMT5Arch(vocab=tokenizer.size, dim=16, dim_attn=16, ffn_dim=16, heads=2, layers=1)
    optimiser = Optimiser(steps=steps, peak=3e-3, warmup=1, average=0.9)
    low = DiTRecipe(DIT, text, optimiser, batch=4, noise=(0.0, 0.875), bfloat16=False, compiled=False)
    high = replace(low, noise=(0.875, 1.0))
    return replace(
        RewardTuningRecipe(high, low, optimiser, batch=4, shape=SHAPE, guidance=(3.0, 5.0), rescale=0.7),
        **changes,
    )


def fresh(made: RewardTuningRecipe) -> Pair:
    torch.manual_seed(1)
    pair = Pair(made.high.dit, made.high.text)
    for part in (pair.high, pair.low, pair.text):
        part.init_weights()
    return pair


def fresh_model() -> RewardModel:
    torch.manual_seed(2)
    reward_model = RewardModel(DIT)
    reward_model.init_weights()
    return reward_model.requires_grad_(False)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """What the training of a reward model says, and the model that it gives."""
    folder, said = tmp_path_factory.mktemp("reward-model"), []
    assert train_reward_model(reward_model_recipe(80), [videos()], folder, log=said.append).done
    reward_model = RewardModel(DIT)
    reward_model.load_state_dict(load_average(folder))
    return said, reward_model


def test_a_reward_model_learns_what_videos_show_and_is_examined_on_others(learned):
    said, _ = learned
    shares = dict(part.rsplit(" ", 1) for part in said[-1].partition(": ")[2].split(", "))
    assert set(shares) == set(AXES)
    assert float(shares["time"].rstrip("%")) > 60  # by chance it would be 30


def test_classes_are_the_places_of_values():
    shot = Shot(colour="green", camera="pan-right")
    found = dict(zip(AXES, shot_classes([shot])[0].tolist(), strict=True))
    assert (found["colour"], found["camera"]) == (3, 2)


def test_a_verdict_is_in_nats_and_leads_back_to_the_video():
    reward_model, x = fresh_model(), torch.randn(2, *SHAPE, requires_grad=True)
    sigmas = torch.tensor([0.2, 0.6])
    logits = reward_model(add_noise(x, sigmas, torch.randn(2, *SHAPE)), sigmas)
    assert [rows.shape for rows in logits] == [(2, len(values)) for values in AXES.values()]
    wrong = verdict(logits, shot_classes(sample(2, seed=0)))
    assert wrong[0, 0].item() == pytest.approx(
        -logits[0][0].log_softmax(dim=0)[shot_classes(sample(2, seed=0))[0, 0]].item()
    )
    wrong.sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
    assert all(p.grad is None for p in reward_model.parameters())


@pytest.mark.parametrize("seed", range(20))
def test_levels_fall_from_noise_to_nothing_and_each_expert_has_half(tokenizer, seed):
    made = recipe(tokenizer)
    levels = draw_schedule(made, torch.Generator().manual_seed(seed))
    assert (levels[0], levels[-1]) == (1.0, 0.0)
    assert all(a > b for a, b in pairwise(levels))
    assert sum(level >= made.boundary for level in levels) == made.steps // 2


def test_videos_are_those_that_the_engine_makes():
    """Same noise, levels, guidance and rescale: what the networks learn on is what users get."""
    engine = load("nano", device="cpu")
    size = engine.variant.trained.sizes[0]
    request = Request(prompt="a red ball rolls left at sunset", steps=6, solver="euler", seed=4, size=size)
    sigmas = resolve(request, engine.variant).schedule.sigmas
    events = engine.generate(replace(request, guidance=(3.0, 5.0), guidance_rescale=0.7))
    wanted = [event.x for event in events if isinstance(event, Progress)][-1]
    made = nano.reward_tuning(1500)
    pair = Pair(nano.DIT, nano.text(1500))
    for name in ("high", "low"):
        getattr(pair, name).load_state_dict(engine.expert(name).state_dict())
    noise = draw_noise(tuple(wanted.shape), 4)
    told, untold = (engine.encode_text([text])[0].float() for text in (request.prompt, ""))
    with torch.no_grad():
        found = sample_videos(pair, noise[None], [told], [untold], [float(sigma) for sigma in sigmas], made)
    assert (found[0] - wanted).norm() / wanted.norm() < 5e-3  # the engine tells whole timesteps


def test_gradients_reach_both_experts_and_not_the_text_encoder(tokenizer):
    made = recipe(tokenizer)
    pair = fresh(made)
    for network in (pair.high, pair.low):  # a head of zeros passes nothing on
        torch.nn.init.normal_(network.head.head.weight, std=0.1)
    loss, share = reward_loss(
        pair, fresh_model(), made, tokenizer, torch.Generator().manual_seed(0), random.Random(0)
    )
    loss.backward()
    for network in (pair.high, pair.low):
        assert all(p.grad is not None for p in network.parameters())
        assert network.head.head.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in pair.text.parameters())
    assert 0 <= share <= 1


def test_what_is_not_said_does_not_count(tokenizer, monkeypatch):
    only, made = ("subject", "colour"), recipe(tokenizer)
    monkeypatch.setattr(
        reward_tuning, "caption", lambda s, words: replace(caption(s, words), said=frozenset(only))
    )
    losses = []
    for change in (0.0, 5.0):
        reward_model = fresh_model()
        for i, axis in enumerate(AXES):
            if axis not in only:
                torch.nn.init.constant_(reward_model.heads[i].bias[:1], change)
        draws = torch.Generator().manual_seed(0), random.Random(0)
        losses.append(reward_loss(fresh(made), reward_model, made, tokenizer, *draws)[0].item())
    assert losses[0] == losses[1]


@torch.no_grad()
def judged(pair: Pair, reward_model: RewardModel, made: RewardTuningRecipe, tokenizer: Tokenizer) -> float:
    """How wrong the reward model finds videos of the same noise and the same prompts."""
    draws = [(torch.Generator().manual_seed(i), random.Random(i)) for i in range(6)]
    return sum(float(reward_loss(pair, reward_model, made, tokenizer, *each)[0]) for each in draws) / 6


def test_experts_come_to_please_the_reward_model(tokenizer, learned, tmp_path):
    _, reward_model = learned
    made = recipe(tokenizer, steps=30)
    made = replace(made, optimiser=replace(made.optimiser, peak=2e-2), weight=10.0, steps=2)
    start = fresh(made).state_dict()
    said: list[str] = []
    state = tune_with_reward(
        made, reward_model, [(videos(), 1.0)], tokenizer, tmp_path / "tuned", log=said.append, start=start
    )
    assert sum("of what was said" in line for line in said) == 1
    before = judged(fresh(made), reward_model, made, tokenizer)
    after = judged(state.network, reward_model, made, tokenizer)
    assert after < before - 0.005


def test_interrupted_and_resumed_is_uninterrupted(tokenizer, tmp_path):
    made, data = recipe(tokenizer), [(videos(), 1.0)]
    start = fresh(made).state_dict()

    def go(name, minutes=None):
        return tune_with_reward(
            made, fresh_model(), data, tokenizer, tmp_path / name, log=quiet, start=start, minutes=minutes
        )

    whole = go("whole")
    while not go("parts", minutes=1e-9).done:
        pass
    for name, value in load_average(tmp_path / "parts").items():
        assert torch.equal(value, whole.average[name]), name


def test_the_experts_that_are_exported_go_a_share_of_the_way(tmp_path):
    """With the state of each run a single number: 1 before, 3 after."""
    for run, names in {
        "high-more": ("dit.w",), "low-more": ("dit.w",), "reward-tuning": ("high.w", "low.w"),
    }.items():  # fmt: skip
        (tmp_path / run).mkdir()
        value = 3.0 if run == "reward-tuning" else 1.0
        save_file(
            {f"average/{name}": torch.tensor([value]) for name in names}, tmp_path / run / "state.safetensors"
        )
    for expert in stages._experts(tmp_path):
        assert expert["w"].tolist() == [1 + 2 * nano.REWARD_TUNED_SHARE]
