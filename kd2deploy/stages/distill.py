"""distill: the student learns by the recipe's methods; the control, as long and without a teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from kd2deploy.core import Features, Method, Row, Selection, Task, build_task
from kd2deploy.core.ranks import leader_first
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import Splits, lacking, splits_in
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe import Caching, Distill, build_method
from kd2deploy.run import Done, Stage
from kd2deploy.stages.choose import chosen_for
from kd2deploy.stages.job import Job, Model, encoded, model_at, trained_on, validation_score
from kd2deploy.stages.kept import CACHED, Encodings, Kept, cache_for, generators_of
from kd2deploy.stages.together import shared
from kd2deploy.stages.track import tracked
from kd2deploy.stages.training import finished, keep_only, watched
from kd2deploy.train.engine import GiveUp, Trained, Training, distill
from kd2deploy.train.flattened import ASKED, doubts
from kd2deploy.train.length import in_epochs, of_steps, steps_of
from kd2deploy.train.settings import Settings, changed
from kd2deploy.train.teacher_cache import TeacherCache
from kd2deploy.train.trackers import Trackers

Role = Literal["student", "control"]
CACHE, GENERATOR = "teacher cache", "generator"


@dataclass(frozen=True)
class Distilled:
    """One trained student."""

    role: Role
    seed: int
    model: Model
    trained: tuple[Trained, ...]
    layer_maps: Mapping[str, list[list[int]]]
    """Which teacher layer each student layer learned from, by term, where a term compares layers."""
    generator: str
    """Which masked language model wrote text, and for a derived one how long it was trained; empty without one."""
    setup: Mapping[str, float]
    """Seconds before the first step, by what took them: what this training would have had to spend alone, also where it
    found the teacher's cache or a generator made already."""
    doubts: tuple[str, ...] = ()
    """What a person should know of how it was taught."""
    at_a_time: int = 1
    """How many trainings ran beside each other: where that is more than one, its times say nothing."""

    @classmethod
    def untrained(cls, seed: int, model: Model, role: Role = "student") -> "Distilled":
        """A network that came as it is, or whose training is told elsewhere."""
        return cls(role, seed, model, (), {}, "", {})

    @property
    def cached(self) -> bool:
        """Whether the teacher's answers were read from a cache rather than made by running it."""
        return CACHE in self.setup

    @property
    def score(self) -> float:
        """On the validation rows."""
        return self.trained[-1].score or 0.0


def described(job: Job, role: Role, seed: int, start: Model, teacher: Model | None) -> Stage:
    """One student through all of the recipe's trainings, or its control."""
    entries = job.recipe.distill
    if role == "control":
        entries = of_control(job, entries)
    return described_by(job, role, role, entries, seed, start, teacher)


def of_control(job: Job, entries: Sequence[Distill]) -> list[Distill]:
    """The control's trainings in the place of these: the last with the settings that the recipe gives it."""
    *first, last = (without_teacher(job, entry) for entry in entries)
    changes = job.recipe.control_changes
    return [*first, last.model_copy(update={"settings": changed(last.settings, changes)}) if changes else last]


def without_teacher(job: Job, entry: Distill) -> Distill:
    """What the control does in a training's place: as many steps on the labels alone, of the same rows where they have
    any, else of the recipe's own."""
    rows = job.splits_for(entry.data).train
    if entry.data is None or not all(lacking(rows)):
        return Distill(method="task_only", settings=entry.settings, data=entry.data)
    steps = steps_of(entry.settings, len(rows))
    settings = of_steps(entry.settings, steps, len(job.splits.train))
    return Distill(method="task_only", settings=settings)


