"""Whether a run compiles the blocks of its networks (torch.compile), and what must be so that it pays.

Every shape of a batch is compiled once, in up to a minute; all blocks of both experts use what was made for the first.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from wan22.errors import OptionError
from wan22.models.dit import WanDiT
from wan22.train.losses import Batch

MANY = 300
"""Steps with batches of one shape from which on compiling is worth its time."""

MOST = 24
"""Shapes of batches that are compiled at most: PyTorch keeps 64 programs of a function, and a shape is one or two."""


@dataclass(frozen=True)
class Compiling:
    """Whether blocks are compiled, and why."""

    on: bool
    why: str

    def __str__(self) -> str:
        return f"{'yes' if self.on else 'no'}: {self.why}"


def decide(asked: bool | str, *, steps: int, shapes: int, device: torch.device) -> Compiling:
    """Whether a run of so many steps, of all experts together, compiles: `asked` is true, false or "auto".

    Raises OptionError if it is asked for and cannot be.
    """
    lacking = _lacking(device)
    if asked is True and lacking:
        raise OptionError(f'memory.compile = true cannot be: {lacking}; take "auto" or false')
    if asked is False:
        return Compiling(False, "memory.compile = false")
    if asked is True:
        return Compiling(True, f"{_count(shapes)} of batches, each when it first comes")
    if device.type != "cpu":
        return Compiling(
            False, f"what it wins is known of CPUs; memory.compile = true compiles on {device.type} too"
        )
    if steps <= MANY * shapes:
        return Compiling(False, f"{steps} steps are too few for {_count(shapes)} of batches")
    if shapes > MOST:
        return Compiling(
            False, f"{_count(shapes)} of batches are too many; fewer sizes or lengths are faster"
        )
    if lacking:
        return Compiling(False, lacking)
    return Compiling(True, f"{_count(shapes)} of batches, each when it first comes, for up to a minute")


def _count(shapes: int) -> str:
    return "1 shape" if shapes == 1 else f"{shapes} shapes"


def _lacking(device: torch.device) -> str:
    """What compiling needs and is not here; nothing if all is."""
    if device.type not in ("cpu", "cuda"):
        return f"blocks are not compiled on {device.type}"
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual)
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler}"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "there is no Python.h (install python3-dev)"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    return ""


def padded(batch: Batch, text_len: int) -> Batch:
    """The same batch with texts of one length, so that they give every batch the same shape.

    Rows of zeros are what padding is; here they are written out (see WanDiT.read_text, which has one for all of them).
    """
    return replace(batch, texts=[F.pad(text, (0, 0, 0, text_len - len(text))) for text in batch.texts])


def uncompiled(network: WanDiT) -> AbstractContextManager[object]:
    """Run compiled blocks as they are written meanwhile: videos of other shapes need not be compiled for a few
    steps.
    """
    compiled = any(block._compiled_call_impl is not None for block in network.blocks)
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


@contextmanager
def explained() -> Generator[None]:
    """Turn what goes wrong in a compiler into an OptionError that says what to change."""
    try:
        yield
    except Exception as error:
        from torch._dynamo.exc import TorchDynamoException

        if not isinstance(error, TorchDynamoException):
            raise
        line = str(error).strip().splitlines()[0]
        raise OptionError(
            f"the blocks cannot be compiled on this machine ({line}); take memory.compile = false"
        ) from error


def compile_blocks(dit: WanDiT) -> None:
    """Compile each block, with one graph for each shape of a batch."""
    setattr(torch._dynamo.config, "recompile_limit", 64)  # noqa: B010 - typed as the constant 8
    for block in dit.blocks:
        block.compile(dynamic=False)
