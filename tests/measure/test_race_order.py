"""The order is balanced, and what depends on a place or on whose turn it was before cancels in the verdict."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest

from kd2deploy.measure.order import ordered, row_of, there_and_back, williams
from kd2deploy.measure.protocol import Protocol
from kd2deploy.measure.statistics import round_centre, t_ends
from kd2deploy.recipe import Measurement

PROCESSES, ROUNDS = Measurement().processes, Protocol().least_rounds
RUNS = 2_000


@pytest.mark.parametrize("count", range(1, 14))
def test_everybody_stands_in_every_place_once(count: int) -> None:
    orders = williams(count)
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert all(sorted(order[place] for order in orders) == list(range(count)) for place in range(count))


@pytest.mark.parametrize("count", range(2, 14))
def test_everybody_follows_everybody_else_equally_often(count: int) -> None:
    follows = Counter(pair for order in williams(count) for way in (order, order[::-1]) for pair in pairwise(way))
    assert len(follows) == count * (count - 1)
    assert len(set(follows.values())) == 1


@pytest.mark.parametrize("count", range(2, 14))
def test_no_two_processes_begin_with_the_same_contender_while_there_are_others(count: int) -> None:
    first = [ordered(range(count), row_of(process, 0, ROUNDS))[0] for process in range(PROCESSES)]
    repeated = ROUNDS + 1  # for this many contenders and its divisors the rows of all processes would be the same
    assert len(set(first)) == min(count, PROCESSES) or repeated % count == 0


def test_a_round_goes_there_and_back() -> None:
    assert there_and_back(["a", "b", "c"], 1) == ["b", "c", "a", "a", "c", "b"]
    assert there_and_back(["alone"], 5) == ["alone", "alone"]
    assert there_and_back([], 0) == []


def place_effects(count: int, turned: bool) -> np.ndarray:
    """[processes, rounds, contenders]: by how much places slow each one down, in logs.

    The contender with number 0 leaves the caches cold and its threads spinning: who comes next takes 2 % longer. The
    first block of a round takes 1 % longer, and the process that is started first is 1 % slow for good.
    """
    found = np.zeros((PROCESSES, ROUNDS, count))
    for process in range(PROCESSES):
        found[process, :, ordered(range(count), row_of(process, 0, ROUNDS))[0] if turned else 0] += 0.01
        for turn in range(ROUNDS):
            row = row_of(process, turn, ROUNDS) if turned else 0
            order = there_and_back(range(count), row) if turned else [*range(count), *reversed(range(count))]
            found[process, turn, order[0]] += 0.01 / 2
            for before, after in pairwise(order):
                found[process, turn, after] += 0.02 / 2 * (before == 0 and after != 0)
    return found


def outside(count: int, turned: bool, seed: int) -> np.ndarray:
    """Shares of simulated races of equals whose 95 % interval excludes 1, for every pair of contenders.

    Rounds vary by 1 %, and every process is 0.5 % off for reasons of its own.
    """
    rng = np.random.default_rng(seed)
    shape = (RUNS, PROCESSES, ROUNDS, count)
    logs = place_effects(count, turned) + 0.01 * rng.standard_normal(shape)
    logs += 0.005 * rng.standard_normal((RUNS, PROCESSES, 1, count))
    shares = []
    for one, other in combinations(range(count), 2):
        _, low, high = t_ends(round_centre(logs[..., one] - logs[..., other]))
        shares.append(1 - np.mean((low <= 0) & (high >= 0)))
    return np.array(shares)


@pytest.mark.parametrize("count", [2, 3, 5, 6, 8, 10])
def test_no_place_is_favoured_and_intervals_cover_in_95_of_100_races(count: int) -> None:
    """Of two contenders one is started first in three processes of five, so a little of that is left."""
    found = outside(count, turned=True, seed=1)
    assert found.mean() <= (0.09 if count == 2 else 0.055)
    assert found.max() <= 0.10, "no pair does much worse than the rest"


@pytest.mark.parametrize("count", [3, 6])
def test_with_one_order_for_all_rounds_places_would_pass_for_differences(count: int) -> None:
    assert outside(count, turned=False, seed=1).max() > 0.5


def test_a_speedup_of_five_per_cent_is_found_between_such_places() -> None:
    rng = np.random.default_rng(2)
    logs = place_effects(6, turned=True) + 0.01 * rng.standard_normal((RUNS, PROCESSES, ROUNDS, 6))
    logs += 0.005 * rng.standard_normal((RUNS, PROCESSES, 1, 6))
    _, low, _ = t_ends(round_centre(logs[..., 1] + np.log(1.05) - logs[..., 2]))
    assert np.mean(low > 0) > 0.95
