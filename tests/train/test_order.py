"""The order of the rows: every row once, the same for the same seed and epoch, and little padding when grouped."""

from hypothesis import given
from hypothesis import strategies as some

from kd2deploy.train.order import Numbered, Order


@given(
    lengths=some.lists(some.integers(1, 60), min_size=1, max_size=300),
    batch=some.integers(1, 20),
    epoch=some.integers(0, 5),
)
def test_every_row_comes_once_an_epoch_and_only_the_last_batch_is_incomplete(lengths, batch, epoch):
    order = Order(lengths, len(lengths), batch, seed=0)
    order.epoch = epoch
    assert sorted(order) == [(epoch, row) for row in range(len(lengths))]
    assert len(order) == len(lengths)


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    def rows(seed, epoch):
        order = Order(None, 50, 8, seed)
        order.epoch = epoch
        return [row for _, row in order]

    assert rows(1, 2) == rows(1, 2)
    assert len({tuple(rows(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_grouping_leaves_less_padding_than_chance():
    lengths = [1 + (row * 37) % 101 for row in range(400)]

    def padding(order):
        rows = [row for _, row in order]
        batches = [[lengths[row] for row in rows[at : at + 8]] for at in range(0, len(rows), 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(Order(lengths, 400, 8, 0)) < 0.2 * padding(Order(None, 400, 8, 0))


def test_rows_are_numbered_by_their_place_and_left_as_they_were():
    rows = [{"index": 70, "labels": 1}, {"index": 12, "labels": 0}]
    numbered = Numbered(rows)
    assert [numbered[0, place] for place in range(len(numbered))] == [
        {"index": 0, "labels": 1},
        {"index": 1, "labels": 0},
    ]
    assert rows[0]["index"] == 70
