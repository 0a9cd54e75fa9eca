"""The formula of logit distillation, by hand and against an independent computation."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import networks, observation, sizes, step_of

from kd2deploy.methods.logit import SoftTargets, logit, softened_kl


def test_two_classes_by_hand():
    # teacher (ln 3, 0) -> 3/4, 1/4; student (0, 0) -> 1/2, 1/2 at temperature 1
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    torch.testing.assert_close(softened_kl(student, teacher, 1.0), torch.tensor([expected]))


def test_the_temperature_divides_the_logits_and_its_square_scales_the_result():
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(softened_kl(student, teacher, 5.0), 25 * softened_kl(student / 5, teacher / 5, 1.0))


def test_it_is_zero_where_the_logits_differ_by_a_constant():
    teacher = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(softened_kl(teacher + 7, teacher, 2.0), torch.zeros(4, dtype=torch.float64))


def test_at_a_high_temperature_it_is_half_the_mean_squared_difference_of_centered_logits():
    # Section 2.1: in the limit, matching logits; sum over C of (s - t)^2 / (2 C), for logits of zero mean.
    student, teacher = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    student, teacher = student - student.mean(-1, keepdim=True), teacher - teacher.mean(-1, keepdim=True)
    expected = ((student - teacher) ** 2).sum(-1) / (2 * 5)
    torch.testing.assert_close(softened_kl(student, teacher, 1e4), expected, rtol=1e-3, atol=1e-6)


def test_its_gradient_is_the_difference_of_the_softened_distributions():
    student, teacher = (
        torch.randn(1, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(1, 3, dtype=torch.float64),
    )
    (found,) = torch.autograd.grad(softened_kl(student, teacher, 3.0).sum(), student)
    torch.testing.assert_close(found, 3.0 * (F.softmax(student / 3, -1) - F.softmax(teacher / 3, -1)))


def test_of_a_regression_the_teachers_number_is_learnt():
    student = observation(sizes(), logits=None, values=torch.tensor([[1.0], [2.0]], requires_grad=True))
    teacher = observation(sizes(), logits=None, values=torch.tensor([[1.5], [4.0]]))
    loss = SoftTargets(4.0)(step_of(student, teacher))
    torch.testing.assert_close(loss, torch.tensor((0.25 + 4.0) / 2))
    loss.backward()
    assert student.values.grad.abs().sum() > 0


def test_the_kl_is_taken_along_the_last_axis_however_many_there_are():
    logits = [torch.randn(2, 3, 4) for _ in range(2)]
    flat = softened_kl(*(each.flatten(0, 1) for each in logits), 2.0)
    torch.testing.assert_close(softened_kl(*logits, 2.0), flat.unflatten(0, (2, 3)))


def test_positions_outside_the_mask_do_not_count():
    mask = torch.tensor([[True, True, False]])
    student = observation(sizes(), mask=mask, logits=torch.randn(1, 3, 4))
    teacher = observation(sizes(), mask=mask, logits=torch.randn(1, 3, 4))
    loss = SoftTargets(2.0)(step_of(student, teacher))
    torch.testing.assert_close(loss, softened_kl(student.logits[0, :2], teacher.logits[0, :2], 2.0).mean())


def test_the_weights_of_the_two_terms_sum_to_one():
    assert logit(alpha=0.3).weights == {"task": 0.7, "soft": 0.3}


def test_networks_with_other_classes_are_refused():
    with pytest.raises(ValueError, match="logit compares logits: the student has 3 classes and the teacher 5; give"):
        logit().bind(networks(of_teacher=sizes(classes=5)))


@pytest.mark.parametrize(("arguments", "message"), [({"temperature": 0.0}, "temperature"), ({"alpha": 1.5}, "alpha")])
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        logit(**arguments)
