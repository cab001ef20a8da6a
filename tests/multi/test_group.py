"""Groups of processes: who may be in one, and how one ends that cannot go on. Each mistake is one clear error."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from unit.tiny import write_tiny

from wan22.engine import load
from wan22.errors import DeviceError, OptionError, ParallelError
from wan22.media.recipe import read_recipe
from wan22.memory.hardware import GB, of_memory
from wan22.parallel import places
from wan22.parallel.group import Group, Team
from wan22.parallel.layout import Layout
from wan22.parallel.lead import Led, picked
from wan22.parallel.places import check_equal, check_facts, devices_of
from wan22.parallel.words import on_host
from wan22.production.work import Machine
from wan22.types import Reply, Request

REQUEST = Request(prompt="a red ball rolls left at sunset", frames=5, steps=3)
ROOT = Path(__file__).parents[2]
FACT = {"wan22": "1", "torch": "2.9", "kind": "cpu", "host": "a", "device": "cpu"}


@pytest.fixture
def two_cards(monkeypatch):
    """A machine that says it has two cards."""
    monkeypatch.setattr(places, "devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    monkeypatch.setattr(
        places, "pick_device", lambda name: torch.device("cuda:0" if name in ("auto", "cuda") else name)
    )


def test_one_device_works_alone():
    assert devices_of("cpu", None) is None
    assert devices_of("cpu", 1) is None


def test_devices_are_a_rank_each(two_cards):
    assert devices_of("auto", 2) == ["cuda:0", "cuda:1"]
    assert devices_of("cuda:1 + cuda:0", None) == ["cuda:1", "cuda:0"]
    assert devices_of("cpu", 3) == ["cpu"] * 3
    assert devices_of("cpu+cpu", 2) == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("device", "gpus", "says"),
    [
        ("auto", 4, "4 devices are asked for, and this machine has 2"),
        ("cuda:1", 2, "name all"),
        ("cuda:0+cpu", None, "different kinds"),
        ("cuda:0+cuda:0", None, "twice"),
        ("cuda:0+cuda:1", 3, "names 2"),
        ("mps", 2, "do not work together"),
        ("cpu", 0, "from 1"),
        ("cpu", True, "from 1"),
        ("cpu", 100_000, "more than"),
    ],
)
def test_devices_that_cannot_work_together_are_refused(two_cards, device, gpus, says):
    with pytest.raises(ParallelError, match=says):
        devices_of(device, gpus)


def test_processes_on_the_cpu_are_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(places, "pick_device", lambda name: torch.device("cpu"))
    with pytest.raises(ParallelError, match="none but the cpu"):
        devices_of("auto", 2)


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(DeviceError, match="cuda:9"):
        devices_of("cuda:9+cuda:10", None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"torch": "2.8"}, "version of torch .* rank 0 on a has 2.9, and rank 1 on b has 2.8"),
        ({"wan22": "2"}, "version of wan22"),
        ({"kind": "NVIDIA H200"}, "kind of device"),
        ({"error": "there is no device cuda:3"}, "rank 1: there is no device cuda:3"),
    ],
)
def test_ranks_that_differ_are_refused(change, says):
    with pytest.raises(ParallelError, match=says):
        check_facts([FACT, {**FACT, "host": "b", **change}])


def test_two_ranks_do_not_share_a_card():
    card = {**FACT, "kind": "H200", "device": "cuda:0"}
    check_facts([card, {**card, "host": "b"}])
    with pytest.raises(ParallelError, match="ranks 0 and 1 both have cuda:0 of a"):
        check_facts([card, card])


def test_other_files_of_a_part_are_refused():
    with pytest.raises(ParallelError, match="weights of 'high' differ: rank 0 has x, and rank 1 has y"):
        check_equal("the weights of", [{"high": "x"}, {"high": "y"}])


@pytest.mark.parametrize(
    ("gpus", "parallel", "says"),
    [(2, "context=3", "takes 3 ranks"), (1, "context=2", "takes 2 ranks"), (2, "heads=2", "heads=2")],
)
def test_a_layout_of_another_number_is_refused_before_anything_is_started(gpus, parallel, says):
    with pytest.raises(ParallelError, match=says):
        Team.of("cpu", gpus, parallel)


def test_processes_share_the_memory_of_their_machine():
    card = of_memory(80 * GB, 400 * GB)
    assert (card.shared(8).host, card.shared(8).free) == (50 * GB, card.free)
    cpu = replace(card, device="cpu")
    assert (cpu.shared(2).free, cpu.shared(1)) == (card.free // 2, cpu)


def test_a_layout_says_how_many_devices_there_are():
    assert Team.of("cpu", None, "guidance=2,context=2").places == ("cpu",) * 4
    assert Team.of("cpu", None, None) is None


def test_torchrun_says_how_many_there_are(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    team = Team.of("cpu", 4, None)
    assert (team.size, team.follows) == (4, True)
    assert (
        Team.of("cpu", None, None) is None
    )  # a program of the user's own, that loads an engine on each rank
    with pytest.raises(ParallelError, match="torchrun started 4"):
        Team.of("cpu", 2, None)


def test_between_machines_keys_are_passed_on_in_a_ring():
    assert picked(8, 40, guided=True) == Layout(2, 4, 1)
    assert picked(16, 40, guided=True, hosts=2) == Layout(2, 8, 1)
    assert picked(16, 40, guided=True, hosts=4) == Layout(2, 8, 2)
    assert picked(16, 40, guided=False, hosts=2) == Layout(1, 16, 2)
    assert picked(3, 2, guided=True) == Layout(1, 3, 3)


def test_what_is_sent_is_on_the_host_and_whole():
    reply = Reply(x=torch.ones(2, requires_grad=True) * 2, stop=True)
    assert on_host(reply).x.requires_grad is False and on_host(reply).stop
    assert on_host(REQUEST) == REQUEST


def test_a_mistake_of_the_users_starts_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(OptionError, match="no-such-model"):
        load("no-such-model", device="cpu", gpus=2)


RECIPE = {"model": "nano", "dtype": "float32", "gpus": 2, "parallel": "guidance=2,context=1,ring=1"}


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ({}, (2, "guidance=2,context=1,ring=1")),
        ({"parallel": "context=4"}, (None, "context=4")),
        ({"gpus": 1}, (1, None)),
        ({"device": "cpu"}, (None, None)),
        ({"device": "cuda:0+cuda:1"}, (None, None)),
    ],
)
def test_a_recipe_is_repeated_unless_it_is_said_where(two_cards, monkeypatch, said, taken):
    asked = {}
    monkeypatch.setattr("wan22.engine.load", lambda model, **told: asked.update(told))
    Machine(engine=said).load(RECIPE)
    assert (asked.get("gpus"), asked.get("parallel")) == taken
    assert asked["dtype"] == "float32"


def test_a_recipe_of_more_devices_than_are_here_says_what_works(two_cards):
    with pytest.raises(ParallelError, match=r"made on 8 devices: .* has 2 .* 1 makes it on one"):
        Machine().load(RECIPE | {"gpus": 8, "parallel": "guidance=2,context=4,ring=1"})


@pytest.mark.parametrize("recipe", [{"gpus": "2; rm"}, {"gpus": 2, "parallel": ["context"]}, {"gpus": 10**9}])
def test_a_recipe_of_a_stranger_starts_nothing(two_cards, monkeypatch, recipe):
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(ParallelError):
        Machine().load({"model": "nano", **recipe})


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A model, and followers that find the programs of this folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    return write_tiny(tmp_path / "tiny")


def led(folder, program):
    return Led(
        partial(Group.start, ["cpu", "cpu"], program), load, {"model": str(folder), "dtype": "float32"}, None
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("failing:with_other_files", "weights of 'vae' differ"),
        ("failing:never", "rank 1 on cpu"),
        ("no_such_module:follow", "rank 1 on cpu .*no_such_module"),
    ],
)
def test_a_rank_that_cannot_begin_is_the_error_of_all(tiny, program, says):
    with pytest.raises(ParallelError, match=says):
        led(tiny, program)
    assert not [child for child in psutil.Process().children() if "wan22.parallel" in child.cmdline()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("at_the_second_step", r"rank 1 on cpu failed: ValueError: a defect of rank 1 \("),
        ("with_a_mistake_of_its_own", "rank 1 on cpu failed: a file that only this machine has"),
    ],
)
def test_a_rank_that_fails_ends_all_with_its_error(tiny, program, says):
    with closing(led(tiny, f"failing:{program}")) as engine:
        pids = engine.pids
        with pytest.raises(ParallelError, match=says) as caught:
            list(engine.generate(REQUEST))
        assert not caught.value.lost
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)


def wan22_of(tmp_path, *words, environ=None, **more):
    return subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | (environ or {}), **more,
    )  # fmt: skip


ASK = ("generate", REQUEST.prompt, "--device", "cpu", "--frames", "5", "--steps", "2", "-o", "a.mp4")


@pytest.mark.slow
def test_the_command_line_and_torchrun_make_the_same_video(tmp_path):
    """And the recipe says how; torchrun's other ranks print nothing."""
    folder = str(write_tiny(tmp_path / "tiny"))
    hashes = {}
    for name, words in {
        "one": ("-m", "wan22", *ASK),
        "two": ("-m", "wan22", *ASK, "--gpus", "2"),
        "torchrun": (
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "wan22",
            *ASK,
        ),
    }.items():
        (tmp_path / name).mkdir()
        process = wan22_of(tmp_path / name, *words, "--model", folder, "--dtype", "float32")
        out, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
        assert out.split() == ["a.mp4"]
        recipe = read_recipe(tmp_path / name / "a.mp4")
        hashes[name] = recipe["size"], recipe["frames"], recipe.get("gpus"), recipe.get("parallel")
    two = ([48, 32], 5, 2, "guidance=2,context=1,ring=1")
    assert hashes == {"one": ([48, 32], 5, None, None), "two": two, "torchrun": two}


