"""What a result depends on, as one hash: a name, a specification, parents, and what these draw from elsewhere."""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.members import holds_weights

VERSIONED = (
    "kd2deploy",
    "torch",
    "transformers",
    "tokenizers",
    "timm",
    "diffusers",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13",
)

LAYOUT = 3
"""Of every stage: raised when what any stage's result or files say, or what a method does by default, is another than
before under the same specification. Between two releases the version alone does not tell, and an earlier result would
be misread."""


def fingerprint(name: str, spec: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    drawn = {"versions": versions(), "outside": outside(spec), "layout": LAYOUT}
    whole = {"name": name, "spec": spec, "parents": dict(parents), **drawn}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def outside(spec: Any, named: bool = False) -> dict[str, str]:
    """What the blocks of a specification draw from elsewhere, hashed: the source file that a dotted name lies in, and
    the contents of a network's folder that is given as an argument."""
    found: dict[str, str] = {}
    if isinstance(spec, Mapping):
        for key, value in spec.items():
            found |= outside(value, named=key in ("use", "method"))
            if "use" in spec and isinstance(value, str) and holds_weights(Path(value)):
                found[value] = sha256_of(Path(value))
    elif isinstance(spec, list | tuple):
        for value in spec:
            found |= outside(value, named)
    elif named and isinstance(spec, str) and "." in spec:
        source = importlib.util.find_spec(spec.rpartition(".")[0])
        if source is not None and source.has_location:
            found[spec] = sha256_of(Path(str(source.origin)))
    return found


@cache
def versions() -> dict[str, str]:
    """Versions of what a result may depend on, as far as they are installed."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
