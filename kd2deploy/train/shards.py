"""The teacher asked about all rows, in shards that are there whole or not at all.

One process at a time fills a shard, so that several may fill a cache together, each taking the next that nobody holds.
A kill loses the shards that are worked on and no other. Once all are there they are put together, in one file for each
kind of answer.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kd2deploy.core import Batch, Features, Observation, Task, clean_look
from kd2deploy.core.locks import held, held_if_free
from kd2deploy.core.step import answers_positions
from kd2deploy.core.written import flush
from kd2deploy.errors import TrainError
from kd2deploy.train.compact import LOGITS, TEMPERATURES, Compact, divergence, restored
from kd2deploy.train.resume import write_json

Array = np.ndarray[Any, Any]
EXTRA = "extras."
FILLED = "filled.json"
EACH_POSITION = "the teacher answers every position of a row, and only answers of one shape for each row are kept"
BATCHES = 16
"""Batches of a shard: what a kill may cost."""


@dataclass(frozen=True)
class Filling:
    """A cache that is filled beside its `place`, and is put there once it is whole."""

    place: Path
    task: Task
    teacher: nn.Module
    features: Sequence[Features]
    compact: Compact
    on_progress: Callable[[int, int], None] | None

    @property
    def batch(self) -> int:
        return self.compact.batch

    @property
    def partial(self) -> Path:
        return self.place.with_suffix(".partial")

    def shard(self, at: int) -> Path:
        return self.partial / f"shard-{at:06d}"

    def lock(self, at: int) -> Path:
        """Held by who fills a shard: not in `partial`, which goes when another process puts all together."""
        return self.place.with_name(f".{self.place.name}-{at:06d}")

    def complete(self) -> None:
        """Ask the teacher about all rows that no shard holds yet, with whoever else does so, and put all together.

        Raises TrainError where answers have no fixed shape per row, or are more than float16 can hold.
        """
        self.teacher.eval()
        self.partial.mkdir(exist_ok=True)
        # Longest first: little is padded, and a lack of memory shows in the first batch.
        order = sorted(range(len(self.features)), key=lambda row: -self.task.reader.length(self.features[row]))
        size = BATCHES * self.batch
        shards = [order[start : start + size] for start in range(0, len(order), size)]
        while missing := [at for at in range(len(shards)) if self.lacks(at)]:
            for at in missing:
                with held_if_free(self.lock(at)) as mine:
                    if mine and self.lacks(at):
                        self.fill(at, shards[at], at * size)
            left = [at for at in missing if self.lacks(at)]
            if left:
                with held(self.lock(left[0])):  # until whoever holds it is done with it, or gone
                    pass
        with held(self.place.parent):
            if not self.place.exists():
                self.join(len(shards))

    def lacks(self, at: int) -> bool:
        """Whether a shard is yet to be filled. In this order: it may be put in place between the two questions."""
        return not self.shard(at).exists() and not self.place.exists()

    @torch.no_grad()
    def fill(self, at: int, rows: Sequence[int], before: int) -> None:
        """Write one shard; so many rows stand in those `before` it."""
        began, whole_bytes = time.perf_counter(), 0
        parts: list[dict[str, Array]] = []
        changed = dict.fromkeys(TEMPERATURES, 0.0)
        answers: dict[str, Array] = {}
        for start in range(0, len(rows), self.batch):
            shown = shown_to(self.task, self.teacher, [self.features[row] for row in rows[start : start + self.batch]])
            answers = answers_of(self.task.networks.observe(self.teacher, shown, needs=frozenset({"embedding"})))
            kept = self.compact.kept(answers)
            if not parts:
                self.reserve(kept)
            require_alike(kept, parts[0] if parts else kept)
            parts.append(kept)
            whole_bytes += sum(answer.nbytes for answer in answers.values())
            if LOGITS in answers and not self.compact.is_whole:
                back = restored(kept, answers[LOGITS].shape[-1])
                changed = {one: sofar + divergence(answers[LOGITS], back, one) for one, sofar in changed.items()}
            if self.on_progress:
                self.on_progress(before + min(start + self.batch, len(rows)), len(self.features))
        new = self.partial / f"new-{at:06d}"
        shutil.rmtree(new, ignore_errors=True)  # a kill may have left one
        new.mkdir()
        for name in parts[0]:
            np.save(new / f"{name}.npy", np.concatenate([part[name] for part in parts]), allow_pickle=False)
        said = {
            "rows": list(rows),
            "seconds": time.perf_counter() - began,
            "bytes": whole_bytes,
            "classes": answers[LOGITS].shape[-1] if LOGITS in answers else 0,
            "changed": {f"{one:g}": total for one, total in changed.items()},
        }
        write_json(new / FILLED, said)
        for file in new.iterdir():
            flush(file)
        new.rename(self.shard(at))

    def reserve(self, kept: Mapping[str, Array]) -> None:
        """Take the disk's room for all rows by the first batch: a full disk is told before hours of work."""
        with held(self.place.parent):
            for name, value in kept.items():
                file = self.partial / f"{name}.npy"
                if not file.exists():
                    reserved(file, value.dtype, (len(self.features), *value.shape[1:]))

    def join(self, shards: int) -> None:
        """All shards in one file for each kind of answer, with what they took; then the cache is in its place."""
        said = [json.loads((self.shard(at) / FILLED).read_text()) for at in range(shards)]
        arrays: dict[str, Array] = {}
        for at, of in enumerate(said):
            parts = {file.stem: np.load(file, mmap_mode="r") for file in sorted(self.shard(at).glob("*.npy"))}
            if not arrays:
                for file in self.partial.glob("*.npy"):
                    file.unlink()
                arrays = {
                    name: reserved(self.partial / f"{name}.npy", part.dtype, (len(self.features), *part.shape[1:]))
                    for name, part in parts.items()
                }
            require_alike(parts, arrays)
            for name, part in parts.items():
                arrays[name][of["rows"]] = part
        for name in arrays:
            flush(self.partial / f"{name}.npy")
        rows = len(self.features)
        took = {
            "seconds": sum(of["seconds"] for of in said),
            "classes": said[0]["classes"],
            "of_bytes": sum(array.nbytes for array in arrays.values()) / sum(of["bytes"] for of in said),
            "changed": {one: sum(of["changed"][one] for of in said) / rows for one in said[0]["changed"]},
        }
        write_json(self.partial / FILLED, took)
        self.partial.rename(self.place)
        for left in (*self.place.glob("*/"), *self.place.parent.glob(f".{self.place.name}-*")):
            shutil.rmtree(left)