@pytest.mark.slow
def test_a_command_that_makes_no_group_ends_all_ranks(tmp_path):
    """As Slurm starts them: nobody ends rank 1 for rank 0, and rank 0 has the store."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ask = ("-m", "wan22", *ASK, "--image", "nothing.png")
    processes = [
        wan22_of(tmp_path, *ask, environ={**place, "RANK": f"{rank}", "LOCAL_RANK": f"{rank}"})
        for rank in (0, 1)
    ]
    try:
        # Less than the 300 s in which a rank may come.
        errors = [process.communicate(timeout=200)[1] for process in processes]
        assert "nothing.png" in errors[0]
        assert [process.returncode for process in processes] == [2, 0], errors
        assert not errors[1]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_no_rank_and_no_folder_outlives_a_leader_that_is_killed(tmp_path, monkeypatch):
    folder = write_tiny(tmp_path / "tiny")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = (
        "import wan22, time, json\n"
        f"engine = wan22.load({str(folder)!r}, device='cpu', gpus=2)\n"
        "print(json.dumps(engine.pids), flush=True)\n"
        "time.sleep(600)\n"
    )
    process = wan22_of(tmp_path, "-c", program)
    try:
        pids = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=60)
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert not list(tmp_path.glob("wan22-ranks-*"))
    finally:
        process.kill()


@pytest.mark.slow
def test_ctrl_c_once_ends_all(tmp_path):
    """As at a terminal, whose processes all get it."""
    folder = str(write_tiny(tmp_path / "tiny"))
    words = ("-m", "wan22", *ASK, "--gpus", "2", "--model", folder, "--steps", "400", "--json")
    process = wan22_of(tmp_path, *words, start_new_session=True)
    try:
        for line in process.stdout:
            if '"progress"' in line or '"step"' in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 130, error
        assert "Traceback" not in error
        gone, alive = psutil.wait_procs(children, timeout=60)
        assert gone and not alive
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_rank_that_does_not_come_and_a_port_in_use_are_named(tmp_path):
    program = (
        "from wan22.parallel.group import Group\n"
        "from wan22.errors import ParallelError\n"
        "try:\n    Group.join('cpu', arrival=4.0)\nexcept ParallelError as error:\n    print(error)\n"
    )
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
        asked = {**place, "MASTER_PORT": str(port)}
        out = subprocess.run(
            [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | asked,
        ).stdout  # fmt: skip
        assert f"the port of 127.0.0.1:{port} is in use" in out
    out = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | asked,
    ).stdout  # fmt: skip
    assert "rank 1 of 2 did not come within 4 s" in out
