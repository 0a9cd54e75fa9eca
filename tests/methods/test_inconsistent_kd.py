"""IKD: which rows get noise and which are cropped, the inputs made against the teacher, and what is left at the end."""

import copy

import pytest
import torch
from small_objects import GIVEN, SIDE, GridTask, at_share, distilled, grid, object_batch, outcome
from tiny_networks import parity

from kd2deploy.core import Regions
from kd2deploy.core.port import NO_OBJECT
from kd2deploy.methods._attack import Attack, attacked, diversified, limits
from kd2deploy.methods.fgd import fgd
from kd2deploy.methods.inconsistent_kd import (
    SMALL,
    all_small,
    drawn_windows,
    inconsistent_kd,
    leaves_something,
    with_noise,
)
from kd2deploy.methods.mgd import mgd

REACH = 8 / 255


def sized(side, rows=200):
    """A batch of one box each, in the middle, of so many pixels a side of the given picture."""
    torch.manual_seed(0)
    share = side / GIVEN
    labels = torch.tensor([1.0, 0.5, 0.5, share, share]).expand(rows, 1, 5)
    return {
        "pixel_values": torch.rand(rows, 3, SIDE, SIDE),
        "labels": labels,
        "size": torch.full((rows, 2), GIVEN),
        "index": torch.arange(rows),
    }


def looks(batch, done=0.0, seed=0, **arguments):
    """What both views show."""
    distiller = distilled(inconsistent_kd(**arguments))
    distiller.method.tick(at_share(done))
    torch.manual_seed(seed)
    return {view.name: view(batch).student for view in distiller.method.views}, distiller


def changed_rows(one, other):
    return (one["pixel_values"] != other["pixel_values"]).flatten(1).any(1)


# sample-specific augmentation -----------------------------------------------------------------------------------


def test_a_box_is_small_below_1024_pixels_of_the_given_picture_and_one_large_box_is_enough():
    assert SMALL == 1024
    areas = torch.tensor([[1023.0, 10.0], [1024.0, 10.0], [10.0, 5000.0], [0.0, 0.0]])
    classes = torch.tensor([[0, 1], [0, 1], [0, NO_OBJECT], [NO_OBJECT, NO_OBJECT]])
    assert all_small(Regions(torch.zeros(4, 2, 4), classes, areas)).tolist() == [True, False, True, True]


def test_rows_of_small_boxes_alone_get_noise_with_probability_03_and_are_never_cropped():
    batch = sized(31.9, rows=1000)
    shown = looks(batch, adversarial=0.0)[0]["specific"]
    torch.testing.assert_close(shown["labels"], batch["labels"], rtol=0, atol=1e-6)
    noisy = changed_rows(shown, batch)
    assert noisy.float().mean().item() == pytest.approx(0.3, abs=0.04)
    one = (shown["pixel_values"] - batch["pixel_values"])[noisy]
    assert (one != 0).float().mean() > 0.95  # all over the picture, not in boxes
    assert one.std().item() == pytest.approx(0.08, abs=0.01)


def test_rows_with_a_box_that_is_not_small_are_cropped_to_at_least_08_of_each_side_and_get_no_noise():
    batch = sized(32.1)
    shown = looks(batch, adversarial=0.0, noise=1.0)[0]["specific"]
    width = shown["labels"][:, 0, 3] / batch["labels"][:, 0, 3]
    height = shown["labels"][:, 0, 4] / batch["labels"][:, 0, 4]
    for enlarged in (width, height):
        assert enlarged.min() >= 1
        assert 1.2 < enlarged.max() <= 1 / 0.8 + 1e-5
    assert not torch.equal(width, height)
    # the window, told by what the box became in it; what lies in that, and no noise in it
    size = torch.stack([1 / width, 1 / height], 1)
    low = 0.5 - shown["labels"][:, 0, 1:3] * size
    expected = GridTask().cropped(batch, torch.cat([low, low + size], 1))["pixel_values"]
    torch.testing.assert_close(shown["pixel_values"], expected, atol=1e-3, rtol=0)


