"""Single steps on their own inputs: export a network, time networks side by side, ask a bundle."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.cli.flags import guessed, task_called
from kd2deploy.core import Features, Feed, Target, Task, build_task
from kd2deploy.data.files import files
from kd2deploy.errors import ConvertError, DataError, MeasureError, ModelError, SessionError
from kd2deploy.exporters.bundle import MANIFEST, open_bundle, read_bundle
from kd2deploy.exporters.combinations import refusal
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.measure.latency import race, speedup
from kd2deploy.measure.machine import changed, describe_machine, preflight, state
from kd2deploy.measure.protocol import full
from kd2deploy.measure.timing import Contender
from kd2deploy.pack import device_is_here, split_steps
from kd2deploy.pipeline import flat, write
from kd2deploy.progress import Silent, Watcher, in_hundredths
from kd2deploy.report import Contender as Shown
from kd2deploy.report import Report, Speedup
from kd2deploy.resolve import load_target
from kd2deploy.run import readable_os_errors, versions
from kd2deploy.stages.export import convert
from kd2deploy.stages.job import Model, encoded, model_at
from kd2deploy.stages.judge import weights_mb
from kd2deploy.stages.origin import plain
from kd2deploy.stages.told import shown, timing_shown
from kd2deploy.tasks._folder import read_config
from kd2deploy.train.checkpoint import locate

Reading = Mapping[str, Any]
"""Arguments of the task beside its classes."""
SYNTHETIC = 32
"""Seeded inputs where no data is given."""
ROWS = 512


def export_alone(
    model: str,
    out: Path,
    target_name: str,
    variants: Sequence[str] | None,
    data: str | None,
    task_name: str,
    columns: Mapping[str, str | None],
    max_length: int | None = None,
) -> list[str]:
    """Write a target's variants of a network to a folder; a line for each. Raises ConvertError if none can be made."""
    target = load_target(target_name, "--target")
    unknown = [name for name in variants or () if name not in target.variants]
    if unknown:
        raise ConvertError(f"target {target.name} has no variant {unknown[0]!r}: {', '.join(target.variants)}")
    found = network(model, task_name, reading_of(columns, max_length))
    samples = feeds_of(found, target, data, columns, batch=8)
    made_with = samples_hash(samples, versions())
    lines, failed = [], []
    with readable_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in variants or target.variants:
            variant = target.variants[name]
            steps, later = (variant.steps, ()) if device_is_here(target) else split_steps(variant)
            try:
                if refusal(target, variant) or not steps:
                    raise ConvertError(refusal(target, variant) or "runs the network as it is: nothing to export")
                one = convert(found, target, name, replace(variant, steps=steps), out, samples, made_with)
                rest = f"; on the device: {', '.join(str(step['use']) for step in later)}" if later else ""
                size = f"{one.artifact.size_mb:.1f} MB, {one.artifact.precision}"
                lines.append(f"{name}: {one.artifact.path} ({size}){rest}")
            except (ConvertError, SessionError) as error:
                failed.append(f"{name}: left out, {error}")
    if not lines:
        raise ConvertError("\n".join(failed))
    return lines + failed


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
                size_mb=weights_mb(contender.artifact),
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
        machine={key: plain(value) for key, value in flat(describe_machine().to_json()).items()},
        warnings=(*checked.notes, *changed(before, state())),
        versions=versions(),
    )
    if out is not None:
        with readable_os_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            write(report, out)
    return report


def predict_alone(folder: Path, given: Iterable[str], other: str | None) -> Iterator[dict[str, Any]]:
    """The deployed file's answers, each as soon as its input is there, one by one as they would be served; `notes` say
    where little of the input was read."""
    bundle = read_bundle(folder)
    with open_bundle(folder) as session:
        for text in given:
            row = {**bundle.task.row(text, other), "index": 0}
            doubts = bundle.task.reading([row], folder).doubts
            noted = {"notes": list(doubts)} if doubts else {}
            found = bundle.task.answer(session.run(bundle.task.feed(encoded(bundle.task, [row], folder))))
            yield from ({**answer, **noted} for answer in found)


def reading_of(columns: Mapping[str, str | None], max_length: int | None) -> Reading:
    """How a network reads its inputs, as far as its own configuration does not say: pairs, and how much of a text."""
    said = {"pair": True if columns.get("text_pair") else None, "max_length": max_length}
    return {name: value for name, value in said.items() if value is not None}


def network(name: str, task_name: str, reading: Reading) -> Model:
    """A fine-tuned network with the task that its bundle or its own configuration describes. Raises ModelError."""
    if Path(name, MANIFEST).is_file():
        return model_at(Path(name), read_bundle(Path(name)).task)
    folder = locate(name)
    config = read_config(folder)
    labels = config.get("id2label") or {}
    ordered = [str(labels[key]) for key in sorted(labels, key=int)]
    if config.get("problem_type") == "regression" or len(ordered) == 1:  # one output is a number, not a class
        ordered = []
    kind = task_called(task_name)  # a class of one's own may be named here: whoever types its name trusts it
    try:
        task = build_task({"use": task_name, "labels": ordered, **reading})
    except ModelError as error:
        raise ModelError(f"{name} does not fit the task {kind.name!r}: {error}; choose another with --task") from error
    task.check_inputs(folder)
    return model_at(folder, task)


def opened(name: str, task_name: str, reading: Reading) -> tuple[Contender, Model]:
    """A bundle's deployed file, or a network as PyTorch runs it."""
    if Path(name, MANIFEST).is_file():
        bundle = read_bundle(Path(name))
        model = Model(bundle.folder, bundle.artifact.sha256, bundle.task)
        return Contender(name, bundle.artifact, bundle.session), model
    model = network(name, task_name, reading)
    return Contender(name, model.artifact), model


def feeds_of(
    model: Model, target: Target, data: str | None, columns: Mapping[str, str | None], batch: int
) -> list[Feed]:
    """Real inputs where there is data, else seeded ones of a middling size."""
    if data is None:
        return synthetic(model, batch)
    return timing_feeds(model.task, rows_of(model.task, data, columns, model.folder), batch, target.workload.inputs)


def samples_hash(samples: Sequence[Feed], versions: Mapping[str, str]) -> str:
    """What a conversion depends on beside network and steps: the inputs that calibrate it, and the versions."""
    whole = hashlib.sha256(repr(sorted(versions.items())).encode())
    for feed in samples:
        for name, array in sorted(feed.items()):
            whole.update(f"{name}{array.dtype}{array.shape}".encode())
            whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def rows_of(task: Task, data: str, columns: Mapping[str, str | None], folder: Path) -> Sequence[Features]:
    rows = files(data, data, **columns_of(task, data, columns)).eval[:ROWS]
    if not rows:
        raise DataError(f"{data} holds no rows; give a file with at least one")
    unlabelled = [{**row, "label": None, "index": place} for place, row in enumerate(rows)]
    return encoded(task, unlabelled, folder)


def columns_of(task: Task, data: str, columns: Mapping[str, str | None]) -> dict[str, Any]:
    """The columns that were named, and the usual names of the others; no label is needed."""
    return guessed(type(task), Path(data), columns, also=())


def synthetic(model: Model, batch: int) -> list[Feed]:
    net = model.task.load(model.folder)
    example = model.task.example(net, batch)
    return [{port.name: example[port.name].numpy() for port in model.task.inputs} for _ in range(SYNTHETIC)]
