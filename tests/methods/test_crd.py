import math

import pytest
import torch
from tiny_networks import networks, observation, parity, sizes, step_of, unchecked
from torch import nn

from kd2deploy.methods._maths import normalized
from kd2deploy.methods.crd import Others, TwoBanks, crd, likenesses, moved, noise_contrastive

TEACHER = sizes((6,) * 5)
ROWS = 12


@pytest.mark.parametrize("case", parity("crd"))
def test_parity_with_an_independent_computation(case):
    asked, bank_rows = torch.cat([case["rows"][:, None], case["drawn"]], dim=1), len(case["student_bank"])
    loss = 0.0
    for side, other in (("student", "teacher"), ("teacher", "student")):
        found = likenesses(normalized(case[side]), case[f"{other}_bank"], asked, case["temperature"])
        constant = found.mean() * bank_rows
        assert constant.item() == pytest.approx(case[f"z_{side}"], abs=1e-10)
        loss += noise_contrastive(found / constant, bank_rows).item()
        after = moved(case[f"{side}_bank"], case["rows"], normalized(case[side]), case["momentum"])
        torch.testing.assert_close(after, case[f"{side}_bank_after"], rtol=0, atol=1e-12)
    assert loss == pytest.approx(case["expected"], abs=1e-10)


@pytest.mark.parametrize("case", parity("crd"))
def test_the_term_computes_the_same_of_the_same_negatives_in_float32(case):
    term = bound(rows=7, dim=4, temperature=case["temperature"], momentum=case["momentum"])
    term.of_student, term.of_teacher = nn.Identity(), nn.Identity()
    term.student_bank, term.teacher_bank = case["student_bank"].float(), case["teacher_bank"].float()
    term.drawn = lambda rows: case["drawn"]
    seen = (observation(sizes(), embedding=case["student"]), observation(TEACHER, embedding=case["teacher"]))
    found = term(step_of(*seen, {"index": case["rows"]}))
    assert found.item() == pytest.approx(case["expected"], rel=1e-5)
    assert term.constants.tolist() == pytest.approx([case["z_student"], case["z_teacher"]], rel=1e-5)
    torch.testing.assert_close(term.student_bank.double(), case["student_bank_after"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(term.teacher_bank.double(), case["teacher_bank_after"], rtol=1e-5, atol=1e-6)


def test_by_hand_one_negative_of_two_rows():
    found = noise_contrastive(torch.tensor([[0.5, 0.25]]), rows=2)  # noise draws 1 of 2 evenly: 0.5
    expected = -math.log(0.5 / 1.0) - math.log(0.5 / 0.75)
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_it_falls_as_the_positive_gains_and_the_negatives_lose():
    scores = torch.tensor([[0.2, 0.1, 0.1]], requires_grad=True)
    noise_contrastive(scores, rows=10).backward()
    assert scores.grad[0, 0] < 0
    assert (scores.grad[0, 1:] > 0).all()


def test_a_row_of_a_bank_keeps_half_of_itself_and_the_others_all():
    bank = torch.eye(3)
    found = moved(bank, torch.tensor([1]), torch.tensor([[1.0, 0.0, 0.0]]), 0.5)
    torch.testing.assert_close(found[1], torch.tensor([1.0, 1.0, 0.0]) / math.sqrt(2))
    assert torch.equal(found[[0, 2]], bank[[0, 2]])


def test_each_side_asks_the_others_bank():
    vectors, bank, asked = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]), torch.tensor([[1, 2]] * 2)
    found = likenesses(vectors, bank, asked, 0.5)
    torch.testing.assert_close(found, torch.tensor([[2.0, 1.2], [0.0, 1.6]]).exp())
    term = bound().eval()
    student = observation(sizes(), embedding=torch.randn(4, 8, requires_grad=True))
    for own, others in ((0.0, 1.0), (1.0, 0.0)):
        term.student_bank.fill_(own)
        term.teacher_bank.fill_(others)
        (grad,) = torch.autograd.grad(term(step_of(student, observation(TEACHER), rows(0))), student.embedding)
        assert bool(grad.any()) == (others == 1), "the student's vectors are compared with the teacher's bank alone"


def test_negatives_are_of_other_classes_and_every_one_of_them_is_drawn():
    classes = torch.tensor([2, 0, 1, 0, 2, -1, 1, 0])
    rows = torch.arange(8)
    found = Others(classes).drawn(rows, 400)
    for row in range(8):
        allowed = set(range(8)) if classes[row] < 0 else set((classes != classes[row]).nonzero().flatten().tolist())
        assert set(found[row].tolist()) == allowed


def test_negatives_are_drawn_evenly():
    found = Others(torch.tensor([1, 0, 0, 2, 1, 2])).drawn(torch.tensor([0]), 40_000)
    shares = found[0].bincount(minlength=6) / 40_000
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.25, 0.25, 0.25, 0.0, 0.25]), atol=0.01, rtol=0)


