"""FGD: the masks of boxes, the attentions, the four distances and their sum over levels."""

import pytest
import torch
from small_objects import distilled, grid, object_batch, outcome
from tiny_networks import parity

from kd2deploy.core import Regions
from kd2deploy.methods._feature_maps import squared_sum
from kd2deploy.methods.fgd import (
    GlobalContext,
    attention_distance,
    attentions,
    fgd,
    focal_distance,
    scale_masks,
)


def regions(*rows, classes=None):
    boxes = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), -1, 4)
    classes = torch.zeros(boxes.shape[:2], dtype=torch.int64) if classes is None else torch.tensor(classes)
    return Regions(boxes, classes, torch.zeros(boxes.shape[:2]))


def context(case, who):
    """The block with a case's parameters."""
    block = GlobalContext(4).double()
    looks = case[f"{who}_looks"]
    named = {
        "looks.weight": looks[:-1].reshape(1, 4, 1, 1),
        "looks.bias": looks[-1:],
        "adds.0.weight": case[f"{who}_first"][..., None, None],
        "adds.0.bias": case[f"{who}_first_bias"],
        "adds.1.weight": case[f"{who}_scale"][:, None, None],
        "adds.1.bias": case[f"{who}_shift"][:, None, None],
        "adds.3.weight": case[f"{who}_last"][..., None, None],
        "adds.3.bias": case[f"{who}_last_bias"],
    }
    block.load_state_dict(named)
    return block(case[who])


@pytest.mark.parametrize("case", parity("fgd"))
def test_the_four_distances_agree_with_an_independent_computation(case):
    student, teacher, temperature = case["student"], case["teacher"], case["temperature"]
    masks = scale_masks(Regions(case["boxes"], case["classes"], case["boxes"][..., 0]), 3, 4)
    for name, mask in zip(("foreground", "background"), masks, strict=True):
        found = focal_distance(student, teacher, mask, temperature)
        assert found.item() == pytest.approx(case[name], rel=1e-9)
    assert attention_distance(student, teacher, temperature).item() == pytest.approx(case["attention"], rel=1e-9)
    found = squared_sum(context(case, "student"), context(case, "teacher"))
    assert found.item() == pytest.approx(case["context"], rel=1e-9)


def test_each_box_weighs_one_over_its_places_the_smaller_one_where_two_overlap_and_the_background_sums_to_one():
    # on 8 x 8: a box of places 2..4 both ways, both ends included, and one of places 4..8, whose last is outside
    inside, outside = scale_masks(regions([[0.25, 0.25, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]), 8, 8)
    assert inside[0, 2, 2].item() == pytest.approx(1 / 9)
    assert inside[0, 5, 5].item() == pytest.approx(1 / 25)
    assert inside[0, 4, 4].item() == pytest.approx(1 / 9)
    assert inside[0, 0, 0] == inside[0, 2, 5] == 0
    assert outside.sum().item() == pytest.approx(1)
    assert not (outside * inside).any()


def test_a_row_without_a_box_is_all_background_and_one_filled_by_a_box_has_none():
    inside, outside = scale_masks(regions([[0.0, 0, 1, 1]], [[0.0, 0, 1, 1]], classes=[[-1], [2]]), 4, 4)
    assert not inside[0].any()
    assert torch.equal(outside[0], torch.full((4, 4), 1 / 16, dtype=torch.float64))
    assert inside[1].all()
    assert not outside[1].any()


def test_attentions_are_of_mean_one_and_sharper_at_a_lower_temperature():
    torch.manual_seed(0)
    features = torch.randn(2, 5, 3, 4)
    places, channels = attentions(features, 0.5)
    torch.testing.assert_close(places.mean((1, 2)), torch.ones(2))
    torch.testing.assert_close(channels.mean(1), torch.ones(2))
    assert (attentions(features, 0.1)[0].amax((1, 2)) > places.amax((1, 2))).all()
    strongest = features.abs().mean(1).flatten(1).argmax(1)
    assert torch.equal(places.flatten(1).argmax(1), strongest)


def test_the_context_adds_nothing_at_first_and_what_it_adds_is_one_vector_for_the_whole_map():
    torch.manual_seed(0)
    block, features = GlobalContext(6), torch.randn(2, 6, 3, 3)
    assert torch.equal(block(features), features)
    torch.nn.init.normal_(block.adds[-1].weight)
    added = block(features) - features
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added))
    assert added.abs().max() > 0.1


def test_the_weights_scale_the_parts_and_the_levels_are_summed():
    names = ("foreground", "background", "attention", "context")
    alone = {
        name: outcome(distilled(fgd(**dict.fromkeys(names, 0.0) | {name: 1.0}))).values["features"] for name in names
    }
    assert all(value > 0 for value in alone.values())
    whole = outcome(distilled(fgd(1e-3, 5e-4, 2e-4, 5e-6))).values["features"]
    expected = sum(weight * alone[name] for name, weight in zip(names, (1e-3, 5e-4, 2e-4, 5e-6), strict=True))
    torch.testing.assert_close(whole, expected)


def test_it_is_nothing_where_the_student_is_the_teacher_and_its_context_learns_beside_it():
    one = distilled(fgd(), grid(8, seed=3), grid(8, seed=3))
    assert outcome(one).values["features"] == 0
    other = distilled(fgd())
    found = outcome(other)
    found.loss.backward()
    learnt = [name for name, weight in other.method.named_parameters() if weight.grad is not None and weight.grad.any()]
    assert any("contexts.0" in name for name in learnt)
    assert any("contexts.1" in name for name in learnt)
    assert any("alignment" in name for name in learnt)
    assert all(weight.grad is None for weight in other.teacher.parameters())


def test_maps_of_another_size_are_interpolated_to_the_teachers():
    batch = object_batch()
    larger = batch | {"teacher.pixel_values": torch.nn.functional.interpolate(batch["pixel_values"], scale_factor=2)}
    found = outcome(distilled(fgd(), shares_inputs=False), larger)
    assert found.values["features"].isfinite()
    assert found.values["features"] > 0
