"""The order of the rows: every row once, the same for the same seed and epoch, and little padding when grouped."""

from hypothesis import given
from hypothesis import strategies as some

from kd2deploy.train.order import Alike, Numbered, Order


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


@given(
    classes=some.lists(some.integers(-1, 6), min_size=1, max_size=200),
    halves=some.integers(1, 8),
    epoch=some.integers(0, 3),
    lengths=some.booleans(),
)
def test_rows_of_a_class_stand_in_pairs_and_every_row_comes_once(classes, halves, epoch, lengths):
    rows = in_pairs(classes, 2 * halves, epoch, [1 + row % 7 for row in range(len(classes))] if lengths else None)
    assert sorted(rows) == list(range(len(classes)))
    pairs = [rows[at : at + 2] for at in range(0, len(rows), 2)]
    apart = [row for pair in pairs if len({classes[row] for row in pair}) > 1 or len(pair) < 2 for row in pair]
    without = [row for row in apart if classes[row] >= 0]
    assert len({classes[row] for row in without}) == len(without), "a class leaves one row over at most"


def test_every_anchor_of_a_batch_has_another_of_its_class():
    rows = in_pairs([row % 5 for row in range(40)], 8)
    for at in range(0, 40, 8):
        found = [row % 5 for row in rows[at : at + 8]]
        assert min(found.count(one) for one in found) >= 2


def test_pairs_are_other_ones_in_every_epoch_and_the_same_again_with_the_same_seed():
    classes = [row % 3 for row in range(30)]
    epochs = [in_pairs(classes, 6, epoch) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]


def test_pairs_too_are_grouped_by_length():
    lengths = [1 + (row * 37) % 101 for row in range(400)]
    classes = [row % 4 for row in range(400)]

    def padding(rows):
        batches = [[lengths[row] for row in rows[at : at + 8]] for at in range(0, len(rows), 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(in_pairs(classes, 8, 0, lengths)) < 0.7 * padding(in_pairs(classes, 8))


def in_pairs(classes, batch, epoch=0, lengths=None):
    order = Order(lengths, len(classes), batch, 0, Alike(classes, 2))
    order.epoch = epoch
    return [row for _, row in order]


def test_rows_are_numbered_by_their_place_and_left_as_they_were():
    rows = [{"index": 70, "labels": 1}, {"index": 12, "labels": 0}]
    numbered = Numbered(rows)
    assert [numbered[0, place] for place in range(len(numbered))] == [
        {"index": 0, "labels": 1},
        {"index": 1, "labels": 0},
    ]
    assert rows[0]["index"] == 70
