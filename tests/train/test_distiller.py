"""What the distiller runs, and what it leaves alone."""

from dataclasses import replace
from functools import cached_property

import pytest
import torch
from small_text import small_bert, small_rows, small_task
from torch import nn

from kd2deploy.core import Look, Method, Observation, Pair, Progress, Step, TaskLoss, Term, View, Weighted
from kd2deploy.core.step import counted_answers, counted_logits
from kd2deploy.errors import TrainError
from kd2deploy.methods.logit import SoftTargets, logit
from kd2deploy.methods.task_only import task_only
from kd2deploy.tasks._text_networks import TextNetworks
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.distiller import Distiller, networks, sizes_seen


class WatchedNetworks(TextNetworks):
    """Networks that write down who was observed, with what."""

    def observe(self, net, batch, *, needs=frozenset()):
        self.shown.append((net, dict(batch), needs))
        return super().observe(net, batch, needs=needs)


class Watched(TextClassification):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.shown = []

    @cached_property
    def networks(self):
        made = WatchedNetworks(self.labels, self.reader)
        made.shown = self.shown
        return made


class Noted(Term):
    """A constant term that counts its calls."""

    def __init__(self, view="clean", needs=frozenset()):
        super().__init__()
        self.view, self.views, self.needs, self.calls = view, (view,), needs, 0

    def forward(self, step):
        self.calls += 1
        return step.student(self.view).logits.float().mean()


class Other(View):
    name = "other"

    def forward(self, batch):
        return Look(batch, batch)


def watched():
    return Watched(labels=small_task().labels, max_length=16)


def batch_of(rows=6):
    return small_task().reader.collate(small_rows(rows))


def distiller(method, task=None, teacher=True, **more):
    task = task or watched()
    net = small_bert(4, 32, seed=2) if teacher else None
    student = small_bert(2, 16, seed=1)
    method.bind(networks(task, student, net, batch_of(2), rows=6, epochs=1.0, steps=4))
    if isinstance(task, Watched):
        task.shown.clear()
    return Distiller(task, student, method, net, **more)


class Forgets(Term):
    """Reads what it has not asked for."""

    def __init__(self, read, needs=()):
        super().__init__()
        self.read, self.needs = read, frozenset(needs)

    def forward(self, step):
        return self.read(step)


def no_logits(step):
    return counted_logits(replace(step.student(), logits=None, values=torch.zeros(2, 1))).mean()


@pytest.mark.parametrize(
    ("read", "needs", "said"),
    [
        (lambda step: step.teacher().logits.mean(), (), "reads the teacher in view 'clean' without 'teacher' in its"),
        (no_logits, (), "reads scores of classes of a task that shows values without 'logits' in its `needs`"),
        (lambda step: step.student().hidden[-1].mean(), (), "IndexError.*shown no attentions, .*no hidden"),
        (lambda step: step.student().attentions[0].mean(), ("hidden",), "shown no attentions, .*no labels"),
        (lambda step: step.student().embedding.mean(), (), "AttributeError.*shown .*no embedding"),
        (lambda step: step.student().loss, (), "returned NoneType and no tensor; .*'labels' is among its `needs`"),
    ],
)
def test_a_term_that_forgot_to_say_what_it_reads_is_told_by_name(read, needs, said):
    found = distiller(Method(mine=Weighted(Forgets(read, needs))))
    with pytest.raises(TrainError, match=rf"test_distiller: term 'mine' \(Forgets\) .*{said}"):
        found(**batch_of())


def test_networks_that_show_nothing_are_told():
    with pytest.raises(TrainError, match="show `logits` or `values`, and these showed neither"):
        counted_answers(Observation())


def test_the_loss_is_the_weighted_sum_of_the_terms():
    found = distiller(logit(alpha=0.25))(**batch_of())
    torch.testing.assert_close(found["loss"], 0.75 * found["term.task"] + 0.25 * found["term.soft"])
    assert not found["term.soft"].requires_grad


