import numpy as np
import pytest

from kd2deploy.measure.stop_rule import Decision, ShareRule, State, StopRule, decide, without_common_drift


def blocks(count: int, size: int, ms: float, spread: float, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [ms * np.exp(spread * rng.standard_normal(size)) for _ in range(count)]


def decided(found: list[np.ndarray], elapsed_s: float, rule: ShareRule) -> Decision:
    """Every block a round of its own."""
    return decide(found, np.log([np.median(block) for block in found]), elapsed_s, rule)


def test_steady_samples_settle_once_there_is_enough_of_them() -> None:
    rule = StopRule(min_s=1.0).share(1)
    assert decided(blocks(10, 9, 10.0, 0.001), 1.0, rule).reason == "0.9 of 1.0 s of timed runs"
    assert decided(blocks(12, 9, 10.0, 0.001), 1.2, rule).state is State.SETTLED


def test_a_gated_p99_needs_its_1307_samples() -> None:
    rule = StopRule(percentile=0.99, min_s=0.1).share(1)
    assert decided(blocks(130, 10, 10.0, 0.001), 13.0, rule).reason == "1300 of 1307 samples"
    assert decided(blocks(131, 10, 10.0, 0.001), 13.1, rule).state is State.SETTLED


def test_a_wide_median_goes_on_until_the_cap() -> None:
    rule = StopRule(min_s=0.1, cap_s=5.0).share(1)
    few = blocks(4, 9, 10.0, 0.3)
    assert decided(few, 4.9, rule).state is State.CONTINUE
    capped = decided(few, 5.0, rule)
    assert capped.state is State.CAPPED
    assert "stopped at the cap of 5 s: the median is not yet known within 1.00 %" in capped.reason


def test_the_cap_that_is_told_is_the_recipes_and_not_one_process_part() -> None:
    rule = StopRule(min_s=0.1, cap_s=15.0).share(5)
    capped = decided([np.full(3, 10.0)], 3.0, rule)
    assert capped.reason.startswith("stopped at the cap of 15 s (3 s in each of 5 processes): ")


def test_noise_that_no_longer_changes_ends_it() -> None:
    """Blocks that alternate by half: no number of them makes the median narrow."""
    alternating = [np.full(9, 10.0 if turn % 2 else 15.0) for turn in range(60)]
    found = decided(alternating, 6.0, StopRule(min_s=1.0).share(1))
    assert found.state is State.SETTLED
    assert found.reason.startswith("the noise no longer changes")


def test_what_drifts_for_all_keeps_nobody_waiting() -> None:
    rng = np.random.default_rng(0)
    drift = np.linspace(0.0, 0.3, 12)
    raced = [np.log(ms) + drift + 0.001 * rng.standard_normal(12) for ms in (1.0, 5.0, 20.0)]
    rule = StopRule(min_s=0.1).share(1)
    assert decide(blocks(12, 9, 10.0, 0.001), raced[0], 1.0, rule).state is State.CONTINUE
    for own in without_common_drift(raced):
        assert decide(blocks(12, 9, 10.0, 0.001), own, 1.0, rule).state is State.SETTLED


def test_what_is_left_of_a_contender_without_the_drift_varies_as_it_did() -> None:
    rng = np.random.default_rng(1)
    left = without_common_drift([0.02 * rng.standard_normal(20_000) for _ in range(2)])
    assert np.std(left[0]) == pytest.approx(0.02, rel=0.03)
    (alone,) = without_common_drift([np.array([0.0, 1.0])])
    assert list(alone) == [0.0, 1.0]


def test_processes_share_the_rule() -> None:
    share = StopRule(percentile=0.99, min_s=3.0, relative=0.01, cap_s=60.0).share(5)
    assert (share.least, share.min_s, share.cap_s) == (262, 0.6, 12.0)
    assert share.relative == pytest.approx(0.01 * 5**0.5)


def test_nothing_timed_yet_goes_on() -> None:
    assert decided([], 0.0, StopRule().share(5)).state is State.CONTINUE
