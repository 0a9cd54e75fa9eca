"""Every runtime on this device in one command, into one JSON file: `python benchmarks/gpu.py --out gpu.json`.

Teachers against students, batches 1 to 128, as latency on the device alone and from host to host, with the share of the
device's own measured matrix products and copy bandwidth; and distillation steps per second with and without the
teacher's cache. Networks are untrained: nothing here says how accurate anything is. It stops after `--minutes` and says
what it left out. `--tiny` runs the same on a processor in under a minute, to check the program and not the machine.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from _gpu_networks import Size, Timed, save, sizes
from _gpu_runners import RUNTIMES, Subject, runner
from torch.utils.flop_counter import FlopCounterMode

from kd2deploy.core import Target
from kd2deploy.errors import Kd2DeployError
from kd2deploy.measure.machine import changed, describe_machine, state
from kd2deploy.methods.logit import logit
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.engine import distill
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache

WARM_UP, LEAST, SECONDS = 10, 30, 0.5
"""Runs before the clock, runs at least, and seconds at most of one figure."""


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the processor where there is no device")
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--runtimes", nargs="*", default=list(RUNTIMES), choices=RUNTIMES)
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device is here; --tiny checks the program on a processor")
    transformers.utils.logging.disable_progress_bar()
    deadline = time.monotonic() + 60 * given.minutes
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = state()
    report: dict[str, Any] = {
        "device": device,
        "tiny": given.tiny,
        "machine": describe_machine().to_json(),
        "before": before.to_json(),
        "peaks": peaks(device, given.tiny),
        "networks": {},
        "latency": [],
        "left_out": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        report["distillation"] = distillation(Path(scratch, "distillation"), given.tiny, device)
        latencies(report, Path(scratch), given, Target("here", "this machine", device, {}), deadline)  # type: ignore[arg-type]
    report["changed"] = list(changed(before, state()))
    write(report, given.out)
    print(f"{len(report['latency'])} figures in {given.out}, {len(report['left_out'])} left out")
    return 0


def latencies(
    report: dict[str, Any], scratch: Path, given: argparse.Namespace, target: Target, deadline: float
) -> None:
    """Runtime by runtime, each on every network; the report is written after each."""
    batches = [1, 4] if given.tiny else [1, 8, 32, 128]
    subjects = {size.name: subject_of(size, scratch / size.name, given.tiny, target) for size in sizes(given.tiny)}
    for size in sizes(given.tiny):
        report["networks"][size.name] = {**asdict(size), **facts(subjects[size.name], batches)}
    for runtime in given.runtimes:
        for name, subject in subjects.items():
            entry = {"network": name, "runtime": runtime}
            if time.monotonic() > deadline:
                report["left_out"].append({**entry, "reason": "the time was up"})
                continue
            try:
                figures = measured(runtime, subject, batches, deadline)
            # Each runtime fails in its own way on a network it cannot run, and the others are still to be measured.
            except (Kd2DeployError, RuntimeError, ValueError, ImportError, OSError) as error:
                report["left_out"].append({**entry, "reason": f"{type(error).__name__}: {str(error)[:400]}"})
                continue
            for figure in figures:
                report["latency"].append({**entry, **figure, **shares(report, name, runtime, figure)})
            write(report, given.out)
            print(f"{runtime:20} {name}", file=sys.stderr)


def subject_of(size: Size, folder: Path, tiny: bool, target: Target) -> Subject:
    (folder / "work").mkdir(parents=True)
    edges = (16, 32, 4000) if tiny else (128, 224, 64000)
    return Subject(save(size, folder / "network"), Timed(size.family, *edges), target, folder / "work")


def facts(subject: Subject, batches: list[int]) -> dict[str, Any]:
    """Parameters, and operations of one request by batch (a multiplication and an addition are two)."""
    net = subject.task.load(subject.folder)
    inputs = subject.task.example(net, 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        subject.task.deployed(net)(*(inputs[port.name] for port in subject.task.inputs))
    return {
        "parameters": sum(one.numel() for one in net.parameters()),
        "flops": {str(batch): batch * counter.get_total_flops() for batch in batches},
    }


def measured(runtime: str, subject: Subject, batches: list[int], deadline: float) -> list[dict[str, Any]]:
    begun = time.perf_counter()
    opened = runner(runtime, subject, batches)
    open_s, net, figures = time.perf_counter() - begun, subject.task.load(subject.folder), []
    for batch in batches:
        if time.monotonic() > deadline:
            break
        feed = {name: value.numpy() for name, value in subject.task.example(net, batch).items()}
        compute, run = opened.prepare(feed)
        figures.append(
            {
                "batch": batch,
                "device_ms": timed(compute),
                "host_ms": timed(run),
                "open_s": open_s,
                "describe": opened.describe,
            }
        )
    return figures


def timed(call: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of a blocking call: median, least, 90th percentile and the number of samples."""
    for _ in range(WARM_UP):
        call()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < LEAST or (time.perf_counter() - begun < SECONDS and len(taken) < 1000):
        start = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - start) / 1e6)
    ordered = sorted(taken)
    return {
        "median": statistics.median(taken),
        "least": ordered[0],
        "p90": ordered[int(0.9 * len(ordered))],
        "samples": len(taken),
    }


