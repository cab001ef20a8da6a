"""What bench.realtime counts: every phase, each second once, of videos that are really written."""

from itertools import count

import pytest
from unit.tiny import write_tiny

from bench import realtime
from wan22 import engine as engines
from wan22.errors import OptionError


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return engines.load(write_tiny(tmp_path_factory.mktemp("model") / "tiny"), device="cpu")


@pytest.fixture
def ticks(monkeypatch):
    """Clocks that go on by one, and by two, at each look."""
    wall, cpu = count(), count(step=2)
    monkeypatch.setattr(
        realtime, "CLOCKS", {"wall": lambda: float(next(wall)), "cpu": lambda: float(next(cpu))}
    )


def test_every_phase_is_counted_once(engine, ticks):
    row = realtime.measured(engine, clips=2, threads=2, repeats=2, fast=False)
    assert row["clips"] == 2 and row["frames"] > 9 and row["shown"] == 8
    assert {"text", "denoise", "decode", realtime.ENCODE} <= row["seconds"].keys()
    assert row["cpu_seconds"] == {name: 2 * seconds for name, seconds in row["seconds"].items()}
    wall = sum(row["seconds"].values())
    assert row["made"] == pytest.approx(row["frames"] / wall, abs=0.01)
    assert row["ratio"] == pytest.approx(row["made"] / 8, abs=0.01)
    encoder = row["seconds"][realtime.ENCODE]
    spread = (
        row["frames"] / (2 * encoder + (wall - encoder)) / 8
    )  # two seconds of the processor by two threads
    assert row["cpu_ratio"] == pytest.approx(spread, abs=0.01)
    said = "\n".join(realtime.lines(row))
    assert f"ratio {row['ratio']}" in said and "2 clips, 2 threads" in said


def test_a_video_of_one_clip_plays_only_when_it_is_complete(engine, tmp_path):
    with pytest.raises(OptionError, match="are one clip"):
        realtime.make(engine, realtime._asked(5, False), tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())
