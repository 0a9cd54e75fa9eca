import math

import pytest
import torch
import torch.distributed as dist
from tiny_networks import networks, observation, parity, sizes, step_of

from kd2deploy.methods.contrastive import SameRow, bank_mb, contrastive, info_nce

TEACHER = sizes((6,) * 5)


@pytest.mark.parametrize("case", parity("contrastive"))
def test_parity_with_an_independent_computation(case):
    found = info_nce(case["student"], case["teacher"], case["positive"], case["temperature"], case["excluded"])
    assert found.item() == pytest.approx(case["expected"], abs=1e-10)


def test_it_is_log_k_when_all_cosines_are_equal():
    same = torch.ones(5, 3)
    assert info_nce(same, same, torch.arange(5), 0.1).item() == pytest.approx(math.log(5))


def test_it_is_near_zero_when_pairs_agree_and_others_do_not():
    assert info_nce(torch.eye(4), torch.eye(4), torch.arange(4), 0.05).item() < 1e-6


def test_by_hand_two_orthogonal_rows():
    expected = -math.log(math.e / (math.e + 1))
    assert info_nce(torch.eye(2), 5 * torch.eye(2), torch.arange(2), 1.0).item() == pytest.approx(expected)


def test_excluded_candidates_are_left_out_of_the_sum():
    student, teacher = torch.randn(2, 3), torch.randn(4, 3)
    excluded = torch.tensor([[False, False, True, True]] * 2)
    found = info_nce(student, teacher, torch.arange(2), 0.5, excluded)
    torch.testing.assert_close(found, info_nce(student, teacher[:2], torch.arange(2), 0.5))


def test_the_order_of_the_batch_does_not_matter():
    term, student, teacher = bound(), observation(sizes()), observation(TEACHER)
    turned = [
        observation(size, embedding=seen.embedding.flip(0)) for size, seen in ((sizes(), student), (TEACHER, teacher))
    ]
    torch.testing.assert_close(term(step_of(student, teacher)), term(step_of(*turned)))


def test_the_size_of_a_bank_is_known_up_front():
    term = bound(bank=1000)
    assert term.bank_mb == bank_mb(1000, 6) == pytest.approx(0.032)
    assert (term.bank.nbytes + term.bank_rows.nbytes) / 1e6 == pytest.approx(term.bank_mb)


def test_an_empty_bank_changes_nothing():
    plain, banked = bound(), bound(bank=8)
    step = step_of(observation(sizes()), observation(TEACHER))
    assert plain(step) == banked(step)


def test_the_bank_keeps_the_last_teachers_embeddings_and_they_become_negatives():
    term = bound(bank=6)
    first, second = observation(TEACHER), observation(TEACHER)
    term(step_of(observation(sizes()), first, rows(0)))
    student = observation(sizes())
    found = term(step_of(student, second, rows(4)))
    candidates = term.of_teacher(torch.cat([second.embedding, first.embedding]))
    assert found == info_nce(term.of_student(student.embedding), candidates, torch.arange(4), 0.07)
    assert torch.equal(term.bank, torch.cat([second.embedding, first.embedding])[:6])
    assert term.bank_rows.tolist() == [4, 5, 6, 7, 0, 1]


def test_a_row_is_no_negative_of_itself():
    term = bound(bank=1)
    student, teacher = observation(sizes(), batch=1), observation(TEACHER, batch=1)
    for _ in range(2):
        assert term(step_of(student, teacher, rows(0, 1))) == 0
    assert term(step_of(student, teacher, rows(1, 1))).item() == pytest.approx(math.log(2))


def test_the_bank_is_not_filled_in_eval_mode():
    term = bound(bank=4).eval()
    term(step_of(observation(sizes()), observation(TEACHER)))
    assert not term.bank.any()


def test_a_resumed_bank_gives_the_same_loss_to_the_bit():
    first, resumed = bound(bank=4), bound(seed=9, bank=4)
    first(step_of(observation(sizes()), observation(TEACHER), rows(0)))
    resumed.load_state_dict(first.state_dict())
    step = step_of(observation(sizes()), observation(TEACHER), rows(4))
    assert first(step) == resumed(step)


def test_the_gradient_reaches_both_maps_and_the_student_with_a_bank():
    term = bound(bank=4)
    student = observation(sizes(), embedding=torch.randn(4, 8, requires_grad=True))
    for first in (0, 4):
        loss = term(step_of(student, observation(TEACHER), rows(first)))
    loss.backward()
    assert student.embedding.grad.abs().sum() > 0
    assert all(weight.grad.abs().sum() > 0 for weight in (term.of_student.weight, term.of_teacher.weight))


@pytest.mark.recipe
def test_two_ranks_together_see_what_one_process_sees(tmp_path):
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 8), torch.randn(6, 6)
    whole = bound(bank=4)
    alone = whole(step_of(observation(sizes(), embedding=student), observation(TEACHER, embedding=teacher), rows(0, 6)))
    alone.backward()
    torch.multiprocessing.spawn(on_rank, (tmp_path, student, teacher), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close((ranks[0]["loss"] + ranks[1]["loss"]) / 2, alone.detach())
    torch.testing.assert_close((ranks[0]["grad"] + ranks[1]["grad"]) / 2, whole.of_teacher.weight.grad)
    for rank in ranks:
        assert torch.equal(rank["bank"], whole.bank)


def on_rank(rank, folder, student, teacher):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    part = slice(3 * rank, 3 * rank + 3)
    term = bound(bank=4)
    seen = observation(sizes(), embedding=student[part]), observation(TEACHER, embedding=teacher[part])
    loss = term(step_of(*seen, rows(3 * rank, 3)))
    loss.backward()
    found = {"loss": loss.detach(), "grad": term.of_teacher.weight.grad, "bank": term.bank}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"dim": 0}, {"bank": -1}, {"beta": -0.1}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        contrastive(**arguments)


def test_a_network_without_an_embedding_is_refused():
    with pytest.raises(ValueError, match="the teacher gives none; use logit"):
        contrastive().bind(networks(of_teacher=sizes((), embedding=0, heads=())))


def bound(seed=0, **arguments):
    torch.manual_seed(seed)
    term = SameRow(dim=5, **arguments)
    term.bind(networks())
    return term


def rows(first, count=4):
    return {"index": torch.arange(first, first + count)}
