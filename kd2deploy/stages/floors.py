"""floors: what any network must beat, fitted in seconds on the same labelled rows, scored on the same evaluation rows.

It is no contender: nothing is deployed or timed. A teacher below it is not worth learning from.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Array, Task, build_task
from kd2deploy.core.estimate import Estimate
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import Splits, splits_in
from kd2deploy.report import Floor
from kd2deploy.run import Stage
from kd2deploy.stages.job import Job, Model
from kd2deploy.stages.telling.figures import metric_of


def floors(job: Job, network: Model) -> tuple[Floor, ...]:
    """By name, with intervals over the evaluation rows; `network` reads the inputs. Empty where a task knows none."""
    stage = Stage(
        "floors",
        spec={"task": network.task.spec()},
        parents={"data": job.fitted_on.sha256},
        work=f"{__name__}.work",
        inputs={"data": str(job.place_of(job.fitted_on)), "network": str(network.folder)},
    )
    found = job.run.carry_out(stage, job.watcher).result["floors"]
    return tuple(Floor(one["name"], Estimate(**one["metric"]), one["rows"]) for one in found)


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's work."""
    task, splits = build_task(spec["task"]), splits_in(Path(inputs["data"]))
    train = splits.labelled
    asked = [*splits.validation, *splits.eval]
    answers = task.floors(train, asked, Path(inputs["network"])) if train else {}
    found = [
        scored(task, name, outputs, splits, len(train) if task.floors_learn else 0) for name, outputs in answers.items()
    ]
    return {"floors": [asdict(one) for one in found]}


def scored(task: Task, name: str, outputs: Mapping[str, Array], splits: Splits, fitted: int) -> Floor:
    """What it is worth on the evaluation rows, with what is chosen for it on the validation rows, as for a network."""
    at = len(splits.validation)
    before, after = ({port: found[part] for port, found in outputs.items()} for part in (np.s_[:at], np.s_[at:]))
    own = task.tuned(before, splits.validation) if at else task
    return Floor(name, metric_of(own, own.metric.score(after, splits.eval)), fitted)
