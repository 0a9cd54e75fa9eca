"""TensorRT and TensorRT-RTX: an engine made from ONNX on its device."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from kd2deploy.core import Artifact, Feed, Target, Task, converter, made
from kd2deploy.core.cache import cache_folder
from kd2deploy.errors import ConvertError, DisagreementError, SessionError
from kd2deploy.exporters import _parity
from kd2deploy.exporters.onnx.casts import Half, cast_to_half
from kd2deploy.exporters.onnx.checking import agreement, check_agreement, run_all
from kd2deploy.exporters.onnx.files import save
from kd2deploy.exporters.onnx.half import rank_half_sensitivity
from kd2deploy.exporters.shapes import ShapeRange, shape_ranges, usual_request
from kd2deploy.exporters.tensorrt.api import Built, Library, LibraryName, Settings, build, load
from kd2deploy.exporters.tensorrt.graph import pair_type, refuse_unreadable
from kd2deploy.exporters.tensorrt.session import OPENED_BY, TensorRTSession
from kd2deploy.exporters.tensorrt.spread import speed_spread
from kd2deploy.exporters.tensorrt.store import Store, engine_key, place_here

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Engine:
    """How an engine is built."""

    precision: Literal["as_is", "fp16", "bf16"] = "as_is"
    """What the graph's fp32 arithmetic is computed in: `as_is`, or 16 bits, by builder flags in TensorRT 10 (where
    `exclude` is empty) and by casting the graph elsewhere."""
    exclude: Sequence[str] = ()
    """Nodes that stay in fp32."""
    library: LibraryName = "tensorrt"
    optimization_level: int = 3
    workspace_mb: int = 0
    tf32: bool = False
    shapes: Mapping[str, Sequence[int]] | None = None
    """Sizes [smallest, usual, largest] of dynamic axes instead of what the samples show."""
    builds: int = 1
    """With several each is timed on a request of the usual shape and the spread is recorded; the first is kept."""
    compute_capability: str = ""
    """Of a device that is not here, which is built for without running (TensorRT-RTX alone)."""
    cache: str | None = None
    """The folder of finished engines and tactic timings, by default the user's own; empty keeps none."""

    def fault(self, precision: str) -> str:
        """Why a graph held in `precision` cannot be built so; empty where it can."""
        if self.builds < 1:
            return f"builds must be positive, got {self.builds}"
        if self.precision != "as_is" and precision in ("fp16", "bf16"):
            return f"the graph is {precision} already: give the fp32 graph, or set precision: as_is"
        if self.precision == "as_is" and self.exclude:
            return "exclude names nodes that stay in fp32 where precision is fp16 or bf16, and it is as_is"
        return ""

    @property
    def kept_in(self) -> Path | None:
        """Where finished engines are kept; None where they are not."""
        if self.cache is None:
            return cache_folder() / "tensorrt"
        return Path(self.cache).expanduser() if self.cache else None


AS_IT_IS = Engine()


