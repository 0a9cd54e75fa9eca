import math

import pytest
import torch
from tiny_game import DroppingText, TinyMaskedLm, players, sentences, snapshot, terms_of, unchanged
from tiny_networks import TinyText, networks, observation, parity, run, sizes, step_of
from torch import nn

from kd2deploy.methods._adversarial_text import AdversarialText
from kd2deploy.methods.cilda import Contrast, cilda, first_positions
from kd2deploy.methods.mate_kd import mate_kd

MINE = {"task": 0.4, "soft": 0.35, "adversarial_task": 0.0, "adversarial_soft": 0.25}
PLAY = {"ascents": 2, "descents": 1, "generator_rate": 0.05}


@pytest.mark.parametrize("case", parity("cilda"))
def test_parity_with_an_independent_computation(case):
    term = contrast(case["temperature"])
    term.of_student, term.of_teacher = linear(case["w_s"], case["b_s"]), linear(case["w_t"], case["b_t"])
    assert term(pairs(case["student"], case["teacher"])).item() == pytest.approx(case["expected"], rel=1e-5)


def test_equal_cosines_cost_the_log_of_the_batch_or_one_by_its_scale():
    same = torch.ones(3, 5, 2, 4)
    for by_log_batch, expected in ((False, math.log(5)), (True, 1.0)):
        term = contrast(by_log_batch=by_log_batch)
        term.of_student = term.of_teacher = nn.Linear(8, 4)
        assert term(pairs(same, same)).item() == pytest.approx(expected, rel=1e-5)


def test_a_single_row_costs_nothing_at_either_scale():
    alone = torch.ones(3, 1, 2, 4)
    for by_log_batch in (False, True):
        term = contrast(by_log_batch=by_log_batch)
        term.of_student = term.of_teacher = nn.Linear(8, 4)
        assert term(pairs(alone, alone)).item() == 0.0


def test_equal_rows_among_opposite_others_are_near_the_least():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(2, 1, 1)[:, :, None]  # embedding's output and one block
    term = contrast(temperature=0.05)
    term.of_student = term.of_teacher = nn.Identity()
    assert term(pairs(rows, rows)).item() == pytest.approx(0.0, abs=1e-6)
    assert term(pairs(rows, rows.flip(1))).item() == pytest.approx(2 / 0.05, rel=1e-5)


def test_every_block_enters_by_its_first_position_and_the_embedding_does_not():
    hidden = tuple(torch.full((2, 3, 4), float(layer)) for layer in range(4))
    for state in hidden:
        state[:, 1:] = 99.0
    assert first_positions(hidden)[0].tolist() == [1.0] * 4 + [2.0] * 4 + [3.0] * 4


def test_the_maps_read_all_blocks_of_their_network():
    term = contrast(dim=128)
    term.bind(networks(sizes((8, 8, 8)), sizes((6,) * 5)))
    assert (term.of_student.in_features, term.of_student.out_features) == (2 * 8, 128)
    assert (term.of_teacher.in_features, term.of_teacher.out_features) == (4 * 6, 128)


def test_both_maps_and_the_generator_belong_to_the_generators_side():
    method, student, teacher = bound(ascents=1, descents=2, generator_rate=0.05)
    view = method.views[0]
    assert isinstance(view, AdversarialText)
    assert not any(weight.requires_grad for weight in method.parameters())
    contrast = view.objective.contrast
    before = [snapshot(part) for part in (contrast.of_student, contrast.of_teacher, view.generator, student, teacher)]
    view(sentences())
    assert not unchanged(contrast.of_student, before[0])
    assert not unchanged(contrast.of_teacher, before[1])
    assert not unchanged(view.generator, before[2])
    view_after = snapshot(view)
    run(method, student, teacher, sentences()).backward()
    assert unchanged(view, view_after)
    assert all(weight.grad is None for weight in view.parameters())
    assert unchanged(student, before[3])
    assert unchanged(teacher, before[4])


def test_the_four_weights_sum_to_one_and_the_contrast_is_not_the_students():
    method = cilda(TinyMaskedLm())
    assert method.weights == {"task": 1 / 3, "soft": 1 / 3, "adversarial_task": 2 / 9, "adversarial_soft": 1 / 9}
    assert sum(method.weights.values()) == pytest.approx(1.0)
    assert not any(isinstance(part, Contrast) for term in method.terms.values() for part in term.modules())


def test_the_label_is_used_for_the_filled_text():
    method, student, teacher = bound(ascents=0, mask_rate=0.0)
    batch = sentences()
    terms = terms_of(method, student, teacher, batch)
    assert terms["adversarial_task"] == terms["task"]
    assert terms["adversarial_soft"] == terms["soft"]
    assert torch.equal(method.views[0](batch).student["labels"], batch["labels"])


def test_the_students_dropout_is_off_while_the_generator_ascends():
    student = DroppingText()
    method, *_ = bound(student, ascents=1)
    student.train()
    method.views[0](sentences())
    assert student.modes == [False]
    assert student.training


def test_without_contrast_and_label_on_the_filled_text_it_is_mate_kd_batch_for_batch():
    student, teacher, nets = players()
    given = TinyMaskedLm()
    one = cilda(given, divergence=1.0, contrast=0.0, **MINE, **PLAY)
    other = mate_kd(given, task=0.4, soft=0.35, adversarial=0.25, **PLAY)
    for method in (one, other):
        method.bind(nets)
    batches = [sentences() for _ in range(3)]
    losses = []
    for method in (one, other):
        torch.manual_seed(7)
        losses.append([run(method, student, teacher, batch).item() for batch in batches])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert not unchanged(one.views[0].generator, snapshot(given))
    assert unchanged(one.views[0].generator, snapshot(other.views[0].generator))


def test_with_both_terms_the_generator_goes_another_way_than_mate_kds():
    _, _, nets = players()
    given = TinyMaskedLm()
    both = [cilda(given, contrast=contrast, divergence=1.0, **PLAY) for contrast in (0.0, 5.0)]
    batch = sentences()
    for method in both:
        torch.manual_seed(1)
        method.bind(nets)
        torch.manual_seed(2)
        method.views[0](batch)
    assert not unchanged(both[0].views[0].generator, snapshot(both[1].views[0].generator))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": 0.5}, "task, soft, adversarial_task, adversarial_soft must sum to 1"),
        ({"contrast": -1.0}, "contrast must be 0 or more"),
        ({"contrast_temperature": 0.0}, "contrast_temperature must be positive"),
        ({"dim": 0}, "dim must be positive"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cilda(**arguments)


def test_another_vocabulary_and_logits_alone_are_refused():
    with pytest.raises(ValueError, match=r"cilda .* `student` and `teacher` have 12 and 11 tokens"):
        cilda(TinyMaskedLm()).bind(players(TinyText(words=12))[2])
    with pytest.raises(ValueError, match="cilda compares hidden states"):
        cilda(TinyMaskedLm()).bind(players(teacher_sizes=sizes(()))[2])


def contrast(temperature=2.0, dim=4, by_log_batch=False):
    return Contrast("clean", temperature, dim, by_log_batch)


def pairs(student, teacher):
    """A step whose networks show these hidden states: [layers, B, L, D]."""
    seen = [observation(sizes(), batch=states.shape[1], hidden=tuple(states.float())) for states in (student, teacher)]
    return step_of(*seen)


def linear(weight, bias):
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight.data, made.bias.data = weight.float(), bias.float()
    return made


def bound(student=None, teacher=None, **arguments):
    student, teacher, nets = players(student, teacher)
    method = cilda(TinyMaskedLm(), **arguments)
    method.bind(nets)
    return method, student, teacher
