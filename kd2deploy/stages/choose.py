"""choose: what a task chooses for one network by its answers on the validation rows, such as a threshold.

Teacher, student and control each get their own, so that none is judged by what suits another.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kd2deploy.measure.accuracy import outputs_of
from kd2deploy.stages.job import Job, Live, Model, encoded


def chosen_for(job: Job, name: str, model: Model) -> Model:
    """The model with its task as it suits this network; as it is where the task chooses nothing."""
    if not model.task.metric.chooses:
        return model

    def work(folder: Path) -> Mapping[str, Any]:
        net = model.task.networks.load(model.folder)
        features = encoded(model.task, job.splits.validation, model.folder)
        outputs = outputs_of(Live(net, model.task), model.task, features)
        return {"task": model.task.tuned(outputs, job.splits.validation).spec()}

    parents = {"network": model.sha256, "data": job.splits.sha256}
    stage = job.run.stage(f"choose-{name}", {"task": model.task.spec()}, parents, work)
    arguments = {key: value for key, value in stage.result["task"].items() if key != "use"}
    return replace(model, task=type(model.task)(**arguments))
