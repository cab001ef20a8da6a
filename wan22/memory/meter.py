"""Counts what a network takes without running it: memory at the peak, products, kernels, traffic, synchronisations.

The real network runs on tensors without memory, under a dispatch mode that sees every operator. On the "meta" device it
goes the way of an accelerator; on tensors that only say they are on the CPU (`Sizes`) the way of the CPU, where
functions of `ops/` choose other kernels. Nothing here is a formula of a network: what changes there changes here.

    network = meta_module(arch)
    with metered("cuda") as meter:
        meter.place(network, torch.bfloat16)      # weights are not counted; they are the placement's
        network(meter.empty(1, 16, 21, 90, 160), ...)
    meter.counts

Bytes everywhere. What no operator shows is not counted: the context of a device, workspaces of libraries, fragments.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from wan22.memory.effects import Effect, Work, described, key_of, made_again, recall, remember
from wan22.memory.sizes import Sizes, call, run_sizes, storage_of, tensors_of
from wan22.ops.kernels import counted
from wan22.ops.rope import rotation


@dataclass(frozen=True)
class Counts:
    """What was counted. `peak` are bytes beside the weights; `flops` operations by kind and dtype; `kernels` the
    operators that launch one; `traffic` bytes that operators other than products read and write; `syncs` how often
    the host waits for the device; `passed` bytes of weights that come to the device, where they pass through it (0: all
    of the part, once); `largest` what lives at the peak: bytes and the operator that made it.
    """

    peak: int = 0
    flops: Mapping[Work, float] = field(default_factory=dict)
    kernels: int = 0
    traffic: int = 0
    syncs: int = 0
    passed: int = 0
    largest: tuple[tuple[int, str], ...] = field(default=(), compare=False)

    @property
    def total_flops(self) -> float:
        """Operations of every kind."""
        return sum(self.flops.values())

    def plus(self, other: Counts, times: float = 1) -> Counts:
        """These and `times` the others, one after another; the peak too grows by the others' (see `extrapolated`)."""
        flops = {
            work: self.flops.get(work, 0) + times * other.flops.get(work, 0)
            for work in (*self.flops, *(w for w in other.flops if w not in self.flops))
        }
        return Counts(
            round(self.peak + times * other.peak),
            flops,
            round(self.kernels + times * other.kernels),
            round(self.traffic + times * other.traffic),
            round(self.syncs + times * other.syncs),
            round(self.passed + times * other.passed),
            self.largest,
        )


def extrapolated(fewer: Counts, more: Counts, times: float) -> Counts:
    """Counts of a network in which the step from `fewer` to `more` layers is taken `times`: layers are alike."""
    return fewer.plus(more, times).plus(fewer, -times)


_SUMS = {
    "_peak": 0,
    "_largest": (),
    "_flops": {},
    "_kernels": 0.0,
    "_traffic": 0.0,
    "_syncs": 0.0,
    "_times": 1.0,
}
"""What a Meter adds up, and how often what is done now is done; as they are at first."""


