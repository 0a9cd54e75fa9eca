"""A session opens any artifact and maps named arrays to named arrays. The same session is scored and timed."""

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kd2deploy.core.artifact import Artifact
from kd2deploy.core.target import Target
from kd2deploy.core.task import Task

Feed = Mapping[str, np.ndarray[Any, Any]]


@runtime_checkable
class Session(AbstractContextManager["Session"], Protocol):
    """An opened artifact. `run` blocks until the outputs are ready on the host."""

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]: ...

    def describe(self) -> Mapping[str, str]:
        """What is really active: provider, device, precision, threads, node placement."""
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


def open_session(artifact: Artifact, task: Task, target: Target, options: Mapping[str, Any] | None = None) -> Session:
    """Open an artifact with the session it names: `opened_by(artifact, task, target, **options)`.

    Raises SessionError if the bytes changed since they were hashed, or if what runs is not what was asked for.
    """
    artifact.verify()
    module, _, name = artifact.opened_by.rpartition(".")
    opener = getattr(importlib.import_module(module), name)
    session = opener(artifact, task, target, **(options or {}))
    assert isinstance(session, Session), f"{artifact.opened_by} is not a session"
    return session
