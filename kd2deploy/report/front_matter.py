"""What a model hub reads of a card: the YAML at its top, by the hub's own library. And what strangers need not read."""

import re

from kd2deploy.report.report import Report

PLACE = re.compile(r"(?<![\w./:~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\",;/\\]+[/\\])+")
"""The folders of an absolute path; what they lead to follows."""


def without_places(text: str) -> str:
    """Text in which every absolute path is its last part alone: a card is read by strangers."""
    return PLACE.sub("", text)


def shown_command(command: str) -> str:
    """The command as anyone would type it."""
    return re.sub(r"^\S*__main__\.py\b", "kd2deploy", without_places(command))


def front_matter(report: Report, *, name: str, pipeline: str = "", license: str = "") -> str:
    """Between two lines of dashes: what the model does, by which file, and its score as an evaluation result."""
    from huggingface_hub import EvalResult, ModelCardData

    shipped = report.deployed
    results = []
    if shipped is not None and shipped.metric is not None and shipped.metric.value is not None and report.task:
        source = without_places(report.data.source) if report.data else "not named"
        results = [
            EvalResult(
                task_type=pipeline or report.task.name,
                dataset_type="evaluation rows",
                dataset_name=source,
                metric_type=report.task.metric,
                metric_name=report.task.metric,
                metric_value=round(shipped.metric.value, 6),
            )
        ]
    runtime = shipped.runtime.split()[0] if shipped is not None and shipped.runtime else ""
    written = ModelCardData(
        model_name=name,
        pipeline_tag=pipeline or None,
        library_name="transformers",
        license=license or None,
        metrics=[report.task.metric] if report.task else None,
        tags=[tag for tag in ("kd2deploy", "distillation", runtime, shipped.precision if shipped else "") if tag],
        eval_results=results or None,
    )
    return f"---\n{written.to_yaml()}\n---\n"
