"""The engine: what it trains, what it keeps, and how it goes on after a kill."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from child_training import training
from other_processes import wait_until
from small_text import small_bert, small_rows, small_task
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from kd2deploy.core import Method, TaskLoss, Term, View, Weighted, clean_look
from kd2deploy.errors import TrainError
from kd2deploy.methods.hidden import hidden
from kd2deploy.methods.logit import logit
from kd2deploy.methods.task_only import task_only
from kd2deploy.train.arguments import may_leave_unused
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.ledger import Trained
from kd2deploy.train.resume import last_whole
from kd2deploy.train.settings import Settings

PLAIN = Settings(epochs=2, batch=4, learning_rate=1e-3, keep="last", checkpoint_every=2)
CHILD = Path(__file__).with_name("child_training.py")


class Stopped(Exception):
    """Stands for a kill."""


class Turns(Term):
    """0 in the graph until `at`, then whatever it is told to become."""

    def __init__(self, at: int, value: float):
        super().__init__()
        self.at, self.value = at, value

    def forward(self, step):
        logits = step.student().logits
        return logits.sum() * (0.0 if step.progress.step < self.at else self.value)


def train(folder, method=None, student=None, **more):
    found = {"features": small_rows(16), "settings": PLAIN, "seed": 3} | more
    ears = {name: found.pop(name) for name in ("score", "on_progress", "on_figures", "device") if name in found}
    student = small_bert(seed=1, dropout=0.1) if student is None else student
    return distill(Training(small_task(), student, method or task_only(), **found), folder, **ears), student


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def ascending(*scores):
    """A score that answers these values in turn."""
    left = list(scores)
    return lambda net: left.pop(0)


def test_a_length_in_steps_is_that_many_and_the_same_training_as_in_epochs(tmp_path):
    in_steps, one = train(tmp_path / "steps", settings=dataclasses.replace(PLAIN, epochs=9, steps=6))
    in_epochs, other = train(tmp_path / "epochs", settings=dataclasses.replace(PLAIN, epochs=1.5))
    assert in_steps.steps == in_epochs.steps == 6
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def test_fine_tuning_lowers_the_loss_and_learns_the_rule(tmp_path):
    settings = dataclasses.replace(PLAIN, epochs=8, learning_rate=3e-3)
    trained, student = train(tmp_path, settings=settings, student=small_bert(seed=1), features=small_rows(48))
    assert trained.history[-1]["loss"] < 0.5 * trained.history[0]["loss"]
    assert trained.steps == trained.kept_step == 96
    assert not student.training
    assert len(trained.history) == 8
    assert [entry["epoch"] for entry in trained.history] == list(range(1, 9))
    assert set(trained.history[0]["terms"]) == {"task"}


def test_the_result_is_the_student_alone_and_a_file_that_says_how_it_went(tmp_path):
    teacher = small_bert(4, 32, seed=2)
    trained, student = train(tmp_path / "run", hidden(), teacher=teacher)
    assert trained.student == tmp_path / "run" / "student"
    alone = AutoModelForSequenceClassification.from_pretrained(trained.student)
    assert equal(weights(alone), weights(student))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["run"]
    assert sorted(found.name for found in (tmp_path / "run").iterdir()) == [
        "student",
        "student.safetensors",
        "trained.json",
    ]
    assert Trained.from_json(json.loads(json.dumps(trained.to_json()))) == trained


def test_a_finished_training_is_not_run_again(tmp_path):
    first, student = train(tmp_path, score=lambda net: 1.0)
    again, other = train(tmp_path, student=small_bert(seed=9), score=None)
    assert again == first
    assert equal(weights(student), weights(other))


def test_a_folder_of_another_training_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(TrainError, match="another training: seed differ"):
        train(tmp_path, seed=4)
    with pytest.raises(TrainError, match="another training: settings differ"):
        train(tmp_path, settings=dataclasses.replace(PLAIN, learning_rate=2e-3))


def test_the_same_seed_gives_the_same_student_and_another_seed_another(tmp_path):
    (_, one), (_, same), (_, other) = (
        train(tmp_path / name, seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert equal(weights(one), weights(same))
    assert not equal(weights(one), weights(other))


def test_the_best_student_is_kept_and_the_last_when_asked(tmp_path):
    seen = []

    def score(net):
        seen.append(weights(net))
        return (0.2, 0.9, 0.5)[len(seen) - 1]

    settings = dataclasses.replace(PLAIN, epochs=3, keep="best")
    trained, student = train(tmp_path / "best", settings=settings, score=score)
    assert (trained.score, trained.kept_step, trained.steps) == (0.9, 8, 12)
    assert equal(weights(student), seen[1])
    assert [entry["score"] for entry in trained.history] == [0.2, 0.9, 0.5]
    alone = AutoModelForSequenceClassification.from_pretrained(trained.student)
    assert equal(weights(alone), seen[1])
    seen.clear()
    trained, student = train(tmp_path / "last", settings=dataclasses.replace(settings, keep="last"), score=score)
    assert (trained.score, trained.kept_step) == (0.5, 12)
    assert equal(weights(student), seen[2])


def test_patience_stops_early(tmp_path):
    settings = dataclasses.replace(PLAIN, epochs=9, keep="best", patience=2)
    trained, _ = train(tmp_path, settings=settings, score=ascending(0.1, 0.3, 0.3, 0.2))
    assert trained.stopped_early
    assert (trained.steps, trained.kept_step) == (16, 8)


def test_a_score_that_is_no_number_is_an_error(tmp_path):
    with pytest.raises(TrainError, match="score at step 4 is nan"):
        train(tmp_path, score=lambda net: float("nan"))


def test_scores_see_the_student_in_eval_mode_and_leave_the_training_as_it_was(tmp_path):
    def score(net):
        assert not net.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        return 0.0

    _, scored = train(tmp_path / "a", score=score)
    _, plain = train(tmp_path / "b")
    assert equal(weights(scored), weights(plain))


@pytest.mark.parametrize("killed_at", [1, 3, 4, 6])
def test_a_training_goes_on_from_its_last_checkpoint_to_the_same_bit(tmp_path, killed_at):
    def score_until(last):
        calls = 0

        def score(net):
            nonlocal calls
            calls += 1
            if calls == last:
                raise Stopped
            return float(next(net.parameters()).abs().sum())

        return score

    settings = dataclasses.replace(PLAIN, epochs=1.5, keep="best", score_every=1, checkpoint_every=2, accumulate=2)
    more = {"settings": settings, "features": small_rows(26), "teacher": small_bert(4, 32, seed=2)}
    whole, student = train(tmp_path / "whole", hidden(), score=score_until(None), **more)
    with pytest.raises(Stopped):
        train(tmp_path / "cut", hidden(), score=score_until(killed_at), **more)
    resumed, other = train(tmp_path / "cut", hidden(), score=score_until(None), **more)
    assert equal(weights(student), weights(other))
    assert resumed.history == whole.history
    assert (resumed.kept_step, resumed.score, resumed.steps) == (whole.kept_step, whole.score, whole.steps)


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    _, whole = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "cut", settings=PLAIN, score=stop_at(2))
    newest = last_whole(tmp_path / "cut")
    assert newest.name == "checkpoint-6"
    half = newest.with_name("checkpoint-7")
    half.mkdir()
    (half / "student.safetensors").write_bytes((newest / "student.safetensors").read_bytes()[:100])
    _, resumed = train(tmp_path / "cut")
    assert equal(weights(whole), weights(resumed))


def stop_at(last):
    calls = 0

    def score(net):
        nonlocal calls
        calls += 1
        if calls == last:
            raise Stopped
        return 0.0

    return score


def test_a_process_killed_in_the_middle_is_continued_to_the_same_bit(tmp_path):
    first = subprocess.Popen([sys.executable, str(CHILD), str(tmp_path / "cut")], env=child_environment())
    wait_until(lambda: last_whole(tmp_path / "cut") is not None, first)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert not (tmp_path / "cut" / "trained.json").exists()
    assert equal(weights(training(tmp_path / "cut")), weights(training(tmp_path / "whole")))


def child_environment():
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests.parent), str(tests)])  # this package, wherever another one is installed from
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (float("inf"), "inf|nan")])
def test_a_loss_that_is_not_finite_names_term_step_and_remedies(tmp_path, value, said):
    method = Method(task=Weighted(TaskLoss()), odd=Weighted(Turns(5, value)))
    with pytest.raises(
        TrainError, match=rf"term 'odd' \(-?({said})\) is not finite at step 6; lower learning_rate"
    ) as found:
        train(tmp_path, method)
    assert str(tmp_path) in str(found.value)
    assert last_whole(tmp_path).name == "checkpoint-4"


def test_a_step_that_ruins_the_weights_is_never_checkpointed(tmp_path):
    class Ruins(Term):
        def forward(self, step):
            logits = step.student().logits
            return (logits - logits.detach()).sum().clamp(min=0).sqrt()  # 0 with an infinite gradient

    with pytest.raises(TrainError, match="a weight is not finite at step 1"):
        train(tmp_path, Method(ruins=Weighted(Ruins())), settings=dataclasses.replace(PLAIN, checkpoint_every=1))
    assert last_whole(tmp_path) is None


class Inner(View):
    name = "inner"
    optimizes_itself = True

    def forward(self, batch):
        return clean_look(batch)


def beside(view):
    return Method(view, task=Weighted(TaskLoss()))


def test_what_does_not_fit_is_refused_before_anything_runs(tmp_path):
    for settings, more, message in [
        (dataclasses.replace(PLAIN, keep="best"), {}, "keep: best needs a validation score"),
        (dataclasses.replace(PLAIN, patience=1), {}, "patience needs a validation score"),
        (dataclasses.replace(PLAIN, precision="fp16"), {"device": "cpu"}, "fp16 needs a CUDA device"),
        (
            dataclasses.replace(PLAIN, precision="fp16"),
            {"method": beside(Inner())},
            "Inner has an optimizer of its own",
        ),
        (PLAIN, {"features": []}, "no rows"),
        (PLAIN, {"method": logit()}, "needs a teacher"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(tmp_path / "run", settings=settings, **more)
    assert not (tmp_path / "run" / "trained.json").exists()


class Learns(View):
    """Takes two batches of its own before each of the student's, and writes down all that it sees."""

    name = "other"

    def __init__(self):
        super().__init__()
        self.own, self.students = [], []

    def bind(self, nets):
        self.batches = nets.batches

    def forward(self, batch):
        self.own += [self.batches(len(self.own) + at)["index"].tolist() for at in range(2)]
        self.students.append(batch["index"].tolist())
        return clean_look(batch)


