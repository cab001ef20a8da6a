"""Which models are here, and where their parts lie. It opens headers and configuration, never weights.

A model is named by the catalogue ("nano", "t2v-A14B"), by its hub id, by a folder of any known layout, by an all-in-one
file, or by the files of its parts. Nothing is downloaded here: what is absent is an error that says how to get it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wan22.arch import CLIPArch, DiTArch, UMT5Arch, VAEArch
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
from wan22.errors import CheckpointError, MissingModelError, OptionError
from wan22.weights.configs import FLOW_SHIFT
from wan22.weights.find import Layout, cached_folder, find_layout
from wan22.weights.reader import open_reader, read_json
from wan22.weights.recognise import AudioArch, recognise
from wan22.weights.schedulers import known
from wan22.weights.tree import in_pairs


@dataclass(frozen=True)
class Model:
    """A complete model on disk: its row, and the path of each part ("high" and "low", or "dit"; "vae"; "text"; "audio"
    if audio drives it, "image" if a tower tells it an image). `fast` has the adapters for few steps, by expert, if it
    ships some; `relight` the adapter that fits a person's light to a background, if there is one. `notices` are what
    whoever uses it should know: a default that the folder asked for, or that one network works where two are usual.
    """

    name: str
    variant: Variant
    parts: Mapping[str, Path]
    tokenizer: Path
    fast: Mapping[str, Path] = field(default_factory=dict)
    relight: Path | None = None
    notices: tuple[str, ...] = ()


def cached(variant: Variant) -> Path | None:
    """The folder of a released model in the hub's cache, in the official layout or Diffusers', if one is there."""
    return cached_folder(str(variant.hub)) or cached_folder(f"{variant.hub}-Diffusers")


Parts = Mapping[str, str | os.PathLike[str]]
"""Files or folders by part: "high" and "low" or "dit", "vae", "text", "tokenizer", "audio"."""


def open_model(
    name: str | os.PathLike[str] | None, parts: Parts | None = None, task: str | None = None
) -> Model:
    """Find a complete model by name, folder or all-in-one file; `parts` stand in place of what is found there.

    name: None if the parts are the whole model. task: what is asked of it ("t2v", "i2v", "v2v", "s2v"), which chooses
    among several models in one folder.

    Raises OptionError for a name that is none of these, and CheckpointError if the model is not here or not whole.
    """
    parts = {part: Path(path) for part, path in (parts or {}).items()}
    if name is None:
        return _from_layout(_stem(parts), find_layout(None, parts))
    shown, place = find_model(name)
    model = _from_layout(shown, find_layout(place, parts, task))
    _check_named(model, parts)
    return model


def _check_named(model: Model, parts: Mapping[str, Path]) -> None:
    """The files that are named have the tensors of the model's networks: else it would be said when they are read."""
    from wan22.weights.load import check_reader, meta_module

    for part in parts.keys() & {*model.variant.experts, "vae", "text"}:
        arch = {"vae": model.variant.vae, "text": model.variant.text}.get(part, model.variant.dit)
        with open_reader(parts[part]) as reader:
            check_reader(reader, meta_module(arch))


def _stem(parts: Mapping[str, Path]) -> str:
    """The name of a model that is given by its files: that of its transformer's."""
    path = next((parts[part] for part in ("dit", "high", "low") if part in parts), Path("model"))
    return path.name if path.is_dir() else path.stem


def find_model(name: str | os.PathLike[str]) -> tuple[str, Path]:
    """What a model is called, and the folder or file that holds it. Raises as `open_model`, of what is not there."""
    name = os.fspath(name)
    known = ALIASES.get(name, name)
    if known in (NANO, NANO_SPEECH):
        return known, EMBEDDED if known == NANO else EMBEDDED_SPEECH
    path = Path(name).expanduser()
    if path.is_dir():
        return path.name, path
    if path.is_file():
        return path.stem, path
    if path.is_absolute() or name.count("/") > 1 or name.startswith((".", "~")):
        raise MissingModelError(f"there is no folder {path}")
    try:
        row = released(name)
    except OptionError as error:
        raise OptionError(f"{error}, or the path of a folder") from None
    folder = cached(row)
    if folder is None:
        raise MissingModelError(
            f"{row.name} is not on this machine. `wan22 download {row.name}` gets it (see `wan22 models {row.name}` "
            f"for its size), or give the folder that holds it. The embedded model is {NANO!r}."
        )
    return row.name, folder


