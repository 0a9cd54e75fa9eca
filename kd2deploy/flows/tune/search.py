"""One search: settings are proposed by Optuna, each is tried as a stage of the run, and what it came to is told back.

The sampler is seeded and is told the same as before when a search is run again, so it proposes the same trials and
finds their stages: the run folder is all the memory that a search needs. As many are proposed at once whoever does
them, so that the trials are the same one after another and side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from kd2deploy.core import Metric
from kd2deploy.core.search import OneOf
from kd2deploy.errors import Kd2DeployError, RecipeError, RunError, TrainError
from kd2deploy.recipe import Distill, Tune
from kd2deploy.recipe.space import METHOD, Knob, Space, plain_range, shown
from kd2deploy.report.tuning import Outcome, Search, Trial
from kd2deploy.run import Done
from kd2deploy.stages.distill import Role
from kd2deploy.stages.job import Job, Model
from kd2deploy.stages.trial import Attempt, Curve, Tried, described_trial, tried
from kd2deploy.train.length import steps_of

if TYPE_CHECKING:
    import optuna

TOGETHER = 4
"""Trials that are proposed at once. Ours: with more of them, each is proposed knowing less."""
ENOUGH = 4
"""Finished trials before any is ended early. Ours."""
EARLIEST = 0.25
"""Share of a training before which none is ended: the learning rate is still rising. Ours."""
AGAIN = 20
"""Trials in a row that bring nothing, after which a search is over. Ours."""
SEED = 0
"""Of the sampler."""
FOR_FINALS = 1 / 3
"""Share of a budget that is kept for training the best again, where the recipe has more than one seed. Ours."""


@dataclass(frozen=True)
class Sought:
    """What is searched, and with what."""

    job: Job
    role: Role
    before: tuple[Distill, ...]
    """The trainings before the one that is searched, which stay as they are."""
    space: Space
    start: Model
    teacher: Model | None
    tune: Tune

    def training(self, params: Mapping[str, Any]) -> Distill:
        """The one that is searched, with what a trial tries."""
        return self.space.training(unplain(self.space, params))

    def trainings(self, params: Mapping[str, Any]) -> list[Distill]:
        return [*self.before, self.training(params)]

    def steps(self, params: Mapping[str, Any]) -> int:
        """Optimizer steps of a whole trial."""
        return sum(
            steps_of(entry.settings, len(self.job.splits_for(entry.data).train)) for entry in self.trainings(params)
        )


@dataclass
class Spent:
    """What the trials of a search have cost so far."""

    tune: Tune
    share: float
    """How much of the budget is theirs."""
    steps: int = 0
    seconds: float = 0.0

    def allows(self, steps: int, foreseen: int) -> bool:
        """Whether another trial of so many steps fits, beside others of `foreseen` steps."""
        pace = self.seconds / self.steps if self.steps else 0.0
        further = foreseen + steps
        return self.tune.holds(self.steps + further, self.seconds + further * pace, self.share)


@dataclass
class Trials:
    """Everything that was tried, in its order."""

    metric: Metric
    told: list[Trial] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    """Of those that were finished."""

    def best(self) -> Trial | None:
        finished = [one for one in self.told if one.outcome == "finished"]
        return max(finished, key=lambda one: self.metric.worth(one.score or 0.0), default=None)

    def like(self, params: Mapping[str, Any]) -> Trial | None:
        """An earlier trial of the same values."""
        return next((one for one in self.told if one.params == params and one.outcome != "repeated"), None)

    def limits(self) -> Curve:
        """By share of a training, the median of what the finished trials had by then: the median stopping rule of
        Golovin et al., "Google Vizier", KDD 2017, section 3.2.2, with the best score in place of the running mean,
        since the best is what is kept."""
        if len(self.curves) < ENOUGH:
            return []
        shares = sorted({share for curve in self.curves for share, _ in curve if EARLIEST <= share < 1})
        found = []
        for share in shares:
            known = [reached for curve in self.curves if (reached := last_by(curve, share)) is not None]
            if len(known) >= ENOUGH:
                found.append([share, median(known)])
        return found


def last_by(curve: Curve, share: float) -> float | None:
    """What a trial had reached by a share of its training."""
    return next((score for at, score in reversed(curve) if at <= share), None)


def search(sought: Sought) -> Search:
    """Try trainings with the recipe's first seed until the budget is spent. Raises RunError where none was finished."""
    optuna = sampler_library()
    job, space, metric = sought.job, sought.space, sought.job.task.metric
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    study.enqueue_trial({name: labelled(space, name, value) for name, value in space.own.items()})
    trials, spent = Trials(metric), Spent(sought.tune, 1 - FOR_FINALS if len(job.recipe.seeds) > 1 else 1.0)
    ended, stale = "", 0
    while not ended:
        asked = [study.ask() for _ in range(TOGETHER if trials.told else 1)]
        proposed = [(trial, suggested(trial, space)) for trial in asked]
        fitting: list[tuple[Any, dict[str, Any]]] = []
        foreseen = 0
        for trial, params in proposed:
            known = trials.like(params) or any(other == params for _, other in fitting)
            steps = 0 if known else sought.steps(params)
            if not spent.allows(steps, foreseen) and (trials.told or fitting):
                ended = "the budget is spent"
                break
            foreseen += steps
            fitting.append((trial, params))
        outcomes = tried_all(sought, trials, [params for _, params in fitting], len(trials.told))
        for (trial, params), came in zip(fitting, outcomes, strict=True):
            told = accounted(sought, trials, params, came, len(trials.told))
            stale = 0 if told.outcome in ("finished", "pruned") else stale + 1
            trials.told.append(told)
            if isinstance(came, Tried) and not came.pruned:
                trials.curves.append(came.curve)
            spent.steps += told.steps
            spent.seconds += told.seconds
            tell(study, trial, told, came, metric)
            job.watcher.say(said(sought, trials, told))
        if not space.names:
            ended = "nothing of it is searched"
        elif stale >= AGAIN and not ended:
            ended = f"{AGAIN} trials in a row brought nothing new"
    best = trials.best()
    if best is None:
        why = next((one.note for one in trials.told if one.note), "")
        raise RunError(f"no trial of the {sought.role} could be finished: {why}")
    return Search(
        role=sought.role,
        space={knob.name: plain_range(knob.range) for knob in every_knob(space)},
        own={name: plain(labelled(space, name, value)) for name, value in space.own.items()},
        trials=tuple(trials.told),
        best=best.number,
        steps=spent.steps,
        seconds=spent.seconds,
        ended=ended,
    )


