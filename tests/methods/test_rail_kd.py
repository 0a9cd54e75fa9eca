from collections import Counter

import pytest
import torch
import torch.distributed as dist
from tiny_networks import (
    TinyText,
    at,
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

from kd2deploy.methods.logit import logit
from kd2deploy.methods.rail_kd import RandomLayers, drawn_layers, projected_distance, rail_kd
from kd2deploy.stages.distill import maps_of

TEACHER = (6, 6, 6, 6, 6)


@pytest.mark.parametrize("case", parity("rail_kd"))
def test_parity_with_an_independent_computation(case):
    of_student, of_teacher = linear(case["of_student"]), linear(case["of_teacher"])
    found = projected_distance(case["student"].float(), case["teacher"].float(), of_student, of_teacher)
    assert found.item() == pytest.approx(case["expected"], abs=1e-6)


def test_by_hand_opposite_vectors_are_four_apart():
    one = torch.tensor([[3.0, 0.0]])
    same = torch.nn.Identity()
    assert projected_distance(one, -one, same, same).item() == pytest.approx(4.0)
    assert projected_distance(one, torch.tensor([[0.0, 7.0]]), same, same).item() == pytest.approx(2.0)


def test_the_draw_is_distinct_sorted_in_range_and_reproducible():
    for epoch in range(50):
        drawn = drawn_layers(12, 6, 7, epoch)
        assert drawn == sorted(set(drawn))
        assert len(drawn) == 6
        assert set(drawn) <= set(range(1, 13))
        assert drawn == drawn_layers(12, 6, 7, epoch)


def test_every_teacher_layer_is_drawn_as_often_as_the_others():
    epochs = 2000
    counts = Counter(block for epoch in range(epochs) for block in drawn_layers(12, 6, 0, epoch))
    assert all(abs(counts[block] / epochs - 0.5) < 0.05 for block in range(1, 13))


def test_the_draw_is_constant_within_an_epoch_and_changes_between_epochs():
    term = bound(teacher=sizes((6,) * 25))
    within, between = set(), set()
    for epoch in range(5):
        for part in (0.0, 0.3, 0.99):
            term.tick(at(epoch + part))
            within.add((epoch, tuple(term.drawn)))
            between.add(tuple(term.drawn))
    assert len(within) == 5
    assert len(between) > 1


def test_the_draw_does_not_depend_on_random_numbers_used_meanwhile():
    one, other = bound(), bound()
    torch.rand(17)
    one.tick(at(2.0))
    torch.rand(5)
    other.tick(at(2.0))
    assert one.drawn == other.drawn


def test_a_resumed_run_draws_what_the_interrupted_one_would_have():
    first, resumed = bound(teacher=sizes((6,) * 25)), bound(seed=99, teacher=sizes((6,) * 25))
    resumed.load_state_dict(first.state_dict())
    for term in (first, resumed):
        term.tick(at(4.5))
    assert first.drawn == resumed.drawn


def test_a_draw_is_no_map_of_layers_that_a_report_could_show():
    method = rail_kd()
    method.bind(networks(of_teacher=sizes(TEACHER)))
    method.tick(at(2.0))
    assert maps_of(method) == {}


@pytest.mark.recipe
def test_all_ranks_draw_the_same_layers(tmp_path):
    torch.multiprocessing.spawn(on_rank, (tmp_path,), nprocs=2)
    own, drawn = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True)
    assert own[0] != own[1]
    assert drawn[0] == drawn[1] == own[0]


