"""A pack: what a device that is not here needs to build, measure and judge, made on a machine without it.

pack.json         the task, the target, and which network is which
networks/         teacher, students and controls as transformers folders
graphs/           every ONNX graph of the target's variants, of student and teacher: the calibrated ones too
rows/             the rows that calibrate, choose and judge
report.json       what is known so far; the report on the device goes on from it
lib/kd2deploy     this program
requirements.txt  the versions that made the pack
finish.py         `python finish.py`: builds, measures, judges, writes the report and the bundle
SHA256SUMS        checked before anything is done
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import kd2deploy
from kd2deploy.core import Artifact, Feed, Row, Target, Task, Variant, build_task
from kd2deploy.core.artifact import SIDECAR
from kd2deploy.data.prepare import Splits
from kd2deploy.errors import ConvertError, RunError
from kd2deploy.exporters.bundle import verify_sums, write_sums
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.measure.machine import device_is_here as device_is_here
from kd2deploy.recipe import Recipe
from kd2deploy.report import Report
from kd2deploy.run import readable_os_errors, versions
from kd2deploy.stages.export import CALIBRATION_ROWS, convert
from kd2deploy.stages.job import Job, Model, encoded, model_at

FORMAT = 1
"""Of `pack.json`; a reader refuses another."""
ON_THE_DEVICE = frozenset({"trt_from_onnx"})
"""Converters that need the target's device: a variant's steps are packed up to the first of them."""
PACKED = "kd2deploy.pack.packed_from_graphs"
SCRIPT = '''"""Build, measure and judge on this machine: `python finish.py [OUT]`. Exits with the verdict's code."""

import sys
from pathlib import Path

pack = Path(__file__).resolve().parent
sys.path.insert(0, str(pack / "lib"))

