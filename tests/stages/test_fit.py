"""Misfits of networks and methods: refused before anything is trained, all at once, with their place in the recipe."""

from pathlib import Path
from typing import Any

import pytest
import torch
from recipes.small_run import recipe
from tiny_models import WORDS, save_encoder, save_tokenizer

from kd2deploy.core.watcher import Silent
from kd2deploy.errors import RecipeError
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe
from kd2deploy.run import Run
from kd2deploy.stages.fit import refuse_unfit
from kd2deploy.stages.prepare import begun


def trainings(*methods: Any) -> list[dict[str, Any]]:
    return [{"method": method, "epochs": 1, "batch": 16} for method in methods]


def refused(folder: Path, **changes: Any) -> dict[str, str]:
    """The faults by path, once it is seen that no stage was begun and nothing is left behind."""
    with pytest.raises(RecipeError) as found:
        compress(Recipe.parse(recipe(folder, **changes)), folder / "run", until="distill")
    assert list((folder / "run" / "stages").iterdir()) == []
    assert not (folder / "run" / ".fit").exists()
    return {fault.path: fault.message for fault in found.value.faults}


def test_a_misfit_of_a_later_training_surfaces_before_the_teacher_is_tuned(tmp_path: Path) -> None:
    deep = {"use": "hidden", "layers": [[1, 9]]}
    faults = refused(
        tmp_path,
        distill=trainings("logit", deep, ["logit", {**deep, "weight": 0.5}, "logit_standardization"]),
        teacher_cache="on",
    )
    assert sorted(faults) == ["distill[1].method", "distill[2].method[1]", "distill[2].method[2]", "teacher_cache"]
    assert "the teacher has layers 0 (embedding) to 4, got 9" in faults["distill[1].method"]
    assert "needs 3 classes or more" in faults["distill[2].method[2]"]


def test_the_teachers_answers_are_not_kept_where_rows_are_augmented(tmp_path: Path) -> None:
    spec = Recipe.read(Path(__file__).parents[2] / "kd2deploy" / "recipes" / "digits.yaml").spec()
    spec["teacher_cache"] = "on"
    spec["distill"][0]["augment"] = {"padded_crop": 1}
    with pytest.raises(RecipeError, match=r"teacher_cache: cannot be on for distill\[0\]: rows are augmented"):
        compress(Recipe.parse(spec), tmp_path / "run", until="distill")


def test_settings_that_a_method_cannot_run_under_are_among_them(tmp_path: Path) -> None:
    entry = {**trainings("mate_kd")[0], "precision": "fp16"}
    assert "has an optimizer of its own" in refused(tmp_path, distill=[entry])["distill[0].method"]


def test_a_teacher_in_shards_answers_nothing_beforehand(tmp_path: Path) -> None:
    entry = {**trainings("logit")[0], "processes": 2, "shard_teacher": True}
    faults = refused(tmp_path, distill=[entry], teacher_cache="on")
    assert "a teacher in shards (shard_teacher) answers a batch of all processes at a time" in faults["teacher_cache"]


def test_one_process_has_no_teacher_in_shards_and_its_answers_may_be_kept(tmp_path: Path) -> None:
    entry = {**trainings("logit")[0], "shard_teacher": True}
    found = Recipe.parse(recipe(tmp_path, distill=[entry], teacher_cache="on"))
    with Run(tmp_path / "run").locked() as run:
        refuse_unfit(begun(found, run, Silent()), found.student)


def test_two_vocabularies_are_refused_where_one_is_needed(tmp_path: Path) -> None:
    other = save_encoder(tmp_path / "other", layers=1)
    save_tokenizer(other, words=WORDS[::-1])
    faults = refused(tmp_path, student={"from": str(other)}, distill=trainings("logit", "mate_kd"))
    assert list(faults) == ["distill[1].method"]


def test_a_finished_teacher_with_its_classes_in_another_order_is_refused(tmp_path: Path) -> None:
    teacher = save_encoder(tmp_path / "teacher", labels=["pos", "neg"], layers=2)
    faults = refused(tmp_path, teacher={"from": str(teacher)})
    assert "write `labels: [pos, neg]`" in faults["task.labels"]


def test_what_fits_passes_without_training_a_generator_or_drawing_random_numbers(tmp_path: Path) -> None:
    found = Recipe.parse(recipe(tmp_path, distill=trainings("mate_kd", ["logit", "rail_kd"]), limit_labels=60))
    with Run(tmp_path / "run").locked() as run:
        job = begun(found, run, Silent())
        before = torch.get_rng_state()
        refuse_unfit(job, found.student)
    assert torch.equal(torch.get_rng_state(), before)
    assert [one.name for one in (tmp_path / "run").iterdir() if one.name != ".lock"] == ["stages"]
