"""Open weight files: the only code below the edges that does.

A `Reader` is one flat table of tensors, whatever the files are: one `.safetensors`, its shards with or
without an index, a `.pth` (plain tensors only, never code), or a `.gguf`. Shapes and dtypes are known without
reading data; data is read one tensor at a time and not kept. It does not know what the tensors mean: see
`load.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wan22.errors import CheckpointError
from wan22.files import HEADER_LIMIT, check_file, parse_object, reading
from wan22.files import read_json as read_object
from wan22.weights.gguf_file import GGUFFile
from wan22.weights.tensors import ITEM_BYTES, FileBytes, TensorInfo, WeightFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".gguf")

_SHARD = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_AGAIN = "Download it again."
_QUANTISERS = (
    "torchao",
    "quanto",
    "bitsandbytes",
    "comfy_kitchen",
    "sdnq",
)  # classes of their own in a pickle
_INDEX_LIMIT = 64_000_000  # bytes


class Reader:
    """The tensors of a checkpoint, over all of its files.

    `infos` maps each name to its `TensorInfo`, in file order; `metadata` is what the files say of themselves; where
    a shard says another thing than the first, it stands as "KEY of FILE".
    """

    def __init__(self, path: Path, files: list[WeightFile]) -> None:
        self.path = path
        self.infos: dict[str, TensorInfo] = {}
        self.metadata: dict[str, str] = {}
        self._files = files
        self._home: dict[str, WeightFile] = {}
        for file in files:
            for name, info in file.infos.items():
                if name in self._home:
                    raise CheckpointError(
                        f"{name} is both in {self._home[name].path.name} and in {file.path.name} of {path}: "
                        "these are not the shards of one checkpoint. Name one file."
                    )
                self._home[name] = file
                self.infos[name] = info
            for key, value in file.metadata.items():
                if self.metadata.setdefault(key, value) != value:
                    self.metadata[f"{key} of {file.path.name}"] = value
        if not self.infos:
            raise CheckpointError(f"{path} holds no tensors. {_AGAIN}")

    @property
    def files(self) -> list[Path]:
        """The files that are open."""
        return [file.path for file in self._files]

    def where(self, name: str) -> Path:
        """The file that holds the tensor `name`."""
        return self._home[name].path

    def beside(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name` beside the weights, such as config.json; empty if none."""
        file = self.files[0].parent / name
        return read_json(file) if file.is_file() else {}

    def read(self, name: str) -> Tensor:
        """Read one tensor into memory of its own, on the CPU, in the dtype of the file.

        GGUF's quantised kinds come dequantised, in float32. Raises CheckpointError if there is no such tensor
        or its data cannot be read.
        """
        if name not in self._home:
            raise CheckpointError(f"{self.path} has no tensor {name!r}")
        return self._home[name].read(name)

    def read_stored(self, name: str) -> Tensor:
        """Read one tensor as `read` does, but GGUF's quantised kinds as the bytes of their blocks, uint8."""
        file = self._home[name]
        return file.read_stored(name) if isinstance(file, GGUFFile) else file.read(name)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        """Read rows (n,) of a matrix, as `read` gives them. Raises as `read` does."""
        if name not in self._home:
            raise CheckpointError(f"{self.path} has no tensor {name!r}")
        return self._home[name].read_rows(name, rows)

    def close(self) -> None:
        """Close the files. Tensors that were read stay valid."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_reader(path: str | Path) -> Reader:
    """Open a weight file, an `*.index.json`, one shard (with its siblings), or a folder of one checkpoint.

    Raises CheckpointError, naming the file and what to do, if it is missing, empty, cut off, a web page, a
    git-lfs pointer, of an unknown kind, or a pickle that is not a flat dict of tensors.
    """
    path = Path(path).expanduser()
    files: list[WeightFile] = []
    try:
        for file in weight_files(path):
            files.append(open_file(file))
        return Reader(path, files)
    except BaseException:
        for file in files:
            file.close()
        raise


def reader_of_tensors(label: str, tensors: Mapping[str, Tensor]) -> Reader:
    """A reader of tensors that are in memory; `label` says in messages what they are."""
    return Reader(Path(label), [TensorsFile(label, tensors)])


def weight_files(path: Path) -> list[Path]:
    """The files that make up the checkpoint at `path`; every one exists. Raises CheckpointError."""
    if path.is_dir():
        return _files_of_folder(path)
    if not path.exists():
        hint = "It is a link to nothing: download it again." if path.is_symlink() else "Check the path."
        raise CheckpointError(f"there is no {path}. {hint}")
    if path.name.endswith(".index.json"):
        return _files_of_index(path)
    if path.suffix not in SUFFIXES:
        raise CheckpointError(
            f"{path} is no weight file: known are {', '.join(SUFFIXES)}, an index or a folder."
        )
    if shard := _SHARD.fullmatch(path.name):
        index = path.parent / f"{shard['stem']}{shard['suffix']}.index.json"
        return _files_of_index(index) if index.exists() else _files_of_shards(path.parent, shard)
    return [path]


def _files_of_folder(folder: Path) -> list[Path]:
    indices = sorted(folder.glob("*.index.json"))
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
    if len(indices) == 1:
        return _files_of_index(indices[0])
    if indices:
        raise CheckpointError(f"{folder} holds several checkpoints: name one of {_names(indices)}.")
    shards = [match for file in files if (match := _SHARD.fullmatch(file.name))]
    stems = {(match["stem"], match["count"]) for match in shards}
    if len(shards) == len(files) and len(stems) == 1:
        return _files_of_shards(folder, shards[0])
    if [file.name for file in files] == ["model.safetensors", "pytorch_model.bin"]:
        return files[:1]  # transformers' two formats of one checkpoint, of which it too reads the first
    if not files:
        raise CheckpointError(f"{folder} holds no weights ({', '.join(SUFFIXES)}). Check the path.")
    if len(files) > 1:
        raise CheckpointError(f"{folder} holds several weight files: name one of {_names(files)}.")
    return files


def _files_of_index(index: Path) -> list[Path]:
    with reading(index, CheckpointError, "is no index of shards", _AGAIN):
        names = sorted({str(name) for name in read_json(index)["weight_map"].values()})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(f"{index} names files of other folders, such as {outside[0]!r}: not opened.")
    return _existing(index.parent, names)


def _files_of_shards(folder: Path, shard: re.Match[str]) -> list[Path]:
    count = int(shard["count"])
    names = [f"{shard['stem']}-{i:05d}-of-{count:05d}{shard['suffix']}" for i in range(1, count + 1)]
    return _existing(folder, names)


def _existing(folder: Path, names: list[str]) -> list[Path]:
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(names)} shards are missing in {folder}: {', '.join(missing[:5])}. "
            "Download them again."
        )
    return [folder / name for name in names]


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:8])


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises CheckpointError if it holds anything else."""
    return read_object(path, CheckpointError, remedy=_AGAIN, limit=_INDEX_LIMIT)


