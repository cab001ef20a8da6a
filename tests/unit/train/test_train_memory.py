"""What training takes, estimated and measured."""

import re
from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from wan22.arch import DiTArch
from wan22.assembly import FLOAT32
from wan22.catalog import VARIANTS
from wan22.errors import DeviceError, OptionError
from wan22.models.dit import NoiseLevels, WanDiT
from wan22.ops.attention import sdpa
from wan22.train.adapt import attach, checkpoint_blocks, freeze_int8
from wan22.train.losses import for_training, trainable
from wan22.train.memory import CAUTION, estimate, numbers
from wan22.train.memory_advice import check_memory

pytestmark = pytest.mark.slow

SMALL = DiTArch(4, 4, 96, 384, 4, 3, text_dim=32, text_len=48, freq_dim=32)
A14B, TI2V, S2V = (VARIANTS[name] for name in ("t2v-A14B", "ti2v-5B", "s2v-14B"))
LORA = 16 * 40 * (8 * 2 * 5120 + 2 * (5120 + 13824))
WHOLE = 14_288_491_584


def a14b(**how):
    given = {"batch": 1, "tokens": 32760, "trainable": LORA, "base": "bf16"}
    return estimate(A14B, **(given | how))


def prepared(adapts, dtype, base):
    net = for_training(WanDiT(SMALL), torch.device("cpu"))
    net.attention = sdpa
    if base != "fp32" and dtype == "bf16":
        for name, p in net.named_parameters():
            if not any(part in name for part in FLOAT32):
                p.data = p.data.to(torch.bfloat16)
    if base == "int8":
        freeze_int8(net)
    if adapts:
        attach(net, rank=8, alpha=8.0)
    return net


