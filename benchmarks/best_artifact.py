"""Our best CPU artifact of a student against what its user would get elsewhere, in one interleaved race.

    python benchmarks/best_artifact.py RUN [--optimum PYTHON]

RUN is a finished run's folder. PYTHON is the interpreter of another environment that holds optimum-onnx (it needs older
transformers than kd2deploy): its default ONNX export of the same student is run in ONNX Runtime as it stands.
"""

import argparse
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from _common import record

from kd2deploy.core import made
from kd2deploy.exporters.bundle import read_bundle
from kd2deploy.flows.compress import Recipe
from kd2deploy.flows.given import network
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.measure.latency import race, speedup
from kd2deploy.measure.protocol import full
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe.resolve import load_target
from kd2deploy.stages.convert import convert
from kd2deploy.stages.job import encoded
from kd2deploy.stages.prepare import prepare

ONNX_SESSION = "kd2deploy.exporters.onnx.OnnxSession"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--optimum", type=Path, help="python of an environment with optimum-onnx")
    parser.add_argument("--cap", type=float, default=120.0)
    given = parser.parse_args()
    bundle = read_bundle(given.run / "bundle")
    _, splits, _ = prepare(Recipe.read(given.run / "bundle" / "recipe.yaml"))
    target = load_target("cpu")
    model = network(str(given.run / "bundle"), bundle.task.name)
    model = replace(model, task=bundle.task)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        features = encoded(model.task, splits.train[:128], model.folder)
        samples = timing_feeds(model.task, features, 8, 16)
        contenders = [Contender("ours", bundle.artifact, bundle.session)]
        for name in ("onnx", "openvino", "compile"):
            one = convert(model, target, name, target.variants[name], folder, samples)
            contenders.append(replace(one.contender, name=f"{name} (fp32)"))
        if given.optimum:
            out = folder / "optimum"
            command = [
                str(given.optimum),
                "-m",
                "optimum.exporters.onnx",
                "--model",
                str(model.folder),
                "--task",
                "text-classification",
                str(out),
            ]
            subprocess.run(command, check=True, capture_output=True)
            contenders.append(Contender("optimum default export, ONNX Runtime", made(out / "model.onnx", ONNX_SESSION)))
        feeds = timing_feeds(model.task, encoded(model.task, splits.eval, model.folder), 1, 256)
        protocol = full()
        protocol = replace(protocol, stop=replace(protocol.stop, cap_s=given.cap))
        timings = race(contenders, model.task.spec(), target, feeds, protocol)
    rows = []
    for contender in contenders:
        timing = timings[contender.name]
        if timing.failure:
            rows.append(
                {"artifact": contender.name, "median ms": timing.failure, "min ms": "", "over ours": "", "interval": ""}
            )
            continue
        ratio = speedup(timing, timings["ours"]).interval
        rows.append(
            {
                "artifact": contender.name + (f" ({bundle.artifact.precision})" if contender.name == "ours" else ""),
                "median ms": float(np.median(timing.samples_ms)),
                "min ms": float(timing.samples_ms.min()),
                "over ours": ratio.estimate,
                "interval": f"[{ratio.low:.3g}, {ratio.high:.3g}]",
            }
        )
    record("best_artifact", rows, {"deployed": bundle.artifact.made_by, "inputs": len(feeds), "batch": 1})


if __name__ == "__main__":
    main()
