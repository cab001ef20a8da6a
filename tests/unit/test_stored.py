"""Weights kept in other forms than they compute in: each form against its reference, and what it costs."""

import pytest
import torch

from wan22.ops.gguf_blocks import KINDS
from wan22.ops.stored import (
    FLOAT8,
    GGUF,
    KINDS_TO_QUANTISE,
    Cast,
    Int4,
    Scaled,
    dequantise,
    empty,
    form_for,
    rotate,
)

gguf = pytest.importorskip("gguf")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(got, wanted):
    return float((got.float() - wanted).norm() / wanted.norm())


def test_every_kind_that_the_package_gguf_can_dequantise_is_known():
    assert {kind.name for kind in gguf.quants._type_traits} - {"BF16"} == set(KINDS)
    for name, kind in KINDS.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]] == (kind.numbers, kind.nbytes)


@pytest.mark.parametrize("kind", KINDS)
def test_random_blocks_are_dequantised_bit_for_bit_as_the_package_gguf_does(kind):
    """Random bytes reach every bit pattern; not-a-number scales among them stay so."""
    import numpy as np

    rows, blocks, numbers = 40, 3, KINDS[kind].numbers
    generator = torch.Generator().manual_seed(1)
    raw = torch.randint(256, (rows, blocks * KINDS[kind].nbytes), dtype=torch.uint8, generator=generator)
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(raw.numpy(), gguf.GGMLQuantizationType[kind])
    got = dequantise(GGUF(kind), {"data": raw}, torch.float32)
    assert got.shape == (rows, blocks * numbers) == tuple(wanted.shape)
    wanted = torch.from_numpy(wanted)
    assert torch.equal(got.isnan(), wanted.isnan())
    real = ~wanted.isnan()
    assert torch.equal(got[real].view(torch.int32), wanted[real].view(torch.int32))


FORMS = [
    Cast(torch.bfloat16),
    *map(Cast, FLOAT8),
    Scaled(torch.int8),
    Scaled(torch.float8_e4m3fn, rotated=64),
]
FORMS += [Scaled(torch.float8_e5m2, per_row=False), Scaled(torch.int8, blocks=4), Int4(), *map(GGUF, KINDS)]


def filled(form, rows, width):
    """Buffers of random bits that are all finite numbers."""
    made = {}
    for name, (shape, dtype) in form.layout(rows, width).items():
        if dtype == torch.uint8:
            made[name] = (drawn(*shape).abs() * 20).to(dtype)
        else:
            made[name] = (drawn(*shape) * 9).to(dtype)
    return made


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_weight_made_in_pieces_is_the_one_made_at_once(form):
    rows, width = 300, 512  # more numbers than are made together
    buffers = filled(form, rows, width)
    whole = form.decode(buffers)
    assert whole.shape == (rows, width)
    for dtype in (torch.float32, torch.bfloat16):
        got = dequantise(form, buffers, dtype)
        assert got.dtype == dtype
        assert torch.equal(got.nan_to_num(), whole.to(dtype).nan_to_num())


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_layout_is_known_without_memory(form):
    """What a plan counts, on the meta device; the weight is made of it by shape alone."""
    buffers = empty(form, 6, 512)
    assert {name: (tuple(b.shape), b.dtype) for name, b in buffers.items()} == form.layout(6, 512)
    assert form.width(buffers["data"].shape[1]) == 512
    assert dequantise(form, buffers, torch.bfloat16).shape == (6, 512)


@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_is_read_number_by_number(dtype):
    every = torch.arange(256, dtype=torch.uint8).view(dtype).reshape(16, 16)
    got = dequantise(Cast(dtype), {"data": every}, torch.float32)
    assert torch.equal(got.nan_to_num(9e9), every.float().nan_to_num(9e9))


def test_scales_are_of_the_tensor_the_row_or_the_block():
    data = torch.arange(-32, 32, dtype=torch.int8).reshape(2, 32)
    wide = data.float()
    for scale in (
        torch.tensor([[0.5]]),
        torch.tensor([[0.5], [2.0]]),
        torch.tensor([[0.5, 2.0], [3.0, 4.0]]),
    ):
        form = Scaled(torch.int8, per_row=len(scale) > 1, blocks=scale.shape[1])
        wanted = wide * scale.repeat_interleave(32 // scale.shape[1], dim=1)
        assert torch.equal(dequantise(form, {"data": data, "scale": scale}, torch.float32), wanted)


def test_a_rotation_is_undone_by_itself():
    x = drawn(3, 128)
    assert error(rotate(rotate(x, 64), 64), x) < 1e-6
    assert error(rotate(x, 64), x) > 0.5


BOUNDS = {"fp8": 0.028, "int8": 0.012, "int4": 0.076}
"""Relative errors of normal weights: 3 mantissa bits; 127 levels to the largest of 768; 16 levels in groups of 32."""


@pytest.mark.parametrize("kind", KINDS_TO_QUANTISE)
def test_quantising_loses_what_its_bits_cost(kind):
    weight = drawn(64, 768) * drawn(64, 1).exp()
    form = form_for(kind, 768)
    buffers = form.encode(weight)
    assert {name: (tuple(b.shape), b.dtype) for name, b in buffers.items()} == form.layout(64, 768)
    lost = error(dequantise(form, buffers, torch.float32), weight)
    assert BOUNDS[kind] / 3 < lost < BOUNDS[kind]


@pytest.mark.parametrize("kind", KINDS_TO_QUANTISE)
@pytest.mark.parametrize("value", [0.0, 3.0, -1e-8])
def test_rows_of_one_number_stay_what_they_are(kind, value):
    weight = torch.full((4, 64), value)
    form = form_for(kind, 64)
    assert torch.allclose(dequantise(form, form.encode(weight), torch.float32), weight, rtol=1e-2, atol=6e-8)


@pytest.mark.parametrize(("width", "group"), [(4096, 32), (48, 16), (24, 8), (20, None)])
def test_groups_of_four_bits_divide_the_inputs(width, group):
    assert form_for("int4", width) == (None if group is None else Int4(group))
