import errno
import json
import os
import shutil
import signal
import wave
from dataclasses import replace
from itertools import chain, repeat

import numpy as np
import pytest
import torch
from safetensors import safe_open
from unit.tiny import write_tiny, write_tiny_speech
from unit.train.media import write_captioned_image, write_clip

import wan22
from wan22.cli import report
from wan22.cli.__main__ import main
from wan22.cli.train import _asked_to_stop
from wan22.errors import CheckpointError, DeviceError, OptionError, OutputError
from wan22.media.recipe import read_recipe
from wan22.media.video import read_clip
from wan22.train import checkpoint as checkpoint_module
from wan22.train import plan as plan_module
from wan22.train import run as run_module
from wan22.train.experts import next_expert
from wan22.train.lock import locked
from wan22.train.plan import make_plan
from wan22.train.recipe import (
    AdapterPart,
    DataPart,
    ImagePart,
    LogPart,
    MemoryPart,
    ModelPart,
    NoisePart,
    OptimiserPart,
    Recipe,
    SpeechPart,
    StepsPart,
    ValidationPart,
)
from wan22.train.run import train

pytestmark = pytest.mark.slow

STEPS = 4


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model of two experts, clips, and a recipe that trains everything of it."""
    folder = tmp_path_factory.mktemp("base")
    write_tiny(folder / "model")
    texts = ("a red ball rolls left", "a blue cube spins", "a red cube at sunset")
    for i, text in enumerate(texts):
        write_clip(folder / "clips" / f"{i}.mp4", frames=9 + 4 * i, text=text)
    return Recipe(
        model=ModelPart(name="model"),
        data=DataPart(
            sources=("clips",), size=(48, 32), frames=(5,), fps=8.0, cache="cache", caption_dropout=0.3
        ),
        optimiser=OptimiserPart(
            steps=STEPS, learning_rate=1e-3, warmup=1, batch_size=2, gradient_accumulation=2, ema_decay=0.9
        ),
        output="out",
        noise=NoisePart(shift=3.0),
        memory=MemoryPart(dtype="fp32", steps_per_expert_turn=3, offload_inactive_expert="device"),
        log=LogPart(every=2),
        seed=5,
        save=3,
        folder=folder,
    )


def go(recipe, output, *, said=None, **how):
    return train(
        replace(recipe, output=str(output)), device="cpu", log=([] if said is None else said).append, **how
    )


def stop_after(steps):
    """Ask to stop when so many steps have been done."""
    answers = chain(repeat(False, steps), repeat(True))
    return lambda: next(answers)


def state(folder):
    """Every tensor of the newest checkpoint of each expert, and the log without its times."""
    tensors = {}
    for expert in ("high", "low"):
        newest = sorted((folder / "checkpoints").glob(f"{expert}-*.safetensors"))[-1]
        with safe_open(newest, "pt") as file:
            tensors |= {(newest.name, name): file.get_tensor(name) for name in file.keys()}
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return tensors, sorted(
        ({**line, "seconds": 0} for line in lines), key=lambda line: (line["expert"], line["step"])
    )


def same(a, b):
    (first, lines), (second, others) = a, b
    assert first.keys() == second.keys() and lines == others
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = go(base, folder)
    assert outcome.end == "done" and outcome.steps == {"high": STEPS, "low": STEPS}
    return folder


def test_both_experts_are_trained_in_turns_and_each_writes_its_own_curve(base, whole):
    tensors, lines = state(whole)
    assert [(line["expert"], line["step"]) for line in lines] == [
        ("high", 2),
        ("high", 4),
        ("low", 2),
        ("low", 4),
    ]
    for line in lines:
        drawn = [band for band, loss in enumerate(line["bands"]) if loss is not None]
        # The tiny model's boundary is 0.9: the last of ten bands.
        assert drawn == [9] if line["expert"] == "high" else max(drawn) < 9 or line["bands"][9] is None
        assert line["loss"] > 0 and line["norm"] > 0 and 0 <= line["rate"] <= 1e-3
    kinds = {name.partition("/")[0] for _, name in tensors}
    assert kinds == {"parameter", "average", "exp_avg", "exp_avg_sq", "step"}
    parameter = "parameter/blocks.0.self_attn.q.weight"
    high, low = (tensors[f"{e}-{STEPS:08d}.safetensors", parameter] for e in ("high", "low"))
    assert not torch.equal(high, low)


@pytest.mark.parametrize(("rest", "piece"), [("device", 1), ("host", 3), ("disk", 3)])
def test_a_run_in_pieces_equals_a_run_in_one_to_the_last_bit(base, whole, tmp_path, rest, piece):
    recipe = replace(base, memory=replace(base.memory, offload_inactive_expert=rest))
    ends = []
    for _ in range(0, 2 * STEPS, piece):
        outcome = go(recipe, tmp_path, stop=stop_after(piece))
        ends.append((outcome.end, sum(outcome.steps.values())))
    assert ends == [*(("stopped", done) for done in range(piece, 2 * STEPS, piece)), ("done", 2 * STEPS)]
    same(state(tmp_path), state(whole))
    model = "model/high_noise_model.safetensors"
    assert (tmp_path / model).read_bytes()[-1000:] == (whole / model).read_bytes()[-1000:]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_run_that_is_killed_while_it_saves_ends_at_the_same_bits(base, whole, tmp_path, monkeypatch, at):
    """The kill comes with the file half written, under its other name; nothing of Python's is run for the partial."""
    saves = iter(range(1, 100))
    real = checkpoint_module.write_safetensors

    def killed(path, *args):
        if next(saves) == at:
            path.with_name(path.name + ".partial").write_bytes(b"half")
            raise Killed
        real(path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_module, "write_safetensors", killed)
        with pytest.raises(Killed):
            go(base, tmp_path)
    go(base, tmp_path)
    same(state(tmp_path), state(whole))


