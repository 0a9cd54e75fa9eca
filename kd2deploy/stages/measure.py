"""measure: accuracy and speed of the very same files, on the evaluation set and on real inputs.

Everything is opened in fresh processes. Latencies of all contenders are taken in one interleaved race; scores are kept
per example, so that the judge can compare in pairs.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kd2deploy.core import Artifact, Features, Feed, Row, Target, usable_cores
from kd2deploy.core.watcher import Watcher, in_hundredths
from kd2deploy.data.splits import splits_in
from kd2deploy.errors import Kd2DeployError
from kd2deploy.measure.accuracy import score, score_answers, timing_feeds
from kd2deploy.measure.feeds import exchange
from kd2deploy.measure.latency import Means, contradiction, race
from kd2deploy.measure.machine import changed, company, describe_machine, preflight, state
from kd2deploy.measure.processes import ended_with_their_workers
from kd2deploy.measure.protocol import CROWDED_SHARE, Protocol, full
from kd2deploy.measure.scorer import read_evaluation, write_evaluation
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.recipe import Recipe
from kd2deploy.run import SCRATCH, Stage, read_json, write_json
from kd2deploy.stages.field import Entry, Field
from kd2deploy.stages.job import Job, Model, encoded, for_target
from kd2deploy.stages.limits import Limits, limits
from kd2deploy.stages.served import served

LONGER = 4
"""So many times as long is throughput taken where a limit is set on it. Ours."""


@dataclass(frozen=True)
class Measured:
    """The field with what was measured of each, and what the machine did meanwhile."""

    field: Field
    machine: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    breaches: tuple[str, ...]
    """What makes the measurement INVALID."""
    notes: tuple[str, ...]
    limits: Limits | None = None
    """Of the machine; None where a device was measured."""
    company: tuple[str, ...] = ()
    """What others took of the machine meanwhile, beyond what a measurement bears; told among the notes."""


def measure(job: Job, field: Field, target: Target) -> Measured:
    """Score every contender on the evaluation set and race the timed ones."""
    protocol = protocol_for(job, field, target)
    stage = Stage(
        f"measure-{target.name}",
        spec={
            "contenders": [
                [one.name, one.artifact.sha256, dict(one.contender.options), one.timed, one.model.task.spec()]
                for one in field.entries
            ],
            "protocol": asdict(protocol),
            "end_to_end": job.recipe.measurement.end_to_end,
            **for_target(target),
        },
        parents={"data": job.splits.sha256},
        work=f"{__name__}.work",
        inputs={
            "contenders": [Measurable.of(entry).to_json() for entry in field.entries],
            "student": field.deployed.model.to_json(),
            "data": str(job.place_of(job.splits)),
            "target": asdict(target),
        },
        needs="target",
        keeps=f"{__name__}.is_sound",
    )
    done = job.run.carry_out(stage, job.watcher)
    found, timings = done.result, read_json(done.path("timings.json"))
    measured = tuple(
        filled_in(entry, done.path(scored_file(at)), timings, found["failures"])
        for at, entry in enumerate(field.entries)
    )
    return Measured(
        replace(field, entries=measured),
        found["machine"],
        found["before"],
        found["after"],
        tuple(found["breaches"]),
        tuple(found["notes"]),
        Limits.from_json(found["limits"]) if found["limits"] else None,
        tuple(found["company"]),
    )


def protocol_for(job: Job, field: Field, target: Target) -> Protocol:
    """As the recipe asks; the tail is timed long enough for P99 only where a limit asks for it, and of the student."""
    wanted = job.recipe.measurement
    gated = tuple(entry.name for entry in field.entries if entry.timed and entry.role in ("student", "variant"))
    protocol = full(0.99 if target.gates.p99_ms is not None else 0.5, gated)
    return replace(
        protocol,
        processes=wanted.processes,
        block_s=wanted.block_s,
        throughput_s=throughput_s(job.recipe, target),
        crowded_share=CROWDED_SHARE if wanted.neighbour else 0.0,
        in_flight=target.workload.in_flight,
        stop=replace(protocol.stop, cap_s=wanted.cap_s),
    )


def throughput_s(recipe: Recipe, target: Target) -> float:
    """Seconds that throughput is taken over, in each process."""
    return recipe.measurement.throughput_s * (LONGER if target.gates.min_throughput is not None else 1)


def filled_in(entry: Entry, scored: Path, timings: Mapping[str, Any], failures: Mapping[str, str]) -> Entry:
    """The entry with what was measured of it."""
    found = read_evaluation(scored, entry.model.task.metric)
    timing = Timing.from_json(timings[entry.name]) if entry.name in timings else None
    return replace(
        entry,
        scores=found.scores if found else None,
        kept=found.kept if found else {},
        timing=timing if timing is not None and not timing.failure else None,
        described=dict(timing.describe) if timing is not None else {},
        failure=failures.get(entry.name, ""),
    )


def is_sound(result: Mapping[str, Any]) -> bool:
    """Whether nothing stood in the measurement's way; what did may be gone when the same command is run again."""
    return not result["breaches"] and not result["failures"]


