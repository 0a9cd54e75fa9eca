"""What one worker of a race takes of memory, by the runtime that its file is opened with, and whether it holds PyTorch.

    python benchmarks/worker_memory.py

The file is six layers of 384 x 1536 behind 2,000 embeddings, in fp32. Each row is a worker's peak of resident memory
after its file was opened and run on every request. It does not depend on other work on the machine.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from _common import record

from kd2deploy.core import Artifact, Feed, Target, made
from kd2deploy.measure.feeds import write_feeds
from kd2deploy.measure.processes import WorkerProcess
from kd2deploy.measure.timing import Contender

SPEC = {"use": "text_classification", "labels": ["no", "yes"], "max_length": 64}
TARGET = Target(name="here", about="this machine", device="cpu", variants={}, threads=1)
WORDS, WIDE, INNER, LAYERS = 2000, 384, 1536, 6


def main() -> None:
    with TemporaryDirectory() as place:
        graph = saved(Path(place) / "model.onnx")
        feeds = write_feeds(requests(), Path(place) / "feeds")
        rows = [
            {"runtime": "ONNX Runtime", **taken(made(graph, "kd2deploy.exporters.onnx.OnnxSession"), feeds)},
            {"runtime": "OpenVINO", **taken(in_openvino(graph, Path(place) / "openvino"), feeds)},
        ]
    record("worker_memory", rows, {"layers": LAYERS, "wide": WIDE, "inner": INNER, "threads": TARGET.threads})


def taken(artifact: Artifact, feeds: Path) -> dict[str, Any]:
    with WorkerProcess(Contender("one", artifact), SPEC, TARGET, timeout_s=300.0) as worker:
        worker.open()
        worker.ask("warm", feeds=str(feeds), seconds=0.0, runs=1)
        peak = worker.ask("describe")["peak_rss_mb"]
        loaded = Path(f"/proc/{worker._process.pid}/maps").read_text()
        worker.ask("close")
    return {"file_mb": artifact.size_mb, "peak_mb": peak, "holds torch": "libtorch" in loaded}


def saved(path: Path) -> Path:
    """A network as deep and wide as a small student's dense layers, whose answers nobody reads."""
    drawn, tensor = np.random.default_rng(0), onnx.numpy_helper.from_array
    sizes = {"words": (WORDS, WIDE), "head": (WIDE, 2)}
    nodes = [onnx.helper.make_node("Gather", ["words", "input_ids"], ["layer 0"])]
    for at in range(LAYERS):
        sizes |= {f"up {at}": (WIDE, INNER), f"down {at}": (INNER, WIDE)}
        nodes += [
            onnx.helper.make_node("MatMul", [f"layer {at}", f"up {at}"], [f"wide {at}"]),
            onnx.helper.make_node("Relu", [f"wide {at}"], [f"bent {at}"]),
            onnx.helper.make_node("MatMul", [f"bent {at}", f"down {at}"], [f"layer {at + 1}"]),
        ]
    nodes += [
        onnx.helper.make_node("ReduceMean", [f"layer {LAYERS}", "axes"], ["pooled"], keepdims=0),
        onnx.helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    held = [tensor((0.02 * drawn.standard_normal(size)).astype(np.float32), name) for name, size in sizes.items()]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "dense",
        [info("input_ids", onnx.TensorProto.INT64, ["batch_size", "sequence_length"])],
        [info("logits", onnx.TensorProto.FLOAT, ["batch_size", 2])],
        [*held, tensor(np.array([1]), "axes")],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def in_openvino(graph: Path, folder: Path) -> Artifact:
    import openvino

    openvino.save_model(openvino.convert_model(graph), folder / "openvino_model.xml", compress_to_fp16=False)
    return made(folder, "kd2deploy.exporters.openvino.OpenVinoSession")


def requests() -> list[Feed]:
    drawn = np.random.default_rng(0)
    return [{"input_ids": drawn.integers(0, WORDS, (1, length))} for length in (8, 16, 24, 32)]


if __name__ == "__main__":
    main()