def test_a_damaged_checkpoint_costs_steps_and_no_bit(base, whole, tmp_path):
    often = replace(base, save=1)
    go(often, tmp_path, stop=stop_after(5))
    names = [path.name for path in sorted((tmp_path / "checkpoints").glob("*"))]
    assert names == [
        f"{expert}-{step:08d}.safetensors"
        for expert, step in (("high", 2), ("high", 3), ("low", 1), ("low", 2))
    ]
    newest = tmp_path / "checkpoints" / names[1]
    newest.write_bytes(newest.read_bytes()[:-5])
    said = []
    assert go(often, tmp_path, said=said).end == "done"
    assert any(line.startswith("the checkpoint high-00000003.safetensors is damaged") for line in said)
    assert "going on     high at step 2, low at step 2" in said
    same(state(tmp_path), state(whole))


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_whole(base, whole, tmp_path, monkeypatch):
    go(base, tmp_path, stop=stop_after(2))

    real = checkpoint_module.write_safetensors

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def on_a_full_disk(*arguments):
        with monkeypatch.context() as patched:
            patched.setattr("wan22.weights.writer.os.fsync", full)
            real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_module, "write_safetensors", on_a_full_disk)
        with pytest.raises(
            OutputError, match=r"No space left on device.*the last good one is of step 2; make room"
        ):
            go(base, tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["high-00000002.safetensors"]
    assert go(base, tmp_path).end == "done"
    same(state(tmp_path), state(whole))


def test_the_trained_model_is_a_model(base, whole):
    engine = wan22.load(whole / "model", device="cpu")
    trained, before = (
        engine._placement.bring("high"),
        wan22.load(base.folder / "model", device="cpu")._placement,
    )
    assert not torch.equal(trained.head.head.weight, before.bring("high").head.head.weight)
    request = wan22.Request(prompt="a red ball", frames=5, size=(48, 32), steps=2)
    assert any(type(event).__name__ == "Frames" for event in engine.generate(request))


def test_a_run_goes_on_only_with_its_own_recipe_and_may_be_lengthened(base, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(
        CheckpointError, match=r"optimiser\.learning_rate was 0\.001 and is 0\.01; seed was 5 and is 6"
    ):
        go(replace(base, optimiser=replace(base.optimiser, learning_rate=1e-2), seed=6), tmp_path / "run")
    longer = replace(base, optimiser=replace(base.optimiser, steps=STEPS + 1))
    assert go(longer, tmp_path / "run").steps == {"high": STEPS + 1, "low": STEPS + 1}


def test_videos_are_made_on_the_way_with_what_was_learned_so_far_and_change_nothing(base, whole, tmp_path):
    part = ValidationPart(every=4, prompts=("a red ball", "a blue cube"), seed=3, steps=2)
    for rest in ("device", "disk"):
        folder = tmp_path / rest
        go(replace(base, validation=part, memory=replace(base.memory, offload_inactive_expert=rest)), folder)
        videos = sorted(str(path.relative_to(folder)) for path in folder.rglob("validation/**/*.mp4"))
        moments = ("high-000003_low-000001", "high-000004_low-000004")
        assert videos == [f"validation/{moment}/{i:02}.mp4" for moment in moments for i in range(2)]
        same(state(folder), state(whole))
        recipes = [read_recipe(folder / video) for video in videos]
        assert [r["seed"] for r in recipes] == [3, 4, 3, 4] and recipes[0]["prompt"] == "a red ball"
        first, last = (read_clip(folder / videos[i]).frames for i in (0, 2))
        assert first.shape == last.shape == (5, 32, 48, 3) and (first != last).any()


def test_a_folder_that_a_live_process_trains_in_is_left_alone(base, whole, tmp_path):
    go(base, tmp_path, stop=stop_after(2))
    with locked(tmp_path / "run.lock", f"trains in {tmp_path}"):
        before = (tmp_path / "log.jsonl").read_bytes()
        with pytest.raises(OutputError, match=rf"process {os.getpid()} trains in .*; wait for its end"):
            go(base, tmp_path)
        assert (tmp_path / "log.jsonl").read_bytes() == before
    assert go(base, tmp_path).end == "done" and not list(tmp_path.rglob("*.lock"))
    same(state(tmp_path), state(whole))


def test_time_ends_a_run_with_a_checkpoint(base, tmp_path):
    outcome = go(base, tmp_path, minutes=1e-9)
    assert outcome.end == "time" and outcome.steps == {"high": 1, "low": 0} and outcome.made is None
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["high-00000001.safetensors"]


def test_one_expert_alone_can_be_trained_and_ends_where_both_do(base, whole, tmp_path):
    outcome = go(replace(base, model=ModelPart(name="model", experts=("low",))), tmp_path)
    assert outcome.steps == {"low": STEPS}
    with safe_open(tmp_path / "checkpoints" / f"low-{STEPS:08d}.safetensors", "pt") as alone:
        both = state(whole)[0]
        assert all(
            torch.equal(alone.get_tensor(name), both[f"low-{STEPS:08d}.safetensors", name])
            for name in alone.keys()
        )
    wan22.load(tmp_path / "model", device="cpu")  # the other expert is the base's


def test_turns_follow_from_the_steps_alone():
    steps, order = {"high": 0, "low": 0}, ""
    total = {"high": 5, "low": 5}
    while (name := next_expert(steps, total=total, steps_per_turn=2)) is not None:
        steps[name] += 1
        order += name[0]
    assert order == "hhllhhllhl"
    assert next_expert({"high": 1, "low": 0}, total=total, steps_per_turn=2) == "high"
    assert next_expert({"high": 5, "low": 3}, total=total, steps_per_turn=2) == "low"
    assert next_expert({"high": 2, "low": 1}, total={"high": 9, "low": 1}, steps_per_turn=2) == "high"


def test_experts_may_have_steps_of_their_own_and_end_at_the_bits_of_a_run_of_as_many(base, whole, tmp_path):
    """The expert with as many steps as in the other run is the same; a run in pieces is a run in one."""
    apart = StepsPart(high=STEPS, low=2)
    recipe = replace(base, optimiser=replace(base.optimiser, steps=apart))
    assert "steps        4 of high and 2 of low, 2 x 2 clips" in "\n".join(make_plan(recipe, "cpu").lines())
    said = []
    assert go(recipe, tmp_path, said=said, stop=stop_after(3)).end == "stopped"
    assert go(recipe, tmp_path, said=said).steps == {"high": STEPS, "low": 2}
    assert any(line.startswith("low  step 2/2 ") for line in said)
    (mine, _), (other, _) = state(tmp_path), state(whole)
    high = {key: value for key, value in mine.items() if key[0].startswith("high")}
    assert high and all(torch.equal(value, other[key]) for key, value in high.items())
    # and it may be lengthened to the steps of the other run, but the rates of the low expert were others
    assert go(base, tmp_path).steps == {"high": STEPS, "low": STEPS}
    with pytest.raises(CheckpointError, match=r"optimiser\.steps\.low was 4 and is 2"):
        go(recipe, tmp_path)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (StepsPart(high=4), r"optimiser\.steps says nothing of low; trained: high, low"),
        (StepsPart(high=4, low=4, dit=4), r"optimiser\.steps\.dit are the steps of an expert that is not trained"),
    ],
)  # fmt: skip
def test_steps_of_other_experts_than_are_trained_are_refused(base, steps, said):
    with pytest.raises(OptionError, match=said):
        make_plan(replace(base, optimiser=replace(base.optimiser, steps=steps)), "cpu")


