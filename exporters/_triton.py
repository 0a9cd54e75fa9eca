"""A model repository of NVIDIA Triton out of a bundle: the network, and where a task can write one, a reader before it.

triton_models/student            tensors in, tensors out
triton_models/student_reader     a python model: what clients send, as the tensors of `student`
triton_models/student_whole      the two in a row, an ensemble
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd2deploy.core import Artifact, Port, ServerReader, Target, Task
from kd2deploy.core.artifact import SIDECAR, files_of
from kd2deploy.core.serving import Told, serving

FOLDER = "triton_models"
"""Not `triton`: torch, started in a bundle, would take that folder for the compiler of this name."""
STUDENT, READER, WHOLE = "student", "student_reader", "student_whole"
TYPES = {
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "bool": "TYPE_BOOL",
}
FREE = """\
# Some sizes are free, and the server merges waiting requests of equal sizes alone. So a client that sends tensors does
# well to pad them to few lengths, a multiple of 16 for instance, with attention_mask 0; student_reader does so.
"""
BATCHING = "dynamic_batching { }"


def write_triton(
    bundle: Path, artifacts: Sequence[Artifact], task: Task, target: Target, session: Mapping[str, Any] | None = None
) -> None:
    """Fill `bundle/triton_models` with the first of the artifacts that Triton opens; nothing where it opens none.

    `session` are the options that the very first was judged with.
    """
    served = next((one for one in artifacts if serving(one).backend), None)
    if served is None:
        return
    judged_with = (session or {}) if served is artifacts[0] else {}
    folder, rows = bundle / FOLDER, max(8, target.workload.batch)
    for file in files_of(served.path):
        copy(file, folder / STUDENT / "1" / f"model{file.suffix}")
    told = serving(served).told(judged_with)
    configs = {STUDENT: student_config(serving(served).backend, task, target, rows, told)}
    reader = task.reader.server_reader()
    if reader is not None:
        place = folder / READER / "1"
        place.mkdir(parents=True)
        (place / "model.py").write_text(reader.code, encoding="utf-8")
        for name in reader.files:
            copy(bundle / name, place / name)
        (folder / WHOLE / "1").mkdir(parents=True)
        (folder / WHOLE / "1" / ".keep").touch()  # Triton wants a version's folder, and copies lose empty ones
        configs |= {READER: reader_config(reader, task, rows), WHOLE: whole_config(reader, task, rows)}
    for name, config in configs.items():
        (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")


def student_config(backend: str, task: Task, target: Target, rows: int, told: Told) -> str:
    """`config.pbtxt` of the network. Triton adds the batch axis in front of `dims`; threads are the server's to set."""
    kind = "KIND_GPU" if target.device == "cuda" else "KIND_CPU"
    free = any(isinstance(axis, str) for port in task.inputs for axis in port.axes[1:])
    parts = [
        *([FREE.rstrip()] if free else []),
        *(f"# Judged with {one}, which this backend cannot be told." for one in told.untold),
        f'name: "{STUDENT}"',
        f'backend: "{backend}"',
        f"max_batch_size: {rows}",
        *ports("input", task.inputs),
        *ports("output", task.outputs),
        f"instance_group [ {{ kind: {kind} count: 1 }} ]",
        *parameters(told),
        BATCHING,
    ]
    return "\n".join(parts) + "\n"


def parameters(told: Told) -> Iterator[str]:
    for name, value in told.parameters.items():
        yield f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}'


def reader_config(reader: ServerReader, task: Task, rows: int) -> str:
    """Of the python model that reads. Requests that it is given together it pads to one length."""
    parts = [
        f'name: "{READER}"',
        'backend: "python"',
        f"max_batch_size: {rows}",
        *strings(reader),
        *ports("output", task.inputs),
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
        BATCHING,
    ]
    return "\n".join(parts) + "\n"


def whole_config(reader: ServerReader, task: Task, rows: int) -> str:
    """Of the ensemble: what clients send in, the network's answer out."""
    given = {name: name for name in reader.fields}
    read = {port.name: port.name for port in task.inputs}
    parts = [
        f'name: "{WHOLE}"',
        'platform: "ensemble"',
        f"max_batch_size: {rows}",
        *strings(reader),
        *ports("output", task.outputs),
        "ensemble_scheduling {",
        step(READER, given, read),
        step(STUDENT, read, {port.name: port.name for port in task.outputs}),
        "}",
    ]
    return "\n".join(parts) + "\n"


def step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    maps = [f'input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs.items()]
    maps += [f'output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs.items()]
    return f'  step {{ model_name: "{model}" model_version: -1 {" ".join(maps)} }}'


def strings(reader: ServerReader) -> Iterator[str]:
    for name in reader.fields:
        yield f'input [ {{ name: "{name}" data_type: TYPE_STRING dims: [ 1 ] }} ]'


def ports(field: str, found: tuple[Port, ...]) -> Iterator[str]:
    for port in found:
        dims = ", ".join(str(axis) if isinstance(axis, int) else "-1" for axis in port.axes[1:])
        yield f'{field} [ {{ name: "{port.name}" data_type: {TYPES[port.dtype]} dims: [ {dims} ] }} ]'


def copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns(SIDECAR))
    else:
        shutil.copyfile(source, to)
