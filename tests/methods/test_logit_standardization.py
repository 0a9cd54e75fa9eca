import pytest
import torch
from tiny_networks import networks, observation, parity, sizes, step_of

from kd2deploy.methods.logit import softened_kl
from kd2deploy.methods.logit_standardization import StandardizedTargets, logit_standardization, z_scored


@pytest.mark.parametrize("case", parity("logit_standardization"))
def test_parity_with_an_independent_computation(case):
    found = softened_kl(z_scored(case["student"]), z_scored(case["teacher"]), case["temperature"]).mean()
    assert found.item() == pytest.approx(case["expected"], abs=1e-6)


def test_by_hand():
    torch.testing.assert_close(z_scored(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 0.0, 1.0]]))


def test_z_scores_are_taken_along_the_last_axis_however_many_there_are():
    logits = torch.randn(2, 3, 4)
    torch.testing.assert_close(z_scored(logits), z_scored(logits.flatten(0, 1)).unflatten(0, (2, 3)))


def test_equal_logits_have_z_scores_of_zero():
    assert z_scored(torch.full((2, 3), 7.0)).tolist() == [[0.0] * 3] * 2


def test_the_scale_and_shift_of_either_networks_logits_do_not_matter():
    term, student, teacher = StandardizedTargets(), observation(sizes()), observation(sizes())
    before = term(step_of(student, teacher))
    student.logits.mul_(5).add_(3)
    teacher.logits.mul_(0.2).sub_(1)
    torch.testing.assert_close(term(step_of(student, teacher)), before)


def test_it_vanishes_where_the_students_logits_are_the_teachers_up_to_scale():
    seen = observation(sizes())
    assert StandardizedTargets()(step_of(seen, seen)).item() == pytest.approx(0, abs=1e-6)


def test_two_classes_are_refused_since_their_z_scores_say_nothing():
    two = z_scored(torch.tensor([[0.1, 0.2], [-50.0, 90.0]]))
    torch.testing.assert_close(two[0], two[1])
    with pytest.raises(ValueError, match="needs 3 classes or more, and the student has 2; use logit"):
        logit_standardization().bind(networks(sizes(classes=2), sizes(classes=2)))


def test_other_classes_are_refused():
    with pytest.raises(ValueError, match="the student has 3 classes and the teacher 4"):
        logit_standardization().bind(networks(sizes(), sizes(classes=4)))


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"task": -1.0}, {"soft": -1.0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        logit_standardization(**arguments)
