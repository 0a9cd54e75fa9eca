import math

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import committed_trainings, networks, observation, parity, sizes, step_of
from tiny_pictures import ROWS, forward, pictures, task_and_pair

from kd2deploy.core import Port
from kd2deploy.methods._groups import groups_of
from kd2deploy.methods._turned import RowNorm, in_one_batch, two_layers
from kd2deploy.methods.mlkd import (
    Alignment,
    Correlation,
    SupervisedContrast,
    correlation_kl,
    mlkd,
    resemblance,
    supervised_contrast,
)

TEACHER = sizes((6,) * 5)
CASES = parity("mlkd")


@pytest.mark.parametrize("case", CASES)
def test_parity_of_the_correlation_with_an_independent_computation(case):
    student = case["student"].clone().requires_grad_(True)
    found = correlation_kl(student, case["teacher"], case["rows"], case["temperature"])
    agrees(found, student, case["correlation"], case["correlation_gradient"])


@pytest.mark.parametrize("case", CASES)
def test_parity_of_the_supervised_contrast_with_an_independent_computation(case):
    embeddings = case["embeddings"].clone().requires_grad_(True)
    found = supervised_contrast(embeddings, case["groups"], case["contrast_temperature"])
    torch.testing.assert_close(found.detach(), case["contrast"])
    agrees(found.mean(), embeddings, case["contrast"].mean().item(), case["contrast_gradient"])


@pytest.mark.parametrize("case", CASES)
def test_parity_of_the_alignment_with_an_independent_computation(case):
    student, term = case["student"].clone().requires_grad_(True), Alignment("mlkd")
    term.of_student = torch.nn.Identity()
    seen = [observation(TEACHER, embedding=embedding) for embedding in (student, case["teacher"])]
    found = term(step_of(*seen, view="turned"))
    assert found.item() == pytest.approx(case["alignment"], abs=1e-6)
    torch.testing.assert_close(torch.autograd.grad(found, student)[0], case["alignment_gradient"], rtol=1e-4, atol=1e-6)


def test_the_alignment_vanishes_where_and_only_where_the_mapped_features_are_parallel():
    term = Alignment("mlkd")
    term.of_student = torch.nn.Identity()
    teacher = torch.randn(4, 6)
    for student, expected in ((3 * teacher, 0.0), (-teacher, 4.0)):
        seen = [observation(TEACHER, embedding=embedding) for embedding in (student, teacher)]
        assert term(step_of(*seen, view="turned")).item() == pytest.approx(expected, abs=1e-5)


def test_turned_rows_ask_and_the_upright_ones_are_asked():
    features = torch.randn(8, 5)
    found = resemblance(features, 2)
    assert found.shape == (6, 2)
    torch.testing.assert_close(found[1, 0], F.cosine_similarity(features[3], features[0], dim=0))
    assert resemblance(features, 8).shape == (8, 8)


def test_the_correlation_is_the_teachers_own_features_whatever_their_width_and_scale():
    student, teacher = torch.randn(8, 5), torch.randn(8, 9)
    found = correlation_kl(student, teacher, 2, 0.5)
    torch.testing.assert_close(correlation_kl(student, 4 * teacher, 2, 0.5), found)
    assert correlation_kl(3 * teacher, teacher, 2, 0.5).item() == pytest.approx(0, abs=1e-6)


def test_by_hand_two_rows_of_a_group_and_one_apart():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = supervised_contrast(embeddings, torch.tensor([0, 0, 1, 1]), 1.0)
    assert found.tolist() == pytest.approx([math.log((math.e + 2) / math.e)] * 4)


def test_a_row_without_a_label_is_a_group_of_its_own_in_each_turn():
    found = groups_of(torch.tensor([2, -100]), 4).tolist()
    assert found[0] == found[2] == 2
    assert len({*found}) == 3
    assert min(found[1], found[3]) < 0 > max(found[1], found[3])


def test_the_contrast_is_of_both_networks_projections_and_knows_no_other_width():
    term = bound(SupervisedContrast(0.07, 5, by_label=True))
    student, teacher, labels = observation(sizes()), observation(TEACHER), torch.tensor([0, 1, 0, -100])
    found = term(step_of(student, teacher, {"labels": labels}, view="turned"))
    both = torch.cat([term.of_student(student.embedding), term.of_teacher(teacher.embedding)])
    assert both.shape == (8, 5)
    groups = torch.tensor([0, 1, 0, -9, 0, 1, 0, -9])
    torch.testing.assert_close(found, supervised_contrast(F.normalize(both, dim=-1), groups, 0.07).mean())


def test_without_labels_every_row_is_its_own_group_whatever_its_label():
    term = bound(SupervisedContrast(0.07, 5, by_label=False))
    seen = observation(sizes()), observation(TEACHER)
    found = [
        term(step_of(*seen, {"labels": labels}, view="turned"))
        for labels in (torch.zeros(4, dtype=torch.long), torch.tensor([0, 1, 2, -100]))
    ]
    assert found[0] == found[1]


def test_the_label_free_setting_needs_no_labels():
    assert "labels" in mlkd().needs
    free = mlkd(by_label=False, task=0.0)
    assert free.needs == {"teacher", "embedding"}
    assert set(free.weighted) == {"alignment", "correlation", "contrast"}


