"""16-bit floating point: graphs cast for ONNX Runtime, and which operations pay for it with accuracy."""

from collections.abc import Sequence
from pathlib import Path

from kd2deploy.core import Artifact, Feed, Target, Task, converter
from kd2deploy.exporters.onnx.casts import Half, cast_to_half, only_in_half
from kd2deploy.exporters.onnx.checking import by_damage, check_agreement, run_all
from kd2deploy.exporters.onnx.files import artifact_at, load, save

HALF_SENSITIVE = frozenset({"MatMul", "Gemm", "Conv", "Softmax", "LayerNormalization", "ReduceMean", "Pow"})
"""Operations that take most of the time, and those that overflow or lose most in fp16."""


def rank_half_sensitivity(
    source: Artifact, task: Task, target: Target, samples: Sequence[Feed], *, precision: Half = "fp16"
) -> list[tuple[str, float]]:
    """Each heavy node of an fp32 graph with the damage done when it alone is in `precision`, worst first.

    The names are what `trt_from_onnx` and `fp16_from_onnx` take as `exclude`; the damage is the relative L2 error of
    the outputs over all samples (0 none, 1 as large as the outputs, infinite for an overflow).
    """
    import onnx

    model = onnx.load(source.path)
    heavy = [node.name for node in model.graph.node if node.op_type in HALF_SENSITIVE]
    rounded = ((name, only_in_half(model, precision, name)) for name in heavy)
    return by_damage(source.path, task, target, samples, rounded)


@converter(rounds_to=16, ranked_by=rank_half_sensitivity)
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
    save(cast_to_half(load(source.path), "fp16", exclude), path, {"source": source.sha256})
    check_agreement(run_all(source.path, task, target, samples), path, task, target, samples, "fp16")
    return artifact_at(path, source, "fp16_from_onnx", {"excluded": list(exclude)}, "fp16")
