"""Fused attention in the form that ONNX Runtime's quantizer can follow.

`Attention` of ONNX Runtime takes a mask in two ways: as an additive bias [B, 1, L, L], which is what the fusing
patterns leave behind, or as the raw mask [B, L]. Its 8-bit twin `QAttention` takes the raw mask alone, and the
quantizer drops a bias without a word: padding would be attended to.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnx_ir

MASK = "attention_mask"
BIAS_PLACE, MASK_PLACE = 5, 3


def attentions(model: "onnx_ir.Model") -> "list[onnx_ir.Node]":
    return [node for node in model.graph if node.domain == "com.microsoft" and node.op_type == "Attention"]


def use_raw_masks(model: "onnx_ir.Model") -> int:
    """Replace the bias of every fused attention by the graph's own mask, or by none where it has no mask (an image
    network's bias lets every position see every other); how many changed.

    In place. The caller must check the result on masked inputs: a bias may hold more than the mask (positions).
    """
    import onnx_ir

    masks = [value for value in model.graph.inputs if value.name == MASK]
    changed = 0
    cast: onnx_ir.Node | None = None
    for node in attentions(model):
        sizes = node.attributes.get("qkv_hidden_sizes")
        if sizes is not None and len(set(sizes.as_ints())) == 1:
            node.attributes.pop("qkv_hidden_sizes")  # equal sizes are the default, and the quantizer stops at the name
        biased = len(node.inputs) > BIAS_PLACE and node.inputs[BIAS_PLACE] is not None
        if not biased or node.inputs[MASK_PLACE] is not None:
            continue
        if masks and cast is None:
            cast = onnx_ir.node("Cast", [masks[0]], attributes={"to": onnx_ir.DataType.INT32.value})
            model.graph.insert_before(model.graph[0], cast)
        node.replace_input_with(MASK_PLACE, cast.outputs[0] if cast else None)
        node.resize_inputs(BIAS_PLACE - 1)
        changed += 1
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
    return changed


def has_bias(node: "onnx.NodeProto") -> bool:
    """True for a fused attention that masks by a bias, which must not be quantized."""
    return len(node.input) > BIAS_PLACE and bool(node.input[BIAS_PLACE])
