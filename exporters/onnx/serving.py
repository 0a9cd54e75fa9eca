"""How an ONNX file lies in a bundle, and how it is opened without this program."""

from collections.abc import Mapping
from typing import Any

from kd2deploy.core import Artifact
from kd2deploy.core.serving import Serving, Told

CODE = """\
import onnxruntime

session = onnxruntime.InferenceSession({file}, providers=onnxruntime.get_available_providers())


def run(feed):
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, {port.name: feed[port.name] for port in session.get_inputs()})))
"""
SPINNING = "session.intra_op.allow_spinning"


def entries_of(session: Mapping[str, Any]) -> dict[str, str]:
    """A session's options as ONNX Runtime's configuration entries; empty where they are as it has them itself."""
    return {} if session.get("spinning", True) else {SPINNING: "0"}


def code(artifact: Artifact, session: Mapping[str, Any]) -> str:
    """For `Serving.code`."""
    entries = entries_of(session)
    if not entries:
        return CODE
    made = ["options = onnxruntime.SessionOptions()"]
    made += [f'options.add_session_config_entry("{name}", "{value}")' for name, value in entries.items()]
    opening = "session = onnxruntime.InferenceSession({file}, "
    return CODE.replace(opening, "\n".join([*made, opening + "options, "]))


def told(session: Mapping[str, Any]) -> Told:
    """Triton's backend is told of threads and of nothing that the entries say."""
    return Told(untold=tuple(f"{name} {value}" for name, value in entries_of(session).items()))


def place(artifact: Artifact) -> str:
    """The names under onnx/ are those that optimum and transformers.js read; what they cannot open lies under ort/.

    No other folder of a bundle has "onnx" in its name: optimum searches whole paths for it.
    """
    suffix = {"fp16": "_fp16", "fp8": "_fp8"}.get(artifact.precision, "")
    if artifact.precision == "int8":
        suffix = "_quantized" if artifact.details.get("mode") == "dynamic" else "_int8"
        if artifact.details.get("layout") == "tensorrt":
            suffix = "_int8_tensorrt"
    portable = artifact.details.get("domains", ["ai.onnx"]) == ["ai.onnx"]
    return f"{'onnx' if portable else 'ort'}/model{suffix}.onnx"


SERVING = Serving(place, backend="onnxruntime", code=code, told=told)
