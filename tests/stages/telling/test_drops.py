"""Where the metric is lost, from the teacher to the deployed file."""

import pytest
from stages.small_field import TASK, changed, job, scores, without

from kd2deploy.stages.field import Field
from kd2deploy.stages.telling.drops import drop_chain, drop_sentence


def test_every_file_between_student_and_deployed_has_its_step(field: Field) -> None:
    found = drop_chain(TASK, field)
    assert [link.step for link in found] == ["teacher", "student", "fp32", "deployed (onnx)"]
    assert [link.delta.value for link in found if link.delta] == pytest.approx([-0.01, 0.0, -0.01])
    for link in found:
        assert link.metric is not None
        assert link.metric.low is not None
        assert link.metric.high is not None
        assert link.metric.low < link.metric.high, "what the figure draws a bar of"


def test_without_a_teacher_the_chain_begins_at_the_student(field: Field) -> None:
    found = drop_chain(TASK, without(field, "teacher (eager)"))
    assert [link.step for link in found] == ["student", "fp32", "deployed (onnx)"]
    assert found[0].delta is None


def with_scores(field: Field, **accuracies: float) -> Field:
    names = {"student": "student (eager)", "fp32": "fp32", "onnx": "onnx"}
    for who, accuracy in accuracies.items():
        field = changed(field, names[who], scores=scores(accuracy))
    return field


def test_a_loss_that_is_none_is_not_blamed_on_a_step(field: Field) -> None:
    lost = with_scores(field, student=0.85, fp32=0.85, onnx=0.85)
    said = drop_sentence(job(), lost, drop_chain(TASK, lost))
    assert said.startswith("most of the metric is lost from teacher to student: -5.00 points [")
    even = with_scores(field, student=0.8975, fp32=0.8975, onnx=0.90)
    said = drop_sentence(job(), even, drop_chain(TASK, even))
    assert said.startswith(
        "no step loses anything for sure: the largest change enters from teacher to student: -0.25 points"
    )
