"""The maths below the networks: every fast kernel against its reference, positions against published values."""

import pytest
import torch
import torch.nn.functional as F

from wan22.models.dit import sinusoid
from wan22.ops.attention import attend, blocked, padding_bias, sdpa
from wan22.ops.conv import causal_conv3d, doubled_conv2d
from wan22.ops.linear import linear
from wan22.ops.norm import channel_norm, layer_norm, rms_norm
from wan22.ops.rope import axis_widths, rotate, rotation


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(a, b, bound=1e-5):
    assert a.shape == b.shape
    assert (a.double() - b.double()).abs().max() <= bound * b.double().std()


@pytest.mark.parametrize("shape", [(5, 16), (2, 3, 16), (2, 3, 4, 16)])
@torch.inference_mode()
def test_the_fast_linear_map_is_the_plain_one(shape):
    x, weight, bias = noise(*shape), noise(8, 16, seed=1), noise(8, seed=2)
    close(linear(x, weight, bias), F.linear(x, weight, bias))
    close(linear(x, weight), F.linear(x, weight))
    slow = noise(8, 16, 3, seed=1)[..., 1]  # strides that the kernel does not like
    close(linear(x.transpose(0, -2), slow), F.linear(x.transpose(0, -2), slow))


def test_the_linear_map_has_a_gradient():
    x, weight = noise(5, 16).requires_grad_(), noise(8, 16, seed=1).requires_grad_()
    linear(x, weight).sum().backward()
    close(weight.grad, x.detach().sum(0).expand(8, 16))


@pytest.mark.parametrize(("queries", "keys"), [(70, 300), (700, 1000), (3, 7)])
@pytest.mark.parametrize("biased", [False, True])
@torch.inference_mode()
def test_blocked_attention_is_the_reference(queries, keys, biased):
    q, k, v = noise(2, queries, 3, 16), noise(2, keys, 3, 16, seed=1), noise(2, keys, 3, 16, seed=2)
    bias = noise(2, 1, 1, keys, seed=3) if biased else None
    if biased:
        bias[0, ..., -1] = -torch.inf  # a key that one sample has and the other has not
    expected = sdpa(q, k, v, bias)
    close(blocked(q, k, v, bias), expected)
    close(attend(q, k, v, bias), expected)


@torch.inference_mode()
def test_blocked_attention_in_bfloat16_is_about_as_exact_as_the_kernel():
    q, k, v = (2 * noise(1, 300, 2, 64, seed=i).bfloat16() for i in range(3))
    exact = sdpa(q.double(), k.double(), v.double())
    ours, theirs = ((f(q, k, v).double() - exact).square().mean() for f in (blocked, sdpa))
    assert blocked(q, k, v).dtype == torch.bfloat16
    assert ours <= 2 * theirs  # squares: one more rounding at most


