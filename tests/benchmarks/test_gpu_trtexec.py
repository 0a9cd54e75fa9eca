"""What `trtexec` is asked, and what is read of its answer: a sample in its format, with our own numbers."""

from pathlib import Path

import pytest
from _gpu_timing import Protocol
from _gpu_trtexec import command, medians

PRINTED = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v101300] # trtexec --loadEngine=model.engine
[11/24/2026-10:00:01] [I] === Trace details ===
[11/24/2026-10:00:01] [I] Average on 10 runs - GPU latency: 0.75 ms - Host latency: 0.76 ms (enqueue 0.01 ms)
[11/24/2026-10:00:02] [I] === Performance summary ===
[11/24/2026-10:00:02] [I] Throughput: 1320.5 qps
[11/24/2026-10:00:02] [I] Latency: min = 0.74 ms, max = 0.9 ms, mean = 0.7625 ms, median = 0.7602 ms
[11/24/2026-10:00:02] [I] Enqueue Time: min = 0.002 ms, max = 0.03 ms, mean = 0.0041 ms, median = 0.0039 ms
[11/24/2026-10:00:02] [I] H2D Latency: min = 0 ms, max = 0 ms, mean = 0 ms, median = 0 ms, percentile(90%) = 0 ms
[11/24/2026-10:00:02] [I] GPU Compute Time: min = 0.73 ms, max = 0.89 ms, mean = 0.7511 ms, median = 0.75 ms
[11/24/2026-10:00:02] [I] D2H Latency: min = 0 ms, max = 0 ms, mean = 0 ms, median = 0 ms, percentile(90%) = 0 ms
&&&& PASSED TensorRT.trtexec [TensorRT v101300] # trtexec --loadEngine=model.engine
"""
PROTOCOL = Protocol(seconds=0.4)


def test_the_medians_of_the_latency_and_of_the_computation_are_read() -> None:
    assert medians(PRINTED) == {"trtexec_latency_ms": 0.7602, "trtexec_compute_ms": 0.75}


def test_very_small_numbers_are_read() -> None:
    assert medians(PRINTED.replace("median = 0.75 ms", "median = 9.5e-05 ms"))["trtexec_compute_ms"] == 9.5e-05


@pytest.mark.parametrize("lost", ["] Latency", "GPU Compute Time"])
def test_another_format_is_an_error_and_no_other_line_is_taken(lost: str) -> None:
    with pytest.raises(ValueError, match="printed no median"):
        medians(PRINTED.replace(lost, "] Something"))


def test_recorded_launches_and_no_copies_are_asked_for() -> None:
    asked = command(Path("model.engine"), {"ids": (1, 128), "mask": (1, 128)}, 10, PROTOCOL)
    assert asked[:3] == ["trtexec", "--loadEngine=model.engine", "--shapes=ids:1x128,mask:1x128"]
    assert {"--useCudaGraph", "--noDataTransfers", "--warmUp=200", "--duration=1"} <= set(asked)


def test_version_11_does_both_unasked() -> None:
    assert not {"--useCudaGraph", "--noDataTransfers"} & set(command(Path("e"), {"x": (1, 3)}, 11, PROTOCOL))
