"""LoRAs on a live network, its base in eight bits, its blocks checkpointed."""

import pytest
import torch
from unit.tiny import random_weights, tiny_speech_variant, tiny_variant

from wan22.errors import KeysError, OptionError
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.models.linear import Linear, StoredLinear
from wan22.models.speech import SpeechDiT
from wan22.ops.stored import dequantise
from wan22.train.adapt import Adapted, attach, checkpoint_blocks
from wan22.train.int8 import INT8, freeze_int8
from wan22.train.losses import for_training
from wan22.weights.edits.lora import AddLoRAs, Source
from wan22.weights.lora.file import open_adapters
from wan22.weights.lora.write import write_lora
from wan22.weights.reader import open_reader

ARCH = tiny_variant().dit
CPU = torch.device("cpu")


def network(dtype=torch.float32):
    made = WanDiT(ARCH)
    made.load_state_dict(random_weights(made, torch.Generator().manual_seed(0)))
    return for_training(made.to(dtype), CPU)


def inputs():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, ARCH.in_channels, 2, 4, 4, generator=draw)
    texts = [torch.randn(n, ARCH.text_dim, generator=draw) for n in (3, 5)]
    return x, texts


def run(net):
    x, texts = inputs()
    return net(x, NoiseLevels.uniform(torch.tensor([900.0, 300.0])), net.read_text(texts))


def raised(adapters):
    """Factors that do something."""
    draw = torch.Generator().manual_seed(2)
    drawn = {
        name: (down, torch.randn(up.shape, generator=draw) * 0.2)
        for name, (down, up) in adapters.factors().items()
    }
    adapters.load(drawn)
    return drawn


def gradients(net):
    net.zero_grad()
    run(net).square().mean().backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_a_new_lora_changes_nothing_and_only_its_factors_learn():
    net = network()
    before = run(net)
    adapters = attach(net, rank=3, alpha=6.0)
    assert torch.equal(run(net), before)
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    assert len(learning) == len(adapters.parameters()) == 2 * 10
    assert all(name.endswith((".down", ".up")) for name in learning)
    moved = gradients(net)
    assert moved.keys() == learning
    assert all(bool(moved[name].any()) for name in learning if name.endswith(".up"))


def test_detaching_gives_back_the_very_network():
    net = network()
    net.patch_embedding.requires_grad_(False)
    names = [(name, id(p), p.requires_grad) for name, p in net.named_parameters()]
    kinds = [(name, id(module)) for name, module in net.named_modules()]
    before = run(net)
    adapters = attach(net, rank=2, alpha=2.0, targets=["all"])
    raised(adapters)
    assert not torch.allclose(run(net), before)
    adapters.detach()
    adapters.detach()
    assert [(name, id(p), p.requires_grad) for name, p in net.named_parameters()] == names
    assert [(name, id(module)) for name, module in net.named_modules()] == kinds
    assert torch.equal(run(net), before)


@pytest.mark.parametrize("targets", [None, ["all"], ["cross_attn", "ffn.0"]])
def test_the_live_network_is_the_one_that_the_engine_makes_of_the_file(tmp_path, targets):
    net = network()
    adapters = attach(net, rank=3, alpha=1.5, targets=targets)
    raised(adapters)
    live = run(net)
    file = write_lora(tmp_path / "lora.safetensors", adapters.factors(), alpha=1.5)
    merged = network()
    (adapter,) = open_adapters(file)
    assert adapter.changes.keys() == adapters.factors().keys()
    with open_reader(file) as reader:
        add = AddLoRAs([Source(reader, adapter.changes, 1.0)])
        merged.load_state_dict(
            {name: add(name, value.clone()) for name, value in merged.state_dict().items()}
        )
    torch.testing.assert_close(run(merged), live, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "targets, count",
    [
        (["attention"], 8),
        (["ffn"], 2),
        (["q"], 2),
        (["self_attn"], 4),
        (["blocks.0.cross_attn.v"], 1),
        (["blocks.*.ffn.2.weight"], 1),
        (["text_embedding", "ffn"], 4),
        (["q", "self_attn.q"], 2),
        (["all"], 16),
    ],
)
def test_targets_are_groups_or_parts_of_names(targets, count):
    assert len(attach(network(), rank=1, alpha=1.0, targets=targets).factors()) == count


@pytest.mark.parametrize("target", ["attn", "audio", "blocks.7", "", "norm_q", "q.weigh"])
def test_a_target_that_matches_nothing_is_refused_with_what_there_is(target):
    net = network()
    with pytest.raises(
        OptionError, match=r"matches no layer\. Known: attention, ffn, .*blocks\.\*\.self_attn\.q"
    ):
        attach(net, rank=2, alpha=2.0, targets=["attention", target])
    assert all(p.requires_grad for p in net.parameters())


def test_a_network_that_audio_drives_takes_one_too():
    net = SpeechDiT(tiny_speech_variant().dit)
    factors = attach(net, rank=2, alpha=2.0, targets=["attention", "audio"]).factors()
    assert "blocks.1.cross_attn.o.weight" in factors
    assert "audio_injector.injector.1.v.weight" in factors
    assert "audio_injector.injector_adain_layers.0.linear.weight" in factors


