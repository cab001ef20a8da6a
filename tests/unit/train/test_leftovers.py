"""What a killed process left half-written in a run, a cache or a report is removed by the next one; the rest stays."""

import hashlib
import json
import os
import tomllib
import warnings

import pytest
import torch
from unit.train.small import SMALL

from wan22.errors import CheckpointError
from wan22.train import checkpoint
from wan22.train.data.cache import Contents, Store, key_of
from wan22.train.data.sources import collect
from wan22.train.distill.run import _present
from wan22.train.distill.trajectories import Trajectories, path_of
from wan22.train.evaluation.run import _kept_losses
from wan22.train.log import LossMeter, MetricsLog, read_log
from wan22.train.recipe import parse_recipe

RECIPE = parse_recipe(tomllib.loads(SMALL))
TENSORS = {"parameter/a": torch.ones(3)}
WRITERS = {
    "run.json": (
        lambda folder: checkpoint.write_json(folder / "run.json", {}),
        lambda folder: checkpoint.claim(folder, RECIPE, {}),
    ),
    "checkpoint": (
        lambda folder: checkpoint.save(folder, "high", 1, TENSORS, {}),
        lambda folder: checkpoint.newest(folder, "high", print),
    ),
    "log": (
        lambda folder: MetricsLog(folder, tensorboard=False).resume({}),
        lambda folder: MetricsLog(folder, tensorboard=False).resume({}),
    ),
    "cache": (lambda folder: Store(folder).write("a", {"text": torch.ones(2)}, {}), Store),
}


def killed(work, folder):
    """Run `work` in a process that ends at once where a file would get its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.replace = lambda *_: os._exit(9)
        try:
            work(folder)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.parametrize("name", WRITERS)
def test_the_next_start_removes_what_a_killed_process_left_half_written(tmp_path, name):
    write, start = WRITERS[name]
    (tmp_path / ".mine.part").write_text("a person's")
    killed(write, tmp_path)
    assert len(list(tmp_path.glob(".*.part"))) == 2
    start(tmp_path)
    assert [path.name for path in tmp_path.glob(".*")] == [".mine.part"]


def test_entries_of_earlier_versions_are_found_and_read_by_their_new_names(tmp_path):
    old = {"told": "speech", "audio": "weights", "sound": "file", "hush": 0.1, "made": 1}
    new = {
        "conditioning": "speech",
        "audio_encoder": "weights",
        "audio": "file",
        "silence_rms": 0.1,
        "made": 1,
    }
    assert key_of(new) != key_of(new | {"audio_encoder": "other"})
    # The hash that the settings had before their names changed.
    assert key_of(new) == hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()[:32]
    store = Store(tmp_path)
    store.write("a", {"latents": torch.ones(1), "heard": torch.ones(2), "known": torch.ones(3)}, {})
    found = store.read("a", {"latents": (1,), "audio": (2,), "channels": (3,)})
    assert found.keys() == {"latents", "audio", "channels"}


def test_a_distillation_of_an_earlier_version_goes_on():
    old = {"own": 0.5, "tell": 1, "save": 2, "recording": {"pictured": 0.2, "still": 0.1, "main": 0.7}}
    assert _present(old) == {
        "student_start_share": 0.5,
        "log_every": 1,
        "checkpoint_every": 2,
        "recording": {"image_share": 0.2, "single_image_share": 0.1, "main_size_share": 0.7},
    }
    assert _present({"optimiser": {"rate": 1}}) == {"optimiser": {"learning_rate": 1}}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 40, b"[]"])
def test_damaged_files_of_runs_are_errors_that_name_them(tmp_path, content):
    path_of(tmp_path, 0).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"000000\.safetensors is damaged"):
        Trajectories(tmp_path, 1)
    (tmp_path / "loss.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"loss\.json"):
        _kept_losses(tmp_path / "loss.json")


def test_a_table_that_calls_audio_sound_is_read_with_a_note(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "metadata.csv").write_text("video,prompt,sound\na.mp4,a red ball,a.wav\n")
    found = collect((tmp_path,))
    assert [item.audio for item in found.items] == [tmp_path / "a.wav"]
    assert any("column sound is now called audio" in problem.reason for problem in found.problems)


def log_of(folder, steps):
    log = MetricsLog(folder, tensorboard=False)
    log.resume({"dit": 0})
    for step in steps:
        log.write("dit", step, LossMeter(), 0.1)
    return folder / "log.jsonl"


def test_a_log_that_ends_in_half_a_line_is_read_and_goes_on(tmp_path):
    path = log_of(tmp_path, (1, 2, 3))
    whole = path.read_bytes()
    second = whole[:-1].rindex(b"\n") + 1
    for end in range(second, len(whole)):
        path.write_bytes(whole[:end])
        found = [line["step"] for line in read_log(path)]
        assert found == ([1, 2, 3] if end == len(whole) - 1 else [1, 2])
        log = MetricsLog(tmp_path, tensorboard=False)
        log.resume({"dit": 2})
        log.write("dit", 3, LossMeter(), 0.1)
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "row",
    [
        b"\0" * 40,
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"expert": "dit", "st{"expert": "dit", "step": 2}',
        b'{"step": "2", "expert": "dit"}',
        b'{"step": true, "expert": "dit"}',
        b'{"expert": "dit"}',
        b"[1]",
        b"null",
    ],
)
def test_a_line_of_a_log_that_is_none_costs_no_other(tmp_path, row):
    path = log_of(tmp_path, (1, 2))
    one, two = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join((one, row, two)))
    MetricsLog(tmp_path, tensorboard=False).resume({"dit": 2})
    assert path.read_bytes().splitlines() == [one, two]


def test_a_log_that_is_no_file_is_an_error_of_ours(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(CheckpointError, match=r"log\.jsonl"):
        MetricsLog(tmp_path, tensorboard=False).resume({"dit": 2})


@pytest.mark.parametrize(
    "kept", ["", "[" * 9999, "[1]", '{"a": 3}', '{"/x": [1, 2]}', '{"PATH": [SIZE, TIME]}']
)
def test_damaged_hashes_of_files_are_made_again(tmp_path, kept):
    clip = tmp_path / "clip"
    clip.write_bytes(b"1")
    facts = clip.stat()
    kept = (
        kept.replace("PATH", str(clip))
        .replace("SIZE", str(facts.st_size))
        .replace("TIME", str(facts.st_mtime_ns))
    )
    (tmp_path / "contents.json").write_text(kept)
    assert Contents(tmp_path / "contents.json").of(clip) == hashlib.sha256(b"1").hexdigest()
