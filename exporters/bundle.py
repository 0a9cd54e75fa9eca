"""The bundle: a folder that holds the student alone, with all that is needed to serve it.

config.json, model.safetensors, tokenizer or preprocessor files     transformers
onnx/model.onnx, model_quantized.onnx, ...                          optimum, transformers.js
onnxruntime/, openvino/, torch/                                     what only that runtime can open
triton/                                                             a model repository of NVIDIA Triton
bundle.json                                                         which file is deployed, and how to open it
SHA256SUMS                                                          `sha256sum -c SHA256SUMS`
"""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.core import Artifact, Port, Session, Target, Task, Workload, build_task, open_session, sha256_of
from kd2deploy.core.artifact import SIDECAR
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters._cpu import intra_op_threads

MANIFEST, SUMS, ENGINE = "bundle.json", "SHA256SUMS", "tensorrt/model.engine"
FORMAT = 1
"""Of `bundle.json`; a reader refuses another."""
TRAINING_FILES = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "trainer_state.json", SIDECAR})
TRITON_TYPES = {
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "bool": "TYPE_BOOL",
}


@dataclass(frozen=True)
class Bundle:
    """A bundle as it was read: `task.encode(rows, folder)` finds its tokenizer or image processor in `folder`."""

    folder: Path
    task: Task
    target: Target
    artifact: Artifact
    session: Mapping[str, Any]
    """Options that the deployed artifact was measured with."""


def write_bundle(
    folder: Path,
    *,
    deployed: Artifact,
    student: Path,
    task: Task,
    target: Target,
    extra_files: Mapping[str, str | Path],
    artifacts: Mapping[str, Artifact],
    sources: Sequence[Artifact] = (),
    session: Mapping[str, Any] | None = None,
) -> Path:
    """Fill the empty `folder` and return it.

    `student` is the student's transformers folder. `artifacts` are all that were made of it, by the name of their
    variant; `deployed` is the one that won, opened with the options `session`; `sources` are graphs that some of them
    were built from and can be built from again. `extra_files` are further files by the place they get (`README.md`,
    `recipe.yaml`, `versions.txt`), as text or as a path to copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConvertError(
            f"{folder} is not empty; a bundle is written into an empty folder so that it holds nothing else"
        )
    copy_network(student, folder)
    places: dict[str, str] = {}
    for artifact in [deployed, *(one for one in (*artifacts.values(), *sources) if not _is_torch(one))]:
        place = place_in_bundle(artifact)
        if place not in places.values() and artifact.sha256 not in places:
            artifact.verify()
            _copy(artifact.path, folder / place)
            places[artifact.sha256] = place
    for name, content in extra_files.items():
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            _copy(content, to)
        else:
            to.write_text(content, encoding="utf-8")
    _write_triton(folder / "triton", deployed, [deployed, *artifacts.values(), *sources], task, target)
    manifest = {
        "format": FORMAT,
        "task": task.spec(),
        "target": {"name": target.name, "about": target.about, "device": target.device, "threads": target.threads},
        "workload": dataclasses.asdict(target.workload),
        "deployed": {**deployed.to_json(), "path": places[deployed.sha256]},
        "session": dict(session or {}),
        "variants": {name: places[one.sha256] for name, one in artifacts.items() if one.sha256 in places},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")
    write_sums(folder)
    return folder


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`. Raises SessionError where it is none, or where a file was changed, lost or added to."""
    path = folder / MANIFEST
    if not path.is_file():
        raise SessionError(f"{folder} is not a bundle: it has no {MANIFEST}; give the folder that a run wrote")
    verify_sums(folder)
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise SessionError(f"{path} has format {manifest.get('format')}, and this version reads {FORMAT}")
    found = manifest["deployed"]
    return Bundle(
        folder=folder,
        task=build_task(manifest["task"]),
        target=Target(**manifest["target"], variants={}, workload=Workload(**manifest["workload"])),
        artifact=Artifact.from_json({**found, "path": folder / found["path"]}),
        session=manifest["session"],
    )


def open_bundle(folder: Path, **options: Any) -> Session:
    """The deployed artifact of a bundle, opened as it was measured; `options` override its session's."""
    bundle = read_bundle(folder)
    return open_session(bundle.artifact, bundle.task, bundle.target, {**bundle.session, **options})


