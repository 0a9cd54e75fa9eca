"""Positions that no answer reads, left uncomputed.

A classifier reads one position of its last layer and a detector a few, but the graph computes that layer for all of
them and selects afterwards. What works on every position by itself gives the same after the selection as before it, so
the selection moves up, as far as the attention, where positions meet.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    import onnx_ir

POSITIONS, AXES = 1, 3
"""The axis of positions in what layers hand on, [B, positions, hidden], and how many axes that has."""
NUMBERWISE = frozenset({"Add", "Cast", "Div", "Erf", "Gelu", "Mul", "Relu", "Sigmoid", "Sub", "Sum", "Tanh"})
"""Operations on each number by itself."""
NORMS = frozenset({"LayerNormalization", "RMSNormalization"})


def select_early(model: "onnx.ModelProto") -> "tuple[onnx.ModelProto, list[str]]":
    """The graph with every selection of positions as early as it can be, and which operations are behind one now."""
    import onnx_ir
    from onnx import shape_inference
    from onnx_ir.passes.common import LiftConstantsToInitializersPass

    changed = onnx_ir.from_proto(shape_inference.infer_shapes(model))
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(changed)
    waiting = [several(changed.graph, node) for node in changed.graph if positions_taken(node)]
    passed = []
    while waiting:
        one = waiting.pop()
        value = one.inputs[0]  # None once it was dropped for another that takes the same
        node = None if value is None else value.producer()
        if node is not None and can_follow(node, one):
            waiting += swapped(changed.graph, node, one)
            passed.append(node.op_type)
    return (onnx_ir.to_proto(changed), passed) if passed else (model, [])


def positions_taken(node: "onnx_ir.Node") -> tuple[Any, ...] | None:
    """What a node takes of the positions, the same of every row; None where it is no such selection."""
    if not node.inputs or not is_whole(node.inputs[0]):
        return None
    given = [constant(value) for value in node.inputs[1:]]
    if node.op_type == "Gather" and axis_of(node, 0) == POSITIONS and given[0] is not None:
        return "Gather", given[0]
    if node.op_type == "Slice" and len(given) > 2 and None not in given and given[2] == [POSITIONS]:
        return "Slice", *given
    return None


def several(graph: "onnx_ir.Graph", selection: "onnx_ir.Node") -> "onnx_ir.Node":
    """The selection as one that keeps the axis of positions: where it drops it, another before it that does not."""
    import onnx_ir

    place = constant(selection.inputs[1])
    if selection.op_type != "Gather" or isinstance(place, list):
        return selection
    taken = onnx_ir.node("Gather", [selection.inputs[0], held_in(graph, [place])], {"axis": POSITIONS})
    graph.insert_before(selection, taken)
    selection.replace_input_with(0, taken.outputs[0])
    selection.replace_input_with(1, held_in(graph, 0))
    return taken


def held_in(graph: "onnx_ir.Graph", places: Any) -> "onnx_ir.Value":
    """A constant of the graph that tells places."""
    import numpy as np
    import onnx_ir

    held = onnx_ir.Value(
        name=f"selected_{len(graph.initializers)}", const_value=onnx_ir.tensor(np.array(places, dtype=np.int64))
    )
    graph.register_initializer(held)
    return held


def can_follow(node: "onnx_ir.Node", selection: "onnx_ir.Node") -> bool:
    """Whether `node`, which makes what is selected from, can work on the selection instead: nobody reads the rest."""
    made, *further = node.outputs
    first, *others = node.inputs
    wanted = positions_taken(selection)
    if node.domain or made.is_graph_output() or any(one.uses() for one in further):
        return False
    if any(positions_taken(one) != wanted or one.outputs[0].is_graph_output() for one in made.consumers()):
        return False
    if node.op_type in NUMBERWISE:
        return all(is_whole(one) or of_every_position(one) for one in node.inputs)
    if not is_whole(first):
        return False
    if node.op_type in NORMS:
        return axis_of(node, -1) in {-1, AXES - 1} and all(of_every_position(one) for one in others)
    return node.op_type == "MatMul" and is_matrix(others[0])


def swapped(graph: "onnx_ir.Graph", node: "onnx_ir.Node", selection: "onnx_ir.Node") -> "list[onnx_ir.Node]":
    """Let `node` work on the selection. The selections of its inputs are returned, of each input one in all."""
    import onnx_ir

    made, wanted, earlier = node.outputs[0], positions_taken(selection), []
    for value in dict.fromkeys(one for one in node.inputs if one is not None and is_whole(one)):
        there = [user for user in value.consumers() if positions_taken(user) == wanted]
        taken = onnx_ir.node(selection.op_type, [value, *selection.inputs[1:]], selection.attributes)
        drop(graph, there, taken.outputs[0])
        before = value.producer()
        graph.insert_before(graph[0], taken) if before is None else graph.insert_after(before, taken)
        for place, one in enumerate(node.inputs):
            if one is value:
                node.replace_input_with(place, taken.outputs[0])
        earlier.append(taken)
    made.shape = selection.outputs[0].shape
    drop(graph, made.consumers(), made)
    return earlier


def drop(graph: "onnx_ir.Graph", nodes: "Sequence[onnx_ir.Node]", instead: "onnx_ir.Value") -> None:
    for node in nodes:
        node.outputs[0].replace_all_uses_with(instead)
    graph.remove(nodes, safe=True)


def is_whole(value: "onnx_ir.Value | None") -> bool:
    """Whether it is [B, positions, hidden], of several positions or of a number that is not known before a request."""
    if value is None or value.const_value is not None or value.shape is None or len(value.shape) != AXES:
        return False
    return bool(value.shape[POSITIONS] != 1)


def of_every_position(value: "onnx_ir.Value | None") -> bool:
    """Whether it is a constant that is the same for every position: a number, or one for each of the last axis."""
    given = None if value is None else value.const_value
    return given is not None and len(given.shape) <= 1


def is_matrix(value: "onnx_ir.Value | None") -> bool:
    given = None if value is None else value.const_value
    return given is not None and len(given.shape) == 2


def constant(value: "onnx_ir.Value | None") -> Any:
    """A constant's numbers, as a list or, where it is one, as it is; None of other tensors."""
    given = None if value is None else value.const_value
    return None if given is None else given.numpy().tolist()


def axis_of(node: "onnx_ir.Node", otherwise: int) -> int:
    found = node.attributes.get("axis")
    return otherwise if found is None else int(found.as_int())
