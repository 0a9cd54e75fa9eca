"""Several processes for each training, said in a recipe or typed: every training has as many, or it says why not."""

from pathlib import Path
from typing import Any

import pytest
from recipes.small_run import recipe

from kd2deploy.errors import RecipeError
from kd2deploy.recipe import Recipe

SHARED = {"epochs": 1, "processes": 2}


def faults(folder: Path, **changes: Any) -> dict[str, str]:
    with pytest.raises(RecipeError) as found:
        Recipe.parse(recipe(folder, **changes))
    return {fault.path: fault.message for fault in found.value.faults}


def test_every_training_of_a_recipe_is_shared_by_as_many_as_are_typed(tmp_path: Path) -> None:
    plain = Recipe.parse(recipe(tmp_path))
    assert plain.processes == 1
    assert plain.shared_by(None) is plain
    shared = plain.shared_by(2)
    assert shared.processes == shared.distill[0].settings.processes == 2
    assert shared.teacher is not None
    assert shared.teacher.fine_tune is not None
    assert shared.teacher.fine_tune.processes == 2
    assert Recipe.parse(shared.spec()) == shared


def test_a_recipe_that_trains_nothing_cannot_be_shared(tmp_path: Path) -> None:
    place = str(tmp_path / "encoder")
    found = Recipe.parse(recipe(tmp_path, teacher={"from": place}, student={"from": place}, distill=[]))
    with pytest.raises(RecipeError, match="this recipe trains nothing"):
        found.shared_by(2)


def test_methods_for_one_process_are_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as found:
        Recipe.parse(recipe(tmp_path, distill=[{"method": ["logit", "mate_kd", "lmcl"], **SHARED}]))
    assert {fault.path for fault in found.value.faults} == {"distill[0].processes"}
    assert {fault.message.split(":")[0] for fault in found.value.faults} == {
        "is 2, and mate_kd is for one process alone",
        "is 2, and lmcl is for one process alone",
    }
    assert all("it has an optimizer of its own" in fault.message for fault in found.value.faults)


def test_all_trainings_of_a_student_have_as_many(tmp_path: Path) -> None:
    entries = [{"method": "logit", "epochs": 1}, {"method": "logit", **SHARED}]
    assert "is 2, and 1 in distill[0]" in faults(tmp_path, distill=entries)["distill[1].processes"]


@pytest.mark.parametrize("processes", [0, -2, 1.5, "many", 100_000])
def test_a_number_of_processes_is_a_number(tmp_path: Path, processes: Any) -> None:
    assert faults(tmp_path, distill=[{"method": "logit", "epochs": 1, "processes": processes}])
