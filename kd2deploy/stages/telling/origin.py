"""How the deployed file came to be: training curves, compared layers, and what was made from what."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kd2deploy.core import Artifact
from kd2deploy.core.figures import percent
from kd2deploy.report import ArtifactRecord, Curve, CurvePoint, LayerMap
from kd2deploy.stages.contenders import step_name
from kd2deploy.stages.distill import Distilled
from kd2deploy.stages.field import Field
from kd2deploy.stages.student import Started
from kd2deploy.stages.telling.plain import plain
from kd2deploy.train.engine import Trained


def curves(teacher: Trained | None, trained: Sequence[Distilled]) -> tuple[Curve, ...]:
    found = [Curve("teacher", "teacher", points(teacher.history))] if teacher else []
    for one in (each for each in trained if each.trained):
        history = joined([part.history for part in one.trained])
        found.append(Curve(f"{one.role}, seed {one.seed}", one.role, history, one.seed))
    return tuple(found)


def joined(histories: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[CurvePoint, ...]:
    """Several trainings of one student in a row, on one axis of epochs."""
    found: list[CurvePoint] = []
    for history in histories:
        offset = found[-1].epoch if found else 0.0
        found += [dataclasses.replace(point, epoch=point.epoch + offset) for point in points(history)]
    return tuple(found)


def points(history: Sequence[Mapping[str, Any]]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(one["epoch"], {**one.get("terms", {}), "loss": one["loss"]}, one.get("score")) for one in history
    )


def layer_map(started: Started, student: Distilled) -> LayerMap | None:
    """The layers that terms compared; where none did, those the student's weights were copied from."""
    maps = student.layer_maps
    if maps:
        pairs = tuple(
            (str(one), str(other) if len(maps) == 1 else f"{other} ({term})")
            for term, found in maps.items()
            for one, other in found
        )
        return LayerMap(f"compared by {', '.join(maps)}", pairs)
    if started.layer_map:
        rule = f"weights copied ({percent(started.copied_share)} of the student)"
        return LayerMap(rule, tuple((str(one), str(other)) for one, other in started.layer_map))
    return None


def lineage(field: Field) -> tuple[ArtifactRecord, ...]:
    """Every network and every file that was made, each once: networks first, then what each file was made from."""
    records: dict[str, ArtifactRecord] = {}
    for entry in field.entries:
        artifact = entry.artifact
        records.setdefault(artifact.sha256, record(entry.name, artifact, entry.deployed))
    for entry in field.entries:
        for artifact in entry.chain:
            records.setdefault(artifact.sha256, record(step_name(entry.name, artifact), artifact, deployed=False))
    return tuple(records.values())


def record(name: str, artifact: Artifact, deployed: bool) -> ArtifactRecord:
    details = {
        key: ", ".join(value) if key == "excluded" else plain(value)  # every operation left in float is named
        for key, value in artifact.details.items()
    }
    return ArtifactRecord(
        name,
        artifact.sha256,
        artifact.parent,
        artifact.made_by.rpartition(".")[2],
        artifact.precision,
        artifact.weights_mb,
        deployed,
        details,
    )
