"""The text encoder against the official numbers, and against transformers on random weights."""

import pytest
import torch

from wan22.models.umt5 import UMT5Arch, UMT5Encoder, relative_buckets


def arch_of(config):
    return UMT5Arch(
        vocab=config["vocab"],
        dim=config["dim"],
        dim_attn=config["dim_attn"],
        ffn_dim=config["dim_ffn"],
        heads=config["num_heads"],
        layers=config["num_layers"],
        buckets=config["num_buckets"],
    )


@pytest.mark.golden("text_encoder*")
def test_features_equal_the_official_ones(golden, relative_error):
    encoder = UMT5Encoder(arch_of(golden.config))
    encoder.load_state_dict(golden.weights())
    with torch.no_grad():
        contexts = encoder.contexts(golden.inputs["ids"], golden.inputs["mask"])
    assert len(contexts) == len(golden.outputs)
    for i, ours in enumerate(contexts):
        assert relative_error(ours, golden.outputs[f"context.{i}"]) <= 1e-5


ARCH = UMT5Arch(vocab=50, dim=24, dim_attn=32, ffn_dim=40, heads=4, layers=2)

# Ours -> transformers, inside a block.
BLOCK = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}


@pytest.fixture
def texts():
    torch.manual_seed(0)
    mask = torch.zeros(3, 160, dtype=torch.long)
    for row, length in zip(mask, (150, 1, 9), strict=True):
        row[:length] = 1
    return torch.randint(0, ARCH.vocab, mask.shape) * mask, mask


@pytest.fixture
def twins():
    """Our encoder and the one of transformers, with the same random weights."""
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=ARCH.vocab,
        d_model=ARCH.dim,
        d_kv=ARCH.dim_attn // ARCH.heads,
        d_ff=ARCH.ffn_dim,
        num_layers=ARCH.layers,
        num_heads=ARCH.heads,
        relative_attention_num_buckets=ARCH.buckets,
        relative_attention_max_distance=ARCH.max_distance,
        feed_forward_proj="gated-gelu",
    )
    torch.manual_seed(1)
    theirs = UMT5EncoderModel._from_config(config, attn_implementation="eager").eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = theirs.state_dict()
    ours = UMT5Encoder(ARCH)
    names = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
    for i in range(ARCH.layers):
        for mine, other in BLOCK.items():
            names[f"blocks.{i}.{mine}.weight"] = f"encoder.block.{i}.{other}.weight"
    ours.load_state_dict({mine: state[other] for mine, other in names.items()})
    return ours, theirs


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-3)])
def test_features_equal_those_of_transformers(texts, twins, relative_error, dtype, bound):
    ids, mask = texts
    ours, theirs = (model.to(dtype) for model in twins)
    with torch.no_grad():
        contexts = ours.contexts(ids, mask)
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    for i, length in enumerate(mask.sum(1).tolist()):
        assert contexts[i].dtype == dtype
        assert relative_error(contexts[i], expected[i, :length]) <= bound


def test_padding_comes_out_as_zeros_and_changes_nothing(texts):
    ids, mask = texts
    encoder = UMT5Encoder(ARCH)
    encoder.init_weights()
    with torch.no_grad():
        rows = encoder(ids, mask)
        wider = encoder(torch.nn.functional.pad(ids, (0, 40)), torch.nn.functional.pad(mask, (0, 40)))
        alone = encoder(ids[2:, :9], mask[2:, :9])
    assert rows.shape == (3, 160, ARCH.dim)
    assert not rows[mask == 0].any()
    assert torch.equal(wider[:, :160], rows)
    torch.testing.assert_close(alone[0], rows[2, :9])


def test_fresh_weights_give_features_of_ordinary_size(texts):
    torch.manual_seed(0)
    encoder = UMT5Encoder(ARCH)
    encoder.init_weights()
    with torch.no_grad():
        rows = encoder(*texts)[texts[1] == 1]
    assert 0.5 < rows.std() < 2
    assert torch.equal(encoder.norm.weight, torch.ones(ARCH.dim))


def test_distances_fall_into_the_published_buckets():
    row = relative_buckets(200, 32, 128)[:, 0].tolist()  # key 0 as every query sees it
    starts = {8: 8, 12: 9, 16: 10, 23: 11, 32: 12, 46: 13, 64: 14, 91: 15}
    expected, bucket = [], 0
    for distance in range(200):
        bucket = distance if distance < 8 else starts.get(distance, bucket)
        expected.append(bucket)
    assert row == expected
    assert relative_buckets(200, 32, 128)[0, 1:].tolist() == [16 + b for b in expected[1:]]


def test_float16_stays_finite_where_the_sum_would_not_fit():
    encoder = UMT5Encoder(ARCH).half()
    with torch.no_grad():
        encoder.init_weights()
        encoder.blocks[0].ffn.fc2.weight.mul_(30000)
        rows = encoder(torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.long))
    assert torch.isfinite(rows).all()


def test_the_full_size_encoder_has_the_published_number_of_parameters():
    with torch.device("meta"):
        encoder = UMT5Encoder(UMT5Arch(256384, 4096, 4096, 10240, 64, 24))
    assert sum(p.numel() for p in encoder.parameters()) == 5_680_910_336
    assert len(encoder.state_dict()) == 242