def test_a_batch_or_a_size_that_cannot_be_is_refused_before_anything_is_read(base):
    with pytest.raises(
        OptionError, match=r"optimiser\.batch_size = 99 is more than the \d+ clips that there are"
    ):
        make_plan(replace(base, optimiser=replace(base.optimiser, batch_size=99)), "cpu")
    with pytest.raises(OptionError, match=r"data\.size = \[40, 32\]: sides of .* are multiples of 16"):
        make_plan(replace(base, data=replace(base.data, size=(40, 32))), "cpu")
    with pytest.raises(OptionError, match=r"data\.frames = 6: the frames of a clip of .* are 4n \+ 1"):
        make_plan(replace(base, data=replace(base.data, frames=(6,))), "cpu")
    with pytest.raises(
        OptionError, match=r'model\.task = "s2v" is not one of tiny; it can learn ti2v, t2v, i2v'
    ):
        make_plan(replace(base, model=ModelPart(name="model", task="s2v")), "cpu")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", r'output = "" names no folder; give one, such as "run"'),
        (" ", r'output = " " names no folder'),
        ("a.txt", r'output = "a\.txt": .*a\.txt is a file, not a folder'),
        ("a.txt/run", r'output = "a\.txt/run": .*a\.txt is a file, not a folder'),
        ("/proc/run", r'output = "/proc/run": /proc/run cannot be written: .* in /proc\. Choose a folder'),
        ("clips", r'output = "clips" lies in the clips of data\.sources \("clips"\), where videos of the run'),
        ("x/../clips/run", r'output = "x/../clips/run" lies in the clips of data\.sources'),
    ],
)  # fmt: skip
def test_a_place_where_a_run_cannot_be_written_is_refused_by_check_and_run_alike(base, output, said):
    (base.folder / "a.txt").write_text("kept")
    before = sorted(base.folder.rglob("*"))
    with pytest.raises((OptionError, OutputError), match=said):
        make_plan(replace(base, output=output), "cpu")
    with pytest.raises((OptionError, OutputError), match=said):
        go(base, output)
    assert sorted(base.folder.rglob("*")) == before


