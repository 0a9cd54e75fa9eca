"""Who wins when the best trials were trained again with other seeds."""

from kd2deploy.core import Metric
from kd2deploy.flows.tune.finals import best_of
from kd2deploy.report.tuning import Final, Search, Trial
from kd2deploy.tasks.text_classification import TextClassification

OWN, OTHER, THIRD = {"rate": 0.1}, {"rate": 0.3}, {"rate": 0.9}


def search() -> Search:
    """Trial 1 is the recipe's own; by their first seed 3 is better than 2, and 2 than 1."""
    trials = tuple(
        Trial(at + 1, params, "finished", score, 1.0, 10, 1.0)
        for at, (params, score) in enumerate([(OWN, 0.5), (OTHER, 0.6), (THIRD, 0.9)])
    )
    return Search("student", {}, OWN, trials, 3, 30, 3.0, "the budget is spent")


def metric(name: str = "accuracy") -> Metric:
    return TextClassification(labels=("a", "b") if name == "accuracy" else (), metric=name).metric


def test_what_falls_with_another_seed_does_not_win() -> None:
    finals = [Final(3, (0.9, 0.2)), Final(1, (0.5, 0.5)), Final(2, (0.6, 0.55))]
    best = best_of(search(), finals, metric())
    assert best is not None
    assert best.trial == 2


def test_of_two_that_are_alike_the_recipes_own_wins_and_then_the_better_trial() -> None:
    finals = [Final(3, (0.5,)), Final(2, (0.5,)), Final(1, (0.5,))]
    assert best_of(search(), finals, metric()) == finals[2]
    assert best_of(search(), finals[:2], metric()) == finals[0]


def test_what_failed_with_one_seed_is_out() -> None:
    finals = [Final(3, (0.9, None)), Final(1, (0.1, 0.2))]
    assert best_of(search(), finals, metric()) == finals[1]
    assert best_of(search(), finals[:1], metric()) is None


def test_of_an_error_less_is_better() -> None:
    finals = [Final(3, (0.9,)), Final(2, (0.3,)), Final(1, (0.5,))]
    assert best_of(search(), finals, metric("rmse")) == finals[1]
