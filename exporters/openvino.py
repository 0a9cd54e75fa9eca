"""OpenVINO: an intermediate representation made from ONNX, and the session that runs it on the processor."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import numpy as np

from kd2deploy.core import Artifact, Feed, Ports, Target, Task, made
from kd2deploy.core.figures import count_of
from kd2deploy.core.serving import Serving, Told
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters import _parity
from kd2deploy.exporters._cpu import intra_op_threads, isa
from kd2deploy.exporters._signal_stack import own_signal_stack
from kd2deploy.exporters._telemetry import keep_off
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.onnx.files import domains

OPENED_BY = "kd2deploy.exporters.openvino.OpenVinoSession"
MODEL = "openvino_model.xml"
"""The name that optimum-intel looks for; the weights lie beside it in openvino_model.bin."""


def openvino_from_onnx(source: Artifact, task: Task, target: Target, folder: Path, samples: Sequence[Feed]) -> Artifact:
    """A folder with `openvino_model.xml` and `.bin`, of a plain fp32 graph or of one with static int8 pairs."""
    openvino = library()
    # fp16 weights would change the answers without being asked for.
    openvino.save_model(read_plain(source), folder / MODEL, compress_to_fp16=False)
    artifact = made(
        folder,
        OPENED_BY,
        parent=source,
        made_by="openvino_from_onnx",
        precision=source.precision,
        details={"versions": {"openvino": version("openvino")}, "from": dict(source.details)},
    )
    reference = run_all(source.path, task, target, samples)
    with OpenVinoSession(artifact, task.ports, target) as session:
        found = [session.run(feed) for feed in samples]
    if said := _parity.disagreement(task, reference, found, source.precision):
        raise ConvertError(f"OpenVINO disagrees with ONNX Runtime: {said}")
    return artifact


def read_plain(source: Artifact) -> Any:
    """The graph as OpenVINO's model. Raises ConvertError where it holds operations of ONNX Runtime's own."""
    foreign = [name for name in domains(source.path) if name != "ai.onnx"]
    if foreign:
        raise ConvertError(
            f"OpenVINO cannot be relied on for {foreign} operations: convert the plain export, not the fused one"
        )
    return library().convert_model(source.path)


CODE = """\
import openvino

compiled = openvino.compile_model({file}, "CPU", {settings})


def run(feed):
    found = compiled({port.any_name: feed[port.any_name] for port in compiled.inputs})
    return {port.any_name: found[port] for port in compiled.outputs}
"""
NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
"""OpenVINO's types by the names that artifacts and limits have."""
DEFAULT = "f32"


def code(artifact: Artifact, session: Mapping[str, Any]) -> str:
    """For `Serving.code`: left alone the plugin would take bf16 by itself."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": session.get("precision", DEFAULT)}
    return CODE.replace("{settings}", json.dumps(settings))


def told(session: Mapping[str, Any]) -> Told:
    """Triton's backend knows one precision by name, and leaves the choice to the plugin otherwise."""
    precision = session.get("precision", DEFAULT)
    if precision == "bf16":
        return Told({"HINT_BF16": "YES"})
    return Told(untold=(f"INFERENCE_PRECISION_HINT {precision}",))


class OpenVinoSession:
    """A model in OpenVINO's CPU plugin: one stream, threads fixed, and exactly the precision that was asked for.

    `precision` is what unquantized operations compute in. It is always set: left alone, the plugin takes bf16 by itself
    on processors that have it. Raises SessionError where OpenVINO is missing or settles on something else.
    """

    serving: ClassVar[Serving] = Serving("openvino", opens=MODEL, backend="openvino", code=code, told=told)

    def __init__(
        self, artifact: Artifact, ports: Ports, target: Target, *, precision: Literal["f32", "bf16", "f16"] = "f32"
    ) -> None:
        openvino = library()
        self.threads = intra_op_threads(target)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": precision,
        }
        with own_signal_stack():
            self._model = openvino.Core().compile_model(artifact.path / MODEL, "CPU", settings)
        self.precision = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if self.precision != precision:
            raise SessionError(
                f"OpenVINO computes in {self.precision}, not {precision}, on this processor ({isa()}); "
                "set the variant's session.precision to f32"
            )
        active = int(self._model.get_property("INFERENCE_NUM_THREADS"))
        if active != self.threads:
            raise SessionError(
                f"OpenVINO runs {count_of(active, 'thread')}, not {self.threads}; set the target's threads to {active}"
            )
        self.weights = artifact.precision
        self._outputs = [port.name for port in ports.outputs]
        self._request = self._model.create_infer_request()
        self._inputs = [entry.get_any_name() for entry in self._model.inputs]
        unknown = set(self._inputs) - {port.name for port in ports.inputs}
        if unknown:
            raise SessionError(f"{artifact.path} reads {sorted(unknown)}, which task {ports.called} does not feed")

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        # The request writes into buffers of its own that the next run reuses, so the answers are copied out.
        answers = self._request.infer({name: feed[name] for name in self._inputs}, share_inputs=True)
        return {name: np.array(answers[name]) for name in self._outputs}

    def describe(self) -> dict[str, str]:
        return {
            "runtime": f"openvino {version('openvino')}",
            "device": str(self._model.get_property("EXECUTION_DEVICES")[0]),
            "precision": "int8" if self.weights == "int8" else NAMES[self.precision],
            "arithmetic": NAMES[self.precision],
            "threads": str(self.threads),
            "streams": str(self._model.get_property("NUM_STREAMS")),
            "isa": isa(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._request, self._model


def devices() -> list[str]:
    """What it finds to run on here, by its own names."""
    with own_signal_stack():
        return list(library().Core().available_devices)


def library() -> Any:
    """The module, with its reports to its maker kept off. Raises SessionError where it is not installed."""
    keep_off()
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise SessionError("OpenVINO is not installed: pip install 'kd2deploy[openvino]'") from error
    return openvino
