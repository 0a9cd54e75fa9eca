"""Equal steps and equal time, for every count that can occur."""

from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.recipe import Distill
from kd2deploy.stages.budget import steps_in, within
from kd2deploy.train.length import epochs_for, in_epochs, steps_of
from kd2deploy.train.settings import Settings


def training(epochs: float) -> Distill:
    return Distill(method="logit", settings=Settings(epochs=epochs))


@given(st.integers(1, 20_000), st.integers(1, 50_000), st.integers(1, 64), st.integers(1, 4))
def test_epochs_make_just_the_steps_asked_for(steps: int, rows: int, batch: int, accumulate: int) -> None:
    settings = Settings(batch=batch, accumulate=accumulate)
    epochs = epochs_for(steps, settings, rows)
    assert steps_of(Settings(epochs=epochs, batch=batch, accumulate=accumulate), rows) == steps


@given(st.integers(1, 20_000), st.integers(1, 50_000), st.integers(1, 64))
def test_steps_are_as_many_however_few_rows_there_are(steps: int, rows: int, batch: int) -> None:
    settings = Settings(steps=steps, batch=batch)
    assert steps_of(settings, rows) == steps_of(in_epochs(settings, rows), rows) == steps
    assert in_epochs(settings, rows).steps is None
    assert in_epochs(Settings(epochs=2.5), rows).epochs == 2.5


def test_trainings_whose_length_is_told_in_steps_share_a_budget_too() -> None:
    each = [Distill(method="logit", settings=Settings(steps=steps)) for steps in (30, 10)]
    found = within(80, each, Settings(batch=16, steps=999), 320)
    assert [steps_of(one.settings, 320) for one in found] == [60, 20]


def test_a_method_of_one_training_gets_all_steps_under_the_given_settings() -> None:
    (found,) = within(63, [training(9)], Settings(learning_rate=1e-3, batch=16), 320)
    assert steps_of(found.settings, 320) == 63
    assert (found.settings.learning_rate, found.settings.batch) == (1e-3, 16)
    assert found.method == "logit"


@given(st.integers(2, 5000), st.lists(st.floats(0.5, 10), min_size=1, max_size=4))
def test_a_method_of_several_trainings_shares_the_steps_as_its_recipe_does(steps: int, epochs: list[float]) -> None:
    found = within(steps, [training(one) for one in epochs], Settings(batch=8), 400)
    each = [steps_of(one.settings, 400) for one in found]
    assert min(each) >= 1
    if steps >= 20 * len(epochs) * max(epochs):
        assert sum(each) == steps
        for part, share in zip(each, epochs, strict=True):
            assert abs(part - steps * share / sum(epochs)) <= len(epochs)


def test_two_halves_of_an_odd_budget_differ_by_one_step() -> None:
    found = within(63, [training(3), training(3)], Settings(batch=16), 320)
    assert [steps_of(one.settings, 320) for one in found] == [31, 32]


def test_as_many_whole_steps_as_fit_into_the_time_and_one_at_least() -> None:
    assert steps_in(10.0, 0.1) == 100
    assert steps_in(10.0, 0.3) == 33
    assert steps_in(1.0, 5.0) == 1
