"""The contest itself: every method trained and scored in turn."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kd2deploy.core import Scores
from kd2deploy.core.figures import count_of
from kd2deploy.errors import Kd2DeployError
from kd2deploy.measure.accuracy import score_open
from kd2deploy.measure.machine import state
from kd2deploy.measure.scorer import read_evaluation, write_evaluation
from kd2deploy.recipe import Distill
from kd2deploy.report.formats import seconds as in_words
from kd2deploy.stages.distill import Distilled, collected, described_by
from kd2deploy.stages.job import Job, Live, Model, encoded
from kd2deploy.stages.measure import LAYOUT

Plans = dict[str, list[Distill]]
"""Trainings by method."""


BASELINE, CONTROL = "logit", "task_only"


@dataclass(frozen=True)
class Entrant:
    """A method with its trainings: most have one, two-stage methods two."""

    name: str
    trainings: tuple[Distill, ...]


SCORED = "scored.npz"


@dataclass(frozen=True)
class Outing:
    """One method trained with one seed, and what it scored on the evaluation set."""

    distilled: Distilled
    scores: Scores
    load: float

    @property
    def seconds(self) -> float:
        """Of training alone."""
        return sum(one.seconds for one in self.distilled.trained)

    @property
    def setup_s(self) -> float:
        return sum(self.distilled.setup.values())

    @property
    def steps(self) -> int:
        return sum(one.steps for one in self.distilled.trained)

    @property
    def step_s(self) -> float:
        return self.seconds / self.steps


@dataclass
class Contest:
    """What a comparison holds while it runs."""

    job: Job
    teacher: Model
    start: Model
    steps: int
    """Of the recipe's own trainings, which set the budget."""
    budget_s: float | None = None
    """Seconds of set-up and training for each, once they are known where time is to be equal."""
    outings: dict[str, dict[int, Outing]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def train_all(contest: Contest, plans: Mapping[str, Sequence[Distill]], seed: int, what: str = "") -> None:
    """Every method that is still in, with one seed. What fails is left out, unless nothing can be compared without."""
    job = contest.job
    clock = Remaining(plans, len(job.recipe.seeds) - job.recipe.seeds.index(seed) if not what else 1)
    for name, entries in plans.items():
        if name in contest.left_out:
            continue
        began = time.perf_counter()
        try:
            outing = taken(contest, name, entries, seed)
        except Kd2DeployError as error:
            if name in (BASELINE, CONTROL):
                raise
            contest.left_out[name] = str(error)
            contest.outings.pop(name, None)
            job.watcher.say(f"{what}seed {seed}: {name} is left out: {error}")
            continue
        contest.outings.setdefault(name, {})[seed] = outing
        clock.spent(name, time.perf_counter() - began)
        metric = job.task.metric.name
        job.watcher.say(
            f"{what}seed {seed}, {clock.done}/{len(plans)}  {name}: {metric} {outing.scores.metrics[metric]:.4f}, "
            f"{count_of(outing.steps, 'step')} in {in_words(outing.seconds)}; {clock.left()}"
        )


class Remaining:
    """How long the rest will take, from what this seed's trainings took."""

    def __init__(self, names: Mapping[str, object], seeds: int) -> None:
        self.names, self.seeds, self.took = list(names), seeds, dict[str, float]()

    @property
    def done(self) -> int:
        return len(self.took)

    def spent(self, name: str, seconds: float) -> None:
        self.took[name] = seconds

    def left(self) -> str:
        mean = sum(self.took.values()) / len(self.took)
        whole = sum(self.took.get(name, mean) for name in self.names)
        return f"about {in_words(whole * self.seeds - sum(self.took.values()))} left"


def taken(contest: Contest, name: str, entries: Sequence[Distill], seed: int) -> Outing:
    job = contest.job
    stage = described_by(job, name, "student", entries, seed, contest.start, contest.teacher)
    distilled = collected(job, job.run.carry_out(stage, job.watcher))
    scores, load = scored(job, f"{name}-seed{seed}", distilled.model)
    return Outing(distilled, scores, load)


def scored(job: Job, name: str, model: Model) -> tuple[Scores, float]:
    """A network's scores on the evaluation set as PyTorch runs it, and the machine's load when it was trained."""

    def work(folder: Path) -> Mapping[str, Any]:
        load = state().load
        features = encoded(model.task, job.splits.eval, model.folder)
        session = Live(model.task.networks.load(model.folder), model.task)
        write_evaluation(score_open(session, model.task, features, job.splits.eval), folder / SCORED)
        return {"load": load}

    stage = job.run.stage(f"score-{name}", {"layout": LAYOUT}, {"data": job.splits.sha256, "model": model.sha256}, work)
    found = read_evaluation(stage.path(SCORED), model.task.metric)
    assert found is not None, "what cannot be scored is no finished stage"
    return found.scores, stage.result["load"]