class Meter(TorchDispatchMode):
    """The mode that counts; made by `metered`. `device` is "cuda" (any accelerator) or "cpu".

    `scalar` is what a number that the host reads from the device is taken for; None: reading one is an error.
    """

    def __init__(self, device: str, scalar: float | None = None) -> None:
        super().__init__()
        self.device = torch.device("cpu" if device == "cpu" else "meta")
        self.scalar = scalar
        self._now = self._peak = 0
        self._known: dict[int, tuple[int, str]] = {}
        self._largest: tuple[tuple[int, str], ...] = ()
        self._flops: dict[Work, float] = {}
        self._kernels = self._traffic = self._syncs = 0.0
        self._times, self._uncounted = 1.0, False
        self.passed = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: for it PyTorch would load its compiler, which takes seconds."""
        return False

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        return Counts(
            self._peak,
            dict(self._flops),
            round(self._kernels),
            round(self._traffic),
            round(self._syncs),
            self.passed,
            tuple(sorted(self._largest, reverse=True)[:12]),
        )

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor on the device; it counts as soon as it is used."""
        return torch.empty(*shape, dtype=dtype, device=self.device)

    def place(self, network: nn.Module, dtype: torch.dtype | Callable[[str], torch.dtype]) -> nn.Module:
        """Put the weights of a network, made outside on the meta device, on the device, each in its dtype: one for all,
        or that of its name. Buffers stay as they are stored. They are not counted.
        """
        for prefix, module in network.named_modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    full = f"{prefix}.{name}" if prefix else name
                    there = self._weight(weight, dtype(full) if callable(dtype) else dtype)
                    module._parameters[name] = nn.Parameter(there, requires_grad=False)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = self._weight(buffer, buffer.dtype)
        return network

    def _weight(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        self._uncounted = True
        try:
            return self.empty(*like.shape, dtype=dtype)
        finally:
            self._uncounted = False

    def restart(self) -> None:
        """Count from here on; what lives now still counts as memory."""
        self._flops.clear()
        self._kernels = self._traffic = self._syncs = 0.0
        self._peak, self._largest = self._now, tuple(self._known.values())

    @contextmanager
    def times(self, count: float) -> Generator[None]:
        """What is done within is done `count` times, one after another: the peak is that of one."""
        before, self._times = self._times, self._times * count
        try:
            yield
        finally:
            self._times = before

    def kernel(self, reference: Callable[[], Any], given: tuple[Any, ...]) -> Any:
        """Count a function that is one kernel on a GPU: what it is given is read once, and what it makes written once.
        The peak is that of the reference, which is computed where there is no Triton.
        """
        with self.times(0):
            out = reference()
        self._kernels += self._times
        read = {
            id(tensor): tensor for tensor in tensors_of(given)
        }.values()  # it may be written over what it reads
        touched = (t for t in (*read, *tensors_of((out,))) if t.device == self.device)
        self._traffic += self._times * sum(_touched(t) for t in touched)
        return out

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count an operator. What one did before with such tensors it does again, and is not run for it."""
        kwargs = kwargs or {}
        given: list[Tensor] = []
        key = key_of(func, args, kwargs, given)
        if key is None:
            return self._count(func, args, kwargs)
        for tensor in given:
            self._see(tensor, "given")
        effect = recall(key)
        if effect is None:
            return self._observe(key, func, args, kwargs, given)
        self._add(effect, self._now, self._known.values())
        return made_again(effect.made, given, self._hold)

    def _observe(self, key: Any, func: Any, args: Any, kwargs: dict[str, Any], given: list[Tensor]) -> Any:
        """Count an operator, and remember what it did."""
        now, known = self._now, len(self._known)
        before = {name: getattr(self, name) for name in _SUMS}
        vars(self).update(_SUMS, _flops={}, _peak=now)
        try:
            out = self._count(func, args, kwargs)
            effect = Effect(
                self._peak - now,
                self._largest[known:],
                self._flops,
                self._kernels,
                self._traffic,
                self._syncs,
                described(out, given, self._known),
            )
        finally:
            vars(self).update(before)
        self._add(effect, now, islice(self._known.values(), known))
        remember(key, effect)
        return out

    def _add(self, effect: Effect, now: int, alive: Iterable[tuple[int, str]]) -> None:
        """Add what an operator does to what was counted; before it so many bytes were alive."""
        times = self._times
        self._kernels += times * effect.kernels
        self._traffic += times * effect.traffic
        self._syncs += times * effect.syncs
        for work, flops in effect.flops.items():
            self._flops[work] = self._flops.get(work, 0) + times * flops
        if now + effect.peak > self._peak:
            self._peak, self._largest = now + effect.peak, (*alive, *effect.largest)

    def _count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Count an operator by running it."""
        name = func._schema.name
        whole = _WHOLE.get(name) if self.device.type == "meta" else None
        if whole is None and _is_composite(func):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if name == "aten::_local_scalar_dense" and isinstance(args[0], Sizes) | args[0].is_meta:
            return self._scalar(args[0])
        inputs = [t for t in tensors_of((*args, *kwargs.values())) if t.device == self.device]
        for tensor in inputs:
            self._see(tensor, "given")
        scratch = 0
        if whole is not None and inputs:
            out, scratch = whole(*args, **kwargs)
        else:
            out = (
                self._run(func, name, args, kwargs)
                if self.device.type == "meta"
                else run_sizes(func, args, kwargs)
            )
        outputs = [t for t in tensors_of((out,)) if t.device == self.device]
        for tensor in outputs:
            self._see(tensor, name)
        self._peak_at(scratch, name)
        self._work(func, name, inputs, outputs, (args, out))
        return out

    def _run(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator; where host and device meet, count that one waits for the other."""
        moved = name in ("aten::_to_copy", "aten::copy_")
        source = args[1] if name == "aten::copy_" else args[0] if moved else None
        if isinstance(source, Tensor):
            there = args[0].device if name == "aten::copy_" else kwargs.get("device") or source.device
            crossed = source.is_meta != (there.type == "meta")
            waits = not (kwargs.get("non_blocking") or args[2:3] == (True,))
            self._syncs += self._times * (crossed and waits)
            if crossed and name == "aten::copy_":
                return args[0]
            if crossed and there.type == "cpu":
                return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        return call(func, name, args, kwargs)

    def _scalar(self, tensor: Tensor) -> float:
        if self.scalar is None:
            raise RuntimeError("a number is read from a tensor without memory; say what it is by `scalar`")
        self._syncs += self._times
        return float(self.scalar) if tensor.is_floating_point() else int(self.scalar)

    def _see(self, tensor: Tensor, name: str) -> None:
        """Count the memory of a tensor once, from now until its last view is gone."""
        storage = storage_of(tensor)
        if storage._cdata not in self._known:
            size = 0 if self._uncounted else storage.nbytes()
            label = f"{name.removeprefix('aten::')} {tuple(tensor.shape)} {_short(tensor.dtype)}"
            self._hold(storage, size, label)

    def _hold(self, storage: Any, size: int, label: str) -> None:
        key = storage._cdata
        self._known[key] = size, label
        self._now += size
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self._now -= self._known.pop(key)[0]

    def _peak_at(self, scratch: int, name: str) -> None:
        if self._now + scratch > self._peak:
            self._peak = self._now + scratch
            self._largest = (*self._known.values(), (scratch, f"within {name}"))

    def _work(
        self, func: Any, name: str, inputs: list[Tensor], outputs: list[Tensor], call: tuple[Any, Any]
    ) -> None:
        """Count the operations of a product, or the traffic of any other kernel."""
        if (
            not outputs
            or name in _NO_KERNEL
            or any(r.alias_info and not r.alias_info.is_write for r in _returns(func))
        ):
            return
        self._kernels += self._times
        flops = _flops(name, *call)
        if flops:
            kind = next((kind for part, kind in _KINDS.items() if part in name), "matmul")
            work = kind, inputs[0].dtype
            self._flops[work] = self._flops.get(work, 0) + self._times * flops
        else:
            self._traffic += self._times * sum(_touched(t) for t in (*inputs, *outputs))


@contextmanager
def metered(device: str, scalar: float | None = None) -> Generator[Meter]:
    """Count what is done within: on `device` "cuda" (or any other accelerator), or on the "cpu". See `Meter`.

    Without gradients. What functions remember between calls is forgotten before and after.
    """
    meter = Meter(device, scalar)
    rotation.cache_clear()  # its tables would be no tensors of ours, or ours those of a later call
    try:
        with torch.inference_mode(), meter, counted(meter.kernel) if device == "cuda" else nullcontext():
            yield meter
    finally:
        rotation.cache_clear()


def _touched(tensor: Tensor) -> int:
    """Bytes that a kernel reads or writes of a tensor; what is repeated is read once."""
    return min(tensor.numel() * tensor.element_size(), storage_of(tensor).nbytes())


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@lru_cache(maxsize=1024)
def _is_composite(func: Any) -> bool:
    """Whether PyTorch has it in terms of other operators; in inference mode a dispatch mode sees such ones too."""
    composite = "CompositeImplicitAutograd"
    return func.namespace != "prim" and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), composite)


@lru_cache(maxsize=1024)
def _returns(func: Any) -> tuple[Any, ...]:
    return tuple(func._schema.returns)


def _flops(name: str, args: tuple[Any, ...], out: Any) -> float:
    """Operations of a product: two for each multiplication. (PyTorch's own counter would load Triton.)"""
    op = name.rpartition("::")[2]
    if op in _MATRIX_AT:
        return 2 * out.numel() * args[_MATRIX_AT[op]].shape[-1]
    if "scaled_dot_product" in op:
        q, k, v = args[:3]
        return 2 * q.shape[:-1].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1])
    if op == "convolution":
        x, weight, transposed = args[0], args[1], args[6]
        return 2 * (x if transposed else out).numel() * weight.shape[1:].numel()
    return 0


def _attention_whole(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
) -> tuple[Tensor, int]:
    """Attention of (b, n, l, e) as accelerators have it: without scores, unless the last axis has a stride, which no
    fused kernel takes. The result lies as (b, l, n, e).
    """
    b, n, length, _e = q.shape
    out = q.new_empty(b, length, n, v.shape[-1]).transpose(1, 2)
    if q.stride(-1) == 1:
        return out, 4 * b * n * length
    scores = b * n * length * k.shape[2]
    return out, 2 * scores * q.element_size()


def _rms_norm_whole(x: Tensor, *_: Any, **__: Any) -> tuple[tuple[Tensor, Tensor], int]:
    return (torch.empty_like(x), x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)), 0


_WHOLE = {"aten::scaled_dot_product_attention": _attention_whole, "aten::_fused_rms_norm": _rms_norm_whole}
"""Operators that PyTorch would take apart on the meta device, and accelerators have as one kernel."""

_MATRIX_AT = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "_linear_pointwise": 0}
"""Where among the arguments of a product of matrices its left factor stands."""

_KINDS = {"attention": "attention", "conv": "conv"}

_NO_KERNEL = {
    "aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::new_empty_strided",
    "aten::_unsafe_view", "aten::lift_fresh", "aten::resize_",
}  # fmt: skip