def open_file(path: Path) -> WeightFile:
    """Open one file alone, even if it is a shard. Raises CheckpointError as `open_reader` does."""
    check_file(path, CheckpointError)
    with reading(path, CheckpointError), path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise CheckpointError(f"{path} is empty. {_AGAIN}")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a git-lfs pointer, not the weights: run `git lfs pull` in its folder."
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path} is a web page, not weights: the download got an error or login page. {_AGAIN}"
        )
    if path.suffix == ".gguf":
        return GGUFFile(path)
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PickleFile(path)


def _size(value: object) -> int:
    """A length, an offset or a count of a header, which a damaged one gives in any form."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _metadata(path: Path, said: object) -> dict[str, str]:
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise CheckpointError(f"{path} is no safetensors file: its __metadata__ are not texts. {_AGAIN}")
    return said


class SafetensorsFile:
    """A `.safetensors` file: eight bytes of header length, a JSON header, then the data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.infos: dict[str, TensorInfo] = {}
        self._start: dict[str, int] = {}
        self._file = FileBytes(path)
        try:
            header, data = self._header()
            self.metadata = _metadata(path, header.pop("__metadata__", None) or {})
            for name, entry in header.items():
                self._add(name, entry, data)
            size = path.stat().st_size
            end = max((self._start[n] + info.nbytes for n, info in self.infos.items()), default=data)
            if size < end:
                raise CheckpointError(f"{path} is cut off: {size:,} of {end:,} bytes are here. {_AGAIN}")
        except BaseException:
            self._file.close()
            raise

    def _header(self) -> tuple[dict[str, Any], int]:
        size = self.path.stat().st_size
        length = int.from_bytes(self._file.read(8), "little")
        if size < 8 or length > size - 8:
            raise CheckpointError(
                f"{self.path} is cut off, or is no safetensors file: "
                f"its header should be {length:,} bytes, the file is {size:,}. {_AGAIN}"
            )
        if length > HEADER_LIMIT:
            raise CheckpointError(f"{self.path} has a header of {length:,} bytes; at most {HEADER_LIMIT:,}.")
        what = f"{self.path} is no safetensors file: its header"
        return parse_object(self._file.read(length), what, CheckpointError, _AGAIN), 8 + length

    def _add(self, name: str, entry: dict[str, Any], data: int) -> None:
        with reading(f"{self.path}: the header's entry for {name!r}", CheckpointError, "is damaged", _AGAIN):
            begin, end = (_size(n) for n in entry["data_offsets"])
            dtype, shape = str(entry["dtype"]), tuple(_size(n) for n in entry["shape"])
        if dtype not in ITEM_BYTES:
            raise CheckpointError(
                f"{self.path}: {name} has the dtype {dtype!r}; known are {', '.join(ITEM_BYTES)}."
            )
        nbytes = math.prod(shape) * ITEM_BYTES[dtype]
        if begin < 0 or end - begin != nbytes:
            raise CheckpointError(
                f"{self.path}: {name} {shape} needs {nbytes:,} bytes, not {end - begin:,}. {_AGAIN}"
            )
        self.infos[name] = TensorInfo(shape, dtype, nbytes)
        self._start[name] = data + begin

    def read(self, name: str) -> Tensor:
        import torch

        from wan22.weights.dtypes import DTYPES

        info = self.infos[name]
        buffer = torch.empty(info.nbytes, dtype=torch.uint8)
        self._file.read_into(memoryview(buffer.numpy()), self._start[name], name)
        with reading(f"{self.path}: {name}", CheckpointError, remedy=_AGAIN):
            return buffer.view(DTYPES[info.dtype]).reshape(info.shape)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        import torch

        from wan22.weights.dtypes import DTYPES

        info = self.infos[name]
        width = info.nbytes // info.shape[0]
        buffer = torch.empty(len(rows), width, dtype=torch.uint8)
        for place, row in zip(buffer.numpy(), rows.tolist(), strict=True):
            self._file.read_into(memoryview(place), self._start[name] + width * row, name)
        with reading(f"{self.path}: {name}", CheckpointError, remedy=_AGAIN):
            return buffer.view(DTYPES[info.dtype]).reshape(len(rows), *info.shape[1:])

    def close(self) -> None:
        self._file.close()


