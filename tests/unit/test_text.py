"""Cleaning and tokenising prompts."""

import json

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors

from wan22.catalog import DEFAULT_NEGATIVE
from wan22.conditioning.text import Tokenizer, clean
from wan22.errors import CheckpointError
from wan22.nano.tokenizer import build_word_tokenizer

PIECES = ["▁", "▁a", "▁red", "▁ball", "▁ro", "ll", "s", ",", "▁in", "▁the", "▁sun", "n", "y"]
APPENDS_EOS = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])


def unigram(special=("<pad>", "</s>", "<unk>")):
    """A small relative of the release's tokenizer: Unigram, with spaces written as ▁."""
    vocab = [(token, 0.0) for token in special] + [(piece, -1.0 - i / 10) for i, piece in enumerate(PIECES)]
    tokenizer = tokenizers.Tokenizer(
        models.Unigram(vocab, unk_id=special.index("<unk>"), byte_fallback=False)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(special))
    return tokenizer


@pytest.fixture
def folder(tmp_path):
    unigram().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a\t red \n\n ball ", "a red ball"),
        ("“curly” ‘quotes’", "\"curly\" 'quotes'"),
        ("，：！（）", ",:!()"),
        ("保留。、", "保留。、"),
        ("a\u3000b", "a b"),
        ("a\u00a0\u2003b", "a b"),
        ("salt &amp;amp; pepper &lt;3", "salt & pepper <3"),
        ("schÃ¶n", "schön"),
        ("Case-Kept, punctuation!", "Case-Kept, punctuation!"),
        (" ", ""),
    ],
)
def test_cleaning_does_what_the_official_code_does(text, expected):
    assert clean(text) == expected


def test_the_default_negative_prompt_is_read_with_ascii_commas():
    assert len(DEFAULT_NEGATIVE.split("，")) == 28
    assert clean(DEFAULT_NEGATIVE).count(",") == 27
    assert "，" not in clean(DEFAULT_NEGATIVE)


def test_ids_end_with_end_of_text_and_are_padded(folder):
    ids, mask = Tokenizer.open(folder).encode(["a red ball rolls", ""], length=9)
    assert ids.tolist() == [[4, 5, 6, 7, 8, 9, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64


@pytest.mark.parametrize("length", [1, 2, 3, 6, 7])
def test_a_long_text_keeps_its_beginning_and_its_end_of_text(folder, length):
    ids, mask = Tokenizer.open(folder).encode(["a red ball rolls"], length)
    assert ids[0].tolist() == [*[4, 5, 6, 7, 8, 9][: length - 1], 1]
    assert mask.all()


def test_what_is_cut_off_is_told(folder):
    tokenizer = Tokenizer.open(folder)
    assert tokenizer.unread("a red  ball  rolls", length=3) == "ball rolls"
    assert tokenizer.unread("a red ball rolls", length=7) == ""
    assert tokenizer.unread("", length=1) == ""


def test_words_without_a_token_are_told(folder):
    assert Tokenizer.open(folder).unknown("a 象 in the 象 sun") == ["象"]


def test_what_the_file_says_about_ends_and_padding_does_not_matter(folder, tmp_path):
    expected = Tokenizer.open(folder).encode(["a red ball"], 8)
    other = unigram()
    other.post_processor = APPENDS_EOS
    other.enable_truncation(2)
    other.enable_padding(length=20, pad_id=3)
    other.save(str(tmp_path / "other.json"))
    for ours, plain in zip(
        Tokenizer.open(tmp_path / "other.json").encode(["a red ball"], 8), expected, strict=True
    ):
        assert torch.equal(ours, plain)


def test_the_ids_of_end_and_padding_are_those_of_the_file(tmp_path):
    unigram(("<unk>", "<pad>", "<s>", "</s>")).save(str(tmp_path / "tokenizer.json"))
    ids, _ = Tokenizer.open(tmp_path).encode(["a red"], 5)
    assert ids.tolist() == [[5, 6, 3, 1, 1]]


def test_transformers_makes_the_same_ids(tmp_path):
    from transformers import PreTrainedTokenizerFast

    file = tmp_path / "tokenizer.json"
    made = unigram()
    made.post_processor = APPENDS_EOS
    made.save(str(file))
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="<pad>", eos_token="</s>")
    texts = ["a red ball rolls", "", "in the sunny sun, a red red red ball", "  &quot;a&quot; ｂａｌｌ "]
    out = theirs(
        [clean(t) for t in texts], padding="max_length", truncation=True, max_length=8, return_tensors="pt"
    )
    ids, mask = Tokenizer.open(file).encode(texts, 8)
    assert torch.equal(ids, out["input_ids"])
    assert torch.equal(mask, out["attention_mask"])


@pytest.mark.parametrize("place", ["", "google/umt5-xxl", "tokenizer"])
def test_a_release_folder_is_searched_where_releases_keep_it(tmp_path, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    unigram().save(str(tmp_path / place / "tokenizer.json"))
    assert Tokenizer.open(str(tmp_path)).size == 3 + len(PIECES)


def test_a_missing_tokenizer_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json in"):
        Tokenizer.open(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no SentencePiece model"):
        Tokenizer.open(tmp_path)


def test_a_broken_or_foreign_tokenizer_is_one_clear_error(tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text('{"version": ')
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer.open(file)
    unigram(("<unk>", "<pad>")).save(str(file))
    with pytest.raises(CheckpointError, match="'</s>'"):
        Tokenizer.open(file)


CAPTIONS = ["A red ball rolls left, close-up.", "A blue ball bounces.", "A red cube is still, wide shot."]


def test_a_word_tokenizer_reads_what_it_was_built_from(tmp_path):
    build_word_tokenizer(CAPTIONS, 100).save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.open(tmp_path)
    assert not any(tokenizer.unknown(caption) for caption in CAPTIONS)
    ids, mask = tokenizer.encode(["a RED ball, close-up", "a red ball,close   up"], 12)
    assert torch.equal(ids[0], ids[1])
    assert mask[0].sum() == 7
    assert ids[0, 6] == 1
    assert ids[0, 7] == 0
    assert tokenizer.unknown("a green ball and a Green cube") == ["green", "and", "Green"]
    assert tokenizer.encode(["green"], 2)[0].tolist() == [[2, 1]]


def test_a_word_tokenizer_is_the_same_for_captions_in_any_order():
    first = json.loads(build_word_tokenizer(CAPTIONS, 100).to_str())
    again = json.loads(build_word_tokenizer(reversed(CAPTIONS), 100).to_str())
    assert first == again
    vocabulary = first["model"]["vocab"]
    assert [vocabulary[t] for t in ("<pad>", "</s>", "<unk>", ".", "a", ",", "ball")] == [*range(7)]


def test_a_word_tokenizer_keeps_the_most_frequent_words():
    made = build_word_tokenizer(CAPTIONS, 7)
    assert made.get_vocab_size() == 7
    assert set(made.get_vocab()) == {"<pad>", "</s>", "<unk>", "a", ".", ",", "ball"}
