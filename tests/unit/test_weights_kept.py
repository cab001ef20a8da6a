"""Weights that stay quantised in memory: the same network as if they were dequantised, in the bytes of the file."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from unit.tiny import write_tiny

import wan22
from wan22.arch import DiTArch, UMT5Arch
from wan22.assembly import PartSource
from wan22.errors import CheckpointError, DeviceError, OptionError
from wan22.memory.precision import QUANTIZE, has_bfloat16_products, pick_compute_dtype, pick_keep
from wan22.models.dit import NoiseLevels
from wan22.models.linear import Linear, StoredLinear
from wan22.ops.gguf_blocks import KINDS
from wan22.ops.stored import Keep
from wan22.types import Frames, Latents, Notice, Request
from wan22.weights.load import Weights, load_module, meta_module
from wan22.weights.lora import LoRA, fit, merging
from wan22.weights.reader import open_reader

CPU, AS_IT_IS = torch.device("cpu"), Keep()
DIT = DiTArch(4, 4, 256, 512, heads=2, layers=1, text_dim=256, text_len=8, freq_dim=16)
TEXT = UMT5Arch(vocab=16, dim=64, dim_attn=64, ffn_dim=96, heads=2, layers=1)
Q = "blocks.0.self_attn.q"


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(got, wanted):
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())


def weights(arch=DIT):
    return {
        name: drawn(*t.shape, seed=i) / max(1, t[0].numel()) ** 0.5
        for i, (name, t) in enumerate(meta_module(arch).state_dict().items())
    }


def matrices(arch=DIT):
    return [f"{path}.weight" for path, m in meta_module(arch).named_modules() if type(m) is Linear]


def write_gguf(path, kind, arch=DIT):
    """Blocks of small bytes: every number of 16 bits among them is finite and small, whatever the kind."""
    packed = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, "wan")
    for name, tensor in weights(arch).items():
        if name in matrices(arch) and tensor.shape[1] % KINDS[kind].numbers == 0:
            columns = tensor.shape[1] // KINDS[kind].numbers * KINDS[kind].nbytes
            raw = np.random.default_rng(len(name)).integers(0, 32, (len(tensor), columns), dtype=np.uint8)
            writer.add_tensor(name, raw, raw_dtype=packed)
        elif tensor.ndim == 5:
            writer.add_tensor(name, tensor.reshape(-1, *tensor.shape[2:]).numpy())
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(tensor.shape))
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_eight_bits(path, dtype, layout, arch=DIT):
    """fp8 and int8 in the shapes of scale that are around; "cast" is fp8 without one."""
    tensors = weights(arch)
    for name in matrices(arch):
        wide, end = tensors[name], 127 if dtype == torch.int8 else 448
        blocks = wide.unflatten(1, (-1, 64)) if layout == "block" else wide.unsqueeze(1)
        axes = {"tensor": (0, 1, 2), "row": (1, 2), "block": (2,), "cast": (0, 1, 2)}[layout]
        scale = blocks.abs().amax(axes, keepdim=True) / end
        if layout == "cast":
            tensors[name] = wide.to(dtype)
            continue
        levels = blocks / scale
        tensors[name] = (levels.round() if dtype == torch.int8 else levels).to(dtype).reshape(wide.shape)
        shape = {"tensor": (), "row": (len(wide), 1), "block": (len(wide), -1, 1)}[layout]
        tensors[name.removesuffix("weight") + "weight_scale"] = scale.reshape(shape)
    save_file({name: t.contiguous() for name, t in tensors.items()}, path)
    return path


def wide(path, arch=DIT, edit=None, dtype=torch.float32):
    with open_reader(path) as reader:
        return load_module(meta_module(arch), reader, dtype=dtype, edit=edit)


def kept(path, arch=DIT, edit=None, keep=AS_IT_IS, dtype=torch.float32):
    with open_reader(path) as reader:
        module = meta_module(arch)
        Weights(module, reader, dtype=dtype, edit=edit, keep=keep).fill(module, "cpu")
        return module.eval()


def run(network, arch=DIT):
    with torch.inference_mode():
        if isinstance(arch, UMT5Arch):
            return network(torch.tensor([[1, 2, 3, 0]]), torch.tensor([[1, 1, 1, 0]]))
        text = network.read_text([drawn(3, arch.text_dim, seed=1)])
        return network(drawn(1, 4, 1, 4, 4, seed=2), NoiseLevels.uniform(torch.tensor([500.0])), text)


def held(module):
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


FILES = {kind: (write_gguf, kind) for kind in KINDS}
for dtype, name in ((torch.float8_e4m3fn, "fp8"), (torch.float8_e5m2, "e5m2"), (torch.int8, "int8")):
    for layout in ("tensor", "row", "block", "cast"):
        if (name, layout) != ("int8", "cast"):
            FILES[f"{name} {layout}"] = (write_eight_bits, dtype, layout)


@pytest.mark.parametrize("of", FILES)
def test_it_computes_as_if_it_were_dequantised_in_the_bytes_of_the_file(tmp_path, of):
    write, *how = FILES[of]
    path = write(tmp_path / ("x.gguf" if write is write_gguf else "x.safetensors"), *how)
    small, large = kept(path), wide(path)
    stored = [m for m in small.modules() if isinstance(m, StoredLinear)]
    assert len(stored) == len(matrices())
    assert error(run(small), run(large)) < 1e-5
    with open_reader(path) as reader:
        assert held(small) == sum(info.nbytes for info in reader.infos.values())


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "IQ4_NL"])
def test_the_text_encoder_keeps_its_matrices_too(tmp_path, kind):
    path = write_gguf(tmp_path / "t.gguf", kind, TEXT)
    small = kept(path, TEXT)
    assert sum(isinstance(m, StoredLinear) for m in small.modules()) == len(matrices(TEXT)) == 7
    assert error(run(small, TEXT), run(wide(path, TEXT), TEXT)) < 1e-5


def test_what_is_not_in_rows_of_whole_blocks_is_dequantised_and_counted(tmp_path):
    """A matrix of 24 inputs whose numbers a producer laid in rows of 256."""
    arch = replace(DIT, text_dim=24)
    packed, writer = gguf.GGMLQuantizationType.Q8_0, gguf.GGUFWriter(tmp_path / "x.gguf", "wan")
    for name, tensor in weights(arch).items():
        if name == "text_embedding.0.weight":
            rows = tensor.reshape(-1, 256).numpy()
            writer.add_tensor(name, gguf.quants.quantize(rows, packed), raw_dtype=packed)
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(tensor.shape))
        elif tensor.ndim == 5:
            writer.add_tensor(name, tensor.reshape(-1, *tensor.shape[2:]).numpy())
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(tensor.shape))
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path = tmp_path / "x.gguf"
    small = kept(path, arch)
    assert type(small.text_embedding[0]) is Linear
    assert error(small.text_embedding[0].weight, weights(arch)["text_embedding.0.weight"]) < 0.01
    found = PartSource(path, arch, torch.float32).skeleton()
    assert found.widened == 1 and "1 matrices of 'dit' are dequantised" in found.notices("dit", None)[0]


def test_the_skeleton_has_the_bytes_of_the_network(tmp_path):
    path = write_gguf(tmp_path / "x.gguf", "Q4_K")
    found = PartSource(path, DIT, torch.bfloat16).skeleton()
    assert all(t.is_meta for t in (*found.module.parameters(), *found.module.buffers()))
    assert found.nbytes == held(PartSource(path, DIT, torch.bfloat16)(CPU))
    assert found.as_stored == {"Q4_K": len(matrices())}
    assert "leaves what is quantised already in 'high': 12 in Q4_K" in found.notices("high", "int8")[0]


def test_without_float8_on_the_device_its_files_are_dequantised(tmp_path):
    path = write_eight_bits(tmp_path / "x.safetensors", torch.float8_e4m3fn, "row")
    small = kept(path, keep=Keep(float8=False))
    assert not any(isinstance(m, StoredLinear) for m in small.modules())
    assert error(run(small), run(wide(path))) < 1e-6


# Quantised while they load.


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "x.safetensors"
    save_file(weights(), path)
    return path


@pytest.mark.parametrize(("kind", "bits", "bound"), [("fp8", 8, 0.06), ("int8", 8, 0.03), ("int4", 5, 0.2)])
def test_weights_are_quantised_as_they_stream_in(plain, kind, bits, bound):
    small, large = kept(plain, keep=Keep(quantize=kind)), wide(plain)
    numbers = sum(load_file(plain)[name].numel() for name in matrices())
    rows = sum(len(load_file(plain)[name]) for name in matrices())
    scales = 0 if kind == "int4" else 4 * rows
    assert held(large) - held(small) == 4 * numbers - numbers * bits // 8 - scales
    assert 1e-4 < error(run(small), run(large)) < bound


def test_numbers_that_are_not_finite_are_not_quantised(tmp_path):
    tensors = weights()
    tensors[f"{Q}.weight"][0, 0] = torch.inf
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=rf"{Q}\.weight holds numbers that are not finite"):
        kept(tmp_path / "x.safetensors", keep=Keep(quantize="int8"))


# LoRAs.


def write_lora(path, rank=2, full=False, seed=0):
    tensors = {}
    for i, name in enumerate(n for n in matrices() if n.startswith("blocks")):
        out, into = weights()[name].shape
        module = name.removesuffix(".weight")
        tensors[f"{module}.lora_A.weight"] = drawn(rank, into, seed=seed + i) / into**0.5
        tensors[f"{module}.lora_B.weight"] = drawn(out, rank, seed=seed + 50 + i) / 2
    if full:
        tensors[f"diffusion_model.{Q}.diff"] = drawn(256, 256, seed=9) / 16
        tensors[f"diffusion_model.{Q}.diff_b"] = drawn(256, seed=10)
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("of", ["Q4_K", "fp8 row", "fp8 cast", "int8 block", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loras_are_added_at_use_as_if_they_were_merged(tmp_path, plain, of, dtype):
    if of == "int4":
        path, keep = plain, Keep(quantize="int4")
    else:
        (write, *how), keep = FILES[of], AS_IT_IS
        path = write(tmp_path / ("x.gguf" if write is write_gguf else "x.safetensors"), *how)
    loras = [
        LoRA(write_lora(tmp_path / "a.safetensors", 2), 0.7),
        LoRA(write_lora(tmp_path / "b.safetensors", 3, seed=200)),
    ]
    fitted = fit(loras, ("dit",), DIT, "x")
    with merging(fitted.on("dit")) as edit:
        small = kept(path, edit=edit, keep=keep, dtype=dtype)
        assert small.get_submodule(Q).rank == 5
        if of == "int4":
            alone = kept(path, keep=keep)
            exact = {
                name: edit(name, alone.get_submodule(name.removesuffix(".weight")).weight)
                for name in matrices()
            }
        else:
            merged = wide(path, edit=edit).state_dict()
            exact = {name: merged[name] for name in matrices()}
    for name in matrices():
        assert error(small.get_submodule(name.removesuffix(".weight")).weight, exact[name]) < (
            1e-6 if dtype == torch.float32 else 6e-3
        )
    before = kept(path, keep=keep, dtype=dtype)
    assert error(run(small), run(before)) > 0.05


def test_a_full_difference_is_merged_into_a_weight_that_is_no_longer_quantised(tmp_path):
    path = write_gguf(tmp_path / "x.gguf", "Q4_K")
    fitted = fit([LoRA(write_lora(tmp_path / "a.safetensors", full=True))], ("dit",), DIT, "x")
    with merging(fitted.on("dit")) as edit:
        small, large = kept(path, edit=edit), wide(path, edit=edit)
    assert type(small.get_submodule(Q)) is Linear
    assert isinstance(small.get_submodule("blocks.0.self_attn.k"), StoredLinear)
    assert error(run(small), run(large)) < 1e-5


# Engines.

ASK = Request(prompt="a red ball", seed=3, frames=5, size=(48, 32), steps=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny")


def events(engine, request=ASK):
    return list(engine.generate(request))


def latents(found):
    return next(e.tensors["latents"] for e in found if isinstance(e, Latents))


@pytest.mark.parametrize("kind", ["fp8", "int8", "int4", "fp8-weights", "int8-weights"])
def test_an_engine_quantises_and_says_so(tiny, kind):
    exact, rough = wan22.load(tiny, device="cpu"), wan22.load(tiny, device="cpu", quantize=kind)
    assert rough.recipe(ASK)["quantize"] == kind and "quantize" not in exact.recipe(ASK)
    got = events(rough)
    assert 0 < error(latents(got), latents(events(exact))) < 0.3
    layers = [m for m in rough.expert("high").modules() if isinstance(m, StoredLinear)]
    assert layers and all(
        m.products == (kind == "int8" and pick_keep("int8", torch.float32, CPU)[0].products) for m in layers
    )
    said = [e.text for e in got if isinstance(e, Notice)]
    assert any("CPUs have no products of float8" in text for text in said) == (kind == "fp8")


@pytest.mark.parametrize("kind", ["int8-weights", "int4"])
def test_a_quantised_model_streams_block_by_block(tiny, kind):
    whole = latents(events(wan22.load(tiny, device="cpu", quantize=kind)))
    assert torch.equal(latents(events(wan22.load(tiny, device="cpu", quantize=kind, memory="stream"))), whole)


def test_an_engine_takes_loras_on_quantised_weights_and_gives_them_back(tiny, tmp_path):
    tensors = {
        "blocks.0.self_attn.q.lora_A.weight": drawn(2, 24), "blocks.0.self_attn.q.lora_B.weight": drawn(24, 2, seed=1)
    }  # fmt: skip
    save_file(tensors, tmp_path / "x.safetensors")
    engine = wan22.load(tiny, device="cpu", quantize="int8-weights")
    before = latents(events(engine))
    engine.use_loras([tmp_path / "x.safetensors"])
    assert engine.expert("high").blocks[0].self_attn.q.rank == 2
    changed = latents(events(engine))
    assert not torch.equal(changed, before)
    engine.use_loras([])
    assert torch.equal(latents(events(engine)), before)


def test_bfloat16_is_kept_and_float32_computed_on_a_cpu_without_bfloat16_products(tiny, monkeypatch):
    monkeypatch.setattr("wan22.memory.precision.has_bfloat16_products", lambda: False)
    engine = wan22.load(tiny, device="cpu", dtype="bfloat16")
    recipe = engine.recipe(ASK)
    assert (recipe["dtype"], recipe["compute_dtype"]) == ("bfloat16", "float32")
    network = engine.expert("high")
    assert network.blocks[0].ffn[0].weight.dtype == torch.bfloat16
    assert network.blocks[0].ffn[0](drawn(1, 24)).dtype == torch.float32
    assert engine.encode_text(["a red ball"])[0].dtype == torch.float32
    got = latents(events(engine))
    # Not that of bfloat16 products: what is left is the rounding of the weights.
    half = wan22.load(tiny, device="cpu", dtype="bfloat16", compute_dtype="bfloat16")
    assert half.compute_dtype == torch.bfloat16 and not torch.equal(latents(events(half)), got)
    assert any(isinstance(e, Frames) for e in events(engine))


def test_the_compute_dtype_follows_the_hardware(monkeypatch):
    monkeypatch.setattr("wan22.memory.precision.has_bfloat16_products", lambda: False)
    assert pick_compute_dtype("auto", torch.bfloat16, CPU) == torch.float32
    assert pick_compute_dtype("auto", torch.bfloat16, torch.device("cuda")) == torch.bfloat16
    assert pick_compute_dtype("bf16", torch.float32, CPU) == torch.bfloat16
    monkeypatch.setattr("wan22.memory.precision.has_bfloat16_products", lambda: True)
    assert pick_compute_dtype("auto", torch.bfloat16, CPU) == torch.bfloat16
    with pytest.raises(DeviceError, match="float16 is not usable on the CPU"):
        pick_compute_dtype("float16", torch.bfloat16, CPU)


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_limits_of_the_environment_stand_for_an_older_cpu(monkeypatch, name):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert has_bfloat16_products()
    monkeypatch.setenv(name, "AVX2")
    assert not has_bfloat16_products()
    monkeypatch.setenv(name, "AVX512_CORE_BF16")
    assert has_bfloat16_products()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not has_bfloat16_products()


def test_what_cannot_be_is_refused_with_what_can(tiny):
    with pytest.raises(
        OptionError, match=f"unknown kind of quantised weights 'q4'. Known: {', '.join(QUANTIZE)}"
    ):
        wan22.load(tiny, device="cpu", quantize="q4")
    with pytest.raises(DeviceError, match="no float8 on mps; take --quantize int8 or int4"):
        pick_keep("fp8", torch.bfloat16, torch.device("mps"))
    keep, said = pick_keep("int8", torch.bfloat16, torch.device("mps"))
    assert keep.quantize == "int8" and not keep.products and "no 8-bit products are known on mps" in said[0]