def described_by(
    job: Job, name: str, role: Role, entries: Sequence[Distill], seed: int, start: Model, teacher: Model | None
) -> Stage:
    """One student through these trainings, as the stage `<name>-seed<seed>`."""
    taught = any("teacher" in build_method(entry.method).needs for entry in entries)
    assert teacher or job.answers or not taught, "a recipe whose method needs a teacher names one"
    answers = job.answers if teacher is None and taught else None
    read = [job.splits_for(entry.data) for entry in entries]
    return Stage(
        f"{name}-seed{seed}",
        spec={
            "trainings": [{"method": entry.method, "settings": asdict(entry.settings)} for entry in entries],
            "role": role,
            "seed": seed,
            "task": job.task.spec(),
            "cache": job.recipe.teacher_cache.model_dump(mode="json"),
            **job.divided,
        },
        parents={
            "data": job.splits.sha256,
            **{f"data of {at + 1}": one.sha256 for at, one in enumerate(read) if one is not job.splits},
            "start": start.sha256,
            **({"teacher": teacher.sha256} if teacher is not None and taught else {}),
            **({"teacher's answers": answers.sha256} if answers is not None else {}),
        },
        work=f"{__name__}.work",
        inputs={
            "data": str(job.place_of(job.splits)),
            "trained on": [str(job.place_of(one)) for one in read],
            "start": start.to_json(),
            "teacher": teacher.to_json() if teacher is not None and taught else None,
            "answers": str(answers.taught) if answers is not None else None,
            "cache": str(job.run.folder / CACHED),
            "run": str(job.run.folder),
            "trackers": list(job.recipe.report_to),
            "at a time": job.executor.width,
        },
        needs="gpu",
    )


def collected(job: Job, done: Done) -> Distilled:
    """The student that a finished stage trained."""
    result = done.result
    role: Role = result["role"]
    return Distilled(
        role,
        result["seed"],
        chosen_for(job, done.name, model_at(done.path(role), job.task)),
        tuple(Trained.from_json(one) for one in result["trained"]),
        result["layer_maps"],
        result["generator"],
        result["setup"],
        tuple(result["doubts"]),
        result["at a time"],
    )


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """Train through all of the stage's trainings, each from what the last kept. Raises TrainError, RecipeError."""
    done = finished(folder)
    if done is not None:
        return done
    result = shared(spec["trainings"][0]["settings"]["processes"], f"{__name__}.train", spec, inputs, folder, tell)
    start, last = Model.from_json(inputs["start"]).folder, Path(result["trained"][-1]["student"])
    return keep_only(folder, last, start, spec["role"], result)


