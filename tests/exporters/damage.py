"""Ways to break a model that a check must find."""

import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from kd2deploy.core import Artifact, made


def with_weights(source: Artifact, folder: Path, name: str, change: Callable[[Tensor], Tensor]) -> Artifact:
    """The transformers folder with one weight changed."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source.path, folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    weights[name] = change(weights[name]).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return made(folder, source.opened_by)


def with_wrong_bias(source: Artifact, path: Path, shift: float) -> Path:
    """The ONNX file with `shift` added to one bias of the head."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source.path)
    head = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == head.input[2])
    values = numpy_helper.to_array(bias).copy()
    values[0] += shift
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, path)
    return path