def test_a_cache_that_cannot_be_a_folder_is_refused_by_the_check(base, tmp_path):
    (tmp_path / "file").write_text("")
    for cache, said in (("", "names no folder"), (str(tmp_path / "file"), "is a file, not a folder")):
        with pytest.raises((OptionError, OutputError), match=f"data\\.cache = .*{said}"):
            make_plan(replace(base, data=replace(base.data, cache=cache)), "cpu")


def test_a_video_to_show_that_cannot_be_made_is_refused_by_the_check(base):
    part = ValidationPart(every=4, prompts=("a red ball", ""), steps=2)
    with pytest.raises(OptionError, match=r"the validation video '' cannot be made: the prompt is empty"):
        make_plan(replace(base, validation=part), "cpu")


def test_clips_go_to_every_shape_that_the_model_can_draw(tmp_path, base):
    """64x64 divides by 64, the model's grid is 16: an upright clip is not cut to a square."""
    for i, (width, height) in enumerate(((64, 64), (48, 80), (80, 48))):
        write_clip(tmp_path / "clips" / f"{i}.mp4", width=width, height=height, text=f"ball {i}")
    data = replace(base.data, sources=(str(tmp_path / "clips"),), size=(64, 64))
    plan = make_plan(replace(base, data=data), "cpu")
    assert {window.size for window in plan.survey.windows} == {(64, 64), (48, 80), (80, 48)}


