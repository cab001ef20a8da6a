"""Name the exact weights of a video: a hash of each file, cheap enough to take every time.

Files of up to 256 MiB are hashed whole ("sha256:..."), and so is what the hub's cache already names by its hash.
Larger ones are hashed at 64 places and their size ("sampled:..."): enough to tell two checkpoints apart, not a proof
against forgery (`wan22 verify` reads everything).
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from wan22.weights.reader import Reader, weight_files

WHOLE = 256 * 2**20
_PLACES, _PIECE = 64, 2**18
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fingerprint(path: Path) -> str:
    """The fingerprint of a checkpoint: of its one file, or of the fingerprints of its shards in order."""
    prints = [_of_file(file) for file in weight_files(path)]
    if len(prints) == 1:
        return prints[0]
    kind = "sampled" if any(p.startswith("sampled") for p in prints) else "sha256"
    return f"{kind}:{hashlib.sha256(' '.join(prints).encode()).hexdigest()}"


def _of_file(path: Path) -> str:
    real = path.resolve()
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return f"sha256:{real.name}"
    stat = real.stat()
    return _hash(real, stat.st_size, stat.st_mtime_ns)


def fingerprint_of(reader: Reader) -> str:
    """The fingerprint of tensors that are in no file: of their names, their shapes and up to 4096 numbers of each."""
    digest = hashlib.sha256()
    for name in sorted(reader.infos):
        info = reader.infos[name]
        numbers = reader.read(name).flatten()
        numbers = numbers[:: max(1, info.count // 4096)].double().contiguous()
        digest.update(f"{name} {info.shape} {info.dtype}".encode())
        digest.update(numbers.numpy().tobytes())
    return f"sampled:{digest.hexdigest()}"


@lru_cache(maxsize=64)
def _hash(path: Path, size: int, modified: int) -> str:
    del modified  # only part of the cache's key
    with path.open("rb") as file:
        if size <= WHOLE:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        digest = hashlib.sha256(str(size).encode())
        for i in range(_PLACES):
            file.seek((size - _PIECE) * i // (_PLACES - 1))
            digest.update(file.read(_PIECE))
    return f"sampled:{digest.hexdigest()}"
