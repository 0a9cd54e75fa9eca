"""The file that a run deploys against what its user would get of other libraries, in one interleaved race.

    python benchmarks/best_artifact.py RUN [RUN ...] --peers PYTHON [--batch 1 8] [--longest 16] [--neighbour]

Each RUN is a finished run's folder, whose student is taken as it is: for every workload (batch, longest text) it is
deployed anew by a run of this program, which chooses among its variants for that workload, and raced against the peers'
files of the very same network. PYTHON is the interpreter of an environment with optimum-onnx, nncf and openvino
(benchmarks/_peers.py says how they are used). `--neighbour` adds the busy process that `measurement:
{neighbour: true}` has.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _common import record

from kd2deploy.core import Artifact, Feed, Target, Task, made, open_session
from kd2deploy.exporters.bundle import Bundle, read_bundle
from kd2deploy.flows.compress import compress
from kd2deploy.measure.accuracy import score_open, timing_feeds
from kd2deploy.measure.busy_neighbour import busy_neighbour
from kd2deploy.measure.latency import race, speedup
from kd2deploy.measure.protocol import full
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.resolve import load_target
from kd2deploy.stages.job import encoded
from kd2deploy.stages.prepare import prepare

ONNX, OPENVINO = "kd2deploy.exporters.onnx.OnnxSession", "kd2deploy.exporters.openvino.OpenVinoSession"
TASKS = {"text_classification": "text-classification", "image_classification": "image-classification"}
CALIBRATED_ON = 128
LIMITS = ("limit_train", "limit_eval", "limit_labels")


@dataclass(frozen=True)
class Workload:
    batch: int
    longest: int | None
    """Tokens that texts are cut at; None: as the run has it."""

    def said(self) -> str:
        return f"batch {self.batch}" + (f", up to {self.longest} tokens" if self.longest else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--longest", type=int, nargs="*", default=[16])
    parser.add_argument("--cap", type=float, default=15.0)
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--name", default="best_artifact")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for run in given.runs:
        recipe = Recipe.read(run / "bundle" / "recipe.yaml")
        texts = as_block(recipe.task)["use"] == "text_classification"
        for longest in [*given.longest, None] if texts else [None]:
            for batch in given.batch:
                rows += compared(run, recipe, Workload(batch, longest), given)
                record(given.name, rows, {"neighbour": given.neighbour, "cap_s": given.cap})


def compared(run: Path, recipe: Recipe, work: Workload, given: argparse.Namespace) -> list[dict[str, Any]]:
    with (
        tempfile.TemporaryDirectory(prefix="kd2deploy-best-") as place,
        busy_neighbour(cpu(work)) if given.neighbour else nullcontext(),
    ):
        folder = Path(place)
        ours, variant = deployed(run, recipe, work, folder / "run")
        target = cpu(work)
        _, splits, _ = prepare(Recipe.read(ours.folder / "recipe.yaml"))
        samples = encoded(ours.task, splits.train[:CALIBRATED_ON], ours.folder)
        features = encoded(ours.task, splits.eval, ours.folder)
        calibration = [ours.task.reader.feed([one]) for one in samples]
        contenders = [
            Contender("ours", ours.artifact, ours.session),
            *peers(given.peers, ours, calibration, folder),
        ]
        feeds = timing_feeds(ours.task, features, work.batch, 256)
        protocol = full()
        protocol = replace(protocol, stop=replace(protocol.stop, cap_s=given.cap))
        timings = race(contenders, ours.task.spec(), target, feeds, protocol)
        found = []
        for one in contenders:
            timing, row = timings[one.name], named(run, work, one.name)
            if timing.failure:
                found.append({**row, "ms": timing.failure, "over ours": "", "interval": "", "score": ""})
                continue
            ratio = speedup(timing, timings["ours"]).interval
            with open_session(one.artifact, ours.task.ports, target, one.options) as session:
                score = score_open(session, ours.task, features, splits.eval).scores
            found.append(
                {
                    **row,
                    **({"artifact": f"ours ({variant})"} if one.name == "ours" else {}),
                    "ms": float(np.median(timing.samples_ms)),
                    "over ours": ratio.estimate,
                    "interval": f"[{ratio.low:.3g}, {ratio.high:.3g}]",
                    "score": score.metrics[ours.task.metric.name],
                }
            )
        return found


def named(run: Path, work: Workload, artifact: str) -> dict[str, Any]:
    return {"run": run.name, "workload": work.said(), "artifact": artifact}


def cpu(work: Workload) -> Target:
    target = load_target("cpu")
    return replace(target, workload=replace(target.workload, batch=work.batch))


def deployed(run: Path, recipe: Recipe, work: Workload, out: Path) -> tuple[Bundle, str]:
    """The run's student as it is, with the file that this program chooses for the workload; the variant it chose."""
    student = str((run / "bundle").resolve())
    said = recipe.spec()
    if work.longest:
        said["task"] = {**as_block(said["task"]), "max_length": work.longest}
    out.mkdir()
    target = out.with_name("target.yaml")
    target.write_text(yaml.safe_dump(asdict(cpu(work))))
    kept = {
        "task": said["task"],
        "data": said["data"],
        **{key: said[key] for key in LIMITS if key in said},
        "baseline": student,
        "student": {"from": student},
        "distill": [],
        "control": False,
        "targets": [str(target)],
        "measurement": {"processes": 3, "cap_s": 3},
        "gates": {"max_drop": 1.0},
    }
    (result,) = compress(Recipe.parse(kept), out)
    (variant,) = [one.name for one in result.report.tried if one.fate == "deployed"]
    return read_bundle(out / "bundle"), variant


def as_block(block: Any) -> dict[str, Any]:
    return {"use": block} if isinstance(block, str) else dict(block)


def peers(python: Path, ours: Bundle, calibration: Sequence[Feed], folder: Path) -> Iterator[Contender]:
    """What the other libraries make of the same network, each opened as its own documentation does."""
    samples, out = folder / "samples", folder / "peers"
    samples.mkdir()
    for place, feed in enumerate(calibration):
        np.savez(samples / f"{place:04d}.npz", **dict[str, Any](feed))
    command = [str(python), str(Path(__file__).with_name("_peers.py")), str(ours.folder), str(out), str(samples)]
    attends = ["--transformer"] if attention(ours.task, ours.folder) else []
    subprocess.run([*command, "--task", TASKS[ours.task.name], *attends], check=True, capture_output=True)
    said: Mapping[str, Any] = json.loads((out / "made.json").read_text())
    for name, one in said.items():
        if "failed" in one:
            print(f"{name}: {one['failed']}")
            continue
        runs = OPENVINO if name in ("openvino_fp32", "nncf_int8") else ONNX
        precision = "int8" if name.endswith("int8") else "fp32"
        artifact: Artifact = made((out / name / one["file"]).resolve(), runs, precision=precision)
        yield Contender(name.replace("_", " "), artifact, {})
        if name == "openvino_fp32":
            yield Contender("openvino bf16", artifact, {"precision": "bf16"})


def attention(task: Task, folder: Path) -> bool:
    """Whether NNCF is to be told that a network is a transformer."""
    return any("attention" in name for name, _ in task.networks.load(folder).named_modules())


if __name__ == "__main__":
    main()
