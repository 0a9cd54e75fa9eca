"""Training on augmented rows: to the bit the same after a kill and with any loaders, and what views draw anew."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_text import small_bert, small_rows, small_task
from tiny_models import save_image_net

from kd2deploy.core import Look, Method, Progress, TaskLoss, View, Weighted
from kd2deploy.errors import DataError, TrainError
from kd2deploy.methods.logit import logit
from kd2deploy.methods.task_only import task_only
from kd2deploy.stages.job import encoded
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.engine import Training, distill, require_fit
from kd2deploy.train.loading import in_a_line
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import AUGMENTED, TeacherCache, unfit

AUGMENT = {"padded_crop": 2, "flip": 0.5, "randaugment": 1}
SETTINGS = Settings(
    epochs=2, batch=4, learning_rate=1e-2, keep="last", group_by_length=False, checkpoint_every=1, augment=AUGMENT
)


class Killed(Exception):
    """Stands for a kill."""


class Again(View):
    """The rows once more, as another draw."""

    name = "again"
    needs = frozenset({"redraw"})

    def __init__(self, augment: Any = None, number: int = 1) -> None:
        super().__init__()
        self.augment, self.number, self.seen = augment, number, []

    def bind(self, nets: Any) -> None:
        self.redraw = nets.need_redraw("again", self.augment)

    def tick(self, progress: Progress) -> None:
        self.progress = progress

    def forward(self, batch: Any) -> Look:
        found = self.redraw(batch, self.progress, self.number)
        self.seen.append((batch, found))
        return Look(found, found)


def twice(view: Again) -> Method:
    return Method(view, plain=Weighted(TaskLoss()), again=Weighted(TaskLoss("again")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_image_net(tmp_path_factory.mktemp("net"), "resnet", size=8)


def training(folder: Path, settings: Settings = SETTINGS, method: Method | None = None, **more: Any) -> Training:
    task = ImageClassification(["zero", "one", "two"]).at(folder)
    draw = np.random.default_rng(0)
    rows = [{"image": draw.integers(0, 256, (10, 10), dtype=np.uint8), "label": at % 3} for at in range(10)]
    features = encoded(task, rows, folder, anew=True)
    return Training(task, task.networks.load(folder), method or task_only(), features, settings, seed=5, **more)


def trained(found: Training, out: Path, **ears: Any) -> dict[str, torch.Tensor]:
    distill(found, out, device="cpu", **ears)
    return found.student.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_every_epoch_sees_other_pictures_and_a_killed_training_the_very_same(folder: Path, tmp_path: Path) -> None:
    whole = trained(training(folder), tmp_path / "whole")
    plain = trained(training(folder, replace(SETTINGS, augment=None)), tmp_path / "plain")
    assert not equal(whole, plain)

    def until(step: int, steps: int, epoch: float, loss: float | None) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        trained(training(folder), tmp_path / "cut", on_progress=until)
    assert equal(trained(training(folder), tmp_path / "cut"), whole)
    numbered = training(folder).numbered
    pictures = {numbered[epoch, 3]["pixel_values"].tobytes() for epoch in range(8)}
    assert len(pictures) >= 6, "two draws may agree"


def test_any_number_of_loaders_trains_the_same_student(folder: Path, tmp_path: Path) -> None:
    alone = trained(training(folder), tmp_path / "alone")
    assert equal(trained(training(folder, replace(SETTINGS, loaders=2)), tmp_path / "two"), alone)


def test_what_a_loader_raises_is_told_in_a_line(folder: Path, tmp_path: Path) -> None:
    found = training(folder, replace(SETTINGS, loaders=1))
    found.features.rows.rows[7]["image"] = str(tmp_path / "gone.png")  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"^row \?: .*gone\.png is no file that can be read$"):
        trained(found, tmp_path / "run")
    with pytest.raises(TrainError, match="fewer `loaders`"), in_a_line():
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly\nmore")
    with pytest.raises(RuntimeError, match="other"), in_a_line():
        raise RuntimeError("other")


def test_a_view_draws_the_rows_of_its_batch_anew(folder: Path, tmp_path: Path) -> None:
    view = Again()
    trained(training(folder, method=twice(view)), tmp_path / "run")
    assert len(view.seen) == 6
    for batch, found in view.seen:
        assert torch.equal(batch["index"], found["index"])
        assert torch.equal(batch["labels"], found["labels"])
        assert batch["pixel_values"].shape == found["pixel_values"].shape
        assert not torch.equal(batch["pixel_values"], found["pixel_values"])


def test_draw_number_0_is_the_trainings_own(folder: Path, tmp_path: Path) -> None:
    view = Again(number=0)
    trained(training(folder, method=twice(view)), tmp_path / "run")
    assert all(torch.equal(batch["pixel_values"], found["pixel_values"]) for batch, found in view.seen)


def test_a_view_may_bring_an_augmentation_where_the_training_has_none(folder: Path, tmp_path: Path) -> None:
    plain = replace(SETTINGS, augment=None)
    view = Again({"flip": 1.0})
    trained(training(folder, plain, twice(view)), tmp_path / "run")
    assert all(torch.equal(batch["pixel_values"].flip(-1), found["pixel_values"]) for batch, found in view.seen)
    with pytest.raises(ValueError, match="again: the training augments nothing; give it `augment`"):
        require_fit(training(folder, plain, twice(Again())))
    with pytest.raises(ValueError, match=r"again: augment\.flop: .*did you mean 'flip'"):
        require_fit(training(folder, plain, twice(Again({"flop": 1.0}))))
    with pytest.raises(ValueError, match="again cannot have rows augmented anew: rows of this task are not augmented"):
        require_fit(Training(small_task(), small_bert(), twice(Again()), small_rows(4), plain))


def test_batches_of_a_parts_own_are_augmented_each_pass_otherwise(folder: Path) -> None:
    own = training(folder).own_batches(torch.device("cpu"))
    first, again = own(0), own(0)
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    row = first["index"][0]
    later = next(batch for batch in (own(number) for number in range(3, 6)) if row in batch["index"])
    assert not torch.equal(first["pixel_values"][0], later["pixel_values"][later["index"] == row][0])


def test_the_teachers_answers_to_augmented_rows_are_not_kept(folder: Path, tmp_path: Path) -> None:
    assert unfit(logit(), augmented=True) == AUGMENTED
    assert unfit(task_only(), augmented=True) is None
    teacher = training(folder).student
    found = training(folder, method=logit(), teacher=teacher)
    cache = TeacherCache.open_or_fill(tmp_path / "cache", found.task, teacher, found.features, teacher_hash="1")
    with pytest.raises(ValueError, match="cannot be cached here: rows are augmented"):
        distill(replace(found, cache=cache), tmp_path / "run", device="cpu")
