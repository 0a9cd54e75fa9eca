"""The contract that every file in kd2deploy/methods fulfils; nothing is to be written per method."""

import copy
import functools
import importlib
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from contract import EXCEPT, Case, all_cases, bound, ground_of, halfway, holds_for, method_names, outcome_of, student_of

from kd2deploy.core import Method
from kd2deploy.train.engine import Trained, Training, distill
from kd2deploy.train.settings import Settings

every_method = pytest.mark.parametrize("case", all_cases(), ids=str)


def test_the_exceptions_name_methods_or_cases_that_exist():
    assert all(set(named) <= {*method_names(), *map(str, all_cases())} for named in EXCEPT.values())


@every_method
def test_the_file_names_its_source_and_holds_a_documented_builder_of_its_name(case: Case):
    module = importlib.import_module(f"kd2deploy.methods.{case.method}")
    assert "\nSource" in module.__doc__
    assert "\nDeparts from it:" in module.__doc__
    assert getattr(module, case.method).__doc__
    assert isinstance(case.build(), Method)


@every_method
def test_the_loss_is_a_finite_scalar_whose_gradient_reaches_the_student_and_never_the_teacher(case: Case):
    distiller = bound(case)
    teacher = distiller.teacher
    assert teacher is not None
    before = copy.deepcopy(teacher.state_dict())
    found = outcome_of(distiller.train(), ground_of(case).batch(8))
    assert found.loss.shape == ()
    assert found.loss.isfinite()
    assert all(value.isfinite() and not value.requires_grad for value in found.values.values())
    found.loss.backward()
    touched = [weight.grad for weight in distiller.student.parameters() if weight.grad is not None]
    assert touched
    assert all(grad.isfinite().all() for grad in touched)
    assert any(grad.any() for grad in touched)
    assert all(weight.grad is None for weight in teacher.parameters())
    assert not teacher.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


@every_method
def test_it_teaches_in_bfloat16_as_it_does_in_full_precision(case: Case):
    whole = outcome_of(bound(case).train(), ground_of(case).batch(8)).loss
    distiller = bound(case).train()
    with torch.autocast("cpu", torch.bfloat16):
        found = outcome_of(distiller, ground_of(case).batch(8)).loss
        distiller.progress = halfway(1)
        again = distiller.outcome(ground_of(case).batch(8)).loss
    assert found.dtype == torch.float32, "terms are added up in full precision"
    torch.testing.assert_close(found, whole, rtol=0.1, atol=0.05)
    again.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in distiller.student.parameters())
    assert all(weight.grad.isfinite().all() for weight in distiller.parameters() if weight.grad is not None)


@every_method
def test_every_batch_teaches_the_student_and_no_forward_moves_a_weight_of_its(case: Case):
    distiller = bound(case).train()
    batch = ground_of(case).batch(8)
    before = copy.deepcopy(distiller.student.state_dict())
    for step in range(6):
        distiller.progress = halfway(step)
        assert distiller.outcome(batch).values
        assert all(weight.grad is None for weight in distiller.student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in distiller.student.state_dict().items())


@pytest.mark.parametrize("case", holds_for("minimum"), ids=str)
def test_what_reads_the_teacher_is_least_where_the_student_equals_it(case: Case):
    teacher = ground_of(case).small(2)
    batch = ground_of(case).batch(8)
    least = imitation(case, copy.deepcopy(teacher), teacher, batch)
    for seed in range(3):
        other = copy.deepcopy(teacher)
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in other.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
        assert imitation(case, other, teacher, batch) >= least - 1e-6


def imitation(case, student, teacher, batch):
    """The weighted sum of the terms that read the teacher."""
    distiller = bound(case, student=student, teacher=teacher).eval()
    found = outcome_of(distiller, batch)
    terms = distiller.method.weighted
    return sum(
        found.weights[name] * float(found.values[name]) for name in found.values if "teacher" in terms[name].term.needs
    )


