"""Training on several ranks equals training in one process, and goes on from its checkpoints on another number."""

import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from launch import run
from safetensors.torch import load_file
from unit.tiny import write_tiny, write_tiny_speech
from unit.train.media import write_clip

from wan22.cli.__main__ import main
from wan22.train import checkpoint
from wan22.train.recipe import (
    AdapterPart,
    DataPart,
    LogPart,
    MemoryPart,
    ModelPart,
    OptimiserPart,
    ParallelPart,
    Recipe,
    ValidationPart,
)
from wan22.train.run import train

STEPS = 10  # of each of two experts: 20 together


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model of two experts, clips of two shapes, and a recipe that trains everything of it."""
    folder = tmp_path_factory.mktemp("base")
    write_tiny(folder / "model", layers=2)
    texts = ("a red ball rolls left", "a blue cube spins", "a red cube at sunset")
    for i, text in enumerate(texts):
        write_clip(folder / "clips" / f"{i}.mp4", frames=9 + 4 * i, text=text)
    write_clip(folder / "clips" / "high.mp4", frames=9, width=32, height=48, text="a cube")
    return Recipe(
        model=ModelPart(name="model"),
        data=DataPart(
            sources=("clips",), size=(48, 32), frames=(5,), fps=8.0, cache="cache", caption_dropout=0.3
        ),
        optimiser=OptimiserPart(
            steps=STEPS, learning_rate=1e-3, warmup=1, batch_size=2, gradient_accumulation=2, ema_decay=0.9
        ),
        output="out",
        memory=MemoryPart(
            dtype="fp32", steps_per_expert_turn=3, offload_inactive_expert="device", compile=False
        ),
        log=LogPart(every=1),
        seed=5,
        save=100,
        folder=folder,
    )


def on_a_rank(rank, recipe, stop_at=None):
    from wan22.parallel.ranks import Ranks
    from wan22.train.distributed import DistributedWorld

    world = DistributedWorld(Ranks(None, torch.device("cpu")), torch.device("cpu"), recipe.parallel)
    steps = iter(range(10**6))
    outcome = train(
        recipe,
        log=lambda line: None,
        world=world,
        stop=lambda: stop_at is not None and next(steps) >= stop_at,
    )
    return outcome.end, dict(outcome.steps)


def alone(recipe, **how):
    return train(recipe, device="cpu", log=lambda line: None, **how)


def losses(folder):
    lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return {(line["expert"], line["step"]): (line["loss"], line["norm"], line["bands"]) for line in lines}


def learned(folder):
    found = {}
    for expert in ("high", "low"):
        whole = checkpoint.newest(Path(folder) / "checkpoints", expert, print)
        found |= {(expert, name): tensor for name, tensor in whole.tensors.items()}
    return found


def alike(folder, other, limit=1e-4, tensors=True):
    """The losses, gradients and parameters of two runs are equal to rounding."""
    (mine, theirs) = losses(folder), losses(other)
    assert mine.keys() == theirs.keys() and len(mine) == 2 * STEPS
    for key, (loss, norm, bands) in mine.items():
        assert loss == pytest.approx(theirs[key][0], rel=limit, abs=2e-6), key
        assert norm == pytest.approx(theirs[key][1], rel=limit, abs=2e-6), key
        assert [b is None for b in bands] == [b is None for b in theirs[key][2]]
    mine, theirs = learned(folder), learned(other)
    assert mine.keys() == theirs.keys()
    if not tensors:
        return
    for key, tensor in mine.items():
        if key[1].startswith(("parameter/", "average/")):
            assert (tensor - theirs[key]).norm() <= limit * theirs[key].norm() + 1e-6, key


def to(recipe, folder, **changes):
    return replace(recipe, output=str(folder), **changes)


def with_(recipe, part, **changes):
    return replace(recipe, **{part: replace(getattr(recipe, part), **changes)})


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert alone(to(base, folder)).end == "done"
    return folder


def test_two_ranks_learn_what_one_process_learns(base, whole, tmp_path):
    """Everything is trained, with accumulation and an average; 20 steps of two experts."""
    assert run(2, on_a_rank, to(base, tmp_path)) == [("done", {"high": STEPS, "low": STEPS})] * 2
    alike(tmp_path, whole)
    for name in ("high_noise_model", "low_noise_model"):
        mine, theirs = (load_file(folder / "model" / f"{name}.safetensors") for folder in (tmp_path, whole))
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            assert (tensor.float() - theirs[key].float()).norm() <= 2e-2 * theirs[
                key
            ].float().norm() + 1e-6, key


def encoded(rank, recipe):
    """What this rank encodes of texts and of clips before the first step."""
    from wan22.train.data.cache import Store

    write, found = Store.write, []

    def noted(store, key, tensors, settings):
        found.append((store.folder.name, key))
        write(store, key, tensors, settings)

    Store.write = noted
    try:
        assert on_a_rank(rank, recipe, stop_at=0)[0] == "stopped"
    finally:
        Store.write = write
    return found


def test_every_rank_encodes_its_share_of_the_clips(base, tmp_path):
    recipe = with_(to(base, tmp_path / "out"), "data", cache=str(tmp_path / "cache"))
    one, two = run(2, encoded, recipe)
    for kind in ("texts", "clips"):
        mine, theirs = ({key for name, key in found if name == kind} for found in (one, two))
        assert mine and theirs and not mine & theirs
        assert {path.stem for path in (tmp_path / "cache" / kind).glob("*.safetensors")} == mine | theirs
    assert run(2, encoded, to(recipe, tmp_path / "again")) == [[], []]


def orthogonalised(rank, weights, grads):
    """Two matrices on two ranks after steps of Muon, and on one."""
    from torch.distributed.tensor import Shard, distribute_tensor

    from wan22.parallel.ranks import Ranks
    from wan22.train.distributed import DistributedWorld
    from wan22.train.muon import Muon

    world = DistributedWorld(Ranks(None, torch.device("cpu")), torch.device("cpu"))
    mine = [
        torch.nn.Parameter(distribute_tensor(w.clone(), world._mesh, [Shard(0)], src_data_rank=None))
        for w in weights
    ]
    optimiser = Muon(mine, 0.1, whole=world.whole, part=world.part)
    for step in grads:
        for p, g in zip(mine, step, strict=True):
            p.grad = world.part(g, p)
        optimiser.step()
    return [world.whole(p).detach() for p in mine]


def test_muon_on_ranks_makes_the_whole_matrix_orthogonal():
    """The same gradients give the same weights: a shard is never made orthogonal by itself. What drifts between runs of
    several ranks are gradients, in their last bits, which the iteration in bfloat16 raises (docs/training.md).
    """
    from wan22.train.muon import Muon

    draw = torch.Generator().manual_seed(0)
    shapes = (7, 4), (6, 9), (6, 9)
    weights = [torch.randn(shape, generator=draw) for shape in shapes]
    grads = [[torch.randn(shape, generator=draw) for shape in shapes] for _ in range(3)]
    alone_ = [torch.nn.Parameter(w.clone()) for w in weights]
    optimiser = Muon(alone_, 0.1)
    for step in grads:
        for p, g in zip(alone_, step, strict=True):
            p.grad = g.clone()
        optimiser.step()
    for found in run(2, orthogonalised, weights, grads):
        for mine, theirs, before in zip(found, alone_, weights, strict=True):
            assert (mine - theirs).norm() <= 1e-6 * theirs.norm()
            assert (theirs - before).norm() > 0.1


RECIPES = {
    "a LoRA with muon": lambda base: with_(
        with_(replace(base, adapter=AdapterPart(rank=3)), "optimiser", name="muon", ema_decay=0.0),
        "memory",
        gradient_checkpointing=True,
        base_dtype="fp32",
    ),
    "all with muon": lambda base: with_(base, "optimiser", name="muon", max_grad_norm=0.1),
    "all, checkpointed, one clip in each of four batches": lambda base: with_(
        with_(base, "optimiser", batch_size=1, gradient_accumulation=4, ema_decay=0.0),
        "memory",
        gradient_checkpointing=True,
        offload_inactive_expert="disk",
    ),
    "two that share the tokens of a clip": lambda base: replace(base, parallel=ParallelPart(context=2)),
    "gradients after each batch": lambda base: with_(
        replace(base, parallel=ParallelPart(gradient_sync="each")), "memory", gradient_checkpointing=True
    ),
    "videos on the way": lambda base: replace(
        base, validation=ValidationPart(every=10, prompts=("a red ball",), steps=2)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_way_of_training_is_the_same_on_two_ranks(base, tmp_path, name):
    recipe = RECIPES[name](base)
    alone(to(recipe, tmp_path / "one", parallel=ParallelPart()))
    run(2, on_a_rank, to(recipe, tmp_path / "two"))
    # Muon raises the smallest parts of a gradient, which are rounding where few clips are seen, to the size of others.
    muon = recipe.optimiser.name == "muon"
    alike(tmp_path / "two", tmp_path / "one", *((2e-2, False) if muon else ()))
    made = [{p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.mp4")} for n in ("one", "two")]
    assert made[0] == made[1] and bool(made[0]) == bool(recipe.validation.every)
    for one in (tmp_path / "one" / "lora").glob("*.safetensors"):
        mine, theirs = load_file(tmp_path / "two" / "lora" / one.name), load_file(one)
        assert mine.keys() == theirs.keys() and len(mine) > 10
        assert all(mine[k].shape == theirs[k].shape for k in mine)


@pytest.mark.slow
def test_four_ranks_divide_the_clips_by_two_and_the_tokens_by_two(base, whole, tmp_path):
    recipe = with_(replace(base, parallel=ParallelPart(context=2)), "memory", gradient_checkpointing=True)
    run(4, on_a_rank, to(recipe, tmp_path))
    alike(tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("context", [1, 2])
def test_speech_is_learned_by_two_ranks_as_by_one(tmp_path, context):
    write_tiny_speech(tmp_path / "model")
    write_clip(
        tmp_path / "clips/a.mp4", frames=40, width=64, height=64
    )  # five pieces, of which one has no past
    with wave.open(str(tmp_path / "clips/a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(5 * 16000) / 12) * 9000).astype(np.int16).tobytes())
    (tmp_path / "clips/metadata.csv").write_text("video,prompt,input_audio\na.mp4,a red ball,a.wav\n")
    recipe = Recipe(
        model=ModelPart(name="model"),
        data=DataPart(sources=("clips",), size=(64, 64), frames=(8,), fps=8.0, cache="cache"),
        optimiser=OptimiserPart(steps=2 * STEPS, learning_rate=1e-3, warmup=1, batch_size=2),
        output="one",
        memory=MemoryPart(dtype="fp32", compile=False),
        log=LogPart(every=1),
        folder=tmp_path,
        parallel=ParallelPart(context=context),
    )
    alone(replace(recipe, parallel=ParallelPart()))
    run(2, on_a_rank, to(recipe, tmp_path / "two"))
    mine, theirs = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert mine.keys() == theirs.keys() and len(mine) == 2 * STEPS
    for key, (loss, norm, _) in mine.items():
        assert (loss, norm) == pytest.approx(theirs[key][:2], rel=1e-3), key


@pytest.mark.slow
def test_a_run_goes_on_with_four_ranks_then_two_then_one(base, whole, tmp_path):
    recipe = to(base, tmp_path)
    assert run(4, on_a_rank, recipe, 7)[0] == ("stopped", {"high": 4, "low": 3})
    assert run(2, on_a_rank, recipe, 6)[0] == ("stopped", {"high": 7, "low": 6})
    assert alone(recipe).end == "done"
    alike(tmp_path, whole)


@pytest.mark.slow
def test_ranks_go_on_from_the_checkpoint_of_one_process_and_from_the_one_before_a_damaged_one(
    base, whole, tmp_path
):
    recipe = to(replace(base, save=2), tmp_path)
    steps = iter(range(99))
    assert alone(recipe, stop=lambda: next(steps) >= 3).steps == {"high": 3, "low": 0}
    assert run(2, on_a_rank, recipe, 5)[0] == ("stopped", {"high": 5, "low": 3})
    newest = sorted((tmp_path / "checkpoints").glob("high-*"))[-1]
    assert newest.is_dir()
    shard = next(newest.glob("__1_*"))
    shard.write_bytes(shard.read_bytes()[:-9] + bytes(9))
    assert run(2, on_a_rank, recipe)[0] == ("done", {"high": STEPS, "low": STEPS})
    alike(tmp_path, whole)


def test_the_command_trains_on_two_devices_and_says_it_once(base, tmp_path, capfd):
    for name in ("model", "clips"):
        (tmp_path / name).symlink_to(base.folder / name)
    text = """
output = "run"
[model]
name = "model"
[data]
sources = "clips"
size = [48, 32]
frames = 5
fps = 8
[optimiser]
steps = 2
warmup = 0
gradient_accumulation = 2
[memory]
compile = false
"""
    (tmp_path / "r.toml").write_text(text)
    assert main(["train", str(tmp_path / "r.toml"), "--device", "cpu", "--gpus", "2"]) == 0
    said = capfd.readouterr()
    assert said.out.splitlines() == [str(tmp_path / "run" / "model")]
    assert (
        said.err.count("devices      2, which hold 1/2 of weights and moments each; 1 x 1 of the clips") == 1
    )
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "high-00000002",
        "low-00000002",
    ]
    (tmp_path / "r.toml").write_text(text.replace("gradient_accumulation = 2", ""))
    assert main(["train", str(tmp_path / "r.toml"), "--device", "cpu", "--gpus", "2"]) != 0
    said = capfd.readouterr()
    assert said.err.count("cannot be divided by 2 shares of a step") == 1 and not said.out
