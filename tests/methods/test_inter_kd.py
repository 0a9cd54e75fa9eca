import math

import pytest
import torch
from tiny_networks import TinyTask, TinyText, networks, networks_of, observation, parity, sizes, step_of, text_batch

from kd2deploy.methods.ctc_frame_kd import ctc_frame_kd
from kd2deploy.methods.inter_kd import Branches, inner_layers, inter_kd
from kd2deploy.tasks._losses import ctc


class Spelling(TinyTask):
    """A task whose networks answer every frame; class 0 is the blank."""

    def loss_of(self, logits, seen, labels):
        return ctc(logits, seen.mask, labels, 0)


def seen_by(case, logits, hidden=()):
    """One network's answers to a parity case."""
    found = observation(sizes(classes=2), logits=case[logits].float(), hidden=hidden, mask=case["mask"])
    loss = ctc(found.logits, found.mask, case["labels"], 0)
    return observation(sizes(classes=2), logits=found.logits, hidden=hidden, mask=found.mask, loss=loss)


def bound(method, hidden=(2, 2, 2), classes=2):
    """A method bound to two networks of these sizes, its heads the identity."""
    of = sizes(hidden=hidden, classes=classes, positions=3)
    method.bind(networks(of, of, task=Spelling()))
    for head in method.terms["branches"].heads if "branches" in method.terms else ():
        torch.nn.init.eye_(head.weight)
        torch.nn.init.zeros_(head.bias)
    return method


def loss_of(method, step):
    return sum(weighted.at(step.progress) * weighted.term(step) for weighted in method.weighted.values())


def step_for(case):
    branch = case["branch"].float()
    student = seen_by(case, "student", hidden=(torch.zeros_like(branch), branch, torch.zeros_like(branch)))
    teacher = seen_by(case, "teacher", hidden=(torch.zeros_like(branch),) * 3)
    return step_of(student, teacher, batch={"labels": case["labels"]})


@pytest.mark.parametrize("case", parity("inter_kd"))
def test_parity_with_an_independent_computation(case):
    method = bound(inter_kd(layers=[1], soft=case["soft"], inter=case["inter"]))
    assert loss_of(method, step_for(case)).item() == pytest.approx(case["expected"], abs=1e-6)
    names = {"task": "task_loss", "branches": "branch_loss", "frames": "frames", "branch_frames": "branch_frames"}
    for name, weighted in method.weighted.items():
        assert weighted.term(step_for(case)).item() == pytest.approx(case[names[name]], abs=1e-6), name


def test_the_parity_case_adds_up():
    for case in parity("inter_kd"):
        task, branch = math.log(4 / 3), math.log(16 / 15)
        soft, inter = case["soft"], case["inter"]
        whole = (1 - inter) * (task + soft / 8) + inter * (branch + soft / 2)
        assert case["expected"] == pytest.approx(whole, abs=1e-12)


def test_without_heads_it_is_plain_frame_distillation():
    case = parity("inter_kd")[0]
    alone, plain = bound(inter_kd(inter=0.0)), bound(ctc_frame_kd())
    assert set(alone.weighted) == {"task", "frames"}
    assert not any(True for _ in alone.parameters())
    torch.testing.assert_close(loss_of(alone, step_for(case)), loss_of(plain, step_for(case)))


def test_without_a_teacher_it_is_an_intermediate_loss():
    case = parity("inter_kd")[0]
    method = bound(inter_kd(layers=[1], soft=0.0, inter=0.3))
    assert "teacher" not in method.needs
    expected = 0.7 * case["task_loss"] + 0.3 * case["branch_loss"]
    assert loss_of(method, step_for(case)).item() == pytest.approx(expected, abs=1e-6)


def test_the_teachers_final_posteriors_are_every_heads_target():
    """What the teacher's inner layers hold is not read."""
    case = parity("inter_kd")[0]
    method, step = bound(inter_kd(layers=[1])), step_for(case)
    other = seen_by(case, "teacher", hidden=tuple(torch.randn(1, 3, 2) for _ in range(3)))
    again = step_of(step.student(), other, batch={"labels": case["labels"]})
    torch.testing.assert_close(loss_of(method, again), loss_of(method, step))


