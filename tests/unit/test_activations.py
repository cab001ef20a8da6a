"""What the official transformers take beside their weights, counted without running them."""

from dataclasses import replace

import pytest
import torch

from wan22.assembly import FLOAT32
from wan22.catalog import VARIANTS
from wan22.cli.plan import request_of
from wan22.memory.meter import metered
from wan22.memory.scheme import CHUNK_TOKENS, FEW_TOKENS, Scheme
from wan22.models.dit import NoiseLevels
from wan22.planning import Model, stages_of
from wan22.request import resolve
from wan22.weights.load import meta_module


def stored(name):
    return torch.float32 if any(part in name for part in FLOAT32) else torch.bfloat16


@pytest.mark.parametrize(
    "name, latent, whole, chunked",
    [("ti2v-5B", (31, 44, 80), 2.5e9, 1.5e9), ("t2v-A14B", (21, 90, 160), 9.5e9, 4.2e9)],
)
def test_chunks_of_tokens_take_a_fraction_of_the_memory_and_no_step_waits(name, latent, whole, chunked):
    row = VARIANTS[name]
    network = meta_module(replace(row.dit, layers=2))  # memory does not grow with the layers
    t, h, w = latent
    peaks = []
    with metered("cuda") as meter:
        meter.place(network, stored)
        text = network.read_text([meter.empty(128, row.dit.text_dim, dtype=torch.bfloat16)])
        levels = NoiseLevels(torch.tensor([[500.0]]))
        if row.image == "known":
            index = torch.zeros(t * h * w // 4, dtype=torch.int64, device=meter.device)
            levels = NoiseLevels(torch.tensor([[0.0, 500.0]]), index)
        for network.chunk in (None, CHUNK_TOKENS):
            x = meter.empty(1, row.dit.out_channels, t, h, w)
            network(x, levels, text)  # the tables of positions are made once
            meter.restart()
            network(x, levels, text)
            peaks.append(meter.counts.peak)
            assert meter.counts.syncs == 0
    assert peaks[0] <= whole and peaks[1] <= chunked


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [
    ("ti2v-5B", {"text": 1.0, "dit": 2.0, "decode": 3.7}),
    ("t2v-A14B", {"text": 1.0, "high": 5.0, "low": 5.0, "decode": 3.5}),
])  # fmt: skip
def test_the_released_models_fit_the_smallest_cards(name, most):
    """At their own size and length, streamed, weights included, the VAE in bfloat16; GB."""
    row = VARIANTS[name]
    request = request_of(row)
    model = Model(row, torch.bfloat16, torch.bfloat16)
    smallest = Scheme("host", stream=True, chunk=FEW_TOKENS, host_history=True)
    sizes = model.sizes("cuda")
    for stage in stages_of(resolve(request, row), model, "cuda", tokens=120):
        size = sizes[stage.part]
        weights = size.streamed if size.passing else size.whole
        assert weights + stage.counts(smallest).peak <= most[stage.name] * 1e9, stage.name
