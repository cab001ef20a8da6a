import errno
import json
import os
import tomllib
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from unit.train.small import SMALL

from wan22.errors import CheckpointError, OutputError
from wan22.train import checkpoint
from wan22.train.recipe import OLD_NAMES, StepsPart, parse_recipe

RECIPE = parse_recipe(tomllib.loads(SMALL))


def tensors(value):
    return {
        "parameter/a": torch.full((3, 2), float(value)),
        "step/a": torch.tensor(float(value)),
        "average/b": torch.full((4,), value, dtype=torch.bfloat16),
    }


def save(folder, step, expert="high"):
    return checkpoint.save(folder, expert, step, tensors(step), {"sums": [0.1, 1 / 3]})


def newest(folder, expert="high"):
    said = []
    return checkpoint.newest(folder, expert, said.append), said


def test_what_is_saved_comes_back_to_the_last_bit_and_two_are_kept(tmp_path):
    assert newest(tmp_path / "none") == (None, [])
    for step in (5, 10, 15):
        save(tmp_path, step)
    save(tmp_path, 7, "low")
    assert checkpoint.steps_of(tmp_path, "high") == [10, 15] and checkpoint.steps_of(tmp_path, "low") == [7]
    found, said = newest(tmp_path)
    assert found.step == 15 and found.notes == {"sums": [0.1, 1 / 3]} and said == []
    assert found.tensors.keys() == tensors(15).keys()
    for name, value in tensors(15).items():
        assert torch.equal(found.tensors[name], value) and found.tensors[name].dtype == value.dtype
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "header"])
def test_a_damaged_newest_one_falls_back_to_the_one_before_with_a_notice(tmp_path, damage):
    save(tmp_path, 5)
    path = save(tmp_path, 10)
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-1] ^= 1
    elif damage == "header":
        content[20] ^= 255
    path.write_bytes({"cut": content[:-9], "empty": b""}.get(damage, bytes(content)))
    found, said = newest(tmp_path)
    assert found.step == 5
    assert len(said) == 1 and said[0].startswith("the checkpoint high-00000010.safetensors is damaged")
    # The damaged one does not stand in the way of those that follow.
    save(tmp_path, 8)
    assert checkpoint.steps_of(tmp_path, "high") == [5, 8]


def test_where_all_are_damaged_nothing_is_begun_anew_in_silence(tmp_path):
    save(tmp_path, 5).write_bytes(b"nothing")
    with pytest.raises(
        CheckpointError, match=r"all checkpoints of the expert 'high' .* are damaged; remove that folder"
    ):
        newest(tmp_path)


def test_a_file_that_was_half_written_is_no_checkpoint_and_is_swept_away(tmp_path):
    save(tmp_path, 5)
    partial = tmp_path / "high-00000010.safetensors.partial"
    partial.write_bytes(b"half")
    found, said = newest(tmp_path)
    assert found.step == 5 and said == [] and not partial.exists()


@pytest.mark.parametrize("where", ["sync", "write"])
def test_a_full_disk_is_said_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, where):
    save(tmp_path, 5)
    save(tmp_path, 10)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        if where == "sync":
            patched.setattr(os, "fsync", full)
        else:
            patched.setattr("wan22.weights.writer.memoryview", full, raising=False)
        with pytest.raises(
            OutputError,
            match=r"step 15 was not saved: .*No space left on device.*'high' the last good one is of step 10; make",
        ):
            save(tmp_path, 15)
    assert checkpoint.steps_of(tmp_path, "high") == [5, 10]
    assert not list(tmp_path.glob("*.partial"))
    assert newest(tmp_path)[0].step == 10
    save(tmp_path, 15)
    assert newest(tmp_path)[0].step == 15


def changed(**optimiser):
    return replace(RECIPE, optimiser=replace(RECIPE.optimiser, **optimiser))