def train(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's result, with all that the trainings leave in its folder: what several processes may do together."""
    opened = Opened.of(spec, inputs, tell)
    student = opened.task.networks.load(opened.start.folder)
    parts: list[Part] = []
    for at in range(len(spec["trainings"])):
        parts.append(opened.trained(at, student, folder))
    made = {name: seconds for part in parts for name, seconds in part.generators.items()}
    setup = {name: part.cache_s for part in parts for name in (CACHE,) if part.cache_s is not None}
    several = len(parts) > 1
    return {
        "role": spec["role"],
        "seed": spec["seed"],
        "trained": [part.trained.to_json() for part in parts],
        "layer_maps": {
            term + (f" of training {at + 1}" if several else ""): pairs
            for at, part in enumerate(parts)
            for term, pairs in part.layer_maps.items()
        },
        "generator": ", ".join(made),
        "setup": setup | ({GENERATOR: sum(made.values())} if any(made.values()) else {}),
        "doubts": [doubt for part in parts for doubt in part.doubts],
        "at a time": inputs["at a time"],
    }


@dataclass(frozen=True)
class Part:
    """One of a student's trainings."""

    trained: Trained
    layer_maps: Mapping[str, list[list[int]]]
    generators: Mapping[str, float]
    """What wrote text, and the seconds that making it took."""
    cache_s: float | None
    """Seconds that the teacher's cached answers took; None where none were read."""
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """What the stage is made of, opened."""

    spec: Mapping[str, Any]
    run: Path
    kept: Kept
    trackers: Trackers
    splits: Splits
    trained_on: tuple[Splits, ...]
    """By training."""
    start: Model
    teacher: Model | None
    answers: Path | None
    """Of a teacher that is no network here."""

    @classmethod
    def of(cls, spec: Mapping[str, Any], inputs: Mapping[str, Any], tell: Watcher) -> "Opened":
        run = Path(inputs["run"])
        return cls(
            spec,
            run,
            Kept(Path(inputs["cache"]), Caching.model_validate(spec["cache"]), build_task(spec["task"]), tell),
            Trackers(tuple(inputs["trackers"]), run),
            splits_in(Path(inputs["data"])),
            tuple(splits_in(Path(place)) for place in inputs["trained on"]),
            Model.from_json(inputs["start"]),
            Model.from_json(inputs["teacher"]) if inputs["teacher"] else None,
            Path(inputs["answers"]) if inputs.get("answers") else None,
        )

    @property
    def task(self) -> Task:
        """As the student reads it."""
        return self.start.task

    def trained(self, at: int, student: nn.Module, folder: Path, give_up: GiveUp | None = None) -> Part:
        """The student after its training number `at`, which ends where `give_up` says so."""
        entry, seed, task = self.spec["trainings"][at], self.spec["seed"], self.task
        path = f"distill[{at}].method"
        method, rows = build_method(entry["method"], path), self.trained_on[at].train
        settings = Settings(**entry["settings"])
        teacher = self.teacher if "teacher" in method.needs else None
        brought = TeacherCache.brought(self.answers) if self.answers and "teacher" in method.needs else None
        beside = self.teacher.folder if self.teacher else None
        keep = Encodings(self.kept.folder, self.trained_on[at].sha256)
        features = trained_on(task, rows, method, settings, self.start.folder, beside, keep)
        if teacher is None and brought is None:
            features, settings = labelled(rows, features, settings)
        net = teacher.task.networks.load(teacher.folder) if teacher is not None else None
        cache, written = None, None
        if teacher is not None and net is not None:
            with leader_first():
                cache = cache_for(self.kept, method, net, teacher, features, in_epochs(settings, len(rows)))
            data = self.trained_on[at].sha256
            written = generators_of(self.kept, teacher, net, task, features, seed, data)
        read = cache or brought
        found = doubts(method, read.spread(ASKED)) if read is not None else []
        found += [cache.said] if cache is not None and cache.said else []
        validation = encoded(task, self.splits.validation, self.start.folder)
        name = "training" if len(self.trained_on) == 1 else f"training {at + 1}"
        which = name if len(self.trained_on) > 1 else ""
        try:
            with tracked(self.trackers, task.metric.name, folder, entry["method"], settings, which) as told:
                trained = distill(
                    Training(task, student, method, features, settings, seed, net, read, written),
                    folder / f"training-{at}",
                    score=lambda net: validation_score(net, task, validation, self.splits.validation),
                    on_progress=watched(self.kept.tell, name),
                    on_figures=told,
                    give_up=give_up,
                )
        except ValueError as error:
            raise RecipeError([Fault(path, str(error))]) from error
        found = [*found, *(note for part in method.parts for note in part.notes)]
        generators = dict(written.given) if written is not None else {}
        return Part(trained, maps_of(method), generators, cache.seconds if cache is not None else None, tuple(found))


def labelled(
    rows: Sequence[Row], features: Sequence[Features], settings: Settings
) -> tuple[Sequence[Features], Settings]:
    """What a training without a teacher gets: the labelled rows alone, for as many optimizer steps.

    An unlabelled row teaches it nothing, and batches of few labels would make it a weak control.
    """
    kept = [place for place, lacks in enumerate(lacking(rows)) if not lacks]
    if len(kept) == len(features):
        return features, settings
    return Selection(features, kept), of_steps(settings, steps_of(settings, len(rows)), len(kept))


def maps_of(method: Method) -> dict[str, list[list[int]]]:
    """The layer maps that terms resolved when they were bound; one that is drawn anew each epoch is none."""
    found = {}
    for name, weighted in method.weighted.items():
        pairs = getattr(weighted.term, "layer_map", None)
        if pairs:
            found[name] = [[int(one), int(other)] for one, other in pairs]
    return found


def best(students: list[Distilled]) -> Distilled:
    """The one that is deployed: the best by validation score, the first of equals."""
    return max(students, key=lambda student: student.model.task.metric.worth(student.score))