def test_windows_lie_inside_and_a_row_whose_objects_are_all_outside_of_its_own_stays_whole():
    torch.manual_seed(0)
    windows = drawn_windows(500, 0.8, torch.zeros(1))
    assert windows.min() >= 0
    assert windows.max() <= 1
    sides = windows[:, 2:] - windows[:, :2]
    assert sides.min() >= 0.8 - 1e-6
    assert sides.max() <= 1
    at_edge = Regions(torch.tensor([[[0.0, 0.4, 0.01, 0.6]]]), torch.tensor([[0]]), torch.tensor([[5000.0]]))
    assert leaves_something(at_edge, torch.tensor([[0.0, 0.1, 0.9, 1.0]])).tolist() == [True]
    assert leaves_something(at_edge, torch.tensor([[0.1, 0.1, 1.0, 1.0]])).tolist() == [False]


def test_noise_keeps_to_each_channels_own_limits_and_to_the_rows_that_are_named():
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 16, 16)
    found = with_noise(inputs, torch.tensor([True, False]))
    assert torch.equal(found[1], inputs[1])
    low, high, _ = limits(inputs)
    assert (found >= low).all()
    assert (found <= high).all()


# adversarial inputs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", parity("inconsistent_kd"))
def test_the_attack_agrees_with_an_independent_computation(case):
    attack = Attack(case["reach"], case["step"], case["steps"], case["decay"], diverse=0.0)
    found = attacked(case["inputs"], lambda x: (case["weight"] * x**3).sum() / 3, attack)
    torch.testing.assert_close(found, case["moved"], rtol=0, atol=1e-9)


def test_the_attack_is_the_papers():
    assert Attack() == (8 / 255, 2 / 255, 5, 1.0, 0.5, 0.9)


def test_inputs_made_against_the_teacher_stay_near_and_its_classes_are_lost_in_them():
    batch = object_batch(8)
    shown, distiller = looks(batch, specific=False)
    (adversarial,) = shown.values()
    moved = (adversarial["pixel_values"] - batch["pixel_values"]).abs()
    low, high, span = limits(batch["pixel_values"])
    assert (moved <= REACH * span + 1e-6).all()
    assert moved.amax((1, 2, 3)).min() > 0
    assert (adversarial["pixel_values"] >= low).all()
    assert (adversarial["pixel_values"] <= high).all()
    loss = distiller.method.views[0].loss
    assert loss(adversarial) >= loss(batch)
    other = copy.deepcopy(distiller.student)
    against_teacher = loss(adversarial) - loss(batch)
    distiller.method.views[0].networks = (distiller.task.networks, other)
    assert against_teacher > loss(adversarial) - loss(batch)  # the teacher is whom they are made against


def test_they_are_made_of_the_changed_rows_and_share_their_labels():
    batch = sized(40, rows=4)
    shown, _ = looks(batch)
    assert torch.equal(shown["adversarial"]["labels"], shown["specific"]["labels"])
    assert not torch.equal(shown["adversarial"]["labels"], batch["labels"])
    near = (shown["adversarial"]["pixel_values"] - shown["specific"]["pixel_values"]).abs()
    assert near.max() <= REACH + 1e-6


def test_what_the_network_sees_is_shrunk_half_of_the_time_and_keeps_its_shape():
    torch.manual_seed(0)
    inputs = torch.rand(1, 3, 20, 30) + 1
    seen = [diversified(inputs, Attack()) for _ in range(400)]
    assert all(one.shape == inputs.shape for one in seen)
    shrunk = [one for one in seen if one is not inputs]
    assert len(shrunk) / len(seen) == pytest.approx(0.5, abs=0.08)
    lines = [int((one[0, 0] > 0.5).any(1).sum()) for one in shrunk]
    assert 18 <= min(lines) < max(lines) <= 20
    assert len({int((one[0, 0] > 0.5).any(1).int().argmax()) for one in shrunk}) > 1