def test_where_nobody_is_of_another_class_all_rows_are_drawn_from():
    assert set(Others(torch.zeros(3, dtype=torch.long)).drawn(torch.tensor([1]), 100)[0].tolist()) == {0, 1, 2}


@pytest.mark.parametrize(("negatives_of", "only_others"), [("other_classes", True), ("all", False)])
def test_whose_negatives_are_drawn_is_chosen(negatives_of, only_others):
    classes = torch.arange(ROWS) % 2
    term = bound(negatives=200, negatives_of=negatives_of, classes=lambda: classes)
    drawn = term.drawn(torch.arange(4))
    assert drawn.shape == (4, 200)
    assert bool((classes[drawn] != classes[:4, None]).all()) == only_others


def test_as_many_negatives_as_are_asked_for_also_of_fewer_rows():
    assert bound(negatives=500).drawn(torch.arange(3)).shape == (3, 500)


def test_the_constants_are_those_of_the_first_batch_and_stay():
    term = bound()
    assert not term.constants.any()
    term(step(seed=1))
    first = term.constants.clone()
    assert (first > 0).all()
    term(step(seed=2))
    assert torch.equal(term.constants, first)


def test_in_eval_mode_nothing_is_remembered():
    term = bound().eval()
    before = {name: bank.clone() for name, bank in term.named_buffers()}
    assert term(step()).isfinite()
    assert all(torch.equal(bank, before[name]) for name, bank in term.named_buffers())


def test_a_bank_has_a_row_for_every_row_of_the_data_of_length_one_once_it_was_seen():
    term = bound()
    assert term.student_bank.shape == term.teacher_bank.shape == (ROWS, 5)
    before = term.student_bank.clone()
    term(step(first=4))
    moved_rows = (term.student_bank != before).any(-1)
    assert moved_rows.nonzero().flatten().tolist() == [4, 5, 6, 7]
    torch.testing.assert_close(term.student_bank[4:8].norm(dim=-1), torch.ones(4))


def test_gradients_reach_the_student_and_both_maps_and_no_bank():
    term = bound()
    student = observation(sizes(), embedding=torch.randn(4, 8, requires_grad=True))
    term(step_of(student, observation(TEACHER), rows(0))).backward()
    assert student.embedding.grad.any()
    assert term.of_student.weight.grad.any()
    assert term.of_teacher.weight.grad.any()
    assert not any(bank.requires_grad for bank in term.buffers())


def test_a_resumed_training_goes_on_with_its_banks_and_constants_to_the_bit():
    first, resumed = bound(), bound(seed=9)
    first(step(seed=1))
    resumed.load_state_dict(first.state_dict())
    losses = []
    for term in (first, resumed):
        torch.manual_seed(4)
        losses.append(term(step(seed=2, first=4)))
    assert losses[0] == losses[1]


def test_rows_are_told_apart_in_the_end():
    """The embeddings themselves are trained, four rows at a time, against banks that move with them."""
    term = bound(classes=lambda: torch.arange(ROWS))
    student, teacher = torch.randn(ROWS, 8, requires_grad=True), torch.randn(ROWS, 6)
    optimizer = torch.optim.Adam([student, *term.parameters()], lr=0.05)
    for _ in range(100):
        some = torch.randperm(ROWS)[:4]
        seen = (observation(sizes(), embedding=student[some]), observation(TEACHER, embedding=teacher[some]))
        optimizer.zero_grad()
        term(step_of(*seen, {"index": some})).backward()
        optimizer.step()
    nearest = (term.of_student(student) @ term.teacher_bank.T).argmax(-1)
    assert (nearest == torch.arange(ROWS)).float().mean() > 0.9


@pytest.mark.parametrize(
    "arguments",
    [
        {"negatives": 0},
        {"negatives_of": "some"},
        {"temperature": 0.0},
        {"dim": 0},
        {"momentum": 1.5},
        {"beta": -1.0},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with unchecked(), pytest.raises(ValueError, match=next(iter(arguments))):
        crd(**arguments)


def test_a_network_without_an_embedding_is_refused():
    with pytest.raises(ValueError, match="crd compares embeddings, and the teacher gives none; use logit"):
        crd().bind(networks(of_teacher=sizes((), embedding=0, heads=())))


def bound(seed=0, rows=ROWS, classes=None, **changes):
    torch.manual_seed(seed)
    given = {"negatives": 6, "negatives_of": "other_classes", "temperature": 0.2, "dim": 5, "momentum": 0.5, **changes}
    term = TwoBanks(**given)
    term.bind(networks(rows=rows, classes=classes))
    return term


def rows(first, count=4):
    return {"index": torch.arange(first, first + count)}


def step(seed=0, first=0):
    torch.manual_seed(seed)
    return step_of(observation(sizes()), observation(TEACHER), rows(first))
