"""Every student and control of a run, and the one that is deployed."""

from dataclasses import dataclass

from kd2deploy.stages.choose import chosen_for
from kd2deploy.stages.distill import Distilled, Role, best, collected, described
from kd2deploy.stages.job import Job, Model


@dataclass(frozen=True)
class Trainings:
    """Every student and control, and the one that is deployed."""

    students: tuple[Distilled, ...]
    controls: tuple[Distilled, ...]
    chosen: Distilled


def train_all(job: Job, start: Model, teacher: Model | None) -> Trainings:
    """All of them, as the job's executor has them done; `start` itself, where the recipe trains nothing.

    Raises TrainError, RecipeError."""
    if not job.recipe.distill:
        ready = Distilled.untrained(job.recipe.seeds[0], chosen_for(job, "student", start))
        return Trainings((ready,), (), ready)
    roles: list[Role] = ["student", "control"] if job.recipe.has_control else ["student"]
    stages = [described(job, role, seed, start, teacher) for role in roles for seed in job.recipe.seeds]
    found = [collected(job, done) for done in job.executor.map(job.run, stages, job.watcher)]
    students = [one for one in found if one.role == "student"]
    return Trainings(tuple(students), tuple(one for one in found if one.role == "control"), best(students))
