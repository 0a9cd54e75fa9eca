import pytest
import torch
from tiny_networks import (
    TinyText,
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

from kd2deploy.methods._maths import squared_distance
from kd2deploy.methods.attention import (
    ActivationMaps,
    AttentionRelations,
    StateRelations,
    activation_map,
    attention,
    relation_kl,
    state_relation,
)
from kd2deploy.methods.task_only import task_only

TEACHER = sizes((6,) * 5)


@pytest.mark.parametrize("case", parity("attention_maps"))
def test_parity_of_maps_with_an_independent_computation(case):
    one, other = (activation_map(case[name], case["mask"]) for name in ("student", "teacher"))
    assert squared_distance(one, other).mean().item() == pytest.approx(case["expected"], abs=1e-12)


@pytest.mark.parametrize("case", parity("attention_relations"))
def test_parity_of_relations_with_an_independent_computation(case):
    found = relation_kl(case["student"], case["teacher"], case["mask"]).mean()
    assert found.item() == pytest.approx(case["expected"], abs=1e-12)


@pytest.mark.parametrize("case", parity("state_relation"))
def test_parity_of_relations_of_states_with_an_independent_computation(case):
    mine, theirs = (state_relation(case[name], case["mask"]) for name in ("student", "teacher"))
    assert relation_kl(mine, theirs, case["mask"]).mean().item() == pytest.approx(case["expected"], abs=1e-12)
    seen = [observation(sizes(), hidden=(case[name],), mask=case["mask"]) for name in ("student", "teacher")]
    assert StateRelations()(step_of(*seen)).item() == pytest.approx(case["expected"], rel=1e-5)


def test_each_kind_and_the_relations_of_states_have_their_weight():
    assert attention(beta=0.3, states=0.2).weights == {"task": 1.0, "maps": 0.3}
    assert attention("relations", beta=0.3).weights == {"task": 1.0, "attention": 0.3}
    assert attention("relations", beta=0.3, states=0.2).weights == {"task": 1.0, "attention": 0.3, "states": 0.2}
    assert "hidden" not in attention("relations").needs


def test_a_map_by_hand():
    found = activation_map(torch.tensor([[[3.0, 3.0], [0.0, 4.0], [9.0, 9.0]]]), torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, torch.tensor([[9.0, 8.0, 0.0]]) / 145**0.5)


def test_a_map_does_not_depend_on_the_scale_of_the_activations():
    hidden = torch.randn(2, 5, 3)
    torch.testing.assert_close(activation_map(hidden, None), activation_map(10 * hidden, None))


def test_relations_of_states_sum_to_one_over_the_positions_that_count():
    mask = torch.tensor([[True, True, False]])
    found = state_relation(torch.randn(1, 3, 4), mask)
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 1, 3))
    assert not found[..., 2].any()


def test_heads_are_averaged_where_their_numbers_differ():
    student, teacher = torch.rand(2, 4, 3, 3).softmax(-1), torch.rand(2, 2, 3, 3).softmax(-1)
    expected = relation_kl(student.mean(1, keepdim=True), teacher.mean(1, keepdim=True), None)
    torch.testing.assert_close(relation_kl(student, teacher, None), expected)


@pytest.mark.parametrize("kind", [ActivationMaps, AttentionRelations, StateRelations])
def test_it_vanishes_where_the_student_is_the_teacher_and_only_there(kind):
    term = kind()
    term.bind(networks(sizes(), sizes()))
    seen = observation(sizes())
    assert term(step_of(seen, seen)).item() == pytest.approx(0, abs=1e-6)
    assert term(step_of(seen, observation(sizes()))) > 0.01


@pytest.mark.parametrize("kind", ["maps", "relations"])
def test_padding_does_not_change_the_loss(kind):
    torch.manual_seed(0)
    student, teacher, batch = TinyText(), TinyText(width=6, blocks=4), text_batch(padded=1)
    longer = batch | {
        "input_ids": torch.cat([batch["input_ids"], torch.zeros(4, 3, dtype=torch.long)], dim=1),
        "attention_mask": torch.cat([batch["attention_mask"], torch.zeros(4, 3, dtype=torch.long)], dim=1),
    }
    method = attention(kind)
    method.bind(networks_of(student, teacher))
    short, padded = (run(method, student, teacher, each) for each in (batch, longer))
    torch.testing.assert_close(short, padded)
    assert short > run(task_only(), student, teacher, batch)


def test_only_the_last_block_counts_for_relations():
    for term in (AttentionRelations(), StateRelations()):
        student, teacher = observation(sizes()), observation(TEACHER)
        before = term(step_of(student, teacher))
        for state in (*teacher.hidden[:-1], *teacher.attentions[:-1]):
            state.normal_()
        assert term(step_of(student, teacher)) == before


def test_the_map_is_exposed_once_bound():
    term = ActivationMaps("last")
    term.bind(networks())
    assert term.layer_map == [(1, 3), (2, 4)]


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        ({}, {"shares_inputs": False}, "use rail_kd, or hidden with compare: pooled"),
        (
            {"kind": "relations"},
            {"of_teacher": sizes((6,) * 5, positions=9)},
            "attention compares positions one by one",
        ),
        (
            {"kind": "relations"},
            {"of_teacher": sizes((6,) * 5, heads=())},
            "attention compares self-attentions, and the teacher has none; use hidden",
        ),
        ({}, {"of_teacher": sizes((), heads=())}, "the teacher gives logits only"),
        ({"layers": [[1, 8]]}, {}, r"attention: layers\[0\]: the teacher has layers 0 \(embedding\) to 4, got 8"),
    ],
)
def test_networks_that_cannot_be_compared_are_refused(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        attention(**arguments).bind(networks(**changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": -1.0}, "beta must be 0 or more"),
        ({"states": -1.0}, "states must be 0 or more"),
        ({"kind": "heads"}, "kind must be one of 'maps', 'relations', got"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        attention(**arguments)


def test_layers_of_other_resolutions_are_refused():
    term = ActivationMaps([[1, 1]])
    term.bind(networks())
    teacher = observation(TEACHER)
    teacher.hidden[1].resize_(4, 3, 6)
    with pytest.raises(ValueError, match="pair layers of one resolution"):
        term(step_of(observation(sizes()), teacher))
