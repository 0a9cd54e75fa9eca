"""The session that runs any ONNX file, in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from kd2deploy.core import Artifact, Feed, Ports, Target
from kd2deploy.core.cache import cache_folder
from kd2deploy.core.serving import Serving
from kd2deploy.errors import SessionError
from kd2deploy.exporters._cpu import intra_op_threads, isa
from kd2deploy.exporters.onnx.files import load
from kd2deploy.exporters.onnx.opening import opened, placement_of
from kd2deploy.exporters.onnx.providers import (
    CUDA_GRAPH_OPTION,
    DEFAULTS,
    DEVICE_OF,
    PREFIX,
    TAKES_STREAM,
    computed_in,
    engine_options,
)
from kd2deploy.exporters.onnx.serving import SERVING, entries_of
from kd2deploy.exporters.shapes import port_ranges


@dataclass
class Bound:
    """What one set of input shapes needs: arrays at addresses that stay, bound once; and how it is run."""

    binding: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    options: Any


@dataclass(frozen=True)
class Running:
    """How an ONNX file is run."""

    provider: str = "CPUExecutionProvider"
    io_binding: bool | None = None
    """Keep inputs and outputs in buffers on the device, copied explicitly; None: with a CUDA provider."""
    cuda_graph: bool = False
    """Record the launches of each set of shapes once and replay them."""
    provider_options: Mapping[str, str] | None = None
    """ONNX Runtime's own (`{trt_fp16_enable: "1"}`); fp32 is not rounded to TF32 unless they ask for it."""
    spinning: bool = True
    """Whether a thread that has nothing to do waits busily for the next operation: quicker where the cores are free,
    and several times slower where another process wants one of them."""
    shapes: Mapping[str, Sequence[int]] | None = None
    """Sizes [smallest, usual, largest] of dynamic axes that TensorRT's providers build an engine for, which is kept for
    the next process."""


ON_THE_PROCESSOR = Running()


