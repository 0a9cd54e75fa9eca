"""A second modality through the same code: scikit-learn's digits and a small ResNet."""

from pathlib import Path

import pytest

from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe

pytestmark = pytest.mark.recipe
RECIPE = Path(__file__).parent.parent.parent / "kd2deploy" / "recipes" / "digits.yaml"


def test_digits_are_compressed_exported_quantized_measured_and_judged(tmp_path: Path) -> None:
    spec = Recipe.read(RECIPE).spec()
    spec["variants"] = ["onnx", "onnx-int8", "onnx-qdq"]
    spec["measurement"] = {"processes": 3, "cap_s": 2, "block_s": 0.02}
    spec["gates"] = {"max_drop": 0.3}
    spec["control"] = False
    spec["teacher"]["fine_tune"]["epochs"], spec["distill"][0]["epochs"] = 6, 5
    (result,) = compress(Recipe.parse(spec), tmp_path / "run")
    report = result.report
    assert report.verdict is not None
    assert report.verdict.outcome == "PASS", report.verdict.sentence
    assert "no operation is left to quantize" in report.left_out["onnx-int8"], "there is no dynamic convolution"
    found = {contender.name: contender for contender in report.contenders}
    teacher = found["teacher (eager)"].metric
    assert teacher is not None
    assert teacher.value is not None
    assert teacher.value > 0.9
    assert found["onnx-qdq"].precision == "int8"
    assert (result.folder / "report.html").exists()
    assert result.bundle is not None


def test_a_plan_passes_over_the_variant_that_the_network_cannot_be_made_into(tmp_path: Path) -> None:
    spec = Recipe.read(RECIPE).spec()
    spec["student"] = {"plan": {"layers": [1], "candidates": 1}}
    spec["teacher"]["fine_tune"]["epochs"] = 1
    spec["variants"] = None
    (result,) = compress(Recipe.parse(spec), tmp_path / "run", until="plan")
    (candidate,) = result.report.candidates
    assert candidate.verdict == "chosen", candidate.reason
