"""A task: the only place that knows a modality. One final class per modality, in `kd2deploy/tasks/`."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kd2deploy.core.arguments import bind_arguments, one_line
from kd2deploy.core.examples import Shown
from kd2deploy.core.metric import Metric
from kd2deploy.core.port import Array, Port, Row
from kd2deploy.core.ports import Ports
from kd2deploy.core.reader import Reader
from kd2deploy.core.trust import HOMES, files_of, named_in_file, short
from kd2deploy.errors import Fault, ModelError, TrustError

if TYPE_CHECKING:  # only who runs a network needs torch
    from kd2deploy.core.task_networks import TaskNetworks


class Task(ABC):
    """What is to be done, composed of three parts that are each asked for themselves, over ports that all three keep.

    The reader makes `inputs` of rows, the networks make `outputs` of inputs, the metric says what outputs are worth.
    Tasks are rebuilt in other processes from `spec`, so their state is a few plain values.
    """

    name: ClassVar[str]
    pipeline: ClassVar[str] = ""
    """What a model hub calls it: `text-classification`; empty where it has no name there."""
    requires: ClassVar[str] = ""
    """The extra of this program that its rows are read and scored with; empty where none is needed."""
    reads: ClassVar[type[Reader]]
    """The class of its reader: what is asked before a task can be built, because its labels are not known yet."""
    several_labels: ClassVar[bool] = False
    """Whether a row's label is a set of labels that do not exclude each other."""
    own_target: ClassVar[bool] = False
    """Whether a row's `label` is something of the task's own (a transcript, boxes): it is then left as it was read.
    Else it is a class or a set of `labels`, or a number where there are none, and checked when data are prepared."""
    own_classes: ClassVar[bool] = False
    """Whether a target of the task's own names classes (`Reader.classes_in`): the task is then made with `labels`."""
    floors_learn: ClassVar[bool] = True
    """Whether what `floors` gives is fitted on labelled rows."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    reader: Reader
    metric: Metric

    @property
    @abstractmethod
    def networks(self) -> TaskNetworks:
        """Made when it is first asked for: who reads rows and scores answers need not wait for torch."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Plain values to rebuild it: `{"use": name, ...}`, the arguments of its class."""

    @property
    def ports(self) -> Ports:
        """All that a session is told of it."""
        return Ports(self.inputs, self.outputs, self.spec())

    @abstractmethod
    def at(self, folder: Path) -> Task:
        """The same task with the ports of the network in `folder`: teacher and student may read different inputs."""

    @abstractmethod
    def snippet(self, opening: str, folder: Path) -> str:
        """Python code that serves a bundle's file with its runtime and the preprocessing library alone.

        `opening` is the session's part of it: code that opens the file and defines `run(feed) -> {output: array}`.
        `folder` holds the network that the file was made of.
        """

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> Mapping[str, Mapping[str, Array]]:
        """What any network must beat, by a name for a person: outputs for the rows `asked` of what is had without one.

        Fitted on `train`, labelled rows, in seconds; a network's `folder` says how inputs are read, where they must be.
        """
        return {}

    def shown(self, rows: Sequence[Row], answers: Mapping[str, Sequence[Mapping[str, Array]]]) -> Sequence[Shown]:
        """Pictures of a few evaluation rows: what was given, what each network answered and what is right.

        `answers` are the outputs for each row, a batch of one, by who gave them. Most tasks show nothing; `Metric.told`
        is what words can tell.
        """
        return ()

    def aligned(self, reference: Mapping[str, Array], found: Mapping[str, Array]) -> Mapping[str, Array]:
        """What a converted file found, in the order of what its source found, where the order of answers says nothing:
        before both are compared number by number."""
        return found

    def tuned(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Task:
        """The same task with what its metric chooses for one network by its outputs on the validation rows."""
        chosen = self.metric.chosen(outputs, rows)
        return build_task({**self.spec(), **chosen}) if chosen else self


def build_task(spec: Mapping[str, Any]) -> Task:
    """The task that `Task.spec` describes: `use` names a module of `kd2deploy.tasks`, or is a dotted class name.

    Raises TrustError for a class that is neither ours nor trusted, ModelError for arguments that do not fit.
    """
    arguments = dict(spec)
    use = arguments.pop("use", None)
    if isinstance(use, str) and "." in use:
        found = named_in_file("task", use)
    else:
        if use not in files_of("task"):
            raise TrustError(f"no task is called {short(use)}; known: {', '.join(files_of('task'))}")
        inside = vars(importlib.import_module(f"{HOMES['task']}.{use}")).values()
        found = next(kind for kind in inside if isinstance(kind, type) and getattr(kind, "name", None) == use)
    if not isinstance(found, type) or not issubclass(found, Task) or inspect.isabstract(found):
        raise TrustError(f"{use} is no task: it is not a class of kd2deploy.core.Task")
    known, faults = bind_arguments(found, arguments, str(use), "task", 0)
    try:
        if not faults:
            return found(**known)
    except ValueError as error:
        faults = [Fault("task", one_line(error))]
    except TypeError as error:  # of a class of one's own: what ours are made with was checked
        if found.__module__.startswith("kd2deploy."):
            raise
        faults = [Fault("task", f"{found.__name__} cannot be made: {one_line(error)}")]
    raise ModelError("; ".join(map(str, faults)))
