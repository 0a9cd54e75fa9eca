"""Recipes: strict, all faults at once, each with its path and a suggestion."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kd2deploy.core import Progress
from kd2deploy.errors import RecipeError
from kd2deploy.flags import recipe_from, written_recipe
from kd2deploy.recipe import Recipe, build_method, weight_of

RECIPES = sorted((Path(__file__).parent.parent / "kd2deploy" / "recipes").glob("*.yaml"))


def sound() -> dict[str, Any]:
    return {
        "task": "text_classification",
        "data": {"use": "files", "train": "a.csv", "eval": "b.csv", "text": "sentence", "label": "label"},
        "teacher": {"from": "teacher"},
        "student": {"shrink": {"layers": 2}},
        "distill": [{"method": {"use": "logit", "temperature": 2.0}, "epochs": 1, "learning_rate": 1e-3}],
        "gates": {"max_drop": 0.01, "min_speedup": 4.0},
    }


def faults(found: Any) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(found)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_a_sound_recipe_is_read_back_as_it_was_written() -> None:
    recipe = Recipe.parse(sound())
    assert Recipe.parse(recipe.spec()) == recipe
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml())) == recipe
    assert recipe.distill[0].settings.learning_rate == 1e-3


def test_a_number_that_yaml_reads_as_text_is_a_number() -> None:
    found = sound()
    found["distill"][0]["learning_rate"] = "5e-5"  # YAML 1.1 takes 5e-5 for a string
    assert Recipe.parse(found).distill[0].settings.learning_rate == 5e-5


def test_all_faults_are_told_at_once_with_path_and_suggestion() -> None:
    found = sound()
    found["gate"] = {}
    found["gates"] = {"max_dropp": 1}
    found["distill"][0]["epoch"] = 3
    found["distill"][0]["method"] = {"use": "logit", "temperatur": 2.0}
    found["data"]["use"] = "file"
    told = faults(found)
    assert "did you mean 'gates'" in told["gate"]
    assert "did you mean 'max_drop'" in told["gates.max_dropp"]
    assert "did you mean 'epochs'" in told["distill[0].epoch"]
    assert told["distill[0].method.temperatur"] == "logit takes temperature, alpha; did you mean 'temperature'?"
    assert "did you mean 'files'" in told["data.use"]


@pytest.mark.parametrize(
    ("path", "value", "where", "word"),
    [
        (("teacher",), {}, "teacher", "exactly one"),
        (("student",), {"shrink": {"layers": 1}, "plan": {}}, "student", "exactly one"),
        (("student",), {"shrink": {"layers": 0}}, "student.shrink.layers", "greater than or equal to 1"),
        (("distill",), [], "distill", "at least 1"),
        (("seeds",), [1, 1], "seeds", "distinct"),
        (("distill", 0, "method"), {"use": "logit", "temperature": -1}, "distill[0].method", "positive"),
        (("distill", 0, "method"), {"use": "logits"}, "distill[0].method.use", "did you mean 'logit'"),
        (("distill", 0, "method"), {"use": "logit", "temperature": "hot"}, "distill[0].method.temperature", "number"),
        (("distill", 0, "learning_rate"), -1, "distill[0]", "learning_rate must be positive"),
        (("task",), {"use": "text_clasification"}, "task.use", "did you mean 'text_classification'"),
        (("validation_share",), 1.5, "validation_share", "less than 1"),
    ],
)
def test_a_fault_is_named_where_it_stands(path: tuple[Any, ...], value: Any, where: str, word: str) -> None:
    found = sound()
    place: Any = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    told = faults(found)
    at = next((key for key in told if key.startswith(where)), None)
    assert at is not None, told
    assert word in told[at]


def test_what_is_missing_is_named() -> None:
    assert {path for path, message in faults({}).items() if message == "is missing"} >= {"task", "data", "teacher"}


@pytest.mark.parametrize("found", [None, 3, "recipe", [], [1, 2]])
def test_what_is_no_mapping_is_refused(found: Any) -> None:
    assert "mapping" in faults(found)[""]


def test_yaml_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("task: [unclosed")
    with pytest.raises(RecipeError, match="not valid YAML"):
        Recipe.read(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.read(file)
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.read(tmp_path / "none.yaml")


def test_several_methods_add_up_with_weights_and_schedules() -> None:
    method = build_method([{"use": "logit", "weight": 0.5}, {"use": "task_only", "weight": {"start": 1, "end": 0}}])
    start, end = Progress(0, 10, 0.0, 1.0), Progress(10, 10, 1.0, 1.0)
    weights = {name: (part.at(start), part.at(end)) for name, part in method.weighted.items()}
    assert weights["logit_soft"] == (0.25, 0.25)
    assert weights["task_only_task"] == (1.0, 0.0)


@pytest.mark.parametrize("given", [-1, "x", {"start": 0}, {"start": 0, "end": 1, "until": 0}, float("inf"), True, None])
def test_a_weight_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        weight_of(given)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_committed_recipes_are_sound(file: Path) -> None:
    recipe = Recipe.read(file)
    assert recipe.resolved_targets()


def test_unknown_targets_and_variants_are_named() -> None:
    recipe = Recipe.parse({**sound(), "targets": ["cpo"]})
    with pytest.raises(RecipeError, match="did you mean 'cpu'"):
        recipe.resolved_targets()
    recipe = Recipe.parse({**sound(), "variants": ["onx"]})
    with pytest.raises(RecipeError, match="variants: cpu has no variant 'onx'"):
        recipe.resolved_targets()


def test_the_recipes_gates_stand_over_the_targets() -> None:
    target = Recipe.parse(sound()).resolved_targets()["cpu"]
    assert target.gates.max_drop == 0.01
    assert target.gates.min_speedup == 4.0


def test_flags_and_init_make_the_same_kind_of_recipe(tmp_path: Path) -> None:
    data = tmp_path / "train.csv"
    data.write_text("sentence,label\ngood,1\n")
    flags = {
        "teacher": "dir",
        "train": str(data),
        "eval": str(data),
        "task": "text_classification",
        "columns": {"text": None, "text_pair": None, "label": None},
        "targets": None,
        "gates": {"min_speedup": 4.0, "max_drop": 0.01, "p99_ms": None},
        "method": "logit",
        "epochs": 2.0,
        "seeds": None,
    }
    recipe, name = recipe_from(None, flags)
    assert name == "train"
    assert recipe.student.plan is not None
    written = Recipe.parse(yaml.safe_load(written_recipe("dir", str(data), str(data))))
    assert written.data == recipe.data
    with pytest.raises(RecipeError, match="--teacher"):
        recipe_from(None, {**flags, "teacher": None})


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_mutation_is_sound_or_refused_with_paths(data: st.DataObject) -> None:
    """One to three places of a sound recipe replaced, removed or renamed: a RecipeError or a recipe, never a crash."""
    found = sound()
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = found
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
                place = inner
                continue
            action = data.draw(st.sampled_from(["replace", "remove", "rename"]))
            if action == "replace":
                place[key] = data.draw(json_like)
            elif action == "remove":
                del place[key]
            elif isinstance(place, dict):
                place[data.draw(st.text(max_size=8))] = place.pop(key)
            break
    told = told_faults(found)
    assert told is None or all(told)


def told_faults(found: Any) -> list[str] | None:
    """The faults' messages; None for a recipe that is sound, after a round trip."""
    try:
        recipe = Recipe.parse(found)
    except RecipeError as error:
        return [fault.message for fault in error.faults] or [""]
    assert Recipe.parse(recipe.spec()) == recipe
    return None