class OnnxSession:
    """An ONNX file in ONNX Runtime, on exactly the provider that was asked for.

    With `io_binding`, `run` is `place`, `compute` and `fetch`, on a CUDA device on a stream of the session's own (not
    run on a device yet). Raises SessionError where the provider is missing, was silently replaced, or left heavy
    operations to the host.
    """

    serving: ClassVar[Serving] = SERVING

    def __init__(
        self, artifact: Artifact, ports: Ports, target: Target, *, options: Running = ON_THE_PROCESSOR
    ) -> None:
        provider = options.provider
        self.provider, self.threads = provider, intra_op_threads(target)
        self.device = DEVICE_OF.get(provider, "cpu")
        self.resident = self.device == "cuda" if options.io_binding is None else options.io_binding
        self._told = {**DEFAULTS.get(provider, {}), **(options.provider_options or {})}
        self.spinning = options.spinning
        self.cuda_graph, self.precision = options.cuda_graph, computed_in(artifact.precision, self._told)
        told = {**_engine_options(provider, artifact, ports, options.shapes or {}), **self._told}
        self.stream = _own_stream(self.resident and provider in TAKES_STREAM) if self.device == "cuda" else None
        if self.stream is not None:
            told["user_compute_stream"] = str(self.stream.cuda_stream)
        if self.cuda_graph:
            if provider not in CUDA_GRAPH_OPTION or not self.resident:
                raise SessionError(
                    f"cuda_graph needs a provider on an NVIDIA device with io_binding, and this is {provider} with "
                    f"io_binding {str(self.resident).lower()}; leave cuda_graph out or set session.provider"
                )
            told[CUDA_GRAPH_OPTION[provider]] = "1"
        providers = [provider] if provider == "CPUExecutionProvider" else [provider, "CPUExecutionProvider"]
        threads, entries = {"intra_op_num_threads": self.threads}, entries_of({"spinning": options.spinning})
        self._session = opened(artifact.path, threads, providers, [told, {}][: len(providers)], entries)
        self._placement = placement_of(self._session, provider)
        self._outputs = [port.name for port in ports.outputs]
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._bound: dict[tuple[tuple[int, ...], ...], Bound] = {}
        unknown = set(self._inputs) - {port.name for port in ports.inputs}
        if unknown:
            raise SessionError(f"{artifact.path} reads {sorted(unknown)}, which task {ports.called} does not feed")

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        if self.resident:
            bound = self.place(feed)
            self.compute(bound)
            return self.fetch(bound)
        answers = self._session.run(self._outputs, {name: feed[name] for name in self._inputs})
        return dict(zip(self._outputs, answers, strict=True))

    def place(self, feed: Feed) -> Bound:
        """Copy the inputs to where they are computed on."""
        arrays = {name: np.ascontiguousarray(feed[name]) for name in self._inputs}
        shapes = tuple(array.shape for array in arrays.values())
        if shapes not in self._bound:
            self._bound[shapes] = self._prepared(arrays)
        bound = self._bound[shapes]
        for name, array in arrays.items():
            bound.inputs[name].update_inplace(array)
        bound.binding.synchronize_inputs()
        return bound

    def compute(self, bound: Bound, *, wait: bool = True) -> None:
        """Run the graph on what was placed, and wait for it; without a stream of its own it always waits."""
        self._session.run_with_iobinding(bound.binding, bound.options)
        if self.stream is None:
            bound.binding.synchronize_outputs()
        elif wait:
            self.stream.synchronize()

    def fetch(self, bound: Bound) -> dict[str, np.ndarray[Any, Any]]:
        """Wait for the outputs and copy them to the host."""
        if self.stream is not None:
            self.stream.synchronize()
        return {name: np.array(value.numpy()) for name, value in bound.outputs.items()}

    def _prepared(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Bound:
        """Buffers for one set of shapes. The first run, which is not recorded, tells the outputs' shapes."""
        import onnxruntime

        binding = self._session.io_binding()
        inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array.copy(), self.device, 0)
            for name, array in arrays.items()
        }
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, self.device)
        self._session.run_with_iobinding(binding, self._options("-1"))
        binding.synchronize_outputs()
        outputs = dict(zip(self._outputs, binding.get_outputs(), strict=True))
        binding.clear_binding_outputs()
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return Bound(binding, inputs, outputs, self._options(str(len(self._bound) + 1)))

    def _options(self, recording: str) -> Any:
        """Under which number the provider records and replays a run (-1: not at all), and who waits for it."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        if self.cuda_graph:
            options.add_run_config_entry("gpu_graph_id", recording)
        if self.stream is not None:
            options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return options

    def describe(self) -> dict[str, str]:
        import onnxruntime

        return {
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "provider": self._session.get_providers()[0],
            "device": self.device,
            "precision": self.precision,
            "threads": str(self.threads),
            "spinning": str(self.spinning).lower(),
            "io_binding": str(self.resident).lower(),
            "cuda_graph": str(self.cuda_graph).lower(),
            "provider_options": ", ".join(f"{name} {value}" for name, value in self._told.items()),
            "placement": ", ".join(f"{name}: {nodes}" for name, nodes in self._placement.items()),
            "isa": isa(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bound.clear()
        del self._session


def _own_stream(wanted: bool) -> Any:
    """A stream of the session's own, where one is wanted and there is a device; None otherwise.

    PyTorch is imported either way, before ONNX Runtime opens anything: it loads the CUDA libraries that the providers
    for NVIDIA devices link to. A session on the processor does without both, and starts seconds earlier.
    """
    import torch

    return torch.cuda.Stream() if wanted and torch.cuda.is_available() else None  # type: ignore[no-untyped-call]


def _engine_options(
    provider: str, artifact: Artifact, ports: Ports, shapes: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    """What a provider that builds an engine is told besides; engines are kept outside of the artifact, by its hash."""
    if provider not in PREFIX:
        return {}
    read = {entry.name for entry in load(artifact.path).graph.input}
    ranges = port_ranges([port for port in ports.inputs if port.name in read], shapes) if shapes else {}
    cache = cache_folder() / "onnxruntime" / artifact.sha256[:16]
    cache.mkdir(parents=True, exist_ok=True)
    return engine_options(provider, ranges, cache)
