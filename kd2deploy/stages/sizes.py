"""How many parameters a network in a folder has, without loading it."""

import json
import math
from pathlib import Path

from kd2deploy.core.members import networks_in

HEADER_BYTES = 8
"""A safetensors file begins with its header's length."""


def parameters_of(folder: Path) -> int:
    """The elements of all weights that are stored, by the headers of the folder's safetensors files."""
    files = [file for place in networks_in(folder) for file in sorted(place.glob("*.safetensors"))]
    return sum(map(elements, files))


def elements(file: Path) -> int:
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(HEADER_BYTES), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
