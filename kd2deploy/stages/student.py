"""student: where the student starts from."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.core import Task, build_task
from kd2deploy.core.members import members_in
from kd2deploy.core.watcher import Watcher
from kd2deploy.recipe import Shrink, Student
from kd2deploy.recipe.schema import Start
from kd2deploy.run import Stage
from kd2deploy.stages.job import Job, Model, model_at
from kd2deploy.train.checkpoint import as_it_is, create, locate, with_head
from kd2deploy.train.members import split
from kd2deploy.train.static import static
from kd2deploy.train.student import Trim, shrink


@dataclass(frozen=True)
class Started:
    """The untrained student and what was copied into it."""

    model: Model
    layer_map: tuple[tuple[int, int], ...]
    """(student block, teacher block) it was copied from; empty for a student that was not cut out of the teacher."""
    notes: tuple[str, ...]
    parameters: int
    copied_share: float


def start(job: Job, origin: Model, student: Student) -> Started:
    """The student's first weights, cut out of `origin` or from elsewhere, as the recipe or its plan has it."""
    wanted = student.model_dump(mode="json", by_alias=True)
    ready = {} if job.recipe.distill else {"trained": False}
    spec = {"student": wanted, **ready, "task": job.task.spec(), "seed": job.recipe.seeds[0]}
    parents = {"origin": origin.sha256}
    source = locate(student.source) if student.source else None
    if source is not None:
        parents["source"] = model_at(source, job.task).sha256
    teacher, pretrained = job.recipe.teacher, None
    if start_of(student) == "pretrained":
        assert teacher is not None, "which the recipe was checked for"
        assert teacher.source is not None
        pretrained = locate(teacher.source)
        parents["pretrained"] = model_at(pretrained, job.task).sha256
    stage = Stage(
        "student",
        spec,
        parents,
        work=f"{__name__}.work",
        inputs={
            "origin": str(origin.folder),
            "source": str(source) if source is not None else None,
            "pretrained": str(pretrained) if pretrained is not None else None,
        },
    )
    done = job.run.carry_out(stage, job.watcher)
    found = done.result
    return Started(
        model_at(done.path("student"), job.task),
        tuple((one, other) for one, other in found["layer_map"]),
        (
            *found["notes"],
            *whence(job, start_of(student)),
            *differences(job, origin, done.path("student")),
        ),
        found["parameters"],
        found["copied_share"],
    )


def start_of(student: Student) -> Start | None:
    """Where its weights come from; of several networks those that are not random. None for one that is not cut."""
    cuts = [student.shrink] if student.shrink is not None else [one.shrink for one in student.members or ()]
    found = {one.initialise for one in cuts}
    return next((start for start in ("copy", "pretrained", "random") if start in found), None)


def whence(job: Job, start: Start | None) -> list[str]:
    """What a student that starts from a teacher's weights knows before its training, and so its control as well."""
    tuned = job.recipe.teacher is not None and job.recipe.teacher.fine_tune is not None
    if start in (None, "random") or not job.recipe.has_control:
        return []
    if start == "pretrained":
        return ["student and control start from the network that the teacher was fine-tuned from: pretraining alone"]
    whose = "fine-tuned teacher" if tuned else "teacher" if job.recipe.teacher_network is not None else "baseline"
    return [
        f"student and control start from weights of the {whose}: what those know of the task, the control has without "
        "being taught; `initialise: pretrained` or `random` starts both from less"
    ]


def differences(job: Job, origin: Model, student: Path) -> tuple[str, ...]:
    """How the student's answers differ from those of a teacher that it learns from."""
    taught = job.recipe.teacher_network is not None and bool(job.recipe.distill)
    return job.task.networks.differences(origin.folder, student) if taught else ()


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    source = Path(inputs["source"]) if inputs["source"] else None
    student, task, origin = Student.model_validate(spec["student"]), build_task(spec["task"]), Path(inputs["origin"])
    ready, scratch = not spec.get("trained", True), folder / "pretrained"
    if inputs["pretrained"]:
        scratch.mkdir(exist_ok=True)
        origin = with_head(Path(inputs["pretrained"]), scratch, task, spec["seed"])
    found = build(task, student, origin, source, folder, seed=spec["seed"], ready=ready)
    shutil.rmtree(scratch, ignore_errors=True)
    return found


def build(
    task: Task, student: Student, origin: Path, source: Path | None, folder: Path, *, seed: int, ready: bool
) -> Mapping[str, Any]:
    """The first weights in `folder`: of the network in `origin` made smaller, once or several times, of its words
    alone, of that in `source` (just as it is, where it is `ready`), or of none."""
    out = folder / "student"
    out.mkdir(exist_ok=True)
    if student.shrink is not None:
        made = shrink(origin, out, task, trim_of(student.shrink), seed=seed)
        return {
            "layer_map": made.layer_map,
            "notes": list(made.notes),
            "parameters": made.parameters,
            "copied_share": made.copied_share,
        }
    if student.members is not None:
        assert student.combine is not None, "which the recipe was checked for"
        cuts = [trim_of(one.shrink) for one in student.members]
        budget = trim_of(student.budget) if student.budget is not None else None
        apart = split(origin, out, task, cuts, combine=student.combine, budget=budget, seed=seed)
        return {
            "layer_map": [],  # which says nothing where several networks have a first block
            "notes": list(apart.notes),
            "parameters": apart.parameters,
            "copied_share": apart.copied_share,
        }
    if student.static is not None:
        taught = student.static.source == "teacher"
        share, notes = static(origin, out, task, dim=student.static.dim, taught=taught, seed=seed)
        return {"layer_map": [], "notes": notes, "parameters": counted(task, out), "copied_share": share}
    if source is not None and (ready or members_in(source) is not None):
        as_it_is(source, out, task)
    elif source is not None:
        with_head(source, out, task, seed)
    else:
        assert student.create is not None
        create(student.create, out, task, seed, inputs_from=origin)
    return {"layer_map": [], "notes": [], "parameters": counted(task, out), "copied_share": 0.0}


def counted(task: Task, folder: Path) -> int:
    """Weights of the network in a folder."""
    return sum(weight.numel() for weight in task.at(folder).networks.load(folder).parameters())


def trim_of(chosen: Shrink) -> Trim:
    """What the recipe asks of the shrinker: a convolutional network's stages are its layers and widths."""
    given = chosen.model_dump(exclude={"depths", "hidden_sizes"})
    given["initialise"] = "random" if chosen.initialise == "random" else "copy"
    given["layers"] = chosen.depths or given["layers"]
    given["hidden"] = chosen.hidden_sizes or given["hidden"]
    return Trim(**given)