def test_a_changed_recipe_is_refused_by_the_names_of_what_differs(tmp_path):
    facts = {"weights": {"high": "abc"}}
    checkpoint.claim(tmp_path, RECIPE, facts)
    before = (tmp_path / "run.json").read_bytes()
    checkpoint.claim(tmp_path, RECIPE, facts)
    other = replace(changed(learning_rate=2e-4, batch_size=3), seed=7)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.claim(tmp_path, other, facts)
    message = str(caught.value)
    assert (
        "optimiser.batch_size was 1 and is 3; optimiser.learning_rate was 0.0001 and is 0.0002; seed was 0 and is 7"
        in message
    )
    with pytest.raises(CheckpointError, match=r"optimiser\.steps was 400 and is 300"):
        checkpoint.claim(tmp_path, changed(steps=300), facts)
    with pytest.raises(CheckpointError, match=r'weights was \{"high": "abc"\} and is \{"high": "xyz"\}'):
        checkpoint.claim(tmp_path, RECIPE, {"weights": {"high": "xyz"}})
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_run_that_began_with_old_names_goes_on(tmp_path):
    checkpoint.claim(tmp_path, RECIPE, {})
    path = tmp_path / "run.json"
    new = path.read_text()
    old = new
    for before, now in OLD_NAMES.items():
        old = old.replace(f'"{now}":', f'"{before}":')
    assert old != new
    path.write_text(old)
    with pytest.raises(CheckpointError, match=r"optimiser\.batch_size was 1 and is 3"):
        checkpoint.claim(tmp_path, changed(batch_size=3), {})
    checkpoint.claim(tmp_path, RECIPE, {})
    assert path.read_text() == new


def test_a_run_may_be_lengthened_and_watched_otherwise(tmp_path):
    checkpoint.claim(tmp_path, RECIPE, {})
    longer = replace(changed(steps=800), log=replace(RECIPE.log, every=3), save=9)
    watched = replace(longer, validation=replace(RECIPE.validation, every=4, prompts=("a",)))
    checkpoint.claim(tmp_path, watched, {})
    assert json.loads((tmp_path / "run.json").read_text())["recipe"]["optimiser.steps"] == 800
    with pytest.raises(CheckpointError, match=r"optimiser\.steps was 800 and is 400"):
        checkpoint.claim(tmp_path, RECIPE, {})


def test_an_expert_may_be_lengthened_alone_and_not_shortened(tmp_path):
    checkpoint.claim(tmp_path, RECIPE, {})
    apart = changed(steps=StepsPart(high=900, low=400))
    checkpoint.claim(tmp_path, apart, {})
    checkpoint.claim(tmp_path, changed(steps=900), {})
    with pytest.raises(CheckpointError, match=r"another recipe: optimiser\.steps\.low was 900 and is 400\. "):
        checkpoint.claim(tmp_path, apart, {})


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "\xff",
        '{"recipe": []}',
        '{"recipe": {"optimiser.steps": "x"}, "facts": {}}',
        '{"facts": {}}',
    ],
)
def test_a_damaged_run_file_is_named(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"run\.json (is|cannot) .*Remove .* to begin anew"):
        checkpoint.claim(tmp_path, RECIPE, {})


@pytest.mark.parametrize(
    "metadata", [None, {}, {"checksums": "[]", "notes": "3", "expert": "high", "step": "10"}]
)
def test_a_checkpoint_without_what_is_kept_beside_its_tensors_is_damaged(tmp_path, metadata):
    save_file(tensors(1), tmp_path / "high-00000010.safetensors", metadata)
    with pytest.raises(CheckpointError, match="are damaged"):
        newest(tmp_path)


@pytest.mark.parametrize("name", ["log.jsonl", "lora", "validation"])
def test_a_folder_of_a_person_is_no_place_for_a_run(tmp_path, name):
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=f"{name} is there, and no run was begun in"):
        checkpoint.claim(tmp_path, RECIPE, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "notes.txt"])
    (tmp_path / name).unlink()
    checkpoint.claim(tmp_path, RECIPE, {})
    (tmp_path / name).write_text("the run's")
    checkpoint.claim(tmp_path, RECIPE, {})
