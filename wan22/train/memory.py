"""How much memory training takes, before any of it is taken.

Weights, gradients, moments and averages are counted by name. What the network keeps for the gradient is found by
running one block of it on tensors without memory (PyTorch's FakeTensorMode) and adding up what autograd saves: so it
follows precision, adapters, eight bits and checkpointing without a formula of its own. Bytes everywhere; 1 GB is 1e9.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from wan22.arch import DiTArch
from wan22.assembly import FLOAT32
from wan22.catalog import Variant
from wan22.errors import OptionError, choose
from wan22.models.block import Block, TimeRows
from wan22.models.linear import Linear, StoredLinear
from wan22.models.speech import Injector
from wan22.ops.attention import Attention, sdpa
from wan22.train.adapt import Adapted
from wan22.train.flow_matching import eager_attention
from wan22.train.int8 import INT8
from wan22.weights.load import meta_module

CAUTION = 1.5
"""An estimate is at least the peak that was measured and at most this often (18 ways to train a small network, of which
tests/unit/train/test_memory.py measures some again; the median was 1.17).
"""

_FLOAT, _HALF = 4, 2


@dataclass(frozen=True)
class StepSpec:
    """What is trained and how: the arguments of `estimate`."""

    arch: DiTArch
    batch: int
    tokens: int
    trainable: int
    optimiser: str
    dtype: str
    base: str
    checkpointing: bool
    ema: bool
    experts: int
    device: str
    per_token: bool
    streamed: bool = False
    ranks: int = 1
    gathered: bool = False

    @property
    def adapts(self) -> bool:
        """Whether only factors beside the base are trained."""
        return self.trainable < numbers(self.arch)["all"]

    @property
    def mixed(self) -> bool:
        """Whether autocast makes copies of weights."""
        return self.base == "fp32" and self.dtype == "bf16"

    @property
    def resting(self) -> str:
        """Where the experts that wait must be so that they are not on the device: on the CPU, and where an accelerator
        shares the host's memory, only the disk is elsewhere.
        """
        return "host" if self.device == "cuda" else "disk"

    @property
    def rank(self) -> int:
        """The rank of a LoRA on every matrix of every block that has as many numbers."""
        return max(1, round(self.trainable / numbers(self.arch)["rank"]))


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the device at the peak of a step, by what they are for.

    `copies` are the weights once more in bfloat16, which autocast makes of a base in float32; `work` is what comes and
    goes while gradients are made.
    """

    weights: int
    copies: int
    gradients: int
    moments: int
    average: int
    activations: int
    work: int
    spec: StepSpec = field(repr=False)

    @property
    def parts(self) -> dict[str, int]:
        """Every part that is there, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "spec"}
        return {name: size for name, size in named.items() if size}

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())

    def lines(self) -> list[str]:
        """The parts for people."""
        return [f"{name:12} {size / 1e9:8.2f} GB   {self._why(name)}" for name, size in self.parts.items()]

    def _why(self, name: str) -> str:
        spec = self.spec
        experts = "" if spec.experts == 1 else f", {spec.experts} experts"
        shared = "" if spec.ranks == 1 else f", 1/{spec.ranks} of it and two blocks"
        if spec.ranks > 1 and spec.base == "int8":
            shared = ", all of it"
        kept = "block inputs and one block" if spec.checkpointing else f"{spec.arch.layers} blocks"
        return {
            "weights": f"held in {spec.base}{', two blocks at a time' if spec.streamed else ''}{shared}{experts}",
            "copies": "of the weights, in bf16",
            "gradients": f"of {spec.trainable / 1e6:.1f} M parameters",
            "moments": f"of {spec.optimiser}{experts}",
            "average": f"of {spec.trainable / 1e6:.1f} M parameters{experts}",
            "activations": f"{kept}, {spec.batch} x {spec.tokens} tokens in {spec.dtype}",
            "work": "while gradients are made",
        }[name]


def estimate(  # noqa: PLR0913 - what decides about memory, each by name
    what: Variant | DiTArch,
    *,
    batch: int,
    tokens: int,
    trainable: int,
    optimiser: str = "adamw",
    dtype: str = "bf16",
    base: str = "fp32",
    checkpointing: bool = False,
    ema: bool = False,
    experts: int = 1,
    device: str = "cuda",
    streamed: bool = False,
    ranks: int = 1,
    gathered: bool = False,
) -> MemoryEstimate:
    """Return the memory that one training step takes on its device.

    `tokens` are those of one clip, with what stands beside them; `trainable` the numbers of one expert that learn: as
    many as the transformer has, or fewer under a LoRA. `experts` is how many of them are on the device at once.
    `device` "cpu" trains with attention written out (train/flow_matching.py), whose scores are kept; on it and on "mps"
    the host is the device. `streamed`: the frozen blocks come from the host. `ranks` devices hold a share each of what
    is kept of parameters, and all of a block when its turn comes; `gathered`: each keeps all gradients until the last
    batch of a step. batch and tokens are those of one device. Raises OptionError for what cannot be.
    """
    arch = what.dit if isinstance(what, Variant) else what
    choose("optimiser", optimiser, ("adamw", "muon"))
    choose("dtype", dtype, ("bf16", "fp32"))
    choose("base", base, ("bf16", "fp32", "int8"))
    for name, value in (("batch", batch), ("tokens", tokens), ("trainable", trainable), ("experts", experts)):
        if value < 1:
            raise OptionError(f"{name} = {value} should be at least 1")
    if trainable > numbers(arch)["all"]:
        raise OptionError(f"{trainable} numbers cannot learn: this transformer has {numbers(arch)['all']}")
    per_token = isinstance(what, Variant) and what.image == "known"
    return estimate_of(
        StepSpec(
            arch, batch, tokens, trainable, optimiser, dtype, base, checkpointing, ema, experts,
            torch.device(device).type, per_token or arch.speech is not None, streamed, ranks, gathered,
        )
    )  # fmt: skip


def estimate_of(spec: StepSpec) -> MemoryEstimate:
    """The memory of a spec that is known to be possible."""
    has = numbers(spec.arch)
    learned = spec.trainable
    # Found once for all of these.
    kept = _kept(replace(spec, optimiser="", ema=False, experts=1, streamed=False, ranks=1, gathered=False))
    # Autocast keeps the copy of a weight that learns until it ends; that of a frozen one lives as long as its block's
    # activations.
    whole = not (spec.checkpointing and (spec.adapts or spec.ranks > 1))
    copies = _HALF * has["matrices"] * (spec.arch.layers if whole else 1) if spec.mixed else 0
    factors = _FLOAT * learned if spec.adapts else 0
    moments = {
        "adamw": 2 * _FLOAT * learned,
        "muon": _FLOAT * (learned if spec.adapts else has["all"] + has["tables"]),
    }[spec.optimiser]
    held = _held(spec.arch, spec.base, spec.streamed)
    # Bytes in eight bits are no parameters, and not sharded. Two blocks are whole at a time, and what is in none.
    shards, here = (factors, held) if spec.base == "int8" else (held + factors, 0)
    here += 0 if spec.ranks == 1 or spec.base == "int8" else _held(spec.arch, spec.base, streamed=True)
    block = 0 if spec.ranks == 1 else _FLOAT * learned // spec.arch.layers
    gradients = _FLOAT * learned if spec.gathered else _share(_FLOAT * learned, spec.ranks) + block
    return MemoryEstimate(
        weights=spec.experts * (_share(shards, spec.ranks) + here),
        copies=copies,
        gradients=gradients,
        moments=spec.experts * _share(moments, spec.ranks),
        average=spec.experts * _share(_FLOAT * learned * spec.ema, spec.ranks),
        activations=kept,
        work=_work(spec),
        spec=spec,
    )


def _share(size: int, ranks: int) -> int:
    return -(-size // ranks)


def _work(spec: StepSpec) -> int:
    """What a block's gradients take beside what was kept: of the hidden layer twice, of the stream four times; of the
    scores, where attention is written out; and one matrix out of eight bits.
    """
    arch, size = spec.arch, _HALF if spec.dtype == "bf16" else _FLOAT
    work = spec.batch * spec.tokens * (2 * size * arch.ffn_dim + 4 * _FLOAT * arch.dim)
    if spec.device == "cpu":
        work = max(work, 2 * _FLOAT * spec.batch * arch.heads * spec.tokens**2)
    if spec.base == "int8":
        work += (_FLOAT + size) * arch.dim * arch.ffn_dim
    return work


@lru_cache(maxsize=16)
def numbers(arch: DiTArch) -> Mapping[str, int]:
    """Numbers of a transformer: all, in the matrices of one block, in what is no matrix, in one rank of a LoRA."""
    network = meta_module(arch)
    block = network.get_submodule("blocks.0")
    matrices = [module for module in block.modules() if type(module) is Linear]
    return {
        "all": sum(p.numel() for p in network.parameters()),
        "matrices": sum(module.weight.numel() for module in matrices),
        "tables": sum(
            p.numel() for name, p in network.named_parameters() if p.ndim < 2 or name.endswith("modulation")
        ),
        "rank": arch.layers * sum(module.in_features + module.out_features for module in matrices),
    }


@lru_cache(maxsize=16)
def _held(arch: DiTArch, base: str, streamed: bool = False) -> int:
    """Bytes of the weights of an expert on the device: of all blocks, or of two."""
    network = meta_module(arch)
    shrunk = {f"{name}.weight" for name, module in network.named_modules() if type(module) is Linear}
    total = 0
    for name, p in network.named_parameters():
        if streamed and name.startswith("blocks.") and int(name.split(".")[1]) > 1:
            continue
        if base == "fp32" or any(part in name for part in FLOAT32):
            total += _FLOAT * p.numel()
        elif base == "int8" and name in shrunk:
            total += p.numel() + _FLOAT * p.shape[0]
        else:
            total += _HALF * p.numel()
    return total


@lru_cache(maxsize=64)
def _kept(spec: StepSpec) -> int:
    """Bytes that autograd keeps of one forward pass, without parameters and their copies."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    arch, learns = spec.arch, not spec.adapts
    attention: Attention = eager_attention if spec.device == "cpu" else sdpa
    with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16, enabled=spec.dtype == "bf16"):
        block = _prepared(Block(arch.dim, arch.ffn_dim, arch.heads, arch.eps), spec)
        half = arch.dim // arch.heads // 2
        x = torch.empty(spec.batch, spec.tokens, arch.dim, requires_grad=True)
        index = torch.zeros(spec.tokens, dtype=torch.int64) if spec.per_token else None
        time = TimeRows(torch.empty(spec.batch, 1, 6, arch.dim, requires_grad=learns), index)
        table = torch.empty(spec.tokens, 1, half), torch.empty(spec.tokens, 1, half)
        text = torch.empty(spec.batch, arch.text_len + 1, arch.dim, requires_grad=learns)
        bias = torch.empty(spec.batch, 1, 1, arch.text_len + 1)
        outside = (block, x, text, bias, *table)
        with _counted(outside) as read:
            memory = block.cross_attn.read(text, bias)
        with _counted((*outside, memory.k, memory.v)) as inside:
            block(x, time, table, memory, attention)
        taps = _taps(spec, x, attention)
    stream = x.nbytes
    copied = _HALF * 2 * arch.dim**2 if spec.mixed else 0  # of the two matrices that read the text
    texts = sum(read.values()) - copied
    one = stream + sum(inside.values()) - (_HALF * numbers(arch)["matrices"] - copied if spec.mixed else 0)
    blocks = arch.layers * stream + one if spec.checkpointing else arch.layers * one
    return (
        blocks + arch.layers * texts + taps + 2 * stream
    )  # the head keeps its input, and what it made of it


