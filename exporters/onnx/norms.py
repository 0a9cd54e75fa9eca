"""Fused sums and norms taken apart again, for processors.

ONNX Runtime computes SkipLayerNormalization on a processor one number after the other, several times slower than the
sum and the norm that it stands for, and fuses the two wherever it finds an Add before a norm. A Sum it leaves alone.
The bias that BiasGelu and SkipLayerNormalization add becomes a part of the product before, where that is in 8 bits.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

FUSED = "com.microsoft"
SKIP, GELU = "SkipLayerNormalization", "BiasGelu"
TOTAL = 3
"""The place of a fused norm's output that is the sum before it."""


def take_apart(model: "onnx.ModelProto") -> None:
    """Write every fused norm and every biased GELU as the operations that it was made of, in place."""
    products = {name for node in model.graph.node if node.op_type == "MatMul" for name in node.output}
    parts = {SKIP: norm_parts, GELU: gelu_parts}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        known = node.domain == FUSED and node.op_type in parts
        nodes += parts[node.op_type](node, products) if known else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def norm_parts(node: "onnx.NodeProto", products: set[str]) -> "Iterator[onnx.NodeProto]":
    from onnx import helper

    one, other, scale, shift, bias = [*node.input, "", ""][:5]
    stem, out = node.name, node.output[0]
    if bias:
        one, other = (other, one) if other in products else (one, other)
        yield helper.make_node("Add", [one, bias], [f"{out}_biased"], f"{stem}/Add")
        one = f"{out}_biased"
    kept = node.output[TOTAL] if len(node.output) > TOTAL else ""
    total = kept or f"{out}_total"
    yield helper.make_node("Sum", [one, other], [total], f"{stem}/Sum")
    epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), 1e-12)
    given = [total, scale, shift] if shift else [total, scale]
    yield helper.make_node("LayerNormalization", given, [out], f"{stem}/LayerNormalization", axis=-1, epsilon=epsilon)


def gelu_parts(node: "onnx.NodeProto", products: set[str]) -> "Iterator[onnx.NodeProto]":
    from onnx import helper

    value, bias = node.input
    biased = f"{node.output[0]}_biased"
    yield helper.make_node("Add", [value, bias], [biased], f"{node.name}/Add")
    yield helper.make_node("Gelu", [biased], [node.output[0]], f"{node.name}/Gelu", domain=FUSED)