def tried_all(sought: Sought, trials: Trials, proposed: Sequence[Mapping[str, Any]], first: int) -> list[Any]:
    """What each came to, as the job's executor has them done: `Tried`, an error, or None for what is nothing new.

    Raises what has nothing to do with the values that were tried: a full disk, a damaged network."""
    job, limits = sought.job, trials.limits() if sought.tune.prune else []
    names = {}
    stages = []
    for at, params in enumerate(proposed):
        if trials.like(params) is None and params not in proposed[:at]:
            name = f"trial-{sought.role}{first + at + 1}"
            attempt = Attempt(sought.trainings(params), job.recipe.seeds[0], limits)
            stages.append(described_trial(job, name, sought.role, attempt, sought.start, sought.teacher))
            names[stages[-1].name] = at
    found: list[Tried | Kd2DeployError | None] = [None] * len(proposed)
    with closing(job.executor.each(job.run, stages, job.watcher, names)) as done:
        for stage, came in done:
            if not isinstance(came, Done | TrainError | RecipeError):
                raise came
            found[names[stage.name]] = tried(came) if isinstance(came, Done) else came
    return found


def accounted(
    sought: Sought, trials: Trials, params: Mapping[str, Any], came: Tried | Kd2DeployError | None, number: int
) -> Trial:
    """A trial as it is told. One that failed on its way is charged whole; one that was refused, nothing."""
    if came is None:
        known = trials.like(params)
        assert known is not None, "of two that are alike the first was tried"
        return Trial(number + 1, params, "repeated", known.score, note=f"as trial {known.number}")
    if isinstance(came, RecipeError):
        return Trial(number + 1, params, "refused", None, note="; ".join(fault.message for fault in came.faults))
    if isinstance(came, Kd2DeployError):
        return Trial(number + 1, params, "failed", None, steps=sought.steps(params), note=str(came))
    outcome: Outcome = "pruned" if came.pruned else "finished"
    return Trial(number + 1, params, outcome, came.score, came.curve[-1][0], came.steps, came.seconds)


def tell(study: "optuna.Study", asked: Any, told: Trial, came: Tried | Kd2DeployError | None, metric: Metric) -> None:
    """Tell Optuna, which looks for what is more, what a trial came to."""
    import optuna

    if told.score is None:
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        return
    if isinstance(came, Tried):
        for share, score in came.curve:
            asked.report(metric.worth(score), round(100 * share))
    if told.outcome == "pruned":
        study.tell(asked, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(asked, metric.worth(told.score))


def said(sought: Sought, trials: Trials, told: Trial) -> str:
    """One line for whoever watches."""
    what = ", ".join(f"{name} {shown(value)}" for name, value in told.params.items())
    best, metric = trials.best(), trials.metric.name
    score = f"{metric} {told.score:.4f}" if told.score is not None else told.note
    lead = f"; best {best.score:.4f} (trial {best.number})" if best is not None and best.score is not None else ""
    return f"{sought.role}, trial {told.number}: {told.outcome}, {score}; {what}{lead}"


def sampler_library() -> Any:
    """Optuna. Raises RunError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise RunError("`tune` proposes settings with Optuna; install it: pip install 'kd2deploy[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def every_knob(space: Space) -> Iterator[Knob]:
    yield from space.settings
    for choice in space.choices:
        yield from choice.knobs


def labelled(space: Space, name: str, value: Any) -> Any:
    """A value as Optuna is given it: what is chosen from a list by its label, for it may be a list itself."""
    ranges = {knob.name: knob.range for knob in every_knob(space)}
    return shown(value) if isinstance(ranges.get(name), OneOf) else value


def suggested(trial: "optuna.trial.Trial", space: Space) -> dict[str, Any]:
    """What Optuna proposes, as plain values by name: `Space.training` takes it after `unplain`."""
    several = [one.name for one in space.choices]
    found: dict[str, Any] = {}
    if len(several) > 1:
        found[METHOD] = trial.suggest_categorical(METHOD, several)
    for knob in space.knobs(space.chosen(found)):
        one = knob.range
        if isinstance(one, OneOf):
            found[knob.name] = trial.suggest_categorical(knob.name, [shown(value) for value in one.choices])
        elif one.whole:
            found[knob.name] = trial.suggest_int(knob.name, int(one.low), int(one.high), log=one.log)
        else:
            found[knob.name] = trial.suggest_float(knob.name, one.low, one.high, log=one.log)
    return found


def unplain(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Labels turned back into the values that they stand for."""
    ranges = {knob.name: knob.range for knob in every_knob(space)}
    found = {}
    for name, value in params.items():
        one = ranges.get(name)
        found[name] = next(each for each in one.choices if shown(each) == value) if isinstance(one, OneOf) else value
    return found


def plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) or value is None else shown(value)
