import pytest
import torch
import torch.nn.functional as F
from tiny_networks import TinyText, networks, networks_of, parity, run, sizes, text_batch

from kd2deploy.core import Port
from kd2deploy.methods.mix_kd import KEPT, PARTNER, InputMixup, beta_pairs, mix_kd, mixed, mixed_label_loss


@pytest.mark.parametrize("case", parity("mix_kd"))
def test_parity_with_an_independent_computation(case):
    found = mixed_label_loss(case["logits"], case["labels"], case["kept"], case["partner"])
    assert found.item() == pytest.approx(case["expected"], abs=1e-12)


def test_by_hand():
    found = mixed(torch.tensor([[0.0, 4.0], [8.0, 8.0]]), torch.tensor([0.75, 0.5]), torch.tensor([1, 0]))
    assert found.tolist() == [[2.0, 5.0], [4.0, 6.0]]


def test_mixed_labels_are_soft_and_sum_to_one():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    kept, partner = torch.rand(4), torch.tensor([1, 2, 3, 0])
    soft = mixed(F.one_hot(labels, 3).float(), kept, partner)
    torch.testing.assert_close(soft.sum(-1), torch.ones(4))
    torch.testing.assert_close(mixed_label_loss(logits, labels, kept, partner), F.cross_entropy(logits, soft))


def test_real_valued_labels_are_mixed_too():
    logits, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 4.0])
    found = mixed_label_loss(logits, labels, torch.tensor([0.5, 1.0]), torch.tensor([1, 0]))
    assert found.item() == pytest.approx((1.0 + 1.0) / 2)


def test_both_networks_mix_their_own_embeddings_of_the_same_pairs():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(padded=2)
    look = view_of(student, teacher)(batch)
    assert torch.equal(look.student[KEPT], look.teacher[KEPT])
    assert torch.equal(look.student[PARTNER], look.teacher[PARTNER])
    for net, shown in ((student, look.student), (teacher, look.teacher)):
        words = net.words(batch["input_ids"])
        assert torch.equal(shown["inputs_embeds"], mixed(words, shown[KEPT], shown[PARTNER]))


def test_the_mixed_look_has_no_words_and_no_labels_and_united_masks():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(padded=2)
    view = view_of(student, teacher)
    view.draw = lambda rows: (torch.full((rows,), 0.3), torch.arange(rows).flip(0))
    look = view(batch)
    for shown in look:
        assert not {"input_ids", "labels"} & set(shown)
        assert shown["attention_mask"].sum(1).tolist() == [5, 3, 3, 5]  # row 0 is the only long one


def test_the_students_embedding_is_trained_through_the_mix_and_the_teachers_is_not():
    student, teacher = TinyText(), TinyText(width=6)
    look = view_of(student, teacher)(text_batch())
    assert look.student["inputs_embeds"].requires_grad
    assert not look.teacher["inputs_embeds"].requires_grad


def test_the_target_is_the_teachers_answer_to_the_mix_and_not_the_mix_of_its_answers():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch()
    method = bound(student, teacher, student_mixup=0.0)
    method.views[0].draw = half
    look = method.views[0](batch)
    answer = teacher(inputs_embeds=look.teacher["inputs_embeds"], attention_mask=batch["attention_mask"])[0]
    own = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    mine = student(inputs_embeds=look.student["inputs_embeds"], attention_mask=batch["attention_mask"])[0]
    ce = F.cross_entropy(
        student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0], batch["labels"]
    )
    torch.testing.assert_close(run(method, student, teacher, batch), ce + F.mse_loss(mine, answer))
    assert (answer - (own + own.flip(0)) / 2).abs().max() > 1e-3


def test_with_nothing_mixed_it_is_distillation_of_the_rows_themselves():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch()
    method = bound(student, teacher, student_mixup=0.7, teacher_mixup=0.3)
    method.views[0].draw = lambda rows: (torch.ones(rows), torch.arange(rows).flip(0))
    mine, theirs = (
        net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0] for net in (student, teacher)
    )
    expected = 1.7 * F.cross_entropy(mine, batch["labels"]) + 0.3 * F.mse_loss(mine, theirs)
    torch.testing.assert_close(run(method, student, teacher, batch), expected)


@pytest.mark.parametrize(
    ("arguments", "terms"),
    [
        ({"student_mixup": 0.0, "teacher_mixup": 0.0}, {"task"}),
        ({"teacher_mixup": 0.0}, {"task", "student_mixup"}),
        ({"student_mixup": 0.0}, {"task", "teacher_mixup"}),
        ({}, {"task", "student_mixup", "teacher_mixup"}),
    ],
)
def test_the_four_settings_of_the_paper_with_the_supervised_term_at_weight_one(arguments, terms):
    weighted = mix_kd(**arguments).weighted
    assert set(weighted) == terms
    assert weighted["task"].weight == 1


def test_shares_lie_in_0_to_1_and_partners_are_a_permutation():
    kept, partner = beta_pairs(0.4)(200)
    assert ((kept >= 0) & (kept <= 1)).all()
    assert sorted(partner.tolist()) == list(range(200))
    assert abs(kept.mean() - 0.5) < 0.1


def test_the_draw_comes_from_the_global_generator():
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(beta_pairs(0.4)(5))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_images_are_mixed_in_place_of_themselves():
    pixels = torch.rand(2, 3, 4, 4)
    view = InputMixup(half)
    view.bind(networks(task=PixelTask()))
    look = view({"pixel_values": pixels, "labels": torch.tensor([0, 1])})
    torch.testing.assert_close(look.student["pixel_values"], (pixels + pixels.flip(0)) / 2)


@pytest.mark.parametrize("arguments", [{"student_mixup": -1.0}, {"teacher_mixup": -1.0}, {"concentration": 0.0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        mix_kd(**arguments)


def test_a_task_without_one_label_per_row_is_refused():
    task = PixelTask()
    task.outputs = (Port("logits", "float32", ("batch", "queries", "classes")),)
    with pytest.raises(ValueError, match="needs one label per row"):
        mix_kd().bind(networks(sizes(), sizes(), task=task))
    mix_kd(student_mixup=0.0).bind(networks(sizes(), sizes(), task=task))


class PixelTask:
    inputs = (Port("pixel_values", "float32", ("batch", 3, "height", "width")),)
    outputs = (Port("logits", "float32", ("batch", "labels")),)

    def continuous_input(self, net, batch):
        return "pixel_values", batch["pixel_values"]


def half(rows):
    return torch.full((rows,), 0.5), torch.arange(rows).flip(0)


def view_of(student, teacher):
    view = InputMixup(beta_pairs(0.4))
    view.bind(networks_of(student, teacher))
    return view


def bound(student, teacher, **arguments):
    method = mix_kd(**arguments)
    method.bind(networks_of(student, teacher))
    return method
