"""Shapes are checked at every call in the tests of the networks; elsewhere the check would take a third of the time."""

import gc
import os
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, PngImagePlugin

os.environ["WAN22_PROVENANCE"] = "off"  # a signature is random and takes time; its own tests turn it on
# No test takes the power away. Waiting for a slow disk took a quarter of their time.
os.fsync = lambda handle: None

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

ROOT = Path(__file__).parent
NETWORKS = (
    "parity",
    "crosscheck",
    "unit/conditioning",
    "unit/test_ops",
    "unit/test_dit",
    "unit/test_vae",
    "unit/test_engine.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    checked = item.path.relative_to(ROOT).as_posix().startswith(NETWORKS)
    jaxtyping.config.update("jaxtyping_disable", not checked)


@pytest.fixture
def quick_plots(monkeypatch):
    """Plots are put together and not drawn, which takes two seconds of each: their file is a PNG of one pixel."""

    def save(figure, path, *, metadata=None, **how):
        said = PngImagePlugin.PngInfo()
        for key, value in (metadata or {}).items():
            said.add_text(key, value)
        Image.new("RGB", (1, 1)).save(path, "PNG", pnginfo=said)

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)


def pytest_collection_finish():
    """What is there when the tests begin stays to the end; to look for garbage in it again and again takes time."""
    gc.collect()
    gc.freeze()