def test_a_model_that_is_kept_to_its_sizes_and_lengths_is_trained_on_no_others(tmp_path, base):
    write_tiny(tmp_path / "model", only=True)
    for i, (width, height) in enumerate(((64, 64), (48, 80), (80, 48))):
        write_clip(tmp_path / "clips" / f"{i}.mp4", width=width, height=height, text=f"ball {i}")
    recipe = replace(base, folder=tmp_path, data=replace(base.data, sources=("clips",)))
    plan = make_plan(recipe, "cpu")
    assert {window.size for window in plan.survey.windows} == {(32, 32), (32, 48), (48, 32)}
    with pytest.raises(OptionError, match=r"data\.size = \[64, 32\]: .* no other: 48x32, 32x48, 32x32"):
        make_plan(replace(recipe, data=replace(recipe.data, size=(64, 32))), "cpu")
    with pytest.raises(
        OptionError, match=r"in 13 frames, and .* draws 1, 5, 9 and no other; choose data\.frames"
    ):
        write_clip(tmp_path / "clips/long.mp4", frames=13, text="a long video")
        make_plan(replace(recipe, data=replace(recipe.data, frames=(13, 5))), "cpu")


def test_what_does_not_fit_into_memory_is_refused_with_what_helps(base, monkeypatch):
    need = make_plan(base, "cpu").need.total
    monkeypatch.setattr(plan_module, "free_memory", lambda device: round(0.9 * need))
    with pytest.raises(
        DeviceError, match=r"training needs .* GB .* are free\. What helps most: .* which fits"
    ):
        make_plan(base, "cpu")


def test_the_plan_says_experts_ranges_parameters_memory_and_buckets(base):
    lines = "\n".join(make_plan(base, "cpu").lines())
    for said in (
        "expert       high: sigma 0.9 to 1, shift 3",
        "expert       low: sigma 0 to below 0.9, shift 3",
        "M parameters of each expert",
        "memory       ",
        "48x32x5",
        "steps        4 of each expert, 2 x 2 clips a step, adamw",
        "compiled     no: 16 steps are too few for 1 shape of batches",
    ):
        assert said in lines, said


