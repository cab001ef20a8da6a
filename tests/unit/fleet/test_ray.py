"""A fleet on a Ray of this machine, with processes killed. `python -m bench.fleet_kills` is the long form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
pytest.importorskip("ray", reason="the extra `fleet` is not installed: pip install 'wan22-studio[fleet]'")

from bench.fleet_kills import Cluster, finish_elsewhere, kill_fleet, leave  # noqa: E402
from bench.job_kills import toys  # noqa: E402


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("ray"), nodes=2)
    try:
        yield made
    finally:
        made.close()


def test_kills_of_actors_and_of_the_server_lose_nothing(cluster, tmp_path):
    report = kill_fleet(tmp_path / "data", cluster, toys(8), 3, seed=2, devices="cpu")
    assert report.good and sum(report.kills.values()) > 0, report


def test_a_video_begun_by_one_actor_is_finished_by_another(cluster, tmp_path):
    found = finish_elsewhere(tmp_path / "data", cluster)
    assert found["same"] and len(found["workers"]) == 2 and len(set(found["workers"])) == 2, found


def test_workers_that_share_the_folder_lose_nothing_and_keep_no_files_of_their_own(cluster, tmp_path):
    scratch = Path(cluster.environment["WAN22_FLEET_SCRATCH"])
    before = set(scratch.glob("wan22-fleet-*/*"))
    report = kill_fleet(tmp_path / "data", cluster, toys(4), 1, seed=3, devices="cpu", shared=True)
    assert report.good, report
    assert set(scratch.glob("wan22-fleet-*/*")) == before


def test_a_wrong_token_is_one_clear_error(cluster, tmp_path):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    done = subprocess.run(
        [sys.executable, "-m", "wan22.fleet.manager", "--data", str(tmp_path / "data"), "--fleet", cluster.address],
        env=os.environ | cluster.environment | {"RAY_AUTH_TOKEN_PATH": str(token)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 3 and said["state"] == "failing", done.stderr
    assert f"cluster at {cluster.address} cannot be joined" in said["message"]
    assert "token" in said["message"] and "$RAY_AUTH_TOKEN_PATH" in said["message"]


def test_what_a_node_was_making_goes_on_when_it_leaves(cluster, tmp_path):
    """The last test of the module: the node does not come back."""
    report = leave(tmp_path / "data", cluster)
    assert report.good, report