def is_catalogued(name: str) -> bool:
    """Whether this is a name of the catalogue, an alias or a hub id in it."""
    if ALIASES.get(name, name) in (NANO, NANO_SPEECH):
        return True
    try:
        released(name)
    except OptionError:
        return False
    return True


def _from_layout(name: str, layout: Layout) -> Model:
    folder = layout.folder
    said = _said(folder / "variant.json")
    layout.require_complete()
    parts = {part: path for part, path in layout.parts.items() if part != "tokenizer"}
    row = said or _row(name, layout, parts)
    needed = [*row.experts, *(["audio"] if row.speech else []), *(["image"] if row.image_encoder else [])]
    missing = [part for part in needed if part not in parts]
    if missing:
        raise CheckpointError(
            f"{folder} is {row.name}, which needs {' and '.join(needed)}; missing: {missing}"
        )
    _check_together(folder, row)
    if row.speech is not None:
        _check_audio(folder, row, parts["audio"])
    row, notices = _as_distilled(row, layout) if said is None else (row, ())
    if said is None and row.experts == ("dit",) and row.hub is None:
        notices += _alone(row, layout)
    shown = row.name if name in (NANO, NANO_SPEECH) else name
    return Model(shown, row, parts, layout.parts["tokenizer"], _fast(folder, row), layout.relighting, notices)


_DISTILLED = ("WanDMDPipeline", "WanImageToVideoDmdPipeline")
"""Pipelines of FastVideo whose networks are asked at three noise levels, without guidance (FastWan)."""

_CAUSAL = ("WanCausalDMDPipeline", "WanCausalPipeline", "CausalWanPipeline")
"""Pipelines of networks that make a video frame by frame, each frame attending to those before it alone."""

_FASTWAN_LEVELS = (1.0, 0.757, 0.522)
# FastVideo's DmdDenoisingStage: timesteps 1000, 757, 522 of a schedule whose timesteps are 1000 sigma. Between them it
# noises x0 anew, which is the solver lcm; it does not walk on from where the sample was.


def _as_distilled(row: Variant, layout: Layout) -> tuple[Variant, tuple[str, ...]]:
    """The row with the defaults that a Diffusers folder asks for, and what to say of it."""
    released_shifts = {row.defaults.shift, *FLOW_SHIFT.values()}
    if layout.pipeline in _CAUSAL:
        raise CheckpointError(
            f"{layout.folder} is a causal model ({layout.pipeline} in its model_index.json), which makes its frames "
            "one after another and is not supported yet; take the model that it was distilled from"
        )
    if layout.pipeline in _DISTILLED:
        shift = layout.shift or row.defaults.shift
        defaults = replace(
            row.defaults,
            steps=len(_FASTWAN_LEVELS),
            guidance=(1.0, 1.0),
            shift=shift,
            sigmas=_FASTWAN_LEVELS,
            solver="lcm",
        )
        levels = ", ".join(f"{level:g}" for level in _FASTWAN_LEVELS)
        return replace(row, defaults=defaults), (
            f"its model_index.json says {layout.pipeline}, a distilled model: by default it is asked {defaults.steps} "
            f"times, at the noise levels {levels}, with guidance 1 and the solver lcm",
        )
    row, notices = _as_scheduled(row, layout)
    if layout.kind == "diffusers" and layout.shift is not None and layout.shift not in released_shifts:
        word = "flow_shift" if "flow_shift" in layout.scheduler else "shift"
        notices += (
            f"its scheduler_config.json says {word} {layout.shift:g}, which is the default now; the release's is "
            f"--shift {row.defaults.shift:g}",
        )
        row = replace(row, defaults=replace(row.defaults, shift=layout.shift))
    return row, notices


def _as_scheduled(row: Variant, layout: Layout) -> tuple[Variant, tuple[str, ...]]:
    """The row with the solver of the scheduler that a Diffusers folder names, and what to say of it."""
    name = layout.scheduler.get("_class_name")
    if not isinstance(name, str):
        return row, ()
    try:
        found = known(name, layout.scheduler)
    except OptionError as error:
        return row, (
            f"its scheduler_config.json is not followed, --solver {row.defaults.solver} is: {error}",
        )
    if found.solver == row.defaults.solver:
        return row, ()
    schedule = "" if found.schedule is None else f" --schedule {found.schedule}"
    return replace(row, defaults=replace(row.defaults, solver=found.solver, schedule=found.schedule)), (
        f"its scheduler_config.json says {name}: by default it is walked by --solver {found.solver}{schedule}; the "
        f"release's is --solver {row.defaults.solver}",
    )


