"""MGD: the mask, what is generated of the rest, and its distance to the teacher's maps."""

import pytest
import torch
from small_objects import distilled, outcome
from tiny_networks import parity

from kd2deploy.methods.mgd import generated_distance, generation, kept_places, mgd


@pytest.mark.parametrize("case", parity("mgd"))
def test_the_distance_agrees_with_an_independent_computation(case):
    made = generation(3).double()
    made.load_state_dict(
        {f"{layer}.{kind}": case[f"{kind}_{one}"] for layer, one in ((0, 1), (2, 2)) for kind in ("weight", "bias")}
    )
    found = generated_distance(case["student"], case["teacher"], case["kept"], made)
    assert found.item() == pytest.approx(case["distance"], rel=1e-9)


def test_a_place_is_masked_with_the_ratios_probability_in_all_channels_alike():
    torch.manual_seed(0)
    kept = kept_places(torch.zeros(40, 7, 32, 32), 0.65)
    assert kept.shape == (40, 1, 32, 32)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert kept.mean().item() == pytest.approx(0.35, abs=0.01)
    assert kept_places(torch.zeros(2, 3, 8, 8), 0.0).all()
    assert (kept_places(torch.zeros(2, 3, 8, 8), 1.0) == 0).all()


def test_masks_are_drawn_anew_for_every_batch():
    one = distilled(mgd())
    assert outcome(one, seed=1).values["features"] != outcome(one, seed=2).values["features"]
    assert outcome(one, seed=1).values["features"] == outcome(one, seed=1).values["features"]


def test_with_no_place_masked_nothing_is_drawn():
    one = distilled(mgd(ratio=0.0))
    assert outcome(one, seed=1).values["features"] == outcome(one, seed=2).values["features"]


def test_alpha_weighs_the_distance_and_generation_learns_beside_the_student():
    one = distilled(mgd(alpha=2e-5))
    found = outcome(one)
    assert found.weights == {"task": 1.0, "features": 2e-5}
    found.loss.backward()
    assert all(weight.grad is not None for weight in one.method.parameters())
    assert all(weight.grad is None for weight in one.teacher.parameters())
