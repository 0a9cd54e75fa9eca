import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.core.estimate import Estimate, needs
from kd2deploy.core.figures import Unit
from kd2deploy.core.verdict import Outcome
from kd2deploy.report.formats import (
    figure,
    interval,
    moment,
    ms,
    outcome,
    parameters,
    seconds,
    size,
    with_interval,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9132, "share", "91.32 %"),
        (-0.0124, "points", "-1.24 points"),
        (4.3, "ratio", "4.30x"),
        (12.66, "ratio", "12.7x"),
        (0.874, "ratio", "0.87x"),
        (0.01234, "ms", "0.0123 ms"),
        (1.234, "ms", "1.23 ms"),
        (1234.5, "ms", "1,234 ms"),
        (14.62, "mb", "14.6 MB"),
        (31.2345, "number", "31.23"),
        (0.0, "ms", "0.00 ms"),
        (-0.000001, "points", "0.00 points"),
    ],
)
def test_a_figure_has_its_unit_and_sensible_digits(value: float, unit: Unit, text: str) -> None:
    assert figure(value, unit) == text


def test_a_plain_number_takes_the_metrics_own_unit() -> None:
    assert figure(31.2345, "number", suffix="dB") == "31.23 dB"


def test_an_interval_has_as_many_digits_as_its_estimate() -> None:
    assert with_interval(Estimate(12.34, 11.96, 12.71), "ms") == "12.3 ms [12.0, 12.7]"


def test_a_plain_number_is_no_finer_than_two_digits_of_its_intervals_half() -> None:
    assert with_interval(Estimate(0.09955, -0.00403, 0.22782), "number", suffix="dB") == "0.10 dB [0.00, 0.23]"
    assert with_interval(Estimate(37.0912, 33.05, 41.81), "number") == "37.1 [33.0, 41.8]"
    assert with_interval(Estimate(0.8912, 0.8912, 0.8912), "number") == "0.8912 [0.8912, 0.8912]"
    assert with_interval(Estimate(1.2345e-5, 1.1e-5, 1.3e-5), "number") == "0.000012 [0.000011, 0.000013]"


def test_an_end_that_is_not_known_is_left_open() -> None:
    assert interval(Estimate(12.34, 11.96, None), "ms") == "[12.0, ..]"
    assert interval(Estimate(12.34), "ms") == ""


def test_what_cannot_be_stated_says_why() -> None:
    assert with_interval(needs(662), "ms") == "n/a (needs 662)"
    assert with_interval(None, "ms") == "n/a"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.41, "0.41 s"), (12.34, "12.3 s"), (245, "4 min 05 s"), (7620, "2 h 07 min"), (3599.7, "1 h 00 min")],
)
def test_a_duration(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.812, "812 kB"), (17.44, "17.4 MB"), (1320, "1.32 GB"), (None, "n/a")])
def test_a_size(value: float | None, text: str) -> None:
    assert size(value) == text


def test_dates_counts_and_outcomes() -> None:
    assert moment("2026-11-23T19:05:40+00:00") == "2026-11-23 19:05 UTC"
    assert moment("yesterday") == "yesterday"
    assert parameters(29_100_000) == "29.1 M"
    assert ms(None) == "n/a"
    assert outcome(Outcome.FAIL) == "✗ FAIL"


@given(st.floats(1e-3, 1e5))
def test_milliseconds_keep_three_digits(value: float) -> None:
    assert float(ms(value).removesuffix(" ms").replace(",", "")) == pytest.approx(value, rel=6e-3)
