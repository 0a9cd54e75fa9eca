"""Where the time of a student's files goes, operator by operator, as each runtime's own profile tells it.

    python benchmarks/operator_times.py RUN VARIANT...

RUN is a finished run's folder, whose student is exported as each variant of the target `cpu`. The same requests of one
row are asked of each file, one file after the other, under the profiler. Each operator's median over the requests is
told, so that what others do on the machine counts little. What stands between operators (the call, idle threads that
wake, the profiler itself) is the request's median less their sum. Shares tell where to look; how fast a file is the
race tells.
"""

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _common import record

from kd2deploy.core import Artifact, Feed, Target
from kd2deploy.exporters._cpu import intra_op_threads
from kd2deploy.exporters.bundle import read_bundle
from kd2deploy.exporters.onnx.serving import entries_of
from kd2deploy.exporters.openvino import MODEL
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.resolve import load_target
from kd2deploy.stages.convert import convert
from kd2deploy.stages.job import encoded, model_at
from kd2deploy.stages.prepare import prepare

TOLD = 6
"""Kinds of operators that are told of each file; the rest is one row."""
WARM = 20

Durations = Mapping[tuple[str, str], Sequence[float]]
"""Milliseconds of every request, by an operator's kind and name."""
Profile = tuple[Sequence[float], Durations]
"""Milliseconds of every request, and of its operators."""


def onnx_profile(artifact: Artifact, target: Target, session: Mapping[str, Any], feeds: Sequence[Feed]) -> Profile:
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = intra_op_threads(target)
        options.enable_profiling, options.profile_file_prefix = True, str(Path(scratch) / "profile")
        for name, value in entries_of(session).items():
            options.add_session_config_entry(name, value)
        opened = onnxruntime.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
        names = [port.name for port in opened.get_inputs()]
        given = [{name: feed[name] for name in names} for feed in feeds]
        for feed in given[:WARM]:
            opened.run(None, feed)
        whole = []
        for feed in given:
            start = time.perf_counter()
            opened.run(None, feed)
            whole.append((time.perf_counter() - start) * 1e3)
        events = json.loads(Path(opened.end_profiling()).read_text())
    spent = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"], event["name"]].append(event["dur"] / 1e3)
    return whole, {node: found[WARM:] for node, found in spent.items()}


def openvino_profile(artifact: Artifact, target: Target, session: Mapping[str, Any], feeds: Sequence[Feed]) -> Profile:
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": intra_op_threads(target),
        "INFERENCE_PRECISION_HINT": session.get("precision", "f32"),
        "PERF_COUNT": True,
    }
    compiled = openvino.Core().compile_model(artifact.path / MODEL, "CPU", settings)
    request, names = compiled.create_infer_request(), [port.get_any_name() for port in compiled.inputs]
    given = [{name: feed[name] for name in names} for feed in feeds]
    for feed in given[:WARM]:
        request.infer(feed, share_inputs=True)
    whole, spent = [], defaultdict(list)
    for feed in given:
        start = time.perf_counter()
        request.infer(feed, share_inputs=True)
        whole.append((time.perf_counter() - start) * 1e3)
        for node in request.get_profiling_info():
            if node.status == openvino.ProfilingInfo.Status.EXECUTED:
                spent[node.node_type, node.node_name].append(node.real_time.total_seconds() * 1e3)
    return whole, spent


def rows_of(name: str, profile: Profile) -> list[dict[str, Any]]:
    whole, nodes = profile
    ms, counts = median(whole), Counter(kind for kind, _ in nodes)
    kinds: dict[str, float] = defaultdict(float)
    for (kind, _), found in nodes.items():
        kinds[kind] += median(found)
    told: list[tuple[str, int, float]] = [
        (kind, counts[kind], spent) for kind, spent in sorted(kinds.items(), key=lambda one: -one[1])[:TOLD]
    ]
    rest = kinds.keys() - {kind for kind, *_ in told}
    told.append(("other operators", sum(counts[kind] for kind in rest), sum(kinds[kind] for kind in rest)))
    told.append(("between operators", 0, ms - sum(spent for _, _, spent in told)))
    return [
        {"file": name, "operator": kind, "per request": count or "", "us": 1e3 * spent, "share": spent / ms}
        for kind, count, spent in told
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--requests", type=int, default=256)
    given = parser.parse_args()
    bundle, target = read_bundle(given.run / "bundle"), load_target("cpu")
    _, splits, _ = prepare(Recipe.read(given.run / "bundle" / "recipe.yaml"))
    model = model_at(given.run / "bundle", bundle.task)
    samples = timing_feeds(model.task, encoded(model.task, splits.train[:128], model.folder), 8, 16)
    feeds = timing_feeds(model.task, encoded(model.task, splits.eval, model.folder), 1, given.requests)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for name in given.variants:
            one = convert(model, target, name, target.variants[name], Path(place), samples)
            profiled = openvino_profile if one.artifact.opened_by.endswith("OpenVinoSession") else onnx_profile
            rows += rows_of(name, profiled(one.artifact, target, one.session, feeds))
    record("operator_times", rows, {"requests": len(feeds), "threads": intra_op_threads(target)})


if __name__ == "__main__":
    main()
