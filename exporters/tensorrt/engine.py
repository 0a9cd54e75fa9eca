"""TensorRT and TensorRT-RTX: an engine made from ONNX on its device."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from kd2deploy.core import Artifact, Feed, Target, Task, made
from kd2deploy.core.cache import cache_folder
from kd2deploy.errors import ConvertError, DisagreementError, SessionError
from kd2deploy.exporters import _parity
from kd2deploy.exporters.onnx.casts import Half, cast_to_half
from kd2deploy.exporters.onnx.checking import agreement, check_agreement, run_all
from kd2deploy.exporters.onnx.files import save
from kd2deploy.exporters.shapes import ShapeRange, shape_ranges, usual_request
from kd2deploy.exporters.tensorrt.api import Built, Library, LibraryName, Settings, build, load
from kd2deploy.exporters.tensorrt.graph import pair_type, refuse_unreadable
from kd2deploy.exporters.tensorrt.session import OPENED_BY, TensorRTSession
from kd2deploy.exporters.tensorrt.spread import speed_spread
from kd2deploy.exporters.tensorrt.store import Store, engine_key, place_here

if TYPE_CHECKING:
    import onnx


def trt_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    precision: Literal["as_is", "fp16", "bf16"] = "as_is",
    exclude: Sequence[str] = (),
    library: LibraryName = "tensorrt",
    optimization_level: int = 3,
    workspace_mb: int = 0,
    tf32: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    builds: int = 1,
    compute_capability: str = "",
    cache: str | None = None,
) -> Artifact:
    """`model.engine` for this machine's device, of a plain graph or of one with symmetric quantize / dequantize pairs.

    `precision` is what the graph's fp32 arithmetic is computed in: `as_is`, or 16 bits, by builder flags in TensorRT 10
    (where `exclude` is empty) and by casting the graph elsewhere; `exclude` names nodes that stay in fp32. `shapes`
    sets dynamic axes to [smallest, usual, largest] instead of what `samples` show. With several `builds` each engine
    is timed on a request of the usual shape and the spread is recorded; the first one is kept. `compute_capability`
    builds for a device that is not here (TensorRT-RTX alone). `cache` is the folder of finished engines and tactic
    timings, by default the user's own; empty keeps none.
    """
    import onnx

    if builds < 1:
        raise ConvertError(f"builds must be positive, got {builds}")
    if precision != "as_is" and source.precision in ("fp16", "bf16"):
        raise ConvertError(f"the graph is {source.precision} already: give the fp32 graph, or set precision: as_is")
    if precision == "as_is" and exclude:
        raise ConvertError("exclude names nodes that stay in fp32 where precision is fp16 or bf16, and it is as_is")
    model = onnx.load(source.path)
    refuse_unreadable(model)
    adapter = _library(library, compute_capability)
    flags: frozenset[str] = frozenset()
    if precision != "as_is" and adapter.has_precision_flags and not exclude:
        flags = frozenset({precision.upper()} | ({pair_type(model).upper()} - {""}))
    elif precision != "as_is":
        model = _cast(model, precision, exclude, source, task, target, folder, samples)
    settings = Settings(flags, tf32, optimization_level, workspace_mb, compute_capability)
    ranges = shape_ranges(task, samples, target.workload.batch, shapes)
    place = place_here(adapter, compute_capability)
    store = Store(_kept_in(cache), place)
    graph = model.SerializeToString()
    key = engine_key(graph, place, ranges, settings)
    found = store.engine(key) if builds == 1 else None
    all_built = [] if found else [_build(adapter, graph, ranges, settings, store, at) for at in range(builds)]
    engine, facts = found if found else (all_built[0].engine, all_built[0].facts())
    if not found:
        store.keep(key, engine, facts)
    path = folder / "model.engine"
    path.write_bytes(engine)
    details: dict[str, Any] = {
        "library": library,
        "version": adapter.version,
        "place": dataclasses.asdict(place),
        "key": key,
        "cached": found is not None,
        "build": facts,
        "typing": "builder flags" if flags else "strongly typed",
        "settings": {**dataclasses.asdict(settings), "flags": sorted(flags)},
        "arithmetic": precision,
        "excluded": list(exclude),
        "shapes": {name: dataclasses.asdict(shape) for name, shape in ranges.items()},
        "from": dict(source.details),
    }
    result = pair_type(model) or (source.precision if precision == "as_is" else precision)
    artifact = made(path, OPENED_BY, parent=source, made_by="trt_from_onnx", precision=result, details=details)
    if compute_capability:
        details["checked"] = f"built for compute capability {compute_capability}, not run: no such device here"
    else:
        details["agreement"] = _check(artifact, source, task, target, samples)
        details["checked"] = "run on the device against the graph in ONNX Runtime"
    if len(all_built) > 1:
        details["spread"] = speed_spread(all_built, artifact, task, target, usual_request(samples[0], ranges), folder)
    return dataclasses.replace(artifact, details=details)


def _kept_in(cache: str | None) -> Path | None:
    """The folder of finished engines; None where none are kept."""
    if cache is None:
        return cache_folder() / "tensorrt"
    return Path(cache).expanduser() if cache else None


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


def _cast(
    model: "onnx.ModelProto",
    precision: Half,
    exclude: Sequence[str],
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
) -> "onnx.ModelProto":
    """The graph in 16 bits, kept beside the engine and checked where ONNX Runtime can run it."""
    import onnx

    path = folder / "model.onnx"
    save(cast_to_half(model, precision, exclude), path, {"source": source.sha256})
    if precision == "fp16" and not pair_type(model):
        check_agreement(run_all(source.path, task, target, samples), path, task, target, samples, precision)
    return onnx.load(path)


def _build(
    library: Library, graph: bytes, ranges: Mapping[str, ShapeRange], settings: Settings, store: "Store", at: int
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
    with TensorRTSession(artifact, task, target) as session:
        found = [session.run(feed) for feed in samples]
    if artifact.precision in _parity.RELATIVE:
        limit = "bf16" if artifact.details["settings"]["tf32"] else artifact.precision
        for expected, answer in zip(reference, found, strict=True):
            name, distance = _parity.worst(expected, answer, limit)
            if distance > 1:
                raise DisagreementError(
                    f"the engine disagrees with its graph: output {name!r} is {distance:.3g} times as far off as "
                    f"{artifact.precision} explains; leave operations in fp32 with exclude, or take bf16"
                )
    return agreement(task, reference, found)
