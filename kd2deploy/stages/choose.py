"""choose: what a task chooses for one network by its answers on the validation rows, such as a threshold.

Teacher, student and control each get their own, so that none is judged by what suits another.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kd2deploy.core import build_task
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import splits_in
from kd2deploy.measure.accuracy import outputs_of
from kd2deploy.run import Stage
from kd2deploy.stages.job import Job, Live, Model, encoded


def chosen_for(job: Job, name: str, model: Model) -> Model:
    """The model with its task as it suits this network; as it is where the task chooses nothing."""
    if not model.task.metric.chooses:
        return model
    stage = Stage(
        f"choose-{name}",
        spec={"task": model.task.spec()},
        parents={"network": model.sha256, "data": job.splits.sha256},
        work=f"{__name__}.work",
        inputs={"network": model.to_json(), "data": str(job.place_of(job.splits))},
    )
    return replace(model, task=build_task(job.run.carry_out(stage, job.watcher).result["task"]))


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    model, rows = Model.from_json(inputs["network"]), splits_in(Path(inputs["data"])).validation
    net = model.task.networks.load(model.folder)
    outputs = outputs_of(Live(net, model.task), model.task, encoded(model.task, rows, model.folder))
    return {"task": model.task.tuned(outputs, rows).spec()}