def peak(work):
    """The most bytes that stood at once while `work` ran, beyond those before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    "adapts, dtype, base, checkpointing",
    [
        (False, "fp32", "fp32", False),
        (False, "bf16", "fp32", True),
        (True, "bf16", "bf16", False),
        (True, "bf16", "int8", True),
    ],
)
def test_an_estimate_is_at_least_what_a_step_takes_and_not_much_more(adapts, dtype, base, checkpointing):
    net = prepared(adapts, dtype, base)
    if checkpointing:
        checkpoint_blocks(net)
    learned = trainable(net)
    optimiser = torch.optim.AdamW(learned.values(), fused=True)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            text = net.read_text([torch.randn(40, SMALL.text_dim)] * 2)
            y = net(torch.randn(2, 4, 4, 16, 16), NoiseLevels.uniform(torch.full((2,), 500.0)), text)
        y.square().mean().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    step()
    held = sum(t.nbytes for t in (*net.parameters(), *net.buffers()))
    held += sum(v.nbytes for moments in optimiser.state.values() for v in moments.values())
    measured = held + peak(step)
    need = estimate(
        SMALL,
        batch=2,
        tokens=256,
        trainable=sum(p.numel() for p in learned.values()),
        dtype=dtype,
        base=base,
        checkpointing=checkpointing,
    )
    assert measured <= need.total <= CAUTION * measured


def test_parts_are_what_they_are_said_to_be():
    need = a14b()
    assert need.gradients == 4 * LORA and need.moments == 8 * LORA and need.average == 0
    assert 2 * WHOLE < need.weights - 4 * LORA < 2.1 * WHOLE
    assert need.total == sum(need.parts.values()) and "copies" not in need.parts
    assert len(need.lines()) == len(need.parts)
    assert re.search(
        r"^activations +\d+\.\d\d GB .*40 blocks, 1 x 32760 tokens in bf16", "\n".join(need.lines()), re.M
    )
    whole = estimate(A14B, batch=1, tokens=32760, trainable=WHOLE, ema=True, experts=2)
    assert (
        whole.weights == 2 * 4 * WHOLE and whole.average == 2 * 4 * WHOLE and whole.moments == 2 * 8 * WHOLE
    )
    assert 0.97 * 2 * WHOLE < whole.copies < 2 * WHOLE


@pytest.mark.parametrize(
    "less",
    [
        {"checkpointing": True},
        {"base": "int8"},
        {"tokens": 8192},
        {"trainable": LORA // 4},
        {"checkpointing": True, "device": "cpu"},
    ],
)
def test_what_should_take_less_takes_less(less):
    assert a14b(**less).total < a14b(**{k: v for k, v in less.items() if k == "device"}).total


def test_activations_grow_with_the_batch_and_audio_and_levels_by_token_cost_more():
    one, three = (a14b(batch=n).activations for n in (1, 3))
    assert three == pytest.approx(3 * one, rel=0.01)
    how = {"batch": 1, "tokens": 4096, "trainable": LORA, "base": "bf16"}
    assert estimate(S2V, **how).activations > 1.2 * estimate(A14B, **how).activations
    assert estimate(TI2V, **how).activations > estimate(TI2V.dit, **how).activations


def test_muon_has_half_the_moments_of_adamw():
    small = {"batch": 1, "tokens": 64, "trainable": sum(p.numel() for p in WanDiT(SMALL).parameters())}
    adamw, muon = (estimate(SMALL, **small, optimiser=name).moments for name in ("adamw", "muon"))
    assert 0.5 * adamw <= muon < 0.6 * adamw


def test_what_does_not_fit_is_refused_with_what_helps_most():
    need = a14b(checkpointing=False)
    check_memory(need, need.total)
    with pytest.raises(
        DeviceError, match=r"training needs \d+\.\d\d GB \(weights 29\.\d\d, .*80\.00 GB are free"
    ) as error:
        check_memory(need, 80 * 10**9)
    assert "What helps most: memory.gradient_checkpointing = true (" in str(error.value)
    said = float(re.search(r"true \((\d+\.\d\d) GB\)", str(error.value))[1])
    assert said == pytest.approx(a14b(checkpointing=True).total / 1e9, abs=0.01)


def test_several_things_are_said_in_their_order_and_what_is_given_up_comes_last():
    need = estimate(A14B, batch=4, tokens=32760, trainable=WHOLE, checkpointing=True)
    order = r"size = 1 .*then optimiser\.name = .muon. .*then an \[adapter\] .*then clips of \d+ tokens .*which fits"
    with pytest.raises(DeviceError, match=order):
        check_memory(need, 60 * 10**9)


@pytest.mark.parametrize(("device", "rest"), [("cuda:1", "host"), ("cpu", "disk"), ("mps", "disk")])
def test_the_expert_that_waits_is_sent_where_it_is_not_on_the_device(device, rest):
    need = estimate(
        SMALL, batch=1, tokens=64, trainable=1000, base="int8", checkpointing=True, experts=2, device=device
    )
    one = estimate(
        SMALL, batch=1, tokens=64, trainable=1000, base="int8", checkpointing=True, device=device
    ).total
    with pytest.raises(
        DeviceError,
        match=rf'What helps most: memory\.offload_inactive_expert = "{rest}" \(\d\.\d\d GB\), which fits',
    ):
        check_memory(need, one)


def test_it_is_said_when_nothing_is_enough():
    need = estimate(A14B, batch=1, tokens=400, trainable=LORA, base="int8", checkpointing=True)
    with pytest.raises(DeviceError, match=r"and even that does not fit|Nothing helps"):
        check_memory(need, 10**9)


def test_a_remedy_is_one_that_the_recipe_takes():
    how = {"batch": 1, "tokens": 64, "trainable": 1000, "base": "int8", "checkpointing": True}
    need = estimate(SMALL, **how)
    with pytest.raises(DeviceError, match=r"memory.stream_base = true \(.* GB\), and even that does not fit"):
        check_memory(need, 1000)
    need = estimate(SMALL, **how, streamed=True)
    with pytest.raises(DeviceError, match="Nothing helps but a larger device"):
        check_memory(need, 1000)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"optimiser": "sgd"}, r"unknown optimiser 'sgd'\. Known: adamw, muon"),
        ({"dtype": "fp16"}, "unknown dtype"),
        ({"base": "int4"}, "unknown base"),
        ({"batch": 0}, "batch = 0 should be at least 1"),
        ({"trainable": WHOLE + 1}, "cannot learn: this transformer has"),
    ],
)
def test_what_cannot_be_is_refused(wrong, said):
    with pytest.raises(OptionError, match=said):
        a14b(**wrong)


def test_the_estimate_of_a_variant_is_that_of_its_transformer():
    assert (
        a14b().parts == estimate(replace(A14B.dit), batch=1, tokens=32760, trainable=LORA, base="bf16").parts
    )


def test_a_streamed_base_takes_two_blocks_on_the_device():
    whole = a14b(trainable=10**6, base="bf16", checkpointing=True)
    streamed = a14b(trainable=10**6, base="bf16", checkpointing=True, streamed=True)
    assert whole.weights > 28e9 and 1.5e9 < streamed.weights < 2.5e9
    assert streamed.total - streamed.weights == whole.total - whole.weights
    assert any("two blocks at a time" in line for line in streamed.lines())


def test_several_devices_hold_a_share_each_and_whole_gradients_only_if_they_are_put_together_late():
    arch = VARIANTS["t2v-A14B"].dit
    everything = numbers(arch)["all"]

    def need(ranks, **how):
        return estimate(
            VARIANTS["t2v-A14B"],
            batch=1,
            tokens=8000,
            trainable=everything,
            checkpointing=True,
            ranks=ranks,
            **how,
        )

    one, eight, late = need(1), need(8), need(8, gathered=True)
    assert eight.moments == -(-one.moments // 8) and eight.activations == one.activations
    assert (
        one.weights / 8 < eight.weights < one.weights / 4
        and one.gradients / 8 < eight.gradients < one.gradients / 5
    )
    assert late.gradients == one.gradients and late.weights == eight.weights
    assert "1/8 of it and two blocks" in "\n".join(eight.lines())
    with pytest.raises(DeviceError, match=r'What helps most: .*parallel\.gradient_sync = "each"'):
        check_memory(late, late.total - 10**9)
    small = estimate(VARIANTS["t2v-A14B"], batch=1, tokens=8000, trainable=10**7, base="int8", ranks=4)
    alone = estimate(VARIANTS["t2v-A14B"], batch=1, tokens=8000, trainable=10**7, base="int8")
    assert 0 < alone.weights - small.weights < 4 * 10**7  # only the factors are shared
