"""The bundle: a folder that holds the student alone, with all that is needed to serve it.

config.json, model.safetensors, tokenizer or preprocessor files     transformers
members.json and a folder for each member                           a student of several networks, in the weights' place
onnx/model.onnx, model_quantized.onnx, ...                          optimum, transformers.js
ort/, openvino/, torch/                                             what only that runtime can open
triton_models/                                                      a model repository of NVIDIA Triton
bundle.json                                                         which file is deployed, and how to open it
SHA256SUMS                                                          `sha256sum -c SHA256SUMS`
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kd2deploy.core import Artifact, Reader, Session, Target, Task, build_task, open_session, sha256_of
from kd2deploy.core import trust as trust_names
from kd2deploy.core.artifact import SIDECAR
from kd2deploy.core.members import holds_network, members_in, networks_in
from kd2deploy.core.reading import inside, leads_out, object_of, text_of
from kd2deploy.core.serving import place_in_bundle, serving
from kd2deploy.core.session import options_of
from kd2deploy.core.trust import short
from kd2deploy.errors import ConvertError, SessionError, TrustError
from kd2deploy.exporters._triton import copy, write_triton

MANIFEST, SUMS = "bundle.json", "SHA256SUMS"
SIGNATURE = "model.sig"
"""A signature of every other file, by the name that OpenSSF's model signing gives it."""
KEPT_BESIDE = frozenset({".git", ".gitattributes", ".gitignore", ".cache"})
"""What git and the hub's downloads keep at the top beside a repository's files; nothing is read from it."""
FORMAT = 2
"""Of `bundle.json`. 1 had a folder `onnxruntime/`, which optimum took for `onnx/`, and the tokenizer files of the
training; it is still read."""
READ = frozenset({1, FORMAT})
TRAINING_FILES = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "trainer_state.json", SIDECAR})


@dataclass(frozen=True)
class Bundle:
    """A bundle as it was read: `task.reader.encode(rows, folder)` finds what it reads with in `folder`."""

    folder: Path
    task: Task
    target: Target
    artifact: Artifact
    session: Mapping[str, Any]
    """Options that the deployed artifact was measured with."""
    format: int = FORMAT

    @property
    def reader(self) -> Reader:
        """What reads rows for the deployed file: in a bundle of format 1 the files do not say what was judged."""
        return self.task.reader.served() if self.format > 1 else self.task.reader

    def open(self, **options: Any) -> Session:
        """The deployed artifact, opened as it was measured; `options` override its session's."""
        return open_session(self.artifact, self.task.ports, self.target, {**self.session, **options})


@dataclass(frozen=True)
class Contents:
    """What a bundle holds beside the student's own folder."""

    deployed: Artifact
    """The one that won."""
    artifacts: Mapping[str, Artifact]
    """All that were made of the student, by the name of their variant."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """Options that the deployed one is opened with."""
    sources: Sequence[Artifact] = ()
    """Graphs that some of them were built from and can be built from again."""
    files: Mapping[str, str | Path] = field(default_factory=dict)
    """Further files by the place they get (`README.md`, `recipe.yaml`), as text or as a path to copy."""

    @property
    def copied(self) -> list[Artifact]:
        """Those that are copied into it: the student's own folder stands at its top already."""
        return [self.deployed, *(one for one in (*self.artifacts.values(), *self.sources) if not serving(one).network)]


