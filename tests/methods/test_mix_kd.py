import pytest
import torch
import torch.nn.functional as F
from small_text import small_bert, small_rows
from tiny_networks import TinyText, networks, networks_of, parity, run, sizes, text_batch

from kd2deploy.core import Port
from kd2deploy.methods._mixing import KEPT, PARTNER, InputMixup, beta_pairs, mixed, mixed_label_loss
from kd2deploy.methods.logit import logit
from kd2deploy.methods.mix_kd import mix_kd
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.distiller import Distiller
from kd2deploy.train.distiller import networks as described


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


def test_a_mixed_label_counts_only_where_both_its_rows_are_labelled():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, -100, 2])
    kept, partner = torch.full((4,), 0.7), torch.tensor([1, 3, 0, 2])
    both = [0, 1]  # row 2 has no label, and row 3 is mixed with it
    own, other = F.cross_entropy(logits[both], labels[both]), F.cross_entropy(logits[both], labels[partner[both]])
    expected = 0.7 * own + 0.3 * other
    torch.testing.assert_close(mixed_label_loss(logits, labels, kept, partner), expected)


def test_a_mixed_number_counts_only_where_both_its_rows_have_one():
    logits, labels = torch.tensor([[1.0], [3.0], [5.0], [7.0]]), torch.tensor([0.0, 4.0, float("nan"), 2.0])
    found = mixed_label_loss(logits, labels, torch.full((4,), 0.5), torch.tensor([1, 3, 0, 2]))
    assert found.item() == pytest.approx(((1.0 - 2.0) ** 2 + (3.0 - 3.0) ** 2) / 2)


@pytest.mark.parametrize("labels", [torch.full((4,), -100), torch.full((4,), float("nan"))])
def test_without_labels_there_is_a_zero_in_the_graph(labels):
    logits = torch.randn(4, 1 if labels.is_floating_point() else 3, requires_grad=True)
    found = mixed_label_loss(logits, labels, torch.rand(4), torch.arange(4).flip(0))
    found.backward()
    assert found.item() == 0
    assert logits.grad.tolist() == torch.zeros_like(logits).tolist()


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


def test_with_one_output_and_nothing_mixed_it_is_logit_batch_for_batch_with_its_gradient():
    """Both compare numbers by squared error; logit's weights sum to one, so it is scaled."""
    task = TextClassification()
    student, teacher = small_bert(2, 16, seed=1, labels=1), small_bert(4, 32, seed=2, labels=1)
    one, other = mix_kd(student_mixup=0.5, teacher_mixup=0.5), logit(alpha=0.25)
    one.views[0].draw = lambda rows: (torch.ones(rows), torch.arange(rows).flip(0))
    for seed in range(3):
        rows = [{**row, "labels": float(row["labels"])} for row in small_rows(6, seed=seed, shortest=8, longest=8)]
        batch, found = task.reader.collate(rows), []
        for method, scale in ((one, 1.0), (other, 2.0)):
            if not seed:
                method.bind(described(task, student, teacher, batch, rows=6, epochs=1.0, steps=3))
            loss = scale * Distiller(task, student, method, teacher).outcome(batch).loss
            found.append((loss, torch.autograd.grad(loss, list(student.parameters()))))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_with_few_labels_the_teacher_teaches_on_all_rows_and_the_labels_on_theirs():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(rows=6)
    batch["labels"][3:] = -100
    other = {**batch, "input_ids": batch["input_ids"].clone()}
    other["input_ids"][3:] = (batch["input_ids"][3:] + 1) % 11
    for teacher_mixup, equal in ((0.0, True), (1.0, False)):
        method = bound(student, teacher, teacher_mixup=teacher_mixup)
        method.views[0].draw = lambda rows: (torch.full((rows,), 0.6), torch.tensor([1, 2, 0, 4, 5, 3]))
        one, two = (run(method, student, teacher, each) for each in (batch, other))
        assert one.isfinite()
        assert (one.item() == pytest.approx(two.item(), abs=1e-6)) == equal


def test_without_the_teachers_part_no_teacher_is_asked_for():
    method, student, batch = mix_kd(teacher_mixup=0.0), TinyText(), text_batch()
    assert "teacher" not in method.needs
    method.bind(networks(student=student, teacher=None, teacher_sizes=None))
    assert run(method, student, student, batch).isfinite()


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


def test_images_are_mixed_in_place_of_themselves_and_their_masks_united():
    pixels = torch.rand(2, 3, 4, 4)
    view = InputMixup(half)
    view.bind(networks(task=PixelTask()))
    shown = torch.zeros(2, 4, 4, dtype=torch.long)
    shown[0, :2], shown[1, 1:3] = 1, 1
    look = view({"pixel_values": pixels, "pixel_mask": shown, "labels": torch.tensor([0, 1])})
    torch.testing.assert_close(look.student["pixel_values"], (pixels + pixels.flip(0)) / 2)
    assert look.student["pixel_mask"][..., 0].tolist() == [[1, 1, 1, 0]] * 2


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of_teacher": sizes(classes=5)}, "mix_kd compares logits: the student has 3 classes and the teacher 5; give"),
        ({"teacher": None, "teacher_sizes": None}, "mix_kd needs a teacher; name one under `teacher`"),
    ],
)
def test_networks_that_cannot_be_mixed_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        mix_kd().bind(networks(**changes))


class PixelTask:
    inputs = (Port("pixel_values", "float32", ("batch", 3, "height", "width")),)
    outputs = (Port("logits", "float32", ("batch", "labels")),)
    networks = property(lambda self: self)

    def token_table(self, net):
        return None

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
