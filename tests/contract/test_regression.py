"""What each method makes of a number in place of classes: it learns it by squared error, or is refused by name."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from contract import GROUPED, OF_ONE_CLASS, Case
from grounds import OF_OBJECTS, OF_PICTURES
from on_folders import bound, fitting, learns, pair_in
from tiny_models import save_encoder

from kd2deploy.core import Observation
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.distiller import networks

ROWS: list[dict[str, Any]] = [
    {"text": "a good plot", "label": 1.5},
    {"text": "the film was slow, not fun", "label": -2.0},
    {"text": "fine", "label": None},
    {"text": "very fine", "label": 0.5},
]
TASK = TextClassification(max_length=12)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pair_in(tmp_path_factory.mktemp("networks"), partial(save_encoder, labels=[]))


@pytest.mark.parametrize("case", fitting(), ids=str)
def test_every_method_learns_the_number_or_is_refused_by_name(case: Case, folders: Path) -> None:
    if case.method in OF_ONE_CLASS:
        with pytest.raises(ValueError, match=f"{case.method}: term .* compares scores of classes, and this task shows"):
            bound(case, TASK, folders, ROWS)
        return
    if str(case) in GROUPED:
        with pytest.raises(ValueError, match=f"{case.method} groups rows by their class.*set by_label: false"):
            bound(case, TASK, folders, ROWS)
        return
    assert learns(*bound(case, TASK, folders, ROWS))


def test_methods_of_pictures_are_refused_by_name(folders: Path) -> None:
    for name in OF_PICTURES:
        with pytest.raises(ValueError, match=f"{name} compares pictures, and this task answers"):
            bound(Case(name, "", {}), TASK, folders, ROWS)


def test_methods_of_objects_are_refused_by_name(folders: Path) -> None:
    for name in OF_OBJECTS:
        with pytest.raises(ValueError, match=f"{name}.* compares .*(feature maps|queries|scores of classes)"):
            bound(Case(name, "", {}), TASK, folders, ROWS)


def test_a_task_shows_scores_of_classes_or_values_and_never_both(folders: Path) -> None:
    distiller, batch = bound(Case("logit", "", {}), TASK, folders, ROWS)
    seen: Observation = distiller.task.networks.observe(distiller.student, batch)
    assert seen.logits is None
    assert seen.values is not None
    assert seen.values.shape == (4, 1)
    sizes = networks(distiller.task, distiller.student, None, batch, rows=4, epochs=1.0, steps=1).student_sizes
    assert (sizes.classes, sizes.values) == (0, 1)
