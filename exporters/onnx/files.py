"""ONNX graphs as files: written with their origin, named so that a person knows their nodes, and as artifacts."""

from collections.abc import Mapping
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd2deploy.core import Artifact, made
from kd2deploy.errors import ConvertError

if TYPE_CHECKING:
    import onnx


OPENED_BY = "kd2deploy.exporters.onnx.OnnxSession"


def save(model: "onnx.ModelProto", path: Path, properties: Mapping[str, str]) -> None:
    """Write the graph with its origin in the metadata, and have ONNX's own checker read it back."""
    import onnx

    onnx.helper.set_model_props(model, {f"kd2deploy.{key}": value for key, value in properties.items()})
    model.doc_string = model.graph.doc_string = ""
    onnx.save(model, path)
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise ConvertError(f"the converted graph is not valid ONNX: {first_line(error)}") from error


def domains(path: Path) -> list[str]:
    """The operator sets a graph uses; anything but `ai.onnx` ties it to one runtime."""
    return sorted({node.domain or "ai.onnx" for node in load(path).graph.node})


def load(path: Path) -> "onnx.ModelProto":
    import onnx

    return onnx.load(path)


def name_nodes(model: "onnx.ModelProto") -> None:
    """Give every node a unique name that says where in the network it stands, and drop the exporter's stack traces.

    Quantization addresses nodes by name, and a person must recognize the one that is left out. The shapes that some
    versions of the exporter note for weights go too: a tool that transposes a weight leaves its note behind, wrong.
    """
    taken: set[str] = set()
    for node in model.graph.node:
        said = {entry.key: entry.value for entry in node.metadata_props}
        scopes = said.get("pkg.torch.onnx.name_scopes", "").strip("[]").replace("'", "").split(", ")
        if len(scopes) > 2:
            node.name = f"{scopes[-2]}/{node.op_type}"
        stem = node.name.strip("/") or node.op_type
        node.name = next(name for name in chain([stem], map(f"{stem}_{{}}".format, count(1))) if name not in taken)
        taken.add(node.name)
        del node.metadata_props[:]
        node.doc_string = ""
    weights = {weight.name for weight in model.graph.initializer}
    for value in [value for value in model.graph.value_info if value.name in weights]:
        model.graph.value_info.remove(value)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


def artifact_at(
    path: Path,
    source: Artifact,
    by: str,
    details: Mapping[str, Any],
    precision: str = "fp32",
    computes: float | None = None,
) -> Artifact:
    model = load(path)
    facts = {
        **details,
        "nodes": len(model.graph.node),
        "domains": domains(path),
        "opset": next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        "versions": {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")},
    }
    return made(path, OPENED_BY, parent=source, made_by=by, precision=precision, details=facts, computes=computes)


def first_line(error: BaseException) -> str:
    """What lies at the root of an error, in one line: the exporters wrap theirs in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
