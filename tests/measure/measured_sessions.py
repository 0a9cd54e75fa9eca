"""A small task and real sessions for it, opened by their dotted names in workers of their own."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from kd2deploy.core import (
    Artifact,
    Batch,
    Features,
    Mark,
    Metric,
    Observation,
    Port,
    Ports,
    Reader,
    Row,
    Scores,
    Target,
    Task,
    TaskNetworks,
    Variant,
    made,
    trust,
)
from kd2deploy.errors import SessionError

HERE = "measured_sessions"
trust(HERE)
CPU = Target(name="here", about="this machine", device="cpu", variants={"plain": Variant()}, threads=1)


class NumberNetworks(TaskNetworks):
    auto = "none"

    def load(self, folder: Path) -> nn.Module:
        raise NotImplementedError("no test loads a network")

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        raise NotImplementedError("no test trains")

    def head(self, net: nn.Module) -> nn.Module:
        raise NotImplementedError("no test trains")

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        raise NotImplementedError("no test trains")

    def deployed(self, net: nn.Module) -> nn.Module:
        raise NotImplementedError("no test exports")

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        raise NotImplementedError("no test exports")


class NumberReader(Reader):
    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        return [{"x": np.asarray(row["numbers"], dtype=np.float32)} for row in rows]

    def collate(self, features: Sequence[Features]) -> Batch:
        raise NotImplementedError("no test trains")

    def feed(self, features: Sequence[Features]) -> dict[str, np.ndarray[Any, Any]]:
        padded = np.zeros((len(features), max(self.length(each) for each in features)), dtype=np.float32)
        for place, each in enumerate(features):
            padded[place, : self.length(each)] = each["x"]
        return {"x": padded}

    def length(self, features: Features) -> int:
        return len(features["x"])

    def row(self, given: str, other: str | None = None) -> Row:
        raise NotImplementedError("no test serves")


class ParityMetric(Metric):
    name, unit = "accuracy", "share"

    def __init__(self, binary: bool) -> None:
        self.binary = binary

    def statistics(self, outputs: Mapping[str, np.ndarray[Any, Any]], rows: Sequence[Row]) -> dict[str, Any]:
        return {"correct": np.array([row["label"] for row in rows]) == outputs["logits"].argmax(-1)}

    def scores(self, statistics: Mapping[str, np.ndarray[Any, Any]]) -> Scores:
        correct = statistics["correct"].astype(np.float64)
        metrics = {"accuracy": float(correct.mean())}
        return Scores(metrics, statistics, "the same", correct if self.binary else None)

    def at(self, statistics: Mapping[str, np.ndarray[Any, Any]], places: np.ndarray[Any, Any]) -> float:
        return float(statistics["correct"][places].mean())

    def agreement(
        self, one: Mapping[str, np.ndarray[Any, Any]], other: Mapping[str, np.ndarray[Any, Any]]
    ) -> dict[str, float]:
        a, b = one["logits"], other["logits"]
        cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1) + 1e-12)
        return {"top1": float(np.mean(a.argmax(-1) == b.argmax(-1))), "cosine": float(cosine.mean())}

    def answer(self, outputs: Mapping[str, np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
        return [{"label": int(place)} for place in outputs["logits"].argmax(-1)]


class Parity(Task):
    """Is the sum of a row of numbers positive? Two logits; a row is {"numbers", "label"}."""

    name = "parity"
    reads = NumberReader
    networks = NumberNetworks()

    def __init__(self, binary: bool = True) -> None:
        self.reader, self.metric = NumberReader(), ParityMetric(binary)
        self.inputs = (Port("x", "float32", ("batch", "length")),)
        self.outputs = (Port("logits", "float32", ("batch", 2)),)

    def spec(self) -> dict[str, Any]:
        return {"use": f"{HERE}.Parity", "binary": self.metric.binary}

    def at(self, folder: Path) -> "Parity":
        return self

    def snippet(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("no test serves")


class SumSession:
    """logits = (-sum, sum) * scale + bias from an .npz, with `work` extra matrix products per run.

    With a stream (any object) it passes for one whose arrays lie on a device.
    """

    stream: object = None

    def __init__(
        self,
        artifact: Artifact,
        ports: Ports,
        target: Target,
        work: int = 0,
        fault: str = "",
        provider: str = "numpy",
    ) -> None:
        self.fault, self.work, self.threads = fault, work, target.threads
        if provider != "numpy":
            raise SessionError(f"{provider} was asked for, and only numpy is active here")
        if fault == "chatter":
            os.write(1, b"a library says hello on standard output\n")
        with np.load(artifact.path) as found:
            self.scale, self.bias = found["scale"], found["bias"]
        self.matrix = np.full((64, 64), 0.5, dtype=np.float32)
        self.runs = 0

    def __enter__(self) -> Self:
        while self.fault == "hangs":
            time.sleep(1.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.matrix = np.zeros((0, 0), dtype=np.float32)

    def run(self, feed: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        self.runs += 1
        if self.fault == "dies" and self.runs > 20:
            os.write(2, b"out of something\n")
            os._exit(7)
        for _ in range(self.work):
            self.matrix @ self.matrix
        total = feed["x"].sum(-1)
        logits = np.stack([-total, total], axis=-1) * self.scale + self.bias
        if self.fault == "nan":
            logits = np.where(total[:, None] > 0, logits, np.nan)
        return {"logits": logits.astype(np.float32)}

    def place(self, feed: Mapping[str, np.ndarray[Any, Any]]) -> Any:
        raise NotImplementedError("the worker is given other times")

    def compute(self, placed: Any, *, wait: bool = True) -> None:
        raise NotImplementedError("the worker is given other times")

    def fetch(self, placed: Any) -> dict[str, np.ndarray[Any, Any]]:
        raise NotImplementedError("the worker is given other times")

    def describe(self) -> dict[str, str]:
        threads = os.environ.get("OMP_NUM_THREADS", "")
        return {"provider": "numpy", "threads": str(self.threads), "omp": threads, "pid": str(os.getpid())}


class Forking(SumSession):
    """Says that it is forked from a process with this module, and who its parent is."""

    slow_imports = (HERE,)

    def describe(self) -> dict[str, str]:
        return {
            **super().describe(),
            "parent": str(os.getppid()),
            "said": os.environ.get("SAID", ""),
            "in": str(Path.cwd()),
        }


class InParts(SumSession):
    """Adds the numbers up one by one, and marks each: an answer that comes in parts."""

    def run_marked(self, feed: Mapping[str, np.ndarray[Any, Any]], mark: Mark) -> dict[str, np.ndarray[Any, Any]]:
        for place in range(feed["x"].shape[-1]):
            self.run({"x": feed["x"][:, : place + 1]})
            mark()
        return self.run(feed)


class OnnxFile:
    """A real ONNX file in onnxruntime."""

    def __init__(self, artifact: Artifact, ports: Ports, target: Target) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = target.threads
        self.session = onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def run(self, feed: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, dict(feed)), strict=True))

    def describe(self) -> dict[str, str]:
        return {"provider": self.session.get_providers()[0]}


def sum_artifact(folder: Path, name: str = "sum", bias: float = 0.0) -> Artifact:
    """A network that is always right, unless its second class is favoured by `bias`."""
    file = folder / f"{name}.npz"
    np.savez(file, scale=np.float32(1.0), bias=np.array([0.0, bias], dtype=np.float32))
    return made(file, f"{HERE}.SumSession")


def onnx_artifact(folder: Path) -> Artifact:
    """The same network as an ONNX graph: ReduceSum, Neg, Concat."""
    import onnx
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=1),
        helper.make_node("Neg", ["total"], ["less"]),
        helper.make_node("Concat", ["less", "total"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(nodes, "sum", [x], [logits], [axes])
    file = folder / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return made(file, f"{HERE}.OnnxFile")


def numbered_rows(count: int, seed: int = 0) -> list[Row]:
    """Rows of 3 to 12 numbers with the right label."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(count):
        numbers = rng.standard_normal(rng.integers(3, 13)).astype(np.float32)
        rows.append({"numbers": numbers, "label": int(numbers.sum() > 0), "index": place})
    return rows
