"""All that a session is told of the task that its artifact is for: what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kd2deploy.core.port import Port


@dataclass(frozen=True)
class Ports:
    """Plain values, so that a process that runs a deployed file needs nothing else of the task."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    task: Mapping[str, Any] = field(default_factory=dict)
    """What the task is built from (`Task.spec`): for a session whose artifact is a network that the task must load."""

    @property
    def called(self) -> str:
        """The task's name, for a person."""
        return str(self.task.get("use", "unknown"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Ports:
        read = {side: tuple(port_from(one) for one in found[side]) for side in ("inputs", "outputs")}
        return cls(**read, task=found["task"])


def port_from(found: Mapping[str, Any]) -> Port:
    return Port(found["name"], found["dtype"], tuple(found["axes"]))
