"""Rows of which a training reads a part: drawn where no augmentation is named, probed so, and never kept or grouped."""

from pathlib import Path

import pytest
import torch
from small_restoration import made_rows, restorer, small_task

from kd2deploy.core import augmentation, augments
from kd2deploy.errors import DataError
from kd2deploy.measure.accuracy import by_length
from kd2deploy.methods.logit import logit
from kd2deploy.methods.task_only import task_only
from kd2deploy.stages.job import parts_of, trained_on
from kd2deploy.tasks._patches import Patches
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings

SMALL = {"patch": 8, "flip": 0.5, "turn": 0.5}


def features(count: int = 6):
    return trained_on(small_task(), made_rows(count, 32, 40), task_only(), Settings(), Path())


def test_where_no_augmentation_is_named_the_readers_own_is_taken() -> None:
    reads = type(small_task().reader)
    assert augments(reads, None)
    assert augmentation(reads, None) == Patches()
    assert augmentation(reads, {"patch": 8}) == Patches(patch=8)
    assert not augments(ImageClassification.reads, None)
    assert augmentation(ImageClassification.reads, None) is None


def test_networks_are_probed_with_parts_of_one_size_and_rows_are_not_grouped() -> None:
    mixed = small_task().reader.encode([*made_rows(1, 32, 40), *made_rows(1, 48, 64)], Path())
    training = Training(small_task(), restorer(), task_only(), mixed, Settings(augment=dict(SMALL)))
    assert [one["pixel_values"].shape for one in training.probe] == [(3, 8, 8)] * 2
    assert training.settings.group_by_length
    assert not training.by_length


def test_a_training_whose_parts_do_not_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    training = Training(small_task(), restorer(), task_only(), features(), Settings(epochs=1, batch=2, keep="last"))
    with pytest.raises(DataError, match="6 inputs of a training smaller than a patch of 48"):
        distill(training, tmp_path)


def test_a_student_learns_from_patches_and_resumes_nothing_it_need_not(tmp_path: Path) -> None:
    settings = Settings(epochs=3, batch=2, learning_rate=2e-3, keep="last", augment=dict(SMALL))
    student, teacher = restorer(8, 1, seed=1), restorer(12, 2, seed=2)
    before = {name: weight.clone() for name, weight in student.state_dict().items()}
    found = distill(Training(small_task(), student, logit(), features(), settings, teacher=teacher), tmp_path)
    assert found.steps == 9
    assert any(not torch.equal(weight, before[name]) for name, weight in student.state_dict().items())


def test_conversions_are_checked_on_parts_and_on_whole_rows_where_these_are_smaller() -> None:
    task = small_task()
    large = task.reader.encode(made_rows(2, 120, 100), Path())
    assert [one["pixel_values"].shape for one in parts_of(task, large)] == [(3, 48, 48)] * 2
    small = task.reader.encode(made_rows(2, 32, 40), Path())
    assert parts_of(task, small) is small


def test_rows_that_padding_would_change_are_scored_one_by_one() -> None:
    task = small_task()
    rows = task.reader.encode([*made_rows(2, 32, 40), *made_rows(1, 48, 64)], Path())
    assert by_length(task, rows, 32) == [[2], [0], [1]]
