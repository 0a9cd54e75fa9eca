"""A session opens any artifact and maps named arrays to named arrays. The same session is scored and timed."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kd2deploy.core.arguments import bind_arguments, grouped
from kd2deploy.core.artifact import Artifact
from kd2deploy.core.ports import Ports
from kd2deploy.core.target import Target
from kd2deploy.core.trust import named_in_file
from kd2deploy.errors import SessionError, TrustError

Feed = Mapping[str, np.ndarray[Any, Any]]


@runtime_checkable
class Session(AbstractContextManager["Session"], Protocol):
    """An opened artifact. `run` blocks until the outputs are ready on the host."""

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]: ...

    def describe(self) -> Mapping[str, str]:
        """What is really active: provider, device, precision, threads, node placement."""
        ...


Mark = Callable[[], None]
"""What a session calls inside one run: when the first part of its answer is there, and at each further one."""


@runtime_checkable
class Marking(Protocol):
    """A session whose answer comes part by part. `run` gives the whole; what it takes is timed part by part here."""

    def run_marked(self, feed: Feed, mark: Mark) -> dict[str, np.ndarray[Any, Any]]: ...


@runtime_checkable
class Clocked(Protocol):
    """A session that runs in another program, a browser or a device's own, and knows what only carried arrays there.

    Of the process that holds it neither processor time nor memory is told: the work is the other program's."""

    def clock_ns(self) -> int:
        """Nanoseconds that have passed where it runs: differences are told by this clock in place of ours."""
        ...


@runtime_checkable
class Resident(Protocol):
    """A session whose arrays lie on the device between its parts: `run` is `place`, `compute` and `fetch`."""

    stream: Any
    """The `torch.cuda.Stream` that all of its work is issued on; None where it computes on the caller's own arrays."""

    def place(self, feed: Feed) -> Any:
        """Copy one request's inputs to the device; they may still be on their way when it returns."""
        ...

    def compute(self, placed: Any, *, wait: bool = True) -> None:
        """Compute on what was placed; without `wait` return as soon as the work is issued."""
        ...

    def fetch(self, placed: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Wait for the outputs and copy them to the host."""
        ...


def open_session(artifact: Artifact, ports: Ports, target: Target, options: Mapping[str, Any] | None = None) -> Session:
    """Open an artifact with the session it names: `opened_by(artifact, ports, target, **options)`.

    Raises TrustError for a session that is neither ours nor trusted, and SessionError if the bytes changed since they
    were hashed, for options that the session does not take, or if what runs is not what was asked for.
    """
    known = options_of(artifact.opened_by, options or {})
    artifact.verify()
    opener = session_named(artifact.opened_by)
    return opener(artifact, ports, target, **grouped(opener, known))


def options_of(opened_by: object, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the types that the session takes. Raises TrustError as `session_named`, and SessionError."""
    opener = session_named(opened_by)
    known, faults = bind_arguments(opener, options, str(opened_by).rpartition(".")[2], "session", 3)
    if faults:
        raise SessionError("; ".join(map(str, faults)))
    return known


def slow_imports(opened_by: object) -> tuple[str, ...]:
    """Modules that take long to import and that every session of the class needs, as it says itself in `slow_imports`.

    Raises TrustError as `session_named`.
    """
    return tuple(getattr(session_named(opened_by), "slow_imports", ()))


def session_named(name: object) -> Callable[..., Session]:
    """The class that opens an artifact. Raises TrustError for what is none, or neither ours nor trusted."""
    found = named_in_file("session", name)
    if not isinstance(found, type) or not issubclass(found, Session):
        raise TrustError(f"{name} is no session: it is not a class with run() and describe() that can be left")
    return found
