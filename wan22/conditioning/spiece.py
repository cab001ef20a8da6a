"""A SentencePiece model, read from its bytes: what ComfyUI's text encoder files carry in place of a `tokenizer.json`.

It knows the few fields of the format that decide how text is split (sentencepiece_model.proto), no file and no network.
"""

import struct
from collections.abc import Iterator
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from wan22.errors import CheckpointError
from wan22.files import reading

_UNIGRAM = 1
_UNKNOWN, _CONTROL, _USER = 2, 3, 4
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def read_pieces(data: bytes) -> Tokenizer:
    """Return the tokenizer of a Unigram model, splitting text as SentencePiece does.

    Raises:
        CheckpointError: the bytes are not a SentencePiece model, or not of the Unigram kind.
    """
    with reading("the text encoder's file", CheckpointError, "carries no SentencePiece model"):
        return _tokenizer(data)


def _tokenizer(data: bytes) -> Tokenizer:
    pieces = [_piece(value) for number, value in _fields(data) if number == 1]
    trainer, normalizer = (dict(_fields(_last(data, number))) for number in (2, 3))
    unknown = [i for i, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN]
    if trainer.get(3, _UNIGRAM) != _UNIGRAM or not unknown:
        raise CheckpointError("the text encoder's file carries no SentencePiece model of the Unigram kind")
    vocabulary = [(text, score) for text, score, _ in pieces]
    # Fields: trainer 35 is byte_fallback; normalizer 2 the character map.
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown[0], byte_fallback=bool(trainer.get(35))))
    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    charsmap = [normalizers.Precompiled(normalizer[2])] if normalizer.get(2) else []
    tokenizer.normalizer = normalizers.Sequence([*charsmap, *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([text for text, _, kind in pieces if kind == _CONTROL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text, _, kind in pieces if kind == _USER])
    return tokenizer


def _piece(data: bytes) -> tuple[str, float, int]:
    """Text, score and kind (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte) of a piece."""
    fields = dict(_fields(data))
    return fields[1].decode(), struct.unpack("<f", fields[2])[0] if 2 in fields else 0.0, fields.get(3, 1)


def _last(data: bytes, number: int) -> bytes:
    found = [value for n, value in _fields(data) if n == number]
    return found[-1] if found else b""


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: an int for kind varint, else bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
        else:
            if kind == _BYTES:
                size, at = _varint(data, at)
            elif kind in (_EIGHT, _FOUR):
                size = 8 if kind == _EIGHT else 4
            else:
                raise IndexError(f"a field of unknown kind {kind}")
            if at + size > len(data):
                raise IndexError("it is truncated")
            value, at = data[at : at + size], at + size
        yield tag >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if shift > 63:
            raise IndexError("a number of more than 64 bits")
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
