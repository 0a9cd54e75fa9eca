"""The signatures that everything else is built on."""

from kd2deploy.core.artifact import Artifact, made, sha256_of
from kd2deploy.core.convert import Converter
from kd2deploy.core.driver import driver_version, nvml
from kd2deploy.core.masked_lm import MaskedLm
from kd2deploy.core.parts import (
    Method,
    Networks,
    Part,
    Sizes,
    TaskLoss,
    Term,
    View,
    Weight,
    Weighted,
    compose,
    scaled,
)
from kd2deploy.core.session import Feed, Resident, Session, open_session
from kd2deploy.core.step import (
    TEACHER_PREFIX,
    Batch,
    Look,
    Observation,
    Pair,
    Progress,
    Step,
    clean_look,
    counted_logits,
)
from kd2deploy.core.target import Gates, Target, Variant, Workload
from kd2deploy.core.task import Features, Port, Row, Scores, Task, build_task

__all__ = [
    "TEACHER_PREFIX",
    "Artifact",
    "Batch",
    "Converter",
    "Features",
    "Feed",
    "Gates",
    "Look",
    "MaskedLm",
    "Method",
    "Networks",
    "Observation",
    "Pair",
    "Part",
    "Port",
    "Progress",
    "Resident",
    "Row",
    "Scores",
    "Session",
    "Sizes",
    "Step",
    "Target",
    "Task",
    "TaskLoss",
    "Term",
    "Variant",
    "View",
    "Weight",
    "Weighted",
    "Workload",
    "build_task",
    "clean_look",
    "compose",
    "counted_logits",
    "driver_version",
    "made",
    "nvml",
    "open_session",
    "scaled",
    "sha256_of",
]
