"""The order in which a report is told, once for every page: what each section is called, says and shows."""

from collections.abc import Iterable
from dataclasses import dataclass

from kd2deploy.core.examples import Shown
from kd2deploy.core.figures import count_of, percent
from kd2deploy.report import tables
from kd2deploy.report.formats import interval, metric_unit, moment, point, with_interval
from kd2deploy.report.report import Report
from kd2deploy.report.tables import Table

CAPTIONS = {
    "accuracy_latency": "Accuracy against latency. Bars are 95 % intervals; the best place is the upper left corner, "
    "or the lower left where less of the metric is better. The deployed artifact is outlined.",
    "latency": "How long one request takes. Each dot is an order statistic of the timed requests, each box the middle "
    "half of them; a percentile is marked only where enough requests were timed to state it.",
    "roofline": "What each artifact makes of the machine: operations per second against operations per byte of its "
    "weights. The lines are the measured roofs: on the left the memory's bandwidth, on the right the peak of products. "
    "Who stands above the left one has its weights in the caches.",
    "drop_chain": "The metric at every step from the teacher to the deployed bytes; the number above a point is what "
    "the step gained (+) or lost (-): more is better, also where less of the metric is. Bars are 95 % intervals.",
    "distillation": "Each line is one seed: the same network with the same budget, trained without and with the "
    "teacher.",
    "training_score": "The metric on validation rows while training. Colour and sign are the role, the dash the run.",
    "training_losses": "The terms of the loss while training, each on its own scale; colours as above.",
    "candidates": "Untrained candidates: a student that is too slow for the gate is rejected before it is trained.",
}
"""What stands below each figure, by the name of its function in `plots`."""


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    intro: str = ""
    figures: tuple[str, ...] = ()
    """Names of functions in `plots`; a page without figures leaves them out."""
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    """Tables that most readers skip."""
    pictures: tuple[Shown, ...] = ()
    """A page that has no place for pictures leaves them out."""
    code: tuple[tuple[str, str], ...] = ()
    """(what it is, text), shown as it stands."""

    @property
    def holds_something(self) -> bool:
        return bool(self.intro or self.notes or self.tables or self.folded or self.pictures or self.code)


def sections(report: Report) -> list[Section]:
    """Every section that has something to show, after the verdict."""
    told = (
        diagnosis(report),
        comparison(report),
        latency(report),
        limits(report),
        choice(report),
        drop(report),
        distilled(report),
        training(report),
        plan(report),
        examples(report),
        Section("layers", "Layer map", tables=_there(tables.layers(report))),
        data(report),
        Section("lineage", "Lineage", tables=_there(tables.lineage(report))),
        machine(report),
        again(report),
    )
    return [section for section in told if section.holds_something]


def _there(*found: Table | None) -> tuple[Table, ...]:
    return tuple(table for table in found if table is not None)


