"""The text encoder that learns to say labels, and the tokenizer of its captions."""

import math
import random

import pytest
import torch

from wan22.arch import UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, OptionError
from wan22.models.umt5 import UMT5Encoder
from wan22.nano.text_pretraining import (
    LabelReader,
    label_accuracy,
    label_classes,
    pretrain_text_encoder,
    table,
)
from wan22.nano.tokenizer import build_caption_tokenizer
from wan22.stage.caption import LANGUAGES, Caption, caption
from wan22.stage.labels import AXES, Shot, sample

pytestmark = pytest.mark.slow


def texts(count: int = 600) -> list[str]:
    rng = random.Random(0)
    return [caption(shot, rng).text for shot in sample(count, seed=2)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(build_caption_tokenizer(texts(), 1500))


def arch(tokenizer: Tokenizer) -> UMT5Arch:
    return UMT5Arch(vocab=tokenizer.size, dim=16, dim_attn=16, ffn_dim=16, heads=2, layers=1)


def test_the_vocabulary_has_its_limit_and_does_not_depend_on_the_order():
    made = build_caption_tokenizer(texts(), 1100)
    assert made.get_vocab_size() <= 1100
    assert made.to_str() == build_caption_tokenizer(reversed(texts()), 1100).to_str()
    assert [made.id_to_token(i) for i in range(3)] == ["<pad>", "</s>", "<unk>"]


def test_a_file_of_it_opens_as_any_tokenizer(tokenizer: Tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    build_caption_tokenizer(texts(), 1500).save(str(path))
    ids, mask = Tokenizer.open(path).encode(texts(8), 64)
    assert torch.equal(ids, tokenizer.encode(texts(8), 64)[0])
    assert (ids[torch.arange(8), mask.sum(1) - 1] == 1).all()


def test_captions_have_no_unknown_words_and_fit(tokenizer: Tokenizer):
    ids, mask = tokenizer.encode(texts(), 128)
    assert not (ids == 2).any()
    assert mask.sum(1).float().quantile(0.99) <= 63


def test_case_hyphens_and_full_width_marks_do_not_matter(tokenizer: Tokenizer):
    ids, _ = tokenizer.encode(["A Close-up, red ball", "a close up，red ball"], 16)
    assert torch.equal(ids[0], ids[1])


def test_unknown_words_are_named_whole_and_pieces_are_known(tokenizer: Tokenizer):
    assert tokenizer.unknown("a red dragon 红色的球 빨간 공") == ["dragon"]


def test_cjk_has_pieces_of_several_characters():
    made = build_caption_tokenizer(["红色的球,镜头向左摇"] * 3 + ["镜头向右摇"] * 3 + ["a red ball"], 25)
    tokens = made.encode("镜头向左摇 red").tokens
    assert tokens[-1] == "red" and "".join(tokens[:-1]) == "镜头向左摇"
    assert len(tokens) < 6


def test_too_small_a_vocabulary_is_refused_with_the_size_that_would_do():
    with pytest.raises(OptionError, match="allow 8 or more"):
        build_caption_tokenizer(["red ball 红球 공"], 5)


def test_classes_are_values_or_unsaid():
    made = Caption("a red cone", "en", frozenset({"subject", "colour"}))
    (row,) = label_classes([Shot("cone", "red")], [made]).tolist()
    assert row[:2] == [2, 0]
    assert row[2:] == [len(values) for values in list(AXES.values())[2:]]


def test_a_reader_does_not_see_padding(tokenizer: Tokenizer):
    torch.manual_seed(0)
    reader = LabelReader(arch(tokenizer))
    reader.init_weights()
    short = reader(*tokenizer.encode(["a red ball"], 8))
    long = reader(*tokenizer.encode(["a red ball"], 40))
    for a, b, values in zip(short, long, AXES.values(), strict=True):
        assert a.shape == (1, len(values) + 1)
        torch.testing.assert_close(a, b)


def test_training_lowers_the_loss_and_gives_contexts_of_unit_size(tokenizer: Tokenizer, tmp_path):
    lines: list[str] = []
    sizes = arch(tokenizer)
    _, weights = pretrain_text_encoder(
        sizes, tokenizer, tmp_path, steps=50, batch=4, seed=3, log=lines.append, read=4
    )
    encoder = UMT5Encoder(sizes)
    encoder.load_state_dict(weights)
    contexts = torch.cat(encoder.contexts(*tokenizer.encode(texts(64), 64)))
    assert abs(contexts.square().mean().sqrt().item() - 1) < 0.05
    chance = sum(math.log(len(values) + 1) for values in AXES.values())
    (loss,) = (float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line)
    assert loss < chance - 0.3  # the mean over all steps, the first ones too
    _, again = pretrain_text_encoder(
        sizes, tokenizer, tmp_path, steps=50, batch=4, seed=3, log=lines.append, read=4
    )
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    with pytest.raises(CheckpointError, match="another recipe"):
        pretrain_text_encoder(sizes, tokenizer, tmp_path, steps=50, batch=4, seed=4, log=lines.append)


def test_readings_cover_every_axis_and_language(tokenizer: Tokenizer):
    reader = LabelReader(arch(tokenizer))
    reader.init_weights()
    accuracies = label_accuracy(reader, tokenizer, count=20, seed=0, held_out=True)
    assert {(r.axis, r.language) for r in accuracies} == {(a, lang) for a in AXES for lang in LANGUAGES}
    assert len(table(accuracies)) == len(AXES) + 1
