"""ONNX: export from PyTorch, fusion for ONNX Runtime, conversion to fp16, and the session that runs any of them.

What exports which network, and which tool fuses which graph, differs between versions; so each route is tried in a
fixed order, its result is checked against the network at a shape that was not traced, and the artifact says which one
made it.
"""

import inspect
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from kd2deploy.core import Artifact, Feed, Port, Target, Task, made
from kd2deploy.errors import ConvertError, DisagreementError, SessionError
from kd2deploy.exporters import _parity
from kd2deploy.exporters._attention import MASK, use_raw_masks
from kd2deploy.exporters._casts import cast_to_half
from kd2deploy.exporters._cpu import intra_op_threads, isa
from kd2deploy.exporters._providers import (
    CACHE,
    CUDA_GRAPH_OPTION,
    DEFAULTS,
    DEVICE_OF,
    PREFIX,
    TAKES_STREAM,
    computed_in,
    engine_options,
)
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters._tensorrt_shapes import port_ranges

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

OPENED_BY = "kd2deploy.exporters.onnx.OnnxSession"
LARGEST_BYTES = 1_900_000_000
"""One protobuf message holds 2 GiB; a deployed student is far below."""
HEAVY = frozenset(
    {"MatMul", "Gemm", "Conv", "Attention", "MultiHeadAttention", "MatMulInteger", "QAttention", "QLinearMatMul"}
    | {"QLinearConv", "ConvInteger", "FusedMatMul", "FusedConv", "FusedGemm", "DynamicQuantizeMatMul"}
)
"""Operations that must run on the provider that was asked for; shape arithmetic may stay on the host."""

Route = Literal["dynamo", "dynamo_eager", "torchscript"]
ROUTES: tuple[Route, ...] = ("dynamo", "dynamo_eager", "torchscript")
Outputs = Mapping[str, np.ndarray[Any, Any]]


# from PyTorch -----------------------------------------------------------------------------------------------


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
    """`model.onnx` with named dynamic axes, made by the first route that agrees with the network.

    Opset 23 keeps attention in one operation, which ONNX Runtime alone can run; 20 is what every runtime reads.
    """
    net = task.networks.load(source.path)
    if sum(tensor.nbytes for tensor in net.state_dict().values()) > LARGEST_BYTES:
        raise ConvertError("the network is larger than one ONNX file may be (2 GB); deploy a smaller student")
    traced = task.networks.example(net, 2)
    feeds = [_another_shape(task, net, traced), *samples]
    reference = _reference(task.networks.deployed(net).eval(), task, feeds)
    _refuse_useless(reference)
    path, failures = folder / "model.onnx", {}
    for name in ROUTES if route == "auto" else (route,):
        try:
            _export(task, source, traced, name, opset, path)
            check_agreement(reference, path, task, target, feeds)
        # Each exporter fails in its own way (torch.export, ONNX functions, tracing); the next route may still work, and
        # if none does all that was said is shown.
        except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, ConvertError) as error:
            failures[name] = _first_line(error)
            path.unlink(missing_ok=True)
            continue
        return _made(
            path,
            source,
            "onnx_from_torch",
            {"route": name, "opset": opset, "failed_routes": failures, "torch": version("torch")},
        )
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


def _reference(module: "nn.Module", task: Task, feeds: Sequence[Feed]) -> list[Outputs]:
    import torch

    with torch.no_grad():
        answers = [module(*(torch.from_numpy(feed[port.name]) for port in task.inputs)) for feed in feeds]
    return [{port.name: out.numpy() for port, out in zip(task.outputs, outs, strict=True)} for outs in answers]


def _refuse_useless(reference: Sequence[Outputs]) -> None:
    for outputs in reference:
        for name, array in outputs.items():
            if why := _parity.refusal(array):
                raise ConvertError(f"output {name!r}: {why}")
    if not any(_parity.varies([outputs[name] for outputs in reference]) for name in reference[0]):
        raise ConvertError("the network answers alike to every input, so its export cannot be checked: train it first")


