"""Converters as a user brings them: one rounds weights, one needs the device, one builds for a range of shapes, and one
makes files for a session of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np
import onnx

from kd2deploy.core import Artifact, Feed, Ports, Target, Task, converter, made
from kd2deploy.core.serving import Serving
from kd2deploy.exporters.onnx import OPENED_BY
from kd2deploy.exporters.onnx.checking import damage, run_all
from kd2deploy.exporters.onnx.files import save
from kd2deploy.exporters.onnx.serving import CODE

FINE = 1 << 24
"""Steps that fp32 itself has."""


def coarse(source: Artifact, steps: int, keep: Sequence[str]) -> onnx.ModelProto:
    """The graph with the weights of its products on a grid of `steps` steps, but for those of the nodes in `keep`."""
    model = onnx.load(source.path)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.name not in keep and node.input[1] in held:
            weight = onnx.numpy_helper.to_array(held[node.input[1]])
            step = np.abs(weight).max() * 2 / steps
            rounded = (np.round(weight / step) * step).astype(np.float32)
            held[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(rounded, node.input[1]))
    return model


def rank_coarseness(
    source: Artifact, task: Task, target: Target, samples: Sequence[Feed], *, steps: int = 64
) -> list[tuple[str, float]]:
    """Each product with the damage done when its weights alone are on the grid, worst first."""
    names = [node.name for node in onnx.load(source.path).graph.node if node.op_type == "MatMul"]
    reference, damages = run_all(source.path, task, target, samples), []
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        for name in names:
            save(coarse(source, steps, [other for other in names if other != name]), path, {})
            damages.append((name, damage(reference, run_all(path, task, target, samples))))
    return sorted(damages, key=lambda pair: -pair[1])


@converter(rounds_to=8, unless={"steps": FINE}, ranked_by=rank_coarseness)
def coarse_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    steps: int = 64,
    exclude: Sequence[str] = (),
) -> Artifact:
    """The graph with coarse weights."""
    path = folder / "model.onnx"
    save(coarse(source, steps, exclude), path, {"source": source.sha256})
    return made(path, OPENED_BY, parent=source, made_by="coarse_from_onnx", details={"excluded": list(exclude)})


@converter(on_device=True)
def tuned_from_onnx(source: Artifact, task: Task, target: Target, folder: Path, samples: Sequence[Feed]) -> Artifact:
    """A copy that stands for what is tuned to the device that it is made on."""
    path = folder / "model.onnx"
    path.write_bytes(source.path.read_bytes())
    return made(path, OPENED_BY, parent=source, made_by="tuned_from_onnx", precision=source.precision)


@converter(takes_shapes=True)
def sized_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Artifact:
    """A copy that stands for what is built for a range of shapes, which it is told."""
    path = folder / "model.onnx"
    path.write_bytes(source.path.read_bytes())
    return made(path, OPENED_BY, parent=source, made_by="sized_from_onnx", details={"shapes": dict(shapes or {})})


class OwnSession:
    """ONNX Runtime with nothing set; it tells no more than its runtime."""

    serving: ClassVar[Serving] = Serving("own/model.onnx", code=CODE)

    def __init__(self, artifact: Artifact, ports: Ports, target: Target) -> None:
        import onnxruntime

        self.outputs = [port.name for port in ports.outputs]
        self.opened = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        return dict(zip(self.outputs, self.opened.run(self.outputs, dict(feed)), strict=True))

    def describe(self) -> dict[str, str]:
        return {"runtime": "my own"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        del self.opened


def own_from_onnx(source: Artifact, task: Task, target: Target, folder: Path, samples: Sequence[Feed]) -> Artifact:
    """A copy that the session above opens."""
    path = folder / "model.onnx"
    path.write_bytes(source.path.read_bytes())
    return made(path, f"{__name__}.OwnSession", parent=source, made_by="own_from_onnx")
