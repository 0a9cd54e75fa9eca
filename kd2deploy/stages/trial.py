"""trial: one training of a search, of which its score alone stays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kd2deploy.core import Metric
from kd2deploy.core.watcher import Watcher
from kd2deploy.recipe import Distill
from kd2deploy.run import Done, Stage
from kd2deploy.stages.distill import Opened, Role, described_by
from kd2deploy.stages.job import Job, Model
from kd2deploy.stages.together import shared
from kd2deploy.stages.training import finished, keep_nothing
from kd2deploy.train.length import steps_of
from kd2deploy.train.settings import Settings

Curve = Sequence[Sequence[float]]
"""The best score until then by share of the training: (share, score) in order."""


@dataclass(frozen=True)
class Tried:
    """What a trial came to."""

    score: float
    """On the validation rows, of the student that would be kept."""
    curve: Curve
    steps: int
    """Optimizer steps taken, of all its trainings."""
    seconds: float
    """Of the whole stage: what it read and opened, too."""
    pruned: bool


@dataclass(frozen=True)
class Attempt:
    """What a trial trains: the recipe's trainings with what it tries."""

    trainings: Sequence[Distill]
    seed: int
    limits: Curve = ()
    """The last training ends where it is behind one of them."""


def described_trial(job: Job, name: str, role: Role, attempt: Attempt, start: Model, teacher: Model | None) -> Stage:
    whole = described_by(job, name, role, attempt.trainings, attempt.seed, start, teacher)
    spec = {**whole.spec, "limits": [list(limit) for limit in attempt.limits]}
    return replace(whole, spec=spec, work=f"{__name__}.work", inputs={**whole.inputs, "trackers": []})


def tried(done: Done) -> Tried:
    """What a finished stage came to."""
    found = done.result
    return Tried(found["score"], found["curve"], found["steps"], done.seconds, found["pruned"])


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """Train through all of the trainings, the last one as far as it is worth it. Raises TrainError, RecipeError."""
    done = finished(folder)
    if done is not None:
        return done
    processes = spec["trainings"][0]["settings"]["processes"]
    return keep_nothing(folder, shared(processes, f"{__name__}.train", spec, inputs, folder, tell))


def train(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's result: what several processes may do together."""
    opened = Opened.of(spec, inputs, tell)
    metric, limits, last = opened.task.metric, spec["limits"], len(spec["trainings"]) - 1
    student = opened.task.networks.load(opened.start.folder)

    def give_up(history: Sequence[Mapping[str, Any]], steps: int) -> bool:
        return is_behind(metric, curve_of(metric, history, steps), limits)

    parts = [opened.trained(at, student, folder, give_up if at == last else None) for at in range(last + 1)]
    trained = parts[-1].trained
    whole = steps_of(Settings(**spec["trainings"][last]["settings"]), len(opened.trained_on[last].train))
    curve = curve_of(metric, trained.history, whole)
    return {
        "score": trained.score,
        "curve": curve,
        "steps": sum(part.trained.steps for part in parts),
        "pruned": trained.stopped_early and is_behind(metric, curve, limits),
    }


def curve_of(metric: Metric, history: Sequence[Mapping[str, Any]], steps: int) -> list[list[float]]:
    """The best score until each time that a training was scored, by share of its `steps`."""
    found: list[list[float]] = []
    for entry in history:
        score = entry["score"]
        best = score if not found else max(found[-1][1], score, key=metric.worth)
        found.append([min(1.0, entry["step"] / steps), best])
    return found


def is_behind(metric: Metric, curve: Curve, limits: Curve) -> bool:
    """Whether a training that is not over is behind the limit that holds for as much of a training."""
    share, best = curve[-1]
    passed = [limit for at, limit in limits if at <= share]
    return share < 1 and bool(passed) and metric.worth(best) < metric.worth(passed[-1])
