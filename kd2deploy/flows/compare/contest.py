"""The contest itself: every method trained and scored in turn."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kd2deploy.core import Scores
from kd2deploy.core.figures import count_of
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import splits_in
from kd2deploy.errors import Kd2DeployError
from kd2deploy.measure.accuracy import score_open
from kd2deploy.measure.machine import state
from kd2deploy.measure.scorer import read_evaluation, write_evaluation
from kd2deploy.recipe import Distill
from kd2deploy.report.formats import seconds as in_words
from kd2deploy.run import Done, Stage
from kd2deploy.stages.distill import Distilled, collected, described_by
from kd2deploy.stages.job import Job, Live, Model, encoded

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


def train_all(contest: Contest, plans: Plans, seeds: Sequence[int], what: str = "") -> None:
    """Every method that is still in, with each of these seeds, as the job's executor has them done.

    What fails is left out, unless nothing can be compared without.
    """
    job = contest.job
    known = {f"{name}-seed{seed}": (name, seed) for seed in seeds for name in plans if name not in contest.left_out}
    stages = [
        described_by(job, name, "student", plans[name], seed, contest.start, contest.teacher)
        for name, seed in known.values()
    ]
    left = seeds if what else job.recipe.seeds[job.recipe.seeds.index(seeds[0]) :]
    clock = Remaining(plans, len(left), job.executor.width)
    spared = {stage for stage, (name, _) in known.items() if name not in (BASELINE, CONTROL)}
    found: dict[tuple[str, int], Outing] = {}
    with closing(job.executor.each(job.run, stages, job.watcher, spared)) as done:
        for stage, came in done:
            name, seed = known[stage.name]
            if name in contest.left_out:
                continue
            try:
                if not isinstance(came, Done):
                    raise came
                found[name, seed] = outing = taken(job, stage.name, came)
            except Kd2DeployError as error:
                if name in (BASELINE, CONTROL):
                    raise
                contest.left_out[name] = str(error)
                contest.outings.pop(name, None)
                job.watcher.say(f"{what}seed {seed}: {name} is left out: {error}")
                continue
            clock.spent(name, 0.0 if came.reused else came.seconds)
            job.watcher.say(f"{what}seed {seed}, {clock.done}/{len(stages)}  {said(job, name, outing)}; {clock.left()}")
    for name, seed in known.values():  # in this order, whichever came first
        if name not in contest.left_out:
            contest.outings.setdefault(name, {})[seed] = found[name, seed]


def said(job: Job, name: str, outing: Outing) -> str:
    metric = job.task.metric.name
    score = f"{metric} {outing.scores.metrics[metric]:.4f}"
    return f"{name}: {score}, {count_of(outing.steps, 'step')} in {in_words(outing.seconds)}"


class Remaining:
    """How long the rest will take, from what each method's last training took."""

    def __init__(self, names: Iterable[str], seeds: int, width: int) -> None:
        self.left_of, self.width, self.took = dict.fromkeys(names, seeds), width, dict[str, float]()
        self.done = 0

    def spent(self, name: str, seconds: float) -> None:
        self.took[name] = seconds
        self.left_of[name] -= 1
        self.done += 1

    def left(self) -> str:
        mean = sum(self.took.values()) / len(self.took)
        whole = sum(self.took.get(name, mean) * trainings for name, trainings in self.left_of.items())
        return f"about {in_words(whole / self.width)} left"


def taken(job: Job, name: str, done: Done) -> Outing:
    distilled = collected(job, done)
    scores, load = scored(job, name, distilled.model)
    return Outing(distilled, scores, load)


def scored(job: Job, name: str, model: Model) -> tuple[Scores, float]:
    """A network's scores on the evaluation set as PyTorch runs it, and the machine's load when it was trained."""
    stage = Stage(
        f"score-{name}",
        spec={"task": model.task.spec()},
        parents={"data": job.splits.sha256, "model": model.sha256},
        work=f"{__name__}.score",
        inputs={"model": model.to_json(), "data": str(job.place_of(job.splits))},
    )
    done = job.run.carry_out(stage, job.watcher)
    found = read_evaluation(done.path(SCORED), model.task.metric)
    assert found is not None, "what cannot be scored is no finished stage"
    return found.scores, done.result["load"]


def score(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The work of `scored`."""
    load, model, rows = state().load, Model.from_json(inputs["model"]), splits_in(Path(inputs["data"])).eval
    session = Live(model.task.networks.load(model.folder), model.task)
    write_evaluation(score_open(session, model.task, encoded(model.task, rows, model.folder), rows), folder / SCORED)
    return {"load": load}