def test_a_part_that_learns_by_itself_takes_no_batch_from_the_student(tmp_path):
    view = Learns()
    trained, _ = train(tmp_path, Method(view, task=Weighted(TaskLoss("other"))))
    assert trained.steps == len(view.students) == 8
    for epoch in (view.students[:4], view.students[4:], view.own[:4], view.own[4:8], view.own[12:]):
        assert sorted(row for rows in epoch for row in rows) == list(range(16))
    assert view.own[:4] != view.students[:4]
    assert view.own[:4] != view.own[4:8]


class Pairs(Term):
    """The student's own loss; it asks for rows in pairs of a class, and notes how often each of a batch's comes."""

    needs = frozenset({"labels"})
    rows_of_a_class = 2

    def __init__(self):
        super().__init__()
        self.seen, self.classes = [], None

    def bind(self, nets):
        self.classes = nets.classes

    def forward(self, step):
        labels = step.batch["labels"]
        assert torch.equal(labels, self.classes()[step.batch["index"]])
        self.seen.append([(labels == label).sum().item() for label in labels])
        return step.student().loss


def test_a_part_that_asks_for_rows_of_a_class_finds_them_side_by_side(tmp_path):
    term = Pairs()
    train(tmp_path, Method(pairs=Weighted(term)))
    assert len(term.seen) == 8
    alone = sum(count == 1 for batch in term.seen for count in batch)
    assert alone <= 2 * 3, "each of three classes leaves one row over at most, in each of two epochs"


