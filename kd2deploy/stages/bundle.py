"""bundle: the student alone, with all that is needed to serve it, checked by opening it again."""

import ast
import itertools
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import numpy as np

from kd2deploy.core import Artifact, Target, open_session
from kd2deploy.core.serving import code_that_opens, serving
from kd2deploy.core.written import aside, put_in_place
from kd2deploy.errors import ConvertError
from kd2deploy.exporters.bundle import Contents, open_bundle, write_bundle
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.measure.agreement import agree
from kd2deploy.measure.scorer import in_row_order
from kd2deploy.report import Report, model_card
from kd2deploy.run import versions
from kd2deploy.stages.convert import Exported
from kd2deploy.stages.distill import Distilled
from kd2deploy.stages.export import Exports
from kd2deploy.stages.job import Job, encoded, sampled

CHECKED_ROWS = 16


def bundle(job: Job, report: Report, student: Distilled, exports: Exports, target: Target, place: Path) -> Path:
    """`place/bundle`, written aside and put in its place when it has answered as the student does."""
    deployed = exports.variants[exports.chosen]
    code = snippet(student, deployed)
    needed = requirements(code)
    folder = place / "bundle"
    made = aside(folder)
    write_bundle(
        made,
        student=student.model.folder,
        task=student.model.task,
        target=target,
        contents=Contents(
            deployed=deployed.artifact,
            files={
                "README.md": model_card(
                    report, code, name=report.title, pipeline=student.model.task.pipeline, requirements=needed
                ),
                "recipe.yaml": job.recipe.to_yaml(),
                "requirements.txt": lines(needed),
                "versions.txt": lines(f"{name}=={version}" for name, version in versions().items()),
                "report.json": report.to_json(),
            },
            artifacts={name: one.artifact for name, one in exports.variants.items()},
            sources=[graph for one in (deployed, *exports.variants.values()) for graph in sources_of(one)],
            session=deployed.session,
        ),
    )
    check(job, student, made, deployed, target)
    put_in_place(made, folder)
    return folder


def sources_of(one: Exported) -> tuple[Artifact, ...]:
    """The graphs that an engine is built anew from where it is stale: it belongs to one device, driver and library."""
    return one.chain[:-1] if serving(one.artifact).rebuilt else ()


def check(job: Job, student: Distilled, folder: Path, deployed: Exported, target: Target) -> None:
    """Raises ConvertError unless the bundle, opened as `predict` opens it, answers as the file that was judged."""
    task = student.model.task
    features = encoded(task, sampled(job.splits.validation, CHECKED_ROWS), student.model.folder)
    feeds = timing_feeds(task, features, 4, len(features) // 4 or 1)
    with open_bundle(folder) as session:
        ours = [session.run(feed) for feed in feeds]
    with open_session(deployed.artifact, task.ports, target, deployed.session) as judged:
        theirs = [judged.run(feed) for feed in feeds]
    names = [port.name for port in task.outputs]
    ends = np.cumsum([0, *(len(part[names[0]]) for part in theirs)])
    places = [range(start, end) for start, end in itertools.pairwise(ends.tolist())]
    one, other = (
        in_row_order([{name: part[name] for name in names} for part in parts], places) for parts in (theirs, ours)
    )
    found = agree(task, one, other)
    told = "cosine" if "cosine" in found.figures else "top1"  # whose answers flip where two are nearly as likely
    if found.figures.get(told, 1.0) < found.limits.get(told, 0.0):
        raise ConvertError(
            f"the bundle's file {found.sentence}; it was not put in place; the report is in {folder.parent}"
        )


def snippet(student: Distilled, deployed: Exported) -> str:
    """Plain code that serves the bundle's deployed file without kd2deploy, as it was judged, for its card."""
    task = student.model.task
    opening = code_that_opens(deployed.artifact, task.networks.auto, session=deployed.session)
    return task.snippet(opening, student.model.folder)


def requirements(code: str) -> list[str]:
    """What `pip` must install for `code`: the packages that it imports, in the versions that were measured."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    brought_by = metadata.packages_distributions()
    packages = {name for module in imported - sys.stdlib_module_names for name in brought_by.get(module, [module])}
    return [pinned(name) for name in sorted(packages)]


def pinned(package: str) -> str:
    """`NAME==VERSION`, without the mark of a build that no index holds (`+cpu`); the name alone if it is not here."""
    try:
        return f"{package}=={metadata.version(package).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        return package


def lines(found: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in found)
