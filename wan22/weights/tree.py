"""Choose the parts of one model among single files: a ComfyUI `models` tree, or any folder of weight files.

Every file is asked what it is; names only tell the two experts of a pair apart. What could be meant in two ways is an
error that says how to name the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wan22.arch import CLIPArch, DiTArch, UMT5Arch, VAEArch
from wan22.catalog import VARIANTS
from wan22.errors import CheckpointError
from wan22.weights.experts import expert_of
from wan22.weights.reader import SUFFIXES, open_reader, weight_files
from wan22.weights.recognise import Identity, parts_of, recognise

_TREE = (
    "diffusion_models", "unet", "text_encoders", "clip", "vae", "audio_encoders", "clip_vision",
    "HighNoise", "LowNoise", "VAE",
)  # fmt: skip
_ALL_IN_ONE = "checkpoints"
_DEPTH = 4  # folders below one of the tree; people sort models by family and size

TASKS: Mapping[str, tuple[str, ...]] = {
    "t2v": ("t2v", "ti2v"), "i2v": ("i2v", "ti2v"), "ti2v": ("ti2v",), "v2v": ("t2v", "ti2v"), "s2v": ("s2v",),
    "animate": ("animate",),
}  # fmt: skip
"""What a request asks for, and the networks that can do it, the most particular first."""


@dataclass(frozen=True)
class Candidate:
    """A weight file, and what its first network is; `parts` are all that it holds."""

    path: Path
    identity: Identity
    parts: tuple[str, ...]


@dataclass
class Found:
    """What a tree holds: candidates by part, and why other files are none."""

    of: dict[str, list[Candidate]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add(self, files: Iterable[Path]) -> None:
        """Ask each file what it is."""
        for file in files:
            try:
                if weight_files(file)[0] != file:
                    continue  # a later shard: the first stands for all
                candidate = look(file)
                candidate.identity.require_supported()
            except CheckpointError as error:
                self.unread.append(str(error))  # models of other families lie in such folders too
                continue
            self.of.setdefault(candidate.identity.part, []).append(candidate)


def look(file: Path) -> Candidate:
    """What a weight file is. Raises CheckpointError if it is no part of a Wan model."""
    with open_reader(file) as reader:
        return Candidate(file, recognise(reader), tuple(parts_of(reader)))


def tree_root(folder: Path) -> Path:
    """The folder itself, or the `models` in it if that is where a ComfyUI keeps its files."""
    models = folder / "models"
    return models if any((models / name).is_dir() for name in (*_TREE, _ALL_IN_ONE)) else folder


def search(root: Path) -> Found:
    """Every part in a tree, in subfolders too; all-in-one files only if there is no transformer by itself."""
    places = [root / name for name in _TREE if (root / name).is_dir()]
    found = Found()
    files = {file for place in places for file in _below(place, _DEPTH)}
    files |= set(_below(root, 0 if places else _DEPTH))
    found.add(sorted(files))
    if "dit" not in found.of:
        found.add(sorted(_below(root / _ALL_IN_ONE, _DEPTH)))
    return found


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """The weight files of a folder and of those below it; links are followed, each folder once, hidden ones never."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        level = len(Path(place).relative_to(folder).parts)
        real = os.path.realpath(place)
        if real in seen or level >= depth:
            folders.clear()
        if real in seen:
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in files if Path(name).suffix in SUFFIXES)


def choose_transformers(
    found: Found, folder: Path, task: str | None, experts: Sequence[str] | None
) -> dict[str, Candidate]:
    """The transformers of one model: "high" and "low", as many as there are, or "dit".

    `task` chooses among several models; `experts` are those of a folder that says what it holds. Raises
    CheckpointError if there are several models.
    """
    groups: dict[tuple[object, object], list[Candidate]] = {}
    for candidate in found.of.get("dit", []):
        identity = candidate.identity
        groups.setdefault((identity.task, identity.arch), []).append(candidate)
    for wanted in TASKS.get(task or "", ()):
        if any(kind == wanted for kind, _ in groups):
            groups = {key: files for key, files in groups.items() if key[0] == wanted}
            break
    if not groups:
        return {}
    if len(groups) > 1:
        held = "; ".join(
            f"{kind} ({_names([c.path for c in files], folder)})" for (kind, _), files in groups.items()
        )
        raise CheckpointError(
            f"{folder} holds several models: {held}. Say which is meant: by the task (--task, or task=), or by name: "
            f"{HOW}."
        )
    (files,) = groups.values()
    return _experts(files, folder, experts)