def test_rows_that_come_in_pairs_need_an_even_batch(tmp_path):
    settings = dataclasses.replace(PLAIN, batch=3)
    with pytest.raises(ValueError, match="come 2 at a time: batch must be a multiple of 2, got 3"):
        train(tmp_path, Method(pairs=Weighted(Pairs())), settings=settings)


def test_accumulated_batches_make_the_step_of_one_whole_batch(tmp_path):
    found = []
    for batch, accumulate in [(8, 1), (4, 2)]:
        settings = dataclasses.replace(PLAIN, batch=batch, accumulate=accumulate, optimizer="sgd", warmup=0.0)
        student = small_bert(seed=1)
        trained, _ = train(tmp_path / str(batch), settings=settings, student=student, features=small_rows(8))
        assert trained.steps == 2
        found.append(weights(student))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-5, atol=1e-6)
    assert not equal(found[0], weights(small_bert(seed=1)))


def test_parts_have_a_learning_rate_of_their_own(tmp_path):
    class Headed(Term):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 1, bias=False)

        def forward(self, step):
            return self.head(step.student().logits.detach()).mean()

    def moved(rate):
        term = Headed()
        before = term.head.weight.detach().clone()
        settings = dataclasses.replace(PLAIN, parts_learning_rate=rate, optimizer="sgd")
        train(tmp_path / str(rate), Method(term=Weighted(term)), settings=settings)
        return float((term.head.weight - before).detach().norm())

    torch.manual_seed(0)
    assert moved(1e-1) > 5 * moved(1e-3) > 0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_schedule_ends_where_it_should(tmp_path, schedule):
    trained, _ = train(tmp_path, settings=dataclasses.replace(PLAIN, schedule=schedule, optimizer="sgd"))
    rates = [entry["learning_rate"] for entry in trained.history]
    assert rates[-1] == pytest.approx(1e-3 if schedule == "constant" else 0.0, abs=1e-12)


