"""What `python -m bench.streaming` reports of a video."""

import json
import sys

import pytest
from unit.tiny import write_tiny

from bench import streaming
from wan22.types import Phase, Progress


def test_loading_an_expert_is_a_part_of_the_denoising():
    now = [0.0]

    def after(seconds, event):
        now[0] += seconds
        return event

    def video():
        yield after(1, Phase("text"))
        yield after(2, Phase("denoise"))
        yield after(3, Phase("load"))
        yield after(4, Progress(1, 2, "high", 0.9, 4.0, 6.0, None, None))
        yield after(5, Phase("load"))
        yield after(6, Progress(2, 2, "low", 0.5, 6.0, 0.0, None, None))
        yield after(7, Phase("decode"))
        now[0] += 8

    phases, seconds = streaming.measured(video(), clock=lambda: now[0])
    assert seconds == {"open": 1, "text": 2, "denoise": 25, "decode": 8}
    assert phases.keys() == seconds.keys() and min(phases.values()) > 0


@pytest.mark.parametrize("more", [[], ["--no-decode", "--no-text"]])
def test_a_report_has_the_frames_that_were_asked_and_what_was_foreseen(tmp_path, monkeypatch, capsys, more):
    folder = str(write_tiny(tmp_path / "tiny", None))
    asked = ["streaming", folder, "--size", "48x32", "--frames", "9", *more]
    monkeypatch.setattr(sys, "argv", [*asked, "--json"])
    streaming.main()
    said = json.loads(capsys.readouterr().out)
    assert said["frames"] == 9 and "load" not in said["phases"] and ("decode" in said["phases"]) == (not more)
    assert {"high", "decode"} <= said["foreseen"].keys()
    monkeypatch.setattr(sys, "argv", asked)
    streaming.main()
    assert "48x32x9: peak" in (out := capsys.readouterr().out) and "the plan foresaw" in out
