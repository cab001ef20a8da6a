"""The commands of docs/comfyui.md are read by the command line and come to what the page says."""

import importlib
import json
import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from wan22.catalog import VARIANTS
from wan22.cli import generate
from wan22.cli.__main__ import main
from wan22.fields import FIELDS, VIDEO
from wan22.production.comfy.widgets import IMPOSSIBLE, WIDGETS
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


@pytest.fixture
def nodes_of_ours(monkeypatch):
    """The definitions of our nodes, by id: they need no ComfyUI, only the package around them does."""
    folder = ModuleType("comfyui_wan22")
    folder.__path__ = [str(Path(__file__).parents[2] / "comfyui_wan22")]
    for name in [each for each in sys.modules if each.startswith("comfyui_wan22.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "comfyui_wan22", folder)
    return {node.id: node for node in importlib.import_module("comfyui_wan22.nodes").NODES}


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


def shifted(sigma, shift):
    return shift * sigma / (1 + (shift - 1) * sigma)


def twice(steps, shift):
    """Levels that begin at the shifted 0.999 and are shifted again."""
    return shifted(np.linspace(shifted(0.999, shift), 0, steps + 1)[:-1], shift)


def evenly(steps, shift):
    """Of the timesteps from 1000 to the shifted last one, shifted again."""
    return shifted(np.linspace(1, shifted(0.001, shift), steps), shift)


def rows(steps, shift):
    table = np.linspace(1, 0.003 / 1.002, 1000)
    return shifted(table[[round(i * 1000 / steps) for i in range(steps)]], shift)


OF_THE_WRAPPER = PAGE.split("### Schedulers of the wrapper")[1].split("##")[0]
CAUSVID = [0.999, 0.934, 0.862, 0.756, 0.603, 0.41, 0.25, 0.14, 0.074]
WRAPPER = {  # its levels, from its code, and how far ours may be from them
    "unipc": (twice, 4e-4),
    "dpm++": (twice, 2e-4),
    "dpm++_sde": (twice, 2e-4),
    "euler": (evenly, 1e-6),
    "lcm": (evenly, 1e-6),
    "longcat_distill_euler": (lambda n, s: shifted(np.linspace(1, 0, n + 1)[:-1], s), 1e-6),
    "res_multistep": (rows, 4e-3),
    "flowmatch_causvid": (lambda n, s: np.array(CAUSVID), 1e-6),
    "flowmatch_distill": (lambda n, s: shifted(np.array([0.999, 0.75, 0.5, 0.25]), s), 3e-4),
}
NONE = [
    "unipc/beta", "dpm++/beta", "dpm++_sde/beta", "euler/beta", "lcm/beta", "deis", "er_sde", "sa_ode_stable", "rcm",
    "flowmatch_pusa", "multitalk", "vibt_unipc",
]  # fmt: skip


@pytest.mark.parametrize("scheduler", WRAPPER)
def test_a_scheduler_of_the_wrapper_has_the_levels_that_are_said(scheduler):
    (cell,) = re.findall(rf"^\| `{re.escape(scheduler)}` \| `([^`]+)` \|", OF_THE_WRAPPER, flags=re.MULTILINE)
    words = shlex.split(cell)
    said = dict(zip([word[2:] for word in words[::2]], words[1::2], strict=True))
    wanted, bound = WRAPPER[scheduler]
    for steps in (4,) if "steps" in said else (5, 10, 25, 50):
        for shift in (3.0, 5.0, 8.0, 12.0):
            more = (
                {"sigmas": [float(sigma) for sigma in said["sigmas"].split(",")]}
                if "sigmas" in said
                else {"steps": steps, "shift": shift, "schedule": said.get("schedule")}
            )
            sigmas = resolve(
                Request(prompt="a", solver=said["solver"], **more), VARIANTS["t2v-A14B"]
            ).schedule.sigmas[:-1]
            theirs = wanted(steps, shift)
            assert np.linalg.norm(sigmas.numpy() - theirs) <= bound * np.linalg.norm(theirs)


def test_the_page_names_every_scheduler_of_the_wrapper():
    for name in (*WRAPPER, *NONE):
        assert f"`{name}`" in OF_THE_WRAPPER
    for name in NONE:
        assert re.search(
            rf"^\| .*`{re.escape(name)}`.* \| none( by name)? \|", OF_THE_WRAPPER, flags=re.MULTILINE
        )


def test_every_option_and_name_on_the_page_exists():
    options = {field.option for field in FIELDS if VIDEO in field.commands}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) - options == {"--to"}
    for name in (*SCHEDULE_NAMES, *SOLVERS):
        assert f"`{name}`" in PAGE or f"--solver {name}" in PAGE, name


def test_a_seed_gives_the_noise_that_comfyui_draws_from_it():
    theirs = torch.randn((1, 16, 3, 8, 8), generator=torch.manual_seed(42), device="cpu")
    assert torch.equal(draw_noise((16, 3, 8, 8), 42), theirs[0])


TEMPLATES = files("comfyui_workflow_templates_json") / "templates"
OFFICIAL = sorted(
    each.name for each in TEMPLATES.iterdir() if re.fullmatch(r"video_wan2_2_\w+\.json", each.name)
)
ROWS = dict(
    ((node, widget.strip("`")), (ours, option))
    for node, widget, ours, option in re.findall(
        r"^\| `(\w+)` \| (`\w+`|-) \| (.*?) \| (.*?) \|$", PAGE, re.M
    )
)


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_widget_of_an_official_template_has_a_row(name):
    whole = json.loads((TEMPLATES / name).read_text("utf-8"))
    scopes = [whole, *whole.get("definitions", {}).get("subgraphs", [])]
    inner = {scope["id"] for scope in scopes[1:]}
    wanted = set()
    for node in (node for scope in scopes for node in scope["nodes"] if node["type"] not in inner):
        values = node.get("widgets_values") or []
        names = ("text",) if node["type"] in ("Note", "MarkdownNote") else WIDGETS.get(node["type"], ())
        assert len(names) >= len(values), node["type"]
        wanted |= {(node["type"], name) for name in names or ("-",)}
    assert not wanted - ROWS.keys()


def test_the_templates_of_wan2_2_are_those_that_were_read():
    assert len(OFFICIAL) == 10


def test_rows_name_inputs_of_our_nodes_and_options_of_ours(nodes_of_ours):
    options = {field.option for field in FIELDS} | {
        f"--{alias}" for field in FIELDS for alias in field.aliases
    }
    for (kind, widget), (ours, option) in ROWS.items():
        for node, name in re.findall(r"`(\w+)\.(\w+)`", ours):
            inputs = {each.id for each in nodes_of_ours[f"Wan22{node}"].inputs}
            assert name in inputs, (kind, widget, node, name)
        for said in re.findall(r"`(--[a-z-]+)", option):
            assert said in options, (kind, widget, said)
    assert set(IMPOSSIBLE) >= {kind for kind, _ in ROWS if "Fun" in kind}
