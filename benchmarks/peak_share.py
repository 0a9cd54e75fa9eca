"""How much of the machine's own fp32 matrix-multiplication peak teacher and student reach, at batch 1 and 8.

    python benchmarks/peak_share.py RUN

The peak is measured here, before and after, on as many threads as the sessions use. Operations are counted from the
shapes (two per multiply-add of the linear layers and attention products); eager PyTorch and plain ONNX, both fp32.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from _common import record
from transformers import AutoConfig

from kd2deploy.flows.given import network
from kd2deploy.measure.latency import race
from kd2deploy.measure.machine import matmul_gflops
from kd2deploy.measure.protocol import quick
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe.resolve import load_target
from kd2deploy.stages.convert import convert
from kd2deploy.train.shapes import flops

LENGTH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    models = {
        "teacher": network(str(next((given.run / "stages").glob("teacher-*")) / "teacher"), "text_classification"),
        "student": network(str(next((given.run / "stages").glob("student-seed*")) / "student"), "text_classification"),
    }
    configs = {name: AutoConfig.from_pretrained(model.folder) for name, model in models.items()}
    rows = []
    peaks = [matmul_gflops(seconds=2.0)]
    for batch in (1, 8):
        target = load_target("cpu")
        target = replace(target, workload=replace(target.workload, batch=batch))
        with tempfile.TemporaryDirectory() as place:
            contenders = []
            for name, model in models.items():
                example = model.task.networks.example(
                    model.task.networks.load(model.folder), batch, sequence_length=LENGTH
                )
                feed = {port.name: example[port.name].numpy() for port in model.task.inputs}
                onnx = convert(model, target, "onnx", target.variants["onnx"], Path(place), [feed])
                contenders += [
                    Contender(f"{name}, eager", model.artifact, feeds=[feed]),
                    Contender(f"{name}, onnx", onnx.artifact, onnx.session, feeds=[feed]),
                ]
            timings = race(contenders, model.task.spec(), target, [feed], quick())
        peaks.append(matmul_gflops(seconds=2.0))
        for contender in contenders:
            timing = timings[contender.name]
            operations = batch * flops(configs[contender.name.split(",")[0]], LENGTH)
            ms = float(np.median(timing.samples_ms))
            reached = operations / ms / 1e6
            rows.append(
                {
                    "network": contender.name,
                    "batch": batch,
                    "GFLOP": operations / 1e9,
                    "median ms": ms,
                    "GFLOP/s": reached,
                    "share of peak": reached / float(np.median(peaks)),
                }
            )
    record("peak_share", rows, {"peak GFLOP/s": [round(peak, 1) for peak in peaks], "tokens": LENGTH})


if __name__ == "__main__":
    main()
