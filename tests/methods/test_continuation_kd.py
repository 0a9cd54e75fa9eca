import math

import pytest
import torch
from small_text import small_bert, small_rows, small_task
from tiny_networks import (
    TinyText,
    at,
    committed_trainings,
    networks,
    networks_of,
    observation,
    parity,
    run,
    sizes,
    step_of,
    text_batch,
    unchecked,
)
from torch import nn

from kd2deploy.core import Observation
from kd2deploy.methods.annealing_kd import annealing_kd
from kd2deploy.methods.continuation_kd import continuation_kd, hinge, psi
from kd2deploy.methods.task_only import task_only
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings


@pytest.mark.parametrize("case", parity("continuation_kd"))
def test_parity_with_an_independent_computation(case):
    found = hinge(case["student"], case["teacher"], case["phi"], case["margin"] * case["phi"]).mean()
    assert found.item() == pytest.approx(case["expected"], abs=1e-12)


def test_by_hand():
    student, teacher = torch.tensor([[1.0, 2.0], [1.0, 1.0]]), torch.tensor([[4.0, 2.0], [2.0, 2.0]])
    assert hinge(student, teacher, 0.5, 0.5).tolist() == [1.5, 0.0]


def test_within_the_margin_there_is_no_loss_and_no_gradient():
    teacher = torch.randn(6, 3)
    student = (0.4 * teacher + 0.1).requires_grad_()
    within = hinge(student, teacher, 0.4, 3 * 0.1**2 + 1e-6)
    within.sum().backward()
    assert within.tolist() == [0.0] * 6
    assert not student.grad.any()
    assert (hinge(student, teacher, 0.4, 3 * 0.1**2 - 1e-3) > 0).all()


def test_psi_in_the_glue_setting():
    found = [psi(epoch, 30.0, 0.5, 2 / 3) for epoch in range(30)]
    assert found[:20] == pytest.approx([i / 40 for i in range(1, 21)])
    assert found[20:] == [1.0] * 10


def test_psi_in_the_cifar_setting():
    found = [psi(epoch, 200.0, 1.0, 0.75) for epoch in range(200)]
    assert found[:150] == pytest.approx([i / 150 for i in range(1, 151)])
    assert found[150:] == [1.0] * 50


@pytest.mark.parametrize(("epochs", "first"), [(1.0, 1), (2.0, 1), (2.4, 2)])
def test_the_labels_alone_have_an_epoch_wherever_there_are_two(epochs, first):
    found = [psi(epoch, epochs, 0.5, 0.75) for epoch in range(math.ceil(epochs))]
    assert [value == 1 for value in found] == [False] * first + [True] * (len(found) - first)


@pytest.mark.parametrize(("epochs", "t_max"), [(30, 10), (200, 20), (35, 10), (3, 10)])
def test_phi_starts_at_its_lowest_never_falls_and_ends_at_exactly_one(epochs, t_max):
    term = continuation_kd(t_max=t_max).weighted["hinge"].term
    found = [term.phi(at(epoch, float(epochs))) for epoch in range(epochs)]
    assert found[0] == pytest.approx(1 / min(t_max, epochs))
    assert found == sorted(found)
    assert found[-1] == 1


@pytest.mark.parametrize("epochs", [1.0, 2.0, 2.4, 8.0])
@pytest.mark.parametrize("until", [0.75, 1.0])
def test_no_margin_and_a_stepped_psi_is_annealing_kd_batch_for_batch(epochs, until):
    torch.manual_seed(0)
    student, teacher = TinyText(), TinyText(width=6)
    annealing = annealing_kd(t_max=3, until=until)
    continuation = continuation_kd(margin=0.0, t_max=3, psi_top=0.0, psi_until=until, phi_until=until)
    for method in (annealing, continuation):
        method.bind(networks_of(student, teacher))
    for epoch in range(math.ceil(epochs)):
        for _ in range(2):
            batch, now = text_batch(padded=1), at(epoch, epochs)
            assert run(annealing, student, teacher, batch, now) == run(continuation, student, teacher, batch, now)


def test_once_psi_is_one_the_teacher_has_no_influence():
    student, batch = TinyText(), text_batch()
    method = continuation_kd()
    for teacher in (TinyText(), TinyText(width=6)):
        assert run(method, student, teacher, batch, at(2, 3.0)) == run(task_only(), student, teacher, batch)


