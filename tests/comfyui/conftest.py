"""The nodes, loaded by the fake ComfyUI: once for a module, with one engine; what a test saw ends with it."""

import fake_comfy
import pytest


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comfyui")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        comfy = fake_comfy.install(patch, folder)
        yield comfy, fake_comfy.load_nodes(patch)


@pytest.fixture
def comfy(loaded):
    loaded[0].begin()
    return loaded[0]


@pytest.fixture
def package(comfy, loaded):
    return loaded[1]


@pytest.fixture
def run(package):
    return fake_comfy.Run(fake_comfy.v3_nodes(package))


@pytest.fixture
def kept(package):
    """The engine that is kept between runs."""
    import sys

    return sys.modules[f"{package.__name__}.running"].KEPT
