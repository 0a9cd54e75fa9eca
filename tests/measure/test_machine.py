import os
from dataclasses import replace
from pathlib import Path

import pytest
from measured_sessions import CPU

from kd2deploy.core import usable_cores
from kd2deploy.core.cores import Quota
from kd2deploy.measure import machine
from kd2deploy.measure.machine import (
    Preflight,
    Products,
    State,
    changed,
    copy_gb_per_s,
    describe_machine,
    device_is_here,
    matmul_gflops,
    preflight,
    state,
    versions,
)
from kd2deploy.measure.neighbours import Used

QUIET = State(load=0.1, memory_free_gb=8.0, mhz=3000.0, throttled_periods=1, throttled_s=0.5)
CUDA = replace(CPU, device="cuda")
GPU = {"name": "a GPU", "sm_mhz": 1800, "throttled": "", "pids": [os.getpid()]}


def test_this_machine_is_described() -> None:
    found = describe_machine()
    assert found.cores == usable_cores() >= 1
    assert found.memory_gb > 0.5
    assert found.cpu
    assert found.packages["torch"] == versions()["torch"]
    assert found.to_json()["system"] == found.system


def test_int8_support_is_read_off_the_flags() -> None:
    found = describe_machine()
    assert replace(found, isa=("avx2", "avx_vnni")).has_int8
    assert not replace(found, isa=("avx2", "avx512f")).has_int8


def test_the_state_of_now_can_be_written_down() -> None:
    found = state().to_json()
    assert found["load"] >= 0
    assert 0 <= found["busy"] <= (os.cpu_count() or 1)


def test_a_quiet_machine_passes_and_a_busy_one_is_noted() -> None:
    assert preflight(CPU, QUIET).breaches == ()
    assert preflight(CPU, QUIET).notes == ()
    assert preflight(CPU, replace(QUIET, load=100.0)).notes == (), "the load average also holds this run's training"
    busy = preflight(CPU, replace(QUIET, busy=100.0))
    assert busy.breaches == ()
    assert "others use 100.0 of" in busy.notes[0]
    assert "cannot be seen from here" in busy.notes[0]
    named = preflight(CPU, replace(QUIET, busy=100.0, neighbours="python3 1.0 (pid 7)"))
    assert "(python3 1.0 (pid 7)): intervals get wide" in named.notes[0]
    assert "end it" in named.notes[0]


def test_more_threads_than_cores_is_a_breach() -> None:
    (breach,) = preflight(replace(CPU, threads=10_000), QUIET).breaches
    assert "10,000 threads" in breach


def test_a_gpu_that_is_missing_or_held_by_another_is_a_breach() -> None:
    assert "torch finds none" in preflight(CUDA, QUIET).breaches[0]
    held = replace(QUIET, gpu={**GPU, "pids": [os.getpid(), 1]})
    assert "held by other processes too (1)" in preflight(CUDA, held).breaches[0]
    assert preflight(CUDA, replace(QUIET, gpu=GPU)).breaches == ()


def test_this_process_may_hold_the_gpu_under_a_number_of_the_hosts() -> None:
    assert preflight(CUDA, replace(QUIET, gpu={**GPU, "pids": [4_000_001]})) == Preflight()
    two = preflight(CUDA, replace(QUIET, gpu={**GPU, "pids": [4_000_001, 4_000_002]}))
    assert "(4000001, 4000002)" in two.breaches[0]


@pytest.mark.parametrize("gpu", [{"name": "a GPU"}, {**GPU, "pids": []}])
def test_where_nobody_tells_who_holds_the_gpu_it_is_noted(gpu: dict[str, object]) -> None:
    found = preflight(CUDA, replace(QUIET, gpu=gpu))
    assert found.breaches == ()
    assert "cannot be told" in found.notes[0]


@pytest.mark.parametrize(
    ("wanted", "device", "same"),
    [
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("H100", "NVIDIA H200", False),
        ("A100", "NVIDIA A100-SXM4-80GB", True),
        ("L4", "NVIDIA L4", True),
        ("L4", "NVIDIA L40S", False),
        ("T4", "Tesla T4", True),
        ("Orin", "Orin", True),
        ("", "NVIDIA L4", True),
    ],
)
def test_another_gpu_is_not_the_targets(wanted: str, device: str, same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    target = replace(CUDA, device_name=wanted)
    breaches = preflight(target, replace(QUIET, gpu={**GPU, "name": device})).breaches
    assert breaches == () if same else f"about a {wanted}, and this is a {device}" in breaches[0]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: device)
    assert device_is_here(target) == same
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert not device_is_here(target)
    assert device_is_here(CPU)


