"""teacher: a fine-tuned network, found or made; and the baseline, where it is another."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kd2deploy.core import Task, build_task
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import splits_in
from kd2deploy.errors import ModelError
from kd2deploy.methods.task_only import task_only
from kd2deploy.recipe import Teacher
from kd2deploy.run import Stage
from kd2deploy.stages.choose import chosen_for
from kd2deploy.stages.job import Job, Model, encoded, model_at, trained_on, validation_score
from kd2deploy.stages.together import shared
from kd2deploy.stages.track import tracked
from kd2deploy.stages.training import finished, keep_only, watched
from kd2deploy.train.checkpoint import create, locate, with_head
from kd2deploy.train.engine import Trained, Training, distill
from kd2deploy.train.settings import Settings
from kd2deploy.train.trackers import Trackers

START = "start"
"""In the stage's folder: what the training starts from."""


@dataclass(frozen=True)
class Taught:
    """The networks that a run begins with: one at least."""

    teacher: Model | None
    """Whom students learn from."""
    apart: Model | None = None
    """The baseline, where it is another network than the teacher."""
    trained: Trained | None = None
    """How the teacher was fine-tuned; None for one that came fine-tuned."""

    @property
    def baseline(self) -> Model:
        """What the deployed file is compared with."""
        return one_of(self.apart, self.teacher)

    @property
    def origin(self) -> Model:
        """What a student is cut from, and whose tokenizer or processor it gets where it brings none."""
        return one_of(self.teacher, self.apart)


def one_of(first: Model | None, second: Model | None) -> Model:
    found = first or second
    assert found is not None, "a recipe names a teacher or a baseline"
    return found


def teach(job: Job) -> Taught:
    """The networks in folders of their own. Raises ModelError, TrainError."""
    apart = None
    if job.recipe.baseline is not None:
        source = locate(job.recipe.baseline)
        require_sound(job, source)
        apart = chosen_for(job, "baseline", model_at(source, job.task))
    if job.recipe.teacher_network is None:
        return Taught(None, apart)
    teacher, trained = taught(job, job.recipe.teacher_network)
    return Taught(teacher, apart, trained)


def require_sound(job: Job, source: Path) -> None:
    """Refuse a network that cannot be read before anything else starts. Raises ModelError."""
    job.task.reader.check_inputs(source)
    job.task.at(source).networks.load(source)


def taught(job: Job, teacher: Teacher) -> tuple[Model, Trained | None]:
    """The teacher, and how it was fine-tuned where it did not come so."""
    source = locate(teacher.source) if teacher.source is not None else None
    if teacher.fine_tune is None:
        assert source is not None
        require_sound(job, source)
        return chosen_for(job, "teacher", model_at(source, job.task)), None
    stage = Stage(
        "teacher",
        spec={"teacher": teacher.model_dump(mode="json"), "task": job.task.spec(), "seed": job.recipe.seeds[0]},
        parents={
            "data": job.splits.sha256,
            **({"source": model_at(source, job.task).sha256} if source is not None else {}),
        },
        work=f"{__name__}.fine_tune",
        inputs={
            "data": str(job.place_of(job.splits)),
            "source": str(source) if source is not None else None,
            "run": str(job.run.folder),
            "trackers": list(job.recipe.report_to),
        },
        needs="gpu",
    )
    done = job.run.carry_out(stage, job.watcher)
    model = chosen_for(job, "teacher", model_at(done.path("teacher"), job.task))
    return model, Trained.from_json(done.result["trained"])


def fine_tune(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's work. Raises ModelError, TrainError."""
    done = finished(folder)
    if done is not None:
        return done
    teacher, start = Teacher.model_validate(spec["teacher"]), folder / START
    start.mkdir(exist_ok=True)
    source = Path(inputs["source"]) if inputs["source"] else None
    untrained(build_task(spec["task"]), teacher, source, start, spec["seed"])
    result = shared(settings_of(spec).processes, f"{__name__}.train", spec, inputs, folder, tell)
    return keep_only(folder, Path(result["trained"]["student"]), start, "teacher", result)


def train(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's result, with all that the training leaves in its folder: what several processes may do together."""
    start = folder / START
    seed, task, settings = spec["seed"], build_task(spec["task"]).at(start), settings_of(spec)
    splits = splits_in(Path(inputs["data"]))
    net = task.networks.load(start)
    rows = splits.labelled
    if not rows:
        raise ModelError("no training row has a label, so no teacher can be fine-tuned; give one that is, under `from`")
    validation = encoded(task, splits.validation, start)
    trackers = Trackers(tuple(inputs["trackers"]), Path(inputs["run"]))
    method = task_only()
    features = trained_on(task, rows, method, settings, start)
    with tracked(trackers, task.metric.name, folder, "task_only", settings) as told:
        trained = distill(
            Training(task, net, method, features, settings, seed),
            folder / "training",
            score=lambda net: validation_score(net, task, validation, splits.validation),
            on_progress=watched(tell, "training"),
            on_figures=told,
        )
    return {"trained": trained.to_json(), "settings": asdict(settings)}


def settings_of(spec: Mapping[str, Any]) -> Settings:
    """How the teacher is fine-tuned."""
    found = Teacher.model_validate(spec["teacher"]).fine_tune
    assert found is not None
    return found


def untrained(task: Task, teacher: Teacher, source: Path | None, out: Path, seed: int) -> None:
    """The network that fine-tuning starts from: a pretrained body with the task's head, or random weights."""
    if source is not None:
        with_head(source, out, task, seed)
        return
    assert teacher.create is not None
    create(teacher.create, out, task, seed)
