"""The benchmark for GPUs, run whole on a processor with tiny networks."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch

from kd2deploy import usable_as
from kd2deploy.core import Variant

RUN = ("torch-eager-fp32", "ort-fp16", "torch-graph-fp16", "crashing-fp16")


@usable_as("converter")
def crashes(*given: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("gpu") / "gpu.json"
    crashing = {"crashing-fp16": Variant(({"use": "test_gpu.crashes"},))}
    assert gpu.main(["--tiny", "--out", str(out), "--runtimes", *RUN], crashing) == 0
    read: dict[str, Any] = json.loads(out.read_text())
    return read


@pytest.mark.recipe
def test_one_command_writes_latencies_with_their_shares(found: dict[str, Any]) -> None:
    assert set(found["networks"]) == {"bert-4x32", "bert-1x16", "resnet-2"}
    figures = {(one["network"], one["runtime"], one["batch"]): one for one in found["latency"]}
    for name in found["networks"]:
        for runtime in ("torch-eager-fp32", "ort-fp16"):
            for batch in gpu.TINY_BATCHES:
                one = figures[name, runtime, batch]
                assert one["host_ms"]["least"] <= one["host_ms"]["median"]
                assert one["matmul_share"] > 0
                assert one["weights_bandwidth_share"] > 0
    assert {"date", "machine", "before", "packages", "protocol", "sessions", "changed", "seconds"} <= set(found)
    assert found["peaks"]["fp32_tflops"] > 0


@pytest.mark.recipe
def test_students_are_compared_with_their_own_teacher_alone(found: dict[str, Any]) -> None:
    pairs = {(one["teacher"], one["student"]) for one in found["faster"]}
    assert pairs == {("bert-4x32", "bert-1x16")}
    assert all(one["times"]["low"] < one["times"]["high"] for one in found["faster"])


@pytest.mark.recipe
def test_distillation_is_compared_with_the_same_loop_without_a_teacher(found: dict[str, Any]) -> None:
    steps = found["distillation"]["steps_per_s"]
    assert {way: len(each) for way, each in steps.items()} == {"task_only": 2, "live": 2, "cached": 2}
    assert found["distillation"]["time_over_task_only"]["task_only"] == 1.0


@pytest.mark.recipe
def test_a_runtime_that_crashes_is_named_and_the_rest_is_there(found: dict[str, Any]) -> None:
    reasons = {one["part"]: one["reason"] for one in found["left_out"] if "part" in one}
    assert "SIGSEGV" in reasons["latency crashing-fp16 text"]
    assert "SIGSEGV" in reasons["latency crashing-fp16 image-conv"]
    if not torch.cuda.is_available():
        refused = {one["reason"] for one in found["left_out"] if one.get("runtime") == "torch-graph-fp16"}
        assert all("CUDA" in reason for reason in refused)
        assert refused


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--out", str(out), "--minutes", "0"]) == 0
    found = json.loads(out.read_text())
    assert found["latency"] == []
    reasons = {one["part"]: one["reason"] for one in found["left_out"]}
    assert reasons.pop("trtexec") == "trtexec is not on PATH"
    assert set(reasons.values()) == {"the time was up"}
    assert {"machine", "distillation", "prepare text", "latency tensorrt-fp8 image-conv"} <= set(reasons)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device is here")
def test_full_size_without_a_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--out", str(tmp_path / "gpu.json")])
    assert "no CUDA device is here; --tiny checks the program" in capsys.readouterr().err


def test_a_group_is_measured_in_all_runtimes_before_the_next_and_the_extra_one_last(tmp_path: Path) -> None:
    known = gpu.runtimes("cpu", gpu.BATCHES)
    given = gpu.argparse.Namespace(tiny=True, minutes=1.0, out=tmp_path / "gpu.json", work=None, builders=1)
    units = gpu.Benchmark(given, "cpu", known, tmp_path).units()
    assert [unit.group for unit in units] == ["text"] * 7 + ["image-conv"] * 7 + ["text", "image-conv"]
    assert {unit.runtime for unit in units[-2:]} == {"torch-graph-fp16"}
