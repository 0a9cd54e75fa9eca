"""Which fields of a report a run has filled, so that a field which no run fills is found."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from kd2deploy.core.estimate import Estimate
from kd2deploy.report import Report

ON_A_DEVICE = "on a device only"
EMPTY_HERE = {
    "contenders.by_class": "only of tasks that have more than recall: see test_multilabel_run",
    "contenders.timing.crowded": "only where `measurement.neighbour` asks for it: see test_static_run",
    "contenders.note": "only where a contender failed",
    "contenders.timing.device": ON_A_DEVICE,
    "contenders.timing.peak_device_mb": ON_A_DEVICE,
    "contenders.timing.per_unit": "only of tasks whose rows have a unit of size: see test_restoration_run",
    "contenders.timing.phases": "only of a session that answers in parts: see tests/measure/test_latency",
    "data.warnings": "only where the data is doubtful",
    "distillation.control_spread": "only over several seeds: see tests/stages/telling/test_brought",
    "distillation.student_spread": "only over several seeds: see tests/stages/telling/test_brought",
    "examples": "only of a task whose answers are shown: see test_speech_run",
    "generator": "only where a method writes text: see tests/stages/telling/test_beginning",
    "left_out": "only where something could not be made",
    "shown": "only of tasks that have pictures to show: see test_restoration_run",
    "speedups.crowded": "only where `measurement.neighbour` asks for it: see test_static_run",
    "task.metric_suffix": "only of a metric with a unit of its own, such as dB",
    "task.unit_of_size": "only of tasks whose rows have one, such as a megapixel",
    "tried.against": "only where there is a choice: see test_side_by_side",
    "tried.ratio": "only where there is a choice: see test_side_by_side",
    "tried.reason": "only of what was left out: see tests/measure/test_choosing",
    "tried.rows_per_s": "only where `gates.min_throughput` asks for it: see tests/measure/test_choosing",
    "verdict.reasons": "only of an INVALID run",
}
"""Fields that stay empty in the small runs on texts, and why that is right."""


def every_field() -> set[str]:
    """The dotted paths of all fields of a report, those inside of its parts included."""
    return set(paths(Report, ""))


def paths(kind: Any, prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        path = f"{prefix}{field.name}"
        yield path
        for part in parts(hints[field.name]):
            yield from paths(part, f"{path}.")


def parts(hint: Any) -> Iterator[Any]:
    """The dataclasses that a type holds; an estimate is one value, which may well have no interval or no note."""
    if dataclasses.is_dataclass(hint) and hint is not Estimate:
        yield hint
    for inside in typing.get_args(hint):
        yield from parts(inside)


def filled(report: Report) -> set[str]:
    """The paths that hold something in any of their places; False is an answer, and nothing else that is empty."""
    return set(holding(report, ""))


def holding(part: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(part):
        value, path = getattr(part, field.name), f"{prefix}{field.name}"
        if value is None or (isinstance(value, str | tuple | Mapping) and not value):
            continue
        yield path
        for inside in value if isinstance(value, tuple) else [value]:
            if dataclasses.is_dataclass(inside) and not isinstance(inside, Estimate):
                yield from holding(inside, f"{path}.")


def empty(*reports: Report) -> set[str]:
    """The fields that none of the reports fills; of a part that is nowhere, itself and not all that is inside of it."""
    lacking = every_field() - set().union(*map(filled, reports))
    return {path for path in lacking if path.rpartition(".")[0] not in lacking}
