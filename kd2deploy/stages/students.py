"""Every student and control of a run, and the one that is deployed."""

from dataclasses import dataclass

from kd2deploy.stages.distill import Distilled, best, train
from kd2deploy.stages.job import Job, Model


@dataclass(frozen=True)
class Trainings:
    """Every student and control, and the one that is deployed."""

    students: tuple[Distilled, ...]
    controls: tuple[Distilled, ...]
    chosen: Distilled


def train_all(job: Job, start: Model, teacher: Model) -> Trainings:
    students = [train(job, "student", seed, start, teacher) for seed in job.recipe.seeds]
    controls = [train(job, "control", seed, start, teacher) for seed in job.recipe.seeds] if job.recipe.control else []
    return Trainings(tuple(students), tuple(controls), best(students))
