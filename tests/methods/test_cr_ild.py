import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import (
    TinyTask,
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

from kd2deploy.core import Look, Method, Pair, Step
from kd2deploy.methods._mixing import KEPT, PARTNER
from kd2deploy.methods.attention import AttentionRelations, relation_kl
from kd2deploy.methods.cr_ild import Last, consistency, cr_ild, over_keys, reversed_pairs
from kd2deploy.methods.hidden import HiddenStates
from kd2deploy.methods.logit import SoftTargets


def test_one_share_in_the_upper_half_for_the_whole_batch_and_reversed_partners():
    for _ in range(20):
        kept, partner = reversed_pairs()(4)
        assert kept.unique().numel() == 1
        assert 0.5 <= kept[0] <= 1
        assert partner.tolist() == [3, 2, 1, 0]


def test_the_consistency_weight_is_zero_at_first_and_grows_with_the_epoch():
    weight = cr_ild(w_max=0.1).weighted["consistency"]
    found = [weight.at(at(epoch + part, 4.0)) for epoch in range(4) for part in (0.0, 0.9)]
    assert found == pytest.approx([0, 0, 0.025, 0.025, 0.05, 0.05, 0.075, 0.075])


@pytest.mark.parametrize("case", parity("cr_ild"))
def test_parity_of_the_consistency_with_an_independent_computation(case):
    fit = [case[name] for name in ("weight", "bias")]
    united = case["mask"] | case["mask"][case["partner"]]
    mixed, unmixed = (
        Last(case[f"{name}_attention"], F.linear(case[f"{name}_state"], *fit), mask)
        for name, mask in (("mixed", united), ("unmixed", case["mask"]))
    )
    found = consistency(mixed, unmixed, case["kept"], case["partner"])
    assert found.item() == pytest.approx(case["expected"][0].item(), abs=1e-12)


@pytest.mark.parametrize("case", parity("cr_ild"))
def test_parity_of_the_whole_first_stage_with_an_independent_computation(case):
    of_student, of_teacher = sizes((2, 2), heads=(2,), positions=4), sizes((3, 3), heads=(2,), positions=4)
    method = cr_ild(w_max=case["w_max"])
    method.bind(networks(of_student, of_teacher))
    (head,) = method.weighted["hidden"].term.heads
    head.weight.data, head.bias.data = case["weight"].float(), case["bias"].float()
    united = case["mask"] | case["mask"][case["partner"]]

    def seen(name, of, mask):
        state = case[f"{name}_state"].float()
        attention = case[f"{name}_attention"].float()
        return observation(of, 3, mask, hidden=(torch.randn_like(state), state), attentions=(attention,))

    shown = {KEPT: case["kept"].float(), PARTNER: case["partner"]}
    mixed = Pair(seen("mixed", of_student, united), seen("teacher", of_teacher, united), Look(shown, shown))
    step = Step(
        {},
        {"mix": mixed, "clean": Pair(seen("unmixed", of_student, case["mask"]), None, Look({}, {}))},
        at(epoch=case["epoch"], epochs=float(case["epochs"])),
    )
    found = sum(weighted.at(step.progress) * weighted.term(step) for weighted in method.weighted.values())
    assert found.item() == pytest.approx(case["expected"][1].item(), rel=1e-5)


def test_consistency_by_hand():
    mixed, unmixed = (last(observation(sizes(), batch=2)) for _ in range(2))
    kept, partner = torch.tensor([0.75, 0.75]), torch.tensor([1, 0])
    expected = 0.0
    for row, other, share in ((0, 0, 0.75), (0, 1, 0.25), (1, 1, 0.75), (1, 0, 0.25)):
        state = (mixed.state[row] - unmixed.state[other]).square().mean()
        attended = relation_kl(mixed.attention[[row]], unmixed.attention[[other]], None)
        expected = expected + share * (state + attended[0]) / 2
    torch.testing.assert_close(consistency(mixed, unmixed, kept, partner), expected)


def test_attention_over_the_keys_that_count_is_the_softmax_of_their_scores():
    scores, mask = torch.randn(2, 2, 4, 4), torch.tensor([[True] * 4, [True, True, False, False]])
    expected = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
    torch.testing.assert_close(over_keys(scores.softmax(-1), mask), expected)
    assert torch.equal(over_keys(scores, None), scores)


def test_no_gradient_flows_through_the_unmixed_side():
    mixed, unmixed = last(observation(sizes())), last(observation(sizes()))
    for side in (mixed, unmixed):
        side.state.requires_grad_()
        side.attention.requires_grad_()
    consistency(mixed, unmixed, torch.full((4,), 0.6), torch.arange(4).flip(0)).backward()
    for one, other in zip(mixed[:2], unmixed[:2], strict=True):
        assert one.grad.abs().sum() > 0
        assert other.grad is None


def test_the_consistency_is_taken_after_the_map_of_the_hidden_states_which_it_trains_and_does_not_own():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch()
    method = bound(student, teacher)
    terms = method.weighted
    (head,) = terms["hidden"].term.heads
    seen = observation(sizes(), mask=batch["attention_mask"].bool())
    assert torch.equal(terms["consistency"].term.last(seen).state, head(seen.hidden[-1]))
    assert not list(terms["consistency"].term.parameters())
    run(Method(*method.views, consistency=terms["consistency"]), student, teacher, batch, at(2)).backward()
    assert head.weight.grad.abs().sum() > 0


def test_a_copied_method_maps_by_its_own_copy():
    method = copy.deepcopy(bound(TinyText(), TinyText(width=6)))
    (head,) = method.weighted["hidden"].term.heads
    torch.nn.init.zeros_(head.weight)
    state = method.weighted["consistency"].term.last(observation(sizes())).state
    assert torch.equal(state, head.bias.expand_as(state))


def test_the_unmixed_batch_is_read_without_a_gradient():
    assert cr_ild().weighted["consistency"].term.without_gradient == ("clean",)


def test_unmixed_it_is_last_layer_distillation_batch_for_batch_and_consistent():
    student, teacher = TinyText(), TinyText(width=6, blocks=4)
    method = bound(student, teacher)
    method.views[0].draw = nothing_mixed
    top = HiddenStates("top", "always")
    top.bind(networks_of(student, teacher))
    top.load_state_dict(method.weighted["hidden"].term.state_dict())
    for epoch in (0.0, 1.0, 2.0):
        for _ in range(2):
            batch = text_batch()
            last = step_of(*(TinyTask().networks.observe(net, batch) for net in (student, teacher)), batch)
            expected = AttentionRelations()(last) + top(last)
            torch.testing.assert_close(run(method, student, teacher, batch, at(epoch)), expected)


def test_only_the_last_layers_count():
    term = bound(TinyText(), TinyText(width=6, blocks=4)).weighted["hidden"].term
    assert term.layer_map == [(2, 4)]


def test_labels_are_never_read_in_either_stage():
    for stage in (1, 2):
        assert "labels" not in cr_ild(stage).needs


def test_the_first_stage_reads_no_logits():
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch()
    method = bound(student, teacher)
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(run(method, student, teacher, batch, at(1)))
        for net in (student, teacher):
            torch.nn.init.normal_(net.head.weight)
    assert found[0] == found[1]


def test_the_second_stage_is_soft_targets_at_temperature_two():
    terms = cr_ild(stage=2).weighted
    assert set(terms) == {"soft"}
    step = step_of(observation(sizes()), observation(sizes()))
    assert terms["soft"].weight == 1
    assert terms["soft"].term(step) == SoftTargets(2.0)(step)


def test_the_committed_recipe_runs_the_stages_in_their_order_and_keeps_the_last_student_of_the_first():
    first, second = committed_trainings("cr_ild")
    assert (first.method, second.method) == ({"use": "cr_ild", "stage": 1}, {"use": "cr_ild", "stage": 2})
    assert (first.settings.keep, second.settings.keep) == ("last", "best")


def test_a_linear_map_stands_on_the_students_side_even_between_equal_widths():
    method = bound(TinyText(), TinyText())
    assert [tuple(weight.shape) for weight in method.parameters()] == [(8, 8), (8,)]


def test_padding_does_not_change_the_loss():
    torch.manual_seed(0)
    student, teacher, batch = TinyText(), TinyText(width=6), text_batch(padded=2)
    more = torch.zeros(4, 3, dtype=torch.long)
    longer = batch | {key: torch.cat([batch[key], more], dim=1) for key in ("input_ids", "attention_mask")}
    method = bound(student, teacher)
    method.views[0].draw = lambda rows: (torch.full((rows,), 0.7), torch.arange(rows).flip(0))
    found = [run(method, student, teacher, each, at(2)) for each in (batch, longer)]
    torch.testing.assert_close(*found)


def test_the_consistency_needs_no_teacher_in_the_unmixed_view():
    method = bound(TinyText(), TinyText())
    term, view = method.weighted["consistency"].term, method.views[0]
    batch, student = text_batch(), TinyText()
    look = view(batch)
    seen = {"clean": (batch, look), "mix": (look.student, look)}
    pairs = {
        name: Pair(TinyTask().networks.observe(student, shown), None, look) for name, (shown, look) in seen.items()
    }
    assert term(Step(batch, pairs, at())).isfinite()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"w_max": -0.1}, "w_max must be"),
        ({"temperature": 0.0, "stage": 2}, "temperature"),
        ({"stage": 3}, "stage must be one of 1, 2, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        cr_ild(**arguments)


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        (
            1,
            {"of_teacher": sizes((6,) * 5, heads=())},
            "cr_ild compares self-attentions, and the teacher has none; use",
        ),
        (
            1,
            {"of_teacher": sizes((), heads=())},
            "cr_ild compares hidden states, and the teacher gives logits only; use",
        ),
        (1, {"shares_inputs": False}, "cr_ild compares positions one by one: .* use rail_kd, or hidden with"),
        (1, {"teacher": None, "teacher_sizes": None}, "cr_ild needs a teacher; name one"),
        (2, {"teacher": None, "teacher_sizes": None}, "cr_ild needs a teacher; name one"),
        (2, {"of_teacher": sizes(classes=5)}, "cr_ild compares logits: the student has 3 classes and the teacher 5"),
    ],
)
def test_networks_that_cannot_be_compared_are_refused(stage, changes, message):
    with pytest.raises(ValueError, match=message):
        cr_ild(stage).bind(networks(**changes))


def nothing_mixed(rows):
    return torch.ones(rows), torch.arange(rows).flip(0)


def last(seen):
    """Of a student whose states are compared as they are."""
    return Last(seen.attentions[-1], seen.hidden[-1], seen.mask)


def bound(student, teacher):
    method = cr_ild()
    method.bind(networks_of(student, teacher))
    return method
