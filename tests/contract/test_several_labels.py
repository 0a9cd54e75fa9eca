"""What each method makes of labels that do not exclude each other: it learns each, or is refused by name at once."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import Case, all_cases, halfway, outcome_of
from tiny_models import SEVERAL, save_several

from kd2deploy.tasks.text_multilabel import TextMultilabel
from kd2deploy.train.distiller import Distiller, networks

ROWS: list[dict[str, Any]] = [
    {"text": "a good plot", "label": ["plot"]},
    {"text": "the film was slow, not fun", "label": ["fun", "slow"]},
    {"text": "fine", "label": None},
    {"text": "very fine", "label": []},
]
REFUSED = {"dkd", "dist", "logit_standardization"}
"""Methods of classes that exclude each other."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    save_several(folder / "teacher", layers=4, hidden=32, seed=1)
    save_several(folder / "student", layers=2, hidden=16, seed=2)
    return folder


def bound(case: Case, folders: Path, same: bool = False) -> tuple[Distiller, dict[str, torch.Tensor]]:
    task = TextMultilabel(SEVERAL, max_length=12).at(folders / "teacher")
    teacher = task.networks.load(folders / "teacher")
    student = copy.deepcopy(teacher) if same else task.networks.load(folders / "student")
    batch = task.reader.collate(task.reader.encode(ROWS, folders / "teacher"))
    method = case.build()
    torch.manual_seed(0)
    shown = networks(task, student, teacher, batch, rows=4, epochs=2.0, steps=100)
    method.bind(replace(shown, batches=lambda number: batch))
    distiller = Distiller(task, student, method, teacher)
    distiller.progress = halfway(0)
    return distiller, batch


def fits(case: Case) -> bool:
    """The small masked language model speaks another vocabulary than these networks."""
    return not (case.arguments.get("generator") and case.name != "phase 2")


@pytest.mark.parametrize("case", [case for case in all_cases() if fits(case)], ids=str)
def test_every_method_learns_each_label_or_is_refused_by_name(case: Case, folders: Path) -> None:
    if case.method in REFUSED:
        with pytest.raises(ValueError, match=f"{case.method} compares classes that exclude each other.*use logit"):
            bound(case, folders)
        return
    distiller, batch = bound(case, folders)
    found = outcome_of(distiller.train(), batch)
    assert found.loss.isfinite()
    found.loss.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in distiller.student.parameters())


def test_soft_targets_vanish_where_every_label_is_answered_alike(folders: Path) -> None:
    case = Case("logit", "", {})
    same, batch = bound(case, folders, same=True)
    apart, _ = bound(case, folders)
    assert outcome_of(same.eval(), batch).values["soft"].item() == pytest.approx(0, abs=1e-6)
    assert outcome_of(apart.eval(), batch).values["soft"].item() > 0.1
