# ruff: noqa: F811 - a test's arguments are named as the fixtures that are imported
"""What the command line knows of models and of the machine, and older names of options."""

import json

import pytest
import torch
from unit.fake_engine import engine, run  # noqa: F401 - fixtures

from wan22 import library
from wan22.catalog import VARIANTS
from wan22.cli.catalogue import dit_parameters, weigh
from wan22.cli.plan import request_of
from wan22.memory.hardware import GB, Hardware
from wan22.planning import in_short, plan_job
from wan22.production.planned import model_of
from wan22.request import resolve


def test_parameters_are_counted_as_released():
    counts = {name: dit_parameters(row.dit) for name, row in VARIANTS.items()}
    assert counts == {
        "t2v-A14B": 14_288_491_584,
        "i2v-A14B": 14_288_901_184,
        "ti2v-5B": 4_999_787_712,
        "s2v-14B": 16_295_755_609,
        "animate-14B": 17_274_817_108 - 14 * 16,  # without the kernels of the blur
        "t2v-2.1-14B": 14_288_491_584,
        "t2v-2.1-1.3B": 1_418_996_800,
    }
    assert weigh(VARIANTS["t2v-A14B"]).download == pytest.approx((2 * 57.15 + 0.508 + 11.36) * 1e9, rel=1e-3)
    assert weigh(VARIANTS["ti2v-5B"]).download == pytest.approx((20 + 2.82 + 11.36) * 1e9, rel=1e-3)
    assert weigh(VARIANTS["s2v-14B"]).download == pytest.approx((32.6 + 0.508 + 11.36 + 1.26) * 1e9, rel=1e-3)
    animate = weigh(VARIANTS["animate-14B"])
    assert animate.download == pytest.approx((34.55 + 0.508 + 11.36 + 4.77 + 1.44) * 1e9, rel=1e-3)


def test_models_lists_the_catalogue_and_each_default(run, monkeypatch):
    monkeypatch.setattr(library, "cached", lambda row: None)
    code, out, _ = run("models")
    assert code == 0 and all(name in out for name in VARIANTS)
    code, out, _ = run("models", "t2v-A14B")
    for words in (
        "1280x720",
        "--frames     81",
        "--steps      40",
        "--shift      12",
        "--guidance   3,4",
        "色调艳丽",
    ):
        assert words in out
    values = json.loads(run("models", "ti2v-5B", "--json")[1])
    assert values["here"] == "absent" and values["defaults"]["fps"] == "24" and values["audio_model"] is None
    assert "audio model  jonatasgrosman/wav2vec2-large-xlsr-53-english" in run("models", "s2v-14B")[1]


def test_a_download_asks_for_the_needed_files_only(run, monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(repo, **options):
        asked.update(repo=repo, **options)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("wan22.cli.models._check_room", lambda row, target: None)
    assert run("download", "Wan-AI/Wan2.2-TI2V-5B", "--to", tmp_path)[:2] == (0, f"{tmp_path}\n")
    assert asked["repo"] == "Wan-AI/Wan2.2-TI2V-5B" and asked["local_dir"] == str(tmp_path)
    assert "diffusion_pytorch_model*" in asked["allow_patterns"] and "assets/*" not in asked["allow_patterns"]
    assert not any("wav2vec2" in pattern for pattern in asked["allow_patterns"])
    assert run("download", "s2v-14B", "--to", tmp_path)[0] == 0
    assert "wav2vec2-large-xlsr-53-english/model.safetensors" in asked["allow_patterns"]


def test_a_failed_download_is_one_line(run, monkeypatch, tmp_path):
    def snapshot_download(repo, **options):
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("wan22.cli.models._check_room", lambda row, target: None)
    code, _, err = run("download", "t2v-A14B", "--to", tmp_path)
    assert code == 2 and "no route to the hub" in err and len(err.splitlines()) == 1


def test_modelscope_without_its_package_names_the_extra(run, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "modelscope", None)
    monkeypatch.setattr("wan22.cli.models._check_room", lambda row, target: None)
    code, _, err = run("download", "t2v-A14B", "--from", "modelscope", "--to", tmp_path)
    assert code == 2 and "pip install modelscope" in err


def test_doctor_says_what_the_plan_says(run, monkeypatch):
    row = VARIANTS["ti2v-5B"]
    monkeypatch.setattr("wan22.cli.doctor.rows", lambda: {row.name: row})
    found = {}
    for gb in (200, 24, 1):
        machine = Hardware(
            "a card", "cuda", gb * GB, 64 * GB, {torch.bfloat16: 1e14, torch.float32: 5e13}, 1e12
        )
        monkeypatch.setattr("wan22.memory.hardware.here", lambda device, m=machine: m)
        code, out, _ = run("doctor", "--no-test", "--json")
        assert code == 0
        (model,) = json.loads(out)["models"]
        made = plan_job(resolve(request_of(row), row), model_of(row, "auto", "cuda"), machine)
        assert made.fits == (gb > 1) and model["device"] == "cuda"
        found[gb] = model["fits"]
        assert found[gb] == in_short(made) if made.fits else made.worst.name in found[gb]
    assert found[200].endswith("on the device") and found[24] != found[200]
    assert found[1].startswith("no: ") and "`wan22 plan ti2v-5B` says what would fit" in found[1]


def test_doctor_tests_the_machine(engine, run, monkeypatch):
    monkeypatch.setattr(library, "cached", lambda row: None)
    monkeypatch.setattr("wan22.cli.doctor.rows", lambda: {name: VARIANTS[name] for name in ("t2v-A14B",)})
    code, out, _ = run("doctor")
    assert code == 0
    for words in (
        "versions",
        "device",
        "disk",
        "t2v-A14B: here: no",
        "self-test    passed: 5 frames of 64x32",
    ):
        assert words in out
    engine.fail["denoise"] = RuntimeError("broken")
    assert run("doctor")[0] == 1


def test_the_old_names_of_options_are_read_with_a_notice(engine, run):
    asked = ("generate", "a red ball", "--frames", 13)
    code, _, err = run(*asked, "-o", "a.mp4", "--hold-colour", "0.5", "--afresh")
    assert code == 0
    assert "note: --hold-colour is called --color-match now" in err and "--afresh is called --restart" in err
    assert run(*asked, "-o", "b.mp4", "--color-match", "0.5", "--restart")[0] == 0
    assert engine.requests[0] == engine.requests[1]


def test_a_camera_that_moves_in_two_ways_is_said_in_one_option_or_two(engine, run):
    assert run("generate", "a red ball", "-o", "a.mp4", "--camera", "pan left, tilt up")[0] == 0
    assert run("generate", "a red ball", "-o", "b.mp4", "--camera", "pan left", "--camera", "tilt up")[0] == 0
    assert engine.requests[0].prompt == engine.requests[1].prompt != "a red ball"
