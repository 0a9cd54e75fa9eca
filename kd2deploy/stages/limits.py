"""limits: what the machine can do at most, and how many operations each network takes for a request."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from kd2deploy.core import Feed, Target
from kd2deploy.core.roofline import Peaks, Reached
from kd2deploy.measure.latency import elements
from kd2deploy.measure.processes import with_threads
from kd2deploy.measure.roofline import gflop_of, peaks, reached
from kd2deploy.stages.field import Entry
from kd2deploy.stages.job import Live, Model


@dataclass(frozen=True)
class Limits:
    peaks: Peaks
    gflop: Mapping[str, float]
    """Of a request of median size, by the hash of the network."""

    def reached_by(self, entry: Entry) -> Reached | None:
        """What a timed contender makes of the machine; None of one that was not timed."""
        if entry.timing is None:
            return None
        precision = entry.described.get("precision", entry.artifact.precision)
        median_ms = float(np.median(entry.timing.samples_ms))
        gflop = self.gflop.get(entry.model.sha256, 0.0) * entry.artifact.computes
        return reached(self.peaks, gflop, precision, entry.artifact.weights_mb, median_ms)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Limits":
        return TypeAdapter(cls).validate_python(found)


def limits(target: Target, requests: Mapping[str, tuple[Model, Sequence[Feed]]]) -> Limits:
    """Of this machine as the target uses it, and of networks with their requests, by their hash."""
    counted = {sha256: network_gflop(model, middling(feeds)) for sha256, (model, feeds) in requests.items()}
    return Limits(peaks(with_threads(target).threads), counted)


def middling(feeds: Sequence[Feed]) -> Feed:
    """The request of median size."""
    return sorted(feeds, key=elements)[len(feeds) // 2]


def network_gflop(model: Model, feed: Feed) -> float:
    """Billions of operations of a network for a request."""
    net = model.task.networks.load(model.folder).eval().requires_grad_(False)  # what counts would hook into gradients
    return gflop_of(partial(Live(net, model.task).run, feed))
