"""Diffusers' own converters understand the LoRAs that we write, and mean by them what we mean."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan22.arch import DiTArch
from wan22.weights.lora.fitting import shapes_of
from wan22.weights.lora.write import convert_lora, write_lora

convert = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours

DIT = DiTArch(16, 16, dim=48, ffn_dim=64, heads=2, layers=2, text_dim=32, freq_dim=16)
RANK = 4
THEIRS = {
    "comfy": convert._convert_non_diffusers_wan_lora_to_diffusers,
    "lightx2v": convert._convert_non_diffusers_wan_lora_to_diffusers,
    "kohya": convert._convert_musubi_wan_lora_to_diffusers,
}


def pairs():
    generator = torch.Generator().manual_seed(0)
    return {
        name: (
            torch.randn(RANK, shape[1], generator=generator),
            torch.randn(shape[0], RANK, generator=generator),
        )
        for name, shape in shapes_of(DIT).items()
        if name.startswith("blocks.") and len(shape) == 2
    }


def products(tensors):
    """What a Diffusers file adds, by module."""
    modules = {name.rpartition(".lora_")[0] for name in tensors}
    return {m: tensors[f"{m}.lora_B.weight"].float() @ tensors[f"{m}.lora_A.weight"].float() for m in modules}


@pytest.mark.parametrize("alpha", [RANK, 1.5])
@pytest.mark.parametrize("dialect", THEIRS)
def test_their_converter_and_ours_give_the_same_file(tmp_path, dialect, alpha):
    path = write_lora(tmp_path / "a.safetensors", pairs(), alpha=alpha, dialect=dialect)
    theirs = THEIRS[dialect](load_file(path))
    ours = load_file(convert_lora(path, tmp_path / "b.safetensors", "diffusers"))
    assert ours.keys() == theirs.keys()
    wanted = products(theirs)
    assert len(wanted) == 20
    assert all(torch.allclose(delta, wanted[name], atol=1e-5) for name, delta in products(ours).items())


def test_full_differences_of_biases_have_their_name_for_them(tmp_path):
    path = write_lora(tmp_path / "a.safetensors", pairs(), alpha=RANK, dialect="lightx2v")
    bias = {f"diffusion_model.blocks.{i}.ffn.0.diff_b": torch.randn(DIT.ffn_dim) for i in range(DIT.layers)}
    save_file(load_file(path) | bias, path)
    there = convert_lora(path, tmp_path / "b.safetensors", "comfy")
    theirs = THEIRS["comfy"](load_file(there))
    assert torch.equal(theirs["transformer.blocks.1.ffn.net.0.proj.lora_B.bias"], list(bias.values())[1])