def test_a_schedule_of_drops_leaves_what_its_shares_say(tmp_path):
    settings = dataclasses.replace(PLAIN, schedule="drops", drops=[0.75], drop_to=0.1, optimizer="sgd")
    trained, _ = train(tmp_path, settings=settings)
    assert [entry["learning_rate"] for entry in trained.history] == pytest.approx([1e-3, 1e-4])


def test_bf16_runs_on_a_cpu_and_the_next_training_is_fp32_again(tmp_path):
    _, plain = train(tmp_path / "a")
    _, half = train(tmp_path / "b", settings=dataclasses.replace(PLAIN, precision="bf16"))
    _, again = train(tmp_path / "c")
    assert all(value.dtype == torch.float32 for value in half.state_dict().values() if value.is_floating_point())
    assert not equal(weights(plain), weights(half))
    assert equal(weights(plain), weights(again))


def test_progress_is_reported_and_nothing_is_printed(tmp_path, capfd):
    seen = []
    verbosity = transformers_logging.get_verbosity()
    settings = dataclasses.replace(PLAIN, epochs=6)
    train(tmp_path, settings=settings, on_progress=lambda *found: seen.append(found))
    assert [(step, steps) for step, steps, _, _ in seen] == [(step, 24) for step in range(25)]
    losses = [loss for _, _, _, loss in seen]
    first = next(place for place, loss in enumerate(losses) if loss is not None)
    assert 0 < first <= 11, "there is none at first, and one from the first look at the losses on"
    assert losses[:first] == [None] * first
    assert all(0 < loss < 10 for loss in losses[first:])
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.get_verbosity() == verbosity


def test_unused_parameters_are_looked_for_only_where_there_can_be_any():
    assert not may_leave_unused(task_only())
    assert not may_leave_unused(logit())
    assert may_leave_unused(Method(Learns(), task=Weighted(TaskLoss())))
    assert may_leave_unused(Method(task=Weighted(TaskLoss(), lambda progress: progress.done)))