def _lines(*found: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(line for one in found for line in ([one] if isinstance(one, str) else one) if line)


def diagnosis(report: Report) -> Section:
    found = []
    for finding in report.findings:
        who = f"{finding.contender}: " if finding.contender else ""
        remedy = f" What to try: {finding.remedy}" if finding.remedy else ""
        found.append(f"{who}{finding.sentence}{remedy}")
    left_out = [f"Left out: {name} ({reason})" for name, reason in report.left_out.items()]
    return Section("diagnosis", "What to know", notes=_lines(found, report.warnings, left_out))


def comparison(report: Report) -> Section:
    return Section(
        "comparison",
        "Accuracy and speed",
        figures=("accuracy_latency",),
        tables=_there(
            tables.contenders(report), tables.floors(report), tables.speedups(report), tables.lengths(report)
        ),
        folded=_there(
            tables.class_drops(report),
            tables.metrics(report),
            tables.classes(report),
            *tables.by_class(report),
        ),
    )


def latency(report: Report) -> Section:
    return Section(
        "latency",
        "Latency",
        figures=("latency",),
        tables=_there(
            tables.medians_by_length(report),
            tables.per_unit(report),
            tables.end_to_end(report),
            tables.crowded(report),
            tables.phases(report),
            tables.costs(report),
        ),
        folded=_there(tables.sessions(report)),
    )


def limits(report: Report) -> Section:
    return Section(
        "roofline",
        "How near the machine's best",
        figures=("roofline",) if report.peaks is not None else (),
        folded=_there(tables.roofline(report)),
    )


def choice(report: Report) -> Section:
    """Left out where there was nothing to choose from."""
    if len(report.tried) < 2:
        return Section("choice", "The choice among ways to deploy")
    return Section("choice", "The choice among ways to deploy", tables=_there(tables.tried(report)))


def drop(report: Report) -> Section:
    return Section("drop", "Where the drop enters", figures=("drop_chain",), tables=_there(tables.drop_chain(report)))


def distilled(report: Report) -> Section:
    known = report.distillation
    if known is None:
        return Section("distillation", "What distillation brought")
    _, delta, suffix = metric_unit(report.task)
    gain = (
        f"Gain over the control: {with_interval(known.gain, delta, suffix=suffix, signed=True)}" if known.gain else ""
    )
    gap = ""
    if known.gap_closed:
        value, ends = known.gap_closed.value, interval(known.gap_closed, "share", places=0)
        closed = percent(value) if value is not None else point(known.gap_closed, "share")
        gap = f"Gap between control and teacher closed: {closed} {ends}".rstrip()
    return Section(
        "distillation",
        "What distillation brought",
        intro=" ".join(_lines(known.sentence, f"Method: {known.method}." if known.method else "")),
        figures=("distillation",),
        notes=_lines(gain, gap),
        tables=_there(tables.seeds(report)),
    )


def training(report: Report) -> Section:
    runs = len(report.curves)
    return Section(
        "training",
        "Training",
        intro=f"{count_of(runs, 'training run')}." if runs else "",
        notes=_lines(f"Generator: {report.generator}" if report.generator else ""),
        figures=("training_score", "training_losses"),
    )


def plan(report: Report) -> Section:
    return Section("plan", "The plan's candidates", figures=("candidates",), tables=_there(tables.candidates(report)))


def examples(report: Report) -> Section:
    """What the networks made of single rows."""
    page = "What each network made of a few evaluation rows; pictures stand on the HTML page."
    return Section(
        "examples",
        "To look at",
        intro=page if report.shown else "",
        tables=_there(tables.examples(report)),
        pictures=report.shown,
    )


def data(report: Report) -> Section:
    intro = ""
    if report.task:
        which = "" if report.task.higher_is_better else ", of which less is better"
        judged = any(one.metric for one in report.contenders)
        intro = f"Task: {report.task.name}{f', judged by {report.task.metric}{which}' if judged else ''}."
    warnings = report.data.warnings if report.data else ()
    return Section("data", "Task and data", intro=intro, notes=_lines(warnings), tables=_there(tables.data(report)))


def machine(report: Report) -> Section:
    return Section(
        "machine",
        "Machine and method",
        tables=_there(
            tables.pairs("The machine", report.machine),
            tables.pairs("How it was measured", report.protocol),
            tables.machine_state(report),
        ),
        folded=_there(tables.pairs("Versions", report.versions)),
    )


def again(report: Report) -> Section:
    dates = " to ".join(moment(date) for date in (report.started, report.finished) if date)
    seeds = ", ".join(str(seed) for seed in report.seeds)
    code = [("The exact command", report.command), ("The recipe", report.recipe)]
    return Section(
        "again",
        "Run it again",
        notes=_lines(f"Run: {dates}" if dates else "", f"Seeds: {seeds}" if seeds else ""),
        code=tuple((what, text) for what, text in code if text),
        tables=_there(tables.stages(report)),
    )


def subtitle(report: Report) -> str:
    """The target, one request and the date, in one line."""
    rows = report.data.eval_rows if report.data else None
    judged = f"{count_of(rows, 'evaluation row')}" if rows is not None else ""
    finished = moment(report.finished or report.started)
    target = f"target {report.target}" if report.target else ""
    return " · ".join(_lines(target, report.target_about, report.workload, judged, finished))
