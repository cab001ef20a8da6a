"""What the transformer promises: shared noise levels, prompts of any length, one precision, repeatable."""

import pytest
import torch

from wan22.arch import DiTArch
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.linear import Linear
from wan22.ops.attention import sdpa
from wan22.ops.fused import Rows, norm_modulate
from wan22.ops.rope import rotation

ARCH = DiTArch(4, 4, dim=48, ffn_dim=64, heads=2, layers=2, text_dim=16, text_len=8, freq_dim=32)
GRID = (2, 2, 3)
TOKENS = 12


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = WanDiT(ARCH).eval()
    net.init_weights()
    torch.nn.init.normal_(net.head.head.weight, std=0.2)
    return net


@pytest.fixture
def x():
    return noise(1, 4, 2, 4, 6)


def close(a, b, bound=1e-5):
    assert a.shape == b.shape
    assert (a - b).abs().max() <= bound * b.std()


@torch.inference_mode()
def test_two_noise_levels_equal_an_embedding_of_every_token(network, x):
    text = network.read_text([noise(3, 16)])
    timesteps = torch.tensor([0.0] * 6 + [777.0] * 6)
    shared = NoiseLevels.per_token(timesteps)
    assert shared.values.shape == (1, 2)
    dense = NoiseLevels(timesteps[None], torch.arange(TOKENS))  # a level of its own for each token
    close(network(x, shared, text), network(x, dense, text))


@torch.inference_mode()
def test_equal_levels_of_all_tokens_are_one_level(network, x):
    text = network.read_text([noise(3, 16)])
    shared = NoiseLevels.per_token(torch.full((TOKENS,), 500.0))
    assert shared.values.shape == (1, 1)
    close(network(x, shared, text), network(x, NoiseLevels.uniform(torch.tensor([500.0])), text))


@torch.inference_mode()
def test_no_vector_of_levels_is_as_long_as_the_video(network):
    _, six = network.read_time(NoiseLevels.per_token(torch.tensor([0.0] * 6 + [777.0] * 6)))
    assert six.rows.shape == (1, 2, 6, ARCH.dim)
    assert six.parts()[3].spread().shape == (1, TOKENS, ARCH.dim)


