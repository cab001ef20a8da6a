"""Networks of random weights, made where they are needed."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from wan22.arch import DiTArch, VAEArch
from wan22.assembly import FLOAT32
from wan22.memory.stream import BlockStream, CopyLane, HostLane
from wan22.models.dit import NoiseLevels, TextMemory, WanDiT
from wan22.models.meta import meta_module
from wan22.ops.attention import Attention, attend


def dtype_of(name: str, dtype: torch.dtype = torch.bfloat16) -> torch.dtype:
    """The dtype of a transformer's weight, as the engine has it."""
    return torch.float32 if any(part in name for part in FLOAT32) else dtype


def nbytes(arch: DiTArch, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of a transformer's weights."""
    return sum(p.numel() * dtype_of(name, dtype).itemsize for name, p in meta_module(arch).named_parameters())


def transformer(
    arch: DiTArch, device: torch.device, attention: Attention = attend, dtype: torch.dtype = torch.bfloat16
) -> WanDiT:
    """A transformer whose matrices are `dtype`."""
    network = meta_module(arch, attention)
    assert isinstance(network, WanDiT)
    generator = torch.Generator(device).manual_seed(0)
    for name, weight in list(network.named_parameters()):
        _put(network, name, _drawn(name, weight, dtype_of(name, dtype), generator))
    return network.eval()


def vae(arch: VAEArch, device: torch.device, dtype: torch.dtype, channels_last: bool) -> nn.Module:
    """A VAE in one dtype and memory format."""
    network = meta_module(arch)
    generator = torch.Generator(device).manual_seed(0)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d} if channels_last else {}
    for name, weight in list(network.named_parameters()):
        made = _drawn(name, weight, dtype, generator)
        kind = formats.get(made.ndim, torch.contiguous_format)
        _put(network, name, made.contiguous(memory_format=kind))
    return network.eval()


def streamed(arch: DiTArch, device: torch.device) -> tuple[WanDiT, int]:
    """A transformer whose blocks come from pinned host memory, and the bytes of a block.

    All blocks have the same weights, so that the host holds one of them: what is copied is as much as ever.
    """
    network = transformer(replace(arch, layers=1), device)
    block = {name: p.detach().cpu() for name, p in network.blocks[0].named_parameters()}
    if device.type == "cuda":
        block = {name: tensor.pin_memory() for name, tensor in block.items()}
    lane = CopyLane(device) if device.type == "cuda" else HostLane()
    empty = meta_module(arch).get_submodule("blocks")
    network.arch = arch
    network.blocks = BlockStream(list(empty.children()), lambda i: block, lane, keep=False)
    return network.eval(), sum(tensor.nbytes for tensor in block.values())


def inputs(case_grid: tuple[int, int, int], arch: DiTArch, device: torch.device) -> Mapping[str, Tensor]:
    """Latents, a timestep and an encoded prompt of 128 tokens (or as many as the network reads)."""
    generator = torch.Generator(device).manual_seed(1)
    tokens = min(128, arch.text_len - 1)
    return {
        "x": torch.randn(1, arch.in_channels, *case_grid, device=device, generator=generator),
        "timestep": torch.full((1,), 500.0, device=device),
        "prompt": torch.randn(tokens, arch.text_dim, device=device, generator=generator),
    }


def read(network: WanDiT, given: Mapping[str, Tensor]) -> TextMemory:
    """The prompt as the blocks know it: made once for a video."""
    return network.read_text([given["prompt"].to(network.text_embedding[0].dtype)])


def call(network: WanDiT, given: Mapping[str, Tensor], text: TextMemory) -> Tensor:
    """One prediction."""
    return network(given["x"], NoiseLevels.uniform(given["timestep"]), text[: len(network.blocks)])


def _drawn(name: str, like: Tensor, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if like.ndim < 2 or "gamma" in name:
        return (torch.zeros if name.endswith("bias") else torch.ones)(
            like.shape, dtype=dtype, device=generator.device
        )
    made = torch.empty(like.shape, dtype=dtype, device=generator.device)
    return made.normal_(0, like[0].numel() ** -0.5, generator=generator)


def _put(network: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    network.get_submodule(path)._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
