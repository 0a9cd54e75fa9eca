"""The ways in which every network is run, written as a target's variants, and the networks that are run so.

Graphs, engines and sessions are made by the program's own converters, as `kd2deploy export` makes them.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from _gpu_networks import Size, save
from _gpu_task import Untrained

from kd2deploy.core import Feed, Target, Task, Variant, sha256_of
from kd2deploy.errors import ConvertError
from kd2deploy.stages.convert import Exported, convert, missing
from kd2deploy.stages.job import Model

Device = Literal["cpu", "cuda"]
EXTRA = "torch-graph-fp16"
"""Beyond what is asked for: measured after all else."""


def runtimes(device: Device, batches: Sequence[int]) -> dict[str, Variant]:
    """In the order in which they are measured."""
    onnx = {"use": "onnx_from_torch", "opset": 20}
    int8 = {"use": "int8_from_onnx", "mode": "static", "layout": "tensorrt", "reduce_range": False}
    provider = {"provider": "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"}
    library = tensorrt_library()
    engine = {
        "use": "trt_from_onnx",
        "precision": "fp16",
        "library": library,
        "shapes": {"batch": [min(batches), batches[len(batches) // 2], max(batches)]},
        "cache": "",
    }
    replayed = {"cuda_graph": True}
    return {
        "torch-eager-fp32": Variant(),
        "torch-eager-fp16": Variant(session={"dtype": "fp16"}),
        "torch-compile-fp16": Variant(session={"dtype": "fp16", "compile": True}),
        "ort-fp16": Variant((onnx, {"use": "fp16_from_onnx"}), provider, requires="cpu"),
        "tensorrt-fp16": Variant((onnx, engine), replayed, requires=library),
        "tensorrt-int8": Variant((onnx, int8, engine), replayed, requires=library),
        "tensorrt-fp8": Variant((onnx, {"use": "fp8_from_onnx"}, engine), replayed, requires=library),
        EXTRA: Variant(session={"dtype": "fp16", "cuda_graph": True}),
    }


def tensorrt_library() -> str:
    """TensorRT, or TensorRT-RTX where that alone is installed."""
    names = ("tensorrt", "tensorrt_rtx")
    return next((name for name in names if importlib.util.find_spec(name)), names[0])


@dataclass(frozen=True)
class Subject:
    """One network, and the folder where it and all that is made of it lie."""

    size: Size
    folder: Path
    tiny: bool
    device: Device

    @property
    def target(self) -> Target:
        return Target("here", "this machine", self.device, {})

    @property
    def task(self) -> Task:
        length, pixels, samples = (16, 32, 4000) if self.tiny else (128, 224, 64000)
        return Untrained(self.size.family, length, pixels, samples)

    @property
    def network(self) -> Path:
        place = self.folder / self.size.name / "network"
        return place if place.exists() else save(self.size, place)

    def feed(self, batch: int) -> Feed:
        # No untrained task reads the network to draw its inputs.
        return {name: one.numpy() for name, one in self.task.networks.example(cast(Any, None), batch).items()}

    def exported(self, runtime: str, variant: Variant) -> Exported:
        """What the runtime opens; made once. Raises ConvertError where it cannot be made here."""
        if reason := missing(variant):
            raise ConvertError(reason)
        network = self.network
        model = Model(network, sha256_of(network), self.task)
        return convert(model, self.target, runtime, variant, self.folder / self.size.name, [self.feed(2)])


def by_group(subjects: Sequence[Subject]) -> Mapping[str, list[Subject]]:
    """A teacher with its students: what is timed side by side."""
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        found.setdefault(subject.size.group, []).append(subject)
    return found
