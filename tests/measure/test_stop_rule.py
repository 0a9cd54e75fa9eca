import numpy as np
import pytest

from kd2deploy.measure.stop_rule import State, StopRule, decide


def blocks(count: int, size: int, ms: float, spread: float, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [ms * np.exp(spread * rng.standard_normal(size)) for _ in range(count)]


def test_steady_samples_settle_once_there_is_enough_of_them() -> None:
    rule = StopRule(min_s=1.0).share(1)
    assert decide(blocks(10, 9, 10.0, 0.001), 1.0, rule).reason == "0.9 of 1.0 s of timed runs"
    assert decide(blocks(12, 9, 10.0, 0.001), 1.2, rule).state is State.SETTLED


def test_a_gated_p99_needs_its_1307_samples() -> None:
    rule = StopRule(percentile=0.99, min_s=0.1).share(1)
    assert decide(blocks(130, 10, 10.0, 0.001), 13.0, rule).reason == "1300 of 1307 samples"
    assert decide(blocks(131, 10, 10.0, 0.001), 13.1, rule).state is State.SETTLED


def test_a_wide_median_goes_on_until_the_cap() -> None:
    rule = StopRule(min_s=0.1, cap_s=5.0).share(1)
    few = blocks(4, 9, 10.0, 0.3)
    assert decide(few, 4.9, rule).state is State.CONTINUE
    capped = decide(few, 5.0, rule)
    assert capped.state is State.CAPPED
    assert "stopped at the cap of 5 s: the median is not yet known within 1.00%" in capped.reason


def test_the_cap_that_is_told_is_the_recipes_and_not_one_process_part() -> None:
    rule = StopRule(min_s=0.1, cap_s=15.0).share(5)
    capped = decide([np.full(3, 10.0)], 3.0, rule)
    assert capped.reason.startswith("stopped at the cap of 15 s (3 s in each of 5 processes): ")


def test_noise_that_no_longer_changes_ends_it() -> None:
    """Blocks that alternate by half: no number of them makes the median narrow."""
    alternating = [np.full(9, 10.0 if turn % 2 else 15.0) for turn in range(60)]
    found = decide(alternating, 6.0, StopRule(min_s=1.0).share(1))
    assert found.state is State.SETTLED
    assert found.reason.startswith("the noise no longer changes")


def test_processes_share_the_rule() -> None:
    share = StopRule(percentile=0.99, min_s=3.0, relative=0.01, cap_s=60.0).share(5)
    assert (share.least, share.min_s, share.cap_s) == (262, 0.6, 12.0)
    assert share.relative == pytest.approx(0.01 * 5**0.5)


def test_nothing_timed_yet_goes_on() -> None:
    assert decide([], 0.0, StopRule().share(5)).state is State.CONTINUE