def shares(report: dict[str, Any], name: str, runtime: str, figure: dict[str, Any]) -> dict[str, float]:
    """The share of the device's measured peaks that a figure reaches: in products, and in reading the weights once."""
    network, seconds = report["networks"][name], figure["device_ms"]["median"] / 1e3
    half = not runtime.endswith("fp32")
    peak = report["peaks"]["fp16_tflops" if half else "fp32_tflops"] * 1e12
    weights = network["parameters"] * (2 if half else 4)
    return {
        "matmul_share": network["flops"][str(figure["batch"])] / seconds / peak,
        "weights_bandwidth_share": weights / seconds / (report["peaks"]["copy_gb_per_s"] * 1e9),
    }


def peaks(device: str, tiny: bool) -> dict[str, float]:
    """What the device itself reaches: square matrix products, and copying (read and write counted)."""
    edge, copied = (256, 1 << 20) if tiny else (8192, 1 << 30)

    def fastest(call: Callable[[], Any]) -> float:
        def blocking() -> None:
            call()
            if device == "cuda":
                torch.cuda.synchronize()

        return timed(blocking)["least"] / 1e3

    found = {}
    for name, kind in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)):
        one = torch.ones(edge, edge, device=device, dtype=kind)
        found[f"{name}_tflops"] = 2 * edge**3 / fastest(lambda one=one: torch.mm(one, one)) / 1e12  # type: ignore[misc]
    source = torch.ones(copied, device=device, dtype=torch.uint8)
    goal = torch.empty_like(source)
    found["copy_gb_per_s"] = 2 * copied / fastest(lambda: goal.copy_(source)) / 1e9
    return found


def distillation(folder: Path, tiny: bool, device: str) -> dict[str, Any]:
    """Optimizer steps per second of the real engine in bf16, with the teacher run live and with its answers cached."""
    teacher_size, student_size = sizes(tiny)[:2]
    rows, length, batch = (64, 16, 8) if tiny else (4096, 128, 32)
    drawn = np.random.default_rng(0)
    words = drawn.integers(5, 64, size=(rows, length))
    features = [
        {"input_ids": row, "pad_id": 0, "labels": int(row[1]) % 2, "index": index} for index, row in enumerate(words)
    ]
    task = TextClassification(labels=("no", "yes"), max_length=length)
    settings = Settings(epochs=1, batch=batch, precision="bf16", keep="last", checkpoint_every=10**6)
    found: dict[str, Any] = {
        "teacher": teacher_size.name,
        "student": student_size.name,
        "batch": batch,
        "length": length,
    }
    teacher = task.load(save(teacher_size, folder / "teacher"))
    begun = time.perf_counter()
    cache = TeacherCache.open_or_fill(
        folder / "cache",
        task,
        teacher,
        features,
        teacher_hash="untrained",
        device=device,  # type: ignore[arg-type]
    )
    found["cache_fill_s"] = time.perf_counter() - begun
    for name, kept in (("live", None), ("cached", cache)):
        student = task.load(save(student_size, folder / f"student-{name}"))
        trained = distill(
            task,
            student,  # type: ignore[arg-type]
            logit(),
            features=features,
            settings=settings,
            folder=folder / name,
            seed=0,
            teacher=teacher,
            cache=kept,
            device=device,  # type: ignore[arg-type]
        )
        found[name] = {
            "steps": trained.steps,
            "seconds": trained.seconds,
            "steps_per_s": trained.steps / trained.seconds,
        }
    return found


def write(report: dict[str, Any], path: Path) -> None:
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(report, indent=1, default=str) + "\n")
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
