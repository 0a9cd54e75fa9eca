"""The benchmark for GPUs, run whole on a processor with tiny networks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"

pytestmark = pytest.mark.recipe


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=300)


def test_one_command_writes_latencies_shares_and_training_speed(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = run("--tiny", "--out", str(out), "--runtimes", "torch-eager-fp32", "ort-fp16", "torch-graph-fp16")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert set(found["networks"]) == {"bert-4x32", "bert-1x16", "resnet-2"}
    figures = {(one["network"], one["runtime"], one["batch"]): one for one in found["latency"]}
    assert len(figures) >= 12
    for name, facts in found["networks"].items():
        assert facts["flops"]["4"] == 4 * facts["flops"]["1"] > 0
        for runtime in ("torch-eager-fp32", "ort-fp16"):
            one = figures[name, runtime, 4]
            assert one["device_ms"]["samples"] >= 30
            assert one["device_ms"]["least"] <= one["device_ms"]["median"] <= one["device_ms"]["p90"]
            assert one["host_ms"]["median"] > 0
            assert one["matmul_share"] > 0
            assert one["weights_bandwidth_share"] > 0
    assert set(found["peaks"]) == {"fp32_tflops", "fp16_tflops", "bf16_tflops", "copy_gb_per_s"}
    assert found["distillation"]["live"]["steps"] == found["distillation"]["cached"]["steps"] == 8
    if not torch.cuda.is_available():
        (reason,) = {one["reason"] for one in found["left_out"] if one["runtime"] == "torch-graph-fp16"}
        assert "a CUDA graph needs a CUDA device" in reason


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    assert run("--tiny", "--out", str(out), "--minutes", "0").returncode == 0
    found = json.loads(out.read_text())
    assert found["latency"] == []
    assert {one["reason"] for one in found["left_out"]} == {"the time was up"}
    assert len(found["left_out"]) == 27


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device is here")
def test_full_size_without_a_device_is_refused(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 2
    assert "no CUDA device is here; --tiny checks the program" in done.stderr
