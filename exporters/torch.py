"""The network as PyTorch runs it: eager, as users have it before deployment, or through `torch.compile`."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import Artifact, Feed, Port, Ports, Target, Task, build_task
from kd2deploy.core.serving import Serving
from kd2deploy.errors import SessionError
from kd2deploy.exporters._cpu import intra_op_threads, isa
from kd2deploy.exporters._torch_code import code_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


RUNS_BEFORE_RECORDING = 3
"""PyTorch asks for some on a stream of their own: libraries allocate in the first ones, which cannot be recorded."""


@dataclass
class Placed:
    """One request's tensors on the device; where launches are recorded, those that they read and write."""

    inputs: list[Tensor]
    outputs: Sequence[Tensor] = ()
    recorded: Any = None


class TorchSession:
    """A folder with config.json and model.safetensors, run without autograd in eval mode on the target's device.

    On a CUDA device it works on a stream of its own, and fp32 is not rounded to TF32. `compile` runs it through
    `torch.compile` (the first run compiles, and is done here); `cuda_graph` records the launches of each set of shapes
    once and replays them. Raises SessionError where the device or the compiler is missing, where the network does on
    the host what cannot be recorded, or where a part of it would silently run uncompiled.
    """

    serving: ClassVar[Serving] = Serving("torch", code=code_of, network=True)
    slow_imports: ClassVar[tuple[str, ...]] = ("torch", "transformers", "transformers.modeling_utils", __name__)

    def __init__(
        self,
        artifact: Artifact,
        ports: Ports,
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
        self.inputs, self.outputs = ports.inputs, ports.outputs
        self.device, self.dtype, self.compiled = torch.device(target.device), dtype, compile
        self.cuda_graph, self._recorded = cuda_graph, dict[tuple[torch.Size, ...], Placed]()
        self.stream: Any = torch.cuda.Stream() if target.device == "cuda" else None  # type: ignore[no-untyped-call]
        self.threads, self._settings = intra_op_threads(target), ExitStack()
        self._settings.callback(torch.set_num_threads, torch.get_num_threads())
        if self.stream is not None:
            self._settings.enter_context(exact_fp32())
        torch.set_num_threads(self.threads)
        task = build_task(ports.task)  # the one session whose artifact needs it: a network is loaded as its task does
        net = task.networks.load(artifact.path).to(self.device, DTYPES[dtype])
        self._module = task.networks.deployed(net).eval()
        training = [name for name, module in self._module.named_modules() if module.training]
        if training:
            raise SessionError(f"{training[0]} is in training mode: its dropout would be timed and scored")
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream())  # the weights are still on their way
        self._call: Any = self._module
        if compile:
            self._compile(task, net, target.workload.batch)
        else:
            self._warm_up(task, net, target.workload.batch)

    def _compile(self, task: Task, net: nn.Module, batch: int) -> None:
        # The compiler's own modules use what PyTorch has deprecated since; no caller can change that.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._call = compiled(self._module, self.inputs)
            self._warm_up(task, net, batch)

    def _warm_up(self, task: Task, net: nn.Module, batch: int) -> None:
        """One run; when compiled one more with other sizes, so that the graph for any size is built here too."""
        first = task.networks.example(net, batch)
        self.run(_feed(first, self.inputs))
        other = {
            axis: max(2, size // 2)
            for port in self.inputs
            for axis, size in zip(port.axes[1:], first[port.name].shape[1:], strict=True)
            if isinstance(axis, str)
        }
        if self.compiled and other:
            self.run(_feed(task.networks.example(net, batch, **other), self.inputs))

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        placed = self.place(feed)
        self.compute(placed, wait=False)
        return self.fetch(placed)

    def place(self, feed: Feed) -> Placed:
        """Copy the inputs to the device; where launches are recorded, to where these read them."""
        with torch.inference_mode(), self._issuing():
            tensors = [self._placed(feed[port.name]) for port in self.inputs]
            return self._where_recorded(tensors) if self.cuda_graph else Placed(tensors)

    def compute(self, placed: Placed, *, wait: bool = True) -> None:
        """Run the network on what was placed."""
        with torch.inference_mode(), self._issuing():
            if placed.recorded is not None:
                placed.recorded.replay()
            else:
                placed.outputs = self._call(*placed.inputs)
        if wait and self.stream is not None:
            self.stream.synchronize()

    def fetch(self, placed: Placed) -> dict[str, np.ndarray[Any, Any]]:
        """Copy the outputs to the host, which waits for them."""
        with torch.inference_mode(), self._issuing():
            return {port.name: _to_numpy(output) for port, output in zip(self.outputs, placed.outputs, strict=True)}

    def _issuing(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def _placed(self, array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(array).to(self.device)
        return tensor.to(DTYPES[self.dtype]) if tensor.is_floating_point() else tensor

    def _where_recorded(self, tensors: list[Tensor]) -> Placed:
        shapes = tuple(one.shape for one in tensors)
        if shapes not in self._recorded:
            self._recorded[shapes] = self._record(tensors)
        known = self._recorded[shapes]
        for own, given in zip(known.inputs, tensors, strict=True):
            own.copy_(given)
        return known

    def _record(self, tensors: list[Tensor]) -> Placed:
        for _ in range(RUNS_BEFORE_RECORDING):
            self._module(*tensors)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                outputs = self._module(*tensors)
        except RuntimeError as error:
            said = str(error).strip().splitlines()[0]
            raise SessionError(f"the launches cannot be recorded ({said}); leave session.cuda_graph out") from error
        return Placed(tensors, outputs, graph)

    def describe(self) -> dict[str, str]:
        return {
            "runtime": f"torch {torch.__version__}",
            "mode": "torch.compile" if self.compiled else "eager, recorded" if self.cuda_graph else "eager",
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "precision": self.dtype,
            "threads": str(self.threads),
            "isa": isa(),
            **({"tf32": "false"} if self.stream is not None else {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorded.clear()
        self._settings.close()


@contextmanager
def exact_fp32() -> Iterator[None]:
    """fp32 products and convolutions in fp32, as on the other runtimes: left alone, cuDNN rounds their inputs to TF32's
    10 bits of mantissa."""
    libraries: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [library.allow_tf32 for library in libraries]
    for library in libraries:
        library.allow_tf32 = False
    try:
        yield
    finally:
        for library, allowed in zip(libraries, before, strict=True):
            library.allow_tf32 = allowed


def compiled(module: nn.Module, inputs: Sequence[Port]) -> Callable[..., Any]:
    """`module` through `torch.compile`: whole, and for any size of the inputs' named axes.

    Whole, because the compiler otherwise leaves what it cannot take, and every size after the eighth recompilation, to
    eager PyTorch without a word. Calling it raises SessionError in these cases, and where the C++ compiler is missing.
    """
    from torch._dynamo import maybe_mark_dynamic
    from torch._dynamo.exc import FailOnRecompileLimitHit, Unsupported
    from torch._inductor.exc import InductorError

    whole = torch.compile(module, fullgraph=True)
    sizes = [[place for place, axis in enumerate(port.axes) if isinstance(axis, str)] for port in inputs]

    def call(*tensors: Tensor) -> Any:
        for tensor, axes in zip(tensors, sizes, strict=True):
            maybe_mark_dynamic(tensor, axes)
        try:
            return whole(*tensors)
        except InductorError as error:
            raise SessionError(f"torch.compile failed ({_said(error)}); it needs a C++ compiler such as g++") from error
        except (Unsupported, FailOnRecompileLimitHit) as error:
            raise SessionError(
                f"torch.compile would run a part eagerly ({_said(error)}); leave session.compile out"
            ) from error

    return call


def _said(error: BaseException) -> str:
    return str(error.__cause__ or error).strip().splitlines()[0]


def _feed(example: Mapping[str, Tensor], inputs: Sequence[Port]) -> Feed:
    return {port.name: example[port.name].cpu().numpy() for port in inputs}


def _to_numpy(output: Tensor) -> np.ndarray[Any, Any]:
    tensor = output.float() if output.is_floating_point() else output
    array: np.ndarray[Any, Any] = tensor.cpu().numpy()
    return array
