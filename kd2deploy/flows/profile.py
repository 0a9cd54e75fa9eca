"""profile: networks, bundles and exported files timed side by side on a target; nothing is judged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kd2deploy.core import Row, SizeUnit, Target
from kd2deploy.core.members import holds_network
from kd2deploy.core.speedups import Speedup
from kd2deploy.core.watcher import Silent, Watcher, in_hundredths
from kd2deploy.errors import MeasureError
from kd2deploy.exporters.bundle import MANIFEST, read_bundle
from kd2deploy.flows.exported import files_at, home_of
from kd2deploy.flows.given import Given, network, requests_of, rows_of
from kd2deploy.measure.end_to_end import end_to_end_speedup
from kd2deploy.measure.feeds import exchange
from kd2deploy.measure.intervals import shown
from kd2deploy.measure.latency import race, speedup
from kd2deploy.measure.machine import changed, describe_machine, preflight, state
from kd2deploy.measure.protocol import full
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.recipe.resolve import load_target
from kd2deploy.report import Measurement, Report, Role, TaskInfo
from kd2deploy.report.pages import write_report
from kd2deploy.run import readable_os_errors, versions
from kd2deploy.stages.job import Model, info_of
from kd2deploy.stages.served import served
from kd2deploy.stages.telling.figures import in_unit, timing_shown
from kd2deploy.stages.telling.plain import flat


def profile_alone(
    models: Sequence[str], target_name: str, given: Given, out: Path | None, watcher: Watcher | None = None
) -> Report:
    """Race networks, bundles and exported files on a target; speedups are against the first. Nothing is judged."""
    target = load_target(target_name, "--target")
    named = {name: one for place in models for name, one in opened(place, given).items()}
    first, baseline = next(iter(named.items()))
    rows = {kind: rows_of(kind, given) for kind in {type(one.model.task) for one in named.values()}}
    own = rows[type(baseline.model.task)]
    feeds = requests_of(baseline.model, target, own, batch=target.workload.batch)
    before = state()
    checked = preflight(target, before)
    if checked.breaches:
        raise MeasureError("; ".join(checked.breaches))
    protocol = replace(full(), in_flight=target.workload.in_flight)
    contenders = [reading_its_own(one, target, rows[type(one.model.task)]) for one in named.values()]
    told = in_hundredths(watcher or Silent(), "timing")
    with exchange(None) as place:
        if own is not None:
            contenders = served(contenders, [one.model for one in named.values()], own, target, place)
        timings = race(contenders, baseline.model.task.spec(), target, feeds, protocol, told)
    failures = {name: timing.failure for name, timing in timings.items() if timing.failure}
    if len(failures) == len(timings):
        raise MeasureError("; ".join(f"{name}: {failure}" for name, failure in failures.items()))
    task, unit = told_of([one.model for one in named.values()])
    report = Report(
        title=f"latency on {target.name}",
        task=task,
        target=target.name,
        target_about=target.about,
        workload=f"batch {target.workload.batch}, "
        + ("real inputs" if given.data else "seeded inputs of a middling size"),
        contenders=tuple(
            Measurement(
                name=name,
                role=one.role,
                precision=timings[name].describe.get("precision", one.contender.artifact.precision),
                runtime=timings[name].describe.get("runtime", ""),
                sha256=one.contender.artifact.sha256,
                size_mb=one.contender.artifact.weights_mb,
                timing=None if name in failures else timing_shown(timings[name], unit=unit),
                note=failures.get(name, ""),
            )
            for name, one in named.items()
        ),
        speedups=tuple(
            between(first, timings[first], name, timings[name])
            for name in named
            if name != first and not {first, name} & failures.keys()
        ),
        machine=flat(describe_machine().to_json()),
        warnings=(*checked.notes, *changed(before, state())),
        versions=versions(),
    )
    if out is not None:
        with readable_os_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            write_report(report, out)
    return report


def told_of(models: Sequence[Model]) -> tuple[TaskInfo | None, SizeUnit | None]:
    """The task of all of them, and the unit that their inputs are told in; None where they differ in it."""
    tasks = {model.task.name: model.task for model in models}
    units = {model.task.reader.size_unit(model.folder) for model in models}
    if len(tasks) > 1 or len(units) > 1:
        return None, None
    (task,), (unit,) = tasks.values(), units
    return in_unit(info_of(task, ()), unit), unit


def between(first: str, slow: Timing, name: str, fast: Timing) -> Speedup:
    """How much faster one is than the first, and end to end where both were asked so."""
    whole = end_to_end_speedup(slow, fast)
    told = shown(whole.interval) if whole else None
    return Speedup("first", shown(speedup(slow, fast).interval), f"{first} / {name}", end_to_end=told)


@dataclass(frozen=True)
class Opened:
    """What was named by its place: the file to time, and the network that it was made of."""

    contender: Contender
    model: Model
    role: Role


def reading_its_own(one: Opened, target: Target, rows: Sequence[Row] | None) -> Contender:
    """The contender with the same examples as its own network reads them: tokens and inputs may be others."""
    feeds = requests_of(one.model, target, rows, batch=target.workload.batch)
    return replace(one.contender, task_spec=one.model.task.spec(), feeds=feeds)


def opened(name: str, given: Given) -> dict[str, Opened]:
    """A bundle's deployed file, exported files, or a network as PyTorch runs it, each with its network."""
    if Path(name, MANIFEST).is_file():
        bundle = read_bundle(Path(name))
        model = Model(bundle.folder, bundle.artifact.sha256, bundle.task)
        return {name: Opened(Contender(name, bundle.artifact, bundle.session), model, "bundle")}
    if Path(name).exists() and not holds_network(Path(name)) and home_of(Path(name)) is not None:
        found = files_at(Path(name))
        called = {variant: name if len(found) == 1 else f"{name}: {variant}" for variant in found}
        return {
            called[variant]: Opened(Contender(called[variant], one.artifact, one.session), model, "exported")
            for variant, (one, model) in found.items()
        }
    model = network(name, given.task, given.reading)
    return {name: Opened(Contender(name, model.artifact), model, "network")}
