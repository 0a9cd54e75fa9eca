"""What every stage is handed: the recipe, the run folder, the data and the task."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from kd2deploy.core import (
    Artifact,
    Draw,
    Drawing,
    Features,
    Method,
    Row,
    Selection,
    Target,
    Task,
    augmentation,
    augments,
    build_task,
    made,
)
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import Splits, remember, write_splits
from kd2deploy.data.tables import Made
from kd2deploy.errors import DataError
from kd2deploy.measure.accuracy import outputs_of, score_open
from kd2deploy.measure.machine import describe_machine
from kd2deploy.recipe import Block, Recipe
from kd2deploy.report import ArtifactRecord, Floor, TaskInfo
from kd2deploy.run import Run
from kd2deploy.stages.executor import IN_ORDER, Executor
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache
from kd2deploy.train.trackers import Trackers

DATA = "data"
"""Where a run folder keeps splits that several processes read."""
TORCH_SESSION = "kd2deploy.exporters.torch.TorchSession"
AnyRow = TypeVar("AnyRow", bound=Row)
TAUGHT, JUDGED = "train.npy", "eval.npy"
"""Answers that were brought along: to the training rows and, where each has one, to the evaluation rows."""
Read = Callable[[Sequence[Row], Path], Sequence[Features]]
Keep = Callable[[Task, Read, Sequence[Row], Path], Sequence[Features]]
"""What reads rows for a network in a folder, or finds them read."""
SEED = 0
"""Of the rows that calibrate, check and time: the same for every seed of a training."""


@dataclass(frozen=True)
class Brought:
    """The answers of a teacher that is no network here."""

    taught: Path
    """To the training rows: [N, C] float32 logits."""
    sha256: str
    judged: Path | None
    """To the evaluation rows, [M, C]; None where some have none."""
    said: str
    """Where they come from, for a person."""

    @property
    def cache(self) -> TeacherCache:
        """As what students learn from."""
        return TeacherCache.brought(self.taught)


@dataclass(frozen=True)
class Job:
    recipe: Recipe
    run: Run
    watcher: Watcher
    splits: Splits
    task: Task
    about: str
    """The data in words."""
    graphs: Path | None = None
    """Conversions that a pack brought, as `convert` keeps them; none of these is made again."""
    executor: Executor = IN_ORDER
    """Who does the stages that do not depend on each other."""
    beside: Mapping[str, Splits] = field(default_factory=dict)
    """The splits with other training rows, by the data that a training names."""
    to_make: Mapping[str, Made] = field(default_factory=dict)
    """What a stage makes of the data that trainings name; it stands in `beside` once it is made."""
    records: tuple[ArtifactRecord, ...] = ()
    """The lineage of what was made so."""
    floors: tuple[Floor, ...] = ()
    """What any network must beat."""
    answers: Brought | None = None
    """The teacher, where it is known by its answers alone."""

    def splits_for(self, data: Block | None) -> Splits:
        """What a training that names `data` reads; the run's own rows stand for what is yet to be made of them."""
        key = key_of(data) if data is not None else ""
        return self.splits if data is None or (key in self.to_make and key not in self.beside) else self.beside[key]

    @property
    def learnt(self) -> Splits:
        """What the student's last training reads: its rows calibrate what is rounded, so that none are read for that
        alone. A pack's own rows are these."""
        last = self.recipe.distill[-1].data if self.recipe.distill else None
        return self.splits if last is None else self.beside.get(key_of(last), self.splits)

    @property
    def fitted_on(self) -> Splits:
        """What the floors are fitted on: the run's own rows, unless the student learns from rows that none of them went
        into."""
        last = self.recipe.distill[-1].data if self.recipe.distill else None
        made = self.to_make.get(key_of(last)) if last is not None else None
        return self.learnt if made is not None and made.of_noise else self.splits

    def place_of(self, splits: Splits) -> Path:
        """The folder of some splits, for stages: written where another process is to read them."""
        place = self.run.folder / DATA / splits.sha256[:16]
        remember(place, splits)
        if (self.executor.elsewhere or self.recipe.processes > 1) and not place.exists():
            place.parent.mkdir(exist_ok=True)
            write_splits(splits, place, copies=False)
        return place

    @property
    def divided(self) -> dict[str, int]:
        """What the specification of a stage holds of its threads, where several stages divide them: its result depends
        on that. On a GPU it does not."""
        threads = None if torch.cuda.is_available() else self.executor.divided
        return {} if threads is None else {"threads": threads}

    @property
    def trackers(self) -> Trackers:
        """Who is told of losses, validation scores and verdicts."""
        return Trackers(tuple(self.recipe.report_to), self.run.folder)

    @property
    def task_info(self) -> TaskInfo:
        """The task as a report names it."""
        return info_of(self.task, self.splits.labels)


