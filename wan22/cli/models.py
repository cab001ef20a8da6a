"""`wan22 models` and `wan22 download`: which models there are, which are here, what they need, how to get them."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wan22.catalog import ALIASES, EMBEDDED, Variant, embedded_folders, released, rows
from wan22.cli import options as o
from wan22.cli import report
from wan22.cli.catalogue import count, defaults_in_words, gigabytes, weigh
from wan22.errors import Cancelled, CheckpointError, OptionError, OutputError, choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HUBS = ("huggingface", "modelscope")
AUDIO = "wav2vec2-large-xlsr-53-english"  # the folder of the encoder of audio in the official release
_SPARE = 1 << 30  # a disk that is full to the last byte breaks other programs


@dataclass(frozen=True)
class Place:
    """Where a model is: "embedded", "cache", "folder" or "absent"; whole or not; bytes on disk."""

    kind: str
    path: Path | None = None
    bytes: int = 0
    whole: bool = True


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|PATH", help="Show one model in full.", show_default=False)
    ] = None,
    json: o.Json = False,
) -> None:
    """List the models: what is here and what each needs.

    With NAME or PATH: one model in full, with every default.
    """
    show = report.answer(json)
    if name is not None:
        row, place = _one(name)
        show.result(_facts(row, place) | {"defaults": defaults_in_words(row)}, _in_full(row, place))
        return
    found = {key: (row, locate(row)) for key, row in rows().items()}
    if not json:
        show.result({}, _table(found))
        return
    for row, place in found.values():
        show.result(_facts(row, place), ())


def locate(row: Variant) -> Place:
    """Find a catalogue model on this machine: in the package, or in the hub's cache."""
    if row.name in embedded_folders():
        folder = embedded_folders()[row.name]
        return Place("embedded", folder, _bytes(folder.rglob("*")))
    from wan22.library import cached

    folder = cached(row)
    return _in_folder(folder, "cache") if folder is not None else Place("absent")


def find_row(name: str) -> Variant:
    """A row by catalogue name, hub id, or folder; of a model that need not be here."""
    return _one(name)[0]


def _one(name: str) -> tuple[Variant, Place]:
    """A row and its place by catalogue name, hub id, or folder."""
    name = ALIASES.get(name, name)
    if name in rows():
        return rows()[name], locate(rows()[name])
    path = Path(name).expanduser()
    if path.is_dir():
        from wan22.library import open_model

        return open_model(path).variant, _in_folder(path, "folder")
    row = released(name)
    return row, locate(row)


def _in_folder(folder: Path, kind: str) -> Place:
    from wan22.weights.find import find_layout

    files = [file for file in folder.rglob("*") if "blobs" not in file.parts]
    arriving = any(folder.glob("blobs/*.incomplete"))
    try:
        whole = not arriving and not find_layout(folder).missing
    except CheckpointError:
        whole = False
    return Place(kind, folder, _bytes(files), whole)


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def _facts(row: Variant, place: Place) -> dict[str, Any]:
    """A model as JSON values."""
    return {
        "name": row.name,
        "title": row.title,
        "tasks": list(row.tasks),
        "here": place.kind,
        "whole": place.whole,
        "path": str(place.path) if place.path else None,
        "bytes": place.bytes,
        "needs": asdict(weigh(row, place.path or EMBEDDED)),
        "hub": row.hub,
        "audio_model": row.speech.audio if row.speech else None,
    }


def here_in_words(place: Place) -> str:
    """Say where a model is, in a word or two."""
    if place.kind == "absent":
        return "no"
    return {"embedded": "in the package", "cache": "in the hub cache"}.get(place.kind, "in a folder") + (
        "" if place.whole else ", not whole"
    )


