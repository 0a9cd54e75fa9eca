import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tiny_networks import networks, observation, parity, sizes, step_of, unchecked

from kd2deploy.core import Port
from kd2deploy.methods.knowledge_adjustment import (
    AdjustedTargets,
    Correction,
    corrected_kl,
    knowledge_adjustment,
    shifted,
    smoothed,
)
from kd2deploy.methods.logit import softened_kl


@pytest.mark.parametrize("case", parity("knowledge_adjustment"))
def test_parity_of_loss_and_gradient_with_an_independent_computation(case):
    student = case["student"].requires_grad_(True)
    temperature = student.new_full((len(student),), case["temperature"])
    correct = Correction(case["adjustment"], case["smoothing"]).by(case["labels"])
    found = corrected_kl(student, case["teacher"], temperature, correct).mean()
    assert found.item() == pytest.approx(case["expected"], abs=1e-10)
    torch.testing.assert_close(torch.autograd.grad(found, student)[0], case["gradient"], rtol=1e-6, atol=1e-8)


@given(classes=st.integers(2, 9), seed=st.integers(0, 1000))
def test_a_shifted_row_is_a_permutation_whose_likeliest_class_is_the_label(classes, seed):
    log_p, labels = answers(classes, seed)
    found = shifted(log_p, labels)
    assert torch.equal(found.argmax(-1), labels)
    assert torch.equal(found.sort(-1)[0], log_p.sort(-1)[0])
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(6, dtype=torch.float64))


@given(classes=st.integers(2, 9), seed=st.integers(0, 1000))
def test_a_smoothed_row_depends_on_its_label_alone(classes, seed):
    log_p, labels = answers(classes, seed)
    found, wrong = smoothed(log_p, labels, 0.2).exp(), log_p.argmax(-1) != labels
    for row, label in zip(found[wrong], labels[wrong], strict=True):
        expected = torch.full((classes,), 0.2 / classes, dtype=torch.float64)
        expected[label] += 0.8
        torch.testing.assert_close(row, expected)


@pytest.mark.parametrize("correct", [shifted, lambda log_p, labels: smoothed(log_p, labels, 0.1)])
def test_a_right_answer_and_one_without_a_label_stay_to_the_bit(correct):
    log_p, _ = answers(5, seed=3)
    right = log_p.argmax(-1)
    assert torch.equal(correct(log_p, right), log_p)
    assert torch.equal(correct(log_p, torch.full((6,), -100)), log_p)
    mixed = torch.where(torch.arange(6) < 3, -100, (right + 1) % 5)
    assert [torch.equal(*rows) for rows in zip(correct(log_p, mixed), log_p, strict=True)] == [True] * 3 + [False] * 3


def test_by_hand_the_label_and_the_wrong_choice_change_places():
    log_p = torch.tensor([[0.6, 0.3, 0.1]]).log()
    assert shifted(log_p, torch.tensor([2])).exp()[0].tolist() == pytest.approx([0.1, 0.3, 0.6])


def test_without_a_wrong_answer_it_is_soft_targets():
    student, teacher = observation(sizes()), observation(sizes())
    term = AdjustedTargets(Correction("lsr", 0.1), 3.0)
    found = term(step_of(student, teacher, {"labels": teacher.logits.argmax(-1)}))
    torch.testing.assert_close(found, softened_kl(student.logits, teacher.logits, 3.0).mean())


def test_a_student_that_answers_as_the_corrected_teacher_has_nothing_to_learn():
    teacher = observation(sizes(), logits=torch.tensor([[2.0, 1.0, -1.0]]), batch=1)
    student = observation(sizes(), logits=torch.tensor([[-1.0, 1.0, 2.0]]), batch=1)
    step = step_of(student, teacher, {"labels": torch.tensor([2])})
    assert AdjustedTargets(Correction("ps", 0.1), 4.0)(step).item() == pytest.approx(0, abs=1e-6)


def test_a_wrong_answer_smoothed_is_the_smoothed_cross_entropy_less_its_entropy():
    student = torch.randn(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    teacher = F.one_hot((labels + 1) % 3, 3).float()
    step = step_of(observation(sizes(), logits=student), observation(sizes(), logits=teacher), {"labels": labels})
    target = 0.1 / 3 + 0.9 * F.one_hot(labels, 3)
    entropy = -(target * target.log()).sum(-1).mean()
    expected = F.cross_entropy(student, labels, label_smoothing=0.1) - entropy
    torch.testing.assert_close(AdjustedTargets(Correction("lsr", 0.1), 1.0)(step), expected)


def test_confident_logits_stay_finite():
    logits = torch.tensor([[300.0, -300.0, 0.0]], requires_grad=True)
    seen = observation(sizes(), logits=logits, batch=1), observation(sizes(), logits=-logits.detach(), batch=1)
    for adjustment in ("ps", "lsr"):
        loss = AdjustedTargets(Correction(adjustment, 0.1), 1.0)(step_of(*seen, {"labels": torch.tensor([0])}))
        assert math.isfinite(loss.item())
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_the_labels_teach_through_the_targets_alone():
    assert set(knowledge_adjustment().weighted) == {"soft"}
    assert knowledge_adjustment().needs == {"teacher", "labels", "logits"}


@pytest.mark.parametrize(
    "arguments", [{"temperature": 0.0}, {"smoothing": 0.0}, {"smoothing": 1.1}, {"adjustment": "swap"}]
)
def test_bad_arguments_are_refused(arguments):
    with unchecked(), pytest.raises(ValueError, match=next(iter(arguments))):
        knowledge_adjustment(**arguments)


def test_networks_and_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="needs 2 classes or more, and the student has 1"):
        knowledge_adjustment().bind(networks(sizes(classes=1), sizes(classes=1)))
    with pytest.raises(ValueError, match="the student has 3 classes and the teacher 5"):
        knowledge_adjustment().bind(networks(sizes(), sizes(classes=5)))
    with pytest.raises(ValueError, match="knowledge_adjustment needs one label per row"):
        knowledge_adjustment().bind(networks(task=FrameTask()))


class FrameTask:
    outputs = (Port("logits", "float32", ("batch", "frames", "vocabulary")),)


def answers(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    log_p = torch.randn(6, classes, generator=generator, dtype=torch.float64).log_softmax(-1)
    return log_p, torch.randint(classes, (6,), generator=generator)
