"""profile: networks and bundles timed side by side on a target; nothing is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kd2deploy.core.watcher import Silent, Watcher, in_hundredths
from kd2deploy.errors import MeasureError
from kd2deploy.exporters.bundle import MANIFEST, read_bundle
from kd2deploy.flows.given import Reading, feeds_of, network, reading_of
from kd2deploy.measure.latency import race, speedup
from kd2deploy.measure.machine import changed, describe_machine, preflight, state
from kd2deploy.measure.protocol import full
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe.resolve import load_target
from kd2deploy.report import Contender as Shown
from kd2deploy.report import Report, Speedup
from kd2deploy.report.pages import write_report
from kd2deploy.run import readable_os_errors, versions
from kd2deploy.stages.job import Model
from kd2deploy.stages.telling.figures import shown, timing_shown
from kd2deploy.stages.telling.plain import flat


def profile_alone(
    models: Sequence[str],
    target_name: str,
    data: str | None,
    task_name: str,
    columns: Mapping[str, str | None],
    out: Path | None,
    max_length: int | None = None,
    watcher: Watcher | None = None,
) -> Report:
    """Race networks and bundles on a target; speedups are against the first. Nothing is judged."""
    target = load_target(target_name, "--target")
    reading = reading_of(columns, max_length)
    named = {name: opened(name, task_name, reading) for name in models}
    first = next(iter(named.values()))
    feeds = feeds_of(first[1], target, data, columns, batch=target.workload.batch)
    before = state()
    checked = preflight(target, before)
    if checked.breaches:
        raise MeasureError("; ".join(checked.breaches))
    protocol = replace(full(), in_flight=target.workload.in_flight)
    contenders = [contender for contender, _ in named.values()]
    told = in_hundredths(watcher or Silent(), "timing")
    timings = race(contenders, first[1].task.spec(), target, feeds, protocol, told)
    failures = {name: timing.failure for name, timing in timings.items() if timing.failure}
    if len(failures) == len(timings):
        raise MeasureError("; ".join(f"{name}: {failure}" for name, failure in failures.items()))
    baseline = timings[models[0]]
    report = Report(
        title=f"latency on {target.name}",
        target=target.name,
        target_about=target.about,
        workload=f"batch {target.workload.batch}, " + ("real inputs" if data else "seeded inputs of a middling size"),
        contenders=tuple(
            Shown(
                name=name,
                role="teacher" if name == models[0] else "variant",
                precision=timings[name].describe.get("precision", contender.artifact.precision),
                runtime=timings[name].describe.get("runtime", ""),
                sha256=contender.artifact.sha256,
                size_mb=contender.artifact.weights_mb,
                timing=None if name in failures else timing_shown(timings[name]),
                note=failures.get(name, ""),
            )
            for name, (contender, _) in named.items()
        ),
        speedups=tuple(
            Speedup("eager", shown(speedup(baseline, timings[name]).interval), f"{models[0]} / {name}")
            for name in models[1:]
            if name not in failures and models[0] not in failures
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


def opened(name: str, task_name: str, reading: Reading) -> tuple[Contender, Model]:
    """A bundle's deployed file, or a network as PyTorch runs it."""
    if Path(name, MANIFEST).is_file():
        bundle = read_bundle(Path(name))
        model = Model(bundle.folder, bundle.artifact.sha256, bundle.task)
        return Contender(name, bundle.artifact, bundle.session), model
    model = network(name, task_name, reading)
    return Contender(name, model.artifact), model
