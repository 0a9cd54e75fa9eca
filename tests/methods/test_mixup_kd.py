import math

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import (
    TinyTask,
    TinyText,
    committed_trainings,
    networks,
    networks_of,
    parity,
    run,
    sizes,
    text_batch,
    unchecked,
)

from kd2deploy.core import Port
from kd2deploy.methods._mixing import KEPT, PARTNER, beta_pairs, mixed, mixed_label_loss
from kd2deploy.methods.logit import softened_kl
from kd2deploy.methods.mixup_kd import mixup_kd, partly, rescaled_logits, unmixed_rows
from kd2deploy.recipe.methods import build_method

SHARES = ("exact", "published")


@pytest.mark.parametrize("case", parity("mixup_kd"))
def test_parity_with_an_independent_computation(case):
    student, teacher = rescaled_logits(case["student"]), rescaled_logits(case["teacher"])
    task = mixed_label_loss(student, case["labels"], case["kept"], case["partner"])
    soft = softened_kl(student, teacher, case["temperature"]).mean()
    assert (case["task"] * task + case["soft"] * soft).item() == pytest.approx(case["expected"], abs=1e-12)


def test_rescaled_logits_have_unit_deviation_and_keep_their_order():
    logits = 7 * torch.randn(6, 5) + 3
    found = rescaled_logits(logits)
    torch.testing.assert_close(found.std(-1), torch.ones(6))
    assert torch.equal(found.argsort(-1), logits.argsort(-1))


def test_equal_logits_give_a_finite_gradient():
    logits = torch.full((2, 3), 0.5, requires_grad=True)
    rescaled_logits(logits).sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_the_loss_does_not_depend_on_a_positive_scale_of_either_networks_logits(side):
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch()
    before = loss_of(student, teacher, batch)
    with torch.no_grad():
        for weight in (student if side == "student" else teacher).head.parameters():
            weight.mul_(5)
    torch.testing.assert_close(loss_of(student, teacher, batch), before)
    plain = loss_of(student, teacher, batch, rescaled=False)
    assert abs(plain.item() - before.item()) > 1e-3


def test_both_networks_see_one_mix_of_the_same_rows():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(rows=8)
    (view,) = bound(student, teacher, mixed=0.5).views
    look = view(batch)
    for name in (KEPT, PARTNER):
        assert torch.equal(look.student[name], look.teacher[name])
    for net, shown in ((student, look.student), (teacher, look.teacher)):
        words = net.words(batch["input_ids"])
        assert torch.equal(shown["inputs_embeds"], mixed(words, shown[KEPT], shown[PARTNER]))


def test_soft_labels_match_the_share_of_each_row_and_sum_to_one():
    kept, partner = partly(beta_pairs(1.0), 0.5, "exact")(6)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    soft = mixed(F.one_hot(labels, 3).float(), kept, partner)
    torch.testing.assert_close(soft.sum(-1), torch.ones(6))
    own = F.one_hot(labels, 3).bool()
    alike = labels == labels[partner]
    torch.testing.assert_close(soft[own][~alike], kept[~alike])


def test_every_mixed_row_has_a_share_of_its_own():
    kept, _ = partly(beta_pairs(1.0), 1.0, "exact")(50)
    assert kept.unique().numel() == 50
    assert abs(kept.mean() - 0.5) < 0.15


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_an_exact_share_mixes_just_so_many_rows(share):
    for _ in range(5):
        assert 40 - len(unmixed_rows(40, share, "exact").unique()) == 40 * share


def test_a_share_of_less_than_a_row_is_mixed_as_often_as_it_says():
    mixed_rows = sum(4 - len(unmixed_rows(4, 0.1, "exact")) for _ in range(2000))
    assert abs(mixed_rows / 8000 - 0.1) < 0.02


def test_the_published_share_leaves_fewer_rows_unmixed_than_it_says():
    rows = 2000
    unmixed = len(unmixed_rows(rows, 0.1, "published").unique()) / rows
    assert abs(unmixed - (1 - math.exp(-0.9))) < 0.03
    assert len(unmixed_rows(rows, 1.0, "published")) == 0