@pytest.mark.parametrize("lengths", [(1, 5), (3, 8), (8, 8), (2, 2)])
@torch.inference_mode()
def test_a_batch_of_prompts_equals_each_alone(network, lengths):
    prompts = [noise(n, 16, seed=i) for i, n in enumerate(lengths)]
    videos = noise(len(lengths), 4, 2, 4, 6)
    levels = torch.tensor([900.0, 30.0])
    together = network(videos, NoiseLevels.uniform(levels), network.read_text(prompts))
    for i, prompt in enumerate(prompts):
        alone = network(
            videos[i : i + 1], NoiseLevels.uniform(levels[i : i + 1]), network.read_text([prompt])
        )
        close(together[i : i + 1], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.inference_mode()
def test_the_padding_of_texts_weighs_as_much_as_its_rows_in_the_dtype_of_the_network(network, x, dtype):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
        parameter.data = parameter.data.to(dtype)
    prompts = [noise(3, 16).to(dtype), noise(5, 16, seed=1).to(dtype)]
    written = [torch.cat([p, p.new_zeros(8 - len(p), 16)]) for p in prompts]
    levels, videos = NoiseLevels.uniform(torch.tensor([600.0] * 2)), x.expand(2, -1, -1, -1, -1)
    merged = network.read_text(prompts)
    assert all(memory.bias.dtype == memory.k.dtype == dtype for memory in merged)
    short, whole = network(videos, levels, merged), network(videos, levels, network.read_text(written))
    assert (short - whole).norm() <= (1e-5 if dtype == torch.float32 else 1e-2) * whole.norm()


@torch.inference_mode()
def test_a_prompt_beyond_the_text_length_is_refused(network):
    with pytest.raises(ValueError, match="9 rows is longer than text_len 8"):
        network.read_text([noise(9, 16)])


@torch.inference_mode()
def test_the_same_input_gives_the_same_bits(network, x):
    levels = NoiseLevels.uniform(torch.tensor([600.0]))
    first, second = (network(x, levels, network.read_text([noise(3, 16)])) for _ in range(2))
    assert torch.equal(first, second)


@torch.inference_mode()
def test_inference_equals_training(network, x):
    levels = NoiseLevels.uniform(torch.tensor([600.0]))
    fast = network(x, levels, network.read_text([noise(3, 16)]))
    with torch.inference_mode(False):
        plain = network(x.clone(), levels, network.read_text([noise(3, 16)]))
    assert plain.requires_grad
    close(fast, plain.detach())


@torch.inference_mode()
def test_precision_in_bfloat16_is_the_official_one(network, x):
    """Stream float32 after the first gated addition; projections bfloat16; norms, modulation and head float32."""
    for name, parameter in network.named_parameters():
        if not any(part in name for part in ("norm", "modulation", "time_", "head")):
            parameter.data = parameter.data.bfloat16()
    seen = {}

    def note(name):
        def hook(_, inputs, output):
            seen[name] = (inputs[0].dtype, output.dtype)

        return hook

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(note(name))
    text = network.read_text([noise(3, 16)])
    assert network(x, NoiseLevels.uniform(torch.tensor([600.0])), text).dtype == torch.float32
    half, full = torch.bfloat16, torch.float32
    assert seen["patch_embedding"][1] == half
    assert seen["blocks.0"] == seen["blocks.1"] == (full, full)  # its first norm is rounded to half
    assert all(memory.k.dtype == memory.v.dtype == half for memory in text)
    for block in ("blocks.0", "blocks.1"):
        for part in (
            "self_attn.q",
            "self_attn.k",
            "self_attn.v",
            "self_attn.o",
            "cross_attn.o",
            "ffn.0",
            "ffn.2",
        ):
            assert seen[f"{block}.{part}"][1] == half, part
        assert seen[f"{block}.self_attn.norm_q"] == (half, half)
    for part in ("time_embedding.0", "time_embedding.2", "time_projection.1", "head.head"):
        assert seen[part][1] == full, part


@torch.inference_mode()
def test_the_first_norm_of_the_video_is_rounded_and_later_ones_are_not():
    nothing = Rows(torch.zeros(1, 1, ARCH.dim))
    stream = noise(1, TOKENS, ARCH.dim)
    first = norm_modulate(stream.bfloat16(), nothing, nothing, 1e-6)
    later = norm_modulate(stream.bfloat16().float(), nothing, nothing, 1e-6)
    assert first.dtype == later.dtype == torch.float32
    assert torch.equal(first, later.bfloat16().float())
    assert not torch.equal(first, later)


@torch.inference_mode()
def test_attention_is_a_parameter(x):
    calls = []

    def counting(*args):
        calls.append(args[0].shape)
        return sdpa(*args)

    network = WanDiT(ARCH, attention=counting)
    network(x, NoiseLevels.uniform(torch.tensor([1.0])), network.read_text([noise(3, 16)]))
    assert calls == [(1, TOKENS, 2, 24)] * 2 * ARCH.layers


def test_a_linear_map_computes_in_the_dtype_of_its_weight():
    assert Linear(4, 4).bfloat16()(noise(2, 4)).dtype == torch.bfloat16
    assert Linear(4, 4)(noise(2, 4).bfloat16()).dtype == torch.float32


def test_a_new_network_predicts_nothing(x):
    network = WanDiT(ARCH)
    network.init_weights()
    velocity = network(x, NoiseLevels.uniform(torch.tensor([500.0])), network.read_text([noise(3, 16)]))
    assert velocity.abs().max() == 0


def test_a_rotation_made_in_inference_serves_training():
    rotation.cache_clear()
    with torch.inference_mode():
        table = rotation(GRID, 24, torch.device("cpu"))
    assert not table[0].is_inference()
