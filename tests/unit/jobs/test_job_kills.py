"""Processes are killed at random: no job is lost, doubled or wrong. `python -m bench.job_kills` is the long form."""

import pytest
from unit.jobs.processes import ROOT

from bench.job_kills import cancel_latency, kill_jobs, kill_real, toys


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_few_kills_lose_nothing(tmp_path):
    report = kill_jobs(tmp_path / "data", toys(4), 2, seed=3)
    assert report.good and sum(report.kills.values()) == 2, report


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path):
    report = kill_jobs(tmp_path / "data", toys(20), 8, seed=1)
    assert report.good and sum(report.kills.values()) == 8, report


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_videos_of_killed_workers_have_the_same_frames(tmp_path):
    report = kill_real(tmp_path, 2, 3, seed=1)
    assert report.good and sum(report.kills.values()) > 0, report


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_video_can_be_cancelled_in_every_phase(tmp_path):
    found = cancel_latency(tmp_path, 1)
    assert {"claim", "text", "load", "denoise", "step"} <= found.keys()
