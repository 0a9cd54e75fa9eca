"""measure: accuracy and speed of the very same files, on the evaluation set and on real inputs.

Everything is opened in fresh processes. Latencies of all contenders are taken in one interleaved race; scores are kept
per example, so that the judge can compare in pairs.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Features, Feed, Scores, Target, usable_cores
from kd2deploy.core.watcher import in_hundredths
from kd2deploy.errors import Kd2DeployError
from kd2deploy.measure.accuracy import score, timing_feeds
from kd2deploy.measure.latency import contradiction, race
from kd2deploy.measure.machine import changed, describe_machine, preflight, state
from kd2deploy.measure.processes import ended_with_their_workers
from kd2deploy.measure.protocol import Protocol, full
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.report import Role
from kd2deploy.run import SCRATCH, read_json, write_json
from kd2deploy.stages.export import Exported
from kd2deploy.stages.job import Job, Model, encoded, for_target


@dataclass(frozen=True)
class Entry:
    """One contender of the measurement."""

    contender: Contender
    model: Model
    """The network it was made of: how rows are read for it."""
    role: Role
    timed: bool = True

    @property
    def name(self) -> str:
        return self.contender.name


@dataclass(frozen=True)
class Measured:
    """What was measured, by contender."""

    scores: Mapping[str, Scores]
    outputs: Mapping[str, Mapping[str, Any]]
    timings: Mapping[str, Timing]
    failures: Mapping[str, str]
    """Contenders that could not be opened, scored or timed."""
    machine: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    breaches: tuple[str, ...]
    """What makes the measurement INVALID."""
    notes: tuple[str, ...]


def measure(job: Job, entries: list[Entry], target: Target) -> Measured:
    """Score every contender on the evaluation set and race the timed ones."""
    percentile = 0.99 if target.gates.p99_ms is not None else 0.5
    wanted = job.recipe.measurement
    students = tuple(entry.name for entry in entries if entry.role in ("student", "variant"))
    protocol = full(percentile, students)
    protocol = replace(
        protocol,
        processes=wanted.processes,
        block_s=wanted.block_s,
        throughput_s=3 * wanted.block_s,
        in_flight=target.workload.in_flight,
        stop=replace(protocol.stop, cap_s=wanted.cap_s),
    )
    spec = {
        "contenders": [
            [entry.name, entry.contender.artifact.sha256, dict(entry.contender.options), entry.timed]
            for entry in entries
        ],
        "protocol": asdict(protocol),
        **for_target(target),
    }
    parents = {"data": job.splits.sha256}
    stage = job.run.stage(
        f"measure-{target.name}", spec, parents, lambda folder: work(job, entries, target, protocol, folder), is_sound
    )
    outputs = {entry.name: read_outputs(stage.path(f"outputs-{at}.npz")) for at, entry in enumerate(entries)}
    scored = {
        entry.name: entry.model.task.score(outputs[entry.name], job.splits.eval)
        for entry in entries
        if outputs[entry.name]
    }
    timings = {name: Timing.from_json(found) for name, found in read_json(stage.path("timings.json")).items()}
    found = stage.result
    return Measured(
        scored,
        outputs,
        timings,
        found["failures"],
        found["machine"],
        found["before"],
        found["after"],
        tuple(found["breaches"]),
        tuple(found["notes"]),
    )


def is_sound(result: Mapping[str, Any]) -> bool:
    """Whether nothing stood in the measurement's way; what did may be gone when the same command is run again."""
    return not result["breaches"] and not result["failures"]


def links(deployed: Exported, student: Model, entries: Sequence[Entry]) -> list[Entry]:
    """What the deployed file was made from, step by step: scored, so that the report shows where the score drops."""
    known = {entry.contender.artifact.sha256: entry for entry in entries}
    found = []
    for artifact in deployed.chain[:-1]:
        name = f"{deployed.name} / {artifact.made_by.rpartition('.')[2]}"
        options = deployed.session if artifact.opened_by == deployed.artifact.opened_by else {}
        scored = Entry(Contender(name, artifact, options), student, "variant", timed=False)
        found.append(known.get(artifact.sha256, scored))
    return found


def work(job: Job, entries: list[Entry], target: Target, protocol: Protocol, folder: Path) -> Mapping[str, Any]:
    before = state()
    checked = preflight(target, before)
    for note in checked.notes:  # early: whoever sees it may still do something about it
        job.watcher.warn(note)
    failures = scored(job, entries, target, folder)
    timed = [entry for entry in entries if entry.timed and entry.name not in failures]
    student = next(entry.model for entry in entries if entry.role == "student")
    timings = race(
        [on_same_rows(job, entry, student, target) for entry in timed],
        student.task.spec(),
        target,
        requests(job, student, target),
        protocol,
        in_hundredths(job.watcher, "timing"),
        scratch=folder / SCRATCH,
    )
    contradictions = [said for timing in timings.values() if (said := contradiction(timing, protocol.in_flight))]
    failures.update({name: timing.failure for name, timing in timings.items() if timing.failure})
    after = state()
    write_json(folder / "timings.json", {name: timing.to_json() for name, timing in timings.items()})
    return {
        "failures": failures,
        "machine": describe_machine().to_json(),
        "before": before.to_json(),
        "after": after.to_json(),
        "breaches": list(checked.breaches),
        "notes": [*checked.notes, *changed(before, after), *contradictions],
    }


def scored(job: Job, entries: list[Entry], target: Target, folder: Path) -> dict[str, str]:
    """Write all outputs on the evaluation set; the failures by name. Several at a time: nothing is timed here."""
    failures: dict[str, str] = {}
    read: dict[Path, Sequence[Features]] = {}
    for entry in entries:
        model = entry.model
        if model.folder not in read:
            read[model.folder] = encoded(model.task, job.splits.eval, model.folder)

    def one(at: int) -> None:
        entry = entries[at]
        outputs: Mapping[str, Any] = {}
        try:
            features, scratch = read[entry.model.folder], folder / SCRATCH
            found = score(entry.contender, entry.model.task, target, features, job.splits.eval, scratch=scratch)
            outputs = found.outputs
        except Kd2DeployError as error:
            failures[entry.name] = str(error)
        np.savez(folder / f"outputs-{at}.npz", allow_pickle=False, **outputs)

    job.watcher.advance("scoring", 0, len(entries))
    with ended_with_their_workers(ThreadPoolExecutor(usable_cores())) as pool:
        for done, _ in enumerate(pool.map(one, range(len(entries))), start=1):
            job.watcher.advance("scoring", done, len(entries))
    return failures


def requests(job: Job, model: Model, target: Target) -> list[Feed]:
    """Requests drawn from the evaluation set, the same examples for every network, as this one reads them."""
    features = encoded(model.task, job.splits.eval, model.folder)
    return timing_feeds(model.task, features, target.workload.batch, target.workload.inputs)


def on_same_rows(job: Job, entry: Entry, student: Model, target: Target) -> Contender:
    """The contender; with requests of its own where its network reads other inputs than the student."""
    own = entry.model
    if own.task.spec() == student.task.spec() and own.task.reads_alike(own.folder, student.folder):
        return entry.contender
    return replace(entry.contender, task_spec=own.task.spec(), feeds=requests(job, own, target))


def read_outputs(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
