"""A split of the hub that is read as it comes: nothing is downloaded as a whole, and no more than the rows asked for.

The rows are kept in the cache, as a large file's are. What the library `datasets` knows of the source, such as a
revision, is part of where, so that a changed source is read anew.
"""

from collections.abc import Callable, Iterator
from typing import Any

from kd2deploy.core.mapped import Mapped
from kd2deploy.data._mapped import AT_ONCE, Batches, kept, place_for
from kd2deploy.errors import DataError

BUFFER = 10_000
"""Rows among which the next one is drawn where not all are read. Ours."""
SEED = 0


def streamed(stream: Any, most: int | None) -> Any:
    """A split that `datasets` streams, of `most` rows drawn at random where there is such a number, its features
    known."""
    import datasets

    if stream.features is None:
        first = next(iter(stream.with_format("arrow").iter(batch_size=1)), None)
        features = None if first is None else datasets.Features.from_arrow_schema(first.schema)
        stream = stream if features is None else stream.cast(features)
    return stream if most is None else stream.shuffle(seed=SEED, buffer_size=BUFFER).take(most)


def mapped(stream: Any, state: str, split: str, most: int | None, source: str) -> Mapped:
    """The rows of such a split; `state` tells the source's from others. Raises DataError where rows differ in kind, or
    the cache cannot be written."""

    def read(_: list[str], keep: Callable[[Batches], None]) -> None:
        keep(batches_of(stream, source))

    return kept(place_for(["streamed", state, split, most, BUFFER, SEED]), source, read)


def batches_of(stream: Any, source: str) -> Batches:
    """Record batches of one schema. Raises DataError where a row does not fit it."""
    import pyarrow

    tables: Iterator[Any] = stream.with_format("arrow").iter(batch_size=AT_ONCE)
    schema = None
    try:
        for table in tables:
            schema = schema or table.schema
            yield from table.cast(schema).combine_chunks().to_batches()
    except (KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(
            f"rows of {source} do not have the columns of its first ones ({str(error).splitlines()[0]}); leave "
            "`stream` out, or read its files with `data: {use: files, ...}`"
        ) from error
