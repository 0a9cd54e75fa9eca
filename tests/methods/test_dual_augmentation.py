from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import save_image_net
from tiny_networks import TinyText, networks_of, text_batch, unchecked

from kd2deploy.core import Progress
from kd2deploy.methods.dcd import dcd
from kd2deploy.methods.dual_augmentation import dual_augmentation
from kd2deploy.stages.job import encoded
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.distiller import Distiller
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings

CASES = {"single": set(), "one_way": {"there"}, "symmetric": {"there", "back"}}


@pytest.mark.parametrize("views", CASES)
def test_what_both_networks_see_is_chosen(views):
    method = dual_augmentation(views)
    assert {view.name for view in method.views} == CASES[views]
    assert set(method.terms["consistent"].views) == (CASES[views] or {"clean"})
    assert ("redraw" in method.needs) == (views != "single")


def test_student_and_teacher_see_different_draws_of_the_same_rows_in_their_order():
    there, back = bound("symmetric").views
    batch = text_batch(rows=6)
    there.tick(at(3))
    one, other = there(batch), back(batch)
    for look in (one, other):
        assert torch.equal(look.student["index"], look.teacher["index"])
        assert torch.equal(look.student["labels"], look.teacher["labels"])
        assert not torch.equal(look.student["input_ids"], look.teacher["input_ids"])
    assert torch.equal(one.student["input_ids"], batch["input_ids"])
    assert torch.equal(other.teacher["input_ids"], batch["input_ids"])
    assert torch.equal(one.teacher["input_ids"], other.student["input_ids"])


def test_rows_are_drawn_once_a_step_and_anew_in_the_next():
    calls = []

    def counted(batch, progress, number=1):
        calls.append(progress.step)
        return shifted(batch, progress, number)

    method = bound("symmetric", redraw=counted)
    for step in range(3):
        method.tick(at(step))
        for view in method.views:
            view(text_batch())
    assert calls == [0, 1, 2]


@pytest.mark.parametrize("views", CASES)
def test_where_both_draws_are_the_same_it_is_dcd_exactly(views):
    """Symmetric sums two equal directions, so it has twice the weight there."""
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(rows=6)
    dual = bound(views, redraw=lambda batch, progress, number=1: batch, nets=(student, teacher), soft=1.0)
    plain = dcd(beta=2.0 if views == "symmetric" else 1.0, soft=1.0)
    plain.bind(networks_of(student, teacher))
    plain.load_state_dict(dual.state_dict())
    torch.testing.assert_close(loss_of(dual, student, teacher, batch), loss_of(plain, student, teacher, batch))


def test_the_labels_are_learnt_from_the_students_own_draw():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(rows=6)
    method = bound("symmetric", nets=(student, teacher), beta=0.0)
    own = student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    torch.testing.assert_close(loss_of(method, student, teacher, batch), F.cross_entropy(own, batch["labels"]))


def test_each_direction_compares_row_i_of_the_one_draw_with_row_i_of_the_other():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(rows=6)
    other = shifted(batch, at(0))

    def embedded(net, rows):
        return net(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])[1][-1][:, 0]

    one_way, both = (bound(views, nets=(student, teacher)) for views in ("one_way", "symmetric"))
    both.load_state_dict(one_way.state_dict())
    term = both.terms["consistent"]
    there = term.loss(embedded(student, batch), embedded(teacher, other))
    back = term.loss(embedded(student, other), embedded(teacher, batch))
    task = F.cross_entropy(
        student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0], batch["labels"]
    )
    torch.testing.assert_close(loss_of(one_way, student, teacher, batch), task + there)
    torch.testing.assert_close(loss_of(both, student, teacher, batch), task + there + back)


def test_the_teacher_is_frozen_and_both_maps_are_trained():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(rows=6)
    method = bound("symmetric", nets=(student, teacher))
    loss_of(method, student, teacher, batch).backward()
    term = method.terms["consistent"]
    assert term.of_student.weight.grad.any()
    assert term.of_teacher.weight.grad.any()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert any(weight.grad is not None and weight.grad.any() for weight in student.parameters())


def test_rows_that_are_never_augmented_are_refused_but_by_a_single_view():
    nets = networks_of(TinyText(), TinyText(width=6))
    with pytest.raises(
        ValueError, match="dual_augmentation cannot have rows augmented anew: rows of this task are not"
    ):
        dual_augmentation().bind(nets)
    dual_augmentation("single").bind(nets)


@pytest.mark.parametrize("arguments", [{"views": "double"}, {"beta": -1.0}, {"soft": -1.0}, {"dim": 0}])
def test_bad_arguments_are_refused(arguments):
    with unchecked(), pytest.raises(ValueError, match=next(iter(arguments))):
        dual_augmentation(**arguments)


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_image_net(tmp_path_factory.mktemp("net"), "resnet", size=8)


def training(folder, **changes):
    task = ImageClassification(["zero", "one", "two"]).at(folder)
    draw = np.random.default_rng(0)
    rows = [{"image": draw.integers(0, 256, (10, 10), dtype=np.uint8), "label": place % 3} for place in range(8)]
    settings = Settings(epochs=2, batch=4, learning_rate=1e-2, keep="last", checkpoint_every=1, **changes)
    method = dual_augmentation("symmetric", augment={"flip": 0.5, "padded_crop": 2, "rotate": 10.0})
    nets = (task.networks.load(folder) for _ in range(2))
    return Training(task, next(nets), method, encoded(task, rows, folder, anew=True), settings, 5, next(nets))


def test_on_pictures_a_killed_training_goes_on_to_the_same_bit(folder, tmp_path):
    whole = training(folder, augment={"flip": 0.5})
    distill(whole, tmp_path / "whole", device="cpu")
    killed = training(folder, augment={"flip": 0.5})

    def kill(step, *_):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        distill(killed, tmp_path / "cut", on_progress=kill, device="cpu")
    resumed = training(folder, augment={"flip": 0.5})
    distill(resumed, tmp_path / "cut", device="cpu")
    for name, value in whole.student.state_dict().items():
        assert torch.equal(resumed.student.state_dict()[name], value), name


def test_a_training_that_augments_nothing_needs_an_augmentation_of_the_methods(folder, tmp_path):
    found = replace(training(folder), method=dual_augmentation())
    with pytest.raises(ValueError, match="dual_augmentation: the training augments nothing; give it `augment`"):
        distill(found, tmp_path, device="cpu")


def at(step):
    return Progress(step=step, steps=10, epoch=step / 5, epochs=2.0)


def shifted(batch, progress, number=1):
    """Another draw of the same rows: other words."""
    return {**batch, "input_ids": (batch["input_ids"] + 1 + progress.step) % 11}


def bound(views, redraw=shifted, nets=None, **arguments):
    torch.manual_seed(0)
    method = dual_augmentation(views, **arguments)
    shown = networks_of(*(nets or (TinyText(), TinyText(width=6))))
    method.bind(replace(shown, redraw=lambda augment: redraw))
    return method


def loss_of(method, student, teacher, batch):
    return Distiller(networks_of(student, teacher).task, student, method, teacher).outcome(batch).loss
