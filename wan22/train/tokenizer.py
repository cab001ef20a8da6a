"""A tokenizer of whole words for small models, in the format that `Tokenizer.open` reads.

Its vocabulary is what the captions say. It knows no network and writes no file: `.save(path)` does.
"""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from wan22.conditioning.text import clean

SPECIAL = ("<pad>", "</s>", "<unk>")
"""The tokens with ids 0, 1 and 2."""


def build_word_tokenizer(captions: Iterable[str], max_vocab: int) -> tokenizers.Tokenizer:
    """Return a tokenizer of the `max_vocab` - 3 most frequent words of `captions` (ties: alphabetical).

    Case does not matter. Words are parted by white space and hyphens, so "close-up" and "close up" are the
    same; each punctuation mark is a word of its own. The same captions, in any order, give the same ids.
    """
    tokenizer = tokenizers.Tokenizer(models.WordLevel({}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\s\-‐‑–—]+"), behavior="removed"),
            pre_tokenizers.Punctuation(behavior="isolated"),
        ]
    )
    count: Counter[str] = Counter()
    for caption in captions:
        text = tokenizer.normalizer.normalize_str(clean(caption))
        count.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    words = sorted(count, key=lambda word: (-count[word], word))
    vocabulary = [*SPECIAL, *words][:max_vocab]
    tokenizer.model = models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>")
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer
