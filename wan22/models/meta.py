"""Networks without memory: names and shapes of every tensor, to be filled, compared or counted."""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from wan22.arch import CLIPArch, DiTArch, UMT5Arch, VAEArch
from wan22.ops.attention import Attention, attend


class _Unfilled(TorchFunctionMode):
    """Leaves out what modules fill their tensors with at first: it is nothing on the meta device, and PyTorch would
    load its compiler for it, which takes seconds.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


_FILLS = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_"}


def meta_module(arch: DiTArch | VAEArch | UMT5Arch | CLIPArch, attention: Attention = attend) -> nn.Module:
    """The network of these sizes on the meta device: names and shapes, no memory. `attention` is a transformer's."""
    from wan22.models.animate import AnimateDiT
    from wan22.models.clip import CLIPVision
    from wan22.models.dit import WanDiT
    from wan22.models.speech import SpeechDiT
    from wan22.models.umt5 import UMT5Encoder
    from wan22.models.vae import WanVAE

    with torch.device("meta"), _Unfilled():
        if isinstance(arch, DiTArch):
            if arch.animate is not None:
                return AnimateDiT(arch, attention)
            return (WanDiT if arch.speech is None else SpeechDiT)(arch, attention)
        if isinstance(arch, CLIPArch):
            return CLIPVision(arch)
        return WanVAE(arch) if isinstance(arch, VAEArch) else UMT5Encoder(arch)
