"""Find the parts of a model: in a folder of any layout, in an all-in-one file, or by the files that are named.

Known layouts: an official release, a Diffusers folder, a ComfyUI `models` tree or any folder of single files
(recognised from their tensors, `tree.py`), and the hub's cache folder of either. A small model of ours may share parts
with another one: the `variant.json` in its folder says where they are. It opens headers, never data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wan22.arch import DiTArch, UMT5Arch
from wan22.errors import CheckpointError, choose
from wan22.files import read_text
from wan22.weights import tree
from wan22.weights.native import Native
from wan22.weights.reader import SUFFIXES, open_reader, read_json
from wan22.weights.recognise import is_animate_dit, is_speech_model, open_native, recognise
from wan22.weights.schedulers import CLASSES
from wan22.weights.tokenizer import holds_tokenizer

PARTS = ("high", "low", "dit", "vae", "text", "tokenizer", "audio", "image")
"""What can be named by file: the two experts or the one transformer, and what belongs to them."""

_OFFICIAL_TOKENIZER = Path("google/umt5-xxl")
_OFFICIAL_WEIGHTS = "diffusion_pytorch_model*.safetensors"
AUDIO_HUB = "jonatasgrosman/wav2vec2-large-xlsr-53-english"
"""The hub id of the released encoder of audio."""

TOKENIZER_HUB = "google/umt5-xxl"
"""The hub id where the tokenizer of the releases comes from."""

_RELEASED_VOCABULARY = 256384
OFFICIAL_AUDIO = Path("wav2vec2-large-xlsr-53-english")
DIFFUSERS_AUDIO = Path("audio_encoder")
OFFICIAL_IMAGE = Path("models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth")
DIFFUSERS_IMAGE = Path("image_encoder")
_NEEDED = {
    "dit": "the transformer (high_noise_model/ and low_noise_model/, transformer/ or diffusion_models/; by name "
    "--dit FILE, or --high FILE --low FILE)",
    "high": "the high-noise expert (high_noise_model/, transformer/ or a file with 'high' in its name; by name "
    "--high FILE)",
    "low": "the low-noise expert (low_noise_model/, transformer_2/ or a file with 'low' in its name; by name "
    "--low FILE)",
    "vae": "the VAE (Wan2.1_VAE.pth, Wan2.2_VAE.pth, vae/; by name --vae FILE)",
    "text": "the text encoder (models_t5_umt5-xxl-enc-bf16.pth, text_encoder/, text_encoders/; by name --text FILE)",
    "tokenizer": "the tokenizer (google/umt5-xxl/, tokenizer/, or a text encoder's file that carries it; by name "
    f"--tokenizer FILE; `hf download {TOKENIZER_HUB} tokenizer.json` gets it into the hub's cache, where it is found "
    "too)",
    "audio": f"the encoder of audio ({OFFICIAL_AUDIO}/ with its config.json, {DIFFUSERS_AUDIO}/, or a file in "
    f"audio_encoders/; `hf download {AUDIO_HUB}` gets it into the hub's cache, where it is found too)",
    "image": f"the encoder of images ({OFFICIAL_IMAGE}, {DIFFUSERS_IMAGE}/, or clip_vision_h.safetensors in "
    "clip_vision/; by name in Python, parts={'image': FILE})",
}


@dataclass(frozen=True)
class Layout:
    """The parts of a model: "high" and "low", or "dit"; "vae"; "text"; "tokenizer"; "audio" if audio drives it; "image"
    if it is one of animation.

    `kind` is "official", "diffusers", "files" or "all-in-one". `boundary` (the share of noise at which the experts
    change), `shift`, `pipeline` (Diffusers' class) and `scheduler` (its
    configuration) are given if the folder says them. `unread` says of each weight
    file that is no part why it is none. `is_speech_model` says whether audio drives the transformer: then an encoder of
    audio belongs to it; `is_animate_model`, whether poses and a face do: then an encoder of images does, and
    `relighting` is the LoRA for characters that are put into another video, if it is there.
    """

    kind: str
    folder: Path
    parts: Mapping[str, Path]
    boundary: float | None = None
    shift: float | None = None
    unread: tuple[str, ...] = ()
    is_speech_model: bool = False
    is_animate_model: bool = False
    relighting: Path | None = None
    pipeline: str | None = None
    scheduler: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """The parts that a complete model would have and this one has not."""
        dits = [] if "dit" in self.parts else ["high", "low"]
        dits = dits if set(dits) & set(self.parts) or not dits else ["dit"]
        needed = (*dits, "vae", "text", "tokenizer", *(("audio",) if self.is_speech_model else ()))
        needed = (*needed, *(("image",) if self.is_animate_model else ()))
        return [part for part in needed if part not in self.parts]

    def require_complete(self) -> None:
        """Raise CheckpointError that lists what is missing."""
        if self.missing:
            lacks = "; ".join(_NEEDED[part] for part in self.missing)
            unread = f" Not read: {'; '.join(self.unread[:3])}" if self.unread else ""
            raise CheckpointError(f"{self.folder} is not a complete model. Missing: {lacks}.{unread}")


def find_parts(folder: str | Path) -> dict[str, Path]:
    """The files or folders of a complete model, by part. CheckpointError lists what is missing."""
    layout = find_layout(folder)
    layout.require_complete()
    return dict(layout.parts)


def find_layout(
    place: str | Path | None, parts: Mapping[str, str | Path] | None = None, task: str | None = None
) -> Layout:
    """Find what is in a folder or an all-in-one file, complete or not; without a place, only what is named.

    parts: files or folders that are named, by part (`PARTS`); they stand in place of what is found. task: what is asked
    for ("t2v", "i2v", "v2v", "s2v"), which chooses among several models in one folder.

    Raises CheckpointError if it is no such place or ambiguous, OptionError for a part that is not known.
    """
    named = _named(parts or {})
    if place is None:
        return _completed(Layout("files", _folder_of(named), named))
    place = Path(place).expanduser()
    if place.is_file():
        return _file(place, named)
    if not place.is_dir():
        raise CheckpointError(f"there is no folder {place}. Check the path, or `wan22 download` a model.")
    folder = snapshot(place)
    if (folder / "model_index.json").is_file():
        return _completed(_with(_diffusers(folder), named))
    if (folder / "high_noise_model").is_dir() or (folder / "low_noise_model").is_dir():
        experts = {"high": folder / "high_noise_model", "low": folder / "low_noise_model"}
        return _completed(_with(_official(folder, experts, named), named))
    if any(folder.glob(_OFFICIAL_WEIGHTS)):
        return _completed(_with(_official(folder, {"dit": _official_weights(folder)}, named), named))
    return _files(folder, named, task)


def broken_links(folder: Path) -> list[Path]:
    """Links to nothing in a folder of one model, such as a hub's cache that lost blobs."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() and not path.exists())


