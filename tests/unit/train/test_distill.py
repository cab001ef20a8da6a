"""Distillation to few steps: phases, recordings, learning, and that what was learned is what runs."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from unit.tiny import tiny_variant, write_tiny, write_tiny_speech

from wan22.engine import load
from wan22.errors import CheckpointError, OptionError
from wan22.library import open_model
from wan22.nano import __main__ as command
from wan22.nano.recipes import nano_fast
from wan22.request import resolve
from wan22.train.distill import distill, ship
from wan22.train.distill.student import DistillRecipe, Phase, phases, student_sigmas
from wan22.train.distill.trajectories import Recording, Trajectories, record
from wan22.train.recipe import OptimiserPart
from wan22.types import Latents, Progress, Request

PROMPTS = ("a red ball rolls left at sunset", "a blue cube spins")
RECIPE = DistillRecipe(
    recording=Recording(count=6, steps=8, image_share=0.4, single_image_share=0.2),
    optimiser=OptimiserPart(steps=6, learning_rate=5e-3, warmup=1, batch_size=2, ema_decay=0.5),
    rank=2,
    alpha=2.0,
    bfloat16=False,
    checkpoint_every=2,
)


def quiet(line):
    """Say nothing."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("distill") / "tiny")


@pytest.fixture(scope="module")
def made(teacher, tmp_path_factory):
    """A finished run's folder."""
    folder = tmp_path_factory.mktemp("run")
    assert distill(load(teacher, device="cpu"), PROMPTS, RECIPE, folder, log=quiet) == folder / "fast"
    return folder


def job(steps=20, **row):
    return resolve(Request(prompt="a ball", steps=steps), replace(tiny_variant(), **row))


def test_phases_lie_each_on_one_side_of_the_boundary_and_leave_nothing_out():
    found = phases(job(), 4)
    assert [phase.expert for phase in found] == ["high", "high", "low", "low"]
    assert [phase.first for phase in found[1:]] == [phase.last for phase in found[:-1]]
    assert (found[0].first, found[-1].last) == (0, 20)
    sigmas = student_sigmas(job(), found)
    assert sigmas[1] >= 0.9 > sigmas[2]


def test_a_lone_network_walks_all_phases():
    own = replace(tiny_variant().defaults, guidance=(4.0, 4.0))
    found = phases(job(8, experts=("dit",), boundary=None, defaults=own), 4)
    assert found == tuple(Phase("dit", i, i + 2) for i in range(0, 8, 2))


def test_of_an_odd_number_of_steps_the_expert_of_high_noise_has_one_more():
    assert [phase.expert for phase in phases(job(), 3)] == ["high", "high", "low"]


def test_phases_that_cannot_be_are_refused():
    with pytest.raises(OptionError, match="2 experts cannot make a video in 1 step"):
        phases(job(), 1)
    with pytest.raises(OptionError, match="'low' 1 times, too few for 2 phases"):
        phases(job(3), 4)


def test_a_trajectory_is_the_teachers_own_way_to_its_video(teacher, tmp_path):
    engine = load(teacher, device="cpu")
    plan = Recording(count=1, image_share=0.0, single_image_share=0.0, main_size_share=1.0, seed=4)
    assert record(engine, PROMPTS, plan, tmp_path, log=quiet, until=None)
    data = Trajectories(tmp_path, 1)
    request = Request(prompt=PROMPTS[0], size=(48, 32), frames=5, seed=4 * 1_000_003)
    events = list(engine.generate(request))
    video = next(e for e in events if isinstance(e, Latents)).tensors["latents"]
    steps = [e.x for e in events if isinstance(e, Progress)]
    torch.testing.assert_close(data.state(0, -1), video, atol=2e-2, rtol=1e-3)
    torch.testing.assert_close(data.state(0, 1), steps[0], atol=2e-2, rtol=1e-3)
    assert abs(float(data.state(0, 0).std()) - 1) < 0.1
    torch.testing.assert_close(data.text(0), engine.encode_text([PROMPTS[0]])[0])


@pytest.mark.slow
def test_a_recording_goes_on_where_it_was_stopped(made, teacher, tmp_path):
    shutil.copytree(made / "trajectories", tmp_path / "some")
    for i in (1, 4):
        (tmp_path / "some" / f"{i:06}.safetensors").unlink()
    engine = load(teacher, device="cpu")
    assert not record(engine, PROMPTS, RECIPE.recording, tmp_path / "some", log=quiet, until=0.0)
    assert record(engine, PROMPTS, RECIPE.recording, tmp_path / "some", log=quiet, until=None)
    for file in (made / "trajectories").iterdir():
        assert file.read_bytes() == (tmp_path / "some" / file.name).read_bytes()


def test_known_first_images_come_from_the_video_before(made):
    data = Trajectories(made / "trajectories", 6)
    known = [row for kind, rows in data.kinds.items() if kind.known for row in rows]
    assert known
    for row in known:
        first, before = data.state(row, -1)[:, 0], data.state(row - 1, -1)[:, 0]
        assert float((first - data.state(row, 0)[:, 0]).abs().mean()) > 0.1  # no noise is left of it
        assert first.shape == before.shape


def test_a_model_that_needs_more_than_a_prompt_is_refused(tmp_path):
    for folder, needed in (
        (write_tiny(tmp_path / "i2v", "channels"), "an image"),
        (write_tiny_speech(tmp_path / "s2v"), "an audio file"),
    ):
        with pytest.raises(OptionError, match=f"needs {needed} for every video"):
            distill(load(folder, device="cpu"), PROMPTS, RECIPE, tmp_path / "run", log=quiet)


