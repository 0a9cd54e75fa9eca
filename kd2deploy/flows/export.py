"""Export for a target: its files alone, or, where no such device is here, a pack that is judged there.

A pack needs the student, its teacher and the data. A finished run knows them all; a bundle knows the student and its
recipe, and for a network of one's own the flags say the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kd2deploy.core import Target
from kd2deploy.core.watcher import Watcher
from kd2deploy.errors import Fault, RecipeError, RunError
from kd2deploy.exporters.bundle import MANIFEST, Bundle, read_bundle
from kd2deploy.flows.compress import packed
from kd2deploy.flows.files import export_alone
from kd2deploy.flows.given import Given, columns_of
from kd2deploy.flows.pack import device_is_here, graph_places, refuse_filled
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.from_flags import recipe_from, require_there, set_only
from kd2deploy.recipe.resolve import load_target
from kd2deploy.report import Distillation, Report
from kd2deploy.run import STAGES, Run, readable_os_errors
from kd2deploy.stages.choose import chosen_for
from kd2deploy.stages.distill import Distilled
from kd2deploy.stages.executor import executor_for
from kd2deploy.stages.job import model_at
from kd2deploy.stages.made_data import with_made_data
from kd2deploy.stages.plan import plan
from kd2deploy.stages.prepare import begun
from kd2deploy.stages.student import start
from kd2deploy.stages.students import Trainings, train_all
from kd2deploy.stages.teacher import teach
from kd2deploy.stages.telling import described, sign, with_training
from kd2deploy.train.checkpoint import locate

REPORT, RECIPE = "report.json", "recipe.yaml"
FLAGS = {"teacher": "--teacher", "train": "--train", "eval": "--data"}


@dataclass(frozen=True)
class Wanted:
    """What `kd2deploy export` is given besides the network."""

    out: Path
    target: str
    variants: list[str] | None
    teacher: str | None
    train: str | None
    data: str | None
    """The rows to judge by; where no pack is written, those to calibrate on."""
    task: str
    columns: Mapping[str, str | None]
    gates: Mapping[str, float | None]
    max_length: int | None = None
    """Tokens read of a text, where no bundle says it."""


def export(model: str | None, source: Path | None, wanted: Wanted, watcher: Watcher) -> list[str]:
    """What was written, in lines. `source` is a run's folder or a bundle, in the place of a network's name."""
    if (model is None) == (source is None):
        raise RecipeError([Fault("--from", "give a network, or --from and a run's folder or a bundle")])
    if model is None and source is not None and not (source / MANIFEST).is_file():
        if not device_is_here(load_target(wanted.target, "--target")):
            return said(pack_of_run(source, wanted, watcher), wanted)
        source = source / "bundle"
    name = model or str(source)
    if device_is_here(load_target(wanted.target, "--target")):
        return files_of(name, wanted)
    spec, lacking = known(name, wanted)
    if lacking:
        return [*files_of(name, wanted), f"no pack to judge on the device: that needs {', '.join(lacking)} too"]
    return said(pack_of_student(name, Recipe.parse(spec), wanted, watcher), wanted)


def files_of(name: str, wanted: Wanted) -> list[str]:
    given = Given(wanted.task, wanted.columns, wanted.data, wanted.max_length)
    return export_alone(name, wanted.out, wanted.target, wanted.variants, given)


def said(pack: Path, wanted: Wanted) -> list[str]:
    """A line for each variant whose graphs were packed, for each that was left out, and for the pack."""
    left_out = Report.read(pack / REPORT).left_out
    return [
        *(f"{name}: {pack / places['student']}" for name, places in graph_places(pack).items()),
        *(f"{name}: left out, {reason}" for name, reason in left_out.items()),
        f"pack: {pack} (no {wanted.target} is here: take it there, install its requirements.txt, run its finish.py)",
    ]


# a finished run ---------------------------------------------------------------------------------------------


def pack_of_run(folder: Path, wanted: Wanted, watcher: Watcher) -> Path:
    """The pack of everything that a run has trained. Raises RunError where it is not all there."""
    report = report_of(folder)
    recipe = Recipe.from_yaml(report.recipe, str(folder), as_data=True)
    began, run = datetime.now(UTC), Run(home_of(folder), watcher.stage, finished=True)
    with readable_os_errors(wanted.out), run.locked():
        job = begun(recipe, run, watcher, executor_for(run, None))
        networks = teach(job)
        job = with_made_data(job, networks.teacher)
        student = recipe.student
        if student.plan is not None:
            chosen = plan(job, networks, recipe.resolved_targets()[report.target]).chosen
            if chosen is None:
                raise RunError(f"{folder} has no student: its plan found none that can pass the speed gate")
            student = chosen
        started = start(job, networks.origin, student)
        trainings = train_all(job, started.model, networks.teacher)
        there = replace(job, recipe=Recipe.parse(retargeted(recipe, wanted)))
        target = only_target(there.recipe)
        facts = with_training(described(there, target), networks, started, trainings)
        return packed(there, networks, trainings, target, sign(facts, run, "", began), wanted.out)


def report_of(folder: Path) -> Report:
    """A run's report, or that of its first target."""
    found = [file for file in (folder / REPORT, *sorted(folder.glob(f"*/{REPORT}"))) if file.is_file()]
    if not found:
        raise RunError(f"{folder} is neither a bundle nor a run that has ended: it has no {REPORT}")
    return Report.read(found[0])


