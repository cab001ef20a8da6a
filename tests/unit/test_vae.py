"""Parts and dtype change nothing in what the VAE makes but rounding; streaming holds a bounded past."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22.arch import VAEArch
from wan22.models.vae import History, WanVAE

_SIZES = dict(z=4, encoder_width=4, decoder_width=4, mean=(0.1, -0.2, 0.3, 0.0), std=(1.0, 2.0, 0.5, 1.5))
LAYOUTS = {
    "2.1": VAEArch(
        **_SIZES, multipliers=(1, 2, 2, 2), blocks=2, temporal=(False, True, True), patch=1, residual=False
    ),
    "2.2": VAEArch(
        **_SIZES, multipliers=(1, 2, 2, 2), blocks=2, temporal=(False, True, True), patch=2, residual=True
    ),
    "nano": VAEArch(**_SIZES, multipliers=(1, 2, 2), blocks=1, temporal=(True, True), patch=2, residual=True),
}


def vae(layout):
    torch.manual_seed(0)
    return WanVAE(LAYOUTS[layout]).eval()


def latents(arch, t, h, w, seed=0):
    return torch.randn(1, arch.z, t, h, w, generator=torch.Generator().manual_seed(seed))


def random_video(arch, t, h, w):
    shape = (1, 3, 1 + (t - 1) * arch.stride_time, h * arch.stride_space, w * arch.stride_space)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def assert_same(a, b, bound=2e-5):
    """Equal but for rounding: the norm of the difference against that of b. No single element is bound tightly, for
    kernels differ in how they sum."""
    assert a.shape == b.shape
    assert (a - b).norm() <= bound * b.norm()
    assert (a - b).abs().max() <= 100 * bound * b.std()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("frames", [1, 3])
@torch.inference_mode()
def test_how_many_frames_a_layer_sees_at_once_does_not_matter(layout, frames):
    net = vae(layout)
    z, pixels = latents(net.arch, frames, 2, 2), random_video(net.arch, frames, 2, 1)
    decoded, encoded = net.decode(z), net.encode(pixels)
    for chunk in (1, 2, 5):
        assert_same(net.decode(z, chunk=chunk), decoded)
        assert_same(net.encode(pixels, chunk=chunk), encoded)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    cuts=st.lists(st.integers(1, 8), max_size=4, unique=True).map(sorted), chunk=st.sampled_from((None, 1, 3))
)
def test_a_video_may_be_encoded_in_parts_of_any_length(layout, cuts, chunk):
    net = vae(layout)
    pixels = random_video(net.arch, 3, 2, 1)
    with torch.inference_mode():
        parts = net.encode_stream(pixels.tensor_split(cuts, dim=2), chunk=chunk)
        assert_same(torch.cat(list(parts), dim=2), net.encode(pixels))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_passes_through_parts_as_through_the_whole(layout):
    net = vae(layout)
    z = latents(net.arch, 3, 2, 2)
    grads = []
    for chunk in (None, 1):
        net.zero_grad()
        net.decode(z, chunk=chunk).square().sum().backward()
        grads.append(net.decoder.conv1.weight.grad.clone())
    assert_same(grads[1], grads[0], bound=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inference_equals_training(layout):
    net = vae(layout)
    z, pixels = latents(net.arch, 3, 8, 8), random_video(net.arch, 3, 2, 2)
    plain = net.decode(z), net.encode(pixels)
    assert plain[0].requires_grad
    with torch.inference_mode():
        fast = net.decode(z), net.encode(pixels)
    for a, b in zip(fast, plain, strict=True):
        assert_same(a, b.detach())


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_bfloat16_changes_no_more_than_its_rounding(layout):
    net = vae(layout)
    z = latents(net.arch, 2, 4, 4)
    exact, rounded = net.decode(z), net.bfloat16().decode(z)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean().sqrt() <= 0.06 * exact.std()


def held(history):
    return sum(p.untyped_storage().nbytes() for pieces in history._pieces.values() for p in pieces)


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_the_history_does_not_grow_with_the_video(layout):
    net = vae(layout)
    sizes, history = [], None
    for part in latents(net.arch, 5, 2, 2).split(1, dim=2):
        _, history = net.decode_chunk(part, history)
        sizes.append(held(history))
    assert sizes[2] == sizes[3] == sizes[4]
    _, whole = net.decode_chunk(latents(net.arch, 5, 2, 2), None)
    assert held(whole) == sizes[-1]  # nor do long chunks leave more: no view holds what it was cut from


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_encoding_remembers_no_more_of_a_long_video(layout):
    net = vae(layout)
    sizes = []
    for frames in (3, 5):
        history = History()
        list(net.encode_stream(random_video(net.arch, frames, 2, 2).split(1, dim=2), history=history))
        sizes.append(held(history))
    assert sizes[0] == sizes[1]


@torch.inference_mode()
def test_the_same_latents_decode_to_the_same_bits():
    net = vae("2.2")
    z = latents(net.arch, 3, 4, 4)
    assert torch.equal(net.decode(z), net.decode(z))


@pytest.mark.parametrize(("frames", "rows"), [(4, 16), (5, 17)])
def test_sizes_that_the_grid_does_not_allow_are_refused(frames, rows):
    with pytest.raises(ValueError, match="multiple of"):
        vae("2.1").encode(torch.zeros(1, 3, frames, rows, 16))