def test_prompts_are_needed(teacher, tmp_path):
    with pytest.raises(OptionError, match="none are given"):
        distill(load(teacher, device="cpu"), [], RECIPE, tmp_path, log=quiet)


@pytest.mark.slow
def test_the_student_learns(teacher, made, tmp_path):
    recipe = replace(
        RECIPE,
        optimiser=replace(RECIPE.optimiser, steps=40, learning_rate=2e-2),
        start_share=1.0,
        student_start_share=0.0,
    )
    recipe = replace(recipe, log_every=10)
    shutil.copytree(made / "trajectories", tmp_path / "trajectories")
    said = []
    distill(load(teacher, device="cpu"), PROMPTS, recipe, tmp_path, stage="learn", log=said.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in said if line.startswith("high step")]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_an_interrupted_run_ends_at_the_same_bits(teacher, made, tmp_path):
    engine = load(teacher, device="cpu")
    turns = 0
    while distill(engine, PROMPTS, RECIPE, tmp_path, log=quiet, minutes=1e-9) is None:
        record(engine, PROMPTS, RECIPE.recording, tmp_path / "trajectories", log=quiet, until=None)
        turns += 1
    assert turns > 2 * RECIPE.optimiser.steps - 2
    for name in ("fast_high", "fast_low"):
        a, b = (folder / "fast" / f"{name}.safetensors" for folder in (made, tmp_path))
        assert a.read_bytes() == b.read_bytes()


def test_the_teacher_is_left_as_it_was(teacher, tmp_path, made):
    engine, fresh = load(teacher, device="cpu"), load(teacher, device="cpu")
    shutil.copytree(made, tmp_path / "run")
    distill(engine, PROMPTS, RECIPE, tmp_path / "run", stage="learn", log=quiet)
    request = Request(prompt=PROMPTS[0], steps=2)
    videos = [
        next(x for x in e.generate(request) if isinstance(x, Latents)).tensors["latents"]
        for e in (engine, fresh)
    ]
    assert torch.equal(*videos)


def test_what_was_learned_is_what_runs(teacher, made, tmp_path):
    """Where the student hands over, as training walked there, is where the shipped adapters come by a fast video."""
    shutil.copytree(teacher, tmp_path / "model")
    ship(made / "fast", open_model(tmp_path / "model"))
    engine = load(tmp_path / "model", device="cpu")
    assert engine.variant.fast.steps == 4
    data = Trajectories(made / "trajectories", 6)
    row = next(rows[0] for kind, rows in data.kinds.items() if not kind.known and kind.shape[1] > 1)
    from safetensors import safe_open

    with safe_open(data.paths[row], "pt") as file:
        prompt = file.metadata()["prompt"]
    height, width = (side * 8 for side in data.state(row, 0).shape[-2:])
    request = Request(prompt=prompt, size=(width, height), frames=5, seed=row, fast=True)
    steps = [e for e in engine.generate(request) if isinstance(e, Progress)]
    with safe_open(made / "own" / f"{row:06}.safetensors", "pt") as file:
        own = file.get_tensor("x").float()
    torch.testing.assert_close(steps[1].x, own, atol=2e-2, rtol=2e-2)


def test_adapters_carry_their_levels(made):
    from safetensors import safe_open

    said = json.loads((made / "fast" / "fast.json").read_text())
    for name in ("high", "low"):
        with safe_open(made / "fast" / said["loras"][name], "pt") as file:
            notes = file.metadata()
            assert all(file.get_tensor(key).dtype == torch.bfloat16 for key in file.keys() if "lora" in key)
        assert json.loads(notes["wan22.sigmas"]) == said["sigmas"]
        assert (notes["wan22.expert"], notes["wan22.guidance"], notes["wan22.solver"]) == (name, "1", "euler")


def test_adapters_of_other_weights_are_not_shipped(made, tmp_path):
    other = write_tiny(tmp_path / "other")
    weights = other / "high_noise_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(CheckpointError, match="made for other weights"):
        ship(made / "fast", open_model(other))
    with pytest.raises(CheckpointError, match="distil to the end first"):
        ship(made, open_model(other))


def test_a_folder_of_another_run_is_refused(teacher, made):
    with pytest.raises(CheckpointError, match="other recipe"):
        distill(load(teacher, device="cpu"), PROMPTS, replace(RECIPE, rank=4), made, log=quiet)


def test_stages_need_those_before(teacher, tmp_path):
    engine = load(teacher, device="cpu")
    with pytest.raises(CheckpointError, match="0 of 6 trajectories"):
        distill(engine, PROMPTS, RECIPE, tmp_path, stage="learn", log=quiet)
    with pytest.raises(CheckpointError, match="has not learned to the end"):
        distill(engine, PROMPTS, RECIPE, tmp_path, stage="export", log=quiet)
    with pytest.raises(OptionError, match="stage"):
        distill(engine, PROMPTS, RECIPE, tmp_path, stage="dance", log=quiet)


def test_the_command_ships_into_the_teachers_folder(teacher, made, tmp_path, capsys):
    shutil.copytree(teacher, tmp_path / "model")
    where = ["--folder", str(made), "--teacher", str(tmp_path / "model")]
    assert command.main(["nano-fast", "--stage", "ship", *where]) == 0
    assert "ships adapters" in capsys.readouterr().out
    assert load(tmp_path / "model", device="cpu").variant.fast is not None


def test_prompts_are_captions_of_training_shots():
    assert nano_fast.prompts(5) == nano_fast.prompts(5)
    assert len(set(nano_fast.prompts(20))) == 20