def _alone(row: Variant, layout: Layout) -> tuple[str, ...]:
    """What to say of one network of a kind that is released as a pair of experts."""
    with open_reader(layout.parts["dit"]) as reader:
        identity = recognise(reader, "dit")
    if layout.kind == "all-in-one" or not in_pairs(identity) or identity.task != "i2v":
        return ()
    return (
        f"{layout.parts['dit']} works alone at every noise level. If it is one expert of a pair, name both: "
        "--high FILE --low FILE",
    )


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
    """The transformer works with the encoder of audio that it was trained on."""
    with open_reader(audio) as reader:
        arch = recognise(reader).arch
    if not isinstance(arch, AudioArch):
        raise CheckpointError(f"{folder}: {audio} is no encoder of audio (wav2vec2)")
    if row.dit.speech is None:
        raise CheckpointError(
            f"{folder} is said to be driven by audio, and its transformer takes none (dit.speech)"
        )
    wanted = row.dit.speech.audio_states, row.dit.speech.audio_dim
    if (arch.num_hidden_layers + 1, arch.hidden_size) != wanted:
        raise CheckpointError(
            f"{folder}: the transformer takes {wanted[0]} hidden states of width {wanted[1]}, and {audio} gives "
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
    told, tower = row.dit.animate, row.image_encoder
    if (told is None) != (tower is None) or (
        told and tower and (told.image_dim, told.image_tokens) != (tower.dim, tower.tokens)
    ):
        raise CheckpointError(
            f"{folder}: the transformer reads {told and (told.image_tokens, told.image_dim)} features of an image, and "
            f"its image encoder gives {tower and (tower.tokens, tower.dim)}; take the image encoder of the same release"
        )
    if len(row.experts) == 2 and row.boundary is None:
        raise CheckpointError(
            f"{folder} has two experts and does not say at which noise they change (boundary_ratio in "
            "model_index.json, or boundary in variant.json)"
        )


_KIND = {"high": "dit", "low": "dit"}


def _row(name: str, layout: Layout, parts: Mapping[str, Path]) -> Variant:
    """The catalogue's row for the tensors that are found; sizes that differ from the release's are theirs."""
    folder, boundary = layout.folder, layout.boundary
    arches: dict[str, DiTArch | VAEArch | UMT5Arch | CLIPArch] = {}
    task = None
    for part, path in parts.items():
        with open_reader(path) as reader:
            identity = recognise(reader, _KIND.get(part, part))
        identity.require_supported()
        if identity.part == "dit":
            if "dit" in arches and arches["dit"] != identity.arch:
                raise CheckpointError(
                    f"the experts in {folder} differ in size: {arches['dit']} and {identity.arch}"
                )
            task = identity.task
        if isinstance(identity.arch, DiTArch | VAEArch | UMT5Arch | CLIPArch):
            arches[identity.part] = identity.arch
    two = "dit" not in parts
    rows = [row for row in VARIANTS.values() if row.name.partition("-")[0] == task]
    rows = [row for row in rows if len(row.experts) == 1 + two] or rows
    if not rows:
        raise CheckpointError(
            f"{folder}: no known model has such a transformer. Known: {', '.join(variant_names())}"
        )
    dit, vae, text = arches["dit"], arches["vae"], arches["text"]
    row = next((row for row in rows if row.dit == dit), rows[0])
    image = arches.get("image", row.image_encoder)
    assert isinstance(dit, DiTArch) and isinstance(vae, VAEArch) and isinstance(text, UMT5Arch)
    assert image is None or isinstance(image, CLIPArch)
    if (dit, vae, text, image) == (row.dit, row.vae, row.text, row.image_encoder) and len(
        row.experts
    ) == 1 + two:
        return row if boundary is None else replace(row, boundary=boundary)
    return replace(
        row,
        name=name,
        title=f"a model with the layout of {row.name}",
        dit=dit,
        vae=vae,
        text=text,
        image_encoder=image,
        experts=("high", "low") if two else ("dit",),
        boundary=(boundary or row.boundary) if two else None,
        hub=None,
    )
