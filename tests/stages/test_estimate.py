"""The estimate of a run's time: sums of what was timed and what is allowed."""

import pytest

from kd2deploy.recipe import build_method
from kd2deploy.stages.estimate import START_S, VARIANT_S, Pace, Part, exports, lines, measuring, training
from kd2deploy.stages.pace import ENOUGH_S, Enough, Stopwatch, scores_of, shortened, steps_alone
from kd2deploy.train.settings import Settings


def test_a_training_takes_its_steps_its_scores_and_its_setup_once() -> None:
    pace = Pace("distill", runs=3, steps=1000, step_s=0.5, scores=4, score_s=10.0, setup_s=60.0)
    found = training(pace)
    assert found.seconds == 3 * (500 + 40) + 60
    assert (
        found.how == "3 seeds, each 1,000 steps of 500 ms, 40.0 s of validation; the teacher's answers once, 1 min 00 s"
    )
    alone = training(Pace("teacher", 1, 10, 0.002, 1, 0.5))
    assert alone.seconds == pytest.approx(0.52)
    assert alone.how == "10 steps of 2 ms, 0.50 s of validation"


def test_exports_and_measuring_take_what_is_allowed() -> None:
    assert exports("cpu", 3).seconds == 3 * VARIANT_S
    found = measuring("cpu", timed=4, scored=6, cap_s=15, processes=5)
    assert found.seconds == 4 * 15 + (4 * 5 + 6) * START_S
    assert found.how == "at most 4 contenders of 15 s, 26 processes with 5 s allowed for each"


def test_the_sum_is_said_to_be_an_estimate_and_shows_its_parts() -> None:
    first, *rest = lines([Part("distill", 3600, "a", timed=True), Part("measure cpu", 120, "b")], ["the report"])
    assert first.startswith("about 1 h 02 min in all, estimated")
    assert rest == ["distill: 1 h 00 min; a", "measure cpu: 2 min 00 s; b", "not counted: the report"]


def test_where_no_training_could_be_timed_the_sum_is_not_said_to_be_the_whole() -> None:
    first, *_ = lines([exports("cpu", 3)], ["the plan and all trainings"])
    assert first == "about 1 min 00 s for what can be told before a training was timed, by fixed allowances"


def test_the_first_step_is_not_counted_and_a_training_is_left_when_enough_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 9.0, 11.0, 13.0])
    monkeypatch.setattr("kd2deploy.stages.pace.time.perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for step in range(3):
        watch(step, 100, 0.0, None)
    assert ENOUGH_S < 4.0
    with pytest.raises(Enough):
        watch(3, 100, 0.0, None)
    assert watch.step_s == 2.0


def test_one_step_alone_is_better_than_none() -> None:
    assert Stopwatch([1.0, 4.0]).step_s == 3.0


def test_the_first_steps_surplus_is_spread_over_the_cycle_that_it_begins() -> None:
    assert Stopwatch([0.0, 13.0, 15.0, 17.0], cycle=10).step_s == pytest.approx(2.0 + 11.0 / 10)
    assert Stopwatch([0.0, 1.0, 3.0, 5.0], cycle=10).step_s == 2.0


def test_of_steps_of_a_parts_own_a_few_are_timed_and_all_are_counted() -> None:
    method = build_method([{"use": "data_free", "steps": 200, "every": 10}])
    surplus = shortened(method)
    assert surplus == 100
    assert [part.own_steps for part in method.parts] == [2, 1, 1, 1]
    assert Stopwatch([0.0, 2.5, 4.5, 6.5], cycle=10, surplus=surplus).step_s == pytest.approx(2.0 + 0.5 * 100 / 10)
    assert shortened(build_method([{"use": "logit"}])) == 1


def test_whole_cycles_are_counted_where_there_are_some() -> None:
    dear_first = [0.0, 9.0, 10.0, 15.0, 16.0, 21.0]  # a step of 1 s, and before every second one a move of 4 s
    assert Stopwatch(dear_first, cycle=2).step_s == 3.0


def test_scores_are_counted_as_the_settings_ask() -> None:
    assert scores_of(Settings(epochs=2.5), steps=50) == 3
    assert scores_of(Settings(score_every=20), steps=50) == 3
    assert steps_alone(Settings(patience=2)).patience is None
