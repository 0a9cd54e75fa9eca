"""Methods of two stages: the second training starts from what the first kept."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_encoder
from torch import nn

from kd2deploy.core.watcher import Silent
from kd2deploy.data.splits import Splits, remember
from kd2deploy.recipe import Distill
from kd2deploy.stages import distill as stage
from kd2deploy.stages.job import model_at
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.settings import Settings

ROWS = [
    {"text": text, "label": label} for text, label in (("a good film", 1), ("the plot is dull", 0)) for _ in range(4)
]
ENTRIES = {
    "cr_ild": ([{"use": "cr_ild", "stage": 1}, {"use": "cr_ild", "stage": 2}], "last"),
    "combined_kd": (
        [{"use": "combined_kd", "phase": 1, "adversarial": 0.0}, {"use": "combined_kd", "phase": 2}],
        "best",
    ),
}


@pytest.mark.recipe
@pytest.mark.parametrize("method", ENTRIES)
def test_the_second_training_starts_from_the_student_that_the_first_kept(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TextClassification(["neg", "pos"], max_length=16)
    student, teacher = (
        model_at(save_encoder(tmp_path / name, seed=seed, layers=2), task)
        for name, seed in (("student", 0), ("teacher", 1))
    )
    starts, kept, train = [], [], stage.distill
    scores = iter([0.9, 0.5, 0.4, 0.3])  # the first student is the best, and no training ends with it

    def watched(training: Any, *arguments: Any, **named: Any) -> Any:
        starts.append(weights(training.student))
        trained = train(training, *arguments, **named)
        kept.append((trained.kept_step, trained.steps, weights(task.networks.load(trained.student))))
        return trained

    monkeypatch.setattr(stage, "distill", watched)
    monkeypatch.setattr(stage, "validation_score", lambda *_: next(scores))
    methods, keep = ENTRIES[method]
    entries = [
        Distill(method=one, settings=Settings(epochs=2, batch=4, learning_rate=1e-2, keep=which))
        for one, which in zip(methods, (keep, "last"), strict=True)
    ]
    splits = Splits(ROWS, ROWS, ROWS, ("neg", "pos"), (), 0, "0")
    remember(tmp_path / "data", splits)
    spec = {
        "trainings": [{"method": entry.method, "settings": dataclasses.asdict(entry.settings)} for entry in entries],
        "role": "student",
        "seed": 0,
        "task": task.spec(),
        "cache": "off",
    }
    inputs = {
        "data": str(tmp_path / "data"),
        "trained on": [str(tmp_path / "data")] * 2,
        "start": student.to_json(),
        "teacher": teacher.to_json(),
        "cache": str(tmp_path / "cache"),
        "run": str(tmp_path),
        "trackers": [],
        "at a time": 1,
    }
    (tmp_path / "work").mkdir()
    stage.work(spec, inputs, tmp_path / "work", Silent())
    (kept_step, steps, first), _ = kept
    assert kept_step == (steps if keep == "last" else steps // 2)
    assert not equal(starts[0], first)
    assert equal(starts[1], first)


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())