def require_links(folder: Path) -> None:
    """Raise CheckpointError if a file of a model's own folder is a link to nothing."""
    if broken := broken_links(folder):
        raise CheckpointError(
            f"{broken[0]} is a link to nothing ({broken[0].readlink()}){_and_more(broken)}: the cache has lost what it "
            "points to. Download it again."
        )


def _and_more(paths: list[Path]) -> str:
    return f", and so are {len(paths) - 1} more" if len(paths) > 1 else ""


def cached_folder(hub: str) -> Path | None:
    """The folder of a repository in the hub's cache, if any of it is there."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"
    return folder if (folder / "snapshots").is_dir() and any((folder / "snapshots").iterdir()) else None


def snapshot(folder: Path) -> Path:
    """The current snapshot, if this is a model's folder in the hub's cache; else the folder itself."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    named = [_current(snapshots, main)] if main.is_file() else sorted(snapshots.iterdir())
    if len(named) != 1 or not named[0].is_dir():
        raise CheckpointError(
            f"{folder} has {len(named)} snapshots: name one of {snapshots}/*, or download again."
        )
    return named[0]


def _current(snapshots: Path, main: Path) -> Path:
    """The snapshot that refs/main names; it is a folder of its own there and nowhere else."""
    name = read_text(main, CheckpointError, limit=1000).strip()
    if Path(name).name != name:
        raise CheckpointError(f"{main} names {name!r}, which is no snapshot. Download the model again.")
    return snapshots / name


