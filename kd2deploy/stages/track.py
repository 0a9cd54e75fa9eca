"""What the trackers that a recipe names are told: each training as it goes, and each verdict with its report."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kd2deploy.core.ranks import leads
from kd2deploy.report import Report
from kd2deploy.run import stage_of
from kd2deploy.train.engine import VALIDATION
from kd2deploy.train.settings import Settings
from kd2deploy.train.trackers import Told, Trackers


@contextmanager
def tracked(
    trackers: Trackers, metric: str, folder: Path, method: Any, settings: Settings, which: str = ""
) -> Iterator[Told]:
    """The trackers' run for a training in a stage's `folder`; `which` tells it from others in the same stage. Of
    processes that train together the first tells them."""
    if not leads():
        yield lambda step, figures: None
        return
    name = stage_of(folder) + (f"-{which.replace(' ', '')}" if which else "")
    with trackers.training(name, {"method": str(method), **asdict(settings)}) as told:

        def renamed(step: int, figures: Mapping[str, float]) -> None:
            told(step, {f"{key} {metric}" if key == VALIDATION else key: v for key, v in figures.items()})

        yield renamed


def tell_verdict(trackers: Trackers, report: Report, folder: Path) -> None:
    """The figures behind a verdict and the pages in `folder`; nothing for a run that stopped before the verdict."""
    if trackers.names and report.verdict is not None:
        sentence, pages = report.verdict.sentence, (folder / "report.html", folder / "report.md")
        trackers.verdict(f"verdict-{report.target}", figures(report), sentence, *pages)


def figures(report: Report) -> dict[str, float]:
    """The estimate of every gate and speedup, with their intervals; score and median latency of every contender."""
    found: dict[str, float | None] = {}
    for gate in report.verdict.gates if report.verdict else ():
        found |= {f"gate/{gate.name}": gate.estimate.value, f"gate/{gate.name}/limit": gate.limit}
        found |= {f"gate/{gate.name}/low": gate.estimate.low, f"gate/{gate.name}/high": gate.estimate.high}
    for speedup in report.speedups:
        found[f"speedup/{speedup.baseline}"] = speedup.ratio.value
    for one in report.contenders:
        found[f"score/{one.name}"] = one.metric.value if one.metric else None
        found[f"median ms/{one.name}"] = one.timing.median.value if one.timing else None
        found[f"size MB/{one.name}"] = one.size_mb
    return {name: value for name, value in found.items() if value is not None}