@dataclass(frozen=True)
class Measurable:
    """One contender as the stage's work is given it."""

    contender: Contender
    model: Model
    timed: bool

    @classmethod
    def of(cls, entry: Entry) -> "Measurable":
        return cls(entry.contender, entry.model, entry.timed)

    @property
    def name(self) -> str:
        return self.contender.name

    @property
    def runs(self) -> bool:
        """Whether it is a network that answers here, and not answers alone."""
        return bool(self.contender.artifact.opened_by)

    def to_json(self) -> dict[str, Any]:
        own = {"artifact": self.contender.artifact.to_json(), "options": dict(self.contender.options)}
        return {"name": self.name, **own, "model": self.model.to_json(), "timed": self.timed}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Measurable":
        contender = Contender(found["name"], Artifact.from_json(found["artifact"]), found["options"])
        return cls(contender, Model.from_json(found["model"]), found["timed"])


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    target, rows = Target.from_json(inputs["target"]), splits_in(Path(inputs["data"])).eval
    protocol = TypeAdapter(Protocol).validate_python(spec["protocol"])
    before = state()
    checked = preflight(target, before)
    for note in checked.notes:  # early: whoever sees it may still do something about it
        tell.warn(note)
    entries = [Measurable.from_json(one) for one in inputs["contenders"]]
    failures = scored(entries, rows, target, folder, tell)
    timed = [entry for entry in entries if entry.timed and entry.name not in failures]
    student = Model.from_json(inputs["student"])
    shared = requests(rows, student, target)
    with exchange(folder / SCRATCH) as place:
        contenders = [on_same_rows(rows, entry, student, target) for entry in timed]
        if spec["end_to_end"]:
            contenders = served(contenders, [entry.model for entry in timed], rows, target, place)
        timings = race(
            contenders,
            student.task.spec(),
            target,
            shared,
            protocol,
            in_hundredths(tell, "timing"),
            Means(folder / SCRATCH),
        )
    contradictions = [said for timing in timings.values() if (said := contradiction(timing, protocol.in_flight))]
    failures.update({name: timing.failure for name, timing in timings.items() if timing.failure})
    after = state()
    asked = {
        entry.model.sha256: (entry.model, one.feeds or shared) for entry, one in zip(timed, contenders, strict=True)
    }
    write_json(folder / "timings.json", {name: timing.to_json() for name, timing in timings.items()})
    return {
        "failures": failures,
        "machine": describe_machine().to_json(),
        "before": before.to_json(),
        "after": after.to_json(),
        "breaches": list(checked.breaches),
        "notes": [*checked.notes, *changed(before, after), *contradictions],
        "limits": limits(target, asked).to_json() if target.device == "cpu" and timed else None,
        "company": company(before, after),
    }


def scored(
    entries: Sequence[Measurable], rows: Sequence[Row], target: Target, folder: Path, tell: Watcher
) -> dict[str, str]:
    """Score all on the evaluation rows, several at a time: nothing is timed here. The failures by name."""
    failures: dict[str, str] = {}
    read: dict[Path, Sequence[Features]] = {}
    for entry in entries:
        model = entry.model
        if entry.runs and model.folder not in read:
            read[model.folder] = encoded(model.task, rows, model.folder)

    def one(at: int) -> None:
        entry = entries[at]
        found = None
        try:
            if entry.runs:
                features, scratch = read[entry.model.folder], folder / SCRATCH
                found = score(entry.contender, entry.model.task, target, features, rows, scratch=scratch)
            else:
                found = score_answers(entry.contender.artifact.verify().path, entry.model.task, rows)
        except Kd2DeployError as error:
            failures[entry.name] = str(error)
        write_evaluation(found, folder / scored_file(at))

    tell.advance("scoring", 0, len(entries))
    with ended_with_their_workers(ThreadPoolExecutor(usable_cores())) as pool:
        for done, _ in enumerate(pool.map(one, range(len(entries))), start=1):
            tell.advance("scoring", done, len(entries))
    return failures


def requests(rows: Sequence[Row], model: Model, target: Target) -> list[Feed]:
    """Requests drawn from the evaluation rows, the same examples for every network, as this one reads them."""
    features = encoded(model.task, rows, model.folder)
    return timing_feeds(model.task, features, target.workload.batch, target.workload.inputs)


def on_same_rows(rows: Sequence[Row], entry: Measurable, student: Model, target: Target) -> Contender:
    """The contender; with requests of its own where its network reads other inputs than the student."""
    own = entry.model
    if own.task.spec() == student.task.spec() and own.task.reader.reads_alike(own.folder, student.folder):
        return entry.contender
    return replace(entry.contender, task_spec=own.task.spec(), feeds=requests(rows, own, target))


def scored_file(at: int) -> str:
    """Where what was scored of the contender at a place stands."""
    return f"scored-{at}.npz"