def _named(parts: Mapping[str, str | Path]) -> dict[str, Path]:
    """The parts that are named, each of which exists."""
    named = {choose("part", part, PARTS): Path(path).expanduser() for part, path in parts.items()}
    if "dit" in named and named.keys() & {"high", "low"}:
        raise CheckpointError(
            "a model has one transformer (dit) or two experts (high and low): name either, not both"
        )
    for part, path in named.items():
        if not path.exists():
            link = " It is a link to nothing." if path.is_symlink() else ""
            raise CheckpointError(
                f"there is no {path}, which is named as the part {part!r}.{link} Check the path."
            )
    return named


def _folder_of(named: Mapping[str, Path]) -> Path:
    first = next((named[part] for part in PARTS if part in named), None)
    if first is None:
        raise CheckpointError("no model is named: give a folder, or its files by part")
    return first if first.is_dir() else first.parent


def _with(layout: Layout, named: Mapping[str, Path]) -> Layout:
    """The layout with named parts in place of those that were found; transformers replace each other's kind."""
    found = {part: path for part, path in layout.parts.items() if part not in _displaced(named)}
    return replace(layout, parts={**found, **named})


def _displaced(named: Mapping[str, Path]) -> set[str]:
    """The parts that are not to be looked for, because others are named."""
    gone = set(named)
    if "dit" in named:
        gone |= {"high", "low"}
    if named.keys() & {"high", "low"}:
        gone |= {"dit"}
    return gone


def _existing(parts: Mapping[str, Path]) -> dict[str, Path]:
    return {part: path for part, path in parts.items() if path.exists()}


def _official(folder: Path, transformers: Mapping[str, Path], named: Mapping[str, Path]) -> Layout:
    require_links(folder)
    parts = _existing({**transformers, "tokenizer": folder / _OFFICIAL_TOKENIZER})
    for part, pattern in (("vae", "Wan2.?_VAE.*"), ("text", "models_t5_*"), ("image", "models_clip_*")):
        found = sorted(file for file in folder.glob(pattern) if file.suffix in SUFFIXES)
        if found and part not in named:
            parts[part] = tree.only_path(found, part, folder)
    return Layout("official", folder, parts)


def _official_weights(folder: Path) -> Path:
    """The transformer that lies in the root, beside other weights: its index, or its one file."""
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    return index if index.is_file() else sorted(folder.glob(_OFFICIAL_WEIGHTS))[0]


def _diffusers(folder: Path) -> Layout:
    require_links(folder)
    index = read_json(folder / "model_index.json")
    first = "high" if (folder / "transformer_2").is_dir() else "dit"
    parts = _existing(
        {
            first: folder / "transformer",
            "low": folder / "transformer_2",
            "vae": folder / "vae",
            "text": folder / "text_encoder",
            "tokenizer": folder / "tokenizer",
            "image": folder / DIFFUSERS_IMAGE,
        }
    )
    if index.get("boundary_ratio") is not None and first == "dit":
        # Two experts were saved and one did not arrive.
        parts = {"high" if part == "dit" else part: path for part, path in parts.items()}
    scheduler = folder / "scheduler" / "scheduler_config.json"
    config = read_json(scheduler) if scheduler.is_file() else {}
    kind = CLASSES.get(str(config.get("_class_name")))
    shift = _number(scheduler, config, "flow_shift" if kind is None else kind.shift)
    said = index.get("_class_name")
    return Layout(
        "diffusers",
        folder,
        parts,
        boundary=_number(folder / "model_index.json", index, "boundary_ratio"),
        shift=shift,
        pipeline=said if isinstance(said, str) else None,
        scheduler=config,
    )


def _number(file: Path, said: Mapping[str, Any], name: str) -> float | None:
    """A number that a folder says of itself, or None. Raises CheckpointError for anything else."""
    value = said.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise CheckpointError(f"{file} says that {name} is {value!r}, which is no number.")
    return value


