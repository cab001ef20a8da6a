"""The commands of docs/comfyui.md are read by the command line and come to what the page says."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from wan22.catalog import VARIANTS
from wan22.cli import generate
from wan22.cli.__main__ import main
from wan22.fields import FIELDS, VIDEO
from wan22.request import resolve
from wan22.sampling import SCHEDULE_NAMES, SOLVERS, draw_noise
from wan22.types import Audio, Request

PAGE = (Path(__file__).parents[2] / "docs" / "comfyui.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("wan22 ")
]
IMAGE = np.zeros((64, 64, 3), np.uint8)
AUDIO = Audio(np.full(16_000, 0.1, np.float32), 16_000)


def as_job(command, monkeypatch):
    """What a command asks for, resolved for the model that it names."""
    asked = []
    monkeypatch.setattr(generate, "make", lambda work, show: asked.append(work))
    assert main(shlex.split(command)[1:]) == 0
    (work,) = asked
    model = work.machine.model
    row = VARIANTS[model] if model in VARIANTS else VARIANTS[f"{'i2v' if work.files else 't2v'}-A14B"]
    media = dict.fromkeys(work.files, IMAGE) | ({"audio": AUDIO} if work.audio.given else {})
    return resolve(Request(**work.given, **media), row)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_understood(command, monkeypatch):
    job = as_job(command, monkeypatch)
    assert not [text for text in job.notices if "negative" in text or "shift" in text]


def test_the_templates_split_where_comfyui_splits(monkeypatch):
    twenty, four = (as_job(command, monkeypatch) for command in COMMANDS[:2])
    assert [twenty.expert(level) for level in twenty.schedule] == ["high"] * 10 + ["low"] * 10
    assert float(twenty.schedule.sigmas[10]) == pytest.approx(8 * 0.5 / 4.5)
    assert [four.expert(level) for level in four.schedule] == ["high"] * 2 + ["low"] * 2
    assert four.schedule.timesteps == pytest.approx((1000, 937.5, 833.3333, 625), abs=1e-3)


def test_every_option_and_name_on_the_page_exists():
    options = {field.option for field in FIELDS if VIDEO in field.commands}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) - options == {"--to"}
    for name in (*SCHEDULE_NAMES, *SOLVERS):
        assert f"`{name}`" in PAGE or f"--solver {name}" in PAGE, name


def test_a_seed_gives_the_noise_that_comfyui_draws_from_it():
    theirs = torch.randn((1, 16, 3, 8, 8), generator=torch.manual_seed(42), device="cpu")
    assert torch.equal(draw_noise((16, 3, 8, 8), 42), theirs[0])