def write_bundle(folder: Path, *, student: Path, task: Task, target: Target, contents: Contents) -> Path:
    """Fill the empty `folder` and return it. `student` is the student's transformers folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConvertError(
            f"{folder} is not empty; a bundle is written into an empty folder so that it holds nothing else"
        )
    write_network(student, folder, task)
    places: dict[str, str] = {}
    for artifact in contents.copied:
        place = place_in_bundle(artifact)
        if place not in places.values() and artifact.sha256 not in places:
            artifact.verify()
            copy(artifact.path, folder / place)
            places[artifact.sha256] = place
    for name, content in contents.files.items():
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            copy(content, to)
        else:
            to.write_text(content, encoding="utf-8")
    deployed, artifacts = contents.deployed, contents.artifacts
    write_triton(folder, [deployed, *artifacts.values(), *contents.sources], task, target, contents.session)
    manifest = {
        "format": FORMAT,
        "task": task.spec(),
        "target": {"name": target.name, "about": target.about, "device": target.device, "threads": target.threads},
        "workload": dataclasses.asdict(target.workload),
        "deployed": {**deployed.to_json(), "path": places[deployed.sha256]},
        "session": dict(contents.session),
        "variants": {name: places[one.sha256] for name, one in artifacts.items() if one.sha256 in places},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")
    write_sums(folder)
    return folder


def read_bundle(folder: Path, *, trust: Sequence[str] = ()) -> Bundle:
    """The bundle in `folder`, which is data: a task or session that is not ours must be named in `trust`.

    Raises SessionError where it is none, or where a file was changed, lost or added to; TrustError for code of others.
    """
    trust_names(*trust)
    path = folder / MANIFEST
    if not path.is_file():
        raise SessionError(f"{folder} is not a bundle: it has no {MANIFEST}; give the folder that a run wrote")
    verify_sums(folder)
    manifest = manifest_of(path)
    found = manifest.deployed
    options_of(found.get("opened_by"), manifest.session)
    place = inside(folder, found.get("path"))
    try:
        target = _parsed(Target, {**manifest.target, "variants": {}, "workload": manifest.workload})
        artifact = _parsed(Artifact, {**found, "path": place})
    except ValidationError as error:
        raise _not_ours(path, error) from None
    return Bundle(folder, build_task(manifest.task), target, artifact, manifest.session, manifest.format)


@dataclass(frozen=True)
class Manifest:
    """What is read of `bundle.json`."""

    format: int
    task: dict[str, Any]
    target: dict[str, Any]
    workload: dict[str, Any]
    deployed: dict[str, Any]
    session: dict[str, Any]


def manifest_of(path: Path) -> Manifest:
    """Raises SessionError for a manifest that this program has not written, or another version of it."""
    found = object_of(path, SessionError, "copy the bundle again")
    if found.get("format") not in list(READ):  # by equality: what a file holds need not be hashable
        raise SessionError(
            f"{path} has format {short(found.get('format'))}, and this version reads {min(READ)} to {FORMAT}; "
            "open it with the version of kd2deploy that its report names"
        )
    try:
        return TypeAdapter(Manifest).validate_python(found)
    except ValidationError as error:
        raise _not_ours(path, error) from None


def _parsed(kind: type[Any], found: Mapping[str, Any]) -> Any:
    return TypeAdapter(kind).validate_python(found)


def _not_ours(path: Path, error: ValidationError) -> SessionError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return SessionError(f"{path} was not written by kd2deploy: {where}: {first['msg']}; copy the bundle again")


def open_bundle(folder: Path, *, trust: Sequence[str] = (), **options: Any) -> Session:
    """The deployed artifact of a bundle, opened as it was measured; `options` override its session's.

    `trust` as in `read_bundle`.
    """
    return read_bundle(folder, trust=trust).open(**options)


def verify_sums(folder: Path, beside: Collection[str] = ()) -> None:
    """Raise SessionError unless the folder holds exactly the files that `SHA256SUMS` lists, each as it says.

    `beside` names what else may stand at its top. This proves that the folder is whole, not who wrote it: whoever
    changes it can write the list anew. A signature says that (`kd2deploy sign`).
    """
    listed, present = _listed(folder), _present(folder, beside)
    lost, added = sorted(set(listed) - set(present)), sorted(set(present) - set(listed))
    if lost:
        raise SessionError(f"{folder / lost[0]} is missing from the bundle; copy the bundle again")
    if added:
        raise SessionError(
            f"{folder / added[0]} is not in {SUMS}: it was added after the folder was written; remove it, or copy the "
            "folder again"
        )
    for name, expected in listed.items():
        if sha256_of(inside(folder, name)) != expected:
            raise SessionError(f"{folder / name} was changed after the bundle was written; copy the bundle again")


def _listed(folder: Path) -> dict[str, str]:
    """The sums by file. Raises SessionError for a list that is none."""
    path = folder / SUMS
    if not path.is_file():
        raise SessionError(f"{folder} has no {SUMS}, so it cannot be trusted; export the bundle anew")
    listed: dict[str, str] = {}
    for number, line in enumerate(text_of(path, SessionError).splitlines(), 1):
        expected, _, name = line.partition("  ")
        if not re.fullmatch("[0-9a-f]{64}", expected) or not name or name in listed:
            raise SessionError(f"{path} line {number} is no sum of a file; copy the bundle again")
        listed[name] = expected
    return listed


def _present(folder: Path, beside: Collection[str] = ()) -> list[str]:
    """Every file in a folder but the sums, their signature and what may stand `beside` them.

    Raises TrustError for links that lead out of the folder, SessionError for what is no file.
    """
    found: list[str] = []
    waiting = [path for path in folder.iterdir() if path.name not in {*KEPT_BESIDE, *beside, SUMS, SIGNATURE}]
    while waiting:
        path = waiting.pop()
        if path.is_symlink() and leads_out(path, folder):
            raise TrustError(f"{path} is a link that leads out of {folder}; get the folder again from its source")
        if path.is_dir() and not path.is_symlink():
            waiting += path.iterdir()
        elif path.is_file():
            found.append(path.relative_to(folder).as_posix())
        else:
            raise SessionError(f"{path} is no regular file (a pipe, a device or a link to a folder); remove it")
    return found


def write_network(student: Path, folder: Path, task: Task, *, weights: bool = True) -> None:
    """The student's own part of a bundle. Without `weights` it is what rows are read by. Raises ModelError."""
    copy_network(student, folder, weights=weights)
    if members_in(student) is not None:  # what clients of the ONNX file know labels and padding by
        shutil.copyfile(networks_in(student)[0] / "config.json", folder / "config.json")
    task.reader.write_as_judged(folder)


def copy_network(source: Path, folder: Path, *, weights: bool = True) -> None:
    """The files of a transformers folder or of a bundle's network, of its members too, without what training and
    bundling left there."""
    for place in dict.fromkeys((source, *networks_in(source))):
        to = folder / place.relative_to(source)
        to.mkdir(parents=True, exist_ok=True)
        for file in sorted(place.iterdir()):
            own = file.is_file() and file.name not in TRAINING_FILES | {MANIFEST, SUMS}
            if own and (weights or file.suffix != ".safetensors"):
                shutil.copyfile(file, to / file.name)
    if not holds_network(folder):
        raise ConvertError(f"{source} has no config.json: give the network's transformers folder")


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` of every file in a folder, for `verify_sums` and for `sha256sum -c`."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in sorted(_present(folder))]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
