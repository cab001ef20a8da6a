"""Model folders: found in every layout, converted to every other, described and verified."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_weights_load import DIT, TEXT, VAE, VAE_NESTED, weights

from wan22.catalog import VAE_22
from wan22.errors import CheckpointError, OptionError, OutputError
from wan22.weights.convert import convert
from wan22.weights.find import find_layout, find_parts
from wan22.weights.inspect import describe
from wan22.weights.load import load_module, meta_module
from wan22.weights.reader import open_reader
from wan22.weights.recognise import recognise
from wan22.weights.verify import verify

TI2V = replace(DIT, in_channels=48, out_channels=48)
VAE_TI2V = replace(VAE_NESTED, z=48, mean=VAE_22.mean, std=VAE_22.std)


def official(folder: Path, task: str = "t2v") -> Path:
    """A tiny model in the layout of the releases."""
    if task == "ti2v":
        save(folder / "diffusion_pytorch_model-00001-of-00001.safetensors", weights(TI2V))
        torch.save(weights(VAE_TI2V), folder / "Wan2.2_VAE.pth")
    else:
        save(folder / "high_noise_model" / "diffusion_pytorch_model.safetensors", weights(DIT))
        low = {name: -tensor for name, tensor in weights(DIT).items()}
        save(folder / "low_noise_model" / "diffusion_pytorch_model.safetensors", low)
        torch.save(weights(VAE), folder / "Wan2.1_VAE.pth")
    torch.save(weights(TEXT), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    tokenizer = folder / "google" / "umt5-xxl"
    tokenizer.mkdir(parents=True)
    (tokenizer / "spiece.model").write_bytes(b"pieces")
    (tokenizer / "tokenizer.json").write_text("{}")
    return folder


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def values(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one network, in official names."""
    with open_reader(path) as reader:
        return load_module(meta_module(recognise(reader).arch), reader, dtype=torch.float32).state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_an_official_folder_is_found(tmp_path):
    folder = official(tmp_path / "m")
    assert find_parts(folder) == {
        "high": folder / "high_noise_model",
        "low": folder / "low_noise_model",
        "vae": folder / "Wan2.1_VAE.pth",
        "text": folder / "models_t5_umt5-xxl-enc-bf16.pth",
        "tokenizer": folder / "google" / "umt5-xxl",
    }


