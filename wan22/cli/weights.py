"""`wan22 inspect`, `wan22 convert`, `wan22 verify`: what a weight file is, in other clothes, whether it is whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.catalogue import count, gigabytes
from wan22.clock import StepCounter, WorkProgress
from wan22.errors import OptionError, choose

PathArgument = Annotated[
    str,
    typer.Argument(
        metavar="PATH|NAME", help="A weight file, a folder, or a catalogue name.", show_default=False
    ),
]


def inspect(path: PathArgument, json: o.Json = False) -> None:
    """Say what a weight file or folder is.

    Part, task, variant, dialect, sizes; from headers alone, so it is quick.
    """
    from wan22.weights.inspect import describe

    found = describe(_place(path))
    report.answer(json).result(found, _model(found) if "parts" in found else _network(found))


def _place(name: str) -> Path:
    """The path that was given, or where the model of the catalogue with this name lies."""
    path = Path(name).expanduser()
    if path.exists() or path.is_symlink():
        return path
    from wan22.library import find_model, is_catalogued

    return find_model(name)[1] if is_catalogued(name) else path


def _model(found: dict[str, Any]) -> Iterator[str]:
    """What `describe` says of a folder, as lines."""
    yield f"{found['path']}: a model in the layout {found['layout']!r}, {gigabytes(found['bytes'])}"
    for name in ("boundary", "shift", "missing"):
        if found[name]:
            yield f"{name}: {found[name]}"
    for name, part in found["parts"].items():
        yield from ("", name, *_network(part))


def _network(found: dict[str, Any]) -> Iterator[str]:
    """What `describe` says of one network, as lines."""
    facts = {name: found.get(name) for name in ("path", "part", "task", "variant", "dialect", "quantised")}
    if "parameters" in found:
        dtypes = ", ".join(f"{number} {dtype}" for dtype, number in found["dtypes"].items())
        facts |= {
            "parameters": f"{found['parameters']:,} ({count(found['parameters'])})",
            "tensors": f"{found['tensors']} ({dtypes})",
            "on disk": f"{gigabytes(found['bytes'])} in {len(found['files'])} file(s)",
            "hash": found["hash"],
            "problem": found["problem"],
        }
    for name, value in facts.items():
        if value is not None:
            yield f"  {name:11} {value}"
    for adapter in found.get("lora") or []:
        yield from _adapter(adapter)
    for name, value in _flat(found.get("arch") or {}):
        if name not in ("mean", "std"):
            yield f"    {name:29} {value}"


def _adapter(lora: dict[str, Any]) -> Iterator[str]:
    """What `describe` says of a LoRA, for one expert, as lines."""
    expert = f"{lora['expert']}-noise ({lora['said_by']})" if lora["expert"] else "not said"
    ranks = ", ".join(f"{number} of rank {rank}" for rank, number in lora["ranks"].items())
    changes = ", ".join(f"{kind} {number}x" for kind, number in lora["changes"].items())
    yield f"  {'expert':11} {expert}"
    yield f"  {'pairs':11} {lora['pairs']}{f' ({ranks})' if ranks else ''}"
    if lora["differences"]:
        yield f"  {'differences':11} {lora['differences']}"
    yield f"  {'changes':11} {changes}"
    yield f"  {'fits':11} {', '.join(lora['fits']) or 'no model of the catalogue'}"


def _flat(arch: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Sizes, those of a part of the network by its own name ("speech.audio_dim"); without what it has not."""
    for name, value in arch.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", size) for inner, size in value.items())
        elif value is not None:
            yield name, value


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A file or folder.", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="DST", help="A new file or folder.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="DIALECT",
            help="official, diffusers or comfy; of a LoRA diffusers, comfy, kohya or lightx2v.",
            show_default=False,
        ),
    ],
    dtype: Annotated[
        str | None,
        typer.Option(metavar="T", help="float32, bfloat16, float16. [default: as it is]", show_default=False),
    ] = None,
    json: o.Json = False,
) -> None:
    """Convert weights between three dialects, and LoRAs between four.

    Weights: those of the official release, of Diffusers, and of ComfyUI. LoRAs: those of Diffusers (and PEFT), ComfyUI,
    kohya (and musubi), and LightX2V, one file or a pair.
    """
    from wan22.weights.convert import TARGETS
    from wan22.weights.convert import convert as convert_weights
    from wan22.weights.lora.file import holds_lora
    from wan22.weights.lora.write import TARGETS as LORA_TARGETS
    from wan22.weights.lora.write import convert_lora

    choose("dialect", to, tuple(dict.fromkeys(TARGETS + LORA_TARGETS)))
    with report.choose(json) as show:
        if not holds_lora(source):
            progress = _Bytes("converted", show.log)
            made = convert_weights(source, target, to, dtype=_dtype(dtype), progress=progress)
        elif dtype is not None:
            raise OptionError("--dtype is of whole networks; the matrices of a LoRA keep theirs")
        else:
            made = convert_lora(source, target, to)
        show.result({"path": str(made)}, (str(made),))


def verify(
    path: PathArgument,
    hashes: Annotated[
        bool, typer.Option("--hashes/--no-hashes", help="Read the files and compare SHA-256.")
    ] = True,
    json: o.Json = False,
) -> None:
    """Check that weights are whole and right.

    Shards, headers, lengths, and hashes where they are known. Exit code 1 if something is wrong.
    """
    from wan22.weights.verify import verify as verify_weights

    with report.choose(json) as show:
        found = verify_weights(_place(path), hashes=hashes, progress=_Bytes("read", show.log))
        lines = [
            f"{'wrong' if file.problem else 'good':6} hash {file.hash:8} {gigabytes(file.nbytes):>9}  {file.path}"
            for file in found.files
        ]
        show.result(asdict(found) | {"ok": found.ok}, lines)
    if not json:
        for problem in found.problems:
            print(f"error: {problem}", file=sys.stderr)
    if not found.ok:
        raise typer.Exit(1)


def _dtype(name: str | None) -> Any:
    if name is None:
        return None
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return known[choose("dtype", name, tuple(known))]


class _Bytes:
    """A progress callback (bytes done, bytes in all) that says how far the work is and how long the rest takes."""

    def __init__(self, what: str, log: Callable[[WorkProgress], None]) -> None:
        self._what, self._log = what, log
        self._counter: StepCounter | None = None
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        self._counter = self._counter or StepCounter(total, self._what, self._log, shown=gigabytes)
        self._counter.step(done - self._done)
        self._done = done