def test_accelerators_get_a_bias_of_the_queries_dtype_and_no_rounded_one(monkeypatch):
    given, kernel = [], F.scaled_dot_product_attention

    def spy(q, k, v, attn_mask):
        given.append({q.dtype, k.dtype, v.dtype, attn_mask.dtype})
        return kernel(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q, k, v = (torch.empty(1, 8, 2, 16, dtype=torch.bfloat16, device="meta") for _ in range(3))
    out = sdpa(q, k, v, torch.empty(1, 1, 1, 8, device="meta"))
    assert given == [{torch.float32}] and out.dtype == torch.bfloat16 and out.shape == q.shape


@pytest.mark.parametrize(
    "dtype, worst", [(torch.float32, 1e-6), (torch.bfloat16, 2.2e-4), (torch.float16, 2.2e-4)]
)
def test_few_keys_weigh_as_much_as_any_number_of_equal_ones(dtype, worst):
    for count in range(1, 513):
        bias = padding_bias(count, dtype)
        assert bias.dtype == dtype and len(bias) == (1 if dtype == torch.float32 else 2)
        assert abs(bias.double().exp().sum() / count - 1) <= worst, count
    assert padding_bias(1, dtype)[0] == 0


def test_a_bias_of_the_queries_dtype_is_given_to_accelerators_as_it_is(monkeypatch):
    given, kernel = [], F.scaled_dot_product_attention

    def spy(q, k, v, attn_mask):
        given.append({q.dtype, k.dtype, v.dtype, attn_mask.dtype})
        return kernel(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q, k, v = (torch.empty(1, 8, 2, 16, dtype=torch.bfloat16, device="meta") for _ in range(3))
    sdpa(q, k, v, torch.empty(1, 1, 1, 8, dtype=torch.bfloat16, device="meta"))
    assert given == [{torch.bfloat16}]


def test_attention_that_is_trained_has_a_gradient():
    q, k, v = (noise(1, 300, 1, 8, seed=i).requires_grad_() for i in range(3))
    attend(q, k, v).sum().backward()
    assert q.grad.abs().sum() > 0


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("past", [False, True])
def test_convolution_by_frames_is_the_plain_one(kernel, frames, past):
    x, weight, bias = noise(2, 4, frames, 6, 5), noise(7, 4, *kernel, seed=1), noise(7, seed=2)
    history = noise(2, 4, kernel[0] - 1, 6, 5, seed=3).split(1, dim=2) if past and kernel[0] > 1 else ()
    expected = causal_conv3d(x, weight, bias, history)  # with a gradient: PyTorch's own
    with torch.inference_mode():
        close(causal_conv3d(x, weight, bias, history), expected)


def test_a_doubled_image_is_convolved_without_doubling_it():
    x, weight, bias = noise(1, 4, 32, 33), noise(5, 4, 3, 3, seed=1), noise(5, seed=2)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    close(doubled_conv2d(x, weight, bias), expected)
    with torch.inference_mode():
        close(doubled_conv2d(x, weight, bias), expected)
        close(doubled_conv2d(x[..., :3, :3], weight, bias)[..., :4, :4], expected[..., :4, :4])


def test_angles_at_position_one_are_the_published_ones():
    cos, sin = rotation((2, 2, 2), 128, torch.device("cpu"))
    angle = torch.atan2(sin.double(), cos.double())[-1, 0]  # the token at frame 1, row 1, column 1
    assert axis_widths(128) == (44, 42, 42)
    time, row, column = angle[:22], angle[22:43], angle[43:]
    assert time[[0, 1, 2, 21]].tolist() == pytest.approx(
        [1.0, 0.657933224658, 0.432876128108, 0.000151991108295], rel=1e-6
    )
    for side in (row, column):
        assert side[[0, 1, 2, 20]].tolist() == pytest.approx(
            [1.0, 0.644946677104, 0.415956216307, 0.000155051577983], rel=1e-6
        )


def test_tokens_are_counted_column_first_then_row_then_frame():
    cos, _ = rotation((2, 3, 4), 12, torch.device("cpu"))
    angle = cos.acos().view(2, 3, 4, 6)
    for axis, start, width in ((0, 0, 2), (1, 2, 2), (2, 4, 2)):
        position = torch.arange(angle.shape[axis]).float()
        seen = angle[..., start : start + width].movedim(axis, 0)[:, 0, 0, 0]
        assert seen.tolist() == pytest.approx(position.tolist(), abs=1e-3)


def test_a_rotation_is_the_product_of_complex_numbers():
    table = rotation((2, 2, 2), 12, torch.device("cpu"))
    x = noise(1, 8, 3, 12)
    pairs = torch.view_as_complex(x.view(1, 8, 3, 6, 2))
    expected = torch.view_as_real(pairs * torch.complex(*table)).flatten(-2)
    close(rotate(x, table), expected)


def test_the_sinusoid_has_the_published_values():
    e = sinusoid(torch.tensor(999.0), 256)
    assert e.dtype == torch.float32
    assert e[[0, 1, 2, 127]].tolist() == pytest.approx(
        [0.99964985298, 0.96378247859, -0.39899175772, 0.99424316414], abs=1e-7
    )
    assert e[[128, 129, 130, 255]].tolist() == pytest.approx(
        [-0.02646075274, -0.26668958354, -0.91695451211, 0.10714723773], abs=1e-7
    )


def test_norms_are_their_formulas():
    x, gain = noise(2, 5, 8), noise(8, seed=1)
    close(rms_norm(x, gain), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain)
    centred = x - x.mean(-1, keepdim=True)
    close(layer_norm(x), centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt())
    video, gamma = noise(1, 8, 2, 3, 4), noise(8, 1, 1, 1, seed=1)
    close(channel_norm(video, gamma), video / video.square().sum(1, keepdim=True).sqrt() * 8**0.5 * gamma)
    assert channel_norm(torch.zeros(1, 8, 1, 1), gamma[..., 0]).abs().max() == 0


def test_the_gain_of_a_norm_is_applied_after_rounding():
    x, gain = noise(3, 8).bfloat16(), noise(8, seed=1)
    quotient = F.rms_norm(x.float(), (8,), eps=1e-6).bfloat16()
    assert torch.equal(rms_norm(x, gain), quotient * gain)
    assert rms_norm(x, gain).dtype == torch.float32
    assert rms_norm(x, gain.bfloat16()).dtype == torch.bfloat16
