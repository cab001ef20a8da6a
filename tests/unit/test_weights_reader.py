"""Opening weight files: what is read is what was written, and what is broken says so."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wan22.errors import CheckpointError
from wan22.weights.reader import TensorInfo, open_reader
from wan22.weights.writer import write_safetensors, write_shards


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(4, 3, generator=generator),
        "a.bias": torch.randn(4, generator=generator).to(torch.bfloat16),
        "b.weight": torch.randn(2, 3, 1, 2, 2, generator=generator).half(),
        "scalar": torch.tensor(2.5),
        "eight": torch.randn(3, 3, generator=generator).to(torch.float8_e4m3fn),
        "empty": torch.zeros(0, dtype=torch.uint8),
    }


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.float(), b.float())


def test_a_safetensors_file_gives_back_what_was_saved(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(tensors(), path, metadata={"who": "me"})
    with open_reader(path) as reader:
        assert reader.metadata["who"] == "me"
        assert reader.files == [path]
        assert reader.infos["a.weight"].shape == (4, 3)
        assert (reader.infos["a.bias"].dtype, reader.infos["eight"].dtype) == ("BF16", "F8_E4M3")
        for name, tensor in tensors().items():
            assert same(reader.read(name), tensor), name


def test_what_we_write_is_read_by_the_safetensors_library(tmp_path):
    from safetensors.torch import load_file

    path = tmp_path / "x.safetensors"
    save_file(tensors(), tmp_path / "source.safetensors")
    with open_reader(tmp_path / "source.safetensors") as reader:
        write_safetensors(path, reader.infos, reader.read, {})
    loaded = load_file(path)
    assert loaded.keys() == tensors().keys()
    assert all(same(loaded[name], tensor) for name, tensor in tensors().items())
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".partial"] == []


@pytest.mark.parametrize("name", ["", "m.safetensors.index.json", "m-00002-of-00003.safetensors"])
def test_shards_open_as_one_by_folder_index_or_any_of_them(tmp_path, name):
    parts = {f"t{i}": torch.full((8,), float(i)) for i in range(3)}
    folder = tmp_path / "shards"
    infos = {name: TensorInfo((8,), "F32", 32) for name in parts}
    write_shards(folder, "m", infos, parts.__getitem__, shard_bytes=40)
    with open_reader(folder / name) as reader:
        assert len(reader.files) == 3
        assert reader.infos == infos
        assert all(same(reader.read(n), tensor) for n, tensor in parts.items())


def test_shards_without_an_index_open_and_a_missing_one_is_named(tmp_path):
    for i in (1, 2):
        save_file({f"t{i}": torch.ones(i)}, tmp_path / f"m-0000{i}-of-00002.safetensors")
    with open_reader(tmp_path) as reader:
        assert set(reader.infos) == {"t1", "t2"}
    (tmp_path / "m-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 2 shards are missing.*m-00002-of-00002"):
        open_reader(tmp_path)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_of_plain_tensors_opens(tmp_path, nested, legacy):
    modern = ("empty", "eight") if legacy else ()  # the old format is older than eight-bit floats
    plain = {name: tensor for name, tensor in tensors().items() if name not in modern}
    path = tmp_path / "x.pth"
    torch.save({"state_dict": plain} if nested else plain, path, _use_new_zipfile_serialization=not legacy)
    with open_reader(path) as reader:
        assert reader.infos["b.weight"].shape == (2, 3, 1, 2, 2)
        assert all(same(reader.read(name), tensor) for name, tensor in plain.items())


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("content", "says"),
    [({"a": Evil()}, "more than tensors"), ({"a": {"b": torch.ones(1)}}, "'a' is a dict"), ([1], "a list")],
)
def test_a_pickle_that_is_not_plain_tensors_is_refused(tmp_path, capsys, content, says):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=says):
        open_reader(tmp_path / "x.pth")
    assert "code ran" not in capsys.readouterr().out


def _cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "is empty"),
        (b"\x01\x02", "cut off"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"\xff" * 64, "header should be"),
        ((16).to_bytes(8, "little") + b"not json at all!", "no JSON"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".gguf"])
def test_a_broken_file_is_one_error_that_names_it(tmp_path, raw, says, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(raw)
    if suffix != ".safetensors" and not raw.startswith((b"<", b"version")) and raw:
        says = "damaged, cut off"
    with pytest.raises(CheckpointError, match=f"broken{suffix}.*{says}|{says}.*broken{suffix}"):
        open_reader(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_refused_when_opened(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    save_file(tensors(), path) if suffix == ".safetensors" else torch.save(tensors(), path)
    _cut(path, path.stat().st_size - 5)
    with pytest.raises(CheckpointError, match="cut off"):
        open_reader(path)


def test_paths_that_cannot_be_meant_say_what_is_there(tmp_path):
    with pytest.raises(CheckpointError, match="there is no"):
        open_reader(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="holds no weights"):
        open_reader(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"1")
    with pytest.raises(CheckpointError, match="no weight file"):
        open_reader(tmp_path / "x.zip")
    for name in "ab":
        save_file({"t": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"name one of a\.safetensors, b\.safetensors"):
        open_reader(tmp_path)


def test_an_index_may_not_lead_out_of_its_folder(tmp_path):
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="other folders"):
        open_reader(index)


def _write_gguf(path, entries, shapes=None):
    import gguf

    writer = gguf.GGUFWriter(path, "wan")
    for name, (data, kind) in entries.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    for name, shape in (shapes or {}).items():
        writer.add_array(f"comfy.gguf.orig_shape.{name}", list(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(("kind", "error"), [("Q8_0", 0.01), ("Q5_1", 0.05), ("Q4_0", 0.16), ("Q4_1", 0.1)])
def test_gguf_is_dequantised_to_near_the_weights_it_was_made_of(tmp_path, kind, error):
    import gguf

    kind = gguf.GGMLQuantizationType[kind]
    weight = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    path = tmp_path / "x.gguf"
    entries = {"w.weight": (gguf.quants.quantize(weight, kind), kind)}
    _write_gguf(path, entries)
    with open_reader(path) as reader:
        assert reader.infos["w.weight"].shape == (6, 64)
        assert reader.infos["w.weight"].dtype == kind.name
        read = reader.read("w.weight")
    assert read.dtype == torch.float32
    assert 0 < (read - torch.from_numpy(weight)).abs().max() < error * np.abs(weight).max()


def test_gguf_q8_0_is_scale_times_integer_exactly(tmp_path):
    import gguf

    block = np.concatenate(
        [np.array([0.5], np.float16).view(np.uint8), np.arange(-16, 16, dtype=np.int8).view(np.uint8)]
    )
    _write_gguf(tmp_path / "x.gguf", {"w": (block.reshape(1, 34), gguf.GGMLQuantizationType.Q8_0)})
    with open_reader(tmp_path / "x.gguf") as reader:
        assert torch.equal(reader.read("w"), 0.5 * torch.arange(-16, 16).float().reshape(1, 32))


def test_gguf_q6_k_follows_the_formula_of_its_block(tmp_path):
    """A block of Q6_K: 128 bytes of low bits, 64 of high bits, 16 int8 scales, one float16."""
    import gguf

    rng = np.random.default_rng(1)
    low, high = rng.integers(0, 256, 128, np.uint8), rng.integers(0, 256, 64, np.uint8)
    scales = rng.integers(-128, 128, 16, np.int8)
    block = np.concatenate([low, high, scales.view(np.uint8), np.array([0.25], np.float16).view(np.uint8)])
    expected = np.zeros(256)
    for half in range(2):
        for i in range(32):
            ql, qh = low[64 * half :], high[32 * half + i]
            values = (
                (ql[i] & 15) | ((qh & 3) << 4),
                (ql[i + 32] & 15) | (((qh >> 2) & 3) << 4),
                (ql[i] >> 4) | (((qh >> 4) & 3) << 4),
                (ql[i + 32] >> 4) | (((qh >> 6) & 3) << 4),
            )
            for quarter, value in enumerate(values):
                scale = int(scales[8 * half + 2 * quarter + i // 16])
                expected[128 * half + 32 * quarter + i] = 0.25 * scale * (int(value) - 32)
    _write_gguf(tmp_path / "x.gguf", {"w": (block.reshape(1, 210), gguf.GGMLQuantizationType.Q6_K)})
    with open_reader(tmp_path / "x.gguf") as reader:
        np.testing.assert_allclose(reader.read("w").numpy()[0], expected, rtol=1e-6)


def test_gguf_keeps_plain_kinds_and_gives_back_the_fifth_axis(tmp_path):
    import gguf

    kinds = gguf.GGMLQuantizationType
    weight = np.arange(48, dtype=np.float32).reshape(2, 3, 1, 2, 4)
    half = np.arange(6, dtype=np.float16).reshape(2, 3)
    bf16 = torch.tensor([[1.5, -2.0], [3.0, 0.25]], dtype=torch.bfloat16)
    entries = {
        "patch_embedding.weight": (weight.reshape(6, 8), kinds.F32),
        "half": (half, kinds.F16),
        "bf16": (bf16.view(torch.uint8).numpy(), kinds.BF16),
    }
    _write_gguf(tmp_path / "x.gguf", entries, {"patch_embedding.weight": weight.shape})
    with open_reader(tmp_path / "x.gguf") as reader:
        assert torch.equal(reader.read("patch_embedding.weight"), torch.from_numpy(weight))
        assert torch.equal(reader.read("half"), torch.from_numpy(half))
        assert torch.equal(reader.read("bf16"), bf16)
        assert reader.metadata["general.architecture"] == "wan"
