from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.measure.diagnosis import Case, diagnose
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.machine import Machine
from kd2deploy.measure.timing import Block, Timing

PLAIN = Machine("a CPU", ("avx2",), 2, 2, 8.0, "Linux", "3.11")
NATIVE = replace(PLAIN, isa=("avx2", "avx512_vnni"))


def timing(
    name: str, ms: float = 10.0, noise: float = 0.0, flat: bool = False, busy: float = 1.0, **device: float
) -> Timing:
    """Two hundred runs over inputs of sizes 10 to 80, in proportion to their size unless `flat`."""
    rng = np.random.default_rng(0)
    inputs = tuple(np.tile(np.arange(8), 25).tolist())
    sizes = tuple(range(10, 90, 10))
    shares = [1.0 if flat else sizes[place] / 45 for place in inputs]
    ns = tuple(int(1e6 * ms * share * np.exp(noise * rng.standard_normal())) for share in shares)
    wall = sum(ns) / 1e9
    block = Block(0, 0, 0, ns, inputs, cpu_s=2 * busy * wall, wall_s=wall, load_before=0.0, load_after=0.0)
    times = DeviceTimes(**{"enqueue_ms": 0.0, "gpu_ms": 9.0, "compute_ms": 9.0, "copy_ms": 0.0, **device})
    return Timing(name, blocks=(block,), threads=2, sizes=sizes, device=times if device else None)


def ratio(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high)


TEACHER = timing("teacher", 20.0)
SLOW = ratio(1.0, 1.2)


def words(student: Timing, found: Interval | None = SLOW, limit: float | None = 4.0, **known: Any) -> list[str]:
    return [each.word for each in diagnose(Case(student, TEACHER, found, limit, **known))]


def test_a_speedup_that_clears_needs_no_excuse() -> None:
    assert words(timing("student"), ratio(4.1, 4.5)) == []


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"enqueue_ms": 8.5, "gpu_ms": 9.0}, "host-bound"),
        ({"copy_ms": 7.0}, "copy-bound"),
        ({"gpu_ms": 1.0}, "too small for the device"),
    ],
)
def test_what_is_said_of_a_session_on_a_device(said: dict[str, float], word: str) -> None:
    assert words(timing("student", **said)) == [word]


def test_a_device_that_is_busy_with_computing_is_not_accused() -> None:
    said = {"enqueue_ms": 2.0, "gpu_ms": 9.0, "copy_ms": 1.0}
    assert words(timing("student", busy=0.1, **said)) == ["too large"]


def test_int8_on_a_processor_that_cannot() -> None:
    assert words(timing("student"), machine=PLAIN, precision="int8") == ["int8 without VNNI"]
    assert words(timing("student"), machine=NATIVE, precision="int8") == ["too large"]
    assert words(timing("student"), machine=PLAIN, precision="fp32") == ["too large"]
    assert words(timing("student", gpu_ms=9.0), machine=PLAIN, precision="int8") == ["too large"]


def test_time_that_does_not_depend_on_size_is_overhead() -> None:
    assert words(timing("student", flat=True)) == ["fixed overhead dominates"]


def test_weights_read_at_the_speed_of_memory() -> None:
    assert words(timing("student", ms=10.0), size_mb=100.0, bandwidth=lambda: 12.0) == ["memory-bound"]
    assert words(timing("student", ms=10.0), size_mb=10.0, bandwidth=lambda: 12.0) == ["too large"]


def test_a_devices_weights_are_read_while_it_computes() -> None:
    said = {"enqueue_ms": 0.1, "gpu_ms": 3.0, "copy_ms": 0.1}
    assert words(timing("student", ms=10.0, **said), size_mb=100.0, bandwidth=lambda: 50.0) == ["memory-bound"]


def test_bandwidth_is_measured_only_where_there_is_something_to_explain() -> None:
    def never() -> float:
        raise AssertionError("measured in vain")

    assert words(timing("student"), ratio(4.1, 4.5), size_mb=1.0, bandwidth=never) == []


def test_threads_that_wait_for_each_other() -> None:
    assert words(timing("student", busy=0.5)) == ["threads wait"]
    idle = timing("student", busy=0.0)
    elsewhere = replace(idle, blocks=tuple(replace(block, cpu_s=None) for block in idle.blocks))
    assert words(elsewhere) == ["too large"], "what a browser's threads do is not known here"


def test_a_neighbour_makes_it_noisy_only_where_the_limit_cannot_be_told() -> None:
    assert words(timing("student", noise=0.3), ratio(3.5, 4.5)) == ["noisy machine"]
    assert words(timing("student", noise=0.3), ratio(3.0, 3.5)) == ["too large"]


def test_no_limit_is_spoken_of_where_none_is_asked_for() -> None:
    (unsure,) = diagnose(Case(timing("student", noise=0.3), TEACHER, ratio(0.9, 1.1), None))
    assert unsure.sentence.startswith("whether it is faster at all is not sure, and ")
    (slower,) = diagnose(Case(timing("student"), TEACHER, ratio(0.7, 0.9), None))
    assert slower.sentence.endswith("the student runs at 0.80x the baseline's speed")
    assert words(timing("student"), ratio(1.0, 1.2), None) == []


def test_a_contender_that_failed_is_the_first_thing_to_mend() -> None:
    (found,) = diagnose(Case(Timing("student", failure="out of memory"), TEACHER, None, 4.0))
    assert found.word == "failed"
    assert "out of memory" in found.sentence


def test_every_diagnosis_has_a_remedy() -> None:
    here = timing("student", flat=True, busy=0.3)
    there = timing("student", flat=True, enqueue_ms=1.9, gpu_ms=1.9, copy_ms=9.0)
    for student, count in ((here, 4), (there, 5)):
        found = diagnose(Case(student, TEACHER, SLOW, 4.0, PLAIN, "int8", 9.0, bandwidth=lambda: 1.0))
        assert len(found) == count, [each.word for each in found]
        assert all(each.remedy for each in found)


def test_figures_are_rounded_as_everywhere_else() -> None:
    (copies,) = diagnose(Case(timing("student", copy_ms=7.0), TEACHER, SLOW, 4.0))
    assert copies.sentence == "copies to and from the device take 7.00 of 10.0 ms"
    (slow,) = diagnose(Case(timing("student"), TEACHER, SLOW, 4.0))
    assert slow.sentence.endswith("the student runs at 1.10x where 4x is asked")
