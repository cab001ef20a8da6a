"""Reads goldens: numbers recorded from the official release, with the weights and inputs that made them.

The folder is named by WAN22_GOLDENS (default: the copy beside this file). Tests read every size from the
files, so that another folder of the same format runs unchanged:

    @pytest.mark.golden("dit_*")                     # once for every file of the folder that matches
    def test_velocity(golden, relative_error):
        golden.config  golden.weights()  golden.inputs["latents"]  golden.outputs["velocity"]

`read_golden(name)` reads one file by name, `sizes` is sizes.json.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

FOLDER = Path(os.environ.get("WAN22_GOLDENS") or Path(__file__).parent / "goldens")


@dataclass(frozen=True)
class Golden:
    """One recorded case. Float tensors are float32, ids and images keep their integers."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def weights(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """Return the state dict of the part `prefix` ("vae.", "high_noise_model."), under its own names."""
        return {name: tensor.float() for name, tensor in self._under(f"weights/{prefix}").items()}

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        return self._under("in/")

    @property
    def outputs(self) -> dict[str, torch.Tensor]:
        return self._under("out/")

    def _under(self, start: str) -> dict[str, torch.Tensor]:
        return {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}


def _read(name: str) -> Golden:
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        return Golden(name, config, {key: file.get_tensor(key) for key in file.keys()})


def pytest_configure(config):
    config.addinivalue_line("markers", "golden(pattern): run once for every golden file that matches")


def pytest_generate_tests(metafunc):
    if "golden" not in metafunc.fixturenames:
        return
    if not FOLDER.is_dir():
        raise pytest.UsageError(f"WAN22_GOLDENS: no folder {FOLDER}")
    marker = metafunc.definition.get_closest_marker("golden")
    names = sorted(path.stem for path in FOLDER.glob(f"{marker.args[0]}.safetensors"))
    metafunc.parametrize("golden", names, indirect=True)


@pytest.fixture
def golden(request):
    return _read(request.param)


@pytest.fixture
def read_golden():
    return _read


@pytest.fixture(scope="session")
def sizes():
    path = FOLDER / "sizes.json"
    if not path.exists():
        pytest.skip(f"{FOLDER} has no sizes.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def relative_error():
    """Return ||ours - golden|| / ||golden||, of tensors that must agree in shape."""

    def measure(ours: torch.Tensor, golden: torch.Tensor) -> float:
        assert ours.shape == golden.shape, f"{tuple(ours.shape)} is not {tuple(golden.shape)}"
        ours, golden = ours.detach().cpu().double(), golden.double()
        return float((ours - golden).norm() / golden.norm())

    return measure
