"""What each method makes of a number in place of classes: it learns it by squared error, or is refused by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import Case, all_cases, halfway, outcome_of
from tiny_models import save_encoder

from kd2deploy.core import Observation
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.distiller import Distiller, networks

ROWS: list[dict[str, Any]] = [
    {"text": "a good plot", "label": 1.5},
    {"text": "the film was slow, not fun", "label": -2.0},
    {"text": "fine", "label": None},
    {"text": "very fine", "label": 0.5},
]
REFUSED = {"dkd", "dist", "logit_standardization"}
"""Methods of classes."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    save_encoder(folder / "teacher", labels=[], layers=4, hidden=32, seed=1)
    save_encoder(folder / "student", labels=[], layers=2, hidden=16, seed=2)
    return folder


def bound(case: Case, folders: Path) -> tuple[Distiller, dict[str, torch.Tensor]]:
    task = TextClassification(max_length=12).at(folders / "teacher")
    teacher, student = (task.networks.load(folders / name) for name in ("teacher", "student"))
    batch = task.reader.collate(task.reader.encode(ROWS, folders / "teacher"))
    method = case.build()
    torch.manual_seed(0)
    shown = networks(task, student, teacher, batch, rows=4, epochs=2.0, steps=100)
    assert (shown.student_sizes.classes, shown.student_sizes.values) == (0, 1)
    method.bind(replace(shown, batches=lambda number: batch))
    distiller = Distiller(task, student, method, teacher)
    distiller.progress = halfway(0)
    return distiller, batch


def fits(case: Case) -> bool:
    """The small masked language model speaks another vocabulary than these networks."""
    return not (case.arguments.get("generator") and case.name != "phase 2")


@pytest.mark.parametrize("case", [case for case in all_cases() if fits(case)], ids=str)
def test_every_method_learns_the_number_or_is_refused_by_name(case: Case, folders: Path) -> None:
    if case.method in REFUSED:
        with pytest.raises(ValueError, match=f"{case.method}: term .* compares scores of classes, and this task shows"):
            bound(case, folders)
        return
    distiller, batch = bound(case, folders)
    found = outcome_of(distiller.train(), batch)
    assert found.loss.isfinite()
    found.loss.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in distiller.student.parameters())


def test_a_task_shows_scores_of_classes_or_values_and_never_both(folders: Path) -> None:
    distiller, batch = bound(Case("logit", "", {}), folders)
    seen: Observation = distiller.task.networks.observe(distiller.student, batch)
    assert seen.logits is None
    assert seen.values is not None
    assert seen.values.shape == (4, 1)
