import os
from dataclasses import replace

from measured_sessions import CPU

from kd2deploy.measure.machine import (
    State,
    changed,
    copy_gb_per_s,
    describe_machine,
    matmul_gflops,
    preflight,
    state,
    versions,
)
from kd2deploy.measure.processes import usable_cores

QUIET = State(load=0.1, memory_free_gb=8.0, mhz=3000.0, throttled_us=1000)
GPU = {"name": "a GPU", "sm_mhz": 1800, "throttled": "", "pids": []}


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
    assert "100.0 of" in busy.notes[0]


def test_more_threads_than_cores_is_a_breach() -> None:
    (breach,) = preflight(replace(CPU, threads=10_000), QUIET).breaches
    assert "10000 threads" in breach


def test_a_gpu_that_is_missing_or_held_by_another_is_a_breach() -> None:
    target = replace(CPU, device="cuda")
    assert "torch finds none" in preflight(target, QUIET).breaches[0]
    held = replace(QUIET, gpus=({**GPU, "pids": [1]},))
    assert "held by other processes (1)" in preflight(target, held).breaches[0]
    assert preflight(target, replace(QUIET, gpus=(GPU,))).breaches == ()


def test_a_slice_of_a_gpu_and_a_lowered_power_cap_are_noted() -> None:
    target = replace(CPU, device="cuda")
    whole = {**GPU, "mig": False, "watts_cap": 700.0, "watts_default": 700.0}
    assert preflight(target, replace(QUIET, gpus=(whole,))).notes == ()
    (note,) = preflight(target, replace(QUIET, gpus=({**whole, "mig": True},))).notes
    assert "one slice" in note
    (note,) = preflight(target, replace(QUIET, gpus=({**whole, "watts_cap": 350.0},))).notes
    assert "capped at 350 W of its usual 700 W" in note


def test_a_throttled_clock_is_told() -> None:
    assert changed(QUIET, QUIET) == ()
    assert "fell from 3000 to 2400 MHz" in changed(QUIET, replace(QUIET, mhz=2400.0))[0]
    assert "quota stopped its processes for 2.0 s" in changed(QUIET, replace(QUIET, throttled_us=2_001_000))[0]
    before, after = replace(QUIET, gpus=(GPU,)), replace(QUIET, gpus=({**GPU, "throttled": "temperature"},))
    assert changed(before, after) == ("GPU a GPU throttled its clock (temperature)",)
    slower = replace(QUIET, gpus=({**GPU, "sm_mhz": 1200},))
    assert "fell from 1800 to 1200 MHz" in changed(before, slower)[0]


def test_peaks_are_measured_as_positive_rates() -> None:
    assert matmul_gflops(threads=1, seconds=0.01, size=64) > 0
    assert copy_gb_per_s(seconds=0.01, size_mb=1) > 0
