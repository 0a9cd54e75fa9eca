"""Rows that are too large to be held: read once into an Arrow file in the cache, and mapped into memory from then on.

The next run finds it there: of a file it goes by path, size and time of change, and by how it is read.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from kd2deploy.core.cache import cache_folder
from kd2deploy.core.mapped import Mapped, batch_of
from kd2deploy.core.written import write_text
from kd2deploy.errors import DataError

LAYOUT = 1
"""Version of what is kept; part of the key, so that an older file is never misread."""
LARGE_MB = 64.0
"""Files from this size on are mapped. Ours: as Python's own objects, smaller ones take a few hundred MB at most."""
AT_ONCE = 8192
"""Rows of a record batch."""
Batches = Iterator[Any]
"""Arrow's record batches, of one schema."""


class MixedError(Exception):
    """Rows hold values of several kinds in one column, which Arrow's columns do not."""


def is_large(path: Path) -> bool:
    return path.stat().st_size >= LARGE_MB * 1e6


def mapped(path: Path, how: Sequence[Any], read: Callable[[list[str], Callable[[Batches], None]], None]) -> Mapped:
    """The rows of a file, mapped. Where no earlier run has left them, `read(notes, keep)` reads the file and hands its
    batches to `keep`. `how` is all else that they depend on.

    Raises DataError where the cache cannot be written, MixedError, and what `read` raises.
    """
    return kept(place_of(path, how), str(path), read)


def kept(place: Path, source: str, read: Callable[[list[str], Callable[[Batches], None]], None]) -> Mapped:
    """The rows of a source, mapped at a place of the cache, where `read` leaves them unless it did so before."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        notes: list[str] = []
        new = place.with_name(f"{place.name}.{os.getpid()}.new")
        try:
            read(notes, lambda batches: write(new, batches, source))
            write_text(said_of(place), json.dumps(notes))
            new.rename(place)
        finally:
            new.unlink(missing_ok=True)
    return Mapped.open(place)


def notes_of(path: Path, how: Sequence[Any]) -> list[str]:
    """What a person should know of the reading, whenever that was."""
    found: list[str] = json.loads(said_of(place_of(path, how)).read_text())
    return found


def place_of(path: Path, how: Sequence[Any]) -> Path:
    known = path.stat()
    return place_for([str(path.resolve()), known.st_size, known.st_mtime_ns, *how])


def place_for(made_of: Sequence[Any]) -> Path:
    """Where rows are kept of which these plain values say all."""
    key = hashlib.sha256(json.dumps([LAYOUT, *made_of]).encode()).hexdigest()
    return cache_folder() / "rows" / f"{key[:32]}.arrow"


def said_of(place: Path) -> Path:
    return place.with_suffix(".json")


def write(file: Path, batches: Batches, source: str) -> None:
    """Raises DataError where the file cannot be written, or there are no rows; and what reading the batches raises."""
    import pyarrow

    first = next(batches, None)
    if first is None:
        raise DataError(f"{source} has no rows")
    with refused(file, source):
        stream = pyarrow.OSFile(str(file), "wb")
    with stream:
        with refused(file, source):
            writer = pyarrow.ipc.new_file(stream, first.schema)
        for batch in chain([first], batches):
            with refused(file, source):
                writer.write_batch(batch)
        with refused(file, source):
            writer.close()


@contextmanager
def refused(file: Path, source: str) -> Iterator[None]:
    """A full or read-only disk as DataError with the remedy."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{source} is large, so its rows are kept in {file.parent}, which cannot be written ({error}); make room, "
            "or name another folder in $KD2DEPLOY_CACHE"
        ) from error


# of each format -------------------------------------------------------------------------------------------------


def of_records(header: Sequence[str], records: Iterator[Sequence[str | None]]) -> Batches:
    """Texts, as separated values are."""
    import pyarrow

    schema = pyarrow.schema([(name, pyarrow.string()) for name in header])
    while chunk := list(islice(records, AT_ONCE)):
        columns = [pyarrow.array(column, pyarrow.string()) for column in zip(*chunk, strict=True)]
        yield pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def of_objects(rows: Iterable[dict[str, Any]]) -> Batches:
    """Objects, as JSON lines are. Raises MixedError."""
    found, schema = iter(rows), None
    while chunk := list(islice(found, AT_ONCE)):
        names = list(dict.fromkeys(name for row in chunk for name in row))
        batch = batch_of({name: [row.get(name) for row in chunk] for name in names}, schema)
        if batch is None:
            raise MixedError
        schema = batch.schema
        yield batch
