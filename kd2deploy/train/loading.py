"""Rows that processes beside the training read: what goes wrong there is told in a line."""

from collections.abc import Iterator
from contextlib import contextmanager

from kd2deploy.errors import DataError, TrainError

WORKER = "DataLoader worker"
"""What torch says of such a process in every message."""


@contextmanager
def in_a_line() -> Iterator[None]:
    """What a loader raised or died of, without the traceback that torch puts into the message. Raises DataError where a
    row cannot be read, TrainError where a process is gone."""
    try:
        yield
    except DataError as error:
        if WORKER not in str(error):
            raise
        raise DataError(str(error).strip().splitlines()[-1].partition(": ")[2]) from None
    except RuntimeError as error:
        if WORKER not in str(error):
            raise
        raise TrainError(
            f"a process that reads rows is gone ({str(error).splitlines()[0]}): out of memory, or of shared memory "
            "(/dev/shm)? Run the same command again with fewer `loaders`, or 0"
        ) from error
