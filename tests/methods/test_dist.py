import pytest
import torch
from tiny_networks import networks, observation, parity, sizes, step_of

from kd2deploy.methods.dist import Relations, dist, relation_loss


@pytest.mark.parametrize("case", parity("dist"))
def test_parity_with_an_independent_computation(case):
    student, teacher = (observation(sizes(), logits=case[name]) for name in ("student", "teacher"))
    for by_class, expected in zip((False, True), case["expected"].tolist(), strict=True):
        found = Relations(case["temperature"], by_class)(step_of(student, teacher))
        assert found.item() == pytest.approx(expected, abs=1e-5)


def test_by_hand():
    assert relation_loss(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[5.0, 7.0, 9.0]])).item() == pytest.approx(
        0, abs=1e-6
    )
    assert relation_loss(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])).item() == pytest.approx(2)


def test_only_relations_count_not_the_values():
    one, other = torch.randn(4, 6), torch.randn(4, 6)
    torch.testing.assert_close(relation_loss(one, other), relation_loss(0.3 * one + 2, other))


@pytest.mark.parametrize("by_class", [False, True])
def test_it_vanishes_where_the_student_is_the_teacher(by_class):
    seen = observation(sizes())
    assert Relations(1.0, by_class)(step_of(seen, seen)).item() == pytest.approx(0, abs=1e-5)


def test_the_two_relations_are_of_rows_and_of_classes():
    student, teacher = observation(sizes()), observation(sizes())
    inter, intra = (Relations(1.0, by_class)(step_of(student, teacher)) for by_class in (False, True))
    mine, theirs = student.logits.softmax(-1), teacher.logits.softmax(-1)
    torch.testing.assert_close(inter, relation_loss(mine, theirs))
    torch.testing.assert_close(intra, relation_loss(mine.T, theirs.T))


def test_a_batch_of_one_row_has_no_relation_between_rows_and_stays_finite():
    logits = torch.randn(1, 3, requires_grad=True)
    step = step_of(observation(sizes(), logits=logits), observation(sizes(), batch=1))
    loss = Relations(1.0, by_class=True)(step)
    loss.backward()
    assert loss == 1
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"beta": -1.0}, {"gamma": -1.0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        dist(**arguments)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="needs 2 classes or more"):
        dist().bind(networks(sizes(classes=1), sizes(classes=1)))
    with pytest.raises(ValueError, match="the student has 3 classes and the teacher 4"):
        dist().bind(networks(sizes(), sizes(classes=4)))
