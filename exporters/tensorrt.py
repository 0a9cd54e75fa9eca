"""TensorRT and TensorRT-RTX: an engine made from ONNX on its device, and the session that runs it there."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from kd2deploy.core import Artifact, Feed, Target, Task, made, sha256_of
from kd2deploy.errors import ConvertError, DisagreementError, SessionError
from kd2deploy.exporters import _parity
from kd2deploy.exporters._casts import Half, cast_to_half, fp8_pairs, only_in_half
from kd2deploy.exporters._tensorrt_api import Built, Library, LibraryName, Settings, ShapeRange, build, load
from kd2deploy.exporters._tensorrt_cache import Place, Store, engine_key, place_here
from kd2deploy.exporters._tensorrt_graph import pair_type, refuse_unreadable
from kd2deploy.exporters._tensorrt_shapes import refuse_outside, shape_ranges, usual_request
from kd2deploy.exporters.onnx import OPENED_BY as ONNX_SESSION
from kd2deploy.exporters.onnx import check_agreement, domains, run_all, save
from kd2deploy.exporters.quantize import agreement, damage, quantizable_nodes, quantized

if TYPE_CHECKING:
    import onnx

OPENED_BY = "kd2deploy.exporters.tensorrt.TensorRTSession"
CACHE = Path("~/.cache/kd2deploy/tensorrt")
HALF_SENSITIVE = frozenset({"MatMul", "Gemm", "Conv", "Softmax", "LayerNormalization", "ReduceMean", "Pow"})
"""Operations that take most of the time, and those that overflow or lose most in fp16."""
SPREAD_RUNS, SPREAD_WARM_UP = 50, 10
"""Runs of each of several engines, for the spread between builds; the race measures the one that is kept."""


# 8-bit floating point ---------------------------------------------------------------------------------------


def fp8_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    exclude: Sequence[str] = (),
) -> Artifact:
    """Float8 (e4m3) quantize / dequantize pairs around the matrix products, calibrated on `samples`.

    For devices of compute capability 8.9 and later. `exclude` names nodes that stay in floating point.
    """
    import onnx

    plain = onnx.load(source.path)
    candidates = _matrix_products(plain, source.path)
    unknown = sorted(set(exclude) - set(candidates))
    if unknown:
        raise ConvertError(f"exclude names {unknown}, which are not quantizable; those that are: {candidates}")
    chosen = [name for name in candidates if name not in set(exclude)]
    if not chosen:
        raise ConvertError("no matrix product is left for fp8: the graph has none, or all are excluded")
    path = folder / "model.onnx"
    save(_in_fp8(plain, source.path, samples, chosen), path, {"source": source.sha256, "quantized": "fp8"})
    alike = agreement(task, run_all(source.path, task, target, samples), run_all(path, task, target, samples))
    details: dict[str, Any] = {
        "mode": "static",
        "layout": "tensorrt",
        "quantized": chosen,
        "excluded": list(exclude),
        "calibrated_on": len(samples),
        "domains": domains(path),
        "agreement": alike,
    }
    return made(path, ONNX_SESSION, parent=source, made_by="fp8_from_onnx", precision="fp8", details=details)


def rank_fp8_sensitivity(
    source: Artifact, task: Task, target: Target, samples: Sequence[Feed]
) -> list[tuple[str, float]]:
    """Each matrix product with the damage done when it alone is in fp8, worst first; the damage as of `damage`."""
    import onnx

    plain = onnx.load(source.path)
    reference, damages = run_all(source.path, task, target, samples), []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        for name in _matrix_products(plain, source.path):
            save(_in_fp8(plain, source.path, samples, [name]), path, {})
            damages.append((name, damage(reference, run_all(path, task, target, samples))))
    return sorted(damages, key=lambda pair: (-pair[1], pair[0]))


def _matrix_products(plain: "onnx.ModelProto", path: Path) -> list[str]:
    """Names of the operations that fp8 gains from: there are no convolutions in fp8."""
    products = {node.name for node in plain.graph.node if node.op_type in ("MatMul", "Gemm")}
    return [name for name in quantizable_nodes(path, "static") if name in products]


def _in_fp8(plain: "onnx.ModelProto", path: Path, samples: Sequence[Feed], chosen: Sequence[str]) -> "onnx.ModelProto":
    """The graph, which also lies at `path`, with fp8 pairs around the chosen nodes."""
    pairs = quantized(path, samples, chosen, mode="static", layout="tensorrt", per_channel=True, narrow=False)
    return fp8_pairs(pairs, plain)


# 16-bit floating point --------------------------------------------------------------------------------------


def rank_half_sensitivity(
    source: Artifact, task: Task, target: Target, samples: Sequence[Feed], *, precision: Half = "fp16"
) -> list[tuple[str, float]]:
    """Each heavy node of an fp32 graph with the damage done when it alone is in `precision`, worst first.

    The names are what `trt_from_onnx` and `fp16_from_onnx` take as `exclude`; the damage is the relative L2 error of
    the outputs over all samples (0 none, 1 as large as the outputs, infinite for an overflow).
    """
    import onnx

    model = onnx.load(source.path)
    reference, damages = run_all(source.path, task, target, samples), []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        for node in model.graph.node:
            if node.op_type in HALF_SENSITIVE:
                save(only_in_half(model, precision, node.name), path, {})
                damages.append((node.name, damage(reference, run_all(path, task, target, samples))))
    return sorted(damages, key=lambda pair: (-pair[1], pair[0]))


# the engine -------------------------------------------------------------------------------------------------


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
    cache: str = str(CACHE),
) -> Artifact:
    """`model.engine` for this machine's device, of a plain graph or of one with symmetric quantize / dequantize pairs.

    `precision` is what the graph's fp32 arithmetic is computed in: `as_is`, or 16 bits, by builder flags in TensorRT 10
    (where `exclude` is empty) and by casting the graph elsewhere; `exclude` names nodes that stay in fp32. `shapes`
    sets dynamic axes to [smallest, usual, largest] instead of what `samples` show. With several `builds` each engine
    is timed on a request of the usual shape and the spread is recorded; the first one is kept. `compute_capability`
    builds for a device that is not here (TensorRT-RTX alone). `cache` is the folder of finished engines and tactic
    timings; empty keeps none.
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
    store = Store(Path(cache).expanduser() if cache else None, place)
    graph = model.SerializeToString()
    key = engine_key(graph, place, ranges, settings)
    found = store.engine(key) if builds == 1 else None
    all_built = [] if found else [_build(adapter, graph, ranges, settings, store, at) for at in range(builds)]
    engine, facts = found if found else (all_built[0].engine, _facts(all_built[0]))
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
        details["spread"] = _spread(all_built, artifact, task, target, usual_request(samples[0], ranges), folder)
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