def shown_to(task: Task, teacher: nn.Module, features: Sequence[Features]) -> Batch:
    """The rows as a batch that the teacher reads, where it is, without labels."""
    device = next(teacher.parameters()).device
    looked = clean_look(task.reader.collate(features)).teacher
    return {name: value.to(device) for name, value in looked.items() if name != "labels"}


def answers_of(seen: Observation) -> dict[str, Array]:
    """What is kept of an observation. Raises TrainError where answers are given per position of a padded row."""
    if answers_positions(seen):
        raise TrainError(f"{EACH_POSITION}; train without the teacher cache")
    answers = {LOGITS: seen.logits, "values": seen.values}
    kept = {name: answer for name, answer in answers.items() if answer is not None}
    kept |= {EXTRA + name: value for name, value in seen.extras.items()}
    if seen.embedding is not None:
        kept["embedding"] = seen.embedding
    return {name: value.float().cpu().numpy() for name, value in kept.items()}


def require_alike(parts: Mapping[str, Array], others: Mapping[str, Array]) -> None:
    """Raises TrainError for answers of another shape than those to other rows."""
    for name, part in parts.items():
        if part.shape[1:] != others[name].shape[1:]:
            raise TrainError(
                f"the teacher's {name} has shape {part.shape[1:]} for some rows and {others[name].shape[1:]} for "
                "others: such answers depend on padding and cannot be cached; train without the teacher cache"
            )


def reserved(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """A new array in a file whose room on the disk is taken at once.

    Where the disk is full this is an OSError; a file that grows while it is written through a mapping would end the
    process.
    """
    mapped: Array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    with file.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return mapped
