import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_networks import at, networks, observation, parity, sizes, step_of

from kd2deploy.core import Port
from kd2deploy.methods.dkd import Decoupled, decoupled_kl, dkd
from kd2deploy.methods.logit import softened_kl


@pytest.mark.parametrize("case", parity("dkd"))
def test_parity_with_an_independent_computation(case):
    tckd, nckd = decoupled_kl(case["student"], case["teacher"], case["labels"], case["temperature"])
    found = (case["alpha"] * tckd + case["beta"] * nckd).mean() * case["temperature"] ** 2
    assert found.item() == pytest.approx(case["expected"], abs=1e-10)
    of = sizes(classes=case["student"].shape[-1])
    seen = [observation(of, batch=len(case["labels"]), logits=case[name]) for name in ("student", "teacher")]
    term = dkd(case["temperature"], case["alpha"], case["beta"]).weighted["decoupled"].term
    assert term(step_of(*seen, {"labels": case["labels"]})).item() == pytest.approx(case["expected"], rel=1e-5)


@given(classes=st.integers(2, 12), temperature=st.floats(0.5, 8), seed=st.integers(0, 1000))
def test_the_kl_is_tckd_plus_the_rest_times_nckd(classes, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(5, classes, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(classes, (5,), generator=generator)
    tckd, nckd = decoupled_kl(student, teacher, labels, temperature)
    certain = (teacher / temperature).softmax(-1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(tckd + (1 - certain) * nckd, softened_kl(student, teacher, temperature) / temperature**2)


def test_by_hand_the_rest_is_ranked_apart_from_the_label():
    student, teacher = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[-4.0, 1.0, 1.0]])
    tckd, nckd = decoupled_kl(student, teacher, torch.tensor([0]), 1.0)
    assert nckd.item() == pytest.approx(0, abs=1e-6)
    assert tckd > 1


def test_two_classes_have_no_rest_to_rank():
    _, nckd = decoupled_kl(torch.randn(4, 2), torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), 2.0)
    assert nckd.tolist() == [0.0] * 4


def test_it_vanishes_where_the_student_is_the_teacher():
    seen = observation(sizes())
    found = Decoupled(4.0, 1.0, 8.0)(step_of(seen, seen, {"labels": torch.tensor([0, 1, 2, 0])}))
    assert found.item() == pytest.approx(0, abs=1e-5)


def test_unlabelled_rows_do_not_count():
    term, labels = Decoupled(4.0, 1.0, 8.0), torch.tensor([0, -100, 2, -100])
    student, teacher = observation(sizes()), observation(sizes())
    known = [observation(sizes(), batch=2, logits=seen.logits[[0, 2]]) for seen in (student, teacher)]
    found = term(step_of(student, teacher, {"labels": labels}))
    torch.testing.assert_close(found, term(step_of(*known, {"labels": labels[[0, 2]]})))


def test_without_a_label_there_is_a_zero_in_the_graph():
    student = observation(sizes(), logits=torch.randn(4, 3, requires_grad=True))
    found = Decoupled(4.0, 1.0, 8.0)(step_of(student, observation(sizes()), {"labels": torch.full((4,), -100)}))
    found.backward()
    assert found.item() == 0
    assert not student.logits.grad.any()


def test_confident_logits_stay_finite():
    logits = torch.tensor([[300.0, -300.0, 0.0]], requires_grad=True)
    tckd, nckd = decoupled_kl(logits, -logits.detach(), torch.tensor([0]), 1.0)
    (tckd + nckd).sum().backward()
    assert logits.grad.isfinite().all()


def test_the_warm_up_rises_over_its_share_of_the_training():
    weight = dkd(warmup=0.5).weighted["decoupled"]
    assert [weight.at(at(step=step, steps=10)) for step in (0, 1, 5, 10)] == pytest.approx([0, 0.2, 1, 1])
    assert dkd().weighted["decoupled"].at(at(step=0)) == 1


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"alpha": -1.0}, {"beta": -1.0}, {"warmup": 1.1}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        dkd(**arguments)


def test_networks_and_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="needs 2 classes or more, and the student has 1"):
        dkd().bind(networks(sizes(classes=1), sizes(classes=1)))
    with pytest.raises(ValueError, match="the student has 3 classes and the teacher 5"):
        dkd().bind(networks(sizes(), sizes(classes=5)))
    with pytest.raises(ValueError, match=r"axes \['batch', 'frames', 'vocabulary'\]; use logit or dist"):
        dkd().bind(networks(task=FrameTask()))


class FrameTask:
    outputs = (Port("logits", "float32", ("batch", "frames", "vocabulary")),)
