import copy
import logging
import math

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import TinyText, at, committed_trainings, networks, networks_of, observation, parity, sizes, step_of
from tiny_pictures import ROWS, forward, pictures, task_and_pair
from torch import nn

from kd2deploy.methods.logit import softened_kl
from kd2deploy.methods.mlkd import supervised_contrast
from kd2deploy.methods.pckd import (
    CategoryContrast,
    CentreAlignment,
    PreviewedTargets,
    category_contrast,
    pckd,
    preview_weights,
    threshold_in,
)

CASES = parity("pckd")


@pytest.mark.parametrize("case", CASES)
def test_parity_of_the_previewed_soft_targets_with_an_independent_computation(case):
    student = case["student"].clone().requires_grad_(True)
    weights = preview_weights(student, case["labels"], threshold_in(at(epoch=case["epoch"] - 0.5), 1.005))
    torch.testing.assert_close(weights, case["weights"])
    found = (weights * softened_kl(student, case["teacher"], case["temperature"])).mean()
    agrees(found, student, case["soft"], case["soft_gradient"])
    term = PreviewedTargets(case["temperature"], 1.005)
    rows, classes = student.shape
    seen = [observation(sizes(classes=classes), batch=rows, logits=case[name]) for name in ("student", "teacher")]
    step = step_of(*seen, {"labels": case["labels"]}, at(epoch=case["epoch"] - 1.0), view="turned")
    assert term(step).item() == pytest.approx(case["soft"], rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_parity_of_the_category_contrast_with_an_independent_computation(case):
    features = case["of_student"].clone().requires_grad_(True)
    to_student = F.normalize(features, dim=-1) @ case["student_centres"].T
    to_teacher = F.normalize(case["of_teacher"], dim=-1) @ case["teacher_centres"].T
    found = (case["weights"] * category_contrast(to_student, to_teacher, case["labels"])).mean()
    agrees(found, features, case["contrast"], case["contrast_gradient"])


def test_a_row_over_the_threshold_has_a_small_weight_and_one_below_its_full_one():
    logits = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    labels = torch.tensor([0, 1, 2])
    losses = F.cross_entropy(logits, labels, reduction="none")
    relative = losses / losses.mean()
    found = preview_weights(logits, labels, 1.005)
    assert found[:2].tolist() == [1.0, 1.0]
    assert found[2].item() == pytest.approx(math.exp(-(relative[2].item() ** 2)))
    assert preview_weights(logits, labels, 3.0).tolist() == [1.0, 1.0, 1.0]
    assert not preview_weights(logits.requires_grad_(True), labels, 1.005).requires_grad


def test_a_row_without_a_label_has_the_full_weight_and_no_part_in_the_mean():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, -100, 2, -100])
    found = preview_weights(logits, labels, 1.0)
    assert found[labels < 0].tolist() == [1.0, 1.0]
    assert torch.equal(found[labels >= 0], preview_weights(logits[labels >= 0], labels[labels >= 0], 1.0))
    assert preview_weights(logits, torch.full((5,), -100), 1.0).tolist() == [1.0] * 5


def test_the_threshold_grows_with_the_epoch_which_counts_from_1():
    found = [threshold_in(at(epoch=epoch, epochs=240.0), 1.005) for epoch in (0.0, 0.99, 1.0, 239.5)]
    assert found == pytest.approx([1.005, 1.005, 1.005**2, 1.005**240])
    assert found[-1] == pytest.approx(3.31, abs=0.01)


def test_the_contrast_is_that_of_vectors_as_wide_as_the_classes_and_names_of_classes_do_not_matter():
    one, other, labels = torch.randn(6, 3), torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    found = category_contrast(one, other, labels)
    whole = supervised_contrast(torch.cat([one, other]), labels.repeat(2), 4.0) * 4 / 0.07
    torch.testing.assert_close(found, whole[:6] + whole[6:])
    torch.testing.assert_close(category_contrast(one, other, (labels + 1) % 3), found)


def test_centres_are_the_heads_own_weights_and_the_teachers_are_not_trained():
    student, teacher = TinyText(), TinyText(width=6)
    term = bound(CategoryContrast(1.005), student, teacher)
    assert term.heads == (student.head, teacher.head)
    assert not {id(weight) for weight in term.parameters()} & {id(weight) for weight in student.parameters()}
    seen = observation(sizes()), observation(sizes((6,) * 3))
    term(step_of(*seen, {"labels": torch.tensor([0, 1, 2, 0])}, view="turned")).backward()
    assert student.head.weight.grad.any()
    assert teacher.head.weight.grad is None
    assert all(mapped.weight.grad.any() for mapped in term.maps)


