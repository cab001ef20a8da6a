"""Context and guidance parallel equal one process: 2 ranks, and 4 (slow), on the networks of the recorded cases."""

import pytest
import torch
from launch import run
from networks import CASES, case, error

from wan22.errors import ParallelError
from wan22.ops.attention import sdpa, with_lse
from wan22.parallel.context import ContextParallel
from wan22.parallel.layout import Layout
from wan22.parallel.mesh import Mesh

BOUND = 1e-5
CPU = torch.device("cpu")


def velocities(rank: int, layout: Layout, names: tuple[str, ...]) -> dict[str, float]:
    """How far each velocity is from that of one process: whole, few tokens at a time, and of two samples."""
    mesh, found = Mesh.make(layout, CPU), {}
    with torch.inference_mode():
        for name in names:
            for batch, chunk in ((1, None), (1, 5), (2, None)):
                if name.startswith("s2v") and batch == 2:
                    continue
                network, told = case(name, batch)
                expected = network(**told)
                network.chunk = chunk
                found[f"{name}, {batch} at once, chunks of {chunk}"] = error(
                    ContextParallel(network, mesh)(**told), expected
                )
    return found


def close(results: list[dict[str, float]]) -> None:
    for rank, found in enumerate(results):
        assert found and all(value <= BOUND for value in found.values()), (rank, found)


@pytest.mark.parametrize("layout", [Layout(context=2), Layout(context=2, ring=2)], ids=str)
def test_two_ranks_find_the_velocity_of_one(layout):
    close(run(2, velocities, layout, CASES))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "layout"),
    [
        (3, Layout(context=3)),
        (4, Layout(context=4, ring=2)),
        (4, Layout(context=4, ring=4)),
    ],
    ids=str,
)
def test_more_ranks_find_the_velocity_of_one(ranks, layout):
    """4 heads on 3 ranks, and 18 tokens on 4, do not divide."""
    close(run(ranks, velocities, layout, CASES))


def gradients(rank: int, layout: Layout) -> dict[str, float]:
    """How far the mean over ranks of every parameter's gradient is from that of one process, of all together."""
    mesh, found = Mesh.make(layout, CPU), {}
    for name in ("dit_ti2v", "s2v_transformer", "animate_transformer"):
        grads = []
        for call in (lambda network: network, lambda network: ContextParallel(network, mesh)):
            network, told = case(name)
            velocity = call(network)(**told)
            (velocity * torch.linspace(-1, 1, velocity.numel()).view_as(velocity)).mean().backward()
            flat = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
            grads.append(torch.cat(flat))
        found[name] = error(mesh.context.gather(grads[1][None], 0).mean(0), grads[0])
    return found


@pytest.mark.parametrize("layout", [Layout(context=2), Layout(context=2, ring=2)], ids=str)
def test_gradients_are_those_of_one_process(layout):
    close(run(2, gradients, layout))


def few_tokens(rank: int) -> float:
    """Three ranks for two tokens: one rank has none."""
    mesh = Mesh.make(Layout(context=3), CPU)
    network, told = case("dit_t2v")
    told["x"] = told["x"][:, :, :2, :2, :2]  # two tokens
    with torch.inference_mode():
        return error(ContextParallel(network, mesh)(**told), network(**told))


@pytest.mark.slow
def test_a_rank_may_have_no_token():
    assert max(run(3, few_tokens)) <= BOUND


def refused(rank: int) -> str:
    mesh = Mesh.make(Layout(context=2), CPU)
    network, _ = case("dit_t2v")
    network.arch = type(network.arch)(**{**vars(network.arch), "heads": 1})
    with pytest.raises(ParallelError) as caught:
        ContextParallel(network, mesh)
    return str(caught.value)


def test_more_ranks_than_heads_are_refused():
    assert all("the model has 1; take ring=2" in said for said in run(2, refused))


@pytest.mark.parametrize("grad", [False, True])
def test_attention_and_its_logarithm_of_the_sum(grad):
    q, k, v = (
        torch.randn(2, rows, 3, 8, generator=torch.Generator().manual_seed(rows)) for rows in (7, 9, 9)
    )
    with torch.set_grad_enabled(grad):
        out, lse = with_lse(q, k, v)
    scores = torch.einsum("blne,bsne->blns", q, k) * 8**-0.5
    assert error(out, sdpa(q, k, v)) <= 1e-6 and error(lse, scores.logsumexp(-1)) <= 1e-6
