from pathlib import Path

import numpy as np
import pytest
from measured_sessions import CPU, Parity, SumSession, numbered_rows, sum_artifact

from kd2deploy.errors import MeasureError
from kd2deploy.measure.accuracy import outputs_of
from kd2deploy.measure.agreement import agree

TASK = Parity()
FEATURES = TASK.reader.encode(numbered_rows(64), Path())


def outputs(folder: Path, name: str, bias: float = 0.0) -> dict[str, np.ndarray]:
    with SumSession(sum_artifact(folder, name, bias), TASK, CPU) as session:
        return outputs_of(session, TASK, FEATURES)


def test_a_sound_export_agrees(tmp_path: Path) -> None:
    found = agree(TASK, outputs(tmp_path, "source"), outputs(tmp_path, "made", bias=1e-6), "fp32")
    assert found.holds
    assert found.figures["top1"] == 1.0


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_one_wrong_bias_does_not(tmp_path: Path, precision: str) -> None:
    found = agree(TASK, outputs(tmp_path, "source"), outputs(tmp_path, "broken", bias=5.0), precision)
    assert not found.holds
    assert found.sentence.startswith("does not agree with its source (top1 0.")


def test_figures_that_are_not_numbers_do_not_agree() -> None:
    nothing = {"logits": np.full((4, 2), np.nan)}
    assert not agree(TASK, {"logits": np.ones((4, 2))}, nothing).holds


def test_other_names_or_shapes_are_an_error_and_no_figure() -> None:
    with pytest.raises(MeasureError, match="a dynamic axis was lost"):
        agree(TASK, {"logits": np.ones((4, 2))}, {"logits": np.ones((1, 2))})
    with pytest.raises(MeasureError, match="export them by one name"):
        agree(TASK, {"logits": np.ones((4, 2))}, {"output_0": np.ones((4, 2))})
