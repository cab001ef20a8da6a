"""A linear layer whose weight is kept in another form: the numbers, the gradients, the bytes and the 8-bit products."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from wan22.models.linear import Linear, StoredLinear
from wan22.ops import products
from wan22.ops.stored import KINDS_TO_QUANTISE, Scaled, form_for

CPU = torch.device("cpu")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(width=64, out=48, bias=True, dtype=torch.float32):
    made = Linear(width, out, bias=bias)
    with torch.no_grad():
        made.weight.copy_(drawn(out, width) / 8)
        if bias:
            made.bias.copy_(drawn(out, seed=1))
    return made.to(dtype).requires_grad_(False)


def error(got, wanted):
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())


@pytest.mark.parametrize("kind", KINDS_TO_QUANTISE)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_multiplies_by_the_weight_that_it_says(kind, bias, dtype):
    base = linear(bias=bias, dtype=dtype)
    small = StoredLinear.quantised(base, form_for(kind, 64))
    assert small.weight.dtype == dtype and error(small.weight, base.weight) < 0.09
    x = drawn(2, 5, 64, seed=2)
    base.weight = torch.nn.Parameter(small.weight, requires_grad=False)
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            got = small(x)
            assert got.dtype == dtype and error(got, base(x)) < (1e-6 if dtype == torch.float32 else 4e-3)


def test_bfloat16_weights_compute_in_float32_as_if_they_were_float32():
    base = linear(dtype=torch.bfloat16)
    base.compute = torch.float32
    x = drawn(3, 64)
    got = base(x)
    assert got.dtype == base.dtype == torch.float32 and base.weight.dtype == torch.bfloat16
    base.compute = None
    assert error(got, base.float()(x)) < 1e-6


@pytest.mark.parametrize("kind", KINDS_TO_QUANTISE)
def test_gradients_reach_the_input(kind):
    small = StoredLinear.quantised(linear(), form_for(kind, 64))
    x = drawn(3, 64).requires_grad_()
    (found,) = torch.autograd.grad(small(x).square().sum(), x)
    again = x.detach().requires_grad_()
    y = torch.nn.functional.linear(again, small.weight, small.bias)
    (wanted,) = torch.autograd.grad(y.square().sum(), again)
    assert error(found, wanted) < 1e-6


@pytest.mark.parametrize("kind", KINDS_TO_QUANTISE)
@pytest.mark.parametrize("gradient", [True, False])
def test_factors_are_added_at_use_as_if_they_were_merged(kind, gradient):
    base = linear()
    small = StoredLinear(base, form_for(kind, 64), torch.float32, rank=3)
    for name, buffer in small.form.encode(base.weight).items():
        small._buffers[name] = buffer
    small.lora_down, small.lora_up = drawn(3, 64, seed=3), drawn(48, 3, seed=4)
    alone = StoredLinear.quantised(base, small.form).weight
    merged = alone + small.lora_up @ small.lora_down
    assert error(small.weight, merged) < 1e-6
    x = drawn(7, 64, seed=5)
    with torch.set_grad_enabled(gradient):
        assert error(small(x), x @ merged.T + base.bias) < 1e-6


@pytest.mark.parametrize(
    ("kind", "bits"), [("fp8", 8 + 32 / 64), ("int8", 8 + 32 / 64), ("int4", 4 + 32 / 32)]
)
def test_the_bytes_on_the_meta_device_are_those_of_the_file(kind, bits):
    with torch.device("meta"):
        small = StoredLinear(Linear(64, 48), form_for(kind, 64), torch.bfloat16, rank=2)
    held = sum(t.nbytes for t in (*small.parameters(), *small.buffers()))
    assert all(t.is_meta for t in (*small.parameters(), *small.buffers()))
    assert held == 48 * 64 * bits / 8 + 48 * 4 + 2 * (64 + 48) * 2
    with torch.inference_mode():
        assert small(torch.empty(5, 64, device="meta")).shape == (5, 48)


def test_it_is_counted_on_fake_tensors_with_and_without_products():
    for asked in (True, False):
        with FakeTensorMode():
            small = StoredLinear(Linear(64, 48), Scaled(torch.int8), torch.float32, products=asked)
            with torch.inference_mode():
                assert small(torch.empty(5, 64)).shape == (5, 48)


def test_moving_it_keeps_what_it_is_made_of():
    small = StoredLinear.quantised(linear(), Scaled(torch.int8)).to("meta")
    assert {name: b.dtype for name, b in small.kept.items()} == {"data": torch.int8, "scale": torch.float32}


needs_int8 = pytest.mark.skipif(
    products.why_not("int8", CPU) is not None, reason=str(products.why_not("int8", CPU))
)


@needs_int8
@pytest.mark.parametrize("rows", [1, 17, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_8_bits_are_near_those_with_the_weight(rows, dtype):
    small = StoredLinear.quantised(linear(width=256, dtype=dtype), Scaled(torch.int8))
    x = drawn(2, rows, 256, seed=6).to(dtype)
    with torch.inference_mode():
        wanted = small(x)
        small.products = True
        got = small(x)
    assert got.dtype == dtype and got.shape == wanted.shape
    assert 1e-4 < error(got, wanted) < 0.025  # 63 levels to the largest of 256


@needs_int8
def test_the_largest_numbers_do_not_overflow():
    """oneDNN adds pairs in 16 bits on CPUs without VNNI."""
    base = linear(width=256)
    base.weight.copy_(torch.where(drawn(48, 256) > 0, 1.0, -1.0))
    small = StoredLinear.quantised(base, Scaled(torch.int8))
    x = torch.ones(4, 256)
    with torch.inference_mode():
        wanted = small(x)
        small.products = True
        assert error(small(x), wanted) < 1e-5


def test_products_that_cuda_makes_are_right_where_a_cpu_can_make_them():
    x, weight = drawn(40, 64, seed=7), drawn(48, 64, seed=8)
    for dtype, product, bound in (
        (torch.int8, products.int8_product, 0.02),
        (torch.float8_e4m3fn, products.float8_product, 0.05),
    ):
        for scale_rows in (48, 1):
            kept = Scaled(dtype).encode(weight if scale_rows == 48 else weight / weight.abs().max())
            scale = kept["scale"] if scale_rows == 48 else kept["scale"][:1] * 0 + 0.25
            wanted = x @ (kept["data"].float() * scale).T
            assert error(product(kept["data"], scale)(x), wanted) < bound
    few = products.int8_product(kept["data"].view(torch.int8), kept["scale"])(x[:3])
    assert few.shape == (3, 48)


def test_the_products_of_cuda_fit_their_operators():
    """Shapes, strides and dtypes as the registered functions of torch._int_mm and torch._scaled_mm want them."""
    with FakeTensorMode():
        x = torch.empty(40, 64, device="cuda", dtype=torch.bfloat16)
        for dtype, product in (
            (torch.int8, products.int8_product),
            (torch.float8_e4m3fn, products.float8_product),
        ):
            weight = torch.empty(48, 64, device="cuda").to(dtype)
            scale = torch.empty(48, 1, device="cuda")
            assert product(weight, scale)(x).shape == (40, 48)


@pytest.mark.parametrize(
    ("kind", "device", "words"),
    [
        ("fp8", "cpu", "CPUs have no products of float8"),
        ("int8", "mps", "no 8-bit products are known on mps"),
    ],
)
def test_it_says_why_there_are_no_products(kind, device, words):
    assert words in products.why_not(kind, torch.device(device))


@pytest.mark.parametrize(("kind", "has", "needs"), [("fp8", (8, 6), "8.9"), ("int8", (7, 0), "7.5")])
def test_old_cards_are_named_with_what_they_lack(monkeypatch, kind, has, needs):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: has)
    said = products.why_not(kind, torch.device("cuda:0"))
    assert (
        f"needs compute capability {needs}" in said.replace("products need", "products needs")
        and "cuda:0 has" in said
    )