@converter(
    rounds_to=16, unless={"precision": "as_is"}, ranked_by=rank_half_sensitivity, on_device=True, takes_shapes=True
)
def trt_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    options: Engine = AS_IT_IS,
) -> Artifact:
    """`model.engine` for this machine's device, of a plain graph or of one with symmetric quantize / dequantize pairs.

    Raises ConvertError where the graph or the options do not fit, and DisagreementError where the engine answers
    otherwise than its graph.
    """
    import onnx

    if fault := options.fault(source.precision):
        raise ConvertError(fault)
    model = onnx.load(source.path)
    refuse_unreadable(model)
    adapter = _library(options.library, options.compute_capability)
    flags = _flags(adapter, model, options)
    if options.precision != "as_is" and not flags:
        path = folder / "model.onnx"
        model = _cast(model, path, options.precision, options.exclude, source)
        if options.precision == "fp16" and not pair_type(model):  # what ONNX Runtime can run on this machine
            expected = run_all(source.path, task, target, samples)
            check_agreement(expected, path, task, target, samples, options.precision)
    settings = _settings(flags, options)
    ranges = shape_ranges(task, samples, target.workload.batch, options.shapes)
    place = place_here(adapter, options.compute_capability)
    graph = model.SerializeToString()
    key, store = engine_key(graph, place, ranges, settings), Store(options.kept_in, place)
    found = store.engine(key) if options.builds == 1 else None
    built = [] if found else [_build(adapter, graph, ranges, settings, store, at) for at in range(options.builds)]
    engine, facts = found if found else (built[0].engine, built[0].facts())
    if not found:
        store.keep(key, engine, facts)
    path = folder / "model.engine"
    path.write_bytes(engine)
    details: dict[str, Any] = {
        "library": options.library,
        "version": adapter.version,
        "place": dataclasses.asdict(place),
        "key": key,
        "cached": found is not None,
        "build": facts,
        "typing": "builder flags" if flags else "strongly typed",
        "settings": {**dataclasses.asdict(settings), "flags": sorted(flags)},
        "arithmetic": options.precision,
        "excluded": list(options.exclude),
        "shapes": {name: dataclasses.asdict(shape) for name, shape in ranges.items()},
        "from": dict(source.details),
    }
    precision = pair_type(model) or (source.precision if options.precision == "as_is" else options.precision)
    artifact = made(path, OPENED_BY, parent=source, made_by="trt_from_onnx", precision=precision, details=details)
    if options.compute_capability:
        there = options.compute_capability
        details["checked"] = f"built for compute capability {there}, not run: no such device here"
    else:
        details["agreement"] = _check(artifact, source, task, target, samples)
        details["checked"] = "run on the device against the graph in ONNX Runtime"
    if len(built) > 1:
        details["spread"] = speed_spread(built, artifact, task, target, usual_request(samples[0], ranges), folder)
    return dataclasses.replace(artifact, details=details)


def _library(name: LibraryName, compute_capability: str) -> Library:
    """The library, where it can build: on its device, or for one named by its capability. Raises ConvertError."""
    if not compute_capability and not torch.cuda.is_available():
        raise ConvertError(
            f"{name} builds an engine on its device, and PyTorch sees none here: write a pack and run its finish.py "
            "there (or set library: tensorrt_rtx with compute_capability: '8.9' to build for a device without running)"
        )
    try:
        return load(name)
    except SessionError as error:
        raise ConvertError(str(error)) from error


def _flags(library: Library, model: "onnx.ModelProto", options: Engine) -> frozenset[str]:
    """The precisions as builder flags, where the library has them and every operation may take them; else none."""
    if options.precision == "as_is" or options.exclude or not library.has_precision_flags:
        return frozenset()
    return frozenset({options.precision.upper()} | ({pair_type(model).upper()} - {""}))


def _settings(flags: frozenset[str], options: Engine) -> Settings:
    return Settings(flags, options.tf32, options.optimization_level, options.workspace_mb, options.compute_capability)


def _cast(
    model: "onnx.ModelProto", path: Path, precision: Half, exclude: Sequence[str], source: Artifact
) -> "onnx.ModelProto":
    """The graph in 16 bits, kept at `path` beside the engine."""
    import onnx

    save(cast_to_half(model, precision, exclude), path, {"source": source.sha256})
    return onnx.load(path)


def _build(
    library: Library, graph: bytes, ranges: Mapping[str, ShapeRange], settings: Settings, store: Store, at: int
) -> Built:
    """One engine. Only the first of several uses the tactic timings kept, else all would be alike by construction."""
    built = build(library, graph, ranges, settings, store.timings() if at == 0 else b"")
    if at == 0 and built.timing_cache:
        store.keep_timings(built.timing_cache)
    return built


def _check(
    artifact: Artifact, source: Artifact, task: Task, target: Target, samples: Sequence[Feed]
) -> dict[str, float]:
    """How alike engine and graph answer.

    Raises DisagreementError where an engine without 8-bit parts is too far off.
    """
    reference = run_all(source.path, task, target, samples)
    with TensorRTSession(artifact, task.ports, target) as session:
        found = [session.run(feed) for feed in samples]
    if artifact.precision in _parity.RELATIVE:
        limit = "bf16" if artifact.details["settings"]["tf32"] else artifact.precision
        for expected, answer in zip(reference, found, strict=True):
            name, distance = _parity.worst(expected, task.aligned(expected, answer), limit)
            if distance > 1:
                raise DisagreementError(
                    f"the engine disagrees with its graph: output {name!r} is {distance:.3g} times as far off as "
                    f"{artifact.precision} explains; leave operations in fp32 with exclude, or take bf16"
                )
    return agreement(task, reference, found)
