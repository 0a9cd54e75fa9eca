"""One way to run a network on a device: with its tensors there already, and with the copies from and to the host."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _gpu_networks import Timed

from kd2deploy.core import Artifact, Feed, Target, made
from kd2deploy.errors import SessionError
from kd2deploy.exporters.onnx import OnnxSession, fp16_from_onnx, onnx_from_torch
from kd2deploy.exporters.quantize import int8_from_onnx
from kd2deploy.exporters.tensorrt import TensorRTSession, fp8_from_onnx, trt_from_onnx

TORCH_SESSION = "kd2deploy.exporters.torch.TorchSession"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
RUNTIMES = (
    "torch-eager-fp32",
    "torch-eager-fp16",
    "ort-fp32",
    "ort-fp16",
    "tensorrt-fp16",
    "torch-compile-fp16",
    "torch-graph-fp16",
    "tensorrt-int8",
    "tensorrt-fp8",
)
"""In the order of what is measured first, should the time run out."""


@dataclass(frozen=True)
class Runner:
    """`prepare(feed)` places one request and returns its two calls: on the device alone, and from host to host."""

    prepare: Callable[[Feed], tuple[Callable[[], Any], Callable[[], Any]]]
    describe: dict[str, str]


@dataclass(frozen=True)
class Subject:
    """A network in its folder, and where what is made of it lies."""

    folder: Path
    task: Timed
    target: Target
    work: Path

    def graph(self, kind: str) -> Artifact:
        """The plain graph, or the one with 16-bit, int8 or fp8 arithmetic; made once."""
        record = self.work / f"{kind}.json"
        if record.is_file():
            return Artifact.from_json(json.loads(record.read_text()))
        place = self.work / kind
        place.mkdir(exist_ok=True)
        example = self.task.example(self.task.load(self.folder), 2)
        samples = [{name: value.numpy() for name, value in example.items()}]
        if kind == "onnx":
            one = onnx_from_torch(made(self.folder, TORCH_SESSION), self.task, self.target, place, samples)
        elif kind == "fp16":
            one = fp16_from_onnx(self.graph("onnx"), self.task, self.target, place, samples)
        elif kind == "int8":
            plain = self.graph("onnx")
            one = int8_from_onnx(
                plain, self.task, self.target, place, samples, mode="static", layout="tensorrt", reduce_range=False
            )
        else:
            one = fp8_from_onnx(self.graph("onnx"), self.task, self.target, place, samples)
        record.write_text(json.dumps(one.to_json(), default=list))
        return one


def runner(name: str, subject: Subject, batches: list[int]) -> Runner:
    """Open one runtime. Raises Kd2DeployError where it is missing or cannot run the network."""
    if name.startswith("torch"):
        return torch_runner(subject, *name.split("-")[1:])
    if name.startswith("ort"):
        return ort_runner(subject, name.split("-")[1])
    return tensorrt_runner(subject, name.split("-")[1], batches)


def torch_runner(subject: Subject, mode: str, dtype: str) -> Runner:
    device, kind = subject.target.device, DTYPES[dtype]
    module: Any = subject.task.deployed(subject.task.load(subject.folder)).eval().to(device, kind)
    if mode == "compile":
        module = torch.compile(module, dynamic=False)
    if mode == "graph":
        if device == "cpu":
            raise SessionError("a CUDA graph needs a CUDA device")
        module = torch.compile(module, dynamic=False, mode="reduce-overhead")

    def placed(feed: Feed) -> list[torch.Tensor]:
        tensors = [torch.from_numpy(feed[port.name]).to(device) for port in subject.task.inputs]
        return [one.to(kind) if one.is_floating_point() else one for one in tensors]

    def prepare(feed: Feed) -> tuple[Callable[[], Any], Callable[[], Any]]:
        inputs = placed(feed)

        def compute() -> None:
            with torch.inference_mode():
                module(*inputs)
            if device == "cuda":
                torch.cuda.synchronize()

        def run() -> Any:
            with torch.inference_mode():
                return [one.float().cpu().numpy() for one in module(*placed(feed))]

        return compute, run

    return Runner(prepare, {"runtime": f"torch {torch.__version__}", "mode": mode, "precision": dtype})


def ort_runner(subject: Subject, dtype: str) -> Runner:
    import onnxruntime

    graph = subject.graph("fp16" if dtype == "fp16" else "onnx")
    gpu = subject.target.device == "cuda"
    provider = "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"
    session = OnnxSession(graph, subject.task, subject.target, provider=provider)  # asserts provider and placement
    bound = onnxruntime.InferenceSession(str(graph.path), providers=[provider])

    def prepare(feed: Feed) -> tuple[Callable[[], Any], Callable[[], Any]]:
        binding = bound.io_binding()
        for name, array in feed.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, subject.target.device, 0))
        binding.bind_output("logits", subject.target.device)

        def compute() -> None:
            bound.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return compute, lambda: session.run(feed)

    return Runner(prepare, dict(session.describe()))


def tensorrt_runner(subject: Subject, precision: str, batches: list[int]) -> Runner:
    graph = subject.graph("onnx" if precision == "fp16" else precision)
    place = subject.work / f"trt-{precision}"
    place.mkdir(exist_ok=True)
    net = subject.task.load(subject.folder)
    samples = [{name: value.numpy() for name, value in subject.task.example(net, 2).items()}]
    middle = batches[len(batches) // 2]
    engine = trt_from_onnx(
        graph,
        subject.task,
        subject.target,
        place,
        samples,
        precision="fp16",
        shapes={"batch": [min(batches), middle, max(batches)]},
        cache="",
    )
    session = TensorRTSession(engine, subject.task, subject.target, cuda_graph=True)

    def prepare(feed: Feed) -> tuple[Callable[[], Any], Callable[[], Any]]:
        buffers = session.place(feed)
        return lambda: session.compute(buffers), lambda: session.run(feed)

    built = {f"build_{name}": str(value) for name, value in engine.details["build"].items() if name != "warnings"}
    return Runner(prepare, {**session.describe(), **built})
