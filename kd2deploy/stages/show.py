"""show: what teacher, student and control make of a few evaluation rows, for a person to look at.

Only of tasks that have something to show. The student is the network that was trained; that its deployed file answers
alike is judged elsewhere.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kd2deploy.core import Task, build_task
from kd2deploy.core.examples import Shown
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import splits_in
from kd2deploy.run import Stage
from kd2deploy.stages.job import Job, Live, Model, encoded, sampled
from kd2deploy.stages.students import Trainings
from kd2deploy.stages.teacher import Taught

ROWS = 3


def show(job: Job, networks: Taught, trainings: Trainings) -> tuple[Shown, ...]:
    """A few rows, each as control, student and teacher answer it. Empty where the task shows nothing."""
    if type(job.task).shown is Task.shown:
        return ()
    control = next((one.model for one in trainings.controls if one.seed == trainings.chosen.seed), None)
    models = {} if control is None else {"without a teacher": control}
    models["student"] = trainings.chosen.model
    if networks.teacher is not None:
        models["teacher"] = networks.teacher
    stage = Stage(
        "show",
        spec={"task": job.task.spec(), "rows": ROWS},
        parents={"data": job.splits.sha256, **{who: model.sha256 for who, model in models.items()}},
        work=f"{__name__}.work",
        inputs={
            "data": str(job.place_of(job.splits)),
            "models": {who: model.to_json() for who, model in models.items()},
        },
    )
    found = job.run.carry_out(stage, job.watcher).result["shown"]
    return tuple(Shown(one["caption"], one["picture"]) for one in found)


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's work."""
    task = build_task(spec["task"])
    rows = sampled(splits_in(Path(inputs["data"])).eval, spec["rows"])
    answers = {}
    for who, said in inputs["models"].items():
        model = Model.from_json(said)
        session = Live(model.task.networks.load(model.folder), model.task)
        features = encoded(model.task, rows, model.folder)
        answers[who] = [session.run(model.task.reader.feed([one])) for one in features]
    return {"shown": [asdict(one) for one in task.shown(rows, answers)]}
