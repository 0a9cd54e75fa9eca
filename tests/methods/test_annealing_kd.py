import math

import pytest
import torch
from tiny_networks import TinyText, at, networks, networks_of, observation, parity, run, sizes, step_of, text_batch

from kd2deploy.methods.annealing_kd import annealed_distance, annealing_kd
from kd2deploy.methods.task_only import task_only


@pytest.mark.parametrize("case", parity("annealing_kd"))
def test_parity_with_an_independent_computation(case):
    found = annealed_distance(case["student"], case["teacher"], case["phi"])
    assert found.item() == pytest.approx(case["expected"], abs=1e-12)


def test_by_hand_only_the_teacher_is_scaled():
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 2.0]])
    assert annealed_distance(student, teacher, 0.5).item() == 1.0


def test_phi_rises_step_by_step_through_the_first_phase_and_the_labels_follow():
    weights = {name: term.weight for name, term in annealing_kd(t_max=10, until=0.75).weighted.items()}
    first = [weights["annealed"](at(epoch, epochs=40.0)) for epoch in range(40)]
    assert first == [1.0] * 30 + [0.0] * 10
    assert [weights["task"](at(epoch, epochs=40.0)) for epoch in range(40)] == [0.0] * 30 + [1.0] * 10


@pytest.mark.parametrize(("epochs", "first"), [(1.0, 1), (2.0, 1), (2.4, 2), (3.0, 2)])
def test_the_labels_are_learned_wherever_there_is_more_than_one_epoch(epochs, first):
    weights = {name: term.weight for name, term in annealing_kd(until=0.75).weighted.items()}
    last = math.ceil(epochs)
    assert [weights["task"](at(epoch, epochs)) for epoch in range(last)] == [0.0] * first + [1.0] * (last - first)


@pytest.mark.parametrize("epochs", [1.0, 2.0, 2.4])
def test_until_the_end_the_labels_are_never_learned(epochs):
    weight = annealing_kd(until=1.0).weighted["task"]
    assert [weight.at(at(epoch, epochs)) for epoch in range(math.ceil(epochs))] == [0.0] * math.ceil(epochs)


def test_the_first_phase_does_not_read_labels_and_the_second_no_teacher():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch()
    method = annealing_kd(t_max=2, until=0.5)
    method.bind(networks_of(student, teacher))
    other = batch | {"labels": (batch["labels"] + 1) % 3}
    assert run(method, student, teacher, batch, at(0, 2.0)) == run(method, student, teacher, other, at(0, 2.0))
    found = run(method, student, TinyText(), batch, at(1, 2.0))
    assert found == run(task_only(), student, teacher, batch)


def test_phi_is_one_at_the_end_of_the_first_phase():
    term = annealing_kd(t_max=3, until=0.5).weighted["annealed"].term
    student, teacher = observation(sizes()), observation(sizes())
    for epoch, phi in enumerate((1 / 3, 2 / 3, 1.0, 1.0)):
        found = term(step_of(student, teacher, progress=at(epoch, 6.0)))
        torch.testing.assert_close(found, annealed_distance(student.logits, teacher.logits, phi))


@pytest.mark.parametrize(
    ("arguments", "message"), [({"t_max": 0}, "t_max must be"), ({"until": 1.2}, "until must lie")]
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        annealing_kd(**arguments)


def test_other_classes_are_refused():
    with pytest.raises(ValueError, match="annealing_kd compares logits: the student has 3 classes and the teacher 4"):
        annealing_kd().bind(networks(sizes(), sizes(classes=4)))
