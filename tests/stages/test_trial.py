"""When a trial is behind: by the best score so far, at the same share of a training."""

import pytest

from kd2deploy.core import Metric
from kd2deploy.flows.tune.search import ENOUGH, Trials
from kd2deploy.stages.trial import curve_of, is_behind
from kd2deploy.tasks.text_classification import TextClassification


@pytest.fixture
def metric() -> Metric:
    return TextClassification(labels=("a", "b")).metric


def history(*scores: float) -> list[dict[str, float]]:
    return [{"step": 10 * (at + 1), "score": score} for at, score in enumerate(scores)]


def test_a_curve_holds_the_best_score_until_then(metric: Metric) -> None:
    assert curve_of(metric, history(0.5, 0.4, 0.7, 0.6), 40) == [[0.25, 0.5], [0.5, 0.5], [0.75, 0.7], [1.0, 0.7]]


def test_less_is_better_of_an_error() -> None:
    metric = TextClassification(labels=[], metric="rmse").metric
    assert curve_of(metric, history(0.5, 0.4, 0.7), 30) == [[1 / 3, 0.5], [2 / 3, 0.4], [1.0, 0.4]]
    assert is_behind(metric, [[0.5, 0.5]], [[0.5, 0.4]])
    assert not is_behind(metric, [[0.5, 0.3]], [[0.5, 0.4]])


def test_a_trial_is_behind_the_last_limit_that_it_has_passed(metric: Metric) -> None:
    limits = [[0.25, 0.4], [0.5, 0.6]]
    assert not is_behind(metric, [[0.2, 0.1]], limits), "no limit holds yet"
    assert is_behind(metric, [[0.3, 0.3]], limits)
    assert not is_behind(metric, [[0.3, 0.4]], limits), "as good is not behind"
    assert is_behind(metric, [[0.6, 0.5]], limits)
    assert not is_behind(metric, [[1.0, 0.1]], limits), "what is over is not ended"
    assert not is_behind(metric, [[0.6, 0.5]], [])


def test_a_limit_is_the_median_of_enough_finished_trials(metric: Metric) -> None:
    found = Trials(metric)
    for score in (0.1, 0.2, 0.4)[: ENOUGH - 1]:
        found.curves.append([[0.1, 0.0], [0.5, score], [1.0, 0.9]])
    assert found.limits() == []
    found.curves.append([[0.6, 0.8], [1.0, 0.9]])
    assert found.limits() == [[0.6, pytest.approx(0.3)]], "at 0.5 three have been scored, and at 0.6 all four"
