"""A pack: what a device that is not here needs to build, measure and judge, made on a machine without it.

pack.json         the task, the target, the smallest, usual and largest size of each axis that engines are built for,
                  which network is which, and which graph is whose
networks/         teacher, students and controls as transformers folders
graphs/           every ONNX graph of the target's variants, of student and teacher: the calibrated ones too
rows/             the rows that calibrate, choose and judge
report.json       what is known so far, what was left out and why; the report on the device goes on from it
lib/kd2deploy     this program
requirements.txt  what it needs on the device
finish.py         `python finish.py`: builds, measures, judges, writes the report and the bundle
SHA256SUMS        checked before anything is done
"""

import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import kd2deploy
from kd2deploy.core import Target, Task, Variant, build_task
from kd2deploy.core import trust as trust_names
from kd2deploy.core.reading import inside, object_of
from kd2deploy.core.written import made_aside
from kd2deploy.data.splits import Splits, read_splits, write_splits
from kd2deploy.errors import ConvertError, RunError, TrustError
from kd2deploy.exporters.bundle import copy_network, verify_sums, write_sums
from kd2deploy.exporters.combinations import refusals
from kd2deploy.measure.machine import device_is_here as device_is_here
from kd2deploy.networks.configuration import extras_of
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.resolve import short, step_faults
from kd2deploy.recipe.steps import traits
from kd2deploy.report import Report
from kd2deploy.run import readable_os_errors
from kd2deploy.stages.convert import CALIBRATION_ROWS, calibration, convert, request_shapes
from kd2deploy.stages.job import Job, Model, model_at, sampled
from kd2deploy.stages.teacher import Taught

RESULT = "result"
"""Where finish.py writes unless it is told otherwise: the one thing that may be added to a pack."""
FORMAT = 2
"""Of `pack.json`; a reader refuses another."""
DEVICE_BUILDS = frozenset({"torch", "onnxruntime-gpu", "tensorrt"})
"""Packages that a device has builds of its own of: any version that this program takes will do."""
SCRIPT = '''"""Build, measure and judge on this machine: `python finish.py [OUT]`. Exits with the verdict's code."""

import os
import sys
from pathlib import Path

os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True  # a pack holds what it was made with
pack = Path(__file__).resolve().parent
sys.path.insert(0, str(pack / "lib"))

from kd2deploy.cli.finishing import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(pack, Path(sys.argv[1]) if len(sys.argv) > 1 else pack / "result"))
'''


@dataclass(frozen=True)
class Network:
    """One network of a pack. `role` is teacher, baseline, student or control."""

    role: str
    seed: int
    model: Model


@dataclass(frozen=True)
class Pack:
    """A pack as it was read."""

    folder: Path
    recipe: Recipe
    target: Target
    task: Task
    splits: Splits
    about: str
    networks: tuple[Network, ...]
    chosen_seed: int
    facts: Report

    @property
    def graphs(self) -> Path:
        """The conversions that need no device, as `convert` keeps them."""
        return self.folder / "graphs"

    @property
    def begun_with(self) -> Taught:
        """Its teacher, and its baseline where that is another network. Raises RunError where it has neither."""
        found = {one.role: one.model for one in self.networks if one.role in ("teacher", "baseline")}
        if not found:
            raise RunError(f"{self.folder} lacks its teacher; copy the pack again")
        return Taught(found.get("teacher"), found.get("baseline"))

    def of(self, role: str) -> list[Network]:
        return [one for one in self.networks if one.role == role]


def write_pack(
    job: Job, networks: Sequence[Network], chosen_seed: int, target: Target, facts: Report, folder: Path
) -> Path:
    """Write the pack aside and put it where `folder` is, which must be empty; a kill leaves nothing there.

    `chosen_seed` names the student that is deployed. Raises ConvertError where the folder is not empty, or where no
    variant's graphs can be made.
    """
    refuse_filled(folder)
    with readable_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with made_aside(folder) as new:
            fill(new, job, networks, chosen_seed, target, facts)
    return folder


def refuse_filled(folder: Path) -> None:
    """Raise ConvertError where a folder holds anything."""
    if folder.is_dir() and any(folder.iterdir()):
        raise ConvertError(f"{folder} is not empty; a pack is written into an empty folder")


