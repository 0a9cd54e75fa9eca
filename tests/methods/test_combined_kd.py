import pytest
import torch
from tiny_game import TinyMaskedLm, players, sentences, snapshot, terms_of, unchanged
from tiny_networks import TinyText, at, committed_trainings, observation, parity, run, sizes, unchecked

from kd2deploy.core import Pair, Step, clean_look
from kd2deploy.methods.annealing_kd import annealing_kd
from kd2deploy.methods.combined_kd import combined_kd
from kd2deploy.methods.mate_kd import mate_kd

PLAY = {"ascents": 1, "descents": 1, "generator_rate": 0.05}


@pytest.mark.parametrize("case", parity("combined_kd"))
def test_parity_with_an_independent_computation(case):
    seen = {}
    for view in ("clean", "adversarial"):
        student, teacher = (observation(sizes(), logits=logits.float()) for logits in case[view])
        seen[view] = Pair(student, teacher, clean_look({}))
    step = Step({}, seen, at(epoch=case["epoch"], epochs=float(case["epochs"])))
    terms = combined_kd(1, t_max=case["t_max"]).weighted
    found = sum(weighted.at(step.progress) * weighted.term(step) for weighted in terms.values())
    assert found.item() == pytest.approx(case["expected"], rel=1e-5)


def test_phi_rises_in_steps_is_constant_within_an_epoch_and_never_passes_one():
    for epochs, t_max in ((30, 10), (30, 14), (6, 14), (1, 10)):
        found = [phi_at(epoch, epochs, t_max) for epoch in range(epochs)]
        assert found == pytest.approx([phi_at(epoch + 0.99, epochs, t_max) for epoch in range(epochs)])
        assert found == sorted(found)
        assert found[0] == pytest.approx(1 / min(t_max, epochs), rel=1e-5)
        assert found[-1] == pytest.approx(1.0)
        steps = [value * min(t_max, epochs) for value in found]
        assert steps == pytest.approx([round(step) for step in steps], rel=1e-5)


def test_phi_scales_the_teacher_in_both_views_and_never_the_student():
    step = step_with(student=torch.tensor([[1.0, 2.0]]), teacher=torch.tensor([[10.0, 20.0]]), epoch=0, epochs=10)
    for name in ("clean", "adversarial"):
        assert combined_kd(1).weighted[name].term(step).item() == pytest.approx(0.0, abs=1e-12)


