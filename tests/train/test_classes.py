"""The classes of the rows that are trained on, however a task tells them."""

import numpy as np
import pytest

from kd2deploy.core import Drawing, Selection
from kd2deploy.train.classes import classes_of


@pytest.mark.parametrize("kind", [int, np.int64])
def test_a_rows_class_is_its_label(kind):
    assert classes_of([{"labels": kind(2)}, {"labels": kind(-100)}, {"labels": kind(0)}]).tolist() == [2, -100, 0]


@pytest.mark.parametrize("label", [1.5, float("nan"), np.array([0, 1]), None])
def test_where_rows_have_no_single_class_all_have_none(label):
    assert (classes_of([{"labels": label}, {"labels": label}]) < 0).all()
    assert (classes_of([{}, {}]) < 0).all()


def test_rows_that_are_not_here_have_none():
    assert classes_of([{"labels": 1}], rows=3).tolist() == [1, -1, -1]


class Unread(Drawing):
    """Rows that nobody may read."""

    def __len__(self):
        return 3

    def row(self, place):
        raise AssertionError("a row was read for its label")

    def drawn(self, place, augmentation, draw):
        raise AssertionError("a row was drawn for its label")

    def label(self, place):
        return np.int64(place + 1)


def test_no_row_is_read_for_its_class():
    assert classes_of(Unread()).tolist() == [1, 2, 3]
    assert classes_of(Selection(Unread(), [2, 0])).tolist() == [3, 1]
