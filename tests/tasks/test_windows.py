"""Windows of pictures, and what of the objects in them is left."""

import pytest
import torch

from kd2deploy.core.port import NO_OBJECT, UNKNOWN
from kd2deploy.tasks._windows import objects_in, pixels_in

WHOLE = [0.0, 0.0, 1.0, 1.0]


def test_a_quarter_is_enlarged_twice_and_a_whole_picture_stays_to_the_bit():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8).repeat(2, 3, 1, 1)
    found = pixels_in(ramp, torch.tensor([[0.5, 0.0, 1.0, 0.5], WHOLE]))
    assert torch.equal(found[1], ramp[1])
    # columns 4..7 at twice the size: steps of a half, and the last stays beyond the border's middle
    assert found[0, 0, 0].tolist() == pytest.approx([3.75, 4.25, 4.75, 5.25, 5.75, 6.25, 6.75, 7.0])
    assert torch.equal(found[0, 0, 0], found[0, 2, 7])


def test_boxes_are_cut_move_up_and_are_shares_of_the_window():
    labels = torch.tensor([[[2.0, 0.1, 0.1, 0.1, 0.1], [1.0, 0.5, 0.5, 0.4, 0.2], [NO_OBJECT, 0, 0, 0, 0]]])
    found = objects_in(labels, torch.tensor([[0.4, 0.2, 0.9, 1.0]]))
    # of 0.3..0.7 x 0.4..0.6 are left 0.4..0.7 x 0.4..0.6: as shares 0..0.6 x 0.25..0.5
    assert found[0, 0].tolist() == pytest.approx([1.0, 0.3, 0.375, 0.6, 0.25])
    assert found[0, 1:].tolist() == [[NO_OBJECT, 0, 0, 0, 0]] * 2


def test_objects_stay_to_the_bit_in_a_whole_window_and_rows_without_a_label_stay_without():
    labels = torch.tensor([[[0.0, 0.3, 0.3, 0.1, 0.1]], [[UNKNOWN, 0, 0, 0, 0]]])
    found = objects_in(labels, torch.tensor([WHOLE, [0.1, 0.1, 0.9, 0.9]]))
    assert torch.equal(found, labels)