def _export(task: Task, source: Artifact, traced: "Mapping[str, Tensor]", route: Route, opset: int, path: Path) -> None:
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
            torch.onnx.export(module, inputs, str(path), dynamo=False, dynamic_axes=axes, **names)
            model = _load(path)
        else:
            shapes: tuple[Any, ...] = tuple(_dynamic(port) for port in task.inputs)
            if _takes_any_number(module):
                shapes = (shapes,)
            program = torch.onnx.export(
                module, inputs, dynamo=True, verbose=False, dynamic_shapes=shapes, artifacts_dir=scratch, **names
            )
            assert program is not None, "the dynamo exporter returns a program"
            model = program.model_proto
    name_nodes(model)
    save(model, path, {"source": source.sha256, "route": route})


def _takes_any_number(module: "nn.Module") -> bool:
    """True for `forward(self, *inputs)`: torch.export then expects the shapes one level deeper."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)


def _dynamic(port: Port) -> dict[int, str]:
    return {place: axis for place, axis in enumerate(port.axes) if isinstance(axis, str)}


def name_nodes(model: "onnx.ModelProto") -> None:
    """Give every node a unique name that says where in the network it stands, and drop the exporter's stack traces.

    Quantization addresses nodes by name, and a person must recognize the one that is left out. The shapes that some
    versions of the exporter note for weights go too: a tool that transposes a weight leaves its note behind, wrong.
    """
    taken: set[str] = set()
    for node in model.graph.node:
        said = {entry.key: entry.value for entry in node.metadata_props}
        scopes = said.get("pkg.torch.onnx.name_scopes", "").strip("[]").replace("'", "").split(", ")
        if len(scopes) > 2:
            node.name = f"{scopes[-2]}/{node.op_type}"
        stem = node.name.strip("/") or node.op_type
        node.name = next(name for name in chain([stem], map(f"{stem}_{{}}".format, count(1))) if name not in taken)
        taken.add(node.name)
        del node.metadata_props[:]
        node.doc_string = ""
    weights = {weight.name for weight in model.graph.initializer}
    for value in [value for value in model.graph.value_info if value.name in weights]:
        model.graph.value_info.remove(value)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


# from ONNX --------------------------------------------------------------------------------------------------


def fused_from_onnx(source: Artifact, task: Task, target: Target, folder: Path, samples: Sequence[Feed]) -> Artifact:
    """Attention, GELU and LayerNorm as single operations of ONNX Runtime, which alone can run them.

    What fuses is counted in the details. onnxscript's patterns read what the dynamo route makes; ONNX Runtime's own
    offline optimizer was tried and fuses no attention of today's transformers. Raises ConvertError where nothing fuses
    (a convolutional network): leave the variant out.
    """
    before = len(_load(source.path).graph.node)
    path, feeds = folder / "model.onnx", [*samples, *map(_masked, samples)]
    reference = run_all(source.path, task, target, feeds)
    model, masks = _fused(source.path, raw_masks=True)
    counts = Counter(node.op_type for node in model.graph.node if node.domain == "com.microsoft")
    if not counts:
        raise ConvertError("no attention, GELU or LayerNorm to fuse in this graph: leave the fused variants out")
    save(model, path, {"source": source.sha256})
    try:
        check_agreement(reference, path, task, target, feeds)
    except ConvertError:
        if not masks:
            raise
        # The bias held more than the mask, such as relative positions: it stays, and this attention stays in fp32.
        model, masks = _fused(source.path, raw_masks=False)
        save(model, path, {"source": source.sha256})
        check_agreement(reference, path, task, target, feeds)
    facts = {"fused": dict(counts), "nodes_before": before, "raw_masks": masks}
    return _made(path, source, "fused_from_onnx", facts)


def _masked(sample: Feed) -> Feed:
    """The sample with its last quarter masked out, so that a lost mask shows; itself where there is no mask."""
    if MASK not in sample:
        return sample
    mask = sample[MASK].copy()
    mask[:, mask.shape[1] - max(1, mask.shape[1] // 4) :] = 0
    return {**sample, MASK: mask}


def _fused(path: Path, *, raw_masks: bool) -> "tuple[onnx.ModelProto, int]":
    """The fused graph, and how many of its attentions read the raw mask."""
    import onnx_ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    with quiet():
        model, _ = optimize_for_ort(onnx_ir.load(path))
        masks = use_raw_masks(model) if raw_masks else 0
    proto: onnx.ModelProto = onnx_ir.to_proto(model)
    name_nodes(proto)
    return proto, masks


def fp16_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    exclude: Sequence[str] = (),
) -> Artifact:
    """Weights and arithmetic in fp16, inputs and outputs as they were. Half the file; faster on GPUs only.

    `exclude` names nodes that stay in fp32. Raises ConvertError for names that are not in the graph.
    """
    path = folder / "model.onnx"
    save(cast_to_half(_load(source.path), "fp16", exclude), path, {"source": source.sha256})
    check_agreement(run_all(source.path, task, target, samples), path, task, target, samples, "fp16")
    return _made(path, source, "fp16_from_onnx", {"excluded": list(exclude)}, "fp16")


# what the converters share ----------------------------------------------------------------------------------


def check_agreement(
    reference: Sequence[Outputs],
    path: Path,
    task: Task,
    target: Target,
    feeds: Sequence[Feed],
    precision: str = "fp32",
) -> None:
    """Raise DisagreementError where the file at `path` answers otherwise than `reference` does to the same feeds."""
    for place, (expected, found) in enumerate(zip(reference, run_all(path, task, target, feeds), strict=True)):
        name, distance = _parity.worst(expected, found, precision)
        if distance > 1:
            shape = "x".join(map(str, next(iter(feeds[place].values())).shape))
            raise DisagreementError(
                f"the converted graph disagrees with its source: output {name!r} is {distance:.3g} times as far off as "
                f"{precision} explains, on inputs of shape {shape}; take another route, opset or architecture"
            )


def run_all(path: Path, task: Task, target: Target, feeds: Sequence[Feed]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """The answers of the file at `path` to each feed, on the host."""
    if not feeds:
        raise ConvertError("a converter needs samples of real inputs to check its result on; give it at least one")
    session = _open(path, {"intra_op_num_threads": intra_op_threads(target)}, ["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]
    outputs = [port.name for port in task.outputs]
    return [
        dict(zip(outputs, session.run(outputs, {name: feed[name] for name in wanted}), strict=True)) for feed in feeds
    ]


def save(model: "onnx.ModelProto", path: Path, properties: Mapping[str, str]) -> None:
    """Write the graph with its origin in the metadata, and have ONNX's own checker read it back."""
    import onnx

    onnx.helper.set_model_props(model, {f"kd2deploy.{key}": value for key, value in properties.items()})
    model.doc_string = model.graph.doc_string = ""
    onnx.save(model, path)
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise ConvertError(f"the converted graph is not valid ONNX: {_first_line(error)}") from error