def info_of(task: Task, labels: Sequence[str]) -> TaskInfo:
    """A task as a report names it."""
    metric, counted = task.metric, task.reader.counted_in
    return TaskInfo(task.name, metric.name, metric.unit, metric.suffix, tuple(labels), metric.higher_is_better, counted)


@dataclass(frozen=True)
class Model:
    """A network in a folder, with its hash and the task as that network reads it."""

    folder: Path
    sha256: str
    task: Task

    @property
    def artifact(self) -> Artifact:
        return Artifact(self.folder, self.sha256, TORCH_SESSION, made_by="training")

    def to_json(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "sha256": self.sha256, "task": self.task.spec()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Model":
        return cls(Path(found["folder"]), found["sha256"], build_task(found["task"]))


def key_of(data: Block) -> str:
    """A data block as a key."""
    return json.dumps(data, sort_keys=True, default=str)


def model_at(folder: Path, task: Task) -> Model:
    return Model(folder, made(folder, TORCH_SESSION).sha256, task.at(folder))


def encoded(
    task: Task,
    rows: Sequence[Row],
    student: Path,
    teacher: Path | None = None,
    *,
    anew: bool = False,
    keep: Keep | None = None,
) -> Sequence[Features]:
    """Rows as the student reads them, numbered; where the teacher reads other inputs, its own stand beside them.

    `anew`: so that they can be augmented, as what is scored, calibrated or timed never is. `keep` keeps what was read
    for whoever reads the same rows again.
    """
    read: Read = task.reader.drawing if anew else task.reader.encode
    if keep is not None and not anew:
        read = partial(keep, task, task.reader.encode)
    own = read(rows, student)
    if teacher is None or task.reader.reads_alike(student, teacher):
        return Selection(own)
    return Selection(own, teacher=read(rows, teacher))


def trained_on(
    task: Task,
    rows: Sequence[Row],
    method: Method,
    settings: Settings,
    student: Path,
    teacher: Path | None = None,
    keep: Keep | None = None,
) -> Sequence[Features]:
    """The rows of a training: so that they can be augmented where it does so, or a view of its method."""
    anew = augments(type(task.reader), settings.augment) or "redraw" in method.needs
    return encoded(task, rows, student, teacher, anew=anew, keep=keep)


def parts_of(task: Task, features: Sequence[Features]) -> Sequence[Features]:
    """Of rows that trainings read a part of, such a part each: whole ones may be too large to read many of. Where some
    are smaller than a part all stay whole, as do rows of other tasks."""
    reads = type(task.reader)
    if not reads.drawn_always or not isinstance(features, Drawing):
        return features
    how = augmentation(reads, None)
    try:
        features.check(how)
    except DataError:
        return features
    return [features.drawn(place, how, Draw(SEED, 0, place)) for place in range(len(features))]


def sampled(rows: Sequence[AnyRow], count: int) -> list[AnyRow]:
    """At most `count` of the rows in their order, drawn with a fixed seed: a file may be sorted by class or by length.

    Drawn again from what was drawn, they stay the same.
    """
    if len(rows) <= count:
        return list(rows)
    places = np.random.default_rng(SEED).choice(len(rows), count, replace=False)
    return [rows[place] for place in sorted(places)]


class Live:
    """A session around a network that is still in training: what validation scores between epochs."""

    def __init__(self, net: nn.Module, task: Task) -> None:
        self.net, self.task = net, task
        self.module = task.networks.deployed(net)

    def run(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        device = next(self.net.parameters()).device
        with torch.inference_mode():
            outputs = self.module(*(torch.from_numpy(feed[port.name]).to(device) for port in self.task.inputs))
        return {port.name: value.float().cpu().numpy() for port, value in zip(self.task.outputs, outputs, strict=True)}

    def describe(self) -> Mapping[str, str]:
        return {"runtime": "torch, in training"}

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_: object) -> None: ...


def validation_score(net: nn.Module, task: Task, features: Sequence[Features], rows: Sequence[Row]) -> float:
    """The task's headline metric of a network as it stands, on the validation rows."""
    training = net.training
    net.eval()
    try:
        if not task.metric.chooses:
            return score_open(Live(net, task), task, features, rows).scores.metrics[task.metric.name]
        outputs = outputs_of(Live(net, task), task, features)
    finally:
        net.train(training)
    return task.tuned(outputs, rows).metric.score(outputs, rows).metrics[task.metric.name]


def for_target(target: Target) -> dict[str, Any]:
    """What of a target, and of the machine that stands for it, an artifact and its figures depend on: not its name or
    its gates."""
    machine = describe_machine()
    here: dict[str, Any] = {"cpu": machine.cpu, "isa": machine.isa, "cores": machine.cores}
    if target.device == "cuda":
        here |= {"gpus": machine.gpus, "driver": machine.driver}
    return {"device": target.device, "threads": target.threads, "workload": asdict(target.workload), "machine": here}