def test_the_contrast_of_a_step_is_weighed_by_the_preview_and_known_by_hand():
    student, teacher = TinyText(), TinyText(width=6)
    term, labels = bound(CategoryContrast(1.005), student, teacher), torch.tensor([0, 1, 2, 0])
    seen = observation(sizes()), observation(sizes((6,) * 3))
    likenesses = [
        F.normalize(mapped(seen[0].embedding), dim=-1) @ head.weight.T
        for mapped, head in zip(term.maps, term.heads, strict=True)
    ]
    each = category_contrast(*likenesses, labels)
    weights = preview_weights(seen[0].logits, labels, 1.005)
    torch.testing.assert_close(term(step_of(*seen, {"labels": labels}, view="turned")), (weights * each).mean())


def test_centres_that_are_equal_have_nothing_to_align():
    student = TinyText()
    teacher = copy.deepcopy(student)
    term = bound(CentreAlignment(), student, teacher)
    step = step_of(observation(sizes()), observation(sizes()), view="turned")
    assert term(step).item() == 0
    with torch.no_grad():
        teacher.head.bias.add_(1)
    found = term(step)
    assert found.item() == pytest.approx(3 / (3 * 9))  # 3 classes, 8 features and the offset
    found.backward()
    assert student.head.bias.grad.any()
    assert teacher.head.bias.grad is None


def test_centres_of_another_width_are_left_alone_and_it_is_said(caplog):
    with caplog.at_level(logging.INFO):
        term = bound(CentreAlignment(), TinyText(), TinyText(width=6))
    assert "the heads' shapes differ: [3, 9] and [3, 7]" in caplog.text
    assert term(step_of(observation(sizes()), observation(sizes()), view="turned")).item() == 0


def test_with_easy_rows_and_the_soft_targets_alone_it_is_task_loss_and_soft_targets():
    batch = pictures()
    method = pckd(soft=0.5, contrast=0.0, centres=0.0, alignment=0.0, growth=1e6)
    found, step = forward(method, *task_and_pair(), batch)
    student, teacher = (logits[:ROWS] for logits in step.logits("turned"))
    expected = F.cross_entropy(student, batch["labels"]) + 0.5 * softened_kl(student, teacher, 4.0).mean()
    torch.testing.assert_close(found.loss, expected)


def test_pictures_are_shown_in_four_turns_and_labels_and_soft_targets_are_of_the_upright_alone():
    batch = pictures()
    found, step = forward(pckd(), *task_and_pair(), batch)
    assert len(step.student("turned").logits) == 4 * ROWS
    student, teacher = (logits[:ROWS] for logits in step.logits("turned"))
    torch.testing.assert_close(found.values["task"], F.cross_entropy(student, batch["labels"]).detach())
    weights = preview_weights(student, batch["labels"], 1.005)
    torch.testing.assert_close(found.values["soft"], (weights * softened_kl(student, teacher, 4.0)).mean().detach())


def test_preview_touches_the_soft_targets_and_the_contrast_alone():
    growths = {name: getattr(weighted.term, "growth", None) for name, weighted in pckd().weighted.items()}
    assert growths == {"task": None, "soft": 1.005, "contrast": 1.005, "centres": None, "alignment": None}


def test_the_committed_recipes_threshold_ends_where_the_sources_does():
    (training,) = committed_trainings("pckd")
    reached = threshold_in(at(epoch=training.settings.epochs - 0.01), training.method["growth"])
    assert reached == pytest.approx(1.005**240, rel=0.02)


@pytest.mark.parametrize(
    "arguments",
    [
        {"soft": -1.0},
        {"contrast": -1.0},
        {"centres": -1.0},
        {"alignment": -1.0},
        {"temperature": 0.0},
        {"growth": 0.0},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        pckd(**arguments)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the student has 3 classes and the teacher 5"):
        pckd().bind(networks(sizes(), sizes(classes=5)))
    with pytest.raises(ValueError, match="pckd compares embeddings, and the teacher gives none"):
        pckd().bind(networks(of_teacher=sizes((), embedding=0, heads=())))
    teacher = TinyText()
    teacher.head = nn.Sequential(nn.Linear(8, 3))
    teacher.head.out_features = 3
    with pytest.raises(ValueError, match=r"pckd takes the rows of the head's weight.*the teacher's head is Sequential"):
        pckd().bind(networks_of(TinyText(), teacher))


def agrees(found, of, expected, gradient):
    assert found.item() == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(torch.autograd.grad(found, of)[0], gradient, rtol=1e-5, atol=1e-7)


def bound(term, student, teacher):
    term.bind(networks_of(student, teacher))
    return term
