"""The tokenizer as it lies among weights: in a folder, within a text encoder's file, or in the metadata of a GGUF.

ComfyUI and llama.cpp carry the SentencePiece model along with the text encoder, as its bytes or as its pieces. Here
each of them becomes the bytes of a SentencePiece model (sentencepiece_model.proto), which everybody reads. It knows
no text.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22.errors import CheckpointError
from wan22.weights.dialects.comfy import spiece_name
from wan22.weights.reader import SUFFIXES, open_reader, read_json

FILES = ("tokenizer.json", "spiece.model")
_NORMAL, _UNKNOWN, _CONTROL, _USER = 1, 2, 3, 4
_GGUF = "tokenizer.ggml."


@dataclass(frozen=True)
class Pieces:
    """A Unigram model: text, score and kind of each piece, in the order of ids, and the map of characters."""

    pieces: tuple[tuple[str, float, int], ...]
    charsmap: bytes
    byte_fallback: bool = False

    def encode(self) -> bytes:
        """The bytes of the SentencePiece model. Numbers of fields are those of sentencepiece_model.proto."""
        body = b"".join(
            _field(
                1,
                _field(1, text.encode()) + _float(2, score) + (_number(3, kind) if kind != _NORMAL else b""),
            )
            for text, score, kind in self.pieces
        )
        ids = {text: i for i, (text, _, _) in enumerate(self.pieces)}
        trainer = _number(3, 1) + _number(4, len(self.pieces)) + _number(35, int(self.byte_fallback))
        for field, text in ((40, "<unk>"), (41, "<s>"), (42, "</s>"), (43, "<pad>")):
            trainer += _number(field, ids.get(text, -1))
        normalizer = _field(1, b"nmt_nfkc") + _field(2, self.charsmap)
        normalizer += _number(3, 1) + _number(4, 1) + _number(5, 1)
        return body + _field(2, trainer) + _field(3, normalizer)


def holds_tokenizer(place: Path) -> bool:
    """Whether a folder or file has a tokenizer in it."""
    if place.is_dir():
        return any((place / name).is_file() for name in FILES)
    if place.name in FILES and place.is_file():
        return True
    if place.suffix not in SUFFIXES:
        return False
    try:
        with open_reader(place) as reader:
            return spiece_name(reader.infos) is not None or reader.metadata.get(f"{_GGUF}model") == "t5"
    except CheckpointError:
        return False


def read_spiece(place: Path) -> bytes | None:
    """The bytes of the SentencePiece model in a folder or file, made from other forms if need be.

    None if a tokenizer is there that is not of that kind (a list of words, say). Raises CheckpointError if there is no
    tokenizer, or it is damaged.
    """
    if place.is_dir() or place.name in FILES:
        return _of_folder(place if place.is_dir() else place.parent)
    with open_reader(place) as reader:
        if name := spiece_name(reader.infos):
            return bytes(reader.read(name).view(-1).numpy().tobytes())
    if place.suffix == ".gguf":
        return _of_gguf(place).encode()
    raise CheckpointError(f"{place} carries no tokenizer")


def _of_folder(folder: Path) -> bytes | None:
    if (folder / "spiece.model").is_file():
        return (folder / "spiece.model").read_bytes()
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder} has none of {', '.join(FILES)}")
    values = read_json(folder / "tokenizer.json")
    model = values.get("model")
    if not isinstance(model, dict) or "type" not in model:
        raise CheckpointError(f"{folder / 'tokenizer.json'} is no tokenizer: it names no model")
    if model["type"] != "Unigram":
        return None
    try:
        return _of_json(values, model).encode()
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{folder / 'tokenizer.json'} is no Unigram tokenizer: {error}") from None


def _of_json(values: dict[str, Any], model: dict[str, Any]) -> Pieces:
    added = {token["content"]: token for token in values.get("added_tokens") or ()}

    def kind(i: int, text: str) -> int:
        if i == model.get("unk_id"):
            return _UNKNOWN
        if text in added:
            return _CONTROL if added[text].get("special") else _USER
        return _NORMAL

    pieces = [(text, float(score), kind(i, text)) for i, (text, score) in enumerate(model["vocab"])]
    known = {text for text, _, _ in pieces}
    for token in sorted(added.values(), key=lambda token: token["id"]):
        if token["content"] not in known and token["id"] == len(pieces):
            pieces.append((token["content"], 0.0, _USER))
    charsmap = next(_charsmaps(values.get("normalizer")), "")
    return Pieces(tuple(pieces), base64.b64decode(charsmap), bool(model.get("byte_fallback")))


def _charsmaps(normalizer: Any) -> Iterator[str]:
    if isinstance(normalizer, dict):
        if isinstance(found := normalizer.get("precompiled_charsmap"), str):
            yield found
        for inner in normalizer.get("normalizers") or ():
            yield from _charsmaps(inner)


def _of_gguf(path: Path) -> Pieces:
    """The pieces in the metadata of a T5 file of llama.cpp."""
    from wan22.weights.gguf_file import read_fields

    fields = read_fields(path, _GGUF)
    try:
        tokens, scores = fields[f"{_GGUF}tokens"], fields[f"{_GGUF}scores"]
        kinds = fields.get(f"{_GGUF}token_type") or [_NORMAL] * len(tokens)
        charsmap = bytes(value & 255 for value in fields.get(f"{_GGUF}precompiled_charsmap") or ())
        pieces = tuple(
            (str(text), float(score), int(kind))
            for text, score, kind in zip(tokens, scores, kinds, strict=True)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the tokenizer in its metadata is not complete: {error}") from None
    return Pieces(pieces, charsmap, any(kind == 6 for _, _, kind in pieces))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