def on_rank(rank, folder):
    """What a rank draws by its own seed, and what it draws once it trains with the others."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    term = bound(seed=rank, teacher=sizes((6,) * 25))
    own = draws(term)
    torch.nn.parallel.DistributedDataParallel(term)
    torch.save((own, draws(term)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def draws(term):
    found = []
    for epoch in range(1, 6):
        term.tick(at(epoch))
        found.append(term.drawn)
    return found


@pytest.mark.parametrize("variant", ["layer", "concatenated"])
def test_only_the_drawn_layers_enter(variant):
    term = bound(variant=variant)
    student, teacher = observation(sizes()), observation(sizes(TEACHER))
    drawn = {other for _, other in term.drawn}
    before = term(step_of(student, teacher))
    for layer in {0, 1, 2, 3, 4} - drawn:
        teacher.hidden[layer].normal_()
    assert term(step_of(student, teacher)) == before
    teacher.hidden[min(drawn)].normal_()
    assert term(step_of(student, teacher)) != before


@pytest.mark.parametrize("variant", ["layer", "concatenated"])
def test_the_scale_of_hidden_states_does_not_matter_and_the_loss_lies_in_0_to_4(variant):
    term = bound(variant=variant)
    student, teacher = observation(sizes()), observation(sizes(TEACHER))
    before = term(step_of(student, teacher)).item()
    assert 0 <= before <= 4
    for state in (*student.hidden, *teacher.hidden):
        state.mul_(7.0)
    assert term(step_of(student, teacher)).item() == pytest.approx(before, abs=1e-6)


def test_each_variant_has_its_maps():
    layer, concatenated = bound(variant="layer"), bound(variant="concatenated")
    assert [(head.in_features, head.out_features) for head in layer.of_student] == [(8, 16)] * 2
    assert [(head.in_features, head.out_features) for head in layer.of_teacher] == [(6, 16)] * 2
    assert [(head.in_features, head.out_features) for head in concatenated.of_student] == [(16, 16)]
    assert [(head.in_features, head.out_features) for head in concatenated.of_teacher] == [(12, 16)]
    assert all(head.bias is None for head in (*layer.of_student, *concatenated.of_teacher))


@pytest.mark.parametrize("variant", ["layer", "concatenated"])
def test_every_map_is_trained_in_every_step(variant):
    term = bound(variant=variant)
    term(step_of(observation(sizes()), observation(sizes(TEACHER)))).backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in term.parameters())


def test_padding_does_not_change_the_loss_and_lengths_may_differ():
    term = bound()
    mine = torch.tensor([[True] * 3 + [False] * 2] * 4)
    longer = sizes(TEACHER, positions=9)
    student, teacher = observation(sizes(), mask=mine), observation(longer, mask=torch.arange(9).expand(4, 9) < 6)
    before = term(step_of(student, teacher))
    for state, kept in ((student, 3), (teacher, 6)):
        for hidden in state.hidden:
            hidden[:, kept:] = 1e3
    assert term(step_of(student, teacher)) == before


def test_weight_zero_is_logit_distillation_batch_for_batch():
    student, teacher = TinyText(), TinyText(width=6, blocks=4)
    method = rail_kd(task=0.6, soft=0.4, rail=0.0, temperature=2.0)
    method.bind(networks_of(student, teacher))
    plain = logit(temperature=2.0, alpha=0.4)
    for epoch in range(3):
        batch = text_batch(padded=1)
        found = run(method, student, teacher, batch, at(epoch))
        torch.testing.assert_close(found, run(plain, student, teacher, batch), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": 0.5}, "task, soft, rail must sum to 1"),
        ({"task": 1.2, "soft": -0.2, "rail": 0.0}, "task must lie in 0..1, got 1.2"),
        ({"dim": 0}, "dim must be positive"),
        ({"variant": "both"}, "variant must be one of 'layer', 'concatenated', got 'both'"),
        ({"temperature": -1.0}, "temperature must be positive"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        rail_kd(**arguments)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (sizes((8,) * 4), sizes((6,) * 3), "draws as many teacher blocks as the student has"),
        (sizes(), sizes((6, 6, 12, 24)), "teacher blocks of one width"),
        (sizes(), sizes((), heads=()), "the teacher gives logits only"),
    ],
)
def test_networks_that_cannot_be_paired_are_refused(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        rail_kd().bind(networks(student, teacher))


def bound(variant="layer", seed=0, teacher=None):
    torch.manual_seed(seed)
    term = RandomLayers(variant, dim=16)
    term.bind(networks(of_teacher=teacher or sizes(TEACHER)))
    term.tick(at())
    return term


def linear(weight):
    made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    made.weight.data = weight.float()
    return made
