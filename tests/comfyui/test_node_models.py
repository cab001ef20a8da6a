"""Wan22 Load: what it opens, when the engine is kept, and what becomes of it when ComfyUI needs memory."""

import sys
from types import SimpleNamespace

import pytest
import torch

from wan22.errors import CheckpointError, MissingModelError, OptionError


class Engine:
    """What `wan22.load` gives, as far as Load looks at it."""

    def __init__(self, name, loras):
        self.name, self.loras, self.notices = name, SimpleNamespace(notices=()), ("a notice",)
        self.variant = SimpleNamespace(title="a model")
        self.device = torch.device("cuda:0")
        self.used, self.released = [loras], 0

    def use_loras(self, loras):
        self.used.append(loras)

    def release(self):
        self.released += 1


@pytest.fixture
def calls(kept, monkeypatch):
    """The calls of `wan22.load`, whose engines are pretended."""
    made = []

    def load(name, *, parts=None, loras=(), **options):
        made.append({"name": name, "parts": parts, "loras": loras, **options})
        return Engine(str(name), loras)

    kept.drop()
    monkeypatch.setattr(kept, "load", load)
    yield made
    kept.drop()


def memory():
    return sys.modules["comfy.model_management"]


def test_files_of_comfyui_are_found_by_name(run, comfy, calls):
    high = comfy.file("diffusion_models", "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors")
    low = comfy.file("diffusion_models", "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors")
    vae, text = comfy.file("vae", "wan_2.1_vae.safetensors"), comfy.file("text_encoders", "umt5.safetensors")
    run(
        "Wan22Load", model="files", high=high.name, low=low.name, vae=vae.name, text=text.name, memory="stream",
        quantize="fp8", attention="sage", dtype="bfloat16", compile=True, text_device="cpu",
    )  # fmt: skip
    (call,) = calls
    assert call["name"] is None
    assert call["parts"] == {"high": str(high), "low": str(low), "vae": str(vae), "text": str(text)}
    assert {name: call[name] for name in ("memory", "quantize", "attention", "dtype", "compile", "text_device")} == {
        "memory": "stream", "quantize": "fp8", "attention": "sage", "dtype": "bfloat16", "compile": True,
        "text_device": "cpu",
    }  # fmt: skip
    assert "vae_device" not in call and call["device"] == "cpu"  # the one that ComfyUI works on
    assert "a notice" in run.ui["text"][0] and comfy.texts == [("7", "a notice")]


def test_a_pair_of_loras_and_more(run, comfy, calls):
    high, low, more = (
        comfy.file("loras", f"{name}.safetensors") for name in ("fast_high", "fast_low", "style")
    )
    run(
        "Wan22Load", lora_high=high.name, lora_low=low.name, lora_low_strength=0.5, loras=f"\n{more.name}:-0.8@high\n"
    )  # fmt: skip
    found = [(lora.path, lora.strength, lora.expert) for lora in calls[0]["loras"]]
    assert found == [(high, 1.0, "high"), (low, 0.5, "low"), (more, -0.8, "high")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "files"}, "no model is chosen: name one in model"),
        ({"loras": "none.safetensors"}, "there is no file 'none.safetensors' in ComfyUI's loras"),
        ({"folder": "/a", "checkpoint": "all.safetensors"}, "give a folder or a checkpoint, not both"),
    ],
)
def test_a_choice_that_is_none_opens_nothing(run, comfy, calls, given, words):
    comfy.file("checkpoints", "all.safetensors")
    with pytest.raises(OptionError, match=words):
        run("Wan22Load", **given)
    assert calls == []


def test_the_same_choice_keeps_the_engine_and_other_loras_do_too(run, comfy, calls):
    comfy.file("loras", "style.safetensors")
    (plain,), (same,) = run("Wan22Load"), run("Wan22Load")
    engine = plain.engine()
    assert same.engine() is engine and len(calls) == 1
    (styled,) = run("Wan22Load", loras="style.safetensors")
    assert styled.engine() is engine and len(engine.used[-1]) == 1
    assert plain.engine() is engine and engine.used[-1] == () and len(calls) == 1


def test_another_choice_frees_the_engine_before_it_opens_its_own(run, calls):
    (first,) = run("Wan22Load")
    engine = first.engine()
    (second,) = run("Wan22Load", dtype="float32")
    assert second.engine() is not engine and engine.released == 1 and len(calls) == 2


def test_a_model_that_cannot_be_opened_leaves_no_engine(run, kept, monkeypatch):
    with pytest.raises(MissingModelError, match="t2v-A14B is not on this machine"):
        monkeypatch.setattr("wan22.library.cached", lambda variant: None)
        run("Wan22Load", model="t2v-A14B")
    assert kept.engine is None and kept.model is None


def test_a_file_of_another_kind_is_named(run, comfy, kept):
    comfy.file("vae", "empty.safetensors")
    with pytest.raises(CheckpointError, match=r"empty\.safetensors"):
        run("Wan22Load", vae="empty.safetensors")
    assert kept.engine is None


def test_unloading_all_models_frees_the_engine_and_the_model_opens_again(run, comfy, calls, kept):
    (model,) = run("Wan22Load")
    engine = model.engine()
    memory().unload_all_models()
    assert kept.engine is None and engine.released == 1 and comfy.freed == ["all"]
    assert model.engine() is not engine and len(calls) == 2


def test_memory_that_comfyui_lacks_is_given_back_in_steps(run, comfy, calls, kept, monkeypatch):
    engine = run("Wan22Load")[0].engine()
    memory().free_memory(8e9, torch.device("cuda:0"))
    assert engine.released == 0  # enough is free
    left = iter([1e9, 9e9])
    monkeypatch.setattr(memory(), "get_free_memory", lambda device: next(left))
    memory().free_memory(8e9, torch.device("cuda:0"))
    assert engine.released == 1 and kept.engine is engine
    monkeypatch.setattr(memory(), "get_free_memory", lambda device: 1e9)
    memory().free_memory(8e9, None, keep_loaded=[])
    assert kept.engine is None and comfy.freed == [8e9] * 3


def test_an_engine_elsewhere_or_at_work_keeps_its_memory(run, comfy, calls, kept):
    engine = run("Wan22Load")[0].engine()
    comfy.free = 0
    memory().free_memory(8e9, torch.device("cpu"))
    with kept.at_work():
        memory().free_memory(8e9, torch.device("cuda:0"))
        memory().unload_all_models()
    assert engine.released == 0 and kept.engine is engine


def test_loading_the_folder_twice_wraps_comfyui_once(monkeypatch, comfy, kept):
    import fake_comfy

    monkeypatch.setattr(memory(), "unload_all_models", memory().unload_all_models)
    monkeypatch.setattr(memory(), "free_memory", memory().free_memory)
    fake_comfy.load_nodes(monkeypatch, "/custom_nodes/again")
    memory().unload_all_models()
    assert comfy.freed == ["all"]


def test_comfyui_moves_its_models_away_before_an_engine_works_on_their_device(package, comfy, calls):
    running = sys.modules[f"{package.__name__}.running"]

    def events():
        yield SimpleNamespace()

    engine = Engine("x", ())
    assert len(list(running.Run().follow(engine, events()))) == 1
    assert comfy.freed == [1e30] and engine.released == 0
