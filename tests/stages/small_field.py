"""A field of made-up contenders that was measured: two seeds, a deployed file and what it was made from."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from kd2deploy.core import Artifact, Gates, Scores, Target, made
from kd2deploy.measure.timing import Block, Contender, Timing
from kd2deploy.report import Role, TaskInfo
from kd2deploy.stages.field import Entry, Field
from kd2deploy.stages.measure import Measured
from kd2deploy.tasks.text_classification import TextClassification

ROWS = 400
TARGET = Target("cpu", "", "cpu", {}, gates=Gates(max_drop=0.05, min_speedup=2.0))
TASK = TextClassification(labels=("good", "bad"))
MODEL: Any = SimpleNamespace(task=TASK)
REST: Any = (tuple(range(9)), 0.0, 0.0, 0.0, 0.0)
FAILED: Mapping[str, Any] = {"failure": "out of memory", "scores": None, "timing": None}
"""What is known of a contender that failed."""


def scores(accuracy: float) -> Scores:
    right = (np.arange(ROWS) < round(ROWS * accuracy)).astype(np.int64)
    statistics = {"truth": np.ones(ROWS, dtype=np.int64), "answers": right}
    return Scores({"accuracy": accuracy}, statistics, "the same", right, hits={"bad": right})


def timing(name: str, ms: float) -> Timing:
    """Three processes of six rounds, half a per cent of noise."""
    rng = np.random.default_rng(len(name))
    blocks = [
        Block(
            process, turn, position, tuple(int(1e6 * ms * (1 + 0.005 * one)) for one in rng.standard_normal(9)), *REST
        )
        for process in range(3)
        for turn in range(6)
        for position in range(2)
    ]
    return Timing(name, tuple(blocks), sizes=(1,) * 9, decision="the median is known within 0.3%", settled=True)


def entry(name: str, role: Role, accuracy: float, ms: float | None = None, seed: int | None = 0) -> Entry:
    """One contender that was scored, and timed where `ms` says how fast it is."""
    return Entry(
        Contender(name, Artifact(Path(name), name, "")),
        MODEL,
        role,
        seed,
        scores=scores(accuracy),
        kept={"logits": np.eye(2)[[0, 1] * (ROWS // 2)]},
        timing=timing(name, ms) if ms is not None else None,
    )


def made_field(folder: Path) -> Field:
    """Its student and the two files made of it lie in `folder`. In another order than anything is asked for."""
    for name in ("student", "fp32", "onnx"):
        (folder / name).write_text(name)
    student = made(folder / "student", "none")
    fp32 = made(folder / "fp32", "none", parent=student)
    onnx = made(folder / "onnx", "none", parent=fp32)
    return Field(
        (
            entry("teacher (onnx)", "teacher_same_runtime", 0.90, 20, seed=None),
            entry("teacher (eager)", "teacher", 0.90, 40, seed=None),
            entry("student (seed 1)", "student", 0.87, seed=1),
            replace(entry("student (eager)", "student", 0.89), contender=Contender("student (eager)", student)),
            entry("control (seed 1)", "control", 0.81, seed=1),
            entry("control", "control", 0.80),
            replace(
                entry("onnx", "variant", 0.88, 5),
                contender=Contender("onnx", onnx),
                deployed=True,
                chain=(fp32, onnx),
            ),
            replace(entry("fp32", "link", 0.89), contender=Contender("fp32", fp32), chain=(fp32,)),
        )
    )


def changed(field: Field, name: str, **values: Any) -> Field:
    """The field with other values of one entry."""
    assert name in [one.name for one in field.entries]
    return replace(field, entries=tuple(replace(one, **values) if one.name == name else one for one in field.entries))


def without(field: Field, *names: str) -> Field:
    return replace(field, entries=tuple(one for one in field.entries if one.name not in names))


def measured(field: Field) -> Measured:
    return Measured(field, {}, {}, {}, breaches=(), notes=())


def job(overlap: int = 0, seeds: tuple[int, ...] = (0,)) -> Any:
    return SimpleNamespace(
        task=TASK,
        task_info=TaskInfo("text_classification", "accuracy"),
        splits=SimpleNamespace(overlap=overlap, eval=range(ROWS)),
        recipe=SimpleNamespace(seeds=seeds, distill=("logit",), control_changes={}),
        records=(),
    )