@pytest.mark.parametrize("dialect", ["comfy", "diffusers", "kohya"])
def test_a_lora_pair_knows_which_is_which(base, tmp_path, dialect):
    recipe = replace(base, adapter=AdapterPart(rank=2, alpha=4.0, dialect=dialect))
    recipe = replace(
        recipe,
        memory=MemoryPart(
            dtype="fp32", base_dtype="fp32", steps_per_expert_turn=2, offload_inactive_expert="disk"
        ),
    )
    outcome = go(recipe, tmp_path)
    assert outcome.made == tmp_path / "lora"
    assert sorted(p.name for p in outcome.made.iterdir()) == [
        "high_noise.safetensors",
        "low_noise.safetensors",
    ]
    engine = wan22.load(base.folder / "model", device="cpu", loras=[outcome.made])
    assert engine.loras.on("high") and engine.loras.on("low")
    from wan22.weights.lora.file import open_adapters

    adapters = {adapter.expert: adapter for adapter in open_adapters(outcome.made)}
    assert adapters.keys() == {"high", "low"} and adapters["high"].ranks.keys() == {2}


@pytest.mark.parametrize("memory", [
    MemoryPart(dtype="bf16", base_dtype="bf16", offload_inactive_expert="disk", steps_per_expert_turn=2),
    MemoryPart("bf16", "int8", True, offload_inactive_expert="host", steps_per_expert_turn=2),
    MemoryPart(dtype="fp32", base_dtype="int8", offload_inactive_expert="device", steps_per_expert_turn=2),
    MemoryPart("bf16", "int8", True, offload_inactive_expert="host", steps_per_expert_turn=2, stream_base=True),
])  # fmt: skip
def test_adapters_on_a_small_base_go_on_at_the_same_bits_and_leave_the_base_alone(base, tmp_path, memory):
    part = ValidationPart(every=5, prompts=("a red ball",), steps=2)
    recipe = replace(base, adapter=AdapterPart(rank=2), memory=memory, validation=part)
    go(recipe, tmp_path / "one")
    go(recipe, tmp_path / "two", stop=stop_after(3))
    go(recipe, tmp_path / "two")
    same(state(tmp_path / "one"), state(tmp_path / "two"))
    learned = {name for _, name in state(tmp_path / "one")[0] if name.startswith("parameter/")}
    assert learned and all(name.endswith((".down", ".up")) for name in learned)
    assert len(list((tmp_path / "one").rglob("*.mp4"))) == 1


def small(base, folder, **change):
    """A recipe of one step in a folder of its own, whose videos are made at the end."""
    shown = ValidationPart(every=1, prompts=("a red ball",), steps=2)
    once = replace(base.optimiser, steps=1, warmup=0, batch_size=1, gradient_accumulation=1)
    plain = replace(base, folder=folder, optimiser=once, validation=shown, adapter=AdapterPart(rank=2))
    return replace(
        plain, memory=MemoryPart(dtype="fp32", base_dtype="fp32", offload_inactive_expert="disk"), **change
    )


def test_a_model_that_is_told_images_by_channels_learns_from_them(base, tmp_path):
    write_tiny(tmp_path / "model", image="channels")
    write_clip(tmp_path / "clips/a.mp4")
    write_captioned_image(tmp_path / "first.png")
    recipe = small(base, tmp_path)
    with pytest.raises(OptionError, match=r"tiny needs images: validation\.images, one for each prompt"):
        go(recipe, tmp_path / "out")
    told = replace(recipe, validation=replace(recipe.validation, images=("first.png",)))
    assert go(told, tmp_path / "out").end == "done"
    assert len(list((tmp_path / "out").rglob("validation/*/00.mp4"))) == 2


