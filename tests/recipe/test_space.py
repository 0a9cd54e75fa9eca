"""The space of a search: what every method says of itself holds, and what a recipe says is checked."""

from typing import Any

import pytest

from kd2deploy.core.search import Between, OneOf
from kd2deploy.errors import RecipeError
from kd2deploy.recipe import Distill, Recipe, Tune
from kd2deploy.recipe.methods import build_method
from kd2deploy.recipe.resolve import known
from kd2deploy.recipe.schema import setting_faults
from kd2deploy.recipe.space import METHOD, Space, settings_space, space_of
from kd2deploy.train.settings import Settings, changed

NEEDED: dict[str, dict[str, Any]] = {"combined_kd": {"phase": 1}}
"""Arguments without a default."""


def space(method: Any = "logit", settings: Settings | None = None, **tune: Any) -> Space:
    return space_of(Distill(method=method, settings=settings or Settings()), Tune(steps=100, **tune))


def faults(method: Any = "logit", **tune: Any) -> list[str]:
    with pytest.raises(RecipeError) as refused:
        space(method, **tune)
    return [f"{fault.path} {fault.message}" for fault in refused.value.faults]


@pytest.mark.parametrize("method", known("method"))
def test_what_a_method_says_may_be_tried_it_takes(method: str) -> None:
    """`space_of` builds the method with both ends of each range; here with all of them at once."""
    found = space({"use": method, **NEEDED.get(method, {})})
    assert [knob.name for knob in found.settings] == ["epochs", "learning_rate"]
    for end in ("low", "high"):
        tried = {
            knob.name: knob.range.choices[0] if isinstance(knob.range, OneOf) else getattr(knob.range, end)
            for knob in found.choices[0].knobs
        }
        assert build_method(found.training(tried).method).terms


def test_the_recipes_own_values_lie_in_the_space_and_make_its_own_training() -> None:
    found = space({"use": "hidden", "beta": 0.2}, Settings(steps=100))
    assert found.own["hidden.beta"] == 0.2
    assert found.own["steps"] == 100
    assert "epochs" not in found.names
    whole = found.training(found.own)
    assert whole.settings == Settings(steps=100)
    assert whole.method == {
        "use": "hidden",
        "beta": 0.2,
        **{name: found.own[f"hidden.{name}"] for name in ("layers", "alpha", "temperature")},
    }


def test_of_several_methods_the_recipes_own_is_the_one_that_it_names_wherever_it_stands() -> None:
    found = space(methods=["dist", {"use": "logit"}])
    assert found.own[METHOD] == "logit"
    assert "logit.temperature" in found.own
    assert "dist.temperature" not in found.own
    other = space(methods=["dist", {"use": "logit", "temperature": 2.0}]).own
    assert METHOD not in other, "the recipe's logit is not among them"
    assert "learning_rate" in other


def test_weights_of_a_whole_keep_their_sum() -> None:
    found = space("rail_kd").training({"rail_kd.task": 1.0}).method
    assert isinstance(found, dict)
    assert sum(found[name] for name in ("task", "soft", "rail")) == pytest.approx(1)
    assert found["task"] / found["soft"] == pytest.approx(3)


def test_each_method_has_arguments_of_its_own() -> None:
    found = space(methods=["logit", ["dist", {"use": "hidden", "weight": 0.1}], {"use": "dist", "beta": 1.0}])
    assert [one.name for one in found.choices] == ["logit", "dist + hidden", "dist"]
    assert found.own[METHOD] == "logit"
    assert "hidden.weight" in found.names
    assert "dist: dist.beta" in found.names
    assert "dist.weight" not in found.names, "one that is not written is no weight to search"
    chosen = found.training({METHOD: "dist + hidden", "hidden.weight": 0.3, "logit.temperature": 2.0})
    assert chosen.method == ["dist", {"use": "hidden", "weight": 0.3}]


