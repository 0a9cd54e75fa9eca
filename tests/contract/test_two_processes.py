"""Two processes, each with half of the rows, compute what one computes of all of them; one launch for all methods."""

import os

import pytest
import torch
import torch.distributed as dist
from accelerate import PartialState
from contract import EXCEPT, Case, all_cases, bound, ground_of, halfway
from grounds import OF_OBJECTS
from torch import nn

from kd2deploy.core import averaged, gathered, gathered_along
from kd2deploy.core.ranks import leader_first, leads
from kd2deploy.train.arguments import may_leave_unused
from kd2deploy.train.sharded import shard

BATCH, BATCHES, RANKS = 8, 2, 2
ALONE = ("cilda", "combined_kd-phase 1", "dckd-one answer of the teacher", "dckd-whole", "lmcl", "mate_kd")


def shared_cases() -> list[Case]:
    return [case for case in all_cases() if not case.build().by_itself]


def taught_cases() -> list[Case]:
    """Those that run a teacher."""
    return [case for case in shared_cases() if "teacher" in case.build().needs]


def taught(case: Case, share: slice, wrapped) -> dict[str, object]:
    """The losses of two batches, of each of which there is a share, and the gradients of both added up."""
    distiller = bound(case).train()
    module, rows = wrapped(distiller), list(ground_of(case).rows(BATCH * BATCHES))
    losses = []
    for at in range(BATCHES):
        distiller.progress = halfway(at)
        batch = ground_of(case).task().reader.collate(rows[BATCH * at : BATCH * (at + 1)][share])
        found = module(**batch)
        found["loss"].backward()
        losses.append({name: value.detach() for name, value in found.items()})
    grads = {name: weight.grad for name, weight in distiller.named_parameters() if weight.grad is not None}
    return {"losses": losses, "grads": grads, "state": distiller.method.state_dict()}


def in_parallel(distiller) -> nn.Module:
    unused = may_leave_unused(distiller.method)
    return nn.parallel.DistributedDataParallel(distiller, find_unused_parameters=unused)


def of_shards(distiller) -> nn.Module:
    shard(distiller.teacher, torch.device("cpu"))
    return in_parallel(distiller)


def meet(rank: int, folder) -> None:
    torch.set_num_threads(1)
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS, "LOCAL_WORLD_SIZE": RANKS}
    os.environ.update({name: str(value) for name, value in own.items()}, OMP_NUM_THREADS="1")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    PartialState(cpu=True)  # as in a training: transformers' losses of detectors ask it for the other processes


def on_rank(rank: int, folder) -> None:
    for case in shared_cases():
        for count in (2, BATCH * BATCHES, 24):  # kept: a network is saved for some, which transformers has the first do
            ground_of(case).rows(count)
    meet(rank, folder)
    half = BATCH // RANKS
    share = slice(half * rank, half * (rank + 1))
    found = {}
    for case in shared_cases():
        torch.manual_seed(rank)
        found[str(case)] = taught(case, share, in_parallel)
    in_shards = {}
    for case in taught_cases():
        torch.manual_seed(rank)
        in_shards[str(case)] = taught(case, share, of_shards)
    torch.save(
        {"cases": found, "in shards": in_shards, "gathered": gathering(rank), "order": in_order(rank, folder)},
        folder / f"{rank}.pt",
    )
    dist.destroy_process_group()


def gathering(rank: int) -> dict[str, torch.Tensor]:
    """What rank 0 with two rows and rank 1 with three see of each other, and the gradients of their own."""
    mine = torch.arange(4.0 + 2 * rank).reshape(-1, 2).add(10 * rank).requires_grad_()
    everyone = gathered(mine)
    (everyone * torch.arange(10.0).reshape(5, 2) * (rank + 1)).sum().backward()
    wide = gathered_along(torch.full((3, 2), float(rank)), 1)
    return {"rows": everyone.detach(), "grad": mine.grad, "wide": wide, "mean": averaged(torch.tensor(float(rank)))}


def in_order(rank: int, folder) -> bool:
    """Whether what the leader makes is there for each."""
    with leader_first():
        if leads():
            (folder / "made").touch()
        return (folder / "made").exists()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(on_rank, (folder,), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("case", taught_cases(), ids=str)
def test_a_teacher_in_shards_teaches_the_same(case: Case, ranks):
    for rank in ranks:
        whole, cut = rank["cases"][str(case)], rank["in shards"][str(case)]
        torch.testing.assert_close(cut["losses"], whole["losses"])
        torch.testing.assert_close(cut["grads"], whole["grads"])


@pytest.mark.parametrize("case", shared_cases(), ids=str)
def test_two_processes_find_the_loss_and_the_gradients_of_one(case: Case, ranks):
    one, other = (rank["cases"][str(case)] for rank in ranks)
    assert set(one["grads"]) == set(other["grads"])
    for name, grad in one["grads"].items():
        assert grad.isfinite().all()
        torch.testing.assert_close(grad, other["grads"][name], msg=f"{name} is not the same in both")
    for name, value in one["state"].items():
        torch.testing.assert_close(value, other["state"][name], msg=f"{name} is not the same in both")
    if {case.method, str(case)} & EXCEPT["processes"].keys():
        return
    torch.manual_seed(0)
    whole = taught(case, slice(BATCH), lambda distiller: distiller)
    # a detector's own loss is a mean weighed by what its queries find, which each process takes by itself
    left_out = {"loss", "term.task"} if case.method in OF_OBJECTS else set()
    for alone, mine, theirs in zip(whole["losses"], one["losses"], other["losses"], strict=True):
        for name, value in alone.items():
            if name in left_out:
                continue
            torch.testing.assert_close((mine[name] + theirs[name]) / 2, value, rtol=1e-4, atol=1e-5, msg=name)
    if left_out:
        return
    assert set(one["grads"]) == set(whole["grads"])
    for name, grad in whole["grads"].items():
        torch.testing.assert_close(one["grads"][name], grad, rtol=1e-3, atol=1e-5, msg=name)
    for name, value in whole["state"].items():
        torch.testing.assert_close(one["state"][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_methods_that_one_process_alone_can_train_by_say_why():
    refused = {str(case): case.build().by_itself for case in all_cases() if case.build().by_itself}
    assert tuple(sorted(refused)) == ALONE
    assert all(reason.startswith("is for one process alone: it ") for reason in refused.values())


def test_rows_are_gathered_in_order_and_their_gradient_is_that_of_all_that_was_made_of_them(ranks):
    first, second = (rank["gathered"] for rank in ranks)
    wanted = torch.tensor([[0.0, 1], [2, 3], [10, 11], [12, 13], [14, 15]])
    assert torch.equal(first["rows"], wanted)
    assert torch.equal(second["rows"], wanted)
    weights = torch.arange(10.0).reshape(5, 2) * 3  # once in rank 0, twice in rank 1
    assert torch.equal(first["grad"], weights[:2])
    assert torch.equal(second["grad"], weights[2:])
    assert torch.equal(first["wide"], torch.tensor([[0.0, 0, 1, 1]] * 3))
    assert first["mean"] == second["mean"] == 0.5


def test_what_the_leader_makes_is_there_for_all(ranks):
    assert all(rank["order"] for rank in ranks)


def test_a_process_by_itself_sees_its_own():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gathered(rows) is rows
    assert gathered_along(rows, 1) is rows
    assert averaged(rows) is rows
