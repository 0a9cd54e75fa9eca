"""Where a smaller teacher's first weights come from, and what is said of what its control knows for that."""

from pathlib import Path
from typing import Any

import pytest
import torch
from recipes.small_run import recipe

from kd2deploy.core.watcher import Silent
from kd2deploy.errors import RecipeError
from kd2deploy.recipe import Recipe, Student
from kd2deploy.run import Run
from kd2deploy.stages.job import Job, Model
from kd2deploy.stages.plan import table
from kd2deploy.stages.prepare import begun
from kd2deploy.stages.student import Started, start
from kd2deploy.stages.teacher import teach
from kd2deploy.train.checkpoint import locate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("student")


def started(folder: Path, initialise: str) -> tuple[Job, Model, Started]:
    """A student of one block out of a teacher that is fine-tuned first, once for all."""
    given = recipe(folder, student={"shrink": {"layers": 1, "initialise": initialise}})
    job = begun(Recipe.parse(given), Run(folder / "run"), Silent())
    with job.run.locked():
        teacher = teach(job).origin
        return job, teacher, start(job, teacher, job.recipe.student)


def words(model: Model) -> torch.Tensor:
    table = model.task.networks.token_table(model.task.networks.load(model.folder))
    assert table is not None
    return table


@pytest.mark.parametrize("initialise", ["copy", "pretrained", "random"])
def test_weights_are_the_tuned_teachers_or_those_that_it_was_tuned_from_or_new(folder: Path, initialise: str) -> None:
    job, teacher, made = started(folder, initialise)
    assert job.recipe.teacher is not None
    assert job.recipe.teacher.source is not None
    source = locate(job.recipe.teacher.source)
    tuned, untuned = words(teacher), words(Model(source, "", job.task.at(source)))
    assert not torch.equal(tuned, untuned)
    own = words(made.model)
    assert (torch.equal(own, tuned), torch.equal(own, untuned)) == (initialise == "copy", initialise == "pretrained")
    assert sorted(file.name for file in made.model.folder.parent.iterdir()) == ["stage.json", "student"]
    said = " ".join(made.notes)
    assert ("the control has without being taught" in said) == (initialise == "copy")
    assert ("the network that the teacher was fine-tuned from" in said) == (initialise == "pretrained")


def test_a_plan_that_chose_static_embeddings_starts_them_as_a_recipe_that_names_them(folder: Path) -> None:
    job, teacher, _ = started(folder, "random")
    tried = table(16)
    with job.run.locked():
        made = start(job, teacher, Student.model_validate(tried.student.model_dump(mode="json", by_alias=True)))
    assert words(made.model).shape == (len(words(teacher)), 16)
    assert "the table of words starts from the teacher's" in " ".join(made.notes)
    assert tried.untrained.static is not None
    assert tried.untrained.static.source == "random"


def test_each_of_several_networks_starts_from_where_it_says(folder: Path) -> None:
    members = [{"shrink": {"layers": 1, "initialise": how}} for how in ("pretrained", "random")]
    given = recipe(folder, student={"members": members, "combine": "mean"})
    job = begun(Recipe.parse(given), Run(folder / "run"), Silent())
    with job.run.locked():
        made = start(job, teach(job).origin, job.recipe.student)
    source = locate(given["teacher"]["from"])
    untuned = words(Model(source, "", job.task.at(source)))
    net: Any = made.model.task.networks.load(made.model.folder)
    same = [torch.equal(member.get_input_embeddings().weight, untuned) for member in net.members]
    assert same == [True, False]
    assert "the network that the teacher was fine-tuned from" in " ".join(made.notes)


def test_a_teacher_that_came_tuned_hides_what_it_was_tuned_from(tmp_path: Path) -> None:
    given: dict[str, Any] = recipe(tmp_path, student={"plan": {"initialise": "pretrained"}})
    given["teacher"] = {"from": given["teacher"]["from"]}
    with pytest.raises(RecipeError, match=r"student\.plan\.initialise: .*fine_tune.*copy or random"):
        Recipe.parse(given)
