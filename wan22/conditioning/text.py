"""From a prompt to token ids: cleaning, splitting, end of text, padding. It knows no network.

The tokenizer is the release's own `tokenizer.json`. What surrounds the tokens (end of text, truncation,
padding) is done here, in the open, whatever the file says about it (spec: text_encoder, section 4).
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ftfy
import regex
import tokenizers
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wan22.conditioning.spiece import read_pieces
from wan22.errors import CheckpointError
from wan22.files import read_bytes, reading

FILE, PIECES = "tokenizer.json", "spiece.model"
_LIMIT = 256_000_000  # bytes; that of the releases has 17 million
# Where releases keep it: at the top, in the official folders, in Diffusers folders.
PLACES = ("", "google/umt5-xxl", "tokenizer")


def clean(text: str) -> str:
    """Repair mojibake and full-width or curly punctuation, undo HTML escapes, and collapse white space."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return regex.sub(r"\s+", " ", text).strip()


class Context(NamedTuple):
    """An encoded prompt: its rows, and to how many of them it is padded with zeros where the network reads it."""

    rows: Float[Tensor, "s text"]
    length: int

    @classmethod
    def of(cls, embeds: Float[Tensor, "s text"]) -> "Context":
        """An encoded prompt with its padding: the rows of zeros at its end."""
        told = embeds.ne(0).any(dim=1).cpu().nonzero()
        return cls(embeds[: int(told[-1]) + 1 if len(told) else 1], len(embeds))

    @property
    def embeds(self) -> Float[Tensor, "length text"]:
        """With its padding."""
        return torch.cat([self.rows, self.rows.new_zeros(self.length - len(self.rows), self.rows.shape[1])])


class Tokenizer:
    """Prompts to ids, as the official release makes them."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Take a tokenizer with the tokens `</s>` and `<pad>`, whatever their ids; else CheckpointError."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._eos = self._id("</s>")
        self._pad = self._id("<pad>")

    @classmethod
    def open(cls, path: Path | str) -> "Tokenizer":
        """Read a `tokenizer.json`, or the one in a release's folder (official, Diffusers, or its own); if there is
        none, the `spiece.model` there.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        file = _find(Path(path))
        content = read_bytes(file, CheckpointError, limit=_LIMIT)
        if file.name == PIECES:
            return cls.from_pieces(content)
        with reading(file, CheckpointError, "is not a tokenizer", "Download it again."):
            return cls(tokenizers.Tokenizer.from_buffer(content))

    @classmethod
    def from_pieces(cls, data: bytes) -> "Tokenizer":
        """Take the bytes of a SentencePiece model, which ComfyUI's text encoder files carry; else CheckpointError."""
        return cls(read_pieces(data))

    @property
    def size(self) -> int:
        """Number of known tokens; every id is below it in the tokenizers of the releases."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def pad_id(self) -> int:
        """The token that fills rows."""
        return self._pad

    @property
    def unknown_id(self) -> int:
        """The id of a word that has no token; CheckpointError if every text has tokens, as in the releases."""
        return self._id("<unk>")

    def encode(
        self, texts: Sequence[str], length: int = 512
    ) -> tuple[Int[Tensor, "b s"], Int[Tensor, "b s"]]:
        """Clean the texts and return ids and mask (1 at real tokens), int64.

        Each row is the text's first `length` - 1 tokens at most, then end of text, then padding. An empty
        text is its end alone.
        """
        ids = torch.full((len(texts), length), self._pad, dtype=torch.int64)
        mask = torch.zeros(len(texts), length, dtype=torch.int64)
        for i, text in enumerate(texts):
            row = [*self._split(text).ids[: length - 1], self._eos]
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return ids, mask

    def unread(self, text: str, length: int = 512) -> str:
        """Return the end of the cleaned text that `encode` cuts off; empty if all of it is read."""
        offsets = self._split(text).offsets[length - 1 :]
        return clean(text)[offsets[0][0] :].strip() if offsets else ""

    def unknown(self, text: str) -> list[str]:
        """Return the words of the cleaned text for which the tokenizer has no token, in order, each once."""
        words = clean(text)
        unk = self._tokenizer.token_to_id("<unk>")
        encoding = self._split(text)
        found = (
            words[a:b].strip() for id, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if id == unk
        )
        return list(dict.fromkeys(found))

    def notices(self, texts: Sequence[tuple[str, str]], length: int, model: str) -> list[str]:
        """What people should know of texts, each with what it is called, that a model reads up to `length` tokens."""
        said = []
        for what, text in texts:
            if unread := self.unread(text, length):
                said.append(f"the {what} is too long; this part is not read: {unread!r}")
            if unknown := self.unknown(text):
                said.append(f"{model} does not know these words of the {what}: {', '.join(unknown)}")
        return said

    def _split(self, text: str) -> tokenizers.Encoding:
        return self._tokenizer.encode(clean(text), add_special_tokens=False)

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise CheckpointError(
                f"the tokenizer has no token {token!r}; it is not that of a Wan text encoder."
            )
        return found


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    for name in (FILE, PIECES):
        for place in PLACES:
            if (path / place / name).is_file():
                return path / place / name
    raise CheckpointError(f"no {FILE} in {path}, nor in its folders {PLACES[1]} and {PLACES[2]}.")
