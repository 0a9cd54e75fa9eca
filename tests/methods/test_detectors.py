"""The methods for detectors on real ones of transformers, one of each kind of feature maps and of scores."""

from typing import Any

import pytest
import torch
from tiny_detectors import made_rows, save_detector, small_task

from kd2deploy.core import Progress
from kd2deploy.methods.detr_kd import detr_kd
from kd2deploy.methods.fgd import fgd
from kd2deploy.methods.inconsistent_kd import Adversarial, inconsistent_kd
from kd2deploy.methods.mgd import mgd
from kd2deploy.train.distiller import Distiller, networks

BEGIN = Progress(step=0, steps=10, epoch=0.0, epochs=1.0)


@pytest.fixture(scope="module", params=["yolos", "deformable_detr", "rt_detr"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The task at a small network, it, one of other weights, and three rows as a batch, the last without a label."""
    folder = save_detector(tmp_path_factory.mktemp("networks") / "student", request.param)
    task = small_task().at(folder)
    student, teacher = (task.networks.load(folder) for _ in ("student", "teacher"))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(0.1 * weight.std(correction=0) * torch.randn_like(weight))
    rows = made_rows(3)
    rows[2]["label"] = None
    return task, student, teacher, task.reader.collate(task.reader.encode(rows, folder))


def bound(method: Any, task: Any, student: Any, teacher: Any, batch: Any) -> Distiller:
    torch.manual_seed(0)
    method.bind(networks(task, student, teacher, batch, rows=3, epochs=1.0, steps=10))
    found = Distiller(task, student, method, teacher)
    found.progress = BEGIN
    return found


def test_every_method_teaches_the_student_alone(shown: Any) -> None:
    _, student, teacher, batch = shown
    for method in (fgd(), mgd(), inconsistent_kd("mgd"), detr_kd(confident=0.0)):
        found = bound(method, *shown).train().outcome(batch)
        assert found.loss.isfinite()
        assert all(value > 0 for value in found.values.values())
        student.zero_grad()
        found.loss.backward()
        assert any(weight.grad is not None and weight.grad.any() for weight in student.parameters())
        assert all(weight.grad is None for weight in teacher.parameters())


# a random RT-DETR, whose queries are no part of the gradient, need not lose them; a trained one does
@pytest.mark.parametrize("shown", ["yolos", "deformable_detr"], indirect=True)
def test_the_teachers_classes_are_lost_in_inputs_made_against_it(shown: Any) -> None:
    batch = shown[-1]
    distiller = bound(inconsistent_kd(specific=False), *shown)
    distiller.method.tick(BEGIN)
    (view,) = distiller.method.views
    assert isinstance(view, Adversarial)
    torch.manual_seed(0)
    moved = view(batch).teacher
    assert view.loss(moved) > view.loss(batch)
    assert 0 < (moved["pixel_values"] - batch["pixel_values"]).abs().amax() <= 2 * 8 / 255 + 1e-5
