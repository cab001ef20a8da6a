"""Chunks, bands and dtype change nothing in what the VAE makes but rounding; streaming holds a bounded past."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22.arch import VAEArch
from wan22.models.vae import WanVAE

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
TALL = 48
"""Latent rows: more than twice what a row depends on, so that bands really cut."""


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
@settings(max_examples=4, deadline=None, derandomize=True)
@given(frames=st.integers(1, 5), chunk=st.integers(1, 5))
def test_the_length_of_chunks_does_not_matter(layout, frames, chunk):
    net = vae(layout)
    z, pixels = latents(net.arch, frames, 2, 2), random_video(net.arch, frames, 2, 1)
    with torch.inference_mode():
        assert_same(net.decode(z, chunk=chunk), net.decode(z))
        assert_same(net.encode(pixels, chunk=chunk), net.encode(pixels))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(band=st.integers(3, TALL))
def test_the_height_of_bands_does_not_matter(layout, band):
    net = vae(layout)
    z, pixels = latents(net.arch, 2, TALL, 1), random_video(net.arch, 2, TALL, 1)
    with torch.inference_mode():
        assert_same(net.decode(z, band=band, chunk=1), net.decode(z))
        assert_same(net.encode(pixels, band=band, chunk=1), net.encode(pixels))


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


def reach(run, x, rows_out):
    """How many low-resolution rows, either way, feel a change of low-resolution row TALL / 2 of x."""
    scale = x.shape[3] // TALL
    changed = x.clone()
    changed[:, :, :, TALL // 2 * scale : (TALL // 2 + 1) * scale] += 1.0
    felt = (run(changed) != run(x)).transpose(0, 3).flatten(1).any(dim=1).nonzero()
    low, high = felt.min().item() // rows_out, felt.max().item() // rows_out
    return max(TALL // 2 - low, high - TALL // 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_a_band_has_as_many_neighbouring_rows_as_it_depends_on(layout):
    net = vae(layout).double()  # so that no effect is lost in rounding
    arch = net.arch
    scale = 2 ** len(arch.temporal)
    x = torch.randn(1, arch.decoder_width * arch.multipliers[-1], 1, TALL, 2, dtype=torch.float64)
    decoded = reach(lambda a: net.decoder.local(a, None)[0], x, scale)
    assert decoded <= net._halo(arch.blocks + 1) <= 3 * decoded
    x = torch.randn(1, 3 * arch.patch**2, 1, TALL * scale, 2 * scale, dtype=torch.float64)
    encoded = reach(lambda a: net.encoder.local(a, None)[0], x, 1)
    assert encoded <= net._halo(arch.blocks) <= 3 * encoded


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_the_state_does_not_grow_with_the_video(layout):
    net = vae(layout)

    def held(value):
        if isinstance(value, torch.Tensor):
            return value.untyped_storage().nbytes()
        return sum(held(v) for v in value or ())

    sizes, state = [], None
    for part in latents(net.arch, 5, 2, 2).split(1, dim=2):
        _, state = net.decode_chunk(part, state)
        sizes.append(held(state))
    assert sizes[1] == sizes[2] == sizes[-1]
    _, whole = net.decode_chunk(latents(net.arch, 5, 2, 2), None)
    assert held(whole) == sizes[-1]  # nor do long chunks leave more: no view holds what it was cut from


def peak_of_stream(net, frames):
    """The most bytes of tensors alive at once while a video is decoded frame by frame."""
    from torch.profiler import ProfilerActivity, profile

    z = latents(net.arch, frames, 2, 2)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        for _ in net.decode_stream(z, chunk=1):
            pass
    alive = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    assert peak > 0
    return peak


@torch.inference_mode()
def test_the_peak_of_streaming_does_not_grow_with_the_video():
    net = vae("2.1")
    peak_of_stream(net, 2)
    short, long = peak_of_stream(net, 3), peak_of_stream(net, 8)
    assert long <= 1.05 * short


@torch.inference_mode()
def test_the_same_latents_decode_to_the_same_bits():
    net = vae("2.2")
    z = latents(net.arch, 3, 4, 4)
    assert torch.equal(net.decode(z), net.decode(z))


@pytest.mark.parametrize(("frames", "rows"), [(4, 16), (5, 17)])
def test_sizes_that_the_grid_does_not_allow_are_refused(frames, rows):
    with pytest.raises(ValueError, match="multiple of"):
        vae("2.1").encode(torch.zeros(1, 3, frames, rows, 16))
