"""What each method makes of pictures to restore: it learns from them, or is refused by name at once."""

import pytest
from contract import Case, all_cases, bound, outcome_of
from grounds import PICTURES
from on_folders import fitting, learns
from small_restoration import swin

LEARN = {"attention", "contrastive", "crd", "dcd", "dckd", "hidden", "logit", "rail_kd", "task_only"}
"""Methods that compare such answers, or what lies beneath them."""


@pytest.mark.parametrize("case", [*fitting(), *(one for one in all_cases() if one.method == "dckd")], ids=str)
def test_every_method_learns_from_pictures_or_is_refused_by_name(case: Case) -> None:
    refusal = ""
    try:
        distiller = bound(case, on=PICTURES)
    except ValueError as error:
        refusal = str(error)
    if not refusal:
        assert learns(distiller, PICTURES.batch(8))
        return
    assert case.method not in LEARN
    assert refusal.split(" ")[0].rstrip(":") == case.method


def test_outputs_are_compared_by_squared_error_over_all_pixels() -> None:
    distiller = bound(Case("logit", "", {}), on=PICTURES)
    batch = PICTURES.batch(3)
    found = outcome_of(distiller.eval(), batch).values["soft"]
    one, other = (distiller.task.networks.observe(net, batch).values for net in (distiller.student, distiller.teacher))
    assert found.item() == pytest.approx((one - other).square().mean().item(), rel=1e-5)


def test_feature_maps_are_compared_with_a_network_of_windows_position_by_position() -> None:
    case = Case("hidden", "", {"layers": [[1, 1], [2, 2]]})
    distiller = bound(case, on=PICTURES, teacher=swin(16, (2, 2), seed=2))
    assert distiller.method.terms["hidden"].layer_map == [(1, 1), (2, 2)]
    assert learns(distiller, PICTURES.batch(3))