def domains(path: Path) -> list[str]:
    """The operator sets a graph uses; anything but `ai.onnx` ties it to one runtime."""
    return sorted({node.domain or "ai.onnx" for node in _load(path).graph.node})


def _load(path: Path) -> "onnx.ModelProto":
    import onnx

    return onnx.load(path)


def _made(path: Path, source: Artifact, by: str, details: Mapping[str, Any], precision: str = "fp32") -> Artifact:
    model = _load(path)
    facts = {
        **details,
        "nodes": len(model.graph.node),
        "domains": domains(path),
        "opset": next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "versions": {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")},
    }
    return made(path, OPENED_BY, parent=source, made_by=by, precision=precision, details=facts)


def _first_line(error: BaseException) -> str:
    """What lies at the root of an error, in one line: the exporters wrap theirs in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


# running ----------------------------------------------------------------------------------------------------


@dataclass
class Bound:
    """What one set of input shapes needs: arrays at addresses that stay, bound once; and how it is run."""

    binding: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    options: Any


class OnnxSession:
    """An ONNX file in ONNX Runtime, on exactly the provider that was asked for.

    With `io_binding` the inputs and outputs are buffers on the device, copied explicitly: `run` is then `place`,
    `compute` and `fetch`, on a CUDA device on a stream of the session's own (not run on a device yet). With
    `cuda_graph` the launches of each set of shapes are recorded once and replayed.
    `provider_options` are ONNX Runtime's own (`{trt_fp16_enable: "1"}`); fp32 is not rounded to TF32 unless they ask
    for it. `shapes` are the sizes [smallest, usual, largest] of dynamic axes that TensorRT's providers build an engine
    for, which is kept for the next process. Raises SessionError where the provider is missing, was silently replaced,
    or left heavy operations to the host.
    """

    def __init__(
        self,
        artifact: Artifact,
        task: Task,
        target: Target,
        *,
        provider: str = "CPUExecutionProvider",
        io_binding: bool | None = None,
        cuda_graph: bool = False,
        provider_options: Mapping[str, str] | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.provider, self.threads = provider, intra_op_threads(target)
        self.device = DEVICE_OF.get(provider, "cpu")
        self.resident = self.device == "cuda" if io_binding is None else io_binding
        self._told = {**DEFAULTS.get(provider, {}), **(provider_options or {})}
        self.cuda_graph, self.precision = cuda_graph, computed_in(artifact.precision, self._told)
        options = {**_engine_options(provider, artifact, task, shapes or {}), **self._told}
        self.stream = _own_stream(self.resident and provider in TAKES_STREAM) if self.device == "cuda" else None
        if self.stream is not None:
            options["user_compute_stream"] = str(self.stream.cuda_stream)
        if cuda_graph:
            if provider not in CUDA_GRAPH_OPTION or not self.resident:
                raise SessionError(
                    f"cuda_graph needs a provider on an NVIDIA device with io_binding, and this is {provider} with "
                    f"io_binding {str(self.resident).lower()}; leave cuda_graph out or set session.provider"
                )
            options[CUDA_GRAPH_OPTION[provider]] = "1"
        providers = [provider] if provider == "CPUExecutionProvider" else [provider, "CPUExecutionProvider"]
        threads = {"intra_op_num_threads": self.threads}
        self._session = _open(artifact.path, threads, providers, [options, {}][: len(providers)])
        self._placement = _assert_placement(self._session, provider)
        self._outputs = [port.name for port in task.outputs]
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._bound: dict[tuple[tuple[int, ...], ...], Bound] = {}
        unknown = set(self._inputs) - {port.name for port in task.inputs}
        if unknown:
            raise SessionError(f"{artifact.path} reads {sorted(unknown)}, which task {task.name} does not feed")

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
    provider: str, artifact: Artifact, task: Task, shapes: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    """What a provider that builds an engine is told besides; engines are kept outside of the artifact, by its hash."""
    if provider not in PREFIX:
        return {}
    read = {entry.name for entry in _load(artifact.path).graph.input}
    ranges = port_ranges([port for port in task.inputs if port.name in read], shapes) if shapes else {}
    cache = CACHE.expanduser() / artifact.sha256[:16]
    cache.mkdir(parents=True, exist_ok=True)
    return engine_options(provider, ranges, cache)


def _open(
    path: Path,
    settings: Mapping[str, int],
    providers: Sequence[str],
    provider_options: Sequence[Mapping[str, str]] | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` that records where its nodes run and prints errors alone."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise SessionError(
            "ONNX Runtime is not installed: pip install 'kd2deploy[cpu]' (or [gpu], never both)"
        ) from error
    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:
        raise SessionError(
            f"{missing[0]} is not part of the installed ONNX Runtime ({onnxruntime.get_available_providers()}): "
            "pip uninstall onnxruntime && pip install 'kd2deploy[gpu]', or set the variant's session.provider"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for name, value in settings.items():
        setattr(options, name, value)
    each = None if provider_options is None else [dict(one) for one in provider_options]
    return onnxruntime.InferenceSession(str(path), options, providers=list(providers), provider_options=each)


def _assert_placement(session: Any, provider: str) -> dict[str, int]:
    """Nodes per provider; SessionError if the provider is not the active one or heavy operations run elsewhere."""
    if session.get_providers()[0] != provider:
        raise SessionError(
            f"{provider} was asked for and ONNX Runtime fell back to {session.get_providers()[0]}: its libraries or "
            "driver are missing or too old (see `kd2deploy doctor`), or set the variant's session.provider"
        )
    placed: Counter[str] = Counter()
    strays: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        for node in part.get_nodes():
            placed[part.ep_name] += 1
            if part.ep_name != provider and node.op_type in HEAVY:
                strays[node.op_type] += 1
    if strays:
        said = ", ".join(f"{count} {kind}" for kind, count in strays.items())
        raise SessionError(f"{provider} leaves {said} to another provider: its figures would not be its own")
    return dict(placed)