def test_each_network_runs_once_however_many_terms_read_it():
    task = watched()
    built = distiller(Method(a=Weighted(TaskLoss()), b=Weighted(SoftTargets()), c=Weighted(SoftTargets(2.0))), task)
    built(**batch_of())
    assert [net for net, _, _ in task.shown] == [built.student, built.teacher]


def test_no_teacher_runs_where_no_term_needs_one():
    task = watched()
    built = distiller(task_only(), task)
    built(**batch_of())
    assert [net for net, _, _ in task.shown] == [built.student]


def test_a_method_that_needs_a_teacher_is_refused_without_one():
    with pytest.raises(ValueError, match="needs a teacher"):
        Distiller(small_task(), small_bert(), logit())


def test_networks_show_what_the_views_terms_need_and_no_more():
    task = watched()
    method = Method(
        Other(),
        clean=Weighted(Noted(needs=frozenset({"hidden"}))),
        other=Weighted(Noted("other", frozenset({"embedding", "teacher"}))),
    )
    built = distiller(method, task)
    built(**batch_of())
    assert [(net, needs) for net, _, needs in task.shown] == [
        (built.student, {"hidden"}),
        (built.student, {"embedding"}),
        (built.teacher, {"embedding"}),
    ]


def test_labels_are_shown_only_to_a_student_whose_task_loss_is_read():
    task = watched()
    built = distiller(logit(), task)
    built(**batch_of())
    assert ["labels" in batch for _, batch, _ in task.shown] == [True, False]
    task = watched()
    built = distiller(Method(soft=Weighted(SoftTargets())), task)
    built(**batch_of())
    assert ["labels" in batch for _, batch, _ in task.shown] == [False, False]


def test_the_teacher_is_frozen_in_eval_mode_and_no_part_of_the_module():
    built = distiller(logit()).train()
    assert not built.teacher.training
    assert not any(weight.requires_grad for weight in built.teacher.parameters())
    mine = {id(weight) for weight in built.parameters()}
    assert not mine & {id(weight) for weight in built.teacher.parameters()}


def test_a_term_that_weighs_nothing_is_skipped_unless_it_keeps_state():
    plain, stateful = Noted(), Noted()
    stateful.head = nn.Linear(1, 1)
    built = distiller(Method(task=Weighted(TaskLoss()), plain=Weighted(plain, 0.0), kept=Weighted(stateful, 0.0)))
    found = built(**batch_of())
    assert (plain.calls, stateful.calls) == (0, 1)
    assert set(found) == {"loss", "term.task", "term.kept"}


def test_what_only_a_term_without_weight_reads_is_not_run():
    task = watched()
    late = Weighted(Noted(needs=frozenset({"teacher", "hidden"})), lambda progress: float(progress.done > 0))
    built = distiller(Method(task=Weighted(TaskLoss()), late=late), task)
    built(**batch_of())
    assert [(net, needs) for net, _, needs in task.shown] == [(built.student, set())]
    task.shown.clear()
    built.progress = Progress(step=2, steps=4, epoch=0.5, epochs=1.0)
    built(**batch_of())
    assert [(net, needs) for net, _, needs in task.shown] == [(built.student, {"hidden"}), (built.teacher, {"hidden"})]


def test_a_scheduled_weight_is_read_at_the_progress():
    method = Method(task=Weighted(TaskLoss(), lambda progress: 2.0 * progress.done))
    built = distiller(method, teacher=False)
    assert set(built(**batch_of())) == {"loss"}
    built.progress = Progress(step=2, steps=4, epoch=0.5, epochs=1.0)
    found = built(**batch_of())
    torch.testing.assert_close(found["loss"], found["term.task"])


def test_a_view_without_active_readers_is_not_looked_at():
    task = watched()
    built = distiller(Method(Other(), task=Weighted(TaskLoss()), other=Weighted(Noted("other"), 0.0)), task)
    built(**batch_of())
    assert len(task.shown) == 1


