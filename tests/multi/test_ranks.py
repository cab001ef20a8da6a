"""The collectives of a group of ranks, in two gloo processes: what arrives, gradients, and counted bytes."""

from datetime import timedelta

import pytest
import torch
from launch import RankError, run
from torch.distributed import distributed_c10d

from wan22.errors import ParallelError
from wan22.parallel import ranks
from wan22.parallel.layout import Layout
from wan22.parallel.mesh import Mesh
from wan22.parallel.ranks import share, shares


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def all_at_once(rank: int) -> dict:
    mesh = Mesh.make(Layout(context=2), torch.device("cpu"))
    world, found = mesh.world, {}
    whole = drawn(2, 5, 3)
    sizes = shares(5, 2)
    own = whole[:, share(5, 2, rank)]
    found["gather"] = torch.equal(world.gather(own, 1, sizes), whole)
    found["gather, from the end"] = torch.equal(world.gather(own, -2, sizes), whole)
    found["gather of nothing"] = torch.equal(world.gather(whole[:, : 5 * rank], 1, [0, 5]), whole)
    for dtype in (torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        cast = (whole * 100).to(dtype)
        found[f"gather {dtype}"] = torch.equal(world.gather(cast[:, share(5, 2, rank)], 1, sizes), cast)
    found["bytes gathered"] = world.traffic["gather"]

    # Rank i sends rank j a tensor of i + 2j rows, all numbers 10 i + j.
    parts = [torch.full((rank + 2 * j, 2), 10.0 * rank + j) for j in range(2)]
    took = world.exchange(parts, [(i + 2 * rank, 2) for i in range(2)])
    found["exchange"] = [(tuple(t.shape), t.unique().tolist()) for t in took]
    found["bytes exchanged"] = world.traffic["exchange"]

    shifted = world.shift([torch.full((rank + 1,), float(rank)), torch.ones(2)], [(2 - rank,), (2,)])
    found["shift"] = [t.tolist() for t in shifted]
    found["bytes shifted"] = world.traffic["shift"]

    found["halo"] = [None if t is None else t.tolist() for t in world.halo(own[0, :, 0], 0, above=1, below=2)]
    found["halo, expected"] = (
        [None, whole[0, 2:4, 0].tolist()] if rank == 0 else [[float(whole[0, 1, 0])], None]
    )
    found["bytes of halos"] = world.traffic["halo"]

    found["broadcast"] = mesh.control.broadcast({"rank": rank, "x": torch.full((2,), rank)})["x"].tolist()
    found["mean"] = float(world.mean(own.mean(), own.numel())) - float(whole.mean())
    found["mean of nothing"] = float(world.mean(whole[: 2 * rank].mean(), 30 * rank)) - float(whole.mean())
    try:
        world.halo(own[:, :1], 1, 2, 2)
    except ParallelError as error:
        found["too few rows"] = str(error)
    return found


def out_of_step(rank: int) -> str:
    """Rank 0 waits in a gather to which rank 1 does not come."""
    ranks.PATIENCE = timedelta(seconds=1)
    try:
        world, store = ranks.Ranks(None, torch.device("cpu")).twin(), distributed_c10d._get_default_store()
        if rank:
            store.wait(["waited"], timedelta(seconds=120))
            return ""
        try:
            world.gather(torch.ones(2), 0)
        except ParallelError as error:
            return str(error)
        finally:
            store.set("waited", "")
        return "it was not waited for"
    finally:
        ranks.PATIENCE = timedelta(minutes=10)


def test_ranks_out_of_step_do_not_wait_for_ever_and_say_for_whom():
    assert "rank 0 waited in vain for rank 1 in a gather, after 0 collectives" in run(2, out_of_step)[0]


def test_what_arrives_and_how_many_bytes_are_counted():
    one, two = run(2, all_at_once)
    for found in (one, two):
        assert all(value for name, value in found.items() if name.startswith("gather")), found
        assert abs(found["mean"]) < 1e-6 and abs(found["mean of nothing"]) < 1e-6
        assert found["broadcast"] == [0, 0] and found["halo"] == found["halo, expected"]
        assert "has 1 rows, and its neighbours need 2" in found["too few rows"]
    assert one["exchange"] == [((0, 2), []), ((1, 2), [10.0])]
    assert two["exchange"] == [((2, 2), [1.0]), ((3, 2), [11.0])]
    assert (one["shift"], two["shift"]) == ([[1.0, 1.0], [1.0, 1.0]], [[0.0], [1.0, 1.0]])
    # Shares of 2 and 3 rows are gathered as 3; 6 numbers a row of float32 twice, bf16, int64, uint8, bool; and 5 rows.
    row = 6 * (4 + 4 + 2 + 8 + 1 + 1)
    assert one["bytes gathered"] == two["bytes gathered"] == 3 * row + 5 * 6 * 4
    assert (one["bytes exchanged"], two["bytes exchanged"]) == (2 * 2 * 4, 1 * 2 * 4)
    assert (one["bytes shifted"], two["bytes shifted"]) == ((1 + 2) * 4, (2 + 2) * 4)
    assert (one["bytes of halos"], two["bytes of halos"]) == (4, 8)


def gradients(rank: int) -> dict[str, torch.Tensor]:
    """Of a loss that all ranks compute alike, half on each; one process would have the sum of these halves."""
    world = Mesh.make(Layout(context=2), torch.device("cpu")).world
    weights, found = drawn(5, 3, seed=1), {}
    whole = drawn(5, 3)
    own = whole[share(5, 2, rank)].clone().requires_grad_()
    (world.gather(own, 0, [2, 3]) * weights).sum().div(2).backward()
    found["gather"] = own.grad
    x = whole.clone().requires_grad_()
    took = world.exchange([x[share(5, 2, i)] for i in range(2)], [(2 + rank, 3)] * 2)
    (took[rank] * weights[share(5, 2, rank)]).sum().backward()
    found["exchange"] = x.grad
    y = whole.clone().requires_grad_()
    (world.shift([y], [(5, 3)])[0] * weights * (rank + 1)).sum().backward()
    found["shift"] = y.grad
    return found


def test_gradients_are_the_adjoints():
    weights = drawn(5, 3, seed=1)
    for rank, found in enumerate(run(2, gradients)):
        torch.testing.assert_close(found["gather"], weights[share(5, 2, rank)])
        kept = torch.zeros(5, 3)
        kept[share(5, 2, rank)] = weights[share(5, 2, rank)]
        torch.testing.assert_close(found["exchange"], kept)
        torch.testing.assert_close(found["shift"], weights * (2 - rank))


def failing(rank: int) -> None:
    if rank == 1:
        raise ValueError("this one fails")
    Mesh.make(Layout(context=2), torch.device("cpu")).world.gather(torch.ones(1), 0)


def test_a_failure_of_one_rank_is_the_error_and_the_next_run_works():
    with pytest.raises(RankError, match=r"rank 1 of 2(?s:.*)this one fails"):
        run(2, failing)
    assert len(run(2, gradients)) == 2


def wrong_size(rank: int) -> str:
    with pytest.raises(ParallelError) as caught:
        Mesh.make(Layout(guidance=2, context=2), torch.device("cpu"))
    return str(caught.value)


def test_a_layout_of_another_number_of_ranks_is_refused_on_all():
    said = "the layout guidance=2,context=2,ring=1 takes 4 ranks (guidance x context), and there are 2"
    assert run(2, wrong_size) == [said, said]


def places(rank: int) -> dict[str, list[int]]:
    mesh = Mesh.make(Layout(guidance=2, context=2, ring=2), torch.device("cpu"))
    mine = torch.tensor([rank])
    axes = ("world", "guidance", "context", "ulysses", "ring", "control")
    return {axis: getattr(mesh, axis).gather(mine, 0).tolist() for axis in axes}


@pytest.mark.slow
def test_ranks_of_a_mesh_of_two_axes():
    found = run(4, places)
    assert found[2] == {
        "world": [0, 1, 2, 3], "guidance": [0, 2], "context": [2, 3], "ulysses": [2], "ring": [2, 3],
        "control": [0, 1, 2, 3],
    }  # fmt: skip
    assert found[1]["guidance"] == [1, 3] and found[1]["context"] == [0, 1]


@pytest.mark.parametrize("length", [0, 1, 7, 45])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_contiguous_and_about_equal(length, size):
    parts = [share(length, size, rank) for rank in range(size)]
    assert [i for part in parts for i in range(length)[part]] == list(range(length))
    assert shares(length, size) == [part.stop - part.start for part in parts]
    assert max(shares(length, size)) - min(shares(length, size)) <= 1


def test_layouts_are_read_and_written():
    assert Layout.parse("guidance=2, context=4,ring=2") == Layout(2, 4, 2)
    assert Layout.parse(str(Layout(1, 6, 3))) == Layout(1, 6, 3)
    assert (Layout(2, 4, 2).ranks, Layout(2, 4, 2).ulysses) == (8, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be words such as"),
        (None, "must be words such as"),
        ("8", "'8' is not guidance=N or context=N or ring=N"),
        ("tensor=2", "'tensor=2' is not"),
        ("context=two", "'context=two' is not"),
        ("context=-2", "'context=-2' is not"),
        ("context=0", "context must be a whole number from 1, not 0"),
        ("context=2,context=4", "context is said twice"),
        ("guidance=3", "guidance must be 1 or 2, for there are two branches, not 3"),
        ("context=4,ring=3", "ring=3 does not divide context=4; what does: 1, 2, 4"),
    ],
)
def test_a_layout_that_cannot_be_is_one_error(text, said):
    with pytest.raises(ParallelError) as caught:
        Layout.parse(text)
    assert said in str(caught.value)


def test_a_layout_is_picked_by_what_the_ranks_and_heads_allow():
    assert Layout.pick(8, 40) == Layout(2, 4, 1)
    assert Layout.pick(8, 40, guided=False) == Layout(1, 8, 1)
    assert Layout.pick(3, 40) == Layout(1, 3, 1)
    assert Layout.pick(64, 40) == Layout(2, 32, 4)  # 5 heads each, where 32 ranks would have 2 or 1
    assert Layout.pick(64, 24) == Layout(2, 32, 4)
    assert Layout.pick(1, 2) == Layout()
    Layout.pick(10, 2, guided=False).check(10, 2)
    with pytest.raises(ParallelError, match="at least one rank, not 0"):
        Layout.pick(0, 2)


def test_more_ranks_than_heads_are_refused_with_what_would_do():
    with pytest.raises(
        ParallelError, match="among 4 ranks, and the model has 2; take ring=2, or fewer ranks"
    ):
        Layout(context=4).check(4, heads=2)
    Layout(context=4, ring=2).check(4, heads=2)
    with pytest.raises(ParallelError, match="takes 4 ranks"):
        Layout(context=4).check(8)
