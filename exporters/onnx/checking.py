"""A converted graph's answers on the host, and whether they are its source's."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kd2deploy.core import Feed, Target, Task
from kd2deploy.errors import ConvertError, DisagreementError
from kd2deploy.exporters import _parity
from kd2deploy.exporters._cpu import intra_op_threads
from kd2deploy.exporters.onnx.files import save
from kd2deploy.exporters.onnx.opening import opened

if TYPE_CHECKING:
    import onnx

Outputs = Mapping[str, np.ndarray[Any, Any]]


def check_agreement(
    reference: Sequence[Outputs],
    path: Path,
    task: Task,
    target: Target,
    feeds: Sequence[Feed],
    precision: str = "fp32",
) -> None:
    """Raise DisagreementError where the file at `path` answers otherwise than `reference` does to the same feeds."""
    for place, (expected, found) in enumerate(zip(reference, run_all(path, task, target, feeds), strict=True)):
        name, distance = _parity.worst(expected, task.aligned(expected, found), precision)
        if distance > 1:
            shape = "x".join(map(str, next(iter(feeds[place].values())).shape))
            raise DisagreementError(
                f"the converted graph disagrees with its source: output {name!r} is {distance:.3g} times as far off as "
                f"{precision} explains, on inputs of shape {shape}; take another route, opset or architecture"
            )


def run_all(path: Path, task: Task, target: Target, feeds: Sequence[Feed]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """The answers of the file at `path` to each feed, on the host."""
    if not feeds:
        raise ConvertError("a converter needs samples of real inputs to check its result on; give it at least one")
    session = opened(path, {"intra_op_num_threads": intra_op_threads(target)}, ["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]
    outputs = [port.name for port in task.outputs]
    return [
        dict(zip(outputs, session.run(outputs, {name: feed[name] for name in wanted}), strict=True)) for feed in feeds
    ]


def damage(reference: Sequence[Outputs], found: Sequence[Outputs]) -> float:
    """`|found - reference| / |reference|`, L2 over every output of every example; infinite when something is NaN."""
    one = np.concatenate([array.ravel() for outputs in reference for array in outputs.values()]).astype(np.float64)
    other = np.concatenate([array.ravel() for outputs in found for array in outputs.values()]).astype(np.float64)
    if not np.isfinite(other).all():
        return float("inf")
    return float(np.linalg.norm(other - one) / max(float(np.linalg.norm(one)), 1e-12))


def by_damage(
    source: Path, task: Task, target: Target, samples: Sequence[Feed], rounded: Iterable[tuple[str, "onnx.ModelProto"]]
) -> list[tuple[str, float]]:
    """Each name with the damage that its graph does, worst first. A graph of `rounded` is `source` with one node alone
    in fewer bits, made when it is asked for; the damage is that of `damage`."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"

        def answers(model: "onnx.ModelProto") -> list[dict[str, np.ndarray[Any, Any]]]:
            save(model, path, {})
            return run_all(path, task, target, samples)

        found = ((name, answers(model)) for name, model in rounded)
        return worst_first(task, run_all(source, task, target, samples), found)


def worst_first(
    task: Task, reference: Sequence[Outputs], found: Iterable[tuple[str, Sequence[Outputs]]]
) -> list[tuple[str, float]]:
    """Each name with the damage that its answers show, once they are brought in the reference's order, worst first."""
    damages = [
        (name, damage(reference, [task.aligned(one, other) for one, other in zip(reference, answers, strict=True)]))
        for name, answers in found
    ]
    return sorted(damages, key=lambda pair: (-pair[1], pair[0]))


def not_excluded(candidates: Sequence[str], exclude: Sequence[str], none_left: str) -> list[str]:
    """The candidates without those that `exclude` names. Raises ConvertError for an unknown name, or `none_left`."""
    unknown = sorted(set(exclude) - set(candidates))
    if unknown:
        raise ConvertError(f"exclude names {unknown}, which are not quantizable; those that are: {candidates}")
    chosen = [name for name in candidates if name not in set(exclude)]
    if not chosen:
        raise ConvertError(none_left)
    return chosen


def agreement(task: Task, reference: Sequence[Outputs], found: Sequence[Outputs]) -> dict[str, float]:
    """The task's measures of agreement, mean over the samples."""
    each = [task.metric.alike(one, other) for one, other in zip(reference, found, strict=True)]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}
