"""Batches beside the training's own: every row once a pass, and known from their number alone."""

import torch
from small_text import small_rows, small_task

from kd2deploy.train.own_batches import OwnBatches


def batches(rows=10, batch=4, seed=0, **more):
    return OwnBatches(small_task(), small_rows(rows), batch=batch, seed=seed, **more)


def rows_of(found, numbers):
    return [found(number)["index"].tolist() for number in numbers]


def test_a_pass_holds_every_row_once_and_the_next_one_in_another_order():
    found = rows_of(batches(), range(6))
    assert [len(rows) for rows in found] == [4, 4, 2] * 2
    for pass_ in (found[:3], found[3:]):
        assert sorted(row for rows in pass_ for row in rows) == list(range(10))
    assert found[:3] != found[3:]


def test_a_batch_depends_on_seed_and_number_alone():
    whole = rows_of(batches(), range(9))
    torch.manual_seed(99)
    assert rows_of(batches(), reversed(range(9))) == whole[::-1]
    assert rows_of(batches(seed=1), range(9)) != whole


def test_it_draws_from_no_generator_that_others_draw_from():
    before = torch.get_rng_state()
    batches()(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_of_like_length_come_together_where_asked():
    task, rows = small_task(), small_rows(40)
    found = [batches(40, by_length=True)(number)["index"].tolist() for number in range(10)]
    length = task.reader.length
    spread = [max(lengths) - min(lengths) for lengths in ([length(rows[row]) for row in each] for each in found)]
    loose = [batches(40)(number)["index"].tolist() for number in range(10)]
    others = [max(lengths) - min(lengths) for lengths in ([length(rows[row]) for row in each] for each in loose)]
    assert sum(spread) < sum(others)
    assert sorted(row for each in found for row in each) == list(range(40))


def test_they_hold_what_the_trainings_own_hold_on_its_device():
    found = batches(device=torch.device("meta"))(0)
    assert set(found) == set(small_task().reader.collate(small_rows(2))) | {"index"}
    assert {value.device.type for value in found.values()} == {"meta"}
