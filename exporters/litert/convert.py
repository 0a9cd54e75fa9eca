"""A network of PyTorch as a .tflite file, by litert-torch."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd2deploy.core import Artifact, Feed, Ports, Target, Task, converter, made
from kd2deploy.errors import ConvertError, first_line
from kd2deploy.exporters import _parity
from kd2deploy.exporters._module import answered
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters.litert.session import OPENED_BY, REMEDY, LitertSession, runtime
from kd2deploy.exporters.litert.sizes import sizes_of
from kd2deploy.exporters.shapes import shape_ranges

if TYPE_CHECKING:
    from torch import nn

MODEL = "model.tflite"
# litert-converter names xdsl for a part that is not used here, and that wants another typing-extensions than pydantic.
ALSO = "pip install --no-deps litert-torch litert-converter"


@converter(takes_shapes=True)
def litert_from_torch(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Artifact:
    """`model.tflite` of the network itself, as PyTorch exports it, at the usual batch and a few sizes of other axes.

    `shapes` gives sizes [smallest, usual, largest] of dynamic axes. Raises ConvertError where requests have sizes that
    cannot be filled up, where the network cannot be converted, or where the file answers otherwise than it did.
    """
    signatures = sizes_of(task.ports, shape_ranges(task, samples, target.workload.batch, shapes))
    runtime()
    torch_converter()
    import torch

    net = task.networks.load(source.path)
    net.set_attn_implementation("eager")  # type: ignore[operator]
    module = task.networks.deployed(net).eval()
    reference = answered(module, task, samples)
    batch = str(task.inputs[0].axes[0])
    examples = {}
    for name, sizes in signatures.items():
        others = {axis: size for axis, size in sizes.items() if axis != batch}
        example = task.networks.example(net, sizes[batch], **others)
        examples[name] = {port.name: example[port.name] for port in task.inputs}
    try:
        with quiet(), torch.no_grad():
            content = converted(module, task.ports, examples)
    # Converters fail in their own ways, each with a message of many lines.
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, LookupError) as error:
        raise ConvertError(f"LiteRT cannot convert the network: {first_line(error)}") from error
    path = folder / MODEL
    path.write_bytes(content)
    artifact = made(
        path,
        OPENED_BY,
        parent=source,
        made_by="litert_from_torch",
        details={
            "versions": {name: version(name) for name in ("litert-torch", "ai-edge-litert", "torch")},
            "sizes": list(signatures.values()),
        },
    )
    with LitertSession(artifact, task.ports, target) as session:
        found = [session.run(feed) for feed in samples]
    if said := _parity.disagreement(task, reference, found, artifact.precision):
        raise ConvertError(f"LiteRT disagrees with PyTorch: {said}")
    return artifact


def converted(module: "nn.Module", ports: Ports, examples: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The file's bytes, with a signature for each example, whose inputs and outputs have the ports' names."""
    from litert_converter.mlir.ir import MLIRError

    work, named = torch_converter().Converter(), by_name(module, ports)
    for name, example in examples.items():
        work.add_signature(name, named, sample_kwargs=dict(example))
    try:
        return bytes(work.convert().model_content())
    except MLIRError as error:
        raise ConvertError(f"LiteRT cannot convert the network: {first_line(error)}") from error


def by_name(module: "nn.Module", ports: Ports) -> "nn.Module":
    """The module with inputs and answers by name in place of their order, as the file has them then."""
    from torch import Tensor, nn

    class ByName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, **feed: Tensor) -> dict[str, Tensor]:
            answers = self.module(*(feed[port.name] for port in ports.inputs))
            return {port.name: answer for port, answer in zip(ports.outputs, answers, strict=True)}

    return ByName().eval()


def torch_converter() -> Any:
    """litert-torch, which converts by way of jax. Raises ConvertError where it is not installed."""
    try:
        with quiet():
            import litert_torch
    except ModuleNotFoundError as error:
        raise ConvertError(f"{error.name}, which converts for LiteRT, is not installed: {REMEDY}; {ALSO}") from error
    litert_torch.config.show_progress = False
    return litert_torch