def home_of(folder: Path) -> Path:
    """Where the stages are: in the run's folder, which may hold one folder for each target."""
    return folder if (folder / STAGES).is_dir() else folder.parent


# a bundle, or a network and flags ---------------------------------------------------------------------------


def pack_of_student(name: str, recipe: Recipe, wanted: Wanted, watcher: Watcher) -> Path:
    """The pack of one student that is trained already."""
    began = datetime.now(UTC)
    refuse_filled(wanted.out)
    with (
        readable_os_errors(wanted.out),
        TemporaryDirectory(prefix="kd2deploy-") as scratch,  # what is chosen for a network here is packed with it
        Run(Path(scratch), watcher.stage).locked() as run,
    ):
        job = begun(recipe, run, watcher)
        task, networks = job.task, teach(job)
        student = model_at(locate(name), task)
        student.task.networks.load(student.folder)  # refused here, before anything is written
        task.networks.check_pair(networks.origin.folder, student.folder)
        student = chosen_for(job, "student", student)
        one = Distilled.untrained(recipe.seeds[0], student)
        target = only_target(recipe)
        facts = sign(described(job, target), run, "", began)
        if not from_bundle(name):
            facts = replace(facts, recipe="", distillation=Distillation("not known: the student was given trained"))
        return packed(job, networks, Trainings((one,), (), one), target, facts, wanted.out)


def from_bundle(name: str) -> bool:
    return Path(name, MANIFEST).is_file() and Path(name, RECIPE).is_file()


def known(name: str, wanted: Wanted) -> tuple[dict[str, Any], list[str]]:
    """The recipe that a pack is judged by, and the flags that it still needs."""
    return known_of_bundle(read_bundle(Path(name)), wanted) if from_bundle(name) else known_of_flags(name, wanted)


def known_of_flags(name: str, wanted: Wanted) -> tuple[dict[str, Any], list[str]]:
    given = {"teacher": wanted.teacher, "train": wanted.train, "eval": wanted.data}
    lacking = [FLAGS[key] for key, value in given.items() if value is None]
    if lacking:
        return {}, lacking
    require_there(str(given["eval"]), FLAGS["eval"])
    unset: dict[str, Any] = {"method": None, "epochs": None, "seeds": None, "gates": {}}
    flags = {**given, **unset, "task": wanted.task, "columns": wanted.columns, "targets": [wanted.target]}
    recipe, _ = recipe_from(None, flags)
    spec = {**retargeted(recipe, wanted), "student": {"from": name}, "control": False}
    if wanted.max_length is not None:
        task = spec["task"]
        spec["task"] = {**(task if isinstance(task, dict) else {"use": task}), "max_length": wanted.max_length}
    return spec, []


def known_of_bundle(bundle: Bundle, wanted: Wanted) -> tuple[dict[str, Any], list[str]]:
    """The bundle's own recipe; its teacher must be named where the run has fine-tuned it."""
    recipe = Recipe.read(bundle.folder / RECIPE, as_data=True)
    spec = {**retargeted(recipe, wanted), "task": bundle.task.spec()}
    lacking = []
    if wanted.teacher is not None:
        spec["teacher"] = {"from": wanted.teacher}
    elif recipe.teacher is not None and recipe.teacher.fine_tune is not None:
        lacking.append(FLAGS["teacher"])
    if wanted.train or wanted.data:
        for key, path in (("train", wanted.train), ("eval", wanted.data)):
            if path is not None:
                require_there(path, FLAGS[key])
        own = recipe.data if isinstance(recipe.data, dict) and recipe.data["use"] == "files" else {}
        data = {**own, "use": "files", **set_only({"train": wanted.train, "eval": wanted.data, **wanted.columns})}
        lacking += [FLAGS[key] for key in ("train", "eval") if key not in data]
        spec["data"] = (
            data if own or lacking else {**data, **columns_of(type(bundle.task), data["train"], wanted.columns)}
        )
    return spec, lacking


def retargeted(recipe: Recipe, wanted: Wanted) -> dict[str, Any]:
    """The recipe's plain values with what was asked for in their place."""
    spec = recipe.spec()
    spec["targets"], spec["gates"] = [wanted.target], {**spec.get("gates", {}), **set_only(wanted.gates)}
    spec["variants"] = wanted.variants
    return spec


def only_target(recipe: Recipe) -> Target:
    (target,) = recipe.resolved_targets().values()
    return target