def test_a_slice_of_a_gpu_a_lowered_power_cap_and_throttling_are_noted() -> None:
    whole = {**GPU, "mig": False, "watts_cap": 700.0, "watts_default": 700.0}

    def notes(**changes: object) -> tuple[str, ...]:
        return preflight(CUDA, replace(QUIET, gpu={**whole, **changes})).notes

    assert notes() == ()
    assert "one slice" in notes(mig=True)[0]
    assert "capped at 350 W of its usual 700 W" in notes(watts_cap=350.0)[0]
    assert "slowed before anything is timed (power cap)" in notes(throttled="power cap")[0]


def test_a_throttled_clock_is_told() -> None:
    assert changed(QUIET, QUIET) == ()
    assert "fell from 3000 to 2400 MHz" in changed(QUIET, replace(QUIET, mhz=2400.0))[0]


def test_periods_that_a_quota_cut_short_are_named_as_the_reason() -> None:
    (told,) = changed(QUIET, replace(QUIET, throttled_periods=42, throttled_s=2.5))
    assert "stopped its processes in 41 periods, for 2.0 s in all: the slowest requests are those pauses" in told
    assert "raise the quota" in told
    unlimited = replace(QUIET, throttled_periods=None, throttled_s=None)
    assert changed(unlimited, unlimited) == ()


def test_a_quota_stands_in_the_machines_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_quota", lambda: Quota(2.0, 0.1, Path("nowhere")))
    monkeypatch.setattr(machine, "allowed_cores", lambda: 32)
    assert describe_machine().quota == "2.0 of 32 cores"
    (breach,) = preflight(replace(CPU, threads=10_000), QUIET).breaches
    assert "its quota is 2.0 of 32 cores" in breach
    (told,) = changed(QUIET, replace(QUIET, throttled_periods=42, throttled_s=2.5))
    assert "quota (2.0 of 32 cores, counted over 100 ms)" in told


def test_what_others_used_meanwhile_is_told_by_how_much_and_by_whom() -> None:
    before = replace(QUIET, used=Used(by_all_s=100.0, by_us_s=10.0, stolen_s=0.0, at_s=0.0))
    cores = usable_cores()
    alone = replace(QUIET, used=Used(100.0 + 10 * cores, 10.0 + 10 * cores, stolen_s=0.0, at_s=10.0))
    assert changed(before, alone) == ()
    shared = replace(alone, neighbours="miner 0.9 (pid 3)", used=Used(100.0 + 10 * cores, 10.0, 0.0, 10.0))
    (told,) = changed(before, shared)
    assert f"others used {cores:.1f} cores on average (miner 0.9 (pid 3))" in told
    stolen = replace(alone, used=replace(alone.used or before.used, stolen_s=10.0 * cores))
    assert "the hypervisor gave" in changed(before, stolen)[0]


def test_no_more_cores_are_used_than_there_are() -> None:
    """Of a machine that is busy throughout counters and clock, read one after the other, tell a little more."""
    cores = os.cpu_count() or 1
    before, later = Used(1.0, 0.0, 0.0, at_s=0.0), Used(1.0 + 0.5 * cores + 0.02, 0.0, 0.5 * cores + 0.02, at_s=0.49)
    assert later.others_since(before) == (cores, cores)


def test_the_counters_are_not_written_down() -> None:
    assert "used" not in state().to_json()


def test_what_slowed_a_gpu_is_told_by_the_drivers_count_where_it_keeps_one() -> None:
    def told(before: dict[str, object], after: dict[str, object]) -> tuple[str, ...]:
        return changed(replace(QUIET, gpu={**GPU, **before}), replace(QUIET, gpu={**GPU, **after}))

    counted = {"slowed_ns": {"power cap": 1_000_000_000, "temperature": 0}}
    later = {"slowed_ns": {"power cap": 1_250_000_000, "temperature": 0}, "sm_mhz": 300}
    assert told(counted, later) == ("GPU a GPU was slowed for 0.25 s (power cap)",)
    assert told(counted, {**counted, "sm_mhz": 300}) == (), "at rest, its clock is low and nothing slowed it"
    assert told({}, {"throttled": "temperature"}) == ("GPU a GPU throttled its clock (temperature)",)
    assert "fell from 1800 to 1200 MHz" in told({}, {"sm_mhz": 1200})[0]
    assert told({}, {}) == ()


def test_peaks_are_measured_as_positive_rates() -> None:
    kinds: tuple[Products, ...] = ("fp32", "bf16", "int8")
    assert all(matmul_gflops(threads=1, seconds=0.01, size=64, kind=kind) > 0 for kind in kinds)
    assert copy_gb_per_s(seconds=0.01, size_mb=1) > 0