def _table(found: dict[str, tuple[Variant, Place]]) -> Iterator[str]:
    lines = [("MODEL", "HERE", "ON DISK", "PARAMETERS", "MEMORY", "MAKES")]
    for name, (row, place) in found.items():
        need = weigh(row, place.path or EMBEDDED)
        disk = gigabytes(place.bytes) if place.bytes else f"{gigabytes(need.download)} to download"
        memory = f"{gigabytes(need.in_turn)} to {gigabytes(need.together)}"
        lines.append((name, here_in_words(place), disk, count(need.parameters), memory, ", ".join(row.tasks)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
    yield ""
    yield "Memory: roughly, in bfloat16 at the model's own size, with one network at a time to all at once."
    yield "`wan22 plan NAME` counts what a video takes here, or on a card; `wan22 doctor` that of every model."
    yield "`wan22 models NAME` shows every default; `wan22 download NAME` gets a model."


def _in_full(row: Variant, place: Place) -> Iterator[str]:
    need = weigh(row, place.path or EMBEDDED)
    where = f"{here_in_words(place)}: {place.path} ({gigabytes(place.bytes)})" if place.path else "no"
    sizes = ", ".join(f"{w}x{h}" for w, h in row.trained.sizes)
    facts = {
        "name": row.name,
        "title": row.title,
        "makes": ", ".join(row.tasks),
        "here": where,
        "parameters": f"{count(need.parameters)} in {_networks(row)}",
        "memory": f"about {gigabytes(need.in_turn)} (part by part) to {gigabytes(need.together)} (all at once)",
        "trained at": f"{sizes}; {', '.join(map(str, row.trained.frames))} frames",
    }
    if row.boundary is not None:
        facts["experts"] = f"high noise from {row.boundary:g} of the noise range upwards, low noise below"
    if row.speech is not None:
        facts["audio model"] = row.speech.audio or "its own"
    if row.hub:
        facts["download"] = f"{row.hub}, {gigabytes(need.download)}"
    for name, value in facts.items():
        yield f"{name:12} {value}"
    yield from ("", "defaults")
    for name, value in defaults_in_words(row).items():
        yield f"  --{name.replace('_', '-'):10} {value or '(nothing)'}"


def _networks(row: Variant) -> str:
    names = [f"{len(row.experts)} transformer(s)", "VAE", "text encoder"]
    if row.speech is not None:
        names.append("encoder of audio")
    if row.image_encoder is not None:
        names.append("image encoder")
    return f"{', '.join(names[:-1])} and {names[-1]}"


def download(
    name: Annotated[str, typer.Argument(help="A catalogue name or hub id.", show_default=False)],
    source: Annotated[str, typer.Option("--from", metavar="HUB", help="huggingface or modelscope.")] = HUBS[
        0
    ],
    to: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A folder instead of the hub's cache.", show_default=False),
    ] = None,
    json: o.Json = False,
) -> None:
    """Download a model into the hub's cache.

    Free disk is checked first; an interrupted download goes on where it stopped.
    """
    choose("hub", source, HUBS)
    if (known := ALIASES.get(name, name)) in embedded_folders():
        raise OptionError(f"{known} is embedded in this package; there is nothing to download")
    row = released(name)
    target = _target(row, source, to)
    _check_room(row, target)
    fetch = _from_huggingface if source == "huggingface" else _from_modelscope
    show = report.answer(json)  # the hub's own bars are the progress at a terminal
    if json:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        show.note(f"downloading {row.hub}, {gigabytes(weigh(row).download)}")
    try:
        path = fetch(row, to)
    except KeyboardInterrupt:
        raise Cancelled("cancelled; the same command goes on where it stopped") from None
    show.result({"path": str(path), "name": row.name, "hub": row.hub}, (str(path),))


def needed_files(row: Variant) -> list[str]:
    """The patterns of the files of a release that are read; the rest (images, notes) stays on the hub."""
    transformers = (
        ["high_noise_model/*", "low_noise_model/*"]
        if len(row.experts) == 2
        else ["config.json", "diffusion_pytorch_model*"]
    )
    audio = [f"{AUDIO}/*.json", f"{AUDIO}/model.safetensors"] if row.speech is not None else []
    animate = ["models_clip_*.pth", "relighting_lora.ckpt"] if row.animate is not None else []
    text = ["models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/*"]
    return [*transformers, "Wan2.?_VAE.pth", *text, *audio, *animate]


def _target(row: Variant, source: str, to: str | None) -> Path:
    if to is not None:
        return Path(to).expanduser()
    if source == "modelscope":
        return Path.home() / ".cache" / "modelscope"
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{str(row.hub).replace('/', '--')}"


def _check_room(row: Variant, target: Path) -> None:
    """Raise OutputError if what is still to come does not fit on the disk of `target`."""
    there = next(folder for folder in (target, *target.absolute().parents) if folder.exists())
    have = _bytes(file for file in target.rglob("*") if not file.is_symlink()) if target.exists() else 0
    left = max(weigh(row).download - have, 0)
    free = shutil.disk_usage(there).free
    if left + _SPARE > free:
        raise OutputError(
            f"{row.name} needs {gigabytes(left + _SPARE)} more on the disk of {there}, and {gigabytes(free)} are free. "
            "Free some space, or name a folder on another disk with --to DIR"
        )


def _from_huggingface(row: Variant, to: str | None) -> str:
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(str(row.hub), allow_patterns=needed_files(row), local_dir=to)
    except (OSError, ValueError) as error:  # the hub's errors are OSErrors
        reason = str(error).splitlines()[0].rstrip(". ")
        raise CheckpointError(
            f"{row.hub} could not be downloaded: {reason}. What has arrived is kept; try again, or --from modelscope"
        ) from error


def _from_modelscope(row: Variant, to: str | None) -> str:
    try:
        from modelscope import snapshot_download
    except ImportError:
        raise OptionError("--from modelscope needs the package modelscope: pip install modelscope") from None
    try:
        return snapshot_download(str(row.hub), allow_patterns=needed_files(row), local_dir=to)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{row.hub} could not be downloaded from ModelScope: {error}. What has arrived is kept; try again"
        ) from error