from kd2deploy.finish import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(pack, Path(sys.argv[1]) if len(sys.argv) > 1 else pack / "result"))
'''


@dataclass(frozen=True)
class Network:
    """One network of a pack. `role` is teacher, student or control."""

    role: str
    seed: int
    model: Model


@dataclass(frozen=True)
class Pack:
    """A pack as it was read."""

    folder: Path
    recipe: Recipe
    target: Target
    """Its variants begin with the packed graphs."""
    task: Task
    splits: Splits
    about: str
    networks: tuple[Network, ...]
    chosen_seed: int
    facts: Report

    @property
    def teacher(self) -> Model:
        return next(one.model for one in self.networks if one.role == "teacher")

    def of(self, role: str) -> list[Network]:
        return [one for one in self.networks if one.role == role]


def write_pack(
    job: Job, networks: Sequence[Network], chosen_seed: int, target: Target, facts: Report, folder: Path
) -> Path:
    """Fill the empty `folder` and return it. `chosen_seed` names the student that is deployed.

    Raises ConvertError where the folder is not empty, or where no variant's graphs can be made.
    """
    with readable_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConvertError(f"{folder} is not empty; a pack is written into an empty folder")
    packed = [replace(one, model=_copied(one, folder / "networks", job.task)) for one in networks]
    student = next(one for one in packed if one.role == "student" and one.seed == chosen_seed)
    teacher = next(one for one in packed if one.role == "teacher")
    left_out = _write_graphs(job, [student.model, teacher.model], target, folder / "graphs")
    if len(left_out) == len(target.variants):
        raise ConvertError("no variant can be packed: " + "; ".join(left_out.values()))
    splits = replace(job.splits, train=job.splits.train[:CALIBRATION_ROWS])
    for name in ("train", "validation", "eval"):
        write_rows(getattr(splits, name), folder / "rows" / name)
    manifest = {
        "format": FORMAT,
        "task": job.task.spec(),
        "target": asdict(target),
        "recipe": job.recipe.spec(),
        "about": job.about,
        "networks": [{"role": one.role, "seed": one.seed, "folder": one.model.folder.name} for one in packed],
        "chosen_seed": chosen_seed,
        "splits": {name: getattr(splits, name) for name in ("labels", "warnings", "overlap", "sha256")},
        "left_out": left_out,
    }
    (folder / "pack.json").write_text(json.dumps(manifest, indent=2, default=list) + "\n", encoding="utf-8")
    facts.write(folder / "report.json")
    (folder / "requirements.txt").write_text("".join(f"{name}=={one}\n" for name, one in versions().items()))
    (folder / "finish.py").write_text(SCRIPT, encoding="utf-8")
    program = Path(str(kd2deploy.__file__)).parent
    shutil.copytree(program, folder / "lib" / "kd2deploy", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    write_sums(folder)
    return folder


def read_pack(folder: Path) -> Pack:
    """The pack in `folder`, checked byte by byte. Raises SessionError, RunError."""
    path = folder / "pack.json"
    if not path.is_file():
        raise RunError(f"{folder} is not a pack: it has no pack.json; give the folder that `kd2deploy export` wrote")
    verify_sums(folder)
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("format") != FORMAT:
        raise RunError(f"{path} has format {found.get('format')}, and this version reads {FORMAT}")
    from pydantic import TypeAdapter

    task = build_task(found["task"])
    rows = {name: read_rows(folder / "rows" / name) for name in ("train", "validation", "eval")}
    said = found["splits"]
    return Pack(
        folder=folder,
        recipe=Recipe.model_validate(found["recipe"]),
        target=from_graphs(TypeAdapter(Target).validate_python(found["target"]), folder / "graphs"),
        task=task,
        splits=Splits(
            train=rows["train"],
            validation=rows["validation"],
            eval=rows["eval"],
            labels=tuple(said["labels"]),
            warnings=tuple(said["warnings"]),
            overlap=said["overlap"],
            sha256=said["sha256"],
        ),
        about=found["about"],
        networks=tuple(
            Network(one["role"], one["seed"], model_at(folder / "networks" / one["folder"], task))
            for one in found["networks"]
        ),
        chosen_seed=found["chosen_seed"],
        facts=Report.read(folder / "report.json"),
    )


def _copied(one: Network, to: Path, task: Task) -> Model:
    place = to / (one.role if one.role == "teacher" else f"{one.role}-{one.seed}")
    shutil.copytree(one.model.folder, place, ignore=shutil.ignore_patterns(SIDECAR, "training_args.bin"))
    return model_at(place, task)


# graphs -----------------------------------------------------------------------------------------------------


def split_steps(variant: Variant) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    """A variant's steps: those that any machine can do, and those from the first that needs the device."""
    names = [str(step["use"]).rpartition(".")[2] for step in variant.steps]
    at = next((place for place, name in enumerate(names) if name in ON_THE_DEVICE), len(names))
    return variant.steps[:at], variant.steps[at:]


def _write_graphs(job: Job, models: Sequence[Model], target: Target, folder: Path) -> dict[str, str]:
    """Make each variant's graphs and an index of them; why a variant was left out."""
    folder.mkdir()
    index, left_out = [], {}
    for model in models:
        train = encoded(model.task, job.splits.train[:CALIBRATION_ROWS], model.folder)
        samples = timing_feeds(model.task, train, 8, CALIBRATION_ROWS // 8)
        for name, variant in target.variants.items():
            steps, _ = split_steps(variant)
            if not steps:
                continue
            try:
                graph = convert(model, target, name, replace(variant, steps=steps), folder, samples).artifact
            except ConvertError as error:
                left_out[name] = str(error)
                continue
            place = graph.path.relative_to(folder).as_posix()
            entry = {"network": model.sha256, "steps": plain(steps), "artifact": {**graph.to_json(), "path": place}}
            if entry not in index:
                index.append(entry)
    (folder / "index.json").write_text(json.dumps(index, indent=2, default=list) + "\n", encoding="utf-8")
    return left_out


def from_graphs(target: Target, graphs: Path) -> Target:
    """The target with its variants beginning from the packed graphs instead of from the network."""
    variants = {}
    for name, variant in target.variants.items():
        before, after = split_steps(variant)
        packed = {"use": PACKED, "graphs": str(graphs), "steps": plain(before)}
        variants[name] = replace(variant, steps=(packed, *after) if before else after)
    return replace(target, variants=variants)


def packed_from_graphs(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    graphs: str,
    steps: Sequence[Mapping[str, Any]],
) -> Artifact:
    """The graph that `steps` made of this very network when the pack was written, verified and copied."""
    index = json.loads((Path(graphs) / "index.json").read_text(encoding="utf-8"))
    for entry in index:
        if entry["network"] == source.sha256 and entry["steps"] == plain(steps):
            found = Artifact.from_json(entry["artifact"])
            graph = replace(found, path=Path(graphs) / found.path).verify()
            to = folder / graph.path.name
            shutil.copyfile(graph.path, to) if graph.path.is_file() else shutil.copytree(graph.path, to)
            return replace(graph, path=to, parent=source.sha256)
    done = ", ".join(str(step["use"]) for step in steps)
    raise ConvertError(f"the pack holds no graph made by {done} of this network; it was left out when packing")


def plain(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Steps as JSON holds them."""
    found: list[dict[str, Any]] = json.loads(json.dumps([dict(step) for step in steps], default=list))
    return found


# rows -------------------------------------------------------------------------------------------------------


def write_rows(rows: Sequence[Row], folder: Path) -> None:
    """Rows as JSON lines; pictures and other arrays as files beside them."""
    folder.mkdir(parents=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for place, row in enumerate(rows):
            stream.write(json.dumps({name: _packed(value, name, folder, place) for name, value in row.items()}) + "\n")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows as `write_rows` wrote them; pictures come back as arrays or as paths."""

    def whole() -> Iterator[dict[str, Any]]:
        for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines():
            yield {name: _unpacked(value, folder) for name, value in json.loads(line).items()}

    return list(whole())


def _packed(value: Any, name: str, folder: Path, place: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path) or (isinstance(value, str) and name == "image"):
        to = f"{place:06d}-{name}{Path(value).suffix}"
        shutil.copyfile(value, folder / to)
        return {"file": to}
    if isinstance(value, str):
        return value
    to = f"{place:06d}-{name}.npy"
    np.save(folder / to, np.asarray(value), allow_pickle=False)
    return {"array": to}


def _unpacked(value: Any, folder: Path) -> Any:
    if not isinstance(value, dict):
        return value
    if "file" in value:
        return str(folder / value["file"])
    return np.load(folder / value["array"], allow_pickle=False)
