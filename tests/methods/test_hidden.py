import pytest
import torch
from tiny_networks import TinyText, networks, networks_of, observation, parity, run, sizes, step_of, text_batch

from kd2deploy.methods.hidden import HiddenStates, hidden, hidden_distance, layer_pairs
from kd2deploy.methods.logit import logit


@pytest.mark.parametrize("case", parity("hidden"))
def test_parity_with_an_independent_computation(case):
    found = hidden_distance(case["student"], case["teacher"], case["mask"], case["distance"])
    assert found.item() == pytest.approx(case["expected"], abs=1e-12)


def test_by_hand():
    student, teacher = torch.tensor([[[1.0, 0.0], [0.0, 9.0]]]), torch.tensor([[[0.0, 1.0], [5.0, 5.0]]])
    mask = torch.tensor([[True, False]])
    assert hidden_distance(student, teacher, mask).item() == 1.0
    assert hidden_distance(student, teacher, mask, "cosine").item() == 1.0


@pytest.mark.parametrize(
    ("layers", "pairs"),
    [
        ("uniform", [(1, 2), (2, 4), (3, 6)]),
        ("first", [(1, 1), (2, 2), (3, 3)]),
        ("last", [(1, 4), (2, 5), (3, 6)]),
        ("top", [(3, 6)]),
        ([[0, 0], [3, 5]], [(0, 0), (3, 5)]),
    ],
)
def test_layer_maps_of_three_blocks_on_six(layers, pairs):
    assert layer_pairs(layers, 3, 6) == pairs


def test_the_uniform_map_ends_at_the_top_and_never_takes_the_embedding():
    assert layer_pairs("uniform", 4, 6) == [(1, 2), (2, 3), (3, 5), (4, 6)]
    assert layer_pairs("uniform", 4, 2) == [(1, 1), (2, 1), (3, 2), (4, 2)]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([[1, 9]], r"hidden: layers\[0\]: the teacher has layers 0 \(embedding\) to 4, got 9; name one of these"),
        ([[1, 1], [3, 1]], r"layers\[1\]: the student has layers 0 \(embedding\) to 2, got 3"),
        ([[-1, 1]], r"layers\[0\]: the student has layers 0 \(embedding\) to 2, got -1"),
        ([[1]], r"layers\[0\] must be a pair"),
    ],
)
def test_a_layer_that_does_not_exist_is_refused_with_the_range(layers, message):
    with pytest.raises(ValueError, match=message):
        hidden(layers=layers).bind(networks())


def test_a_teacher_shallower_than_the_student_has_no_last_layers_for_it():
    with pytest.raises(ValueError, match="hidden: layers: 'last' needs a teacher as deep"):
        hidden(layers="last").bind(networks(sizes((8,) * 4), sizes((8,) * 3)))


def test_no_layers_at_all_are_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        hidden(layers=[])


def test_logits_only_teachers_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="the teacher gives logits only; use a method that reads logits"):
        hidden().bind(networks(of_teacher=sizes((), heads=())))


def test_other_positions_are_refused_with_the_remedy_and_pooling_accepts_them():
    for changes in ({"shares_inputs": False}, {"of_teacher": sizes((6,) * 5, positions=7)}):
        with pytest.raises(
            ValueError, match=r"hidden compares positions one by one: .*, or hidden with compare: pooled"
        ):
            hidden().bind(networks(**changes))
    term = HiddenStates(compare="pooled")
    term.bind(networks(of_teacher=sizes((6,) * 5, positions=7)))
    assert term(step_of(observation(sizes()), observation(sizes((6,) * 5, positions=7)))).isfinite()


def test_layers_of_other_resolutions_are_refused():
    term = HiddenStates(layers=[[1, 1]])
    term.bind(networks())
    teacher = observation(sizes((6,) * 5))
    teacher.hidden[1].resize_(4, 3, 6)
    with pytest.raises(ValueError, match="student layer 1 has 5 positions and teacher layer 1 3"):
        term(step_of(observation(sizes()), teacher))


def test_maps_are_made_where_widths_differ_or_always():
    assert [type(head).__name__ for head in bound().heads] == ["Linear", "Linear"]
    same = networks(of_teacher=sizes((8,) * 5))
    assert [type(head).__name__ for head in bound(same).heads] == ["Identity", "Identity"]
    assert [type(head).__name__ for head in bound(same, projection="always").heads] == ["Linear", "Linear"]


def test_the_map_is_exposed_once_bound():
    assert bound().layer_map == [(1, 2), (2, 4)]


def test_only_the_mapped_layers_count():
    term = bound(layers=[[2, 3]])
    student, teacher = observation(sizes()), observation(sizes((6,) * 5))
    before = term(step_of(student, teacher))
    for layer in (0, 1, 2, 4):
        teacher.hidden[layer].normal_()
    assert term(step_of(student, teacher)) == before
    teacher.hidden[3].normal_()
    assert term(step_of(student, teacher)) != before


@pytest.mark.parametrize("compare", ["positions", "pooled"])
@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_padding_does_not_change_the_loss(compare, distance):
    mask = torch.tensor([[True] * 3 + [False] * 2] * 4)
    student, teacher = observation(sizes(), mask=mask), observation(sizes((6,) * 5), mask=mask)
    term = bound(compare=compare, distance=distance)
    before = term(step_of(student, teacher))
    for state in (*student.hidden, *teacher.hidden):
        state[:, 3:] = 1e3
    assert term(step_of(student, teacher)) == before


def test_it_vanishes_where_the_student_is_the_teacher():
    seen = observation(sizes())
    term = bound(networks(of_teacher=sizes()))
    assert term(step_of(seen, seen)) == 0


def test_weight_zero_is_logit_distillation():
    student, teacher, batch = TinyText(), TinyText(width=6, blocks=4), text_batch(padded=2)
    method = hidden(alpha=0.3, beta=0.0)
    method.bind(networks_of(student, teacher))
    assert run(method, student, teacher, batch) == run(logit(alpha=0.3), student, teacher, batch)


@pytest.mark.parametrize("arguments", [{"alpha": 2.0}, {"beta": -1.0}, {"temperature": 0.0}])
def test_bad_weights_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        hidden(**arguments)


def bound(nets=None, **arguments):
    torch.manual_seed(0)
    term = HiddenStates(**arguments)
    term.bind(nets or networks())
    return term
