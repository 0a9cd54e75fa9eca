"""Libraries that read a folder's files: whatever they meet there becomes one error of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from kd2deploy.errors import Kd2DeployError, ModelError, first_line


@contextmanager
def refused_as(what: str) -> Iterator[None]:
    """`what` and the first line of the library's error, as a ModelError.

    transformers builds its classes out of whatever stands in a configuration and tokenizers raises plain Exception, or
    a panic of Rust that is none; which class it is depends on the line of theirs that the file first met.
    """
    try:
        yield
    except Kd2DeployError:
        raise
    except MemoryError as error:
        raise ModelError(f"{what}: it needs more memory than this machine has") from error
    except Exception as error:
        raise ModelError(f"{what}: {first_line(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{what}: {first_line(error)}") from error
