"""A fleet as it is put together: which workers a cluster has, and what stands in the way, said in one line."""

import json
import signal
import socket
import sys

import pytest

from wan22.cli.__main__ import main
from wan22.errors import DeviceError, OptionError
from wan22.fleet import cluster, manager, versions, work
from wan22.fleet.coordinator import NAME, Coordinator
from wan22.fleet.manager import members
from wan22.jobs.supervisor import Fleet, Supervisor


def node(number, gpus=0, host="Box_1.example", alive=True):
    resources = {"CPU": 8.0} | ({"GPU": float(gpus)} if gpus else {})
    return {
        "NodeID": f"{number:06x}{'0' * 50}",
        "Alive": alive,
        "NodeManagerHostname": host,
        "Resources": resources,
    }


@pytest.mark.parametrize(
    ("nodes", "devices", "expected"),
    [
        ([node(1)], ["auto"], [("cpu0", "cpu", 0)]),
        ([node(1), node(2, 2)], ["auto"], [("gpu0", "cuda:0", 1), ("gpu1", "cuda:0", 1)]),
        ([node(1), node(2)], ["cpu", "cpu"], [("cpu0", "cpu", 0), ("cpu1", "cpu", 0)] * 2),
        ([node(1, 3)], ["cuda:0+cuda:1", "cuda:2"], [("gpu0", "cuda:0+cuda:1", 2), ("gpu2", "cuda:0", 1)]),
        ([node(1, 1)], ["cuda:0", "cuda:1"], [("gpu0", "cuda:0", 1)]),
        ([node(1, 1, alive=False), node(2)], ["auto"], [("cpu0", "cpu", 0)]),
        ([node(1)], ["cuda:0"], []),
    ],
)
def test_a_cluster_has_a_worker_for_each_device_of_each_node(nodes, devices, expected):
    found = members(nodes, devices)
    assert [(each.name.rpartition("-")[2], each.device, each.gpus) for each in found] == expected
    assert len({each.name for each in found}) == len(found)
    for each in found:
        assert NAME.fullmatch(each.name) and len(each.name) <= 32


def test_other_versions_are_refused_by_name():
    said = versions.versions()
    versions.check_versions(said)
    with pytest.raises(DeviceError, match=r"torch \S+, the server 1\.0\. Install the same"):
        versions.check_versions(said | {"torch": "1.0"})
    how, why = work.work({"versions": said | {"wan22": "0.0"}}, None)
    assert how == "cannot" and "the server 0.0" in why


def test_a_shared_folder_that_is_not_shared_is_refused(tmp_path):
    coordinator = Coordinator(tmp_path / "data")
    coordinator.prove("proof", "secret")
    work._check_shared(str(tmp_path / "data"), "proof", "secret")
    for data, text in ((tmp_path / "other", "secret"), (tmp_path / "data", "another")):
        with pytest.raises(DeviceError, match="is not shared"):
            work._check_shared(str(data), "proof", text)
    coordinator.proved("proof")
    assert list((tmp_path / "data" / "fleet").iterdir()) == []
    coordinator.close()


@pytest.mark.parametrize("address", ["here", "host:", ":1", "host:0", "host:70000", "ray://host:1", "host:x"])
def test_an_address_that_is_none_is_refused(address, monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(OptionError, match="HOST:PORT"):
        cluster.check_address(address)
    cluster.check_address("")
    cluster.check_address("10.0.0.1:6379")


def test_without_ray_it_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    for typed in (["--fleet"], ["--fleet", "--port", "0"], ["--fleet", "10.0.0.1:6379"]):
        assert main(["serve", "--data", str(tmp_path / "data"), *typed]) == 2
        assert "wan22-studio[fleet]" in capsys.readouterr().err


def test_a_shared_folder_wants_a_fleet(tmp_path, capsys):
    assert main(["serve", "--data", str(tmp_path / "data"), "--fleet-shared"]) == 2
    assert "give both" in capsys.readouterr().err


def test_the_workers_of_a_fleet_are_those_of_the_server(tmp_path):
    supervisor = Supervisor(tmp_path, (), fleet=Fleet("", ("cpu",)))
    (process,) = supervisor._workers
    assert [status.name for status in supervisor.status()] == ["fleet"] and not supervisor.ready
    rows = [
        {
            "name": f"box-00000{n}-cpu0",
            "device": "cpu",
            "state": state,
            "job": None,
            "restarts": 0,
            "message": "",
        }
        for n, state in enumerate(("failing", "idle"))
    ]
    process._listen([json.dumps({"state": "idle", "workers": rows})])
    assert [status.name for status in supervisor.status()] == [
        row["name"] for row in rows
    ] and supervisor.ready
    process._listen([json.dumps({"state": "idle", "workers": []})])
    assert [status.name for status in supervisor.status()] == ["fleet"]


def test_a_cluster_that_does_not_answer_is_one_line_and_takes_no_minutes(tmp_path, monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # the process is the test's
        assert manager.main(["--data", str(tmp_path / "data"), "--fleet", address]) == 3
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["state"] == "failing" and f"cluster at {address} cannot be joined" in said["message"]
