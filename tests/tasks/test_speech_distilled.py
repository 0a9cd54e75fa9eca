"""Methods on speech networks: what learns, between equal and other frame rates, between waves and spectra."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_speech import noise, save_speech, speech_task

from kd2deploy.core import Method, Progress, Selection
from kd2deploy.errors import TrainError
from kd2deploy.methods.contrastive import contrastive
from kd2deploy.methods.ctc_frame_kd import ctc_frame_kd
from kd2deploy.methods.dist import dist
from kd2deploy.methods.hidden import hidden
from kd2deploy.methods.inter_kd import inter_kd
from kd2deploy.methods.logit import logit
from kd2deploy.methods.rail_kd import rail_kd
from kd2deploy.methods.task_only import task_only
from kd2deploy.networks.hearing import hearing
from kd2deploy.train.distiller import Distiller, networks
from kd2deploy.train.teacher_cache import EACH_POSITION, unfit_answers

METHODS = {one.__name__: one for one in (task_only, logit, dist, hidden, rail_kd, contrastive, ctc_frame_kd, inter_kd)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pairs")
    return {
        "student": save_speech(place / "student", seed=1),
        "teacher": save_speech(place / "teacher", num_hidden_layers=4, hidden_size=32, seed=2),
        "slow": save_speech(place / "slow", conv_stride=[5, 16], conv_kernel=[10, 16], seed=3),
        "spectra": save_speech(place / "spectra", "parakeet_ctc", seed=4),
    }


def features_at(folder: Path) -> list[dict[str, Any]]:
    by = hearing(folder)
    labels = ([3, 4], [5, 5], [6], [3, 2, 4])
    return [
        {by.heard_as: by.features(noise(0.3 + 0.1 * place, place)), "labels": np.array(label), "index": place}
        for place, label in enumerate(labels)
    ]


def distiller(method: Method, student: Path, teacher: Path) -> tuple[Distiller, dict[str, torch.Tensor]]:
    task = speech_task().at(student)
    alike = task.reader.reads_alike(student, teacher)
    rows = Selection(features_at(student), teacher=None if alike else features_at(teacher))
    batch = dict(task.reader.collate([rows[place] for place in range(len(rows))]))
    nets = task.networks.load(student), speech_task().at(teacher).networks.load(teacher)
    torch.manual_seed(0)
    shown = networks(task, *nets, batch, rows=4, epochs=2.0, steps=100)
    method.bind(replace(shown, batches=lambda _: batch))
    found = Distiller(task, nets[0], method, nets[1])
    found.progress = Progress(step=50, steps=100, epoch=1.0, epochs=2.0)
    return found.train(), batch


def learns(found: Distiller, batch: dict[str, torch.Tensor]) -> bool:
    loss = found.outcome(batch).loss
    assert loss.isfinite()
    loss.backward()
    grads = [weight.grad for weight in found.student.parameters() if weight.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    return any(bool(grad.any()) for grad in grads)


@pytest.mark.parametrize("name", METHODS)
def test_methods_learn_of_a_teacher_of_the_same_rate(name: str, folders: dict[str, Path]) -> None:
    assert learns(*distiller(METHODS[name](), folders["student"], folders["teacher"]))


@pytest.mark.parametrize("teacher", ["slow", "spectra"])
@pytest.mark.parametrize("name", ["ctc_frame_kd", "inter_kd"])
def test_a_teacher_of_another_rate_or_hearing_is_interpolated(
    name: str, teacher: str, folders: dict[str, Path]
) -> None:
    found, batch = distiller(METHODS[name](), folders["student"], folders[teacher])
    assert ("teacher.input_features" in batch) == (teacher == "spectra")
    assert learns(found, batch)


def test_methods_that_compare_frame_by_frame_refuse_another_rate(folders: dict[str, Path]) -> None:
    found, batch = distiller(logit(), folders["student"], folders["slow"])
    with pytest.raises(TrainError, match=r"the student answers \d+ positions and the teacher \d+"):
        found.outcome(batch)


def test_the_distance_vanishes_where_the_student_is_the_teacher(folders: dict[str, Path]) -> None:
    found, batch = distiller(ctc_frame_kd(), folders["student"], folders["student"])
    assert found.eval().outcome(batch).values["frames"].item() == pytest.approx(0, abs=1e-10)


def test_the_students_own_file_has_no_heads(folders: dict[str, Path]) -> None:
    found, _ = distiller(inter_kd(), folders["student"], folders["teacher"])
    assert any("heads" in name for name in found.state_dict())
    plain = speech_task().at(folders["student"]).networks.load(folders["student"])
    assert set(found.student.state_dict()) == set(plain.state_dict())


def test_the_teachers_answers_are_not_kept(folders: dict[str, Path]) -> None:
    task = speech_task().at(folders["teacher"])
    net = task.networks.load(folders["teacher"])
    assert unfit_answers(task, net, features_at(folders["teacher"])) == EACH_POSITION
