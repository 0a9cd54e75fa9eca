"""The figures of a race of equals, made of timings whose truth is known."""

import numpy as np
import pytest
from _same_pairs import Raced, excludes, pair_rows, passes, place_rows, raced

from kd2deploy.measure.order import row_of, there_and_back
from kd2deploy.measure.protocol import Protocol
from kd2deploy.measure.timing import Block, Timing

PLAN = Protocol(processes=3, least_rounds=4)


def timings(
    slow: dict[int, float], first_turn: float = 0.0, started_first: float = 0.0, copies: int = 4
) -> list[Timing]:
    """Copies of 1 ms, each by `slow` longer, as is the first turn of a round and who was started first."""
    rng = np.random.default_rng(0)
    blocks: list[list[Block]] = [[] for _ in range(copies)]
    for process in range(PLAN.processes):
        first = there_and_back(range(copies), row_of(process, 0, PLAN.least_rounds))[0]
        for turn in range(PLAN.least_rounds):
            order = there_and_back(range(copies), row_of(process, turn, PLAN.least_rounds))
            for position, copy in enumerate(order):
                log = slow.get(copy, 0.0) + first_turn * (position == 0) + started_first * (copy == first)
                ns = tuple(int(each) for each in 1e6 * np.exp(log + 0.001 * rng.standard_normal(9)))
                blocks[copy].append(Block(process, turn, position, ns, (0,) * 9, 0.01, 0.01, 0.0, 0.0))
    return [
        Timing(f"copy {place}", blocks=tuple(own), rows_per_s=(1000.0, 1000.0, 1000.0), settled=True)
        for place, own in enumerate(blocks)
    ]


def a_race(state: str = "quiet", **given: object) -> Raced:
    return raced(timings(**given), PLAN, file="2 x 128", state=state, others=0.1, seconds=10.0)  # type: ignore[arg-type]


def test_equals_are_found_equal_and_a_slow_one_is_not() -> None:
    equal, odd = a_race(slow={}), a_race(slow={1: 0.1})
    assert len(equal.pairs) == 6
    assert sum(map(excludes, equal.pairs)) <= 1
    assert not any(map(passes, equal.pairs))
    found = [pair[:2] for pair in odd.pairs if passes(pair)]
    assert found == [(0, 1), (1, 2), (1, 3)], "either of the two may be called the student"
    assert odd.by_place[1] == pytest.approx(0.075, abs=0.002)


def test_a_favoured_place_shows_where_it_belongs() -> None:
    turned, started = a_race(slow={}, first_turn=0.08), a_race(slow={}, started_first=0.04)
    assert np.argmax(turned.by_turn) == 0
    assert turned.by_turn[0] > 0.05
    assert started.by_start[0] == pytest.approx(0.03, abs=0.002)
    assert abs(started.by_turn[0]) < 0.002


def test_throughput_times_latency_is_one() -> None:
    assert a_race(slow={}).served == pytest.approx((1.0,) * 4, abs=0.01)


def test_rows_are_told_by_state_and_file_and_survive_json() -> None:
    races = [a_race(slow={}), a_race(slow={}), a_race(slow={1: 0.1}, state="busy")]
    races = [Raced.from_json(one.to_json()) for one in races]
    assert races[0] == a_race(slow={})
    rows = pair_rows(races)
    assert [(row["machine"], row["file"], row["pairs"]) for row in rows] == [
        ("quiet", "2 x 128", 12),
        ("quiet", "all", 12),
        ("busy", "2 x 128", 6),
        ("busy", "all", 6),
    ]
    assert rows[2]["gate of 1.05 passed"] == "50.0% (3)"
    assert [row["place"] for row in place_rows(races)][:3] == [
        "in the list",
        "among those started",
        "of a round's turns",
    ]