def test_a_recipe_says_otherwise() -> None:
    found = space(
        search={
            "learning_rate": {"low": 1e-4, "high": 1e-3, "log": True},
            "epochs": None,
            "batch": [16, 32],
            "logit.temperature": {"times": 2},
            "logit.alpha": None,
        }
    )
    ranges = {knob.name: knob.range for knob in (*found.settings, *found.choices[0].knobs)}
    assert ranges == {
        "learning_rate": Between(1e-4, 1e-3, log=True),
        "batch": OneOf((16, 32)),
        "logit.temperature": Between(0.5, 2.0, log=True),
    }
    assert "learning_rate" not in found.own, "the recipe's own value lies outside"
    assert found.training({"batch": 16}).settings.batch == 16


def test_epochs_in_place_of_steps() -> None:
    found = space(settings=Settings(steps=100), search={"epochs": [2.0, 4.0]})
    settings = found.training({"epochs": 4.0}).settings
    assert (settings.steps, settings.epochs) == (None, 4.0)


def test_the_control_has_the_settings_alone() -> None:
    tune = Tune(steps=100, methods=["dist"], search={"dist.beta": [1.0], "batch": [8, 16]})
    found = settings_space(Distill(method="task_only", settings=Settings()), tune)
    assert found.names == ["epochs", "learning_rate", "batch"]


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"lerning_rate": [1.0]}, "did you mean 'learning_rate'?"),
        ({"dist.beta": [1.0]}, "no argument of what is tried"),
        ({"learning_rate": {"low": "1e-4", "high": 1.0}}, "1e-4 is written 1.0e-4"),
        ({"learning_rate": {"low": 1.0, "high": 0.1}}, "must be below"),
        ({"learning_rate": 0.1}, "is a list of values"),
        ({"batch": ["x", 3]}, "valid integer"),
        ({"warmup": {"low": 0.0, "high": 3.0}}, "below 1"),
        ({"logit.alpha": [0.5, 2.0]}, "alpha must lie in 0..1"),
        ({"logit.temperature": [0.0, 1.0]}, "temperature must be positive"),
        ({"epochs": [1.0], "steps": [3]}, "leave one out"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(search: dict[str, Any], said: str) -> None:
    (found,) = faults(search=search)
    assert found.startswith("tune.search")
    assert said in found


def test_a_section_with_two_budgets_or_an_unknown_method_is_refused() -> None:
    whole = {"task": "text_classification", "data": "reuters", "teacher": {"from": "x"}, "student": {"from": "x"}}
    whole |= {"distill": [{"method": "logit"}]}
    for tune, said in (
        ({"steps": 5, "minutes": 1}, "two budgets"),
        ({"steps": 5, "methods": ["lojit"]}, "did you mean 'logit'"),
        ({"stepps": 5}, "did you mean 'steps'"),
    ):
        with pytest.raises(RecipeError, match=said):
            Recipe.parse({**whole, "tune": tune})
    with pytest.raises(RecipeError, match=r"os\.path"):
        Recipe.parse({**whole, "tune": {"steps": 5, "methods": ["os.path.join"]}}, as_data=True)


def test_a_control_has_settings_of_its_own() -> None:
    whole = {"task": "text_classification", "data": "reuters", "teacher": {"from": "x"}, "student": {"from": "x"}}
    whole |= {"distill": [{"method": "logit", "steps": 10}]}
    found = Recipe.parse({**whole, "control": {"epochs": 2.0, "patience": None}})
    assert found.has_control
    assert Recipe.parse(found.spec()) == found
    assert changed(found.distill[-1].settings, found.control_changes) == Settings(epochs=2.0)
    with pytest.raises(RecipeError, match="did you mean 'epochs'"):
        Recipe.parse({**whole, "control": {"epoks": 2.0}})
    assert setting_faults(Settings(), {"batch": 0}, "control")[0].message.startswith("batch must be positive")