def test_no_logits_of_the_teacher_are_read():
    term_needs = {name: weighted.term.needs for name, weighted in mlkd().weighted.items()}
    assert all("logits" not in needs for needs in term_needs.values())
    seen = observation(sizes()), observation(TEACHER, logits=None)
    for term in (Alignment("mlkd"), Correlation(0.5), SupervisedContrast(0.07, 5, True)):
        assert bound(term)(step_of(*seen, {"labels": torch.tensor([0, 1, 2, 0])}, view="turned")).isfinite()


def test_the_maps_are_the_sources():
    alignment, correlation = bound(Alignment("mlkd")), bound(Correlation(0.5))
    assert [tuple(weight.shape) for weight in alignment.of_student.parameters() if weight.dim() == 2] == [
        (96, 8),
        (6, 96),
    ]
    assert [tuple(weight.shape) for weight in correlation.of_student.parameters() if weight.dim() == 2] == [(8, 8)] * 2


def test_pictures_are_shown_in_four_turns_and_labelled_upright_alone():
    batch = pictures()
    found, step = forward(mlkd(), *task_and_pair(), batch)
    pair = step.pairs["turned"]
    shown = pair.look.student
    assert shown["pixel_values"].shape[0] == 4 * ROWS
    for quarters, part in enumerate(shown["pixel_values"].split(ROWS)):
        assert torch.equal(part, batch["pixel_values"].rot90(quarters, (-2, -1)))
    assert shown["labels"].tolist() == [*batch["labels"].tolist(), *[-100] * 3 * ROWS]
    assert torch.equal(shown["pixel_values"], pair.look.teacher["pixel_values"])
    assert resemblance(pair.student.embedding, ROWS).shape == (3 * ROWS, ROWS)
    task_loss = F.cross_entropy(pair.student.logits[:ROWS], batch["labels"])
    torch.testing.assert_close(found.values["task"], task_loss.detach())


def test_pictures_that_are_not_square_get_a_half_turn_and_words_none():
    task, *_ = task_and_pair()
    wide = {"pixel_values": torch.randn(2, 1, 4, 6)}
    assert [task.networks.turned(wide, quarters) is None for quarters in (1, 2, 3)] == [True, False, True]
    assert torch.equal(task.networks.turned(wide, 2)["pixel_values"], wide["pixel_values"].flip((-2, -1)))


def test_in_one_batch_numbers_are_blank_too():
    look = {"input": torch.ones(2, 3), "labels": torch.tensor([1.5, 2.0])}
    assert in_one_batch([look])["labels"].tolist() == [1.5, 2.0]
    joined = in_one_batch([look, look])
    assert joined["input"].shape == (4, 3)
    assert joined["labels"].isnan().tolist() == [False, False, True, True]


def test_one_row_is_normalized_by_what_was_seen_before_and_several_by_themselves():
    norm = RowNorm(3).train()
    rows = 5 + torch.randn(8, 3)
    torch.testing.assert_close(norm(rows).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    expected = (rows[:1] - norm.norm.running_mean) / (norm.norm.running_var + norm.norm.eps).sqrt()
    torch.testing.assert_close(norm(rows[:1]), expected)
    assert two_layers(3, 4, 2).train()(rows[:1]).isfinite().all()


def test_the_maps_are_no_part_of_the_student_and_the_teacher_learns_nothing():
    task, student, teacher = task_and_pair()
    names = set(student.state_dict())
    found, _ = forward(mlkd(), task, student, teacher, pictures())
    found.loss.backward()
    assert set(student.state_dict()) == names
    assert all(weight.grad is None for weight in teacher.parameters())


def test_each_network_is_run_once():
    _, step = forward(mlkd(), *task_and_pair(), pictures())
    assert set(step.pairs) == {"turned"}


def test_the_committed_recipe_is_theirs_for_cifar():
    (training,) = committed_trainings("mlkd")
    assert training.method == {"use": "mlkd", "alignment": 20.0, "correlation": 50.0, "contrast": 1.0}


@pytest.mark.parametrize(
    "arguments",
    [
        {"alignment": -1.0},
        {"correlation": -1.0},
        {"contrast": -1.0},
        {"task": -1.0},
        {"correlation_temperature": 0.0},
        {"contrast_temperature": 0.0},
        {"dim": 0},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        mlkd(**arguments)


def test_networks_and_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="mlkd compares embeddings, and the teacher gives none"):
        mlkd().bind(networks(of_teacher=sizes((), embedding=0, heads=())))
    with pytest.raises(ValueError, match=r"mlkd groups rows by their class.*set by_label: false"):
        mlkd().bind(networks(sizes(classes=0), sizes(classes=0)))
    mlkd(by_label=False).bind(networks(sizes(classes=0), sizes(classes=0)))
    framed = networks()
    framed.task.outputs = (Port("logits", "float32", ("batch", "frames", "vocabulary")),)
    with pytest.raises(ValueError, match="mlkd needs one label per row"):
        mlkd().bind(framed)


def agrees(found, of, expected, gradient):
    assert found.item() == pytest.approx(expected, abs=1e-10)
    torch.testing.assert_close(torch.autograd.grad(found, of)[0], gradient, rtol=1e-6, atol=1e-8)


def bound(term, seed=0):
    torch.manual_seed(seed)
    term.bind(networks())
    return term
