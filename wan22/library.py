"""Which models are here, and where their parts lie. It opens headers and configuration, never weights.

A model is named by the catalogue ("nano", "t2v-A14B"), by its hub id, or by a folder of any known layout. Nothing is
downloaded here: what is absent is an error that says how to get it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.catalog import (
    ALIASES,
    EMBEDDED,
    EMBEDDED_SPEECH,
    NANO,
    NANO_SPEECH,
    VARIANTS,
    Variant,
    from_json,
    released,
    variant_names,
)
from wan22.errors import CheckpointError, OptionError
from wan22.weights.find import cached_folder, find_layout
from wan22.weights.reader import open_reader, read_json
from wan22.weights.recognise import AudioArch, recognise


@dataclass(frozen=True)
class Model:
    """A complete model on disk: its row, and the path of each part ("high" and "low", or "dit"; "vae"; "text"; and
    "audio" if audio drives it). `fast` has the adapters for few steps, by expert, if it ships some.
    """

    name: str
    variant: Variant
    parts: Mapping[str, Path]
    tokenizer: Path
    fast: Mapping[str, Path] = field(default_factory=dict)


def cached(variant: Variant) -> Path | None:
    """The folder of a released model in the hub's cache, in the official layout or Diffusers', if one is there."""
    return cached_folder(str(variant.hub)) or cached_folder(f"{variant.hub}-Diffusers")


def open_model(name: str | os.PathLike[str]) -> Model:
    """Find a complete model by name or folder.

    Raises OptionError for a name that is neither, and CheckpointError if the model is not here or not whole.
    """
    return _from_folder(*find_model(name))


def find_model(name: str | os.PathLike[str]) -> tuple[str, Path]:
    """What a model is called, and the folder that holds it. Raises as `open_model`, of what is not there."""
    name = os.fspath(name)
    known = ALIASES.get(name, name)
    if known in (NANO, NANO_SPEECH):
        return known, EMBEDDED if known == NANO else EMBEDDED_SPEECH
    path = Path(name).expanduser()
    if path.is_dir():
        return path.name, path
    if path.is_file():
        raise CheckpointError(
            f"{path} is one file; a model is a folder with its experts, VAE, text encoder and tokenizer"
        )
    if path.is_absolute() or name.count("/") > 1 or name.startswith((".", "~")):
        raise CheckpointError(f"there is no folder {path}")
    try:
        row = released(name)
    except OptionError as error:
        raise OptionError(f"{error}, or the path of a folder") from None
    folder = cached(row)
    if folder is None:
        raise CheckpointError(
            f"{row.name} is not on this machine. `wan22 download {row.name}` gets it (see `wan22 models {row.name}` "
            f"for its size), or give the folder that holds it. The embedded model is {NANO!r}."
        )
    return row.name, folder


def _from_folder(name: str, folder: Path) -> Model:
    layout = find_layout(folder)
    said = _said(layout.folder / "variant.json")
    layout.require_complete()
    parts = {part: path for part, path in layout.parts.items() if part != "tokenizer"}
    row = said or _row(name, folder, parts, layout.boundary)
    needed = row.experts if row.speech is None else (*row.experts, "audio")
    missing = [part for part in needed if part not in parts]
    if missing:
        raise CheckpointError(
            f"{folder} is {row.name}, which needs {' and '.join(needed)}; missing: {missing}"
        )
    _check_together(folder, row)
    if row.speech is not None:
        _check_audio(folder, row, parts["audio"])
    shown = row.name if name in (NANO, NANO_SPEECH) else name
    return Model(shown, row, parts, layout.parts["tokenizer"], _fast(layout.folder, row))


def _fast(folder: Path, row: Variant) -> dict[str, Path]:
    """The adapters for few steps that a folder of our own says it has."""
    files = {} if row.fast is None else {expert: folder / file for expert, file in row.fast.loras.items()}
    for file in files.values():
        if not file.is_file():
            raise CheckpointError(
                f"{folder / 'variant.json'} says that its adapters for few steps are {file.name}, and there is none; "
                "take the whole model, or its row without `fast`"
            )
    return files


def _said(file: Path) -> Variant | None:
    """The row that a folder of our own says it is, if it does."""
    if not file.is_file():
        return None
    values = read_json(file)
    values.pop("parts", None)  # where shared parts lie: find_layout has read it
    return from_json(values)


def _check_audio(folder: Path, row: Variant, audio: Path) -> None:
    """The transformer hears with the encoder of audio that it was trained on."""
    with open_reader(audio) as reader:
        arch = recognise(reader).arch
    if not isinstance(arch, AudioArch):
        raise CheckpointError(f"{folder}: {audio} is no encoder of audio (wav2vec2)")
    if row.dit.speech is None:
        raise CheckpointError(
            f"{folder} is said to be driven by audio, and its transformer hears none (dit.speech)"
        )
    wanted = row.dit.speech.audio_states, row.dit.speech.audio_dim
    if (arch.num_hidden_layers + 1, arch.hidden_size) != wanted:
        raise CheckpointError(
            f"{folder}: the transformer hears {wanted[0]} hidden states of width {wanted[1]}, and {audio} gives "
            f"{arch.num_hidden_layers + 1} of width {arch.hidden_size}; take the encoder of audio of the same release"
        )


def _check_together(folder: Path, row: Variant) -> None:
    """Networks that are whole by themselves may still not be of one model."""
    if row.dit.out_channels != row.vae.z:
        raise CheckpointError(
            f"{folder}: the transformer draws {row.dit.out_channels} channels and the VAE has {row.vae.z}; "
            "A14B models take the Wan2.1 VAE (16), TI2V-5B the Wan2.2 VAE (48)"
        )
    if row.dit.text_dim != row.text.dim:
        raise CheckpointError(
            f"{folder}: the transformer reads text of width {row.dit.text_dim}, and the text encoder gives "
            f"{row.text.dim}; take the text encoder of the same release"
        )
    if len(row.experts) == 2 and row.boundary is None:
        raise CheckpointError(
            f"{folder} has two experts and does not say at which noise they change (boundary_ratio in "
            "model_index.json, or boundary in variant.json)"
        )


def _row(name: str, folder: Path, parts: Mapping[str, Path], boundary: float | None) -> Variant:
    """The catalogue's row for the tensors that are found; sizes that differ from the release's are theirs."""
    arches: dict[str, DiTArch | VAEArch | UMT5Arch] = {}
    task = None
    for path in parts.values():
        with open_reader(path) as reader:
            identity = recognise(reader)
        identity.require_supported()
        if identity.part == "dit":
            if "dit" in arches and arches["dit"] != identity.arch:
                raise CheckpointError(
                    f"the experts in {folder} differ in size: {arches['dit']} and {identity.arch}"
                )
            task = identity.task
        if not isinstance(identity.arch, AudioArch):
            arches[identity.part] = identity.arch
    two = "dit" not in parts
    rows = [row for row in VARIANTS.values() if row.name.partition("-")[0] == task]
    if not rows:
        raise CheckpointError(
            f"{folder}: no known model has such a transformer. Known: {', '.join(variant_names())}"
        )
    row = rows[0]
    dit, vae, text = arches["dit"], arches["vae"], arches["text"]
    assert isinstance(dit, DiTArch) and isinstance(vae, VAEArch) and isinstance(text, UMT5Arch)
    if (dit, vae, text) == (row.dit, row.vae, row.text) and len(row.experts) == 1 + two:
        return row if boundary is None else replace(row, boundary=boundary)
    return replace(
        row,
        name=name,
        title=f"a model with the layout of {row.name}",
        dit=dit,
        vae=vae,
        text=text,
        experts=("high", "low") if two else ("dit",),
        boundary=(boundary or row.boundary) if two else None,
        hub=None,
    )