def _file(path: Path, named: Mapping[str, Path]) -> Layout:
    """An all-in-one file as a model; or one part by itself, beside those that are named."""
    candidate = tree.look(path)
    candidate.identity.require_supported()
    if len(candidate.parts) == 1 and not named:
        raise CheckpointError(
            f"{path} is one file; a model is a folder with its experts, VAE, text encoder and tokenizer. Or name what "
            "belongs to it: --vae FILE --text FILE (in Python parts={'vae': FILE, 'text': FILE})."
        )
    part, held = candidate.identity.part, {}
    if part == "dit" and not _displaced(named) & {"dit"}:
        held = dict.fromkeys(candidate.parts, path)
    elif part != "dit":
        held = {part: path}
    kind = "all-in-one" if len(candidate.parts) > 1 else "files"
    return _completed(_with(Layout(kind, path, held), named))


def _files(folder: Path, named: Mapping[str, Path], task: str | None) -> Layout:
    """A ComfyUI tree, or a plain folder of single files: every file is asked what it is."""
    root = tree.tree_root(folder)
    said = _said(root / "variant.json")
    shared = _shared(root, said)
    given = {**shared, **named}
    found = tree.search(root)
    transformers = {} if "dit" in given else _transformers(found, root, given, task, said)
    if not found.of and not given:
        if len(found.unread) == 1:
            raise CheckpointError(f"{folder} holds no model that can be used: {found.unread[0]}")
        unread = f" Not read: {'; '.join(found.unread[:3])}" if found.unread else ""
        raise CheckpointError(f"{folder} holds no part of a Wan model. Check the path.{unread}")
    parts: dict[str, Path] = {part: candidate.path for part, candidate in transformers.items()}
    first = next(iter(transformers.values()), None)
    if first is not None and len(first.parts) > 1:
        parts |= dict.fromkeys(set(first.parts) - {"dit"}, first.path)
    dit = _arch_of({**parts, **given})
    for part, choice in (("vae", tree.choose_vae), ("text", tree.choose_text), ("image", tree.choose_image)):
        if part not in parts and part not in given and (got := choice(found.of.get(part, []), dit, root)):
            parts[part] = got.path
    defaults = said.get("defaults")
    layout = _with(
        Layout(
            "files",
            folder,
            parts,
            _number(root / "variant.json", said, "boundary"),
            _number(root / "variant.json", defaults, "shift") if isinstance(defaults, dict) else None,
            tuple(found.unread),
            said.get("speech") is not None,
            dit is not None and dit.animate is not None,
        ),
        given,
    )
    return _completed(layout, root, [_with_config(candidate.path) for candidate in found.of.get("audio", [])])


def _with_config(path: Path) -> Path:
    """The folder of an encoder of audio in the layout of Hugging Face, or a file by itself."""
    return path.parent if path.stem == "model" and (path.parent / "config.json").is_file() else path


def _transformers(
    found: tree.Found, root: Path, given: Mapping[str, Path], task: str | None, said: Mapping[str, Any]
) -> dict[str, tree.Candidate]:
    """The transformers of a tree that are not named: both experts, one of them, or one network."""
    wanted = {"high", "low"} - given.keys()
    if not wanted:
        return {}
    if len(wanted) == 1:  # the other one is named: its partner has its sizes
        arch, all_dits = _arch_of(given), found.of.get("dit", [])
        found.of["dit"] = [c for c in all_dits if c.identity.arch == arch] or all_dits
    chosen = tree.choose_transformers(
        found, root, task, experts if isinstance(experts := said.get("experts"), list) else None
    )
    return {part: c for part, c in chosen.items() if len(wanted) == 2 or part in wanted}


def _arch_of(parts: Mapping[str, Path]) -> DiTArch | None:
    """The sizes of the transformer among these parts, if one is there and can be read."""
    path = next((parts[part] for part in ("dit", "high", "low") if part in parts), None)
    if path is None:
        return None
    try:
        with open_reader(path) as reader:
            arch = recognise(reader, "dit").arch
    except CheckpointError:
        return None  # who opens it for its weights is told why
    return arch if isinstance(arch, DiTArch) else None


