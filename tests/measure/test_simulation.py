"""Proof by simulation that intervals cover, that nothing passes by luck and that what is there is found."""

import numpy as np
import pytest
from simulated_noise import KINDS, Doubles, Shape

from kd2deploy.core import Gates
from kd2deploy.core.verdict import Outcome
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.protocol import Protocol
from kd2deploy.measure.statistics import percentile, ratio_of_medians, round_centre, t_ends
from kd2deploy.measure.verdict import judge
from kd2deploy.recipe import Measurement

RUNS = 10_000
PROCESSES, ROUNDS, SAMPLES = Measurement().processes, Protocol().least_rounds, Protocol().least_runs
CHUNK = 1_000


def log_ratios(kind: str, seed: int, processes: int = PROCESSES, rounds: int = ROUNDS, runs: int = RUNS) -> Doubles:
    """log(median / median) per round of simulated races of equals: [runs, processes, rounds]."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(runs // CHUNK):
        one, other = KINDS[kind]((CHUNK, processes, rounds, SAMPLES), rng)
        medians = [np.median(each.reshape(CHUNK, processes, rounds, -1), axis=-1) for each in (one, other)]
        parts.append(np.log(medians[0] / medians[1]))
    return np.concatenate(parts)


def covered(low: Doubles, high: Doubles, truth: float = 0.0) -> float:
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("processes", [3, PROCESSES])
@pytest.mark.parametrize("kind", KINDS)
def test_the_ratios_interval_covers_the_truth_in_95_of_100_runs(kind: str, processes: int) -> None:
    _, low, high = t_ends(round_centre(log_ratios(kind, seed=1, processes=processes)))
    assert 0.94 <= covered(low, high) <= 0.96


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_simulation_proves_is_what_the_race_calls(kind: str) -> None:
    one, other = KINDS[kind]((1, PROCESSES, ROUNDS, SAMPLES), np.random.default_rng(2))
    slow, fast = ([[block.ravel() for block in process] for process in each[0]] for each in (one, other))
    found = ratio_of_medians(slow, fast).interval
    medians = [np.median(each.reshape(1, PROCESSES, ROUNDS, -1), axis=-1) for each in (one, other)]
    mean, low, high = t_ends(round_centre(np.log(medians[0] / medians[1])))
    assert (found.estimate, found.low, found.high) == pytest.approx(tuple(np.exp([mean[0], low[0], high[0]])))


def test_a_bootstrap_over_five_processes_would_cover_too_little() -> None:
    """Why the interval is Student's: five processes drawn again vary less than five new ones."""
    rng = np.random.default_rng(3)
    logs = log_ratios("independent", seed=3, runs=CHUNK) + 0.03 * rng.standard_normal((CHUNK, PROCESSES, 1))
    means = []
    for _ in range(400):
        drawn = logs[:, rng.integers(0, PROCESSES, PROCESSES)]
        rounds = rng.integers(0, ROUNDS, (1, PROCESSES, ROUNDS))
        means.append(np.take_along_axis(drawn, rounds, axis=2).mean(axis=(1, 2)))
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    assert covered(low, high) < 0.88
    assert covered(*t_ends(round_centre(logs))[1:]) > 0.93


@pytest.mark.parametrize("kind", KINDS)
def test_the_medians_interval_covers_its_truth(kind: str) -> None:
    """Within 2 points of 95 %: ranks are whole numbers, so that an order-statistic interval is a little wide."""
    hits = [figure.holds(truth) for figure, truth in percentiles(kind, 0.5, (4_000, PROCESSES, ROUNDS, SAMPLES))]
    assert 0.94 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("kind", ["independent", "autocorrelated", "bimodal"])
def test_the_p99_interval_covers_its_truth_and_errs_to_the_wide_side(kind: str) -> None:
    """A clock that falls all the while has no P99 of its own, so drift is left out."""
    hits = [figure.holds(truth) for figure, truth in percentiles(kind, 0.99, (4_000, PROCESSES, ROUNDS, 25))]
    assert 0.94 <= np.mean(hits) <= 0.99


def percentiles(kind: str, share: float, shape: Shape) -> list[tuple[Interval, float]]:
    """Figures of simulated runs, each with the truth (the percentile of a million samples of the same noise)."""
    rng = np.random.default_rng(4)
    many = KINDS[kind]((1_000, PROCESSES, ROUNDS, 36), rng)[0]
    truth = float(np.quantile(many, share))
    found = []
    for run in KINDS[kind](shape, rng)[0]:
        figure = percentile([list(process.reshape(-1, shape[-1])) for process in run], share)
        assert isinstance(figure, Interval)
        found.append((figure, truth))
    return found


def outcomes(kind: str, speedup: float, limit: float, seed: int) -> list[Outcome]:
    centres = round_centre(log_ratios(kind, seed) + np.log(speedup))
    ends = np.exp(t_ends(centres))
    return [judge(Gates(min_speedup=limit), {"min_speedup": Interval(*run)}).outcome for run in ends.T]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_against_itself_is_not_faster(kind: str) -> None:
    found = outcomes(kind, speedup=1.0, limit=1.05, seed=5)
    assert found.count(Outcome.PASS) < 0.01 * RUNS


@pytest.mark.parametrize("kind", KINDS)
def test_a_speedup_of_five_per_cent_is_found_within_the_default_budget(kind: str) -> None:
    """With the least that the full protocol runs: five processes of six rounds of nine runs, at 5 % noise."""
    found = outcomes(kind, speedup=1.05, limit=1.0, seed=6)
    assert found.count(Outcome.PASS) > 0.95 * RUNS
    assert found.count(Outcome.FAIL) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_limit_itself_luck_passes_in_two_or_three_of_a_hundred(kind: str) -> None:
    found = outcomes(kind, speedup=2.0, limit=2.0, seed=7)
    assert 0.015 * RUNS < found.count(Outcome.PASS) < 0.035 * RUNS
    assert 0.015 * RUNS < found.count(Outcome.FAIL) < 0.035 * RUNS
