"""Matched queries: who answers for whom, what weighs how much, and what leaves what away."""

import math
from dataclasses import replace

import pytest
import torch
from small_detection import detection_task, scene_rows, yolos
from small_objects import distilled, grid, outcome
from tiny_networks import at, networks, parity, sizes

from kd2deploy.core import Look, Method, Observation, Pair, Step
from kd2deploy.methods._queries import class_loss, corners, divergence, generalized_overlap, matched_queries
from kd2deploy.methods.detr_kd import detr_kd
from kd2deploy.train.distiller import Distiller
from kd2deploy.train.distiller import networks as network_sizes
from kd2deploy.train.teacher_cache import TeacherCache


def seen(logits, boxes, background):
    return Observation(logits=logits, background=background, extras={"boxes": boxes})


def terms_of(student, teacher, confident):
    """What each of the method's terms says of two observations."""
    step = Step({}, {"clean": Pair(student, teacher, Look({}, {}))}, at())
    terms = detr_kd(confident=confident).terms
    return {name: float(terms[name](step)) for name in ("classes", "boxes", "overlap")}


@pytest.mark.parametrize("case", parity("detr_kd"))
def test_the_three_means_agree_with_trying_every_way_to_match(case):
    student, teacher = (seen(case[who], case[f"{who}_boxes"], case["background"]) for who in ("student", "teacher"))
    found = terms_of(student, teacher, case["confident"])
    assert found == {name: pytest.approx(case[name], rel=1e-5) for name in found}


def test_the_overlap_of_boxes_by_hand():
    one = torch.tensor([0.0, 0.0, 0.5, 0.5])
    other = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 0.5], [0.5, 0.5, 1.0, 1.0], [0.2, 0.2, 0.2, 0.2]])
    # equal; half of each in common: 1/3; apart at a corner: 0 - 1/2; no area: 0, and nothing around that is neither's
    expected = torch.tensor([1.0, 1 / 3, -0.5, 0.0])
    torch.testing.assert_close(generalized_overlap(one, other), expected)
    assert corners(torch.tensor([0.5, 0.5, 0.2, 0.4])).tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7])


def test_queries_are_found_again_in_any_order_and_unsure_ones_teach_nothing():
    torch.manual_seed(0)
    logits, boxes = 4 * torch.randn(2, 6, 4), torch.rand(2, 6, 4) * 0.4 + 0.3
    order = torch.randperm(6)
    teacher, student = seen(logits, boxes, True), seen(logits[:, order], boxes[:, order], True)
    rows, own, other, confidence = matched_queries(student, teacher, 0.6)
    assert torch.equal(order[own], other)
    likely = logits.softmax(-1)[..., :-1].amax(-1)
    assert len(rows) == int((likely >= 0.6).sum()) < 12
    torch.testing.assert_close(confidence, likely[rows, other])
    assert terms_of(student, teacher, 0.6) == {
        name: pytest.approx(0, abs=1e-5) for name in ("classes", "boxes", "overlap")
    }


def test_a_teacher_that_is_sure_of_nothing_teaches_nothing_and_the_student_learns_on():
    distiller = distilled(detr_kd(confident=1.0))
    found = outcome(distiller)
    assert [float(found.values[name]) for name in ("classes", "boxes", "overlap")] == [0, 0, 0]
    found.loss.backward()
    assert any(weight.grad.any() for weight in distiller.student.parameters())


def test_a_pair_weighs_as_much_as_the_teacher_is_confident():
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]]])
    chances = torch.tensor([[[0.9, 0.1], [0.6, 0.4]]])
    apart = torch.tensor([[[0.0, 0, 0, 0], [0.1, 0, 0, 0]]])
    found = terms_of(seen(chances.log(), boxes + apart, True), seen(chances.log(), boxes, True), 0.5)
    assert found["boxes"] == pytest.approx(0.1 * 0.6 / 1.5)


def test_classes_that_exclude_each_other_and_those_that_do_not_by_hand():
    half = torch.zeros(1, 2)
    mine = torch.tensor([[math.log(3), 0.0]])  # 3/4 and 1/4, or 3/4 and 1/2
    of_two = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert divergence(mine, half, True).item() == pytest.approx(of_two)
    assert divergence(mine, half, False).item() == pytest.approx(of_two)  # of the first alone; the second is equal
    assert divergence(half, half, True).item() == divergence(half, half, False).item() == 0


def test_the_classification_loss_by_hand():
    classes = torch.tensor([[1, 0]])
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]).log()[None]
    found = class_loss(logits, torch.tensor([[1, -1]]), classes, True)
    assert found.item() == pytest.approx((math.log(2) + 0.1 * -math.log(0.6)) / 1.1)
    none = class_loss(logits, torch.tensor([[-1, -1]]), torch.zeros((1, 0), dtype=torch.int64), True)
    assert none.item() == pytest.approx((-math.log(0.25) - math.log(0.6)) / 2)
    odds = torch.tensor([[[math.log(3), 0.0]]])
    focal = class_loss(odds, torch.tensor([[1]]), classes, False)
    assert focal.item() == pytest.approx(0.25 * 0.25**2 * -math.log(0.75) + 0.75 * 0.5**2 * math.log(2))


@pytest.mark.parametrize("background", [True, False])
def test_the_student_nears_the_teachers_answers(background):
    student, teacher = grid(8, background=background, seed=1), grid(12, background=background, seed=2)
    terms = {name: one for name, one in detr_kd(confident=0.0).weighted.items() if name != "task"}
    distiller = distilled(Method(**terms), student, teacher)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    said = []
    for _ in range(20):
        found = outcome(distiller)
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
        said.append({name: float(value) for name, value in found.values.items()})
    assert all(said[-1][name] < said[0][name] for name in ("classes", "boxes", "overlap"))
    assert all(weight.grad is None for weight in teacher.parameters())


def test_a_teachers_kept_answers_teach_as_the_teacher_does(tmp_path):
    task, rows = detection_task(), scene_rows(4)
    student, teacher, batch = yolos(16, seed=1), yolos(32, seed=2), task.reader.collate(rows)
    found = []
    for cache in (None, TeacherCache.open_or_fill(tmp_path, task, teacher, rows, teacher_hash="its")):
        method = detr_kd(confident=0.0)
        method.bind(network_sizes(task, student, teacher, batch, rows=4, epochs=1.0, steps=10))
        found.append(Distiller(task, student, method, teacher, cache).outcome(batch))
    assert all(value > 0 for value in found[0].values.values())
    torch.testing.assert_close(found[0].values, found[1].values)


def test_networks_of_two_kinds_and_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="detr_kd compares logits: the student has 3 classes and the teacher 4"):
        distilled(detr_kd(), grid(8, background=False), grid(12))
    same = replace(sizes(), queries=4)
    nets = networks(same, replace(same, background=True))
    with pytest.raises(ValueError, match="detr_kd compares scores of classes: one of the networks has a class of"):
        detr_kd().bind(nets)


def test_what_weighs_nothing_is_left_out():
    assert detr_kd(boxes=0, overlap=0).weights == {"task": 1.0, "classes": 1.0}
