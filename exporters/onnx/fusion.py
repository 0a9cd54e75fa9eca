"""Operations fused for ONNX Runtime."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd2deploy.core import Artifact, Feed, Target, Task
from kd2deploy.errors import ConvertError
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters.onnx.attention import MASK, use_raw_masks
from kd2deploy.exporters.onnx.checking import check_agreement, run_all
from kd2deploy.exporters.onnx.files import artifact_at, load, name_nodes, save
from kd2deploy.exporters.onnx.norms import take_apart

if TYPE_CHECKING:
    import onnx

LARGEST = 2**31
"""Numbers of a weight; a file holds fewer."""


def fused_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    skip_norms: bool | None = None,
) -> Artifact:
    """Attention, GELU and LayerNorm as single operations of ONNX Runtime, which alone can run them.

    `skip_norms` says whether a norm stays one operation with the sum before it; None: on a device, not on a processor.
    What fuses is counted in the details. onnxscript's patterns read what the dynamo route makes; ONNX Runtime's own
    offline optimizer was tried and fuses no attention of today's transformers. Raises ConvertError where nothing fuses
    (a convolutional network): leave the variant out.
    """
    before = len(load(source.path).graph.node)
    path, feeds = folder / "model.onnx", [*samples, *map(_masked, samples)]
    reference = run_all(source.path, task, target, feeds)
    whole = target.device == "cuda" if skip_norms is None else skip_norms
    model, masks = _fused(source.path, raw_masks=True, skip_norms=whole)
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
        model, masks = _fused(source.path, raw_masks=False, skip_norms=whole)
        save(model, path, {"source": source.sha256})
        check_agreement(reference, path, task, target, feeds)
    facts = {"fused": dict(counts), "nodes_before": before, "raw_masks": masks}
    return artifact_at(path, source, "fused_from_onnx", facts)


def _masked(sample: Feed) -> Feed:
    """The sample with its last quarter masked out, so that a lost mask shows; itself where there is no mask."""
    if MASK not in sample:
        return sample
    mask = sample[MASK].copy()
    mask[:, mask.shape[1] - max(1, mask.shape[1] // 4) :] = 0
    return {**sample, MASK: mask}


def _fused(path: Path, *, raw_masks: bool, skip_norms: bool) -> "tuple[onnx.ModelProto, int]":
    """The fused graph, and how many of its attentions read the raw mask."""
    import onnx_ir
    from onnxscript.optimizer import fold_constants
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    with quiet():
        model, _ = optimize_for_ort(onnx_ir.load(path))
        model.graph.sort()  # what is fused stands where its last part stood, behind what reads its first
        masks = use_raw_masks(model) if raw_masks else 0
        # A fused attention's weight is its three put side by side. They are left as an operation where they are large,
        # which ONNX Runtime folds when it opens the file, but the quantizer looks for a weight and finds none.
        fold_constants(model, output_size_limit=LARGEST, should_fold=lambda node: node.op_type == "Concat")
    proto: onnx.ModelProto = onnx_ir.to_proto(model)
    if not skip_norms:
        take_apart(proto)
    name_nodes(proto)
    return proto, masks