HOW = "--high FILE --low FILE, or --dit FILE of a model of one network (in Python parts={'high': FILE, ...})"


def _experts(files: list[Candidate], folder: Path, experts: Sequence[str] | None) -> dict[str, Candidate]:
    paired = len(experts) == 2 if experts is not None else in_pairs(files[0].identity)
    by: dict[str, list[Candidate]] = {}
    for candidate in files:
        expert = expert_of(candidate.path.relative_to(folder)) if paired else None
        by.setdefault(expert or "dit", []).append(candidate)
    if len(by) > 1 and "dit" in by:
        if len(by) == 2:  # one file says its expert and others say none: not a pair, and not one model
            raise CheckpointError(
                f"{folder} holds {_names([c.path for c in files], folder)}, and not every name says its expert (high "
                f"or low noise). Name the files: {HOW}."
            )
        raise CheckpointError(
            f"{folder} holds a pair of experts and other transformers of the same sizes: "
            f"{_names([c.path for c in files], folder)}. Name the files: {HOW}."
        )
    return {part: only(candidates, part, folder) for part, candidates in by.items()}


def in_pairs(identity: Identity) -> bool:
    """Whether networks like this come in pairs: of a task that has a release of two experts, and not of a size that
    only a release of one network has.
    """
    rows = [row for row in VARIANTS.values() if row.name.partition("-")[0] == identity.task]
    exact = [row for row in rows if row.dit == identity.arch] or rows
    return any(len(row.experts) == 2 for row in exact)


def choose_vae(candidates: list[Candidate], dit: DiTArch | None, folder: Path) -> Candidate | None:
    """The VAE whose latents the transformer draws. Qwen-Image's has the tensors of Wan2.1's, so its name counts."""

    def fits(candidate: Candidate) -> bool:
        arch = candidate.identity.arch
        return isinstance(arch, VAEArch) and (dit is None or arch.z == dit.out_channels)

    candidates = _prefer(candidates, fits)
    candidates = _prefer(candidates, lambda candidate: "qwen" not in candidate.path.name.lower())
    return only(candidates, "vae", folder) if candidates else None


def choose_text(candidates: list[Candidate], dit: DiTArch | None, folder: Path) -> Candidate | None:
    """The text encoder of the width that the transformer reads."""

    def fits(candidate: Candidate) -> bool:
        arch = candidate.identity.arch
        return isinstance(arch, UMT5Arch) and (dit is None or arch.dim == dit.text_dim)

    candidates = _prefer(candidates, fits)
    return only(candidates, "text", folder) if candidates else None


def choose_image(candidates: list[Candidate], dit: DiTArch | None, folder: Path) -> Candidate | None:
    """The encoder of images of the width that the transformer reads, if it reads any."""
    if dit is None or dit.animate is None:
        return None
    width = dit.animate.image_dim

    def fits(candidate: Candidate) -> bool:
        return isinstance(candidate.identity.arch, CLIPArch) and candidate.identity.arch.dim == width

    candidates = _prefer(candidates, fits)
    return only(candidates, "image", folder) if candidates else None


def _prefer(candidates: list[Candidate], good: Callable[[Candidate], bool]) -> list[Candidate]:
    return [candidate for candidate in candidates if good(candidate)] or candidates


def only(candidates: list[Candidate], part: str, folder: Path) -> Candidate:
    """The one candidate; CheckpointError names them all if there are more."""
    paths = [candidate.path for candidate in candidates]
    only_path(paths, part, folder)
    return candidates[0]


def only_path(paths: list[Path], part: str, folder: Path) -> Path:
    """The one path; CheckpointError names them all if there are more."""
    if len(paths) > 1:
        option = (
            "" if part in ("audio", "image") else f"--{part} FILE, "
        )  # those options are inputs of a video
        raise CheckpointError(
            f"{folder} holds several files for the part {part!r}: {_names(paths, folder)}. Name one: {option}in Python "
            f"parts={{{part!r}: FILE}}."
        )
    return paths[0]


def _names(paths: Iterable[Path], folder: Path) -> str:
    return ", ".join(str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in paths)