@pytest.mark.parametrize("shares", SHARES)
def test_an_unmixed_row_is_its_own_partner(shares):
    kept, partner = partly(beta_pairs(1.0), 0.4, shares)(30)
    alone = kept == 1
    assert alone.any()
    assert not alone.all()
    assert torch.equal(partner[alone], torch.arange(30)[alone])


def test_with_nothing_mixed_it_is_plain_distillation_of_the_rows_themselves():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(padded=2)
    mine, theirs = answers(student, batch), answers(teacher, batch)
    plain = 0.1 * F.cross_entropy(mine, batch["labels"]) + 0.9 * softened_kl(mine, theirs, 4.0).mean()
    found = loss_of(student, teacher, batch, mixed=0.0, rescaled=False, temperature=4.0)
    torch.testing.assert_close(found, plain)


def test_with_all_mixed_every_row_is_what_the_whole_mixup_gives():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch()
    torch.manual_seed(5)
    kept, partner = beta_pairs(1.0)(4)
    method = bound(student, teacher, mixed=1.0)
    torch.manual_seed(5)
    look = method.views[0](batch)
    assert torch.equal(look.student[KEPT], kept)
    assert torch.equal(look.student[PARTNER], partner)


def test_an_unmixed_row_teaches_its_label_whoever_is_unlabelled():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(rows=6)
    batch["labels"][3:] = -100
    found = loss_of(student, teacher, batch, mixed=0.0, rescaled=False, soft=0.0, task=1.0)
    torch.testing.assert_close(found, F.cross_entropy(answers(student, batch)[:3], batch["labels"][:3]))


def test_without_soft_targets_nobody_teaches():
    method = mixup_kd(mixed=1.0, soft=0.0, task=1.0)
    assert "teacher" not in method.needs
    student, batch = TinyText(), text_batch()
    shown = networks_of(student, TinyText(width=6))
    method.bind(networks(shown.student_sizes, student=student, teacher=None, teacher_sizes=None))
    assert run(method, student, student, batch).isfinite()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("of_student", [0.0, 1.0])
@pytest.mark.parametrize("of_teacher", [0.0, 1.0])
def test_the_studys_grid_is_told_by_configuration_alone(of_teacher, of_student, temperature):
    teacher = build_method({"use": "mixup_kd", "mixed": of_teacher, "task": 1.0, "soft": 0.0, "rescaled": False})
    student = build_method({"use": "mixup_kd", "mixed": of_student, "temperature": temperature, "rescaled": False})
    assert set(teacher.terms) == {"task"}
    assert student.terms["soft"].temperature == temperature
    kept, _ = student.views[0].draw(8)
    assert bool((kept == 1).all()) == (of_student == 0)


def test_the_committed_recipe_is_the_published_student():
    (training,) = committed_trainings("mixup_kd")
    assert build_method(training.method).weighted["soft"].weight == 0.9


@pytest.mark.parametrize(
    "arguments", [{"mixed": 1.5}, {"shares": "some"}, {"concentration": 0.0}, {"temperature": 0.0}, {"soft": -1.0}]
)
def test_bad_arguments_are_refused(arguments):
    with unchecked(), pytest.raises(ValueError, match=next(iter(arguments))):
        mixup_kd(**arguments)


def test_two_classes_have_nothing_left_when_rescaled():
    two = networks(sizes(classes=2), sizes(classes=2))
    with pytest.raises(ValueError, match=r"mixup_kd rescales logits, and those of two classes.*set rescaled: false"):
        mixup_kd().bind(two)
    mixup_kd(rescaled=False).bind(two)


def test_a_task_without_one_label_per_row_is_refused():
    with pytest.raises(ValueError, match="mixup_kd needs one label per row"):
        mixup_kd().bind(networks(task=Frames()))


class Frames(TinyTask):
    outputs = (Port("logits", "float32", ("batch", "frames", "vocabulary")),)


def answers(net, batch):
    return net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]


def bound(student, teacher, **arguments):
    method = mixup_kd(**arguments)
    method.bind(networks_of(student, teacher))
    return method


def loss_of(student, teacher, batch, **arguments):
    """Of one seeded draw."""
    method = bound(student, teacher, **arguments)
    torch.manual_seed(1)
    return run(method, student, teacher, batch)
