"""ExecuTorch: a program for phones and boards, lowered to XNNPACK, and the session that runs it on the processor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from kd2deploy.core import Artifact, Feed, Port, Ports, Target, Task, converter, made
from kd2deploy.core.serving import Serving
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters import _parity
from kd2deploy.exporters._cpu import isa
from kd2deploy.exporters._module import answered, as_taken
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters.shapes import axis_ranges, port_ranges, refuse_outside

if TYPE_CHECKING:
    from torch import nn

OPENED_BY = "kd2deploy.exporters.executorch.ExecutorchSession"
MODEL = "model.pte"
REMEDY = "pip install 'kd2deploy[executorch]'"


@dataclass(frozen=True)
class Lowering:
    """How a program is made."""

    int8: Literal["none", "dynamic", "static"] = "none"
    """Products in int8: with ranges taken of each request, or calibrated on the samples (convolutions too)."""
    shapes: Mapping[str, Sequence[int]] | None = None
    """Sizes [smallest, usual, largest] of dynamic axes: a program plans its memory for the largest."""


AS_IT_IS = Lowering()


@converter(takes_shapes=True)
def executorch_from_torch(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    options: Lowering = AS_IT_IS,
) -> Artifact:
    """`model.pte` of the network itself, as PyTorch exports it, with all that XNNPACK computes given to it.

    Raises ConvertError where the network cannot be exported, or answers otherwise than it did.
    """
    _library()
    import torch

    net = task.networks.load(source.path)
    net.set_attn_implementation("eager")  # type: ignore[operator]
    module = task.networks.deployed(net).eval()
    sizes = {**axis_ranges(task, samples, target.workload.batch), **(options.shapes or {})}
    inputs = [
        tuple(torch.from_numpy(np.ascontiguousarray(feed[port.name])) for port in task.inputs) for feed in samples
    ]
    reference = answered(module, task, samples)
    try:
        with quiet(), torch.no_grad():
            # Memory is planned for the largest shape, and guards about sizes narrow it where a smaller one is traced.
            largest = {axis: each[2] for axis, each in sizes.items()}
            batch = largest.pop(str(task.inputs[0].axes[0]))
            example = task.networks.example(net, batch, **largest)
            traced = tuple(example[port.name] for port in task.inputs)
            program = lowered(module, task.inputs, traced, inputs, sizes, options.int8)
    # Exporters fail in their own ways, each with a message of many lines.
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, LookupError) as error:
        raise ConvertError(
            f"ExecuTorch cannot export the network: {str(error).strip().splitlines()[0]:.300}"
        ) from error
    path = folder / MODEL
    path.write_bytes(program)
    precision = "fp32" if options.int8 == "none" else "int8"
    artifact = made(
        path,
        OPENED_BY,
        parent=source,
        made_by="executorch_from_torch",
        precision=precision,
        details={
            "versions": {"executorch": version("executorch"), "torch": version("torch")},
            "mode": options.int8,
            "shapes": {axis: list(each) for axis, each in sizes.items()},
        },
    )
    with ExecutorchSession(artifact, task.ports, target) as session:
        found = [session.run(feed) for feed in samples]
    if said := _parity.disagreement(task, reference, found, precision):
        raise ConvertError(f"ExecuTorch disagrees with PyTorch: {said}")
    return artifact


def lowered(
    module: "nn.Module",
    ports: Sequence[Port],
    traced: tuple[Any, ...],
    inputs: Sequence[tuple[Any, ...]],
    sizes: Mapping[str, Sequence[int]],
    int8: Literal["none", "dynamic", "static"],
) -> bytes:
    """The program's bytes; `inputs` calibrate what is rounded."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    dims = {axis: torch.export.Dim(axis, min=each[0], max=each[2]) for axis, each in sizes.items() if each[2] > each[0]}
    shapes: Any = tuple(
        {place: dims[axis] for place, axis in enumerate(port.axes) if isinstance(axis, str) and axis in dims}
        for port in ports
    )
    if int8 == "dynamic":
        from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
        from torchao.quantization.granularity import PerAxis

        each_row = PerAxis(0)
        config = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=each_row)
        quantize_(module, config)
    exported = torch.export.export(module, traced, dynamic_shapes=as_taken(module, shapes))
    if int8 == "static":
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(exported.module(), quantizer)
        for each in inputs:
            prepared(*each)
        rounded = convert_pt2e(prepared)
        exported = torch.export.export(rounded, traced, dynamic_shapes=as_taken(rounded, shapes))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    found: bytes = edge.to_executorch().buffer
    return found


class ExecutorchSession:
    """A program in ExecuTorch's runtime. It takes as many threads as it finds fit for the processor.

    Raises SessionError where the runtime is missing, and for a request larger than the program was planned for.
    """

    serving: ClassVar[Serving] = Serving("executorch")
    slow_imports: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, artifact: Artifact, ports: Ports, target: Target) -> None:
        runtime = _library()
        import torch

        self._torch = torch
        self._inputs, self._outputs = [port.name for port in ports.inputs], [port.name for port in ports.outputs]
        self._ranges = port_ranges(ports.inputs, artifact.details["shapes"])
        self._method = runtime.Runtime.get().load_program(artifact.path).load_method("forward")
        if self._method is None:
            raise SessionError(f"{artifact.path} has no method called forward: it is no program of this converter")
        self._precision = artifact.precision

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        refuse_outside(feed, self._ranges)
        given = [self._torch.from_numpy(np.ascontiguousarray(feed[name])) for name in self._inputs]
        try:
            answers = self._method.execute(given)
        except RuntimeError as error:
            raise SessionError(f"ExecuTorch cannot run this request: {error}") from error
        # The next run writes into the same memory.
        return {name: one.numpy().copy() for name, one in zip(self._outputs, answers, strict=True)}

    def describe(self) -> dict[str, str]:
        return {
            "runtime": f"executorch {version('executorch')}",
            "device": "CPU",
            "provider": "XNNPACK",
            "precision": self._precision,
            "threads": "the runtime's choice",
            "isa": isa(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._method


def _library() -> Any:
    try:
        import executorch.runtime
    except ModuleNotFoundError as error:
        raise SessionError(f"ExecuTorch is not installed: {REMEDY}") from error
    return executorch.runtime