def _facts(built: Built) -> dict[str, Any]:
    return {
        "seconds": round(built.seconds, 3),
        "host_peak_mb": round(built.host_peak_mb, 1),
        "engine_mb": round(len(built.engine) / 1e6, 3),
        "layers": built.layers,
        "warnings": list(built.warnings),
    }


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


def _spread(
    built: Sequence[Built], artifact: Artifact, task: Task, target: Target, request: Feed, folder: Path
) -> dict[str, Any]:
    """Each build's cost, and where the device is here its median latency; `ratio` is slowest to fastest."""
    each = [_facts(one) for one in built]
    if not artifact.details["settings"]["compute_capability"]:
        for at, one in enumerate(built):
            path = folder / f"build-{at}.engine"
            path.write_bytes(one.engine)
            again = dataclasses.replace(artifact, path=path, sha256=sha256_of(path))
            with TensorRTSession(again, task, target) as session:
                each[at]["median_ms"] = _median_ms(session, request)
            path.unlink()
    times = [facts["median_ms"] for facts in each if "median_ms" in facts]
    return {"builds": each, "ratio": max(times) / min(times) if times else None}


def _median_ms(session: "TensorRTSession", feed: Feed) -> float:
    taken = []
    for _ in range(SPREAD_WARM_UP + SPREAD_RUNS):
        begun = time.perf_counter_ns()
        session.run(feed)
        taken.append((time.perf_counter_ns() - begun) / 1e6)
    return statistics.median(taken[SPREAD_WARM_UP:])


# running ----------------------------------------------------------------------------------------------------


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

    def __init__(self, artifact: Artifact, task: Task, target: Target, *, cuda_graph: bool = False) -> None:
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
        self._outputs = [port.name for port in task.outputs]
        self._types = {name: torch_type(self._engine.get_tensor_dtype(name).name) for name in names}
        unknown = set(self._inputs) - {port.name for port in task.inputs}
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