def test_a_model_that_audio_drives_learns_from_clips_with_audio(base, tmp_path):
    pytest.importorskip("transformers")
    write_tiny_speech(tmp_path / "model")
    write_clip(tmp_path / "clips/a.mp4", frames=40, width=64, height=64)
    samples = (np.sin(np.arange(5 * 16000) / 12) * 9000).astype(np.int16)
    with wave.open(str(tmp_path / "clips/a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    (tmp_path / "clips/metadata.csv").write_text("video,prompt,input_audio\na.mp4,a red ball,a.wav\n")
    write_captioned_image(tmp_path / "who.png", width=64, height=64)
    data = replace(base.data, size=(64, 64), frames=(8,))
    recipe = small(base, tmp_path, data=data)
    with pytest.raises(OptionError, match=r"data\.frames = 5: the frames of a clip of .* are 8"):
        go(replace(recipe, data=replace(data, frames=(5,))), tmp_path / "out")
    shown = replace(recipe.validation, images=("who.png",), audio=("clips/a.wav",))
    outcome = go(replace(recipe, validation=shown), tmp_path / "out")
    assert outcome.end == "done" and outcome.steps == {"dit": 1}
    assert [path.name for path in (tmp_path / "out/lora").iterdir()] == ["transformer.safetensors"]
    assert len(list((tmp_path / "out").rglob("validation/*/00.mp4"))) == 1


def test_a_run_may_learn_to_end_on_an_image(base, tmp_path):
    told = replace(base, image=ImagePart(first=0.2, last=0.4, both=0.3), data=replace(base.data, frames=(9,)))
    lines = "\n".join(make_plan(told, "cpu").lines())
    assert "images       the first image 20%, the last 40%, both 30%, none 10% of the batches" in lines
    assert go(told, tmp_path, stop=stop_after(2)).end == "stopped"
    assert go(told, tmp_path).end == "done"
    with pytest.raises(OptionError, match=r"image\.both = 0\.3 leaves nothing to learn of clips of 5 frames"):
        make_plan(replace(told, data=base.data), "cpu")
    with pytest.raises(OptionError, match=r'\[image\] is for the task "ti2v", and the task is "t2v"'):
        make_plan(replace(told, model=ModelPart(name="model", task="t2v")), "cpu")
    with pytest.raises(OptionError, match=r'\[speech\] is for the task "s2v", and the task is "ti2v"'):
        make_plan(replace(base, speech=SpeechPart()), "cpu")


def test_videos_that_an_end_has_left_undone_are_made_when_the_run_goes_on(base, tmp_path):
    recipe = replace(base, validation=ValidationPart(every=3, prompts=("a red ball",), steps=2))
    assert go(recipe, tmp_path, stop=stop_after(3)).end == "stopped"
    assert not list(tmp_path.rglob("*.mp4"))
    go(recipe, tmp_path)
    assert len(list(tmp_path.rglob("validation/high-000003_low-000000/00.mp4"))) == 1


def test_tensorboard_that_is_asked_for_and_absent_is_an_error_that_says_what_to_install(
    base, tmp_path, monkeypatch
):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(OptionError, match="needs the package tensorboard: pip install tensorboard"):
        go(replace(base, log=LogPart(tensorboard=True)), tmp_path)


def test_a_loss_that_is_not_finite_ends_the_run_with_a_word(base, tmp_path, monkeypatch):
    monkeypatch.setattr(
        run_module, "velocity_errors", lambda *_: torch.tensor([float("nan")], requires_grad=True)
    )
    with pytest.raises(
        OptionError, match=r"the loss of step 0 of the expert 'high' is nan; lower optimiser\.learning_rate"
    ):
        go(base, tmp_path)


def test_the_first_signal_asks_for_an_end_and_the_second_ends(capsys):
    before = signal.getsignal(signal.SIGINT)
    with _asked_to_stop(report.answer(False)) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() and "stopping after this step" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_checks_trains_and_goes_on(base, tmp_path, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'output = "out"\n[model]\nname = "{base.folder}/model"\n[adapter]\nrank = 2\n[data]\nsources = '
        f'"{base.folder}/clips"\nsize = [48, 32]\nframes = 5\nfps = 8\n[optimiser]\nsteps = 9\nwarmup = 0\n'
    )
    assert main(["train", str(recipe), "--check", "--device", "cpu"]) == 0
    assert (
        "expert       high: sigma 0.9 to 1, shift 5" in capsys.readouterr().out
        and not (tmp_path / "out").exists()
    )
    assert main(["train", str(recipe), "--steps", "2", "--minutes", "1e-9", "--device", "cpu"]) == 0
    assert "saved at step high 1, low 0; the same command goes on" in capsys.readouterr().err
    assert main(["train", str(recipe), "--steps", "2", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out/lora'}\n" and "high step 1/2  loss" not in out
    assert "model        " in err
    assert main(["train", str(recipe), "--steps", "0"]) == 2
    assert "--steps 0 should be a whole number from 1" in capsys.readouterr().err
    assert main(["train", str(recipe), "--steps", "high=3,low=2", "--check", "--device", "cpu"]) == 0
    assert "steps        3 of high and 2 of low" in capsys.readouterr().out
    for wrong in ("high=3,high=4", "hihg=3,low=2", "3,low=2"):
        assert main(["train", str(recipe), "--steps", wrong]) == 2
        assert "should name each expert once; known: high, low, dit" in capsys.readouterr().err
    recipe.write_text(recipe.read_text() + "stepz = 1\n")
    assert main(["train", str(recipe)]) == 2
    assert "unknown setting optimiser.stepz. Did you mean optimiser.steps?" in capsys.readouterr().err


def test_files_in_place_of_the_models_own_are_trained_and_are_of_the_run(base, tmp_path, monkeypatch):
    other = write_tiny(tmp_path / "other") / "low_noise_model.safetensors"
    recipe = replace(base, model=replace(base.model, high=str(other)))
    plan = make_plan(recipe, "cpu")
    assert plan.model.parts["high"] == other and plan.model.parts["low"] == base.folder / "model" / other.name
    weights = plan_module.facts(plan)["weights"]
    assert weights["high"] == weights["low"] != plan_module.facts(make_plan(base, "cpu"))["weights"]["high"]

    class Enough(Exception):
        pass

    def load(name, *, parts, **_):
        raise Enough(name, parts)

    monkeypatch.setattr("wan22.engine.load", load)
    with pytest.raises(Enough) as loaded:
        go(recipe, tmp_path / "out")
    assert loaded.value.args == (str(base.folder / "model"), {"high": other})
    with pytest.raises(CheckpointError, match=r"model\.high was .* and is null"):
        go(base, tmp_path / "out")


def test_the_command_takes_files_of_the_model(base, tmp_path, capsys, monkeypatch):
    write_tiny(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(
        f'output = "out"\n[model]\nname = "{base.folder / "model"}"\n'
        f'[data]\nsources = "{base.folder / "clips"}"\nsize = [48, 32]\nframes = 5\nfps = 8\n'
        "[optimiser]\nsteps = 4\nwarmup = 1\n"
    )
    planned = []
    monkeypatch.setattr(
        plan_module, "make_plan", lambda recipe, *_: planned.append(recipe) or make_plan(recipe, "cpu")
    )
    files = {part: f"other/{part}_noise_model.safetensors" for part in ("high", "low")}
    options = [text for part, path in files.items() for text in (f"--{part}", path)]
    assert main(["train", "recipe.toml", "--check", *options]) == 0
    assert "model        model, ti2v" in capsys.readouterr().out
    assert planned[0].model.parts == {part: str(tmp_path / path) for part, path in files.items()}
    assert main(["train", "recipe.toml", "--check", "--vae", "gone.safetensors"]) == 2
    assert "gone.safetensors" in capsys.readouterr().err


def test_progress_says_the_time_that_all_experts_still_need():
    total = {"high": 1000, "low": 400}
    line = {"expert": "high", "step": 300, "loss": 0.5, "norm": 1.0, "rate": 1e-4, "seconds": 2.0}
    said = run_module._progress(line, total, {"high": 300, "low": 400})
    assert (said.step, said.steps, said.left, said.numbers["loss"]) == (300, 1000, 1400, 0.5)
    assert said.startswith("high step 300/1000  loss 0.5000") and said.endswith("23:20 left")
    assert run_module._progress(line, total, {"high": 0, "low": 0}).left == 2800
    assert run_module._progress(line, total, total).endswith("0:00 left")