def fill(folder: Path, job: Job, networks: Sequence[Network], chosen_seed: int, target: Target, facts: Report) -> None:
    """Write all that a pack holds into an empty folder. Raises ConvertError."""
    packed = [replace(one, model=_copied(one, folder / "networks")) for one in networks]
    student = next(one for one in packed if one.role == "student" and one.seed == chosen_seed)
    teacher = next((one for one in packed if one.role == "baseline"), packed[0])  # what is deployed as the student is
    left_out = refusals(target)
    target = without(target, left_out)
    graphs, failed = _write_graphs(job, {"student": student.model, "teacher": teacher.model}, target, folder / "graphs")
    left_out |= failed
    target = without(target, left_out)
    if not target.variants:
        raise ConvertError("no variant can be packed: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    samples = calibration(student.model, job.learnt.train)
    shapes = request_shapes(student.model, job.splits.eval, target, list(target.variants.values()), samples)
    splits = replace(job.splits, train=sampled(job.learnt.train, CALIBRATION_ROWS))
    write_splits(splits, folder / "rows", copies=True)
    manifest = {
        "format": FORMAT,
        "task": job.task.spec(),
        "target": asdict(target),
        "shapes": shapes,
        "graphs": graphs,
        "recipe": job.recipe.spec(),
        "about": job.about,
        "networks": [
            {"role": one.role, "seed": one.seed, "folder": one.model.folder.name, "task": one.model.task.spec()}
            for one in packed
        ],
        "chosen_seed": chosen_seed,
    }
    (folder / "pack.json").write_text(json.dumps(manifest, indent=2, default=list) + "\n", encoding="utf-8")
    known = replace(facts, left_out={**facts.left_out, **left_out})
    (folder / "report.json").write_text(known.to_json(), encoding="utf-8")  # SHA256SUMS holds it, as all the rest
    extras = {job.task.requires}.union(*(extras_of(one.model.folder) for one in packed))
    needed = "".join(f"{line}\n" for line in requirements(target, extras))
    (folder / "requirements.txt").write_text(needed, encoding="utf-8")
    (folder / "finish.py").write_text(SCRIPT, encoding="utf-8")
    program = Path(str(kd2deploy.__file__)).parent
    shutil.copytree(program, folder / "lib" / "kd2deploy", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    write_sums(folder)


@dataclass(frozen=True)
class PackedNetwork:
    """A network as `pack.json` names it."""

    role: str
    seed: int
    folder: str
    task: dict[str, Any] | None = None
    """As this network reads it; the pack's where nothing is said."""


@dataclass(frozen=True)
class Manifest:
    """What is read of `pack.json`."""

    format: int
    task: dict[str, Any]
    target: Target
    recipe: dict[str, Any]
    about: str
    networks: tuple[PackedNetwork, ...]
    chosen_seed: int


def read_pack(folder: Path, *, out: Path | None = None, trust: Sequence[str] = ()) -> Pack:
    """The pack in `folder`, checked byte by byte. It is data: code of others that it names must be in `trust`.

    `out` is where finishing it writes, which may lie in the pack itself.

    Raises SessionError, RunError, TrustError.
    """
    trust_names(*trust)
    path = folder / "pack.json"
    if not path.is_file():
        raise RunError(f"{folder} is not a pack: it has no pack.json; give the folder that `kd2deploy export` wrote")
    verify_sums(folder, beside={RESULT, *top_inside(folder, out)})
    said = manifest_of(path)
    if faults := step_faults(said.target, "", as_data=True):
        raise TrustError("; ".join(map(str, faults)))
    task = build_task(said.task)
    return Pack(
        folder=folder,
        recipe=recipe_of(said, path),
        target=said.target,
        task=task,
        splits=read_splits(folder / "rows", copies=True),
        about=said.about,
        networks=tuple(
            Network(
                one.role,
                one.seed,
                model_at(inside(folder, f"networks/{one.folder}"), build_task(one.task) if one.task else task),
            )
            for one in said.networks
        ),
        chosen_seed=said.chosen_seed,
        facts=Report.read(folder / "report.json"),
    )


def top_inside(folder: Path, out: Path | None) -> tuple[str, ...]:
    """The first part of a path that lies in a folder; none for one that lies elsewhere."""
    if out is None or not out.resolve().is_relative_to(folder.resolve()):
        return ()
    return out.resolve().relative_to(folder.resolve()).parts[:1]


def manifest_of(path: Path) -> Manifest:
    """Raises RunError for a manifest that this program has not written, or another version of it."""
    found = object_of(path, RunError, "copy the pack again")
    if found.get("format") != FORMAT:
        raise RunError(
            f"{path} has format {short(found.get('format'))}, and this version reads {FORMAT}; export it anew"
        )
    try:
        return TypeAdapter(Manifest).validate_python(found)
    except ValidationError as error:
        raise not_ours(path, error) from None


def recipe_of(said: Manifest, path: Path) -> Recipe:
    """The recipe that the pack was made by. Its methods need not be here: nothing is trained any more."""
    try:
        return Recipe.model_validate(said.recipe)
    except ValidationError as error:
        raise not_ours(path, error) from None


def not_ours(path: Path, error: ValidationError) -> RunError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return RunError(f"{path} was not written by kd2deploy: {where}: {first['msg']}; copy the pack again")


def graph_places(folder: Path) -> dict[str, dict[str, str]]:
    """Where the graph of a variant lies in a pack, by variant and role."""
    found: dict[str, dict[str, str]] = object_of(folder / "pack.json", RunError, "export the pack again")["graphs"]
    return found


def _copied(one: Network, to: Path) -> Model:
    place = to / (one.role if one.role in ("teacher", "baseline") else f"{one.role}-{one.seed}")
    place.mkdir(parents=True)
    copy_network(one.model.folder, place)
    return model_at(place, one.model.task)


def without(target: Target, names: Mapping[str, str]) -> Target:
    return replace(target, variants={name: one for name, one in target.variants.items() if name not in names})


def requirements(target: Target, of_task: Collection[str] = ()) -> list[str]:
    """What to install on the device: what this program needs, the target's extras and those `of_task` and networks, in
    the versions that made the pack where a device has no builds of its own."""
    extras = {variant.requires for variant in target.variants.values()} | {"", *of_task}
    extras |= {"cpu"} - ({"cpu"} if "gpu" in extras else set())
    try:
        lines = metadata.requires("kd2deploy") or []
    except metadata.PackageNotFoundError:
        raise ConvertError("kd2deploy is not installed, so what it needs is not known; pip install it") from None
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        ours = requirement.startswith("kd2deploy[")  # an extra of an extra: its lines are named under its own name too
        if not ours and "".join(re.findall(r"extra == ['\"](.+)['\"]", marker)) in extras:
            found.append(pinned(requirement.strip()))
    return found + (["nvidia-ml-py"] if target.device == "cuda" else [])


def pinned(requirement: str) -> str:
    """`NAME==VERSION` as installed here; the range as it stands where it is not, or where a device has its own."""
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    try:
        version = metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return requirement
    return requirement if name in DEVICE_BUILDS else f"{name}=={version}"


# graphs -----------------------------------------------------------------------------------------------------


def split_steps(variant: Variant) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    """A variant's steps: those that any machine can do, and those from the first that needs the device."""
    at = next((place for place, step in enumerate(variant.steps) if traits(step).on_device), len(variant.steps))
    return variant.steps[:at], variant.steps[at:]


def _write_graphs(
    job: Job, models: Mapping[str, Model], target: Target, folder: Path
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Make each variant's graphs where `convert` finds them again.

    Returns their places by variant and network, and why a variant was left out.
    """
    folder.mkdir()
    places: dict[str, dict[str, str]] = {}
    left_out: dict[str, str] = {}
    for role, model in models.items():
        samples = calibration(model, job.learnt.train)
        for name, variant in target.variants.items():
            steps, _ = split_steps(variant)
            if not steps or (role == "teacher" and not variant.teacher):
                continue
            try:
                graph = convert(model, target, name, replace(variant, steps=steps), folder, samples).artifact
            except ConvertError as error:
                left_out[name] = str(error)
                continue
            places.setdefault(name, {})[role] = graph.path.relative_to(folder.parent).as_posix()
    return places, left_out
