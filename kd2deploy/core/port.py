"""What passes between rows, networks and sessions, and the ports where it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Row = Mapping[str, Any]
"""One example as it was read: the task's field names, what is to be learned under `label`, and `index`."""
Features = Mapping[str, Any]
"""One example as a network reads it: argument names to arrays without the batch axis, and `index`."""


TEACHER_PREFIX = "teacher."
"""Before the names of the teacher's own inputs, where it reads others than the student."""


@dataclass(frozen=True)
class Port:
    """A named tensor at the border of a deployed network. Axes are names (dynamic) or numbers (fixed)."""

    name: str
    dtype: str
    axes: tuple[str | int, ...]


NO_OBJECT, UNKNOWN = -1, -100
"""The classes, in a batch's labels of objects, of what only fills up a row, and throughout of a row without a label."""
