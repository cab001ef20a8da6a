"""The Triton kernels against their references, in Triton's interpreter.

`test_kernels.py` runs this file in a process of its own, for Triton reads TRITON_INTERPRET=1 when it is first imported.
"""

import pytest
import torch

from wan22.ops import fused
from wan22.ops import triton_block as block
from wan22.ops import triton_vae as vae
from wan22.ops.rope import rotation
from wan22.ops.rows import Rows


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def rows(b, k, d, seed, tokens=None):
    """Rows as a block has them, one part of several; with `tokens`, each token has one of the k."""
    values = noise(b, k, 6, d, seed=seed)[:, :, 1]
    index = None if tokens is None else torch.arange(tokens) % k
    return Rows(values, index)


def same(ours, theirs, bound=2e-6):
    for a, b in zip(ours, theirs, strict=True) if isinstance(ours, tuple) else ((ours, theirs),):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert (a.double() - b.double()).norm() <= bound * b.double().norm()


SIZES = [(2, 3, 24), (1, 1, 3072), (1, 3, 5120)]
"""Samples, tokens, width: the official ones, and some of no power of two."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("distinct", [None, 2])
@torch.inference_mode()
def test_norm_and_modulation(size, distinct):
    b, tokens, d = size
    where = (None if distinct is None else tokens,)
    shift, scale = (rows(b, distinct or 1, d, seed, *where) for seed in (1, 2))
    x = 3 + noise(b, tokens, d)
    same(block.norm_modulate(x, shift, scale, 1e-6), fused.norm_modulate(x, shift, scale, 1e-6))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("distinct", [None, 2])
@torch.inference_mode()
def test_gate_residual_and_norm(size, distinct):
    b, tokens, d = size
    where = (None if distinct is None else tokens,)
    gate, shift, scale = (rows(b, distinct or 1, d, seed, *where) for seed in (1, 2, 3))
    x, y, weight, bias = (
        noise(b, tokens, d, seed=4),
        noise(b, tokens, d, seed=5),
        noise(d, seed=6),
        noise(d, seed=7),
    )
    same(block.gated_add(x, y, gate), fused.gated_add(x, y, gate))
    same(block.gated_add(x, y), fused.gated_add(x, y))
    for name, args in (("gated_add_norm", (gate, weight, bias)), ("add_norm_modulate", (shift, scale))):
        ours, theirs = (getattr(module, name)(x, y, *args, 1e-6) for module in (block, fused))
        same(ours, theirs)


@torch.inference_mode()
def test_the_sum_is_written_where_it_is_asked():
    whole, y, gate = noise(2, 5, 24), noise(2, 2, 24, seed=1), rows(2, 1, 24, 2)
    chunks = {}
    for module in (block, fused):
        x = whole.clone()
        part = x[:, 2:4]
        total, normed = module.gated_add_norm(
            part, y, gate, noise(24, seed=3), noise(24, seed=4), 1e-6, out=part
        )
        assert total.data_ptr() == part.data_ptr()
        chunks[module] = (x, normed)
    same(chunks[block], chunks[fused])
    assert torch.equal(chunks[block][0][:, :2], whole[:, :2]) and not torch.equal(chunks[block][0], whole)


@pytest.mark.parametrize(("heads", "e"), [(2, 12), (24, 128), (40, 128), (3, 10)])
@pytest.mark.parametrize("turned", [True, False])
@torch.inference_mode()
def test_norm_and_rotation(heads, e, turned):
    x, gain = noise(1, 6, heads, e), noise(heads * e, seed=1)
    table = rotation((1, 2, 3), e, torch.device("cpu")) if turned else None
    same(block.norm_rotate(x, gain, table, 1e-6), fused.norm_rotate(x, gain, table, 1e-6))


@pytest.mark.parametrize("shape", [(1, 5, 2, 3, 4), (2, 96, 1, 3, 5), (1, 24, 3, 3), (1, 1024, 1, 1, 9)])
@pytest.mark.parametrize("last", [True, False])
@torch.inference_mode()
def test_norm_and_silu(shape, last):
    kinds = {5: torch.channels_last_3d, 4: torch.channels_last}
    x = noise(*shape)
    x = x.contiguous(memory_format=kinds[len(shape)]) if last else x
    x[0, :, 0] = 0.0  # a position of length zero
    gamma = noise(shape[1], *(1,) * (len(shape) - 2), seed=1)
    ours = vae.norm_silu(x, gamma)
    same(ours, fused.norm_silu(x, gamma))
    assert ours.stride() == x.stride()


@torch.inference_mode()
def test_any_strides():
    """Chunks of tokens, every second token, and a width that is not the last axis."""
    wide, b, d = noise(2, 5, 6, 24), 2, 6 * 24
    shift, scale = rows(b, 1, d, 1), rows(1, 1, d, 2)
    for x in (wide.flatten(2)[:, 2:4], wide.flatten(2)[:, ::2], noise(2, d, 3).transpose(1, 2)):
        same(block.norm_modulate(x, shift, scale, 1e-6), fused.norm_modulate(x, shift, scale, 1e-6))
        y = noise(*x.shape, seed=3)
        same(
            block.add_norm_modulate(x, y, shift, scale, 1e-6),
            fused.add_norm_modulate(x, y, shift, scale, 1e-6),
        )
    gain = noise(d, seed=4)
    cos, sin = rotation((1, 1, 5), 24, torch.device("cpu"))
    for part in (slice(2, 4), slice(None, None, 2)):
        table = cos[part], sin[part]
        x = wide[:, part]
        same(block.norm_rotate(x, gain, table, 1e-6), fused.norm_rotate(x, gain, table, 1e-6))
    x = noise(3, 8, 4, 6).transpose(0, 1)[:, :, 1:]
    same(vae.norm_silu(x, noise(3, 1, 1)), fused.norm_silu(x, noise(3, 1, 1)))


@torch.inference_mode()
def test_what_is_narrow_is_rounded_as_the_reference_is():
    """Bfloat16 in and out. The interpreter cuts off where a GPU rounds, so two roundings are allowed."""
    b, tokens, d = 1, 3, 64
    x, y = noise(b, tokens, d, dtype=torch.bfloat16), noise(b, tokens, d, seed=1, dtype=torch.bfloat16)
    shift, scale = rows(b, 1, d, 2), rows(b, 1, d, 3)
    ours, theirs = (
        module.add_norm_modulate(x, y, shift, scale, 1e-6, torch.bfloat16) for module in (block, fused)
    )
    same(ours, theirs, 1e-2)
    heads, table = x.view(b, tokens, 4, 16), rotation((1, 1, 3), 16, torch.device("cpu"))
    for gain in (noise(d, seed=4), noise(d, seed=4, dtype=torch.bfloat16)):
        same(block.norm_rotate(heads, gain, table, 1e-6), fused.norm_rotate(heads, gain, table, 1e-6), 1e-2)
    video = noise(1, 16, 2, 3, 4, dtype=torch.bfloat16)
    for gamma in (noise(16, 1, 1, 1), noise(16, 1, 1, 1, dtype=torch.bfloat16)):
        same(vae.norm_silu(video, gamma), fused.norm_silu(video, gamma), 1e-2)
