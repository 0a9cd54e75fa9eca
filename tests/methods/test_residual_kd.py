import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small_text import small_bert, small_pair, small_rows, small_task
from tiny_networks import committed_trainings, networks, observation, parity, sizes, step_of, unchecked
from tiny_pictures import pictures, task_and_pair

from kd2deploy.core.members import Members
from kd2deploy.methods.attention import activation_map
from kd2deploy.methods.residual_kd import Features, LastMap, Residual, residual_error, residual_kd
from kd2deploy.networks.several import Several
from kd2deploy.train.distiller import Distiller, held_still
from kd2deploy.train.distiller import networks as networks_shown
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings

WIDTH = 8
TEACHER = sizes((WIDTH,) * 5)
SINGLE = "single_label_classification"


def seen(student=None, assistant=None):
    """What a pair of networks shows."""
    members = (student or observation(sizes()), assistant or observation(sizes()))
    return replace(observation(sizes(), embedding=None, hidden=(), attentions=()), members=members)


def pair_sizes(student=None, assistant=None, **changes):
    members = (student or sizes(), assistant or sizes())
    return replace(sizes((), embedding=0, heads=()), **{"members": members, "summed": True, **changes})


def shown(student=None, assistant=None, of_teacher=TEACHER, **changes):
    pair = (torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    return networks(pair_sizes(student, assistant), of_teacher, members=pair, **changes)


def with_embedding(*shape):
    return observation(sizes(), embedding=torch.randn(*shape, requires_grad=True))


# the formulas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", parity("residual_kd"))
def test_parity_of_losses_and_gradients_with_an_independent_computation(case):
    features, student = Features(), observation(sizes(), embedding=case["student"])
    found = features(step_of(seen(student), observation(TEACHER, embedding=case["teacher"])))
    assert found.item() == pytest.approx(case["features"], rel=1e-6)
    for stopped, expected in ((False, "of_student"), (True, "of_student_stopped")):
        mine, other = (case[name].clone().requires_grad_(True) for name in ("student", "assistant"))
        error = residual_error(other, mine.detach() if stopped else mine, case["teacher"])
        assert error.item() == pytest.approx(case["residual"], abs=1e-12)
        whole = error + (mine - case["teacher"]).square().mean()
        for found, wanted in zip(torch.autograd.grad(whole, (mine, other)), (expected, "of_assistant"), strict=True):
            torch.testing.assert_close(found, case[wanted], rtol=1e-6, atol=1e-8)


def test_by_hand_an_assistant_that_fills_what_is_left_errs_by_nothing():
    teacher, student = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    assert residual_error(torch.tensor([[2.0, -1.0]]), student, teacher).item() == 0
    assert residual_error(torch.zeros(1, 2), student, teacher).item() == pytest.approx((4 + 1) / 2)


def test_the_target_is_what_the_student_leaves_and_is_detached_in_the_progressive_training_alone():
    for detached in (True, False):
        term = Residual(detached)
        term.bind(shown())
        student, assistant, teacher = with_embedding(4, WIDTH), with_embedding(4, WIDTH), observation(TEACHER)
        found = term(step_of(seen(student, assistant), teacher))
        torch.testing.assert_close(
            found, F.mse_loss(assistant.embedding, teacher.embedding - student.embedding), rtol=1e-5, atol=1e-6
        )
        found.backward()
        assert assistant.embedding.grad.any()
        assert (student.embedding.grad is None) == detached


def test_widths_that_differ_are_mapped_to_the_teachers_and_both_terms_read_one_map():
    torch.manual_seed(0)
    method = residual_kd()
    method.bind(shown(sizes((5,) * 3), sizes((3,) * 3)))
    assert sorted(tuple(weight.shape) for weight in method.parameters()) == [(8,), (8,), (8, 3), (8, 5)]
    student, teacher = observation(sizes((5,) * 3)), observation(TEACHER)
    step = step_of(seen(student, observation(sizes((3,) * 3))), teacher)
    mapped = method.terms["residual"].of_student(student.embedding)
    torch.testing.assert_close(method.terms["features"](step), F.mse_loss(mapped, teacher.embedding))
    method.terms["features"](step).backward()
    assert method.terms["residual"].of_student.weight.grad.any()


def test_equal_widths_are_not_mapped():
    method = residual_kd()
    method.bind(shown())
    assert list(method.parameters()) == []


def test_the_student_may_imitate_by_attention_transfer_instead():
    term = LastMap()
    term.bind(shown())
    student, teacher = observation(sizes()), observation(TEACHER)
    maps = [activation_map(one.hidden[-1], None) for one in (student, teacher)]
    torch.testing.assert_close(
        term(step_of(seen(student), teacher)), (maps[0] - maps[1]).square().sum(-1).mean(), rtol=1e-5, atol=1e-7
    )
    assert isinstance(residual_kd(transfer="attention").terms["features"], LastMap)


# the trainings --------------------------------------------------------------------------------------------------


def test_there_is_a_progressive_training_and_one_end_to_end():
    stages = {learns: set(residual_kd(learns).weighted) for learns in ("student", "assistant", "both")}
    assert stages["student"] == {"own", "features"}
    assert stages["assistant"] == {"task", "residual"}
    assert stages["both"] == stages["student"] | stages["assistant"]
    assert {learns: len(bound(learns).method.still) for learns in stages} == {
        "student": 1,
        "assistant": 1,
        "both": 0,
    }


def bound(learns, student=None, teacher=None):
    """A distiller of a small pair under a bound method."""
    task, method = small_task(), residual_kd(learns)
    student, teacher = student or small_pair(), teacher or small_bert(4, 32, seed=2)
    torch.manual_seed(0)
    batch = task.reader.collate(small_rows(2))
    method.bind(networks_shown(task, student, teacher, batch, rows=24, epochs=2.0, steps=100))
    return Distiller(task, student, method, teacher)


@pytest.mark.parametrize("learns", ["student", "assistant", "both"])
def test_gradients_reach_what_learns_and_nothing_else(learns):
    distiller = bound(learns).train()
    with held_still(distiller.method.still):
        distiller.outcome(small_task().reader.collate(small_rows(8))).loss.backward()
    student, assistant = distiller.student.members
    touched = [any(weight.grad is not None for weight in one.parameters()) for one in (student, assistant)]
    assert touched == [learns != "assistant", learns != "student"]
    assert all(weight.requires_grad for weight in distiller.student.parameters())


def test_with_the_assistant_removed_it_is_feature_mimicry():
    distiller = bound("student").eval()
    batch = small_task().reader.collate(small_rows(8))
    torch.manual_seed(0)
    found = distiller.outcome(batch)
    alone, needs = distiller.student.members[0], frozenset({"embedding"})
    mine, theirs = (distiller.task.networks.observe(one, batch, needs=needs) for one in (alone, distiller.teacher))
    mapped = distiller.method.terms["features"].of_student(mine.embedding)
    assert mine.loss is not None
    torch.testing.assert_close(found.loss, mine.loss + F.mse_loss(mapped, theirs.embedding))


def test_the_answer_is_linear_in_both_networks_features():
    task, net = small_task(), small_pair()
    found = task.networks.observe(net, task.reader.collate(small_rows(4)), needs=frozenset({"members", "embedding"}))
    heads = [task.networks.head(member) for member in net.members]
    by_hand = sum(head(member.embedding) for head, member in zip(heads, found.members, strict=True))
    torch.testing.assert_close(found.logits, by_hand)
    assert found.embedding is None


def test_what_stands_still_keeps_its_moving_averages_and_draws_no_dropout():
    task, net, teacher = task_and_pair()
    pair = Several([net, copy.deepcopy(net)], Members(("a", "b"), "sum", (1.0, 1.0)), SINGLE)
    before = copy.deepcopy(pair.state_dict())
    method, batch = residual_kd("assistant"), pictures()
    method.bind(networks_shown(task, pair, teacher, batch, rows=3, epochs=1.0, steps=1))
    Distiller(task, pair, method, teacher).train().outcome(batch)
    moved = {name for name, value in pair.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("members.1.") for name in moved)


def test_a_training_leaves_what_stands_still_to_the_bit_and_gives_it_back(tmp_path):
    net, teacher = small_pair(dropout=0.1), small_bert(4, 32, seed=2)
    before = copy.deepcopy(net.state_dict())
    settings = Settings(epochs=1, batch=8, learning_rate=1e-2, keep="last")
    training = Training(small_task(), net, residual_kd("assistant"), small_rows(16), settings, teacher=teacher)
    distill(training, tmp_path, score=lambda net: 0.0)
    moved = {name.split(".")[1] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"1"}
    assert all(weight.requires_grad for weight in net.parameters())


def test_student_and_assistant_are_nearer_to_the_teacher_than_the_student_alone_on_unseen_rows():
    """All are 16 wide, so that nothing is mapped."""
    task, teacher, net = small_task(), small_bert(2, 16, seed=5), small_pair()
    with torch.no_grad():
        for member in net.members:
            member.bert.pooler.dense.weight.mul_(0.1)  # away from where its tanh is flat
    batches = [task.reader.collate(small_rows(16, seed=1 + number)) for number in range(8)]
    for learns in ("student", "assistant"):
        method = residual_kd(learns, features=20.0, residual=20.0)
        method.bind(networks_shown(task, net, teacher, batches[0], rows=128, epochs=1.0, steps=15))
        distiller = Distiller(task, net, method, teacher).train()
        with held_still(method.still):
            optimizer = torch.optim.AdamW((w for w in distiller.parameters() if w.requires_grad), lr=1e-2)
            for step in range(15):
                optimizer.zero_grad()
                distiller.outcome(batches[step % 8]).loss.backward()
                optimizer.step()
    unseen, needs = task.reader.collate(small_rows(64, seed=99)), frozenset({"members", "embedding"})
    with torch.no_grad():
        student, assistant = task.networks.observe(net.eval(), unseen, needs=needs).members
        theirs = task.networks.observe(teacher, unseen, needs=needs).embedding
    together = residual_error(assistant.embedding, student.embedding, theirs)
    assert together < 0.9 * F.mse_loss(student.embedding, theirs)


# what is refused ------------------------------------------------------------------------------------------------


def test_other_students_than_a_pair_whose_answers_are_added_are_refused_by_name():
    for of_student, told in (
        (sizes(), "this student is a single network; write `student: {members:"),
        (pair_sizes(members=(sizes(),) * 3), "this student is of 3 networks"),
        (pair_sizes(summed=False), "these are averaged"),
    ):
        for learns in ("student", "assistant", "both"):
            with pytest.raises(ValueError, match=rf"^residual_kd .*{told}"):
                residual_kd(learns).bind(networks(of_student, TEACHER))


def test_networks_without_what_is_compared_are_refused_by_name():
    with pytest.raises(ValueError, match="residual_kd compares embeddings, and the assistant gives none"):
        residual_kd().bind(shown(assistant=sizes(embedding=0)))
    with pytest.raises(ValueError, match=r"the student has 5 positions and the teacher 9.*use transfer: l2"):
        residual_kd("student", "attention").bind(shown(of_teacher=sizes(positions=9)))
    with pytest.raises(ValueError, match="shows no hidden states; use transfer: l2"):
        residual_kd("student", "attention").bind(shown(of_teacher=sizes((), embedding=8)))


@pytest.mark.parametrize(
    "arguments", [{"learns": "teacher"}, {"transfer": "kl"}, {"features": -1.0}, {"residual": -1.0}]
)
def test_bad_arguments_are_refused(arguments):
    with unchecked(), pytest.raises(ValueError, match=next(iter(arguments))):
        residual_kd(**arguments)


def test_the_committed_recipe_is_progressive_and_keeps_the_last_student_of_the_first_stage():
    first, second = committed_trainings("residual_kd")
    assert (first.method, second.method) == (
        {"use": "residual_kd", "learns": "student"},
        {"use": "residual_kd", "learns": "assistant"},
    )
    assert (first.settings.keep, second.settings.keep) == ("last", "best")
