"""8 bits by OpenVINO's own quantizer, NNCF: an intermediate representation in int8, made of a plain ONNX graph."""

import io
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kd2deploy.core import Artifact, Feed, Target, Task, converter, made
from kd2deploy.errors import ConvertError
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters._signal_stack import own_signal_stack
from kd2deploy.exporters._telemetry import keep_off
from kd2deploy.exporters.onnx.checking import agreement, not_excluded, run_all, worst_first
from kd2deploy.exporters.openvino import MODEL, OPENED_BY, OpenVinoSession, read_plain

if TYPE_CHECKING:
    import openvino

WEIGHED = frozenset({"MatMul", "Convolution", "GroupConvolution"})
"""OpenVINO's operations that gain from bytes."""


@dataclass(frozen=True)
class Nncf:
    """What NNCF is told; what is left out is its own default."""

    preset: Literal["mixed", "performance"] = "mixed"
    """Activations with a zero point (`mixed`) or without one."""
    smooth: float | None = None
    """Exponent of smooth quantization for products, which shifts the range of activations into weights: 0.95 by NNCF's
    default, and only for transformers; -1 turns it off."""
    fast_bias: bool = True
    """Correct biases by mean activations, or by all of them, which takes many times longer."""
    exclude: Sequence[str] = ()
    """Operations that stay in floating point, by their names in the graph."""


AS_IT_IS = Nncf()


def rank_sensitivity(
    source: Artifact, task: Task, target: Target, samples: Sequence[Feed], *, options: Nncf = AS_IT_IS
) -> list[tuple[str, float]]:
    """Each quantizable operation with the damage done when it alone is in 8 bits, worst first.

    The damage is the relative L2 error of the outputs over all samples (0 none, 1 as large as the outputs).
    """
    names = quantizable(read_plain(source))
    alone = {name: replace(options, exclude=[other for other in names if other != name]) for name in names}
    found = ((name, answered(quantized(source, samples, one), task, samples)) for name, one in alone.items())
    return worst_first(task, run_all(source.path, task, target, samples), found)


@converter(rounds_to=8, ranked_by=rank_sensitivity)
def nncf_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    options: Nncf = AS_IT_IS,
) -> Artifact:
    """A folder with `openvino_model.xml` and `.bin` in 8 bits, calibrated on the samples."""
    import openvino

    candidates = quantizable(read_plain(source))
    none_left = "no operation is left to quantize: the graph has none with weights, or all are excluded"
    chosen = not_excluded(candidates, options.exclude, none_left)
    openvino.save_model(quantized(source, samples, options), folder / MODEL, compress_to_fp16=False)
    artifact = made(
        folder,
        OPENED_BY,
        parent=source,
        made_by="nncf_from_onnx",
        precision="int8",
        details={
            "versions": {"openvino": version("openvino"), "nncf": version("nncf")},
            "quantized": chosen,
            "excluded": list(options.exclude),
            "calibrated_on": len(samples),
        },
    )
    reference = run_all(source.path, task, target, samples)
    with OpenVinoSession(artifact, task.ports, target) as session:
        found = [session.run(feed) for feed in samples]
    return replace(artifact, details={**artifact.details, "agreement": agreement(task, reference, found)})


def quantizable(model: "openvino.Model") -> list[str]:
    """Names of the operations with a constant weight, in the graph's order."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in WEIGHED and is_constant(node.input_value(1).get_node())
    ]


def is_constant(node: Any) -> bool:
    """Whether a weight is there, perhaps behind a conversion, a transposition or a new shape."""
    while node.get_type_name() in {"Convert", "Transpose", "Reshape"}:
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def quantized(source: Artifact, samples: Sequence[Feed], options: Nncf) -> "openvino.Model":
    """The graph of `source` in OpenVINO, in 8 bits."""
    nncf = _nncf()
    model = read_plain(source)
    read = {entry.get_any_name() for entry in model.inputs}
    given = [{name: array for name, array in feed.items() if name in read} for feed in samples]
    transformer = any(node.get_type_name() in {"Softmax", "ScaledDotProductAttention"} for node in model.get_ops())
    advanced = nncf.AdvancedQuantizationParameters()
    if options.smooth is not None:
        advanced.smooth_quant_alphas = nncf.AdvancedSmoothQuantParameters(matmul=options.smooth)
    with own_signal_stack(), quiet(), redirect_stdout(io.StringIO()):  # it draws bars there
        return nncf.quantize(
            model,
            nncf.Dataset(given),
            preset=nncf.QuantizationPreset(options.preset),
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(given),
            fast_bias_correction=options.fast_bias,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=list(options.exclude)) if options.exclude else None,
            advanced_parameters=advanced,
        )


def answered(model: "openvino.Model", task: Task, samples: Sequence[Feed]) -> list[dict[str, Any]]:
    import openvino

    with own_signal_stack():
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [entry.get_any_name() for entry in model.inputs]
    found = []
    for feed in samples:
        answer = compiled({name: feed[name] for name in names})
        found.append({port.name: answer[port.name].copy() for port in task.outputs})
    return found


def _nncf() -> Any:
    keep_off()
    try:
        with quiet():
            import nncf
    except ModuleNotFoundError as error:
        raise ConvertError("NNCF is not installed: pip install 'kd2deploy[openvino]'") from error
    nncf.set_log_level(logging.ERROR)
    return nncf
