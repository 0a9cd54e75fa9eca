"""TensorRT 10, TensorRT 11 and TensorRT-RTX behind one small interface: parse a graph, build an engine.

Version 10 takes precisions as builder flags and lets the builder choose per layer; version 11 and TensorRT-RTX know
only strongly typed networks, which compute in the types that the graph states. Source: the Python bindings' own
signatures, tensorrt-cu12-bindings 10.13.3.9, tensorrt-cu13-bindings 11.4.0.106, tensorrt-rtx-cu13-bindings 1.7.1.116.
"""

import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.shapes import ShapeRange
from kd2deploy.exporters.tensorrt._memory import PeakMemory

LibraryName = Literal["tensorrt", "tensorrt_rtx"]
INSTALL: Mapping[LibraryName, str] = {
    "tensorrt": "pip install 'kd2deploy[tensorrt]'",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13",
}
SUPPORTED: Mapping[LibraryName, range] = {"tensorrt": range(10, 12), "tensorrt_rtx": range(1, 2)}
"""Major versions that the adapter is written for."""
SHOWN_ERRORS = 3
"""How many of a parser's or a builder's errors a message shows."""
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How an engine is built."""

    flags: frozenset[str] = frozenset()
    """Of FP16, BF16, INT8, FP8: version 10 alone. Empty: strongly typed."""
    tf32: bool = False
    """Let fp32 products be computed in TF32 (10 bits of mantissa), which the library does unless told otherwise."""
    optimization_level: int = 3
    """0 (build fast) to 5 (search long); 3 is the library's own default."""
    workspace_mb: int = 0
    """Scratch memory that a tactic may take; 0 is all that the device has."""
    compute_capability: str = ""
    """`8.9`: build for a device that is not here. TensorRT-RTX alone."""


@dataclass(frozen=True)
class Built:
    """A serialized engine and what its build cost."""

    engine: bytes
    seconds: float
    """Of parsing and building."""
    host_peak_mb: float
    """By how much the build raised the process's resident memory, at its peak (`PeakMemory` says how it is known)."""
    layers: int
    timing_cache: bytes
    """What the builder learnt of this device's tactics; empty where the library learns at run time."""
    warnings: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What is recorded of the build."""
        return {
            "seconds": round(self.seconds, 3),
            "host_peak_mb": round(self.host_peak_mb, 1),
            "engine_mb": round(len(self.engine) / 1e6, 3),
            "layers": self.layers,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Library:
    """A TensorRT that is installed here."""

    name: LibraryName
    module: ModuleType

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def has_precision_flags(self) -> bool:
        """Version 10 alone: later ones have no weakly typed networks."""
        return "FP16" in self.module.BuilderFlag.__members__

    @property
    def builds_without_device(self) -> bool:
        return hasattr(self.module, "ComputeCapability")

    @property
    def times_tactics(self) -> bool:
        """Whether a build times kernels; TensorRT-RTX compiles them when the engine is first run."""
        return self.name == "tensorrt"

    @property
    def records_by_itself(self) -> bool:
        """Whether a context is told to record its launches, since it swaps kernels while it runs."""
        return hasattr(self.module, "CudaGraphStrategy")

    def logger(self) -> Any:
        """An ILogger that keeps what it is told instead of printing it on standard output."""
        trt: Any = self.module

        class Kept(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []
                self.warnings: list[str] = []

            def log(self, severity: Any, msg: str) -> None:
                if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                    self.errors.append(msg)
                elif severity == trt.ILogger.Severity.WARNING:
                    self.warnings.append(msg)

        return Kept()


def load(name: LibraryName) -> Library:
    """The installed library. Raises SessionError with what to install."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise SessionError(
            f"{name} cannot be loaded ({error}): {INSTALL[name]} on a machine with its device"
        ) from error
    library = Library(name, module)
    major = int(library.version.split(".")[0])
    if major not in SUPPORTED[name]:
        known = ", ".join(f"{each}.x" for each in SUPPORTED[name])
        raise SessionError(
            f"{name} {library.version} is not among the versions known to work ({known}): {INSTALL[name]}"
        )
    return library


def build(
    library: Library, graph: bytes, shapes: Mapping[str, ShapeRange], settings: Settings, timing_cache: bytes = b""
) -> Built:
    """Parse a serialized ONNX graph and build an engine. Raises ConvertError with the library's own words."""
    trt: Any = library.module
    logger, memory, begun = library.logger(), PeakMemory(), time.perf_counter()
    builder = trt.Builder(logger)
    typed = 0 if settings.flags else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        errors = [parser.get_error(place) for place in range(parser.num_errors)]
        raise ConvertError(f"{library.name} {library.version} cannot read the graph: {_joined(map(_said, errors))}")
    config = _configured(library, builder, settings)
    if library.times_tactics:
        # False: refuse timings of another version or device; then start anew.
        fits = config.set_timing_cache(config.create_timing_cache(timing_cache), False)
        if not fits:
            config.set_timing_cache(config.create_timing_cache(b""), False)
    config.add_optimization_profile(_profile(builder, network, shapes))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        said = _joined(logger.errors) or "the builder gave no reason"
        raise ConvertError(f"{library.name} {library.version} cannot build an engine: {said}")
    return Built(
        engine=bytes(engine),
        seconds=time.perf_counter() - begun,
        host_peak_mb=memory.raised_mb(),
        layers=int(network.num_layers),
        timing_cache=bytes(config.get_timing_cache().serialize()) if library.times_tactics else b"",
        warnings=tuple(dict.fromkeys(logger.warnings)),
    )


def _configured(library: Library, builder: Any, settings: Settings) -> Any:
    trt: Any = library.module
    config = builder.create_builder_config()
    unknown = sorted(flag for flag in settings.flags if flag not in trt.BuilderFlag.__members__)
    if unknown:
        raise ConvertError(f"{library.name} {library.version} has no builder flags {unknown}: cast the graph instead")
    for flag in sorted(settings.flags):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if settings.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    config.builder_optimization_level = settings.optimization_level
    if settings.workspace_mb:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb * MEBIBYTE)
    if settings.compute_capability:
        _set_capability(library, config, settings.compute_capability)
    return config


def _set_capability(library: Library, config: Any, wanted: str) -> None:
    if not library.builds_without_device:
        raise ConvertError(
            f"{library.name} builds on the device itself: leave compute_capability out, or set library: tensorrt_rtx"
        )
    members = library.module.ComputeCapability.__members__
    name = "SM" + wanted.replace(".", "")
    if name not in members:
        known = sorted(f"{member[2:-1]}.{member[-1]}" for member in members if member.startswith("SM"))
        raise ConvertError(f"{library.name} {library.version} has no compute capability {wanted}; it has {known}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(members[name], 0)


def _profile(builder: Any, network: Any, shapes: Mapping[str, ShapeRange]) -> Any:
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        name = network.get_input(place).name
        if name not in shapes:
            raise ConvertError(f"the graph reads {name!r}, of which no shapes are known; samples have {sorted(shapes)}")
        profile.set_shape(name, shapes[name].smallest, shapes[name].usual, shapes[name].largest)
    return profile


def _said(error: Any) -> str:
    return f"{error.node_operator()} {error.node_name()!r}: {error.desc()}"


def _joined(messages: Any) -> str:
    every: Sequence[str] = list(dict.fromkeys(" ".join(str(message).split())[:300] for message in messages))
    more = f" (and {len(every) - SHOWN_ERRORS} more)" if len(every) > SHOWN_ERRORS else ""
    return "; ".join(every[:SHOWN_ERRORS]) + more
