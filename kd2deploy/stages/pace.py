"""pace: a few real steps of every training on throw-away networks, so that a dry run can say how long all will take."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from torch import nn

from kd2deploy.core import Method, Task
from kd2deploy.core.figures import count_of
from kd2deploy.recipe import Distill, build_method
from kd2deploy.stages.distill import of_control
from kd2deploy.stages.estimate import Pace
from kd2deploy.stages.fit import Rehearsal
from kd2deploy.stages.job import Model, encoded, sampled, trained_on, validation_score
from kd2deploy.stages.kept import CACHED, Kept, cache_for
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.generator import MaskedLms
from kd2deploy.train.length import in_epochs, steps_of
from kd2deploy.train.settings import Settings

ENOUGH_S, LEAST_STEPS = 3.0, 2
"""A training is left when steps after its first, two at least, have taken so many seconds."""
OWN_STEPS = 2
"""Steps of a part's own that are timed of those that begin a cycle."""
SCORED_ROWS = 64
NEVER = 1_000_000_000


class Enough(Exception):
    """Leaves a training that is run for its pace alone."""


@dataclass
class Stopwatch:
    """Listens to a training's progress. Of a method whose work comes in cycles whole ones count, or, where it is left
    before, what the first step cost more is spread over one. Else the first step, which warms up, counts only where
    there is no other."""

    ticks: list[float] = field(default_factory=list)
    cycle: int = 1
    """Steps after which the method's work begins anew."""
    surplus: float = 1.0
    """How many times as much a cycle's first step costs beyond another in the real training."""

    def __call__(self, step: int, steps: int, epoch: float, loss: float | None) -> None:
        self.ticks.append(time.perf_counter())
        if len(self.ticks) - 2 >= LEAST_STEPS and self.ticks[-1] - self.ticks[1] > ENOUGH_S:
            raise Enough

    @property
    def step_s(self) -> float:
        """Mean seconds of a step."""
        took = [end - start for start, end in pairwise(self.ticks)]
        later = took[1:]
        if not later:
            return sum(took)
        whole = len(later) // self.cycle * self.cycle
        if whole and self.surplus == 1:
            return sum(later[-whole:]) / whole
        plain = sum(later) / len(later)
        return plain + max(0.0, took[0] - plain) * self.surplus / self.cycle


@dataclass(frozen=True)
class Network:
    """What a training starts from."""

    net: nn.Module
    folder: Path
    task: Task
    """As this network reads it."""


def paces(found: Rehearsal) -> tuple[list[Pace], list[str]]:
    """The pace of every training of the recipe, and what none of them holds. Raises TrainError where steps fail."""
    recipe = found.job.recipe
    student = Network(found.student, found.student_folder, found.task)
    named = [
        (f", training {at + 1}" if len(recipe.distill) > 1 else "", each) for at, each in enumerate(recipe.distill)
    ]
    wanted = [(f"distill{which}", each, student, len(recipe.seeds)) for which, each in named]
    if recipe.has_control:
        wanted += [
            (f"control{which}", each, student, len(recipe.seeds))
            for (which, _), each in zip(named, of_control(found.job, recipe.distill), strict=True)
        ]
    if (
        recipe.teacher_network is not None and recipe.teacher_network.fine_tune is not None
    ):  # first: who has taught is frozen
        assert found.teacher is not None
        teacher = Network(found.teacher, found.origin, found.job.task.at(found.origin))
        wanted.insert(
            0, ("teacher", Distill(method="task_only", settings=recipe.teacher_network.fine_tune), teacher, 1)
        )
    paces: list[Pace] = []
    uncounted: list[str] = []
    for name, entry, network, runs in wanted:
        one, generators = pace(found, name, entry, network, runs)
        paces.append(one)
        uncounted += [f"what trains {each} for {name}" for each in generators]
        if entry.settings.processes > 1:
            several = count_of(entry.settings.processes, "process", "processes")
            uncounted.append(f"what {several} of {name} cost each other: its steps were timed in one")
    return paces, uncounted


def pace(found: Rehearsal, name: str, entry: Distill, network: Network, runs: int) -> tuple[Pace, list[str]]:
    """A few steps of a training, under its own settings; and the generators that it would have to train before."""
    job, settings = found.job, entry.settings
    method = build_method(entry.method)
    teacher = found.teacher if "teacher" in method.needs else None
    splits = job.splits_for(entry.data)
    everything = splits.train
    brought = found.answers if "teacher" in method.needs else None
    rows = everything if teacher is not None or brought is not None else splits.labelled
    some = sampled(rows, (LEAST_STEPS + 1) * settings.batch * settings.accumulate)
    features = trained_on(network.task, some, method, settings, network.folder, found.origin)
    cache, written = brought.first(len(some)) if brought is not None else None, None
    if teacher is not None:
        model = Model(found.origin, "throw-away", job.task.at(found.origin))
        kept = Kept(job.run.folder / CACHED, job.recipe.teacher_cache, job.task, job.watcher)
        cache = cache_for(kept, method, teacher, model, features, in_epochs(settings, len(rows)))
        written = MaskedLms(teacher, found.origin, network.task, features, steps=0)
    watch = Stopwatch(cycle=math.ceil(method.cycle / settings.accumulate), surplus=shortened(method))
    with suppress(Enough):
        distill(
            Training(
                network.task,
                network.net,
                method,
                features,
                steps_alone(settings),
                job.recipe.seeds[0],
                teacher,
                cache,
                written,
                rows=len(rows),
            ),
            job.run.folder / "pace" / name,
            on_progress=watch,
        )
    steps = steps_of(settings, len(everything if network.net is found.student else rows))
    found_pace = Pace(
        name,
        runs=runs,
        steps=steps,
        step_s=watch.step_s,
        scores=scores_of(in_epochs(settings, len(rows)), steps),
        score_s=score_s(found, network),
        setup_s=cache.seconds / len(some) * len(rows) if cache is not None else 0.0,
    )
    return found_pace, list(written.given) if written is not None else []


def shortened(method: Method) -> float:
    """Leave the parts of a throw-away method few steps of their own in a cycle. Returns how many times as
    many the longest really takes."""
    longest = max(part.own_steps for part in method.parts)
    for part in method.parts:
        part.own_steps = min(part.own_steps, OWN_STEPS)
    return longest / min(longest, OWN_STEPS)


def steps_alone(settings: Settings) -> Settings:
    """The settings without what a training does between its steps, in this process alone."""
    return replace(settings, keep="last", patience=None, checkpoint_every=NEVER, processes=1)


def scores_of(settings: Settings, steps: int) -> int:
    """How often a training is scored."""
    return math.ceil(settings.epochs if settings.score_every == "epoch" else steps / settings.score_every)


def score_s(found: Rehearsal, network: Network) -> float:
    """Seconds of a score on all validation rows, by a few of them."""
    rows = found.job.splits.validation
    some = sampled(rows, SCORED_ROWS)
    features = encoded(network.task, some, network.folder)
    began = time.perf_counter()
    validation_score(network.net, network.task, features, some)
    return (time.perf_counter() - began) / len(some) * len(rows)