def test_an_incomplete_folder_lists_all_that_is_missing(tmp_path):
    folder = official(tmp_path / "m")
    shutil.rmtree(folder / "low_noise_model")
    (folder / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(CheckpointError, match=r"Missing: the low-noise expert.*; the VAE"):
        find_parts(folder)


def test_a_hub_cache_folder_leads_to_its_snapshot(tmp_path):
    cache = tmp_path / "models--Wan-AI--Wan2.2-T2V-A14B"
    folder = official(cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots" / "old").mkdir()
    assert find_parts(cache)["vae"] == folder / "Wan2.1_VAE.pth"


def test_a_comfy_tree_is_found_by_its_tensors_among_files_of_other_models(tmp_path):
    root = tmp_path / "ComfyUI" / "models"
    save(root / "diffusion_models" / "wan_high_noise.safetensors", weights(DIT))
    save(root / "diffusion_models" / "Wan-LowNoise-Q8.safetensors", weights(DIT))
    save(root / "diffusion_models" / "flow_other.safetensors", {"other": torch.ones(1)})
    save(root / "vae" / "anything.safetensors", weights(VAE))
    text = {**weights(TEXT), "spiece_model": torch.tensor([1, 2], dtype=torch.uint8)}
    save(root / "text_encoders" / "t5.safetensors", text)
    layout = find_layout(root.parent)
    assert layout.parts["high"].name == "wan_high_noise.safetensors"
    assert layout.parts["low"].name == "Wan-LowNoise-Q8.safetensors"
    assert layout.parts["vae"].name == "anything.safetensors"
    assert layout.parts["tokenizer"] == layout.parts["text"]  # its bytes lie in that file
    assert layout.missing == []
    save(root / "vae" / "another.safetensors", weights(VAE))
    with pytest.raises(CheckpointError, match=r"several files for the part 'vae'.*another.*anything"):
        find_layout(root.parent)


@pytest.mark.parametrize("task", ["t2v", "ti2v"])
@pytest.mark.parametrize("way", [("diffusers",), ("comfy",), ("diffusers", "comfy", "official")])
def test_a_model_goes_through_the_layouts_and_stays_the_same(tmp_path, task, way):
    source = official(tmp_path / "source", task)
    folder = source
    for i, dialect in enumerate(way):
        folder = convert(folder, tmp_path / f"{i}-{dialect}", dialect)
    before, after = find_parts(source), find_parts(folder)
    assert before.keys() == after.keys()
    for part in before.keys() - {"tokenizer"}:
        assert same(values(before[part]), values(after[part])), part
    if way[-1] == "official":
        assert {
            name: path.relative_to(source) for name, path in before.items() if name in ("vae", "text")
        } == {name: path.relative_to(folder) for name, path in after.items() if name in ("vae", "text")}


def test_diffusers_folders_say_boundary_shift_and_experts(tmp_path):
    layout = find_layout(convert(official(tmp_path / "a"), tmp_path / "b", "diffusers"))
    assert (layout.kind, layout.boundary, layout.shift) == ("diffusers", 0.875, 3.0)
    index = json.loads((tmp_path / "b" / "model_index.json").read_text())
    assert index["transformer_2"] == ["diffusers", "WanTransformer3DModel"]
    layout = find_layout(convert(official(tmp_path / "c", "ti2v"), tmp_path / "d", "diffusers"))
    assert (layout.boundary, layout.shift) == (None, 5.0)
    assert json.loads((tmp_path / "d" / "model_index.json").read_text())["expand_timesteps"] is True


def test_a_dtype_casts_transformers_and_text_and_leaves_the_vae(tmp_path):
    folder = convert(official(tmp_path / "a"), tmp_path / "b", "comfy", dtype=torch.bfloat16)
    kinds = {}
    for part, path in find_parts(folder).items():
        if part != "tokenizer":
            with open_reader(path) as reader:
                kinds[part] = {info.dtype for name, info in reader.infos.items() if name != "spiece_model"}
    assert kinds == {"high": {"BF16"}, "low": {"BF16"}, "text": {"BF16"}, "vae": {"F32"}}


def test_one_network_converts_to_a_file_or_to_a_folder_of_shards(tmp_path):
    save(tmp_path / "x.safetensors", weights(DIT))
    seen = []
    convert(
        tmp_path / "x.safetensors",
        tmp_path / "y.safetensors",
        "diffusers",
        progress=lambda *p: seen.append(p),
    )
    assert seen[-1][0] == seen[-1][1]
    assert same(values(tmp_path / "y.safetensors"), weights(DIT))
    convert(tmp_path / "y.safetensors", tmp_path / "z", "official", shard_bytes=100_000)
    assert len(list((tmp_path / "z").glob("*-of-*.safetensors"))) > 1
    assert same(values(tmp_path / "z"), weights(DIT))
    assert json.loads((tmp_path / "z" / "config.json").read_text())["model_type"] == "t2v"


def test_what_cannot_be_converted_leaves_nothing_behind(tmp_path, monkeypatch):
    folder = official(tmp_path / "a")
    with pytest.raises(OptionError, match="official, diffusers, comfy"):
        convert(folder, tmp_path / "b", "onnx")
    with pytest.raises(OutputError, match="exists already"):
        convert(folder, folder, "diffusers")
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    (own / "Wan2.1_VAE.pth").unlink()
    save(own / "Wan2.1_VAE.safetensors", weights(VAE))
    ti2v = convert(official(tmp_path / "t", "ti2v"), tmp_path / "u", "diffusers")
    config = json.loads((ti2v / "vae" / "config.json").read_text())
    config["latents_mean"][0] = 1.5
    (ti2v / "vae" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="no place for"):
        convert(ti2v, tmp_path / "v", "official")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(OutputError, match="are free"):
        convert(folder, tmp_path / "w", "diffusers")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "own", "t", "u"]


def test_a_failure_while_writing_leaves_no_file(tmp_path, monkeypatch):
    save(tmp_path / "x.safetensors", weights(DIT))

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for target in ("y.safetensors", "folder"):
        with pytest.raises(KeyboardInterrupt):
            convert(tmp_path / "x.safetensors", tmp_path / target, "official", progress=fail)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_describe_says_what_a_file_is_and_is_json(tmp_path):
    save(tmp_path / "x.safetensors", {name: t.bfloat16() for name, t in weights(DIT).items()})
    found = describe(tmp_path / "x.safetensors")
    assert json.loads(json.dumps(found))["arch"]["dim"] == 128
    assert (found["part"], found["task"], found["dialect"]) == ("dit", "t2v", "official")
    assert found["parameters"] == sum(t.numel() for t in weights(DIT).values())
    assert found["dtypes"] == {"BF16": len(weights(DIT))}
    assert found["problem"] is None
    save(tmp_path / "y.safetensors", {"other": torch.ones(2, 3)})
    found = describe(tmp_path / "y.safetensors")
    assert found["part"] is None and "not recognised" in found["problem"]
    assert found["parameters"] == 6


def test_describe_of_a_model_names_its_parts(tmp_path):
    found = describe(official(tmp_path / "m"))
    assert found["layout"] == "official" and found["missing"] == []
    assert {name: part.get("part") for name, part in found["parts"].items()} == {
        "high": "dit", "low": "dit", "vae": "vae", "text": "text", "tokenizer": None,
    }  # fmt: skip


def test_a_whole_model_verifies_and_damage_is_named(tmp_path):
    folder = official(tmp_path / "m")
    report = verify(folder)
    assert report.ok, report.problems
    assert len(report.files) == 4
    expert = folder / "low_noise_model" / "diffusion_pytorch_model.safetensors"
    expert.write_bytes(expert.read_bytes()[:-3])
    report = verify(folder)
    assert not report.ok
    assert any("low_noise_model" in problem and "cut off" in problem for problem in report.problems)
    assert [file.path for file in report.files if file.problem] == [expert]


@pytest.mark.parametrize("noted", ["beside", "sums", "cache", "local"])
def test_a_changed_byte_is_found_where_the_hash_is_known(tmp_path, noted):
    path = tmp_path / "x.safetensors"
    save(path, weights(DIT))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if noted == "beside":
        (tmp_path / "x.safetensors.sha256").write_text(f"{digest}  x.safetensors\n")
    elif noted == "sums":
        (tmp_path / "SHA256SUMS").write_text(f"{digest}  x.safetensors\n")
    elif noted == "cache":
        blob = tmp_path / "blobs" / digest
        blob.parent.mkdir()
        path.rename(blob)
        path.symlink_to(blob)
    else:
        note = tmp_path / ".cache" / "huggingface" / "download" / "x.safetensors.metadata"
        note.parent.mkdir(parents=True)
        note.write_text(f"commit\n{digest}\n1.0\n")
    assert [file.hash for file in verify(path).files] == ["matches"]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    report = verify(path)
    assert [file.hash for file in report.files] == ["differs"]
    assert "SHA-256 differs" in report.problems[0]
    assert verify(path, hashes=False).ok


def test_a_missing_shard_is_found_by_the_index(tmp_path):
    save(tmp_path / "x.safetensors", weights(DIT))
    folder = convert(tmp_path / "x.safetensors", tmp_path / "z", "official", shard_bytes=100_000)
    assert verify(folder).ok
    next(iter(folder.glob("*-00002-of-*"))).unlink()
    assert any("00002-of" in problem and "missing" in problem for problem in verify(folder).problems)
