"""A fleet on a Ray of this machine, with processes killed. `python -m bench.fleet_kills` is the long form."""

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


def test_what_a_node_was_making_goes_on_when_it_leaves(cluster, tmp_path):
    """The last test of the module: the node does not come back."""
    report = leave(tmp_path / "data", cluster)
    assert report.good, report
