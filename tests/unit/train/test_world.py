import pytest

from wan22.errors import OptionError
from wan22.train.world import WHOLE, World, portions


@pytest.mark.parametrize(
    ("shares", "batch", "batches"), [(1, 3, 2), (2, 2, 1), (2, 1, 4), (4, 2, 2), (3, 6, 1), (8, 4, 4)]
)
def test_every_clip_of_a_step_is_computed_once_and_in_order(shares, batch, batches):
    for size in range(1, batch + 1):  # a bucket may have fewer clips than a batch
        rounds = zip(*(portions(shares, share, batch, batches) for share in range(shares)), strict=True)
        done = [
            (portion.batch, clip)
            for together in rounds
            for portion in together
            if portion.clips(size)[1]
            for clip in portion.clips(size)[0]
        ]
        assert done == [(n, clip) for n in range(batches) for clip in range(size)]


def test_who_has_no_clip_computes_one_that_does_not_count():
    few, many = (portions(4, 3, 4, 1)[0].clips(count) for count in (0 + 2, 4))
    assert many == (range(3, 4), True) and few[0] == range(1, 2)
    idle = portions(4, 0, 4, 1)[0].clips(2)
    assert idle == (range(1), False)


@pytest.mark.parametrize(
    ("shares", "batch", "batches", "said"),
    [
        (3, 4, 1, r"batch_size = 4 x .*accumulation = 1 cannot be divided by 3 .*take 1 or 2 of them, or .*size = 6 "),
        (4, 1, 2, r"cannot be divided by 4 shares of a step: take 1 or 2 of them, or optimiser\.batch_size = 4 with"),
        (8, 4, 3, r"take 1 or 2 or 3 or 4 or 6 of them, or optimiser\.batch_size = 16 with"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_divided_is_refused_with_what_would_do(shares, batch, batches, said):
    with pytest.raises(OptionError, match=said):
        portions(shares, 0, batch, batches)


def test_one_process_computes_whole_batches_and_asks_nobody():
    world = World()
    assert [p.batch for p in world.portions(3, 2)] == [0, 1] and world.portions(3, 1) == [WHOLE]
    assert world.leads and world.agreed(3) == 3 and world.any(False) is False and world.first(lambda: 5) == 5