@pytest.mark.parametrize("case", holds_for("padding"), ids=str)
def test_padding_does_not_change_the_loss(case: Case):
    batch = ground_of(case).batch(8)
    padded = {
        name: torch.nn.functional.pad(value, (0, 3)) if value.dim() == 2 else value for name, value in batch.items()
    }
    plain = outcome_of(bound(case).eval(), batch).loss
    torch.testing.assert_close(outcome_of(bound(case).eval(), padded).loss, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", holds_for("order"), ids=str)
def test_the_order_of_the_rows_does_not_change_the_loss(case: Case):
    batch = ground_of(case).batch(8)
    turned = {name: value.flip(0) for name, value in batch.items()}
    plain = outcome_of(bound(case).eval(), batch).loss
    torch.testing.assert_close(outcome_of(bound(case).eval(), turned).loss, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", holds_for("falls"), ids=str)
def test_the_loss_falls_in_thirty_small_steps(case: Case):
    distiller = bound(case).train()
    batch = ground_of(case).batch(16)
    optimizer = torch.optim.AdamW([weight for weight in distiller.parameters() if weight.requires_grad], lr=2e-3)
    losses = []
    for step in range(30):
        distiller.progress = halfway(step)
        found = distiller.outcome(batch)
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
        losses.append(found.loss.item())
    assert sum(losses[-3:]) < sum(losses[:3])


class Killed(Exception):
    """Stands for a kill between two checkpoints."""


SETTINGS = {"epochs": 2, "batch": 4, "learning_rate": 1e-3, "keep": "last", "score_every": 3, "checkpoint_every": 2}


class Outcome(NamedTuple):
    trained: Trained
    student: torch.nn.Module
    teacher: torch.nn.Module


def trained_in(folder: Path, case: Case, killed_at: int | None = None) -> Outcome:
    """Eight steps with dropout; `killed_at` counts the scorings, at steps 3, 6 and 8."""
    ground = ground_of(case)
    student, teacher = student_of(case, dropout=0.1), ground.large(2)
    settings = Settings(**SETTINGS, augment=ground.augment)
    scorings = 0

    def score(net: torch.nn.Module) -> float:
        nonlocal scorings
        scorings += 1
        torch.rand(7)  # a score may draw random numbers: the training must not notice
        if scorings == killed_at:
            raise Killed
        return float(next(net.parameters()).sum())

    found = distill(
        Training(ground.task(), student, case.build(), ground.rows(16), settings, seed=3, teacher=teacher),
        folder,
        score=score,
    )
    return Outcome(found, student, teacher)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A case's whole training; each is trained once for all tests."""

    @functools.cache
    def train(case_name: str) -> Outcome:
        case = next(case for case in all_cases() if str(case) == case_name)
        return trained_in(tmp_path_factory.mktemp("whole"), case)

    return train


@every_method
def test_a_resumed_training_equals_one_without_interruption_to_the_bit(case: Case, tmp_path: Path, uninterrupted):
    with pytest.raises(Killed):
        trained_in(tmp_path, case, killed_at=2)
    resumed, student, _ = trained_in(tmp_path, case)
    whole, other, _ = uninterrupted(str(case))
    assert resumed.history == whole.history
    assert all(math.isfinite(entry["loss"]) for entry in resumed.history)
    assert resumed.steps == whole.steps == 8
    assert equal_weights(student, other)


@every_method
def test_the_saved_student_loads_by_itself_without_heads(case: Case, uninterrupted):
    trained, student, _ = uninterrupted(str(case))
    alone = ground_of(case).task().networks.load(trained.student)
    assert equal_weights(alone, student)
    plain = student_of(case)
    assert set(alone.state_dict()) == set(plain.state_dict())
    assert not equal_weights(alone, plain)


@every_method
def test_the_teacher_is_the_same_to_the_bit_after_a_whole_training(case: Case, uninterrupted):
    """With a generator that ascends through it, too."""
    teacher = uninterrupted(str(case)).teacher
    assert equal_weights(teacher, ground_of(case).large(2))
    assert all(weight.grad is None for weight in teacher.parameters())


def equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return set(mine) == set(theirs) and all(torch.equal(mine[name], theirs[name]) for name in mine)
