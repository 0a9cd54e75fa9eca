"""The teacher's answers to the whole training set, computed once and memory-mapped.

Valid only while the teacher sees each row exactly as it stands (the clean view) and nothing but its logits, extras and
embedding is read. A cached answer was computed in another batch than the one it is used in, with other padding: it
differs from a live one by float rounding (about 1e-6 in float32).
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import TEACHER_PREFIX, Batch, Features, Method, Observation, Task, clean_look
from kd2deploy.core.locks import held
from kd2deploy.core.step import answers_positions
from kd2deploy.errors import TrainError
from kd2deploy.train.resume import write_json

log = logging.getLogger(__name__)

LAYOUT = 3
"""Version of the files' layout; part of the key, so that an older cache is never misread."""
EXTRA = "extras."
FILLED = "filled.json"
EACH_POSITION = "the teacher answers every position of a row, and only answers of one shape for each row are kept"
AUGMENTED = "rows are augmented, so that the teacher sees another one in every epoch"
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


def shown_to(task: Task, teacher: nn.Module, features: Sequence[Features]) -> Batch:
    """The rows as a batch that the teacher reads, where it is, without labels."""
    device = next(teacher.parameters()).device
    looked = clean_look(task.reader.collate(features)).teacher
    return {name: value.to(device) for name, value in looked.items() if name != "labels"}


def rows_hash(features: Sequence[Features]) -> str:
    """sha256 of the rows as the teacher reads them: another tokenizer, order, length or image size gives another."""
    whole = hashlib.sha256(str(len(features)).encode())
    for row in features:
        own = {name: value for name, value in row.items() if name.startswith(TEACHER_PREFIX)}
        for name, value in sorted((own or row).items()):
            if name in ("labels", "index"):
                continue
            array = np.ascontiguousarray(value)
            whole.update(f"{name}{array.dtype}{array.shape}".encode())
            whole.update(array.tobytes())
    return whole.hexdigest()


@dataclass(frozen=True)
class TeacherCache:
    """The teacher's observations of `rows` rows, looked up by the rows' places in the training set."""

    folder: Path
    rows: int
    data_hash: str
    """`rows_hash` of the features it was filled from."""
    arrays: dict[str, Array] = field(repr=False)
    """`logits` [rows, ..., C] or `values`, perhaps `embedding` [rows, D] and `extras.<name>`; memory-mapped."""
    seconds: float
    """What filling it took, whenever that was."""

    @classmethod
    def open_or_fill(
        cls,
        folder: Path,
        task: Task,
        teacher: nn.Module,
        features: Sequence[Features],
        *,
        teacher_hash: str,
        batch: int = 64,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> "TeacherCache":
        """The cache of this teacher on these rows under `folder`; what is missing of it is computed first.

        An interrupted fill goes on where it stopped. `teacher` is run in eval mode on the device that it is on;
        `on_progress(rows done, rows)`. Raises TrainError where answers have no fixed shape per row.
        """
        data_hash = rows_hash(features)
        key = hashlib.sha256(json.dumps([LAYOUT, teacher_hash, data_hash, task.spec()], sort_keys=True).encode())
        place = folder / key.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder):
            if place.exists():
                log.info("the teacher's answers to %d rows are reused from %s", len(features), place)
            else:
                log.info("the teacher answers %d rows, kept in %s", len(features), place)
                partial = place.with_suffix(".partial")
                fill(partial, task, teacher, features, batch, on_progress)
                partial.rename(place)
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in sorted(place.glob("*.npy"))}
        seconds = json.loads((place / FILLED).read_text())["seconds"]
        return cls(place, len(features), data_hash, arrays, seconds)

    def require(self, method: Method, augmented: bool = False) -> None:
        """Nothing, or ValueError where the method, or rows that are augmented, need the teacher itself."""
        reason = unfit(method, augmented)
        if reason:
            raise ValueError(f"the teacher cannot be cached here: {reason}; train without the teacher cache")

    def require_rows(self, features: Sequence[Features]) -> None:
        """Nothing, or ValueError where these are not the rows that the teacher answered."""
        if rows_hash(features) != self.data_hash:
            raise ValueError(
                f"the teacher cache {self.folder} was filled from other rows ({self.rows} of them), or from rows "
                f"encoded otherwise, than the {len(features)} trained on; fill a cache from the same features"
            )

    def lookup(self, index: Tensor) -> Observation:
        """The teacher's answers to the rows at `index` [B], on the device of `index`."""
        rows = index.cpu().numpy()
        found = {name: torch.from_numpy(np.asarray(kept[rows])).to(index.device) for name, kept in self.arrays.items()}
        return Observation(
            logits=found.get("logits"),
            values=found.get("values"),
            embedding=found.get("embedding"),
            extras={name.removeprefix(EXTRA): value for name, value in found.items() if name.startswith(EXTRA)},
        )


@torch.no_grad()
def fill(
    folder: Path,
    task: Task,
    teacher: nn.Module,
    features: Sequence[Features],
    batch: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Write the teacher's answers into `folder`, going on from what is there; complete when it returns."""
    # Longest first: little is padded, and a lack of memory shows in the first batch.
    order = sorted(range(len(features)), key=lambda row: -task.reader.length(features[row]))
    teacher.eval()
    counter = folder / FILLED
    before: dict[str, Any] = json.loads(counter.read_text()) if counter.exists() else {"rows": 0, "seconds": 0.0}
    done, began = before["rows"], time.perf_counter() - before["seconds"]
    if not done:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    arrays = {file.stem: np.load(file, mmap_mode="r+") for file in folder.glob("*.npy")} if done else {}
    while done < len(features):
        rows = order[done : done + batch]
        shown = shown_to(task, teacher, [features[row] for row in rows])
        answers = answers_of(task.networks.observe(teacher, shown, needs=frozenset({"embedding"})))
        for name, answer in answers.items():
            if name not in arrays:
                arrays[name] = reserved(folder / f"{name}.npy", answer.dtype, (len(features), *answer.shape[1:]))
            if arrays[name].shape[1:] != answer.shape[1:]:
                raise TrainError(
                    f"the teacher's {name} has shape {answer.shape[1:]} for some rows and {arrays[name].shape[1:]} for "
                    "others: such answers depend on padding and cannot be cached; train without the teacher cache"
                )
            arrays[name][rows] = answer
            arrays[name].flush()
        done += len(rows)
        write_json(counter, {"rows": done, "seconds": time.perf_counter() - began})
        if on_progress:
            on_progress(done, len(features))


def reserved(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """A new array in a file whose room on the disk is taken at once.

    Where the disk is full this is an OSError; a file that grows while it is written through a mapping would end the
    process.
    """
    mapped: Array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    with file.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return mapped


def answers_of(seen: Observation) -> dict[str, Array]:
    """What is kept of an observation. Raises TrainError where answers are given per position of a padded row."""
    if answers_positions(seen):
        raise TrainError(f"{EACH_POSITION}; train without the teacher cache")
    answers = {"logits": seen.logits, "values": seen.values}
    kept = {name: answer for name, answer in answers.items() if answer is not None}
    kept |= {EXTRA + name: value for name, value in seen.extras.items()}
    if seen.embedding is not None:
        kept["embedding"] = seen.embedding
    return {name: value.float().cpu().numpy() for name, value in kept.items()}
