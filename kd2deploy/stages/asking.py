"""answers, by asking: a function of the user's own is the teacher, and is handed some rows at a time.

What it answers is written at once, so that a kill, or a service that fails, costs the rows that were being asked about.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from kd2deploy.core.arguments import one_line
from kd2deploy.core.figures import count_of
from kd2deploy.core.mapped import rows_at
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.answers import as_logits, in_order
from kd2deploy.data.splits import Splits
from kd2deploy.errors import DataError
from kd2deploy.recipe import Answers
from kd2deploy.recipe.resolve import Use, bind

NUMBER = np.dtype(np.float32)
PARTS = {"train": "training row", "eval": "evaluation row"}
Array = np.ndarray[Any, Any]
Rows = Sequence[dict[str, Any]]


def all_asked(
    splits: Splits, said: Answers, fields: Sequence[str], labels: Sequence[str], folder: Path, tell: Watcher
) -> dict[str, Array]:
    """[N, C] float32 logits of the training and the evaluation rows. Raises DataError where the function fails, or
    answers with something else; what it answered before is kept in the folder."""
    function, faults = bind("teacher", said.ask or "", "teacher.answers.ask")
    if function is None or faults:  # the recipe was read with them, so that only another process can meet this
        raise DataError("; ".join(str(fault) for fault in faults))
    in_order(said.labels or (), np.zeros((0, len(labels))), labels)  # before anything is asked
    rows = {part: getattr(splits, part) for part in PARTS}
    total = sum(map(len, rows.values()))
    tell.say(f"{function.name} is asked about {count_of(total, 'row')}, {said.at_once} at a time")
    found, before = {}, 0
    for part, each in rows.items():
        asking = Asking(function, said, fields, labels, folder / f"asked-{part}.bin")
        for done in asking.through(each, PARTS[part]):
            tell.advance("rows", before + done, total)
        found[part] = asking.kept()
        before += len(each)
    return found


@final
class Asking:
    """A function that is asked about rows, and the file that what it answers is added to.

    It is handed rows with the task's fields alone, and gives for each a number for each class.
    """

    def __init__(self, ask: Use, said: Answers, fields: Sequence[str], labels: Sequence[str], file: Path) -> None:
        self.ask, self.said, self.fields, self.labels, self.file = ask, said, fields, labels, file

    def through(self, rows: Rows, called: str) -> Iterator[int]:
        """Ask about all rows that the file holds no answer to; how many are answered, each time. Raises DataError."""
        width = len(self.labels) * NUMBER.itemsize
        with self.file.open("a+b") as kept:
            done = os.fstat(kept.fileno()).st_size // width
            kept.truncate(done * width)  # a kill may have left a part of a row
            yield done
            while done < len(rows):
                places = range(done, min(done + self.said.at_once, len(rows)))
                shown = [{field: row[field] for field in self.fields} for row in rows_at(rows, list(places))]
                kept.write(self.answered(shown, f"{called}s {done + 1:,} to {places[-1] + 1:,}").tobytes())
                kept.flush()
                done += len(shown)
                yield done

    def kept(self) -> Array:
        """[N, C] float32 logits, in the order of the labels."""
        return np.fromfile(self.file, dtype=NUMBER).reshape(-1, len(self.labels))

    def answered(self, shown: Rows, which: str) -> Array:
        """What the function says of some rows, as logits."""
        again = "what it answered before is kept: mend it and run the same command again"
        try:
            numbers = np.asarray(self.ask(shown), dtype=NUMBER)
        except Exception as error:  # the user's own function may raise anything, or answer anything
            message = f"teacher.answers: {self.ask.name} failed at {which} ({type(error).__name__}: {one_line(error)})"
            raise DataError(f"{message}; {again}") from error
        wanted = (len(shown), len(self.labels))
        if numbers.shape != wanted:
            raise DataError(
                f"teacher.answers: {self.ask.name} answered {which} with numbers of shape {list(numbers.shape)}, and "
                f"each of {count_of(wanted[0], 'row')} needs one for each of {count_of(wanted[1], 'class', 'classes')}"
                f": {list(wanted)}; {again}"
            )
        assert self.said.returns is not None
        logits = as_logits(f"teacher.answers, {self.ask.name}, among {which}", self.said.returns, numbers)
        return in_order(self.said.labels or (), logits, self.labels)