def _completed(layout: Layout, root: Path | None = None, audio: Iterable[Path] = ()) -> Layout:
    """The layout with what belongs to its parts: the tokenizer, and for speech to video the encoder of audio."""
    parts, root = dict(layout.parts), root or layout.folder
    if "tokenizer" not in parts and (tokenizer := _tokenizer(root, parts.get("text"))):
        parts["tokenizer"] = tokenizer
    speech, animate = (
        layout.is_speech_model or _dit_is(is_speech_model, parts),
        layout.is_animate_model or _dit_is(is_animate_dit, parts),
    )
    if not animate:
        parts.pop("image", None)
    if not speech:
        parts.pop("audio", None)
    elif "audio" not in parts:
        places = list(audio) or _audio_folders(root)
        if places:
            parts["audio"] = tree.only_path(places, "audio", root)
    return replace(
        layout,
        parts=parts,
        is_speech_model=speech,
        is_animate_model=animate,
        relighting=_relighting(root) if animate else None,
    )


def _relighting(root: Path) -> Path | None:
    """The LoRA that fits a character to the light of another video: beside an official model, or among LoRAs."""
    places = (root, root / "relighting_lora", root / "loras")
    found = [
        file for place in places for file in sorted(place.glob("*[rR]elight*")) if file.suffix in SUFFIXES
    ]
    return found[0] if found else None


def _dit_is(kind: Callable[[Native], bool], parts: Mapping[str, Path]) -> bool:
    """Whether the one transformer of a model is of a kind."""
    if "dit" not in parts:
        return False
    try:
        with open_reader(parts["dit"]) as reader:
            return kind(open_native(reader, "dit"))
    except CheckpointError:
        return False  # it is not whole; who opens it for its weights is told how


def _tokenizer(root: Path, text: Path | None) -> Path | None:
    """The tokenizer: in the folder, within the text encoder's file, beside it, or in the hub's cache."""
    places = [root / "tokenizer", root / _OFFICIAL_TOKENIZER, root]
    if text is not None:
        beside = text if text.is_dir() else text.parent
        places += [text, beside / "tokenizer", beside / _OFFICIAL_TOKENIZER, beside]
    if found := next((place for place in places if holds_tokenizer(place)), None):
        return found
    if text is None or _vocabulary(text) != _RELEASED_VOCABULARY or not (hub := cached_folder(TOKENIZER_HUB)):
        return None
    return snapshot(hub) if holds_tokenizer(snapshot(hub)) else None


def _vocabulary(text: Path) -> int | None:
    try:
        with open_reader(text) as reader:
            arch = recognise(reader, "text").arch
    except CheckpointError:
        return None
    return arch.vocab if isinstance(arch, UMT5Arch) else None


def _cached_audio() -> Path | None:
    """The released encoder of audio, which is a model of its own on the hub, if its cache has it."""
    folder = cached_folder(AUDIO_HUB)
    return None if folder is None else snapshot(folder)


def _said(variant: Path) -> dict[str, Any]:
    """What the folder says that it holds, if it is our trainer's."""
    return read_json(variant) if variant.is_file() else {}


def _shared(root: Path, said: Mapping[str, Any]) -> dict[str, Path]:
    """The parts that lie with another model: `{"parts": {"vae": "../nano/vae.safetensors"}}` in variant.json."""
    where, parts = said.get("parts") or {}, {}
    if not isinstance(where, dict) or not where.keys() <= _NEEDED.keys():
        raise CheckpointError(
            f"{root / 'variant.json'} says that its parts are {where}. It should name, of {', '.join(_NEEDED)}, those "
            "that lie elsewhere, each with its path from that folder."
        )
    for part, place in where.items():
        path = root / str(place)
        if Path(str(place)).is_absolute() or not path.exists():
            raise CheckpointError(
                f"{root / 'variant.json'} says that its {part} is at {place!r}, and there is none. It should be the "
                f"path, from {root}, of a file or folder that exists."
            )
        parts[part] = path
    return parts


def _audio_folders(root: Path) -> list[Path]:
    """Encoders of audio in the layout of Hugging Face: beside single files, or else in the hub's cache."""
    places = (root / OFFICIAL_AUDIO, root / DIFFUSERS_AUDIO, *sorted(root.glob("audio_encoders/*/")))
    beside = [place for place in places if (place / "config.json").is_file()]
    return beside or [place for place in (_cached_audio(),) if place is not None]