def _is_plain(value: object) -> bool:
    """Whether this is a tensor of a known dtype whose numbers all lie in the file (a view may claim any size)."""
    import torch

    from wan22.weights.dtypes import DTYPE_NAMES

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.dtype in DTYPE_NAMES
        and value.nbytes <= value.untyped_storage().nbytes()
    )


class TensorsFile:
    """Tensors that are in memory, as if they were a file. `path` is what messages call it."""

    def __init__(self, label: str, tensors: Mapping[str, Tensor]) -> None:
        from wan22.weights.dtypes import DTYPE_NAMES

        self.path = Path(label)
        self.metadata: dict[str, str] = {}
        self._tensors = dict(tensors)
        strange = [name for name, tensor in tensors.items() if tensor.dtype not in DTYPE_NAMES]
        if strange:
            raise CheckpointError(
                f"{label}: {strange[0]} is {tensors[strange[0]].dtype}, which is not known here."
            )
        self.infos = {
            name: TensorInfo(tuple(tensor.shape), DTYPE_NAMES[tensor.dtype], tensor.nbytes)
            for name, tensor in tensors.items()
        }

    def read(self, name: str) -> Tensor:
        return self._tensors[name].detach().to("cpu", copy=True)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        return self._tensors[name].detach()[rows.to(self._tensors[name].device)].cpu()

    def close(self) -> None:
        self._tensors = {}


class PickleFile:
    """A `.pth`, `.pt`, `.ckpt` or `.bin` file: a flat dict of tensors, also under "state_dict". It cannot run code:
    only `torch.load(weights_only=True)` touches it, and anything but tensors is refused.
    """

    def __init__(self, path: Path) -> None:
        from wan22.weights.dtypes import DTYPE_NAMES

        self.path = path
        self.metadata: dict[str, str] = {}
        self._tensors = self._load()
        self.infos = {
            name: TensorInfo(tuple(tensor.shape), DTYPE_NAMES[tensor.dtype], tensor.nbytes)
            for name, tensor in self._tensors.items()
        }

    def _load(self) -> dict[str, Tensor]:
        import zipfile

        import torch

        # Files from before torch 1.6 are no zip archives and cannot be mapped: they are read whole.
        mapped = zipfile.is_zipfile(self.path)
        with reading(self.path, CheckpointError, "is damaged, cut off, or no PyTorch file", _AGAIN):
            try:
                loaded = torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
            except Exception as error:
                if type(error).__name__ != "UnpicklingError" or not mapped:
                    raise
                library = next((name for name in _QUANTISERS if name in str(error)), None)
                if library is not None:
                    raise CheckpointError(
                        f"{self.path} is quantised by {library}, whose tensors are not read. Take the bf16, fp16, "
                        "fp8_scaled or GGUF file instead."
                    ) from error
                raise CheckpointError(
                    f"{self.path} holds more than tensors; its code is not run. Ask for a .safetensors file instead. "
                    f"({str(error).partition('.')[0][:200]})"
                ) from error
        if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
            loaded = loaded["state_dict"]
        if not isinstance(loaded, dict):
            raise CheckpointError(f"{self.path} holds a {type(loaded).__name__}, not a flat dict of tensors.")
        for name, value in loaded.items():
            if not isinstance(name, str) or not _is_plain(value):
                kind = type(value).__name__
                raise CheckpointError(
                    f"{self.path} is not a flat dict of plain tensors: {name!r} is a {kind}. "
                    "Save its state_dict only."
                )
        return loaded

    def read(self, name: str) -> Tensor:
        import torch

        # A copy, so that no tensor keeps the mapped file open.
        return self._tensors[name].detach().clone(memory_format=torch.contiguous_format)

    def read_rows(self, name: str, rows: Tensor) -> Tensor:
        return self._tensors[name].detach()[rows]

    def close(self) -> None:
        self._tensors = {}
