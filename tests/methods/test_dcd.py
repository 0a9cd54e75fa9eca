import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_networks import committed_trainings, networks, observation, parity, sizes, step_of

from kd2deploy.methods.dcd import Consistent, dcd, discrimination, inconsistency, similarities
from kd2deploy.methods.logit import softened_kl

TEACHER = sizes((6,) * 5)


@pytest.mark.parametrize("case", parity("dcd"))
def test_parity_of_loss_and_gradient_with_an_independent_computation(case):
    student = case["student"].requires_grad_(True)
    similarity = similarities(student, case["teacher"], torch.tensor(case["log_scale"], dtype=torch.float64))
    found = discrimination(similarity) + case["alpha"] * inconsistency(similarity)
    assert found.item() == pytest.approx(case["expected"], abs=1e-10)
    torch.testing.assert_close(torch.autograd.grad(found, student)[0], case["gradient"], rtol=1e-6, atol=1e-8)


def test_by_hand_two_rows():
    found = discrimination(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert found.item() == pytest.approx(-math.log(math.e / (math.e + 1)))


@given(seed=st.integers(0, 1000), rows=st.integers(1, 7))
def test_inconsistency_is_never_negative_and_vanishes_where_the_matrix_is_symmetric(seed, rows):
    similarity = torch.randn(rows, rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert inconsistency(similarity).item() >= -1e-12
    assert inconsistency(similarity + similarity.T).item() == pytest.approx(0, abs=1e-12)


def test_inconsistency_sees_what_is_not_symmetric():
    assert inconsistency(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).item() > 0.1


def test_the_matrix_is_of_the_batch_alone_and_of_unit_vectors():
    student, teacher = torch.randn(5, 128), 9 * torch.randn(5, 128)
    found = similarities(student, teacher, torch.tensor(0.0))
    assert found.shape == (5, 5)
    assert found.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(similarities(7 * student, teacher, torch.tensor(0.0)), found)


@pytest.mark.parametrize(("log_scale", "scale"), [(1.0, math.e), (2.0, math.exp(2)), (3.0, 10.0), (50.0, 10.0)])
def test_the_scale_is_held_at_10(log_scale, scale):
    same = torch.ones(1, 4)
    assert similarities(same, same, torch.tensor(log_scale)).item() == pytest.approx(scale, rel=1e-5)


def test_an_offset_of_all_similarities_cannot_matter():
    similarity, offset = (
        torch.randn(4, 4, dtype=torch.float64),
        torch.zeros((), dtype=torch.float64, requires_grad=True),
    )
    for term in (discrimination, inconsistency):
        torch.testing.assert_close(term(similarity + 3.0), term(similarity))
        assert torch.autograd.grad(term(similarity + offset), offset)[0].item() == pytest.approx(0, abs=1e-12)


def test_the_gradient_reaches_scale_both_maps_and_the_student_and_not_the_teacher():
    term = bound()
    student = observation(sizes(), embedding=torch.randn(4, 8, requires_grad=True))
    teacher = observation(TEACHER)
    term(step_of(student, teacher)).backward()
    assert student.embedding.grad.abs().sum() > 0
    assert not teacher.embedding.requires_grad
    assert {name for name, weight in term.named_parameters() if weight.grad.any()} >= {
        "log_scale",
        "of_student.weight",
        "of_teacher.weight",
    }


def test_the_loss_is_of_the_projected_embeddings():
    term, student, teacher = bound(alpha=0.7), observation(sizes()), observation(TEACHER)
    assert term.of_student.out_features == term.of_teacher.out_features == 5
    mine, theirs = term.of_student(student.embedding), term.of_teacher(teacher.embedding)
    similarity = similarities(mine, theirs, torch.tensor(1.0))
    expected = discrimination(similarity) + 0.7 * inconsistency(similarity)
    torch.testing.assert_close(term(step_of(student, teacher)), expected)


def test_the_order_of_the_batch_does_not_matter():
    term, student, teacher = bound(), observation(sizes()), observation(TEACHER)
    turned = [
        observation(size, embedding=seen.embedding.flip(0)) for size, seen in ((sizes(), student), (TEACHER, teacher))
    ]
    torch.testing.assert_close(term(step_of(student, teacher)), term(step_of(*turned)))


def test_a_batch_of_one_row_teaches_nothing_and_stays_finite():
    seen = observation(sizes(), batch=1), observation(TEACHER, batch=1)
    assert bound()(step_of(*seen)).item() == pytest.approx(0, abs=1e-6)


def test_alone_and_with_soft_targets_are_two_settings():
    alone, both = dcd(), dcd(soft=1.0)
    assert {name: weighted.weight for name, weighted in alone.weighted.items()} == {"task": 1.0, "consistent": 1.0}
    assert {name: weighted.weight for name, weighted in both.weighted.items()} == {
        "task": 1.0,
        "consistent": 1.0,
        "soft": 1.0,
    }
    consistent = both.weighted["consistent"].term
    assert (consistent.alpha, consistent.dim) == (0.5, 128)
    student, teacher = observation(sizes()), observation(sizes())
    found = both.weighted["soft"].term(step_of(student, teacher))
    torch.testing.assert_close(found, softened_kl(student.logits, teacher.logits, 4.0).mean())


def test_the_committed_recipe_is_their_dcd_with_soft_targets():
    assert [copy.copy(entry.method) for entry in committed_trainings("dcd")] == [
        {"use": "dcd", "alpha": 0.5, "beta": 1.0, "dim": 128, "soft": 1.0, "temperature": 4.0}
    ]


@pytest.mark.parametrize(
    "arguments", [{"alpha": -1.0}, {"beta": -1.0}, {"dim": 0}, {"soft": -1.0}, {"temperature": 0.0, "soft": 1.0}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        dcd(**arguments)


def test_a_network_without_an_embedding_is_refused():
    with pytest.raises(ValueError, match="dcd compares embeddings, and the teacher gives none; use logit"):
        dcd().bind(networks(of_teacher=sizes((), embedding=0, heads=())))


def bound(seed=0, alpha=0.5):
    torch.manual_seed(seed)
    term = Consistent(alpha, dim=5)
    term.bind(networks())
    return term