@pytest.mark.parametrize(
    "given", [{"rank": 0}, {"rank": 2.0}, {"alpha": 0.0}, {"alpha": float("nan")}, {"targets": []}]
)
def test_what_is_no_lora_is_refused(given):
    with pytest.raises(OptionError, match=r"of a LoRA|needs targets"):
        attach(network(), **({"rank": 2, "alpha": 2.0} | given))


def test_a_second_lora_is_refused():
    net = network()
    attach(net, rank=2, alpha=2.0)
    with pytest.raises(OptionError, match="attached already"):
        attach(net, rank=2, alpha=2.0)


def test_factors_of_other_layers_or_another_rank_are_refused():
    adapters = attach(network(), rank=2, alpha=2.0, targets=["attention"])
    with pytest.raises(
        KeysError, match=r"2 missing, 0 not attached here, such as blocks\.0\.cross_attn\.q\.weight"
    ):
        other = attach(network(), rank=2, alpha=2.0, targets=["k", "v", "o"]).factors()
        adapters.load(other)
    with pytest.raises(KeysError, match=r"are \[3, 24\], and \[2, 24\] is attached"):
        adapters.load(attach(network(), rank=3, alpha=2.0, targets=["attention"]).factors())


def test_the_seed_says_how_a_lora_begins():
    a, b, c = (attach(network(), rank=2, alpha=2.0, seed=seed).factors() for seed in (1, 1, 2))
    name = "blocks.0.ffn.0.weight"
    assert torch.equal(a[name][0], b[name][0]) and not torch.equal(a[name][0], c[name][0])


def test_factors_stay_float32_on_a_base_of_bfloat16_and_the_head_stays_exact_under_autocast():
    net = network(torch.bfloat16)
    adapters = attach(net, rank=2, alpha=2.0, targets=["all"])
    raised(adapters)
    assert all(p.dtype == torch.float32 for p in adapters.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert net.blocks[0].self_attn.q(torch.randn(1, 3, 24)).dtype == torch.bfloat16
        assert net.head.head(torch.randn(1, 3, 24)).dtype == torch.float32
        run(net).square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in adapters.parameters())


def test_checkpointed_blocks_have_the_same_gradients_and_keep_less():
    plain, saving = network(), network()
    for net in (plain, saving):
        raised(attach(net, rank=2, alpha=2.0))
    checkpoint_blocks(saving)
    expected, found = gradients(plain), gradients(saving)
    assert expected.keys() == found.keys() and len(found) == 20
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert kept(saving) < 0.6 * kept(plain)
    with torch.no_grad():
        assert torch.equal(run(saving), run(plain))


def kept(net):
    """Bytes that are kept for the gradient."""
    sizes = {}

    def pack(t):
        sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        run(net)
    return sum(sizes.values())


def test_what_has_no_blocks_cannot_be_checkpointed():
    with pytest.raises(OptionError, match="a Linear has no blocks"):
        checkpoint_blocks(torch.nn.Linear(2, 2))


def test_eight_bits_round_every_row_by_its_own_half_step():
    weight = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [[1e-3], [1.0], [50.0], [1e-30], [0.0]]
    )
    kept = INT8.encode(weight)
    assert kept["data"].dtype == torch.int8 and kept["scale"].shape == (5, 1)
    lost = (dequantise(INT8, kept, torch.float32) - weight).abs().amax(dim=1)
    assert bool((lost <= weight.abs().amax(dim=1) / 254 * 1.001).all())
    assert not kept["data"][4].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_base_in_eight_bits_is_near_smaller_and_takes_a_lora(dtype):
    net = network(dtype)
    before, matrices = run(net).detach(), [m for m in net.modules() if type(m) is Linear]
    said = freeze_int8(net)
    assert said.matrices == len(matrices) == 12
    assert said.before == sum(m.weight.nbytes for m in matrices) and said.after < said.before
    assert 0 < said.mean_error <= said.worst_error < 0.01 and said.worst in str(said)
    assert isinstance(net.blocks[0].ffn[2], StoredLinear) and not isinstance(net.head.head, StoredLinear)
    assert not any(p.requires_grad for p in net.parameters())
    torch.testing.assert_close(run(net).detach(), before, rtol=0, atol=0.05 * float(before.abs().max()))

    adapters = attach(net, rank=2, alpha=2.0)
    raised(adapters)
    checkpoint_blocks(net)
    assert gradients(net).keys() == {name for name, p in net.named_parameters() if p.requires_grad}
    assert isinstance(net.blocks[0].self_attn.q, Adapted)


def test_gradients_pass_a_layer_of_eight_bits_as_its_rounded_weight_says():
    layer = Linear(6, 4)
    small = StoredLinear.quantised(layer, INT8)
    x = torch.randn(3, 6, requires_grad=True)
    y = small(x)
    rounded = small.weight
    torch.testing.assert_close(y, x @ rounded.T + layer.bias)
    (found,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(found, 2 * y.detach() @ rounded)


def test_a_base_with_values_that_are_not_finite_is_refused_unchanged():
    net = network()
    with torch.no_grad():
        net.blocks[0].ffn[0].weight[0, 0] = float("inf")
    with pytest.raises(OptionError, match=r"blocks\.0\.ffn\.0\.weight has values that are not finite"):
        freeze_int8(net)
    assert not any(isinstance(m, StoredLinear) for m in net.modules())
