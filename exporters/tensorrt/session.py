"""The session that runs an engine on its device."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from kd2deploy.core import Artifact, Feed, Ports, Target
from kd2deploy.core.serving import Serving
from kd2deploy.errors import SessionError
from kd2deploy.exporters.shapes import ShapeRange, refuse_outside
from kd2deploy.exporters.tensorrt.api import load
from kd2deploy.exporters.tensorrt.serving import SERVING
from kd2deploy.exporters.tensorrt.store import Place, place_here

OPENED_BY = "kd2deploy.exporters.tensorrt.TensorRTSession"


@dataclasses.dataclass
class Buffers:
    """What one set of input shapes needs: tensors on the device, pinned copies on the host, and what runs on them."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    host_inputs: dict[str, Tensor]
    host_outputs: dict[str, Tensor]
    context: Any
    recorded: Any = None
    """The launches, where PyTorch recorded them."""


class TensorRTSession:
    """An engine on a stream of its own, its tensors on the device.

    `run` copies in, computes, copies out and waits; `place`, `compute` and `fetch` are its parts, so that the compute
    alone can be timed. With `cuda_graph` the launches of each set of shapes are recorded once and replayed; a recording
    holds the addresses and the state of its execution context, so each set has a context of its own. All contexts share
    one scratch memory, which the stream lets one of them use at a time. TensorRT-RTX compiles kernels while it runs, so
    it records by itself. Raises SessionError where the device is missing or the engine is stale: built by another
    library version, driver or device.
    """

    serving: ClassVar[Serving] = SERVING

    def __init__(self, artifact: Artifact, ports: Ports, target: Target, *, cuda_graph: bool = False) -> None:
        if "place" not in artifact.details:
            raise SessionError(f"{artifact.path} does not say what it was built for; export it anew with trt_from_onnx")
        if not torch.cuda.is_available():
            raise SessionError(f"{artifact.path} runs on a CUDA device and PyTorch sees none here; run it there")
        self.library = load(artifact.details["library"])
        built, here = Place(**artifact.details["place"]), place_here(self.library)
        if stale := built.mismatch(here):
            raise SessionError(f"{artifact.path} is stale ({stale}); export it anew on this machine")
        self.ranges = {name: ShapeRange(**_tuples(shape)) for name, shape in artifact.details["shapes"].items()}
        self.precision, self.cuda_graph, self.place_of_work = artifact.precision, cuda_graph, here
        self.arithmetic = artifact.details["arithmetic"]
        trt: Any = self.library.module
        self._logger = self.library.logger()
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(artifact.path.read_bytes())
        if self._engine is None:
            said = "; ".join(self._logger.errors) or "the library gave no reason"
            raise SessionError(f"{artifact.path} cannot be loaded: {said}; export it anew on this machine")
        self._scratch = torch.empty(max(1, self._engine.device_memory_size_v2), dtype=torch.uint8, device="cuda")
        self._context = self._new_context()
        self.stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._outputs = [port.name for port in ports.outputs]
        self._types = {name: torch_type(self._engine.get_tensor_dtype(name).name) for name in names}
        unknown = set(self._inputs) - {port.name for port in ports.inputs}
        missing = set(self._outputs) - set(names)
        if unknown or missing:
            raise SessionError(
                f"{artifact.path} is of another task: it reads {sorted(self._inputs)} and lacks {sorted(missing)}"
            )
        self._buffers: dict[tuple[tuple[int, ...], ...], Buffers] = {}

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        buffers = self.place(feed)
        self.compute(buffers, wait=False)
        return self.fetch(buffers)

    def place(self, feed: Feed) -> Buffers:
        """Enqueue the copies of the inputs to the device."""
        refuse_outside(feed, self.ranges)
        shapes = tuple(feed[name].shape for name in self._inputs)
        buffers = self._buffers.get(shapes) or self._prepared(shapes)
        with torch.cuda.stream(self.stream):
            for name in self._inputs:
                buffers.host_inputs[name].numpy()[...] = feed[name]
                buffers.inputs[name].copy_(buffers.host_inputs[name], non_blocking=True)
        return buffers

    def compute(self, buffers: Buffers, *, wait: bool = True) -> None:
        """Run the engine on what was placed."""
        if buffers.recorded is not None:
            with torch.cuda.stream(self.stream):
                buffers.recorded.replay()
        else:
            if buffers.context is self._context:
                self._bind(buffers)  # another set of shapes may have been bound to it since
            self._enqueue(buffers.context)
        if wait:
            self.stream.synchronize()

    def fetch(self, buffers: Buffers) -> dict[str, np.ndarray[Any, Any]]:
        """Copy the outputs to the host and wait for them."""
        with torch.cuda.stream(self.stream):
            for name in self._outputs:
                buffers.host_outputs[name].copy_(buffers.outputs[name], non_blocking=True)
        self.stream.synchronize()
        return {name: buffers.host_outputs[name].numpy().copy() for name in self._outputs}

    def _new_context(self) -> Any:
        trt: Any = self.library.module
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.cuda_graph and self.library.records_by_itself:
            runtime_config = self._engine.create_runtime_config()
            runtime_config.set_execution_context_allocation_strategy(strategy)
            runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(runtime_config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise SessionError(f"no execution context: {'; '.join(self._logger.errors) or 'no reason given'}")
        context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        return context

    def _prepared(self, shapes: tuple[tuple[int, ...], ...]) -> Buffers:
        context = self._new_context() if self.cuda_graph else self._context
        for name, shape in zip(self._inputs, shapes, strict=True):
            if not context.set_input_shape(name, shape):
                raise SessionError(f"the engine refuses shape {shape} for {name}: {'; '.join(self._logger.errors)}")
        with torch.cuda.stream(self.stream):
            inputs = {name: self._empty(name, shape) for name, shape in zip(self._inputs, shapes, strict=True)}
            outputs = {name: self._empty(name, tuple(context.get_tensor_shape(name))) for name in self._outputs}
        buffers = Buffers(inputs, outputs, _pinned(inputs), _pinned(outputs), context)
        self._bind(buffers)
        if self.cuda_graph:
            self._enqueue(context)  # the first run of a shape allocates, which cannot be recorded
            self.stream.synchronize()
        if self.cuda_graph and not self.library.records_by_itself:
            buffers.recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(buffers.recorded, stream=self.stream):
                self._enqueue(context)
        self._buffers[shapes] = buffers
        return buffers

    def _empty(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if any(size < 0 for size in shape):
            raise SessionError(
                f"the size of output {name} depends on the input's values; deploy this network in ONNX Runtime"
            )
        return torch.zeros(shape, dtype=self._types[name], device="cuda")

    def _bind(self, buffers: Buffers) -> None:
        context = buffers.context
        for name, tensor in (*buffers.inputs.items(), *buffers.outputs.items()):
            if name in buffers.inputs:
                context.set_input_shape(name, tuple(tensor.shape))
            context.set_tensor_address(name, tensor.data_ptr())

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(self.stream.cuda_stream):
            raise SessionError(f"the engine failed to run: {'; '.join(self._logger.errors) or 'no reason given'}")

    def describe(self) -> dict[str, str]:
        return {
            "runtime": f"{self.library.name} {self.library.version}",
            "device": self.place_of_work.device,
            "driver": self.place_of_work.driver,
            "precision": self.precision,
            "arithmetic": self.arithmetic,
            "cuda_graph": str(self.cuda_graph).lower(),
            "device_memory_mb": f"{self._engine.device_memory_size_v2 / 1e6:.1f}",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.synchronize()
        self._buffers.clear()
        del self._context, self._scratch, self._engine, self._runtime


TORCH_TYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT8": torch.int8,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
}


def torch_type(name: str) -> torch.dtype:
    """PyTorch's type of the same bytes as TensorRT's `DataType` member `name`."""
    if name not in TORCH_TYPES:
        raise SessionError(f"an engine's port of type {name} cannot be fed; it may be one of {sorted(TORCH_TYPES)}")
    return TORCH_TYPES[name]


def _pinned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros(one.shape, dtype=one.dtype, pin_memory=True) for name, one in tensors.items()}


def _tuples(shape: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(sizes) for name, sizes in shape.items()}
