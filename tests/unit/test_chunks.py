"""The transformer in chunks of tokens: the same numbers, whatever the chunk."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from wan22.arch import AnimateArch, DiTArch, SpeechArch
from wan22.assembly import FLOAT32
from wan22.models import linear as linear_module
from wan22.models.animate import AnimateDiT
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.speech import SpeechDiT
from wan22.ops.attention import slices

GRID = (4, 3, 5)
TOKENS = 60
ARCH = DiTArch(4, 4, dim=48, ffn_dim=64, heads=2, layers=3, text_dim=16, text_len=8, freq_dim=32)
SPEECH = SpeechArch(
    audio_dim=8, audio_states=3, audio_tokens=4, inject=(0, 2), pose_channels=4, history=(1, 2, 4)
)
ANIMATE = AnimateArch(
    channels=(8, 6),
    style_dim=6,
    motion_dim=3,
    direction_dim=10,
    conv_dim=12,
    every=3,
    image_dim=20,
    image_tokens=5,
)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact_linear(x, weight, bias=None):
    """In float64, rounded once, so that no number depends on how many rows a kernel is given."""
    out = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    return out.to(x.dtype)


def exact_attention(q, k, v, bias=None):
    q, k, w = (a.double().transpose(1, 2) for a in (q, k, v))
    bias = None if bias is None else bias.double()
    return F.scaled_dot_product_attention(q, k, w, bias).transpose(1, 2).to(v.dtype)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(linear_module, "linear", exact_linear)


def network(dtype, kind=WanDiT, **more):
    torch.manual_seed(0)
    net = kind(replace(ARCH, **more), attention=exact_attention).eval()
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
        if not any(part in name for part in FLOAT32):
            parameter.data = parameter.data.to(dtype)
    return net


LEVELS = {
    "one": NoiseLevels.uniform(torch.tensor([600.0, 600.0])),
    "per token": NoiseLevels(torch.tensor([[0.0, 700.0]] * 2), torch.arange(TOKENS) % 2),
}


@pytest.mark.parametrize("chunk", [1, 7, 30, 59, 60, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("levels", LEVELS)
@torch.inference_mode()
def test_chunks_of_tokens_give_the_same_bits(dtype, levels, chunk):
    net = network(dtype)
    text = net.read_text([noise(3, 16).to(dtype), noise(8, 16).to(dtype)])
    x = noise(2, 4, GRID[0], 2 * GRID[1], 2 * GRID[2])
    whole = net(x, LEVELS[levels], text)
    net.chunk = chunk
    assert torch.equal(net(x, LEVELS[levels], text), whole)
    assert whole.std() > 0.01


@pytest.mark.parametrize("chunk", [1, 16, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_chunks_of_tokens_and_frames_give_the_same_bits_where_audio_drives(dtype, chunk):
    net = network(dtype, SpeechDiT, speech=SPEECH)
    text = net.read_text([noise(3, 16).to(dtype)])
    told = net.read_speech(
        noise(1, 4, 1, 8, 8).to(dtype), noise(1, 3, 8, 16), noise(1, 4, 7, 8, 8, seed=1).to(dtype)
    )
    assert set(told.taps) == {0, 2}
    x, levels = noise(1, 4, 4, 8, 8), NoiseLevels.uniform(torch.tensor([600.0]))
    whole = net(x, levels, text, extra_tokens=told)
    net.chunk = chunk
    assert torch.equal(net(x, levels, text, extra_tokens=told), whole)
    silent = told._replace(taps={})
    assert not torch.equal(net(x, levels, text, extra_tokens=silent), whole)


@pytest.mark.parametrize("chunk", [1, 16, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_chunks_of_tokens_and_frames_give_the_same_bits_where_poses_and_a_face_drive(dtype, chunk):
    net = network(dtype, AnimateDiT, animate=ANIMATE)
    text = net.read_text([noise(3, 16).to(dtype)], image=noise(1, 5, 20).to(dtype))
    driven = net.read_animate(noise(1, 16, 3, 8, 8).to(dtype), noise(1, 3, 9, 8, 8))
    x, levels = noise(1, 4, 4, 8, 8), NoiseLevels.uniform(torch.tensor([600.0]))
    whole = net(x, levels, text, extra_tokens=driven)
    net.chunk = chunk
    assert torch.equal(net(x, levels, text, extra_tokens=driven), whole)
    for less in (driven._replace(taps={}), driven._replace(added=torch.zeros_like(driven.added))):
        assert not torch.equal(net(x, levels, text, extra_tokens=less), whole)
    other = net.read_text([noise(3, 16).to(dtype)], image=noise(1, 5, 20, seed=1).to(dtype))
    assert not torch.equal(net(x, levels, other, extra_tokens=driven), whole)


def test_a_network_that_is_trained_uses_no_chunks():
    x, levels = noise(2, 4, GRID[0], 2 * GRID[1], 2 * GRID[2]), LEVELS["per token"]
    gradients = []
    for chunk in (None, 7):
        net = network(torch.float32)
        net.chunk = chunk
        net(x, levels, net.read_text([noise(3, 16)] * 2)).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("chunk", [None, 7])
@torch.inference_mode()
def test_the_trunk_leaves_the_tokens_that_it_is_given(chunk):
    net = network(torch.float32)
    net.chunk = chunk
    tokens = noise(1, TOKENS, ARCH.dim)
    given = tokens.clone()
    _, time = net.read_time(NoiseLevels.uniform(torch.tensor([600.0])))
    table = torch.ones(TOKENS, 1, 12), torch.zeros(TOKENS, 1, 12)
    net.trunk(tokens, time, net.read_text([noise(3, 16)]), table, {}, TOKENS)
    assert torch.equal(tokens, given)


@pytest.mark.parametrize(("length", "most"), [(10, 3), (10, 10), (10, 11), (10, None), (1, 1), (75600, 8192)])
def test_slices_are_about_equally_long_and_make_up_the_whole(length, most):
    parts = slices(length, most)
    sizes = [part.stop - part.start for part in parts]
    assert sum(sizes) == length and parts[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert max(sizes) <= (most or length) and max(sizes) - min(sizes) <= len(parts)
