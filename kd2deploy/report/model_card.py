"""The README of a deployed bundle: what it is, its measured figures and how to call it."""

from collections.abc import Mapping, Sequence

from kd2deploy.core.figures import count_of
from kd2deploy.core.verdict import Outcome
from kd2deploy.report.formats import ICONS, metric_unit, moment, size, with_interval
from kd2deploy.report.front_matter import front_matter, shown_command, without_places
from kd2deploy.report.markdown import environment, tidy
from kd2deploy.report.report import Report
from kd2deploy.report.tables import drop_chain, facts, gates, pairs, speedups

STANDS = {
    Outcome.PASS: "proven on {}",
    Outcome.FAIL: "which missed a limit on {}",
    Outcome.INCONCLUSIVE: "not proven on {}: the measurement is too noisy or too short to tell",
    Outcome.INVALID: "not proven on {}: the measurement breaks a rule and must not be used",
}
"""What a verdict says of the model, in half a sentence."""


def model_card(
    report: Report,
    snippet: str,
    *,
    name: str = "",
    license: str = "",
    pipeline: str = "",
    requirements: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> str:
    """Markdown for the bundle's README, with the YAML that a model hub reads at its top.

    `snippet` is Python code that serves it and `requirements` is what that needs; `pipeline` is the hub's name of what
    it does; `files` says what each file is.
    """
    shipped = report.deployed
    unit, _, suffix = metric_unit(report.task)
    measured: dict[str, str] = {}
    if shipped is not None:
        if shipped.metric and report.task:
            measured[report.task.metric] = with_interval(shipped.metric, unit, suffix=suffix)
        if shipped.timing:
            measured |= {
                "median latency": with_interval(shipped.timing.median, "ms"),
                "P99 latency": with_interval(shipped.timing.p99, "ms"),
            }
        measured |= {
            "size": size(shipped.size_mb),
            "precision": shipped.precision,
            "runtime": shipped.runtime,
            "sha256": shipped.sha256,
        }
    text = (
        environment()
        .get_template("model_card.md.jinja")
        .render(
            report=report,
            name=name or report.title,
            license=license,
            icons=ICONS,
            stands=stands(report),
            rows=rows(report),
            facts=facts(report),
            measured=pairs(
                "Of the deployed file, with 95 % intervals",
                {what: value for what, value in measured.items() if value},
            ),
            machine=pairs("Measured on", report.machine),
            versions=pairs("With", report.versions),
            gates=gates(report),
            speedups=speedups(report),
            drop_chain=drop_chain(report),
            files=pairs("In this folder", dict(files or {})),
            when=moment(report.finished or report.started),
            snippet=snippet,
            install=f"pip install {' '.join(requirements)}" if requirements else "",
            source=without_places(report.data.source) if report.data else "",
            command=shown_command(report.command),
        )
    )
    title = name or report.title
    return front_matter(report, name=title, pipeline=pipeline, license=license) + "\n" + tidy(text)


def stands(report: Report) -> str:
    """How the model stands on its target."""
    where = f"the target {report.target}" if report.target else "the machine it was measured on"
    words = STANDS[report.verdict.outcome] if report.verdict else "not judged on {}"
    return words.format(where)


def rows(report: Report) -> str:
    """`, 100 training rows, 20 evaluation rows`, as far as they are known."""
    known = report.data
    counts = {"training": known.train_rows, "evaluation": known.eval_rows} if known else {}
    return "".join(f", {count_of(count, f'{what} row')}" for what, count in counts.items() if count is not None)
