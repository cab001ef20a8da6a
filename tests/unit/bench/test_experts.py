"""The experiment on two experts, with tiny networks: equal starts, shares of noise, paired losses, both models."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.tiny import VAE, WORDS, random_weights, tiny_variant

from bench import experts
from wan22.arch import UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, OptionError
from wan22.models.vae import WanVAE
from wan22.nano.dit import DiTRecipe, DiTWithText
from wan22.nano.latents import LatentSet
from wan22.nano.state import Optimiser, TrainState, load_average
from wan22.nano.tokenizer import build_word_tokenizer
from wan22.stage.labels import sample
from wan22.train.evaluation.recipe import EvalPrompt

BOUNDARY = 0.9


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was trained: its start, the experiment's runs, and everything that models share."""
    folder = tmp_path_factory.mktemp("run")
    built = build_word_tokenizer(WORDS, 100)
    built.save(str(folder / "tokenizer.json"))
    row = tiny_variant(vocab=built.get_vocab_size())
    text = UMT5Arch(vocab=built.get_vocab_size(), dim=8, dim_attn=8, ffn_dim=8, heads=2, layers=1)
    base = DiTRecipe(
        row.dit,
        text,
        Optimiser(9, peak=1e-2, warmup=2),
        batch=2,
        caption_dropout=1.0,
        bfloat16=False,
        compiled=False,
    )
    writer = DiTWithText(base.dit, base.text)
    writer.init_weights()
    TrainState(writer, base.optimiser, folder / "both", {"seed": 1}).save()
    drawn = torch.randn(4, VAE.z, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    sets = [(LatentSet(drawn, drawn[:, :, -1], sample(4)), 1.0)]
    planned = experts.recipes(base, 2, BOUNDARY)
    start = load_average(folder / "both")
    costs = experts.train(planned, start, sets, Tokenizer(built), folder / "experts", log=lambda _: None)
    vae = random_weights(WanVAE(VAE), torch.Generator().manual_seed(1))
    text = dict(writer.text.state_dict())
    return folder, planned, costs, experts.Parts(row, vae, text, folder / "tokenizer.json", folder / "both")


def test_runs_differ_only_in_noise_and_length(run):
    _, planned, costs, _ = run
    same = {replace(r, noise=(0, 1), optimiser=planned["one"].optimiser) for r in planned.values()}
    assert len(same) == 1
    assert [planned[name].noise for name in ("one", "high", "low", "long")] == [
        (0, 1),
        (0.9, 1),
        (0, 0.9),
        (0, 1),
    ]
    assert [costs[name]["steps"] for name in ("one", "high", "low", "long")] == [2, 2, 2, 4]
    assert not any(recipe.train_text for recipe in planned.values())
    with pytest.raises(OptionError, match="at least one step"):
        experts.recipes(planned["one"], 0, BOUNDARY)


def test_costs_are_kept_beside_the_runs(run):
    folder, _, costs, _ = run
    stored = json.loads((folder / "experts" / "costs.json").read_text())
    assert stored == costs
    assert stored["long"]["videos"] == 8


def test_models_are_exported_and_compared_on_the_same_videos(run, monkeypatch, tmp_path):
    folder, _, _, parts = run
    runs = folder / "experts"
    assert experts.trained(runs, parts.start) == ["both", "one", "long", "two"]
    assert experts.trained(tmp_path, parts.start) == ["both"]
    rng = np.random.default_rng(0)
    listed = [(shot, EvalPrompt(WORDS[0], {"colour": "red"})) for shot in sample(3)]
    clips = [rng.integers(0, 256, (5, 32, 48, 3), dtype=np.uint8) for _ in listed]
    monkeypatch.setattr(experts, "held_out", lambda count, seed: listed[:count])
    monkeypatch.setattr(experts, "renders", lambda shots, size: clips[: len(shots)])
    models = {name: experts.export(runs, name, parts) for name in experts.trained(runs, parts.start)}
    said = [
        json.loads((folder / "variant.json").read_text())["defaults"]["guidance"]
        for folder in models.values()
    ]
    assert said == [[3.5, 3.5]] * 4  # one network can be told one number only, so all have the same
    result = experts.compare(models, BOUNDARY, count=3, seeds=1, sigmas=(0.2, 0.95), log=lambda _: None)
    assert json.loads(json.dumps(result)) == result
    low, high = result["bands"]
    assert low["loss"].keys() == {"both", "one", "long", "two"}
    assert len({round(value, 9) for value in high["loss"].values()}) == 4  # each has learnt something else
    assert result["means"]["high"]["loss"] == high["loss"]
    assert result["means"]["low"]["gain_of_two"].keys() == {"one", "long"}
    assert any("two against one" in line for line in experts.lines(result))
    pytest.importorskip("matplotlib")
    experts.plot(result, tmp_path / "experts.png")
    assert (tmp_path / "experts.png").stat().st_size > 10_000


def test_a_model_of_two_equal_experts_is_the_one_network(run, monkeypatch):
    folder, _, _, parts = run
    monkeypatch.setitem(experts.MODELS, "twins", ("one", "one"))
    one, twins = (experts.export(folder / "experts", name, parts) for name in ("one", "twins"))
    clips = [np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), dtype=np.uint8)] * 2
    found = [
        experts.losses(experts.wan22.load(model, device="cpu"), clips, WORDS, sigmas=(0.3, 0.95), seeds=1)
        for model in (one, twins)
    ]
    assert torch.equal(*found)


def test_a_gain_is_a_share_with_the_error_of_the_pairs():
    over = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert experts.gain(0.9 * over, over)["share"] == pytest.approx(0.1)
    assert experts.gain(over - 0.1, over)["error"] == pytest.approx(0, abs=1e-12)
    assert experts.gain(over[:1], over[:1]) == {"share": 0, "error": 0}


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(OptionError, match="one and two"):
        experts.compare({}, BOUNDARY, log=lambda _: None)
    with pytest.raises(CheckpointError, match="train the runs first"):
        experts.main(["--folder", str(tmp_path)])


def test_what_has_learned_nothing_is_a_whole_network_and_always_the_same(run):
    recipe = run[1]["one"]
    made, again = experts.fresh(recipe), experts.fresh(recipe)
    assert set(made) == set(DiTWithText(recipe.dit, recipe.text).state_dict())
    assert all(torch.equal(made[name], again[name]) for name in made)
