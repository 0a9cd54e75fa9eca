"""A small run's bundle, asked as its user would."""

import csv
from typing import Any

import pytest

from kd2deploy.flows.compress import Result
from kd2deploy.flows.predict import predict_alone


def check_answers(result: Result) -> None:
    """The bundle's deployed file gives the report's score, and the card's own code gives the same answers."""
    bundle, deployed = result.bundle, result.report.deployed
    assert bundle is not None
    with (result.folder.parent / "eval.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    told = [one["label"] for one in predict_alone(bundle, [row["sentence"] for row in rows], None)]
    right = sum(label == row["label"] for label, row in zip(told, rows, strict=True))
    assert deployed is not None
    assert deployed.metric is not None
    assert right / len(rows) == pytest.approx(deployed.metric.value)
    names: dict[str, Any] = {}
    code = (bundle / "README.md").read_text().split("```python\n")[1].split("```")[0]
    with pytest.MonkeyPatch.context() as inside:
        inside.chdir(bundle)
        exec(code, names)
    assert names["answer"]([row["sentence"] for row in rows]) == told
