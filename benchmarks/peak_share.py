"""How much of the machine's own peaks teacher and student reach, at batch 1 and 8, by file and precision.

    python benchmarks/peak_share.py RUN

The peaks (fp32, bf16, int8, and memory bandwidth) are measured here, before and after, on as many threads as the
sessions use; what counts is the better of the two. Operations are counted as PyTorch runs the network (two per
multiply-add of products, convolutions and attention), less those that a file leaves out. The variants that are named
and can be made are timed beside eager PyTorch.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from _common import record

from kd2deploy.core.roofline import Peaks
from kd2deploy.errors import ConvertError
from kd2deploy.flows.given import network
from kd2deploy.measure.latency import race
from kd2deploy.measure.processes import with_threads
from kd2deploy.measure.protocol import quick
from kd2deploy.measure.roofline import PEAK_OF, peaks, reached
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe.resolve import load_target
from kd2deploy.stages.convert import convert, unusable
from kd2deploy.stages.limits import network_gflop

LENGTH = 64
PEAK_S = 1.0
VARIANTS = ["onnx", "onnx-fused", "onnx-fused-int8", "openvino-int8", "openvino-traced-int8"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    given = parser.parse_args()
    models = {
        "teacher": network(str(next((given.run / "stages").glob("teacher-*")) / "teacher"), "text_classification", {}),
        "student": network(
            str(next((given.run / "stages").glob("student-seed*")) / "student"), "text_classification", {}
        ),
    }
    rows, target = [], load_target("cpu")
    threads = with_threads(target).threads
    limits = peaks(threads, PEAK_S)
    for batch in (1, 8):
        target = replace(target, workload=replace(target.workload, batch=batch))
        gflop: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as place:
            contenders, precisions = [], {}
            for name, model in models.items():
                example = model.task.networks.example(
                    model.task.networks.load(model.folder), batch, sequence_length=LENGTH
                )
                feed = {port.name: example[port.name].numpy() for port in model.task.inputs}
                gflop[name] = network_gflop(model, feed)
                contenders.append(Contender(f"{name}, eager", model.artifact, feeds=[feed]))
                for variant in given.variants:
                    if unusable(target, target.variants[variant]):
                        continue
                    try:
                        made = convert(model, target, variant, target.variants[variant], Path(place), [feed])
                    except ConvertError as error:
                        print(f"{name}, {variant} is left out: {error}")
                        continue
                    precisions[f"{name}, {variant}"] = made.artifact.precision
                    contenders.append(Contender(f"{name}, {variant}", made.artifact, made.session, feeds=[feed]))
            timings = race(contenders, model.task.spec(), target, [feed], quick())
            weights = {one.name: one.artifact.weights_mb for one in contenders}
        limits = better(limits, peaks(threads, PEAK_S))
        for contender in contenders:
            timing = timings[contender.name]
            if timing.failure:
                continue
            precision = precisions.get(contender.name, "fp32")
            ms = float(np.median(timing.samples_ms))
            operations = gflop[contender.name.split(",")[0]] * contender.artifact.computes
            found = reached(limits, operations, precision, weights[contender.name], ms)
            if found is not None:
                rows.append(
                    {
                        "file": contender.name,
                        "batch": batch,
                        "GFLOP": operations,
                        "median ms": ms,
                        "GFLOP/s": found.gflop_per_s,
                        "of the peak in": PEAK_OF[precision],
                        "share": found.of_peak,
                        "bound by": found.bound,
                    }
                )
    notes = {"GFLOP/s": limits.gflop_per_s, "GB/s": limits.gb_per_s, "threads": threads, "tokens": LENGTH}
    record("peak_share", rows, notes)


def better(one: Peaks, other: Peaks) -> Peaks:
    """The higher of either, each by itself."""
    found = {kind: max(rate, other.gflop_per_s[kind]) for kind, rate in one.gflop_per_s.items()}
    return Peaks(one.threads, found, max(one.gb_per_s, other.gb_per_s))


if __name__ == "__main__":
    main()
