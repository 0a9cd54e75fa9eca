"""The network as PyTorch runs it: eager, as users have it before deployment, or through `torch.compile`."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import Artifact, Feed, Port, Target, Task
from kd2deploy.errors import SessionError
from kd2deploy.exporters._cpu import intra_op_threads, isa

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


RUNS_BEFORE_RECORDING = 3
"""PyTorch asks for some on a stream of their own: libraries allocate in the first ones, which cannot be recorded."""


@dataclass
class Recorded:
    """The launches for one set of shapes, with the tensors that they read and write."""

    graph: Any
    inputs: list[Tensor]
    outputs: Sequence[Tensor]


class TorchSession:
    """A folder with config.json and model.safetensors, run without autograd in eval mode on the target's device.

    `compile` runs it through `torch.compile` (the first run compiles, and is done here); `cuda_graph` records the
    launches of each set of shapes once and replays them. Raises SessionError where the device or the compiler is
    missing, or where the network does on the host what cannot be recorded.
    """

    def __init__(
        self,
        artifact: Artifact,
        task: Task,
        target: Target,
        *,
        compile: bool = False,
        cuda_graph: bool = False,
        dtype: Literal["fp32", "bf16", "fp16"] = "fp32",
    ) -> None:
        if cuda_graph and (target.device != "cuda" or compile):
            raise SessionError(
                "cuda_graph records what eager PyTorch launches on a CUDA device; take a cuda target and leave compile "
                "out"
            )
        if target.device == "cuda" and not torch.cuda.is_available():
            raise SessionError(
                f"target {target.name} is a CUDA device and PyTorch sees none here; run on such a machine"
            )
        self.inputs, self.outputs = task.inputs, task.outputs
        self.device, self.dtype, self.compiled = torch.device(target.device), dtype, compile
        self.cuda_graph, self._recorded = cuda_graph, dict[tuple[torch.Size, ...], Recorded]()
        self.threads, self._threads_before = intra_op_threads(target), torch.get_num_threads()
        torch.set_num_threads(self.threads)
        net = task.load(artifact.path).to(self.device, DTYPES[dtype])
        self._module = task.deployed(net).eval()
        training = [name for name, module in self._module.named_modules() if module.training]
        if training:
            raise SessionError(f"{training[0]} is in training mode: its dropout would be timed and scored")
        self._call: Any = self._module
        if compile:
            self._compile(task, net, target.workload.batch)
        else:
            self._warm_up(task, net, target.workload.batch)

    def _compile(self, task: Task, net: nn.Module, batch: int) -> None:
        # The compiler's own modules use what PyTorch has deprecated since; no caller can change that.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch._inductor.exc import InductorError

            self._call = torch.compile(self._module)
            try:
                self._warm_up(task, net, batch)
            except InductorError as error:
                said = str(error).strip().splitlines()[0]
                raise SessionError(f"torch.compile failed ({said}); it needs a C++ compiler such as g++") from error

    def _warm_up(self, task: Task, net: nn.Module, batch: int) -> None:
        """One run; when compiled one more with other sizes, so that the graph for any size is built here too."""
        first = task.example(net, batch)
        self.run(_feed(first, self.inputs))
        other = {
            axis: max(2, size // 2)
            for port in self.inputs
            for axis, size in zip(port.axes[1:], first[port.name].shape[1:], strict=True)
            if isinstance(axis, str)
        }
        if self.compiled and other:
            self.run(_feed(task.example(net, batch, **other), self.inputs))

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        with torch.inference_mode():
            tensors = [self._placed(feed[port.name]) for port in self.inputs]
            outputs = self._replayed(tensors) if self.cuda_graph else self._call(*tensors)
            # Copying to the host waits for the device, so the run ends when the answers are there.
            return {port.name: _to_numpy(output) for port, output in zip(self.outputs, outputs, strict=True)}

    def _placed(self, array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(array).to(self.device)
        return tensor.to(DTYPES[self.dtype]) if tensor.is_floating_point() else tensor

    def _replayed(self, tensors: list[Tensor]) -> Sequence[Tensor]:
        shapes = tuple(one.shape for one in tensors)
        if shapes not in self._recorded:
            self._recorded[shapes] = self._record(tensors)
        known = self._recorded[shapes]
        for own, given in zip(known.inputs, tensors, strict=True):
            own.copy_(given)
        known.graph.replay()
        return known.outputs

    def _record(self, tensors: list[Tensor]) -> Recorded:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(RUNS_BEFORE_RECORDING):
                self._module(*tensors)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                outputs = self._module(*tensors)
        except RuntimeError as error:
            said = str(error).strip().splitlines()[0]
            raise SessionError(f"the launches cannot be recorded ({said}); leave session.cuda_graph out") from error
        return Recorded(graph, tensors, outputs)

    def describe(self) -> dict[str, str]:
        return {
            "runtime": f"torch {torch.__version__}",
            "mode": "torch.compile" if self.compiled else "eager, recorded" if self.cuda_graph else "eager",
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "precision": self.dtype,
            "threads": str(self.threads),
            "isa": isa(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_num_threads(self._threads_before)


def _feed(example: Mapping[str, Tensor], inputs: Sequence[Port]) -> Feed:
    return {port.name: example[port.name].cpu().numpy() for port in inputs}


def _to_numpy(output: Tensor) -> np.ndarray[Any, Any]:
    tensor = output.float() if output.is_floating_point() else output
    array: np.ndarray[Any, Any] = tensor.cpu().numpy()
    return array
