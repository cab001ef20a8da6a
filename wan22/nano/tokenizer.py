"""Tokenizers for small models, in the format that `Tokenizer.open` reads: whole words, and pieces of CJK scripts.

Their vocabulary is what the captions say. They know no network and write no file: a tokenizer.json is `.to_str()`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import regex
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

from wan22.conditioning.text import clean
from wan22.errors import OptionError

SPECIAL = ("<pad>", "</s>", "<unk>")
"""The tokens with ids 0, 1 and 2."""

_CJK = r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
"""Ideographs, kana with the long-vowel mark, and Hangul syllables, as a class of a regular expression."""
_BREAK = r"[\s\-‐‑–—]+"


def build_word_tokenizer(captions: Iterable[str], max_vocab: int) -> tokenizers.Tokenizer:
    """Return a tokenizer of the `max_vocab` - 3 most frequent words of `captions` (ties: alphabetical).

    Case does not matter. Words are parted by white space and hyphens, so "close-up" and "close up" are the
    same; each punctuation mark is a word of its own. The same captions, in any order, give the same ids.
    """
    tokenizer = _blank([])
    count = _count(tokenizer, captions)
    _set_vocabulary(tokenizer, _ranked(count)[: max_vocab - len(SPECIAL)])
    return tokenizer


def build_caption_tokenizer(captions: Iterable[str], max_vocab: int) -> tokenizers.Tokenizer:
    """Return a tokenizer of at most `max_vocab` entries for captions of mixed languages.

    Latin words, digits and marks are tokens as in `build_word_tokenizer`, all that occur. Runs of Chinese, Japanese and
    Korean are cut, longest match first, into every single character that occurs and as many longer pieces as there is
    room for; the pieces come from byte-pair merges (Sennrich et al. 2016, arXiv:1508.07909), those kept that save most
    tokens. What is in none of them is one unknown word, so that its reader can be told. The same captions, in any
    order, give the same ids. Raises OptionError if words and single characters alone are more than `max_vocab`.
    """
    whole = _count(_blank([_runs()]), captions)
    words = [word for word in _ranked(whole) if not regex.match(f"[{_CJK}]", word)]
    runs = Counter({run: n for run, n in whole.items() if regex.match(f"[{_CJK}]", run)})
    characters = sorted({character for run in runs for character in run})
    room = max_vocab - len(SPECIAL) - len(words) - len(characters)
    if room < 0:
        raise OptionError(
            f"a vocabulary of {max_vocab} is too small for {len(words)} words and {len(characters)} characters: "
            f"allow {max_vocab - room} or more"
        )
    pieces = _best_pieces(runs, room)
    tokenizer = _blank([_runs(), _cut([*pieces, *characters])])
    _set_vocabulary(tokenizer, [*words, *characters, *pieces])
    return tokenizer


def _blank(cuts: list[pre_tokenizers.PreTokenizer]) -> tokenizers.Tokenizer:
    """A tokenizer without vocabulary; `cuts` part further what spaces, hyphens and marks have parted."""
    tokenizer = tokenizers.Tokenizer(models.WordLevel({}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_BREAK), behavior="removed"),
            pre_tokenizers.Punctuation(behavior="isolated"),
            *cuts,
        ]
    )
    return tokenizer


def _set_vocabulary(tokenizer: tokenizers.Tokenizer, words: list[str]) -> None:
    tokenizer.model = models.WordLevel(
        {word: i for i, word in enumerate([*SPECIAL, *words])}, unk_token="<unk>"
    )
    tokenizer.add_special_tokens(list(SPECIAL))


def _count(tokenizer: tokenizers.Tokenizer, captions: Iterable[str]) -> Counter[str]:
    count: Counter[str] = Counter()
    for caption in captions:
        text = tokenizer.normalizer.normalize_str(clean(caption))
        count.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    return count


def _ranked(count: Counter[str]) -> list[str]:
    return sorted(count, key=lambda word: (-count[word], word))


def _runs() -> pre_tokenizers.PreTokenizer:
    """Part CJK from the rest, so that "50mm镜头" is a word and a run."""
    return pre_tokenizers.Split(Regex(f"[{_CJK}]+"), behavior="isolated")


def _cut(pieces: list[str]) -> pre_tokenizers.PreTokenizer:
    """Cut runs into pieces, the longest first; an unknown stretch stays in one."""
    longest_first = sorted(pieces, key=lambda piece: (-len(piece), piece))
    return pre_tokenizers.Split(Regex("|".join(longest_first) or r"\b\B"), behavior="isolated")


def _best_pieces(runs: Counter[str], room: int) -> list[str]:
    """Pieces of two characters or more, at most `room`: of twice as many merges, those that save most tokens."""
    alphabet = sorted({character for run in runs for character in run})
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 2 * room, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    merged = tokenizers.Tokenizer(models.BPE())
    merged.train_from_iterator(_repeat(runs), trainer)
    pieces = [piece for piece in merged.get_vocab() if len(piece) > 1]
    while True:
        cut = regex.compile("|".join(sorted([*pieces, *alphabet], key=lambda piece: (-len(piece), piece))))
        saved: Counter[str] = Counter()
        for run, n in runs.items():
            for piece in cut.findall(run):
                saved[piece] += n * (len(piece) - 1)
        ranked = [piece for piece in _ranked(saved) if len(piece) > 1 and saved[piece]]
        if len(ranked) <= room:
            return ranked
        # A few at a time: what a dropped piece held goes to others, which then save more.
        pieces = ranked[: max(room, len(ranked) * 9 // 10)]


def _repeat(runs: Counter[str]) -> Iterator[str]:
    for run in _ranked(runs):
        for _ in range(runs[run]):
            yield run
