"""The trainer on problems of a second: exact resume, noise ranges, known frames, falling losses, orthogonal steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from unit.tiny import VAE

from wan22.arch import DiTArch, UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, OptionError
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.nano import stages as nano
from wan22.nano.dit import DiTRecipe, draw_recipe_sigmas, flow_loss, train_dit
from wan22.nano.latents import LatentSet, latent_set
from wan22.nano.state import Optimiser, TrainState, load_average
from wan22.nano.tokenizer import build_word_tokenizer
from wan22.nano.vae import VAERecipe, psnr_per_frame, train_vae
from wan22.stage.caption import caption
from wan22.stage.labels import sample
from wan22.train.flow_matching import eager_attention
from wan22.train.muon import Muon, orthogonal

pytestmark = pytest.mark.slow

STEPS = 6
SHOTS = sample(4, seed=0)
DIT = DiTArch(4, 4, 16, 16, heads=2, layers=1, text_dim=8, text_len=32, freq_dim=8)


@pytest.fixture(scope="module")
def tokenizer():
    import random

    return Tokenizer(build_word_tokenizer([caption(s, random.Random(0)).text for s in SHOTS], 64))


@pytest.fixture(scope="module")
def videos():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 4, 3, 4, 4, generator=generator)
    return [(LatentSet(drawn, drawn[:, :, -1], SHOTS), 1.0)]


def flow_recipe(tokenizer, **change):
    text = UMT5Arch(vocab=tokenizer.size, dim=8, dim_attn=8, ffn_dim=8, heads=2, layers=1)
    made = DiTRecipe(
        DIT,
        text,
        Optimiser(STEPS, peak=1e-2, warmup=2),
        batch=2,
        known_shares=(0.25,) * 4,
        bfloat16=False,
        compiled=False,
    )
    return replace(made, **change)


VAE_RECIPE = VAERecipe(
    VAE, Optimiser(STEPS, peak=1e-3, warmup=2), shapes=((1, 5, 16, 16, 0.5), (1, 1, 16, 16, 0.5)), freeze=0.34,
    bfloat16=False,
)  # fmt: skip
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 9, 24, 24, 3), dtype=np.uint8)


def saved(folder):
    with safe_open(folder / "state.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def quiet(_):
    pass


@pytest.mark.parametrize("kind", ["flow", "vae"])
def test_a_run_in_pieces_equals_a_run_in_one_to_the_last_bit(tmp_path, tokenizer, videos, kind):
    def run(folder, minutes=None):
        if kind == "vae":
            return train_vae(VAE_RECIPE, PIXELS, folder, log=quiet, minutes=minutes)
        return train_dit(flow_recipe(tokenizer), videos, tokenizer, folder, log=quiet, minutes=minutes)

    run(tmp_path / "one")
    for done in range(1, STEPS + 1):
        assert run(tmp_path / "pieces", minutes=1e-9).step == done
    one, pieces = saved(tmp_path / "one"), saved(tmp_path / "pieces")
    assert {name.partition("/")[0] for name in one} == {
        "parameter", "average", "momentum", "exp_avg", "exp_avg_sq", "step",
    }  # fmt: skip
    assert same(one, pieces)
    assert run(tmp_path / "one").step == STEPS  # nothing is left to do
    assert same(one, saved(tmp_path / "one"))


def test_the_last_steps_of_a_vae_leave_the_encoder_as_it_will_be_shipped(tmp_path):
    train_vae(VAE_RECIPE, PIXELS, tmp_path, log=quiet)
    end = saved(tmp_path)
    encoder = [n for n in end if n.startswith("parameter/encoder.")]
    assert encoder
    assert all(torch.equal(end[n], end[n.replace("parameter/", "average/")]) for n in encoder)
    assert not torch.equal(end["parameter/decoder.conv1.weight"], end["average/decoder.conv1.weight"])


def test_a_folder_of_another_recipe_is_refused(tmp_path, tokenizer, videos):
    recipe = flow_recipe(tokenizer)
    train_dit(recipe, videos, tokenizer, tmp_path, log=quiet, minutes=1e-9)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"made by another recipe.*remove that one"):
        train_dit(replace(recipe, shift=3.0), videos, tokenizer, tmp_path, log=quiet)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_a_stage_that_was_not_trained_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"state\.safetensors: train that stage first"):
        load_average(tmp_path)


def test_a_frozen_text_encoder_stays_and_is_kept(tmp_path, tokenizer, videos):
    both = train_dit(flow_recipe(tokenizer), videos, tokenizer, tmp_path / "both", log=quiet)
    start = load_average(tmp_path / "both")
    assert start.keys() == both.network.state_dict().keys()
    recipe = flow_recipe(tokenizer, train_text=False, noise=(0.875, 1.0))
    high = train_dit(recipe, videos, tokenizer, tmp_path / "high", log=quiet, start=start)
    averaged = high.averaged()
    moved = {name.partition(".")[0] for name in start if not torch.equal(averaged[name], start[name])}
    assert moved == {"dit"}
    # What an expert's run leaves on disk is what it trained: the text encoder is shipped from the common run.
    assert {name.partition(".")[0] for name in load_average(tmp_path / "high")} == {"dit"}


@settings(max_examples=60, deadline=None, database=None)
@given(
    bounds=st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True),
    shift=st.floats(0.5, 12),
    count=st.integers(1, 64),
    seed=st.integers(0, 99),
)
def test_an_expert_sees_noise_of_its_own_range_only(bounds, shift, count, seed):
    low, high = sorted(bounds)
    recipe = DiTRecipe(DIT, None, Optimiser(1, 1e-3), batch=1, noise=(low, high), shift=shift)
    sigmas = draw_recipe_sigmas(recipe, count, torch.Generator().manual_seed(seed))
    assert sigmas.shape == (count,)
    assert sigmas.min() >= low - 1e-5 and sigmas.max() <= high + 1e-5
    even = sigmas.double() / (shift - (shift - 1) * sigmas.double())
    edges = torch.tensor([low / (shift - (shift - 1) * low), high / (shift - (shift - 1) * high)])
    if edges[1] - edges[0] > 0.05:  # one in each of `count` equal parts, before the shift
        parts = ((even - edges[0]) / (edges[1] - edges[0]) * count).clamp(1e-3, count - 1e-3)
        assert (parts.sort().values - torch.arange(count) > -0.02).all()
        assert (parts.sort().values - torch.arange(count) < 1.02).all()


@pytest.mark.parametrize("where", [(0,), (2,), (0, 2)])
def test_known_frames_are_given_clean_and_carry_no_loss(where):
    torch.manual_seed(0)
    dit = WanDiT(DIT, attention=eager_attention)
    videos, noise, lasts = torch.randn(2, 4, 3, 4, 4), torch.randn(2, 4, 3, 4, 4), torch.randn(2, 4, 4, 4)
    known = torch.zeros(3, dtype=torch.bool)
    known[list(where)] = True
    memory = dit.read_text([torch.randn(3, 8), torch.randn(2, 8)])
    sigmas = torch.tensor([0.4, 0.9])

    def loss(videos=videos, noise=noise, lasts=lasts):
        return flow_loss(dit, videos, known, lasts, sigmas, noise, memory).item()

    def changed(tensor, at):
        other = tensor.clone()
        other[:, :, at] += 1
        return other

    for at in range(3):
        assert (loss(noise=changed(noise, at)) == loss()) == (at in where)
    assert (loss(lasts=lasts + 1) == loss()) == (2 not in where)
    assert loss(videos=changed(videos, 1)) != loss()
    if 0 in where:
        assert loss(videos=changed(videos, 0)) != loss()  # it is seen, though not asked for


def test_the_loss_is_the_error_of_the_velocity():
    dit = WanDiT(DIT)
    dit.init_weights()  # it predicts nothing
    videos, noise = torch.randn(2, 4, 3, 4, 4), torch.randn(2, 4, 3, 4, 4)
    memory = dit.read_text([torch.randn(3, 8), torch.randn(2, 8)])
    lost = flow_loss(dit, videos, None, videos[:, :, -1], torch.tensor([0.1, 0.9]), noise, memory)
    assert lost.item() == pytest.approx((noise - videos).square().mean().item(), rel=1e-5)


def losses(recipe, videos, tokenizer, folder):
    lines = []
    train_dit(recipe, videos, tokenizer, folder, log=lines.append)
    return [float(line.split()[3]) for line in lines if line.startswith("step")]


def test_the_loss_falls_on_a_problem_that_can_be_learnt(tmp_path, tokenizer):
    one = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1, -1)
    videos = [(LatentSet(one, one[:, :, -1], SHOTS), 1.0)]
    recipe = flow_recipe(tokenizer, optimiser=Optimiser(100, peak=1e-2, warmup=10), batch=4, still_share=0.0)
    first, last = losses(recipe, videos, tokenizer, tmp_path)
    assert last < 0.85 * first


def test_a_vae_learns_one_flat_colour(tmp_path):
    clips = np.full((2, 5, 16, 16, 3), 200, np.uint8)
    recipe = replace(
        VAE_RECIPE, optimiser=Optimiser(35, peak=5e-3, warmup=5, average=0.9), shapes=((2, 5, 16, 16, 1.0),)
    )
    state = train_vae(recipe, clips, tmp_path, log=quiet)
    vae = state.network
    torch.manual_seed(recipe.seed)
    untrained = type(vae)(VAE)
    assert psnr_per_frame(vae, clips).min() > psnr_per_frame(untrained, clips).max() + 4


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    state = TrainState(torch.nn.Linear(2, 2), Optimiser(1, 1e-3), tmp_path, {"seed": 0})
    with pytest.raises(FloatingPointError, match="loss of step 0 is nan"):
        state.update(torch.tensor(torch.nan))


def test_the_rate_warms_up_and_falls_to_its_floor():
    plan = Optimiser(100, peak=1.0, warmup=10, floor=0.1)
    rates = [plan.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1)


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8)])
def test_an_orthogonal_update_has_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert 0.5 < values.min() and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    near = orthogonal(matrix)
    assert (near - u @ v).norm() / (u @ v).norm() < 0.35


def test_muon_moves_each_matrix_by_the_rate_whatever_the_gradient():
    moved = []
    for scale in (1e-4, 1e4):
        p = torch.nn.Parameter(torch.zeros(8, 2, 4))
        p.grad = scale * torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0))
        Muon([p], lr=0.1).step()
        moved.append(p.detach().clone())
    assert (moved[0] - moved[1]).norm() < 0.1 * moved[1].norm()  # it is iterated in bfloat16
    assert moved[0].square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.3)


def test_muon_leaves_what_has_no_gradient():
    p = torch.nn.Parameter(torch.ones(4, 4))
    Muon([p], lr=0.1).step()
    assert torch.equal(p, torch.ones(4, 4))


@pytest.mark.parametrize("stage", [s for s in nano.STAGES[3:] if s != "decoder"])
def test_a_stage_out_of_turn_is_refused_before_any_work(tmp_path, stage):
    with pytest.raises(CheckpointError, match=r"there is no .*: (run|train) "):
        nano.run(stage, tmp_path, log=print)
    assert not list(tmp_path.iterdir())


def test_an_unknown_stage_lists_the_known(tmp_path):
    with pytest.raises(OptionError, match=r"'hi'.*Known: clips, latents"):
        nano.run("hi", tmp_path, log=print)


def test_latents_that_are_normalised_twice_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "videos.safetensors"
    save_file({"videos": torch.randn(4, 4, 3, 4, 4), "lasts": torch.randn(4, 4, 4, 4)}, path)
    zero, one = torch.zeros(4), torch.ones(4)
    assert latent_set(path, mean=zero, std=one, count=4, seed=1).videos.shape == (4, 4, 3, 4, 4)
    with pytest.raises(CheckpointError, match="normalised twice"):
        latent_set(path, mean=zero, std=5 * one, count=4, seed=1)


def test_a_weight_on_motion_adds_the_error_of_what_changes(tmp_path):
    torch.manual_seed(0)
    dit = WanDiT(DIT, attention=eager_attention)
    dit.init_weights()
    videos = torch.randn(2, DIT.in_channels, 3, 4, 4)
    memory = dit.read_text([torch.randn(3, DIT.text_dim)] * 2)
    sigmas, noise = torch.tensor([0.9, 0.95]), torch.randn_like(videos)
    plain = flow_loss(dit, videos, None, None, sigmas, noise, memory)
    weighed = flow_loss(dit, videos, None, None, sigmas, noise, memory, 2.0)
    # An error that is the same in every frame is not of motion.
    still = videos[:, :, :1].expand_as(videos)
    x = (1 - sigmas.view(-1, 1, 1, 1, 1)) * videos + sigmas.view(-1, 1, 1, 1, 1) * noise
    error = dit(x, NoiseLevels.uniform(sigmas * 1000), memory) - (noise - videos)
    coarse = torch.nn.functional.avg_pool3d(error, (1, 2, 2)).diff(dim=2)
    assert torch.allclose(weighed - plain, 8 * coarse.square().mean(), rtol=1e-4)
    one = flow_loss(dit, still[:, :, :1], None, None, sigmas, noise[:, :, :1], memory, 2.0)
    assert torch.allclose(one, flow_loss(dit, still[:, :, :1], None, None, sigmas, noise[:, :, :1], memory))