def test_phase_one_uses_no_labels():
    student, teacher, method = bound(ascents=0, mask_rate=0.0)
    assert "labels" not in method.needs
    batch = sentences()
    gradients = []
    for labels in (batch["labels"], batch["labels"].flip(0)):
        loss = run(method, student, teacher, {**batch, "labels": labels})
        gradients.append(torch.autograd.grad(loss, list(student.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_the_generator_ascends_the_raw_logits_error_whatever_phi_is():
    given, nets = TinyMaskedLm(), players()[2]
    batch, generators = sentences(), []
    for epoch in (0.0, 9.0):
        method = combined_kd(1, given, ascents=3, descents=1, generator_rate=0.05)
        method.bind(nets)
        method.tick(at(epoch=epoch, epochs=10.0))
        torch.manual_seed(5)
        method.views[0](batch)
        generators.append(snapshot(method.views[0].generator))
    assert unchanged(method.views[0].generator, generators[0])
    assert not unchanged(given, generators[0])


def test_the_generator_ascends_the_mean_squared_error_of_the_two_answers():
    step = step_with(student=torch.tensor([[1.0, 2.0]]), teacher=torch.tensor([[3.0, 6.0]]), epoch=0, epochs=10)
    assert combined_kd(1).views[0].objective(step).item() == pytest.approx((4.0 + 16.0) / 2)


def test_the_generators_objective_grows():
    _, _, method = bound(ascents=60, descents=1, generator_rate=0.05, mask_rate=0.8)
    view, unseen = method.views[0], sentences(rows=64)

    def apart():
        torch.manual_seed(1)
        task, student, teacher = view.networks
        with torch.no_grad():
            look = view.look(unseen, *view.filled(unseen))
            pair = Pair(
                task.networks.observe(student, look.student), task.networks.observe(teacher, look.teacher), look
            )
            return view.objective(Step(unseen, {view.name: pair}, at())).item()

    before = apart()
    view(sentences())
    assert apart() > 1.05 * before


def test_never_both_players_learn_from_one_loss():
    student, teacher, method = bound(**PLAY)
    view = method.views[0]
    mine, theirs = snapshot(student), snapshot(teacher)
    loss = run(method, student, teacher, sentences())
    assert unchanged(student, mine)
    assert all(weight.grad is None for weight in student.parameters())
    generator = snapshot(view.generator)
    loss.backward()
    assert all(weight.grad is None for weight in view.parameters())
    assert unchanged(view.generator, generator)
    assert unchanged(teacher, theirs)


def test_phase_two_is_the_labels_on_real_text_alone():
    method = combined_kd(2)
    assert method.needs == {"labels"}
    assert len(method.views) == 0
    student, teacher, nets = players()
    method.bind(nets)
    terms = terms_of(method, student, teacher, sentences())
    assert set(terms) == {"task"}
    assert method.weights == {"task": 1.0}


def test_without_filled_text_it_is_annealing_kd_batch_for_batch():
    """Up to the number of classes: the authors' script averages over them, annealing sums."""
    student, teacher, nets = players()
    one, other = combined_kd(1, adversarial=0.0, t_max=4), annealing_kd(t_max=4, until=1.0)
    for method in (one, other):
        method.bind(nets)
    for epoch in (0.0, 2.5, 7.0):
        batch, progress = sentences(), at(epoch=epoch, epochs=8.0)
        mine = run(one, student, teacher, batch, progress)
        assert 3 * mine.item() == pytest.approx(run(other, student, teacher, batch, progress).item(), rel=1e-5)
    assert len(one.views) == 0


def test_with_phi_at_one_it_is_mate_kd_of_squared_errors_without_the_labels_batch_for_batch():
    """With one output, where mate_kd compares by squared error too."""
    student, teacher, nets = players(TinyText(classes=1), TinyText(width=6, blocks=3, classes=1))
    given = TinyMaskedLm()
    one = combined_kd(1, given, t_max=1, **PLAY)
    other = mate_kd(given, task=0.0, soft=0.5, adversarial=0.5, **PLAY)
    batches = [{**sentences(), "labels": torch.zeros(4, dtype=torch.long)} for _ in range(3)]
    found = []
    for method in (one, other):
        method.bind(nets)
        torch.manual_seed(7)
        found.append([run(method, student, teacher, batch).item() for batch in batches])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert len(set(found[0])) == 3
    assert unchanged(one.views[0].generator, snapshot(other.views[0].generator))


def test_the_committed_recipe_runs_the_phases_in_their_order_and_keeps_the_best_of_the_first():
    first, second = committed_trainings("combined_kd")
    assert first.method == {"use": "combined_kd", "phase": 1, "generator_rate": 5e-6}
    assert second.method == {"use": "combined_kd", "phase": 2}
    assert first.settings.keep == "best"


def test_bad_arguments_and_networks_are_refused():
    with pytest.raises(ValueError, match=r"adversarial must lie in 0..1"):
        combined_kd(1, adversarial=1.5)
    with pytest.raises(ValueError, match="t_max must be positive"):
        combined_kd(1, t_max=0)
    with unchecked(), pytest.raises(ValueError, match="phase must be 1 or 2, got 3"):
        combined_kd(3)
    for adversarial in (0.0, 0.5):
        with pytest.raises(
            ValueError, match="combined_kd compares logits: the student has 2 classes and the teacher 3"
        ):
            combined_kd(1, adversarial=adversarial).bind(players(TinyText(classes=2), masked_lm=never)[2])
    with pytest.raises(ValueError, match=r"combined_kd .* `student` and `teacher` have 12 and 11 tokens"):
        combined_kd(1, TinyMaskedLm()).bind(players(TinyText(words=12))[2])


def never(name):
    raise AssertionError("a generator is derived for networks that are refused")


def phi_at(epoch, epochs, t_max):
    """phi, read off the loss of a student that answers 0 where the teacher answers 1."""
    step = step_with(torch.zeros(1, 2), torch.ones(1, 2), epoch, epochs)
    return combined_kd(1, t_max=t_max).weighted["clean"].term(step).item() ** 0.5


def step_with(student, teacher, epoch, epochs):
    of = sizes(classes=student.shape[-1])
    seen = Pair(observation(of, logits=student), observation(of, logits=teacher), clean_look({}))
    return Step({}, {"clean": seen, "adversarial": seen}, at(epoch=float(epoch), epochs=float(epochs)))


def bound(**arguments):
    student, teacher, nets = players()
    method = combined_kd(1, TinyMaskedLm(), **arguments)
    method.bind(nets)
    return student, teacher, method
