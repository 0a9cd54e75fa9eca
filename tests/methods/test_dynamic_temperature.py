import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_networks import networks, observation, parity, sizes, step_of, unchecked

from kd2deploy.core import Port
from kd2deploy.methods.dynamic_temperature import (
    disagreement,
    doubt,
    dynamic_temperature,
    temperatures,
    unchanged,
)
from kd2deploy.methods.knowledge_adjustment import Correction, corrected_kl, shifted
from kd2deploy.methods.logit import softened_kl


@pytest.mark.parametrize("case", parity("dynamic_temperature"))
def test_parity_of_temperatures_loss_and_gradient_with_an_independent_computation(case):
    student, teacher = case["student"].requires_grad_(True), case["teacher"]
    hardness = doubt(student) if case["hardness"] == "cwsm" else disagreement(student, teacher, case["gamma"])
    found = temperatures(hardness.detach(), case["temperature"], case["beta"], case["floor"])
    torch.testing.assert_close(found, case["temperatures"])
    correct = unchanged if case["adjustment"] is None else Correction(case["adjustment"], 0.1).by(case["labels"])
    loss = corrected_kl(student, teacher, found, correct).mean()
    assert loss.item() == pytest.approx(case["expected"], abs=1e-10)
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], case["gradient"], rtol=1e-6, atol=1e-8)
    term = term_of(**{name: case[name] for name in ("hardness", "adjustment", "temperature", "beta", "gamma", "floor")})
    seen = [observation(sizes(classes=4), batch=5, logits=logits.detach()) for logits in (student, teacher)]
    assert term(step_of(*seen, {"labels": case["labels"]})).item() == pytest.approx(case["expected"], rel=1e-4)


@given(beta=st.floats(0, 3), seed=st.integers(0, 1000))
def test_the_mean_temperature_is_the_base_and_the_harder_row_has_the_lower_one(beta, seed):
    hardness = torch.rand(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = temperatures(hardness, 10.0, beta, 1.0)
    assert found.mean().item() == pytest.approx(10)
    assert (found[hardness.argsort()].diff() <= 1e-9).all()


def test_no_temperature_falls_below_the_floor():
    found = temperatures(torch.tensor([0.0, 0.0, 3.0]), 10.0, 40.0, 1.5)
    assert found.tolist() == [50.0, 50.0, 1.5]


def test_rows_are_hard_where_networks_disagree_or_the_student_is_in_doubt():
    one = torch.tensor([[1.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
    other = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert disagreement(one, other, 2.0).tolist() == pytest.approx([0, 1, 4])
    assert doubt(torch.tensor([[0.0, 0.0, 0.0], [30.0, 0.0, 0.0]])).tolist() == pytest.approx([3, 1])


def test_equal_logits_have_no_disagreement_whatever_the_power():
    logits = torch.randn(50, 7)
    assert disagreement(logits, logits, 0.5).isfinite().all()


@pytest.mark.parametrize("hardness", ["flsw", "cwsm"])
def test_no_gradient_flows_through_a_temperature(hardness):
    logits = torch.randn(4, 3, requires_grad=True)
    student, teacher = observation(sizes(), logits=logits), observation(sizes())
    term = term_of(hardness=hardness)
    (found,) = torch.autograd.grad(term(step_of(student, teacher)), logits)
    fixed = term.of_rows(logits, teacher.logits)
    assert not fixed.requires_grad
    assert fixed.unique().numel() > 1
    (expected,) = torch.autograd.grad(corrected_kl(logits, teacher.logits, fixed, unchanged).mean(), logits)
    torch.testing.assert_close(found, expected)


def test_each_row_is_scaled_by_its_own_squared_temperature_inside_the_mean():
    student, teacher = observation(sizes()), observation(sizes())
    term = term_of(beta=3.0)
    by_row = term.of_rows(student.logits, teacher.logits)
    rows = [
        softened_kl(student.logits[row], teacher.logits[row], by_row[row].item()) for row in range(len(student.logits))
    ]
    torch.testing.assert_close(term(step_of(student, teacher)), torch.stack(rows).mean())


@pytest.mark.parametrize("hardness", ["flsw", "cwsm"])
def test_with_beta_0_it_is_plain_soft_targets(hardness):
    student, teacher = observation(sizes()), observation(sizes())
    found = term_of(hardness=hardness, beta=0.0, temperature=4.0)(step_of(student, teacher))
    torch.testing.assert_close(found, softened_kl(student.logits, teacher.logits, 4.0).mean())


def test_together_with_adjustment_the_corrected_target_is_at_the_rows_temperature():
    student, teacher = observation(sizes()), observation(sizes())
    labels = (teacher.logits.argmax(-1) + torch.tensor([0, 1, 2, 1])) % 3
    labels[3] = -100
    term = term_of(adjustment="ps")
    by_row = term.of_rows(student.logits, teacher.logits)
    target = shifted((teacher.logits / by_row[:, None]).log_softmax(-1), labels)
    mine = (student.logits / by_row[:, None]).log_softmax(-1)
    each = (target.exp() * (target - mine)).sum(-1) * by_row**2
    torch.testing.assert_close(term(step_of(student, teacher, {"labels": labels})), each.mean())
    plain = term_of()(step_of(student, teacher))
    untouched = term(step_of(student, teacher, {"labels": torch.full((4,), -100)}))
    torch.testing.assert_close(untouched, plain)


@pytest.mark.parametrize(
    ("arguments", "task", "soft", "needs"),
    [
        ({}, 0.1, 0.9, {"teacher", "labels", "logits"}),
        ({"alpha": 0.4}, 0.6, 0.4, {"teacher", "labels", "logits"}),
        ({"adjustment": "lsr"}, 0.0, 1.0, {"teacher", "labels", "logits"}),
        ({"adjustment": "lsr", "alpha": 0.4}, 0.6, 0.4, {"teacher", "labels", "logits"}),
    ],
)
def test_with_an_adjustment_there_is_no_task_loss_unless_alpha_is_given(arguments, task, soft, needs):
    method = dynamic_temperature(**arguments)
    assert {name: weighted.weight for name, weighted in method.weighted.items()} == pytest.approx(
        {"task": task, "soft": soft}
    )
    assert method.needs == needs


def test_without_an_adjustment_the_targets_read_no_labels():
    assert "labels" not in term_of().needs
    dynamic_temperature().bind(networks(task=FrameTask()))
    with pytest.raises(ValueError, match="dynamic_temperature with an adjustment needs one label per row"):
        dynamic_temperature(adjustment="ps").bind(networks(task=FrameTask()))


@pytest.mark.parametrize(
    "arguments",
    [
        {"hardness": "focal"},
        {"adjustment": "swap"},
        {"temperature": 0.0},
        {"beta": -1.0},
        {"gamma": 0.0},
        {"alpha": 1.1},
        {"smoothing": 0.0, "adjustment": "lsr"},
        {"floor": 0.0},
        {"floor": 11.0},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with unchecked(), pytest.raises(ValueError, match=next(iter(arguments))):
        dynamic_temperature(**arguments)


class FrameTask:
    outputs = (Port("logits", "float32", ("batch", "frames", "vocabulary")),)


def term_of(**arguments):
    return dynamic_temperature(**arguments).weighted["soft"].term
