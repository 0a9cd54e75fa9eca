"""The signatures that everything else is built on.

Each is imported when it is first asked for: a process that runs a deployed file need not wait for torch, nor the
command line for numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kd2deploy.core.trust import trust, trusted  # at once: the module has the function's name

if TYPE_CHECKING:
    from kd2deploy.core.artifact import Artifact, made, sha256_of
    from kd2deploy.core.augment import augmentation, augmentation_of, augments
    from kd2deploy.core.convert import Converter, Traits, converter, traits_of
    from kd2deploy.core.cores import Quota, cpu_quota, usable_cores
    from kd2deploy.core.driver import driver_version, nvml
    from kd2deploy.core.features import Draw, Drawing, Ragged, Selection, Table, drawn, label_of
    from kd2deploy.core.masked_lm import MaskedLm
    from kd2deploy.core.metric import Metric, Scores, mark_of
    from kd2deploy.core.parts import (
        Method,
        Networks,
        Part,
        Redraw,
        Sizes,
        TaskLoss,
        Term,
        View,
        Weight,
        Weighted,
        compose,
        scaled,
    )
    from kd2deploy.core.port import TEACHER_PREFIX, Array, Features, Port, Row
    from kd2deploy.core.ports import Ports
    from kd2deploy.core.ranks import averaged, gathered, gathered_along
    from kd2deploy.core.reader import Prepare, Reader, Reading, ServerReader, SizeUnit
    from kd2deploy.core.regions import Regions
    from kd2deploy.core.session import Clocked, Feed, Mark, Marking, Resident, Session, open_session, slow_imports
    from kd2deploy.core.step import (
        Batch,
        Look,
        Observation,
        Pair,
        Progress,
        Step,
        clean_look,
        counted_answers,
        counted_logits,
    )
    from kd2deploy.core.target import Gates, Target, Variant, Workload
    from kd2deploy.core.task import Task, build_task
    from kd2deploy.core.task_networks import TaskNetworks

LIGHT = (
    *("artifact", "augment", "convert", "cores", "driver", "features", "metric", "port", "ports", "reader", "regions"),
    *("session", "target", "task", "task_networks"),
)
NEED_TORCH = ("step", "parts", "masked_lm", "ranks")

__all__ = [
    "TEACHER_PREFIX",
    "Array",
    "Artifact",
    "Batch",
    "Clocked",
    "Converter",
    "Draw",
    "Drawing",
    "Features",
    "Feed",
    "Gates",
    "Look",
    "Mark",
    "Marking",
    "MaskedLm",
    "Method",
    "Metric",
    "Networks",
    "Observation",
    "Pair",
    "Part",
    "Port",
    "Ports",
    "Prepare",
    "Progress",
    "Quota",
    "Ragged",
    "Reader",
    "Reading",
    "Redraw",
    "Regions",
    "Resident",
    "Row",
    "Scores",
    "Selection",
    "ServerReader",
    "Session",
    "SizeUnit",
    "Sizes",
    "Step",
    "Table",
    "Target",
    "Task",
    "TaskLoss",
    "TaskNetworks",
    "Term",
    "Traits",
    "Variant",
    "View",
    "Weight",
    "Weighted",
    "Workload",
    "augmentation",
    "augmentation_of",
    "augments",
    "averaged",
    "build_task",
    "clean_look",
    "compose",
    "converter",
    "counted_answers",
    "counted_logits",
    "cpu_quota",
    "drawn",
    "driver_version",
    "gathered",
    "gathered_along",
    "label_of",
    "made",
    "mark_of",
    "nvml",
    "open_session",
    "scaled",
    "sha256_of",
    "slow_imports",
    "traits_of",
    "trust",
    "trusted",
    "usable_cores",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in LIGHT + NEED_TORCH:
            found = vars(importlib.import_module(f"{__name__}.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
