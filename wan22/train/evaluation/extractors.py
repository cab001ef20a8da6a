"""Feature extractors that people bring: a function of Python, a TorchScript file or an ONNX file.

    fvd = "i3d:features"                                    a function: uint8 (T, H, W, 3) to (T, d), (T,) or (d,)
    fvd = { extractor = "i3d.pt", layout = "1 c t h w", scale = "0..255", arguments = { return_features = true } }

A file is given a tensor: `layout` says the order of its axes, as einops writes it, and `scale` its values. Which
numbers come out is the extractor's; this project ships none, since their weights are other people's.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wan22.errors import MediaError, OptionError, choose

KINDS = ("fid", "fvd", "identity", "sync")
SCALES = ("uint8", "0..255", "0..1", "-1..1")
_KEYS = ("extractor", "layout", "scale", "arguments")


@dataclass(frozen=True)
class Extractor:
    """Frames to features: `kind` of score it serves, where it was found, and the call itself."""

    kind: str
    source: str
    call: Callable[[np.ndarray], Any] = field(repr=False)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features of uint8 (T, H, W, 3), as the kind needs them: fid and identity float64 (T, d), fvd (d,), sync (T,).

        Raises MediaError, naming the shape, if the extractor gives others, or numbers that are not finite.
        """
        found = self.call(frames)
        given = np.asarray(found.detach().cpu() if hasattr(found, "detach") else found, np.float64)
        result, rule = _shaped(given, self.kind, len(frames))
        if result is None:
            raise MediaError(
                f"{self.kind} extractor {self.source} gave {given.shape} for {len(frames)} frames: {rule}"
            )
        if not np.isfinite(result).all():
            raise MediaError(f"{self.kind} extractor {self.source} gave numbers that are not finite")
        return result


def _shaped(given: np.ndarray, kind: str, frames: int) -> tuple[np.ndarray | None, str]:
    if kind == "fvd":
        flat = given.reshape(-1) if given.ndim <= 1 or given.shape[0] == 1 else None
        return flat, "one vector (d,) or (1, d) for the clip is needed"
    if kind == "sync":
        flat = given.reshape(-1) if given.size == frames else None
        return flat, "one number for each frame is needed"
    rows = given.reshape(frames, -1) if given.ndim >= 2 and given.shape[0] == frames else None
    return rows, "one vector for each frame, (T, d), is needed"


def open_extractor(kind: str, said: str | Mapping[str, Any], folder: Path) -> Extractor:
    """Open what a recipe names; files and modules are looked for in `folder` first.

    Raises OptionError for unknown keys and for a module, function or file that is not there or does not open.
    """
    table = {"extractor": said} if isinstance(said, str) else dict(said)
    for key in table:
        choose(f"key of extractor {kind}", key, _KEYS)
    source = table.get("extractor")
    if not isinstance(source, str) or not source:
        raise OptionError(
            f"extractor {kind} needs extractor = 'module:function' or a .pt or .onnx file, not {source!r}"
        )
    if Path(source).suffix.lower() in (".pt", ".pth", ".ts", ".torchscript", ".onnx"):
        return Extractor(kind, source, _file(source, folder, table))
    if len(table) > 1:
        raise OptionError(
            f"extractor {kind}: layout, scale and arguments are for files; {source} is a function"
        )
    return Extractor(kind, source, _function(kind, source, folder))


def _function(kind: str, source: str, folder: Path) -> Callable[[np.ndarray], Any]:
    module, colon, name = source.partition(":")
    if not (module and colon and name):
        raise OptionError(
            f"extractor {kind} must be 'module:function', or a file that ends in .pt or .onnx, not {source!r}"
        )
    sys.path.insert(0, str(folder))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise OptionError(f"extractor {kind}: {module!r} cannot be imported: {error}") from error
    finally:
        sys.path.remove(str(folder))
    if not callable(found):
        raise OptionError(f"extractor {kind}: {module!r} has no function {name!r}")
    return found


def _file(source: str, folder: Path, table: Mapping[str, Any]) -> Callable[[np.ndarray], Any]:
    path = Path(source).expanduser()
    path = path if path.is_absolute() else folder / path
    if not path.is_file():
        raise OptionError(
            f"there is no extractor {path}; give the file's path, relative to the recipe or whole"
        )
    layout = str(table.get("layout", "t h w c"))
    if sorted(set(layout.split()) - {"1"}) != ["c", "h", "t", "w"]:
        raise OptionError(
            f"layout must name t, h, w and c once, and 1 for a batch, as in '1 c t h w'; not {layout!r}"
        )
    scale = choose("scale", str(table.get("scale", "uint8")), SCALES)
    arguments = table.get("arguments", {})
    run = _onnx(path, arguments) if path.suffix.lower() == ".onnx" else _torchscript(path, arguments)
    return lambda frames: run(_prepared(frames, layout, scale))


def _prepared(frames: np.ndarray, layout: str, scale: str) -> np.ndarray:
    from einops import rearrange

    moved = np.ascontiguousarray(rearrange(frames, f"t h w c -> {layout}"))
    if scale == "uint8":
        return moved
    values = moved.astype(np.float32)
    return values if scale == "0..255" else values / 255 if scale == "0..1" else values / 127.5 - 1


def _torchscript(path: Path, arguments: Mapping[str, Any]) -> Callable[[np.ndarray], Any]:
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the published extractors are TorchScript
        try:
            network = torch.jit.load(str(path), map_location="cpu").eval()
        except RuntimeError as error:
            raise OptionError(f"{path} is not a TorchScript file: {str(error).splitlines()[0]}") from error

    def run(x: np.ndarray) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(x), **arguments)

    return run


def _onnx(path: Path, arguments: Mapping[str, Any]) -> Callable[[np.ndarray], Any]:
    try:
        import onnxruntime
    except ImportError as error:
        raise OptionError(f"{path.name} needs onnxruntime: pip install onnxruntime") from error
    if arguments:
        raise OptionError(f"{path.name} is ONNX, which takes no arguments; leave them out")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]
