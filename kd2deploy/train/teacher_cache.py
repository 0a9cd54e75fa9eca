"""The teacher's answers to the whole training set, computed once and memory-mapped.

Valid only while the teacher sees each row exactly as it stands (the clean view) and nothing but its logits, extras and
embedding is read. A cached answer was computed in another batch than the one it is used in, with other padding: it
differs from a live one by float rounding (about 1e-6 in float32).
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import TEACHER_PREFIX, Features, Method, Observation, Task
from kd2deploy.core.step import answers_positions
from kd2deploy.train.compact import LOGITS, PLACES, REST, Compact, whole
from kd2deploy.train.shards import EACH_POSITION, EXTRA, FILLED, Filling, shown_to

log = logging.getLogger(__name__)

LAYOUT = 4
"""Version of the files' layout; part of the key, so that an older cache is never misread."""
AUGMENTED = "rows are augmented, so that the teacher sees another one in every epoch"
WHOLE = Compact()
Array = np.ndarray[Any, Any]


def unfit(method: Method, augmented: bool = False) -> str | None:
    """Why a cache cannot stand in for the teacher under this method, or where rows are augmented; None when it can."""
    if augmented and "teacher" in method.needs:
        return AUGMENTED
    for name, weighted in method.weighted.items():
        term = weighted.term
        if "teacher" not in term.needs:
            continue
        inner = sorted({"hidden", "attentions", "features"} & term.needs)
        if inner:
            return f"term {name!r} reads the teacher's {' and '.join(inner)}, and only logits and embedding are kept"
        other = [view for view in term.views if view != "clean"]
        if other:
            return f"term {name!r} reads the teacher in view {other[0]!r}, which is another one at every step"
    return None


@torch.no_grad()
def unfit_answers(task: Task, teacher: nn.Module, features: Sequence[Features]) -> str | None:
    """Why the answers to these rows cannot be kept, whatever the method reads of them; None where they can."""
    seen = task.networks.observe(teacher, shown_to(task, teacher, features[:1]))
    return EACH_POSITION if answers_positions(seen) else None


@torch.no_grad()
def unfit_top(task: Task, teacher: nn.Module, features: Sequence[Features], top: int) -> str | None:
    """Why the `top` likeliest classes alone cannot be kept; None where they can."""
    seen = task.networks.observe(teacher, shown_to(task, teacher, features[:1]))
    if seen.logits is None or seen.logits.ndim != 2 or seen.per_label or answers_positions(seen):
        return f"keeps the likeliest classes of a row, and {task.name} answers a row with no one class here"
    classes = seen.logits.shape[1]
    return f"must be less than the number of classes, which is {classes}" if top >= classes else None


def rows_hash(features: Sequence[Features]) -> str:
    """sha256 of the rows as the teacher reads them: another tokenizer, order, length or image size gives another."""
    found = hashlib.sha256(str(len(features)).encode())
    for row in features:
        own = {name: value for name, value in row.items() if name.startswith(TEACHER_PREFIX)}
        for name, value in sorted((own or row).items()):
            if name in ("labels", "index"):
                continue
            array = np.ascontiguousarray(value)
            found.update(f"{name}{array.dtype}{array.shape}".encode())
            found.update(array.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class TeacherCache:
    """The teacher's observations of `rows` rows, looked up by the rows' places in the training set."""

    folder: Path
    rows: int
    data_hash: str | None
    """`rows_hash` of the features it was filled from; None where answers were brought along, a row each."""
    arrays: dict[str, Array] = field(repr=False)
    """`logits` [rows, ..., C] or `values`, perhaps `embedding` [rows, D] and `extras.<name>`; memory-mapped."""
    seconds: float
    """What filling it took, whenever that was and in however many processes."""
    classes: int = 0
    """Of the logits, where the likeliest alone are kept."""
    said: str = ""
    """What is kept of the answers, where that is not all; for a person."""

    @classmethod
    def open_or_fill(
        cls,
        folder: Path,
        task: Task,
        teacher: nn.Module,
        features: Sequence[Features],
        *,
        teacher_hash: str,
        compact: Compact = WHOLE,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> "TeacherCache":
        """The cache of this teacher on these rows under `folder`; what is missing of it is computed first.

        An interrupted fill goes on where it stopped, and other processes that need the same cache fill it too.
        `teacher` is run in eval mode on the device that it is on; `on_progress(rows done, rows)`. Raises TrainError
        where answers have no fixed shape per row, or are more than `compact` can hold.
        """
        data_hash = rows_hash(features)
        made_of = [LAYOUT, teacher_hash, data_hash, task.spec(), compact.top, compact.half]
        key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
        place = folder / key.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        if place.exists():
            log.info("the teacher's answers to %d rows are reused from %s", len(features), place)
        else:
            log.info("the teacher answers %d rows, kept in %s", len(features), place)
            Filling(place, task, teacher, features, compact, on_progress).complete()
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in sorted(place.glob("*.npy"))}
        known = json.loads((place / FILLED).read_text())
        told = "" if compact.is_whole else compact.said(known["classes"], known["of_bytes"], known["changed"])
        return cls(place, len(features), data_hash, arrays, known["seconds"], known["classes"], told)

    @classmethod
    def brought(cls, file: Path) -> "TeacherCache":
        """Logits [rows, C] in a .npy file, that no network here has answered."""
        logits = np.load(file, mmap_mode="r")
        return cls(file.parent, len(logits), None, {"logits": logits}, seconds=0.0)

    def first(self, rows: int) -> "TeacherCache":
        """Only the answers to the first rows."""
        return replace(self, rows=rows, arrays={name: kept[:rows] for name, kept in self.arrays.items()})

    def require(self, method: Method, augmented: bool = False) -> None:
        """Nothing, or ValueError where the method, or rows that are augmented, need the teacher itself."""
        reason = unfit(method, augmented)
        if reason:
            raise ValueError(f"the teacher cannot be cached here: {reason}; train without the teacher cache")

    def require_rows(self, features: Sequence[Features]) -> None:
        """Nothing, or ValueError where these are not the rows that the teacher answered."""
        if self.data_hash is None and len(features) == self.rows:
            return
        if self.data_hash is None or rows_hash(features) != self.data_hash:
            raise ValueError(
                f"the teacher cache {self.folder} was filled from other rows ({self.rows} of them), or from rows "
                f"encoded otherwise, than the {len(features)} trained on; fill a cache from the same features"
            )

    def spread(self, most: int) -> Array | None:
        """The logits of at most so many rows, evenly over all; None where there are none."""
        asked = torch.arange(0, self.rows, max(1, self.rows // most))
        logits = self.lookup(asked).logits
        return None if logits is None else logits.numpy()

    def lookup(self, index: Tensor) -> Observation:
        """The teacher's answers to the rows at `index` [B], on the device of `index`."""
        rows = index.cpu().numpy()
        read = {name: np.asarray(kept[rows]) for name, kept in self.arrays.items()}
        if PLACES in read:
            read = {name: kept for name, kept in read.items() if name not in (PLACES, REST)} | {
                LOGITS: whole(read, self.classes)
            }
        found = {name: torch.from_numpy(kept).to(index.device).float() for name, kept in read.items()}
        return Observation(
            logits=found.get("logits"),
            values=found.get("values"),
            embedding=found.get("embedding"),
            extras={name.removeprefix(EXTRA): value for name, value in found.items() if name.startswith(EXTRA)},
        )
