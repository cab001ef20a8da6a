"""The nodes, loaded by the fake ComfyUI."""

import fake_comfy
import pytest


@pytest.fixture
def comfy(monkeypatch, tmp_path):
    monkeypatch.setenv("WAN22_PROVENANCE", "off")
    return fake_comfy.install(monkeypatch, tmp_path)


@pytest.fixture
def package(monkeypatch, comfy):
    return fake_comfy.load_nodes(monkeypatch)


@pytest.fixture
def run(package):
    return fake_comfy.Run(fake_comfy.v3_nodes(package))