def verify_sums(folder: Path) -> None:
    """Raise SessionError for the first file that is not what `SHA256SUMS` says."""
    path = folder / SUMS
    if not path.is_file():
        raise SessionError(f"{folder} has no {SUMS}, so it cannot be trusted; export the bundle anew")
    for line in path.read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        if not (folder / name).is_file():
            raise SessionError(f"{folder / name} is missing from the bundle; copy the bundle again")
        if sha256_of(folder / name) != expected:
            raise SessionError(f"{folder / name} was changed after the bundle was written; copy the bundle again")


def copy_network(source: Path, folder: Path) -> None:
    """The files of a transformers folder or of a bundle's network, without what training and bundling left there."""
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name not in TRAINING_FILES | {MANIFEST, SUMS}:
            shutil.copyfile(file, folder / file.name)
    if not (folder / "config.json").is_file():
        raise ConvertError(f"{source} has no config.json: give the network's transformers folder")


def _is_torch(artifact: Artifact) -> bool:
    """True for a transformers folder: the student's own already stands at the top of the bundle."""
    return artifact.opened_by.endswith(".TorchSession")


def place_in_bundle(artifact: Artifact) -> str:
    """Where an artifact stands in the bundle. The names under onnx/ are those that optimum and transformers.js read."""
    session = artifact.opened_by.rpartition(".")[2]
    if session == "TensorRTSession":
        return ENGINE
    if session != "OnnxSession":
        return {"OpenVinoSession": "openvino", "TorchSession": "torch"}.get(session, session.lower())
    suffix = {"fp16": "_fp16", "fp8": "_fp8"}.get(artifact.precision, "")
    if artifact.precision == "int8":
        suffix = "_quantized" if artifact.details.get("mode") == "dynamic" else "_int8"
        if artifact.details.get("layout") == "tensorrt":
            suffix = "_int8_tensorrt"
    portable = artifact.details.get("domains", ["ai.onnx"]) == ["ai.onnx"]
    return f"{'onnx' if portable else 'onnxruntime'}/model{suffix}.onnx"


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns(SIDECAR))
    else:
        shutil.copyfile(source, to)


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` of every file in a folder, for `verify_sums` and for `sha256sum -c`."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SUMS)
    lines = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


# NVIDIA Triton ----------------------------------------------------------------------------------------------


def _write_triton(folder: Path, deployed: Artifact, artifacts: list[Artifact], task: Task, target: Target) -> None:
    """A model repository with the deployed artifact, or with the plain ONNX file where Triton cannot open that one."""
    served = next((one for one in [deployed, *artifacts] if _backend(one)), None)
    if served is None:
        return
    backend, model = _backend(served), folder / "student"
    if backend == "openvino":
        for file in sorted(served.path.iterdir()):
            if file.suffix in (".xml", ".bin"):
                _copy(file, model / "1" / f"model{file.suffix}")
    else:
        _copy(served.path, model / "1" / "model.onnx")
    (model / "config.pbtxt").write_text(triton_config(backend, task, target), encoding="utf-8")


def _backend(artifact: Artifact) -> str:
    session = artifact.opened_by.rpartition(".")[2]
    return {"OnnxSession": "onnxruntime", "OpenVinoSession": "openvino"}.get(session, "")


def triton_config(backend: str, task: Task, target: Target) -> str:
    """`config.pbtxt`: Triton adds the batch axis in front of `dims`, batches what waits, and runs one instance."""
    kind = "KIND_GPU" if target.device == "cuda" else "KIND_CPU"
    threads = {"onnxruntime": "intra_op_thread_count", "openvino": "INFERENCE_NUM_THREADS"}[backend]
    parts = [
        'name: "student"',
        f'backend: "{backend}"',
        f"max_batch_size: {max(8, target.workload.batch)}",
        *(_triton_ports("input", task.inputs)),
        *(_triton_ports("output", task.outputs)),
        f"instance_group [ {{ kind: {kind} count: 1 }} ]",
        "dynamic_batching { }",
    ]
    if target.device == "cpu":
        parts.append(f'parameters {{ key: "{threads}" value: {{ string_value: "{intra_op_threads(target)}" }} }}')
    return "\n".join(parts) + "\n"


def _triton_ports(field: str, ports: tuple[Port, ...]) -> Iterator[str]:
    for port in ports:
        dims = ", ".join(str(axis) if isinstance(axis, int) else "-1" for axis in port.axes[1:])
        yield f'{field} [ {{ name: "{port.name}" data_type: {TRITON_TYPES[port.dtype]} dims: [ {dims} ] }} ]'