class Looking(Term):
    """Reads the other view, and the clean one without a gradient."""

    views = ("clean", "other")
    without_gradient = ("clean",)

    def forward(self, step):
        self.graphs = {view: step.student(view).logits.requires_grad for view in self.views}
        return (step.student("other").logits - step.student("clean").logits.detach()).square().mean()


def test_a_view_that_is_only_looked_at_is_answered_without_a_gradient():
    term = Looking()
    found = distiller(Method(Other(), term=Weighted(term)))
    found(**batch_of())
    assert term.graphs == {"clean": False, "other": True}


def test_a_view_that_another_term_learns_from_keeps_its_gradient():
    term = Looking()
    found = distiller(Method(Other(), term=Weighted(term), task=Weighted(TaskLoss())))
    loss = found(**batch_of())["loss"]
    assert term.graphs == {"clean": True, "other": True}
    loss.backward()
    with torch.no_grad():
        found(**batch_of())
    assert term.graphs == {"clean": False, "other": False}


def test_under_autocast_a_view_without_a_gradient_takes_none_from_the_next():
    built = distiller(Method(Other(), term=Weighted(Looking())))
    built.student.train()
    with torch.no_grad():  # or both views answer alike, and the gradient is zero by rights
        for weight in built.student.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    built.student.bert.embeddings.dropout.p = 0.5
    with torch.autocast("cpu", torch.bfloat16):
        loss = built(**batch_of())["loss"]
    loss.backward()
    without = [name for name, weight in built.student.named_parameters() if weight.grad is None]
    assert without == []


def test_a_teacher_with_another_tokenizer_reads_its_own_words():
    task = watched()
    built = distiller(logit(), task)
    own = {f"teacher.{name}": value for name, value in batch_of(6).items() if name in ("input_ids", "attention_mask")}
    own["teacher.input_ids"] = own["teacher.input_ids"].flip(1)
    built(**batch_of(), **own)
    (_, mine, _), (_, theirs, _) = task.shown
    assert torch.equal(theirs["input_ids"], mine["input_ids"].flip(1))
    assert not any(name.startswith("teacher.") for name in (*mine, *theirs))


def test_the_sizes_are_read_off_the_networks_which_stay_as_they_were():
    student, teacher = small_bert(2, 16).train(), small_bert(4, 32)
    before = student.config._attn_implementation
    found = networks(small_task(), student, teacher, batch_of(2), rows=6, epochs=2.0, steps=9)
    assert found.student_sizes.hidden == (16, 16, 16)
    assert found.student_sizes.heads == (4, 4)
    assert found.teacher_sizes.blocks == 4
    assert (found.student_sizes.classes, found.student_sizes.embedding) == (3, 16)
    assert (found.rows, found.epochs, found.steps, found.shares_inputs) == (6, 2.0, 9, True)
    assert all(module.training for module in student.modules())
    assert student.config._attn_implementation == before != "eager"


def test_the_widths_of_feature_maps_are_read_off_what_a_network_shows():
    maps = (torch.zeros(2, 8, 4, 4), torch.zeros(2, 16, 2, 2))
    boxes = {"boxes": torch.zeros(2, 5, 4)}
    found = sizes_seen(Observation(logits=torch.zeros(2, 5, 3), features=maps, background=True, extras=boxes))
    assert (found.features, found.queries, found.background) == ((8, 16), 5, True)
    assert sizes_seen(Observation(logits=torch.zeros(2, 5, 3))).queries == 0


def test_the_probe_draws_no_random_numbers():
    before = torch.get_rng_state()
    networks(small_task(), small_bert(dropout=0.5).train(), None, batch_of(2), rows=6, epochs=1.0, steps=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_answers_of_other_positions_are_not_compared_one_by_one():
    """A teacher of another frame rate: one line with the remedy, and no traceback out of a tensor's shape."""
    student, teacher = (Observation(logits=torch.randn(2, length, 3)) for length in (6, 4))
    step = Step({}, {"clean": Pair(student, teacher, Look({}, {}))}, Progress(0, 1, 0.0, 1.0))
    with pytest.raises(TrainError, match="the student answers 12 positions and the teacher 8"):
        SoftTargets()(step)