# the feature loss -----------------------------------------------------------------------------------------------


def test_the_adversarial_loss_sums_squared_errors_over_a_map_and_levels_and_divides_by_the_batch_alone():
    distiller = distilled(inconsistent_kd(specific=False), grid(8, seed=1), grid(8, seed=2))
    found = outcome(distiller)
    torch.manual_seed(0)
    distiller.method.tick(at_share(0))
    shown = distiller.method.views[0](object_batch()).student
    one, other = (
        distiller.task.networks.observe(net, shown, needs=frozenset({"features"})).features
        for net in (distiller.student, distiller.teacher)
    )
    expected = sum((mine - theirs).square().sum() / 6 for mine, theirs in zip(one, other, strict=True))
    torch.testing.assert_close(found.values["adversarial"], expected.detach(), rtol=1e-4, atol=0)
    assert len(one) == 2


def test_it_is_nothing_where_the_student_is_the_teacher_and_no_task_loss_is_taken_of_it():
    distiller = distilled(inconsistent_kd(), grid(8, seed=3), grid(8, seed=3))
    found = outcome(distiller)
    assert found.values["adversarial"] == 0
    assert found.values["features"] == 0
    found.loss.backward()
    assert all(weight.grad is None for weight in distiller.teacher.parameters())
    assert "labels" not in distiller.method.weighted["adversarial"].term.needs
    assert distiller.method.weighted["task"].term.views == ("specific",)


def test_both_are_off_after_two_thirds_of_the_training():
    batch = sized(40, rows=4)
    for done in (0.0, 0.66):
        shown, _ = looks(batch, done)
        assert not torch.equal(shown["specific"]["pixel_values"], batch["pixel_values"])
        assert not torch.equal(shown["adversarial"]["pixel_values"], shown["specific"]["pixel_values"])
    for done in (2 / 3, 1.0):
        shown, _ = looks(batch, done)
        assert all(torch.equal(one["pixel_values"], batch["pixel_values"]) for one in shown.values())
    distiller = distilled(inconsistent_kd())
    assert outcome(distiller).weights["adversarial"] == 1e-5
    distiller.progress = at_share(2 / 3)
    assert outcome(distiller).weights.get("adversarial", 0.0) == 0.0


@pytest.mark.parametrize(("base", "plain"), [("fgd", fgd), ("mgd", mgd)])
def test_with_neither_addition_it_is_its_base_to_the_bit_and_at_the_end_too(base, plain):
    expected = outcome(distilled(plain()))
    bare = outcome(distilled(inconsistent_kd(base, adversarial=0.0, specific=False)))
    assert torch.equal(bare.loss, expected.loss)
    assert bare.values.keys() == expected.values.keys() == {"task", "features"}
    ending = distilled(inconsistent_kd(base))
    ending.progress = at_share(0.7)
    assert torch.equal(outcome(ending).loss, expected.loss)


def test_the_bases_own_arguments_are_given_by_name():
    method = inconsistent_kd("mgd", settings={"alpha": 5e-7, "ratio": 0.45})
    assert method.weights["features"] == 5e-7
    assert method.terms["features"].ratio == 0.45
    term = inconsistent_kd(settings={"context": 1.0, "temperature": 2.0}).terms["features"]
    assert (term.weights.context, term.weights.foreground, term.temperature) == (1.0, 1e-3, 2.0)
    with pytest.raises(ValueError, match="settings: mgd takes alpha, ratio, got context"):
        inconsistent_kd("mgd", settings={"context": 1.0})


def test_a_teacher_that_reads_other_inputs_is_refused():
    with pytest.raises(ValueError, match="inconsistent_kd shows both networks one changed input"):
        distilled(inconsistent_kd(), shares_inputs=False)