def test_padded_frames_do_not_count():
    case = parity("inter_kd")[0]
    method, step = bound(inter_kd(layers=[1])), step_for(case)
    before = loss_of(method, step)
    changed = {name: case[name].clone() for name in ("student", "branch", "teacher")}
    for values in changed.values():
        values[:, 2] = 30 * torch.randn(2, dtype=values.dtype)
    torch.testing.assert_close(loss_of(method, step_for({**case, **changed})), before)


@pytest.mark.parametrize(
    ("blocks", "layers"), [(33, [18, 24, 30]), (12, [7, 9, 11]), (6, [3, 4, 5]), (3, [2]), (2, [1])]
)
def test_heads_stand_where_the_papers_did_by_depth(blocks, layers):
    assert inner_layers(None, blocks) == layers


@pytest.mark.parametrize("layers", [[], [0], [2, 2], [4], [-1]])
def test_layers_that_have_no_head_are_refused(layers):
    with pytest.raises(ValueError, match="layers must be different blocks of 1 to 3"):
        inner_layers(layers, 4)


def test_a_student_of_one_block_has_no_inner_layer():
    with pytest.raises(ValueError, match="the student has 1; use ctc_frame_kd"):
        inter_kd().bind(networks(sizes(hidden=(8, 8)), sizes()))


def test_each_layer_has_a_head_of_its_own_width():
    branches = Branches([1, 3])
    branches.bind(networks(sizes(hidden=(4, 5, 6, 7, 8), classes=3), sizes()))
    assert [(head.in_features, head.out_features) for head in branches.heads] == [(5, 3), (7, 3)]


def test_heads_are_computed_once_a_step():
    case = parity("inter_kd")[0]
    method, step = bound(inter_kd(layers=[1])), step_for(case)
    branches = method.terms["branches"]
    assert branches.answers(step)[0] is branches.answers(step)[0]
    first = branches.answers(step)[0]
    method.tick(step.progress)
    assert branches.answers(step)[0] is not first


def test_gradient_reaches_inner_layers_and_heads():
    case = parity("inter_kd")[0]
    branch = case["branch"].float().requires_grad_()
    method = bound(inter_kd(layers=[1]))
    student = seen_by(case, "student", hidden=(torch.zeros_like(branch), branch, torch.zeros_like(branch)))
    loss_of(method, step_of(student, seen_by(case, "teacher"), batch={"labels": case["labels"]})).backward()
    assert branch.grad[0, :2].any()
    assert not branch.grad[0, 2].any(), "padding"
    assert all(weight.grad.any() for weight in method.terms["branches"].parameters())


class Classes(TinyTask):
    def loss_of(self, logits, seen, labels):
        return torch.nn.functional.cross_entropy(logits, labels)


def test_where_a_row_has_one_answer_a_head_reads_the_mean_over_its_positions():
    torch.manual_seed(0)
    student, teacher = TinyText(), TinyText()
    method, batch = inter_kd(layers=[1]), text_batch(padded=2)
    method.bind(networks_of(student, teacher, task=Classes()))
    task = Classes()
    step = step_of(task.observe(student, batch), task.observe(teacher, batch), batch)
    (answer,) = method.terms["branches"].answers(step)
    seen = step.student()
    mean = torch.stack([states[counted].mean(0) for states, counted in zip(seen.hidden[1], seen.mask, strict=True)])
    torch.testing.assert_close(answer, method.terms["branches"].heads[0](mean))
    assert loss_of(method, step).isfinite()


@pytest.mark.parametrize(
    ("arguments", "words"), [({"inter": 1.0}, "inter must be below 1"), ({"inter": 2}, "inter"), ({"soft": -1}, "soft")]
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        inter_kd(**arguments)
