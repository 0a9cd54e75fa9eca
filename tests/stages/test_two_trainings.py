"""Methods of two stages: the second training starts from what the first kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import save_encoder
from torch import nn

from kd2deploy.recipe import Distill
from kd2deploy.stages import distill as stage
from kd2deploy.stages.job import model_at
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.settings import Settings
from kd2deploy.train.trackers import Trackers

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

    def watched(task: Any, net: nn.Module, *arguments: Any, **named: Any) -> Any:
        starts.append(weights(net))
        trained = train(task, net, *arguments, **named)
        kept.append((trained.kept_step, trained.steps, weights(task.networks.load(trained.student))))
        return trained

    monkeypatch.setattr(stage, "distill", watched)
    monkeypatch.setattr(stage, "validation_score", lambda *_: next(scores))
    methods, keep = ENTRIES[method]
    entries = [
        Distill(method=one, settings=Settings(epochs=2, batch=4, learning_rate=1e-2, keep=which))
        for one, which in zip(methods, (keep, "last"), strict=True)
    ]
    job: Any = SimpleNamespace(
        recipe=SimpleNamespace(teacher_cache="off"),
        run=SimpleNamespace(folder=tmp_path),
        watcher=SimpleNamespace(advance=lambda *_: None),
        splits=SimpleNamespace(train=ROWS, validation=ROWS, sha256="0"),
        task=task,
        trackers=Trackers((), tmp_path),
    )
    (tmp_path / "work").mkdir()
    stage.work(job, "student", entries, 0, student, teacher, tmp_path / "work")
    (kept_step, steps, first), _ = kept
    assert kept_step == (steps if keep == "last" else steps // 2)
    assert not equal(starts[0], first)
    assert equal(starts[1], first)


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())
