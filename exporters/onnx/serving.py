"""How an ONNX file lies in a bundle, and how it is opened without this program."""

from kd2deploy.core import Artifact
from kd2deploy.core.serving import Serving

CODE = """\
import onnxruntime

session = onnxruntime.InferenceSession({file}, providers=onnxruntime.get_available_providers())


def run(feed):
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, {port.name: feed[port.name] for port in session.get_inputs()})))
"""


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


SERVING = Serving(place, backend="onnxruntime", code=CODE)
