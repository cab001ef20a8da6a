"""Shapes are checked at every call in the tests of the networks; elsewhere the check would take a third of the time."""

import gc
from pathlib import Path

import jaxtyping
import pytest

ROOT = Path(__file__).parent
NETWORKS = (
    "parity",
    "crosscheck",
    "unit/conditioning",
    "unit/test_ops",
    "unit/test_dit",
    "unit/test_vae",
    "unit/test_engine",
)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    checked = item.path.relative_to(ROOT).as_posix().startswith(NETWORKS)
    jaxtyping.config.update("jaxtyping_disable", not checked)


def pytest_collection_finish():
    """What is there when the tests begin stays to the end; to look for garbage in it again and again takes time."""
    gc.collect()
    gc.freeze()
