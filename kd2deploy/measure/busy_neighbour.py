"""`python -m kd2deploy.measure.busy_neighbour`: keeps one core at work while it is wanted, and not a moment longer.

A server is seldom alone. Products of matrices on one thread use what another network would: a core, its vector units
and its cache. It looks at its standard input between any two of them and ends with it: when who started it closes that
end, and also when they die, however they die, since the system closes it then.
"""

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from kd2deploy.core import Target
from kd2deploy.errors import MeasureError
from kd2deploy.measure.starting import RUNNING, from_nothing, last_words

SIZE = 256
"""Of its square matrices: a quarter of a MB each, so that they stay in the cache. A product takes about 1 ms."""
AT_WORK = b"at work\n"


@contextmanager
def busy_neighbour(target: Target) -> Iterator[None]:
    """One such process at work meanwhile. Raises MeasureError if it does not start, or has ended before its time."""
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as said:
        module, alone = "kd2deploy.measure.busy_neighbour", replace(target, threads=1)
        process = from_nothing(alone, module, stdin=pipe, stdout=pipe, stderr=said)
        RUNNING.add(process)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with process.stdin, process.stdout:
                if process.stdout.readline() != AT_WORK:
                    raise MeasureError(f"the busy neighbour did not start: {last_words(said)}")
                yield
                if process.poll() is not None:
                    raise MeasureError(f"the busy neighbour ended before its time: {last_words(said)}")
        finally:
            process.kill()
            process.wait()
            RUNNING.discard(process)


def main() -> None:
    import numpy as np

    matrix = np.full((SIZE, SIZE), 1 / SIZE, dtype=np.float32)
    os.write(1, AT_WORK)
    while not select.select([sys.stdin], [], [], 0)[0]:
        matrix @ matrix


if __name__ == "__main__":
    main()
