"""A student learns without the teacher's training pictures: they are gone as soon as there is a teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import save_image_net

from kd2deploy.core.watcher import Silent
from kd2deploy.recipe import Recipe
from kd2deploy.run import Run
from kd2deploy.stages.convert import calibration
from kd2deploy.stages.made_data import with_made_data
from kd2deploy.stages.prepare import begun
from kd2deploy.stages.student import start
from kd2deploy.stages.students import train_all
from kd2deploy.stages.teacher import teach

LABELS = ["zero", "one", "two"]
BANK = {"use": "data_free", "rounds": 2, "made": 6, "steps": 2, "variants": 1, "least": -1.0}


def pictures(folder: Path, each: int, seed: int) -> Path:
    drawn = np.random.default_rng(seed)
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(each):
            pixels = drawn.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def recipe(folder: Path, **changes: Any) -> Recipe:
    data = {part: str(pictures(folder / part, 4, seed)) for seed, part in enumerate(("train", "validation", "eval"))}
    method = {"use": "data_free", "made": 4, "steps": 2, "every": 3}
    entry = {"method": method, "data": BANK, "epochs": 1, "batch": 8, "learning_rate": 1e-3, "group_by_length": False}
    student = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
    found = {
        "task": {"use": "image_classification", "labels": LABELS, "channels": 1, "height": 16, "width": 16},
        "data": {"use": "files", **data},
        "teacher": {"from": str(save_image_net(folder / "teacher", "resnet"))},
        "student": {"create": {**student, "layer_type": "basic"}},
        "distill": [{**entry, **changes}],
        "targets": ["cpu"],
    }
    return Recipe.parse(found)


@pytest.mark.recipe
def test_no_training_picture_is_read_once_there_is_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd2deploy.stages.bank.STEPS", 2)
    with Run(tmp_path / "run").locked() as run:
        job = begun(recipe(tmp_path), run, Silent())
        networks = teach(job)
        for picture in (tmp_path / "train").rglob("*.png"):
            picture.unlink()
        job = with_made_data(job, networks.teacher)
        trainings = train_all(job, start(job, networks.origin, job.recipe.student).model, networks.teacher)
        samples = calibration(trainings.chosen.model, job.learnt.train)
    (student,), (control,) = trainings.students, trainings.controls
    assert student.trained[0].steps == control.trained[0].steps == 3, "24 made rows in batches of 8"
    assert len(job.learnt.train) == 24
    assert samples
    (said,) = job.splits.details.values()
    assert "12 of their 12 variants by a small diffusion model that was trained on these inputs" in said
    assert len(job.splits.train) == 12, "the run's own rows are told as they were"


def test_what_calibrates_is_what_was_learnt_from(tmp_path: Path) -> None:
    with Run(tmp_path / "run").locked() as run:
        job = begun(recipe(tmp_path), run, Silent())
        assert job.learnt is job.splits, "until the rows are made"
        own = begun(recipe(tmp_path / "own", data=None), run, Silent())
    assert own.learnt is own.splits


def test_what_floors_are_fitted_on_is_the_runs_own_unless_nothing_of_it_is_learnt_from(tmp_path: Path) -> None:
    with Run(tmp_path / "run").locked() as run:
        job = begun(recipe(tmp_path), run, Silent())
        made = replace(job.splits, sha256="1" * 64)
        (key,) = job.to_make
        found = replace(job, beside={key: made})
        own = begun(recipe(tmp_path / "own", data=None), run, Silent())
    assert found.fitted_on is found.learnt is made
    assert own.fitted_on is own.splits
