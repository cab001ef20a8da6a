"""Whether a run compiles its blocks, and that a compiled run learns what another one does."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from unit.tiny import tiny_variant

from wan22.errors import OptionError
from wan22.models.dit import WanDiT
from wan22.train import compiling
from wan22.train.compiling import decide, explained, padded, uncompiled
from wan22.train.losses import Batch, velocity_errors

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def whole(monkeypatch):
    """A machine that has what compiling needs."""
    monkeypatch.setattr(compiling, "_lacking", lambda device: "")


def test_long_runs_of_few_shapes_compile_and_the_plan_says_why():
    assert str(decide("auto", steps=1400, shapes=1, device=CPU)).startswith("yes: 1 shape of batches")
    assert (
        str(decide("auto", steps=300, shapes=1, device=CPU))
        == "no: 300 steps are too few for 1 shape of batches"
    )
    assert not decide("auto", steps=1400, shapes=5, device=CPU).on
    assert "shapes of batches are too many" in str(decide("auto", steps=10**6, shapes=50, device=CPU))
    assert str(decide(False, steps=10**6, shapes=1, device=CPU)) == "no: memory.compile = false"
    assert decide(True, steps=1, shapes=9, device=CPU).on
    cuda = torch.device("cuda")
    assert not decide("auto", steps=10**6, shapes=1, device=cuda).on
    assert decide(True, steps=1, shapes=1, device=cuda).on


def test_a_machine_that_cannot_compile_says_what_is_missing(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("CXX", "no-such-compiler")
    said = decide("auto", steps=1400, shapes=1, device=CPU)
    assert str(said) == "no: there is no C++ compiler no-such-compiler"
    with pytest.raises(OptionError, match=r"memory\.compile = true cannot be: there is no C\+\+ compiler"):
        decide(True, steps=1400, shapes=1, device=CPU)
    with pytest.raises(OptionError, match="blocks are not compiled on mps"):
        decide(True, steps=1400, shapes=1, device=torch.device("mps"))


def test_texts_of_one_length_mean_what_they_meant():
    variant = tiny_variant("known")
    torch.manual_seed(0)
    network = WanDiT(variant.dit)
    texts = [torch.randn(3, 8), torch.randn(5, 8)]
    videos, noise = torch.randn(2, 4, 2, 4, 6), torch.randn(2, 4, 2, 4, 6)
    torch.nn.init.normal_(network.head.head.weight)
    batch = Batch(videos, texts)
    even = padded(batch, variant.dit.text_len)
    assert [len(text) for text in even.texts] == [variant.dit.text_len] * 2 and len(batch.texts[0]) == 3
    sigmas = torch.tensor([0.2, 0.9])
    one, other = (velocity_errors(network, each, variant, sigmas, noise) for each in (batch, even))
    assert torch.allclose(one, other, rtol=1e-5)
    full = padded(Batch(videos, [torch.randn(8, 8)] * 2), variant.dit.text_len)
    assert network.read_text(even.texts)[0].k.shape == network.read_text(full.texts)[0].k.shape


def test_what_goes_wrong_in_a_compiler_says_what_to_change():
    from torch._dynamo.exc import TorchDynamoException

    with pytest.raises(
        OptionError, match=r"cannot be compiled on this machine \(no room\); take memory\.compile = false"
    ):
        with explained():
            raise TorchDynamoException("no room\nand a long story")
    with pytest.raises(ZeroDivisionError), explained():
        raise ZeroDivisionError
    with uncompiled(WanDiT(tiny_variant("known").dit)):
        pass  # of what is not compiled nothing is said


ADAPTED = """
import torch
from unit.train.test_adapt import ARCH, attach, checkpoint_blocks, gradients, network, raised, run

def compile_blocks(net):
    for i, block in enumerate(net.blocks):
        net.blocks[i] = torch.compile(block, backend="eager")

expected = network()
raised(attach(expected, rank=2, alpha=2.0))
learned = gradients(expected)
for first in ("compile", "attach"):
    net = network()
    if first == "compile":
        compile_blocks(net)
    adapters = attach(net, rank=2, alpha=2.0)
    assert adapters.factors().keys() == {n[:-5] + ".weight" for n in learned if n.endswith(".down")}
    raised(adapters)
    if first == "attach":
        compile_blocks(net)
    checkpoint_blocks(net)
    torch.testing.assert_close(run(net), run(expected))
    for ours, theirs in zip(sorted(gradients(net).items()), sorted(learned.items())):
        torch.testing.assert_close(ours[1], theirs[1])
torch._dynamo.reset()
torch._dynamo.utils.counters.clear()
"""


RUN = """
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from unit.tiny import write_tiny
from unit.train.media import write_clip

from wan22.train.recipe import parse_recipe
from wan22.train.run import train

folder, compiled = Path(sys.argv[1]), []
real = torch.compile
def quick(*given, **how):  # the same programs, without a compiler behind them
    compiled.append(how)
    return real(*given, **how, backend="aot_eager")
torch.compile = quick

write_tiny(folder / "model")
for i, text in enumerate(("a red ball", "a red ball rolls left at sunset", "a blue cube spins")):
    write_clip(folder / "clips" / f"{i}.mp4", frames=5 + i, text=text)
plain = parse_recipe({
    "output": "plain", "model": {"name": "model"}, "adapter": {"rank": 2},
    "data": {"sources": "clips", "size": [48, 32], "frames": 5, "fps": 8, "cache": "cache"},
    "image": {"first": 1.0}, "optimiser": {"steps": 2, "warmup": 0, "learning_rate": 1e-3, "batch_size": 2},
    "validation": {"every": 4, "prompts": ["a red ball"], "steps": 2},
    "memory": {
        "dtype": "fp32", "base_dtype": "fp32", "steps_per_expert_turn": 1, "offload_inactive_expert": "disk",
        "compile": False,
    },
}, folder)
memory = replace(plain.memory, compile=True)

def go(output, memory, **how):
    train(replace(plain, output=output, memory=memory), device="cpu", log=lambda line: None, **how)
    return {p.name: load_file(p) for p in (folder / output / "lora").glob("*.safetensors")}

def close(a, b):
    assert a.keys() == b.keys() and len(a) == 2
    for name in a:
        for key, value in a[name].items():
            torch.testing.assert_close(value, b[name][key], rtol=1e-3, atol=2e-5)

expected = go("plain", plain.memory)
assert not compiled
close(go("whole", memory), expected)
# One program for both experts, all texts and all times that an expert is built: videos on the way are made without.
assert compiled and torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
asked, memory = iter([False, False]), replace(memory, gradient_checkpointing=True)
go("pieces", memory, stop=lambda: next(asked, True))
close(go("pieces", memory), expected)
print("done")
"""


def test_compiled_blocks_can_be_adapted_and_a_compiled_run_learns_the_same_and_goes_on(tmp_path):
    # In a process of its own: the checks of shapes that tests put around functions are not what Dynamo can read.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            ADAPTED + "torch._dynamo.reset()\ntorch._dynamo.utils.counters.clear()\n" + RUN,
            str(tmp_path),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and b"done" in done.stdout, done.stderr.decode()[-3000:]
