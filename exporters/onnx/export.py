"""ONNX from PyTorch.

What exports which network differs between versions; so each route is tried in a fixed order, its result is checked
against the network at a shape that was not traced, and the artifact says which one made it.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kd2deploy.core import Artifact, Feed, Port, Target, Task
from kd2deploy.errors import ConvertError
from kd2deploy.exporters import _parity
from kd2deploy.exporters._module import answered, as_taken
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters.onnx.checking import Outputs, check_agreement
from kd2deploy.exporters.onnx.counting import share_of
from kd2deploy.exporters.onnx.files import artifact_at, first_line, load, name_nodes, save
from kd2deploy.exporters.onnx.selection import select_early

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn


LARGEST_BYTES = 1_900_000_000
"""One protobuf message holds 2 GiB; a deployed student is far below."""


Route = Literal["dynamo", "dynamo_eager", "torchscript"]


ROUTES: tuple[Route, ...] = ("dynamo", "dynamo_eager", "torchscript")


def onnx_from_torch(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    opset: int = 20,
    route: Literal["auto"] | Route = "auto",
) -> Artifact:
    """`model.onnx` with named dynamic axes, made by the first route that agrees with the network. Its last layer is
    computed only for the positions that an answer reads (`selection.py`).

    Opset 23 keeps attention in one operation, which ONNX Runtime alone can run; 20 is what every runtime reads.
    """
    net = task.networks.load(source.path)
    if sum(tensor.nbytes for tensor in net.state_dict().values()) > LARGEST_BYTES:
        raise ConvertError("the network is larger than one ONNX file may be (2 GB); deploy a smaller student")
    traced = task.networks.example(net, 2)
    feeds = [_another_shape(task, net, traced), *samples]
    reference = answered(task.networks.deployed(net).eval(), task, feeds)
    _refuse_useless(reference)
    path, failures = folder / "model.onnx", {}
    for name in ROUTES if route == "auto" else (route,):
        try:
            whole = _exported(task, source, traced, name, opset)
            model, early = select_early(whole)
            name_nodes(model)
            save(model, path, {"source": source.sha256, "route": name})
            check_agreement(reference, path, task, target, feeds)
        # Each exporter fails in its own way (torch.export, ONNX functions, tracing); the next route may still work, and
        # if none does all that was said is shown.
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, ConvertError) as error:
            failures[name] = first_line(error)
            path.unlink(missing_ok=True)
            continue
        facts = {
            "route": name,
            "opset": opset,
            "failed_routes": failures,
            "selected_early": dict(Counter(early)),
            "torch": version("torch"),
        }
        computes = share_of(model, whole, samples or feeds) if early else 1.0
        return artifact_at(path, source, "onnx_from_torch", facts, computes=computes)
    said = "; ".join(f"{name}: {why}" for name, why in failures.items())
    raise ConvertError(f"no exporter could turn the network into ONNX ({said}); try another opset or architecture")


def _another_shape(task: Task, net: "nn.Module", traced: "Mapping[str, Tensor]") -> Feed:
    """Seeded inputs with every dynamic axis of another size than was traced: where a wrong export shows itself."""
    sizes: dict[str, int] = {}
    for port in task.inputs:
        for axis, size in zip(port.axes[1:], traced[port.name].shape[1:], strict=True):
            if isinstance(axis, str):
                sizes[axis] = max(1, size * 2 // 3 + 1)
    example = task.networks.example(net, 3, **sizes)
    return {port.name: example[port.name].numpy() for port in task.inputs}


def _refuse_useless(reference: Sequence[Outputs]) -> None:
    for outputs in reference:
        for name, array in outputs.items():
            if why := _parity.refusal(array):
                raise ConvertError(f"output {name!r}: {why}")
    if not any(_parity.varies([outputs[name] for outputs in reference]) for name in reference[0]):
        raise ConvertError("the network answers alike to every input, so its export cannot be checked: train it first")


def _exported(
    task: Task, source: Artifact, traced: "Mapping[str, Tensor]", route: Route, opset: int
) -> "onnx.ModelProto":
    import torch

    net = task.networks.load(source.path)
    if route != "dynamo":
        net.set_attn_implementation("eager")  # type: ignore[operator]
    module = task.networks.deployed(net).eval()
    inputs = tuple(traced[port.name] for port in task.inputs)
    names: dict[str, Any] = {
        "input_names": [port.name for port in task.inputs],
        "output_names": [port.name for port in task.outputs],
        "opset_version": opset,
    }
    # The exporters warn about their own deprecated internals, which no caller can change; what they get wrong is found
    # by the agreement check. Whatever they write beside the model goes into a folder that is thrown away.
    with quiet(), tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        if route == "torchscript":
            axes = {port.name: _dynamic(port) for port in (*task.inputs, *task.outputs)}
            path = Path(scratch) / "model.onnx"
            torch.onnx.export(module, inputs, str(path), dynamo=False, dynamic_axes=axes, **names)
            return load(path)
        shapes = as_taken(module, tuple(_dynamic(port) for port in task.inputs))
        program = torch.onnx.export(
            module, inputs, dynamo=True, verbose=False, dynamic_shapes=shapes, artifacts_dir=scratch, **names
        )
        assert program is not None, "the dynamo exporter returns a program"
        return program.model_proto


def _dynamic(port: Port) -> dict[int, str]:
    return {place: axis for place, axis in enumerate(port.axes) if isinstance(axis, str)}