def test_each_factor_can_be_frozen_alone():
    student, teacher = observation(sizes()), observation(sizes())
    now, phi, margin = at(0, 3.0), 1 / 3, 0.5
    distances = {
        (): (phi, margin * phi),
        ("teacher",): (1.0, margin * phi),
        ("margin",): (phi, margin),
        ("psi",): (phi, margin * phi),
    }
    for frozen, (of_teacher, slack) in distances.items():
        terms = continuation_kd(margin=margin, t_max=3, frozen=frozen).weighted
        found = terms["hinge"].term(step_of(student, teacher, progress=now))
        torch.testing.assert_close(found, hinge(student.logits, teacher.logits, of_teacher, slack).mean())
        moves = [terms["task"].at(at(epoch, 3.0)) for epoch in range(3)]
        assert (moves == [0.5] * 3) == ("psi" in frozen)


def test_one_training_with_one_optimizer_returns_the_student_of_the_best_score(tmp_path, monkeypatch):
    (entry,) = committed_trainings("continuation_kd")
    assert entry.settings.keep == "best"
    optimizers, scores, seen = [], iter([0.2, 0.9, 0.5]), []
    make = torch.optim.AdamW.__init__

    def counted(optimizer, *arguments, **named):
        optimizers.append(optimizer)
        make(optimizer, *arguments, **named)

    def score(net):
        seen.append({name: weight.clone() for name, weight in net.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", counted)
    trained = distill(
        Training(
            small_task(),
            small_bert(1, 16, seed=1),
            continuation_kd(t_max=3),
            small_rows(12),
            Settings(epochs=3, batch=4, learning_rate=1e-3, keep="best"),
            teacher=small_bert(2, 16, seed=2),
        ),
        tmp_path,
        score=score,
    )
    (optimizer,) = optimizers
    assert {int(state["step"]) for state in optimizer.state.values()} == {trained.steps} == {9}
    kept = small_task().networks.load(trained.student).state_dict()
    assert all(torch.equal(weight, seen[1][name]) for name, weight in kept.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": -1.0}, "margin must be 0 or more"),
        ({"t_max": 0}, "t_max must be positive"),
        ({"psi_top": 1.5}, r"psi_top must lie in 0..1, got 1.5"),
        ({"psi_until": -0.1}, r"psi_until must lie in 0..1"),
        ({"phi_until": 2.0}, r"phi_until must lie in 0..1"),
        ({"frozen": ("phi",)}, "frozen must be one of 'psi', 'teacher', 'margin', got 'phi'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        continuation_kd(**arguments)


def test_other_classes_are_refused():
    with pytest.raises(ValueError, match="continuation_kd compares logits"):
        continuation_kd().bind(networks(sizes(), sizes(classes=4)))


@pytest.mark.recipe
@pytest.mark.parametrize("seed", [0, 1])
def test_the_margin_makes_a_smoother_student_of_a_teacher_that_has_learned_noise(seed):
    """A noisy sine, 3,000 points, a student of two layers of 128; the teacher holds what is left of a noise after
    averaging over 101 neighbours, as an overfitted one would. The margin is two standard deviations of it. The whole
    method runs, with psi rising to a half: where it is 1 for long, the labels smooth a student without a margin too."""
    points = torch.linspace(-1, 1, 3000)[:, None]
    sine = torch.sin(2 * torch.pi * points)
    noise = torch.nn.functional.pad(3.0 * torch.randn(1, 1, 3000), (50, 50), mode="reflect")
    noise = torch.nn.functional.avg_pool1d(noise, 101, stride=1)[0, 0, :, None]
    labels, teacher = sine + 0.3 * torch.randn(3000, 1), sine + noise
    close, smooth = (sine_student(margin, points, labels, teacher, seed) for margin in (0.0, 4 * noise.var().item()))
    assert roughness(smooth) < roughness(close) / 2
    assert (smooth - sine).square().mean() < sine.square().mean() / 4  # smooth, but no flat line


def sine_student(margin, points, labels, teacher, seed, epochs=30, steps=20):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, epochs * steps)
    method = continuation_kd(margin, t_max=10, psi_top=0.5, psi_until=1.0, phi_until=0.5)
    for step in range(epochs * steps):
        drawn, now = torch.randint(len(points), (500,)), at(step // steps, float(epochs))
        found = net(20 * points[drawn])
        student = Observation(found, loss=nn.functional.mse_loss(found, labels[drawn]))
        seen = step_of(student, Observation(teacher[drawn]), progress=now)
        optimizer.zero_grad()
        sum(weighted.at(now) * weighted.term(seen) for weighted in method.weighted.values()).backward()
        optimizer.step()
        decay.step()
    with torch.no_grad():
        return net(20 * points)


def roughness(curve):
    """Sum of the squared second differences."""
    return curve[:, 0].diff(n=2).square().sum()
