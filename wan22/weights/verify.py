"""Verify that a download is whole: every shard of an index, every header, every byte that a header promises,
and the SHA-256 wherever somebody has written down what it should be.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wan22.arch import CLIPArch, DiTArch, UMT5Arch, VAEArch
from wan22.errors import CheckpointError
from wan22.files import read_bytes
from wan22.weights.edits.quantised import find_scales
from wan22.weights.find import broken_links, find_layout
from wan22.weights.lora.file import holds_lora, open_adapters, read_adapters
from wan22.weights.lora.names import is_lora
from wan22.weights.reader import SUFFIXES, Reader, open_file, open_reader, read_json
from wan22.weights.recognise import identify, open_native, parts_of

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 22

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FileReport:
    """One file: `hash` is "matches", "differs" or "unknown" (nobody has written it down)."""

    path: Path
    nbytes: int
    hash: str
    problem: str | None = None


@dataclass(frozen=True)
class Report:
    """What was found. `problems` are sentences; it is empty if all is well."""

    path: Path
    files: list[FileReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(path: str | Path, *, hashes: bool = True, progress: Progress | None = None) -> Report:
    """Check a weight file or a folder. With `hashes`, files whose SHA-256 is known are read through;
    `progress` is called with (bytes hashed, bytes to hash).

    Known are: a `FILE.sha256` or `SHA256SUMS` beside the file, the file's name in the hub's cache, and what
    the hub's client notes beside a download into a folder.

    A network that wan22 cannot run (a relative, or one with other tensors) is a problem too. Raises CheckpointError
    only if `path` does not exist.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise CheckpointError(f"there is no {path}. Check the path.")
    report = Report(path)
    files = _weights(path)
    if not files:
        report.problems.append(f"{path} holds no weights ({', '.join(SUFFIXES)})")
    expected = {file: _expected(file) if hashes else None for file in files}
    total = sum(file.stat().st_size for file, known in expected.items() if known)
    done = 0
    for file in files:
        known, state = expected[file], "unknown"
        if known:
            state = "matches" if _sha256(file, done, total, progress) == known else "differs"
            done += file.stat().st_size
        problem = _header_problem(file)
        if state == "differs":
            problem = f"{file} is not the file that was published: its SHA-256 differs. Download it again."
        report.files.append(FileReport(file, file.stat().st_size, state, problem))
        if problem:
            report.problems.append(problem)
    report.problems.extend(_index_problems(path))
    if not report.problems:
        report.problems.extend(_layout_problems(path))
    return report


def _weights(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix in SUFFIXES and not any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.is_file()
    )


def _header_problem(file: Path) -> str | None:
    """Open one file alone: a shard is judged by itself, whatever happened to its siblings."""
    try:
        open_file(file).close()
    except CheckpointError as error:
        return str(error)
    return None


def _index_problems(path: Path) -> list[str]:
    """Shards that are missing, and tensors that are not where the index says."""
    problems = []
    for index in sorted(path.rglob("*.index.json")) if path.is_dir() else []:
        try:
            with open_reader(index) as reader:
                problems += _misplaced(index, reader)
        except CheckpointError as error:
            problems.append(str(error))
    return problems


def _misplaced(index: Path, reader: Reader) -> list[str]:
    weight_map = read_json(index)["weight_map"]
    wrong = [
        name
        for name, file in weight_map.items()
        if name not in reader.infos or reader.where(name).name != file
    ]
    if not wrong:
        return []
    return [f"{index}: {len(wrong)} tensors are not where it says, such as {wrong[0]}. Download it again."]


def _layout_problems(path: Path) -> list[str]:
    """A model should have all of its parts, and each of them every tensor of a network that wan22 knows; a LoRA should
    be read.
    """
    broken = broken_links(path) if path.is_dir() else []
    problems = [f"{link} is a link to nothing ({link.readlink()}). Download it again." for link in broken]
    if problems:
        return problems
    try:
        for part, place in _networks(path).items():
            problems += _network_problems(place or path, part)
    except CheckpointError as error:
        problems.append(str(error))
    return problems


def _networks(path: Path) -> dict[str, Path | None]:
    """The networks at a path, by the part that they are; of one file or folder of shards, what is in it."""
    lora = path.is_dir() and holds_lora(path)
    if path.is_dir():
        try:
            layout = find_layout(path)
        except CheckpointError:
            if not lora:
                raise
        else:
            found: dict[str, Path | None] = {
                part: p for part, p in layout.parts.items() if part != "tokenizer"
            }
            if len(found) > 1:
                layout.require_complete()
                return found
    if lora:
        open_adapters(path)  # that it can be read is all there is to say
        return {}
    with open_reader(path) as reader:
        if is_lora(reader.infos):
            read_adapters(reader, said=path.stem)
            return {}
        if not (found_here := parts_of(reader)) and path.is_file():
            find_scales(
                reader
            )  # of another family: that it is stored in a way that is read is all there is to say
            return {}
        return dict.fromkeys(found_here) or {"": None}


def _network_problems(place: Path, part: str) -> list[str]:
    from wan22.weights.load import check_fits, meta_module  # what is no network is judged without torch

    try:
        with open_reader(place) as reader:
            view = open_native(reader, "dit" if part in ("high", "low") else part or None)
            identity = identify(view)
            identity.require_supported()
            arch = identity.arch
            if isinstance(arch, DiTArch | VAEArch | UMT5Arch | CLIPArch):
                check_fits(view, meta_module(arch))
    except CheckpointError as error:
        return [str(error)]
    return []


def _expected(file: Path) -> str | None:
    """The SHA-256 that somebody has written down for this file."""
    blob = file.resolve().name
    if file.is_symlink() and _SHA256.fullmatch(blob):
        return blob
    beside = file.with_name(f"{file.name}.sha256")
    if beside.is_file() and (found := _SHA256.search(_noted(beside).lower())):
        return found[0]
    sums = file.with_name("SHA256SUMS")
    if sums.is_file():
        for line in _noted(sums).splitlines():
            digest, _, name = line.partition(" ")
            if name.strip().lstrip("*") == file.name and _SHA256.fullmatch(digest.lower()):
                return digest.lower()
    return _noted_by_hub(file)


def _noted(file: Path) -> str:
    """What a file of checksums says; one that is no text says none."""
    return read_bytes(file, CheckpointError).decode("utf-8", "replace")


def _noted_by_hub(file: Path) -> str | None:
    """What huggingface_hub notes in `.cache` of the folder into which it downloaded."""
    for root in file.parents:
        note = root / ".cache" / "huggingface" / "download" / f"{file.relative_to(root)}.metadata"
        if note.is_file():
            found = [line for line in _noted(note).splitlines() if _SHA256.fullmatch(line.strip())]
            return found[0].strip() if found else None
    return None


def _sha256(file: Path, done: int, total: int, progress: Progress | None) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, total)
    return digest.hexdigest()
