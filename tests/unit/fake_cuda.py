"""A graphics card that computes nothing: the engine runs whole on it, and how often it waits for it is counted.

    card = FakeCuda()
    with here(card):
        engine = wan22.load(folder, device="cuda")

Tensors "on cuda" have sizes and no numbers, and an operator that mixes devices fails as it would there; those on the
CPU are real. What would make the host wait for the card is noted.
"""

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from wan22.ops.rope import rotation

MEMORY = 80 * 10**9
CARD, META = torch.device("cuda", 0), torch.device("meta")


class Fake(torch.Tensor):
    """A tensor that says it is on the card; `meta`, on the meta device, has its sizes and strides."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, meta):
        sizes = {"strides": meta.stride(), "storage_offset": meta.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, meta.shape, **sizes, dtype=meta.dtype, device=CARD)
        made.meta = meta
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} on a tensor of a card that is not here")


class FakeCuda(TorchDispatchMode):
    """`waits`: what the host waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: for it PyTorch would load its compiler, which takes seconds."""
        return False

    def taken(self) -> list[str]:
        """What was waited for since the last time."""
        waits, self.waits = self.waits, []
        return waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name
        given = tree_leaves((args, kwargs))
        there = [t for t in given if isinstance(t, Fake)]
        devices = {d.type for d in given if isinstance(d, torch.device)}
        if not there and "cuda" not in devices:
            return func(*args, **kwargs)
        if _is_composite(func):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if name == "prim::device":
            return CARD
        if name == "aten::_local_scalar_dense":
            self.waits.append("a number")
            return 1.0 if args[0].is_floating_point() else 1
        if name == "aten::nonzero" or (
            name.startswith("aten::index") and any(_is_mask(t) for t in there[1:])
        ):
            raise AssertionError(f"{name}: the host waits to know how large the result is")
        moved = name in ("aten::copy_", "aten::_to_copy")
        freely = kwargs.get("non_blocking") or (name == "aten::copy_" and args[2:] == (True,))
        if moved and (not isinstance(args[0], Fake) if name == "aten::copy_" else "cpu" in devices):
            self.waits += [] if freely else ["to the host"]
            dtype = kwargs.get("dtype") or args[0].dtype
            return args[0].zero_() if name == "aten::copy_" else torch.zeros(args[0].shape, dtype=dtype)
        elsewhere = [t for t in given if isinstance(t, torch.Tensor) and not isinstance(t, Fake)]
        if moved and elsewhere and not freely:
            self.waits.append("to the card")
        elif not moved and any(t.dim() for t in elsewhere):
            raise AssertionError(f"{name} of tensors on the card and of {[t.device for t in elsewhere]}")
        return _on_meta(func, args, kwargs)


@lru_cache(maxsize=1024)
def _is_composite(func) -> bool:
    """Whether PyTorch has it in terms of other operators."""
    key = "CompositeImplicitAutograd"
    return func.namespace != "prim" and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key)


def _on_meta(func, args, kwargs):
    """What an operator gives, with the sizes that it has on the meta device."""
    known = {}

    def inside(t):
        meta = t.meta if isinstance(t, Fake) else t.to(META) if t.dim() else t
        known[id(meta)] = t
        return meta

    def outside(t):
        return known[id(t)] if id(t) in known else Fake(t) if t.is_meta else t

    args, kwargs = tree_map_only(torch.Tensor, inside, (args, kwargs))
    args, kwargs = tree_map_only(torch.device, lambda d: META if d.type == "cuda" else d, (args, kwargs))
    with (
        torch.inference_mode(False),
        torch.no_grad(),
    ):  # a view of an ordinary tensor cannot be an inference tensor
        return tree_map_only(torch.Tensor, outside, func(*args, **kwargs))


def _is_mask(t: torch.Tensor) -> bool:
    return t.dtype == torch.bool


def _attention(q, k, v, attn_mask=None, **_):
    return torch.empty_like(q) if isinstance(q, Fake) else _REAL(q, k, v, attn_mask=attn_mask)


def _guarded() -> None:
    """Where PyTorch was built without CUDA, indexing a tensor that says it is there asks for a guard that does not
    exist; the one of the meta device, which does nothing, takes its place.
    """
    lib = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 20).in_dll(lib, "_ZN3c104impl26device_guard_impl_registryE")
    if guards[_CUDA] is None:
        guards[_CUDA] = guards[_META]


_CUDA, _META = 1, 14  # c10::DeviceType

_REAL = F.scaled_dot_product_attention


class _Event:
    """What was put into a stream before it; a wait for that, not for all that was."""

    def __init__(self, card: FakeCuda) -> None:
        self._card = card

    def record(self, stream: object) -> None:
        """Put it into a stream."""

    def synchronize(self) -> None:
        """Wait."""
        self._card.waits.append("an event")


@contextmanager
def here(card: FakeCuda) -> Iterator[None]:
    """This machine has the card meanwhile."""
    replaced = {
        "device_count": lambda: 1,
        "is_available": lambda: True,
        "mem_get_info": lambda *_: (MEMORY, MEMORY),
        "get_device_name": lambda *_: "fake card",
        "get_device_capability": lambda *_: (9, 0),
        "empty_cache": lambda: None,
        "_lazy_init": lambda: None,
        "synchronize": lambda *_: card.waits.append("synchronize"),
        "current_stream": lambda *_: None,
        "Event": lambda *_: _Event(card),
    }
    _guarded()
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(
        True
    )  # torch.tensor(..., device=) makes a tensor here, and then moves it
    with ExitStack() as stack:
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        for name, value in replaced.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(F, "scaled_dot_product_attention", _attention))
        stack.enter_context(card)
        stack.callback(rotation.cache_clear)  # its tables on the card are of no use elsewhere
        yield