def _taps(spec: StepSpec, x: Tensor, attention: Attention) -> int:
    """What is kept where audio is read, which is after some blocks and in none."""
    speech = spec.arch.speech
    if speech is None:
        return 0
    injector = _prepared(Injector(spec.arch, 1), spec)
    tokens = torch.empty(spec.batch, 1, speech.audio_tokens + 1, spec.arch.dim, requires_grad=not spec.adapts)
    with _counted((injector, x)) as inside:
        injector.tap(0, injector.read(0, tokens, tokens[:, :, 0]), attention, spec.tokens, x)
    return len(speech.inject) * (x.nbytes + sum(inside.values()))


def _prepared(block: nn.Module, spec: StepSpec) -> nn.Module:
    """A block as it is trained: in its precision, with a LoRA on every matrix if that is what learns."""
    if spec.base != "fp32" and spec.dtype == "bf16":
        for name, p in block.named_parameters():
            if not any(part in name for part in FLOAT32):
                p.data = p.data.to(torch.bfloat16)
    if not spec.adapts:
        return block
    block.requires_grad_(False)
    for name, module in list(block.named_modules()):
        if type(module) is Linear:
            base = StoredLinear.quantised(module, INT8) if spec.base == "int8" else module
            parent, _, leaf = name.rpartition(".")
            setattr(block.get_submodule(parent), leaf, Adapted(base, spec.rank, 1.0))
    return block


@contextmanager
def _counted(outside: tuple[nn.Module | Tensor, ...]) -> Generator[dict[int, int]]:
    """Bytes of every storage that autograd saves meanwhile; parameters, and what is in `outside`, do not count."""
    known: set[int] = set()
    for each in outside:
        tensors = [*each.parameters(), *each.buffers()] if isinstance(each, nn.Module) else [each]
        known |= {t.untyped_storage()._cdata for t in tensors}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no storage takes the place of another

    def note(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        alive.append(t)
        if storage._cdata not in known:
            sizes[storage._cdata] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        yield sizes
