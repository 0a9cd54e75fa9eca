"""A teacher that has nothing to teach is named."""

from dataclasses import replace

from stages.small_field import TASK, changed, job, scores

from kd2deploy.core.estimate import Estimate
from kd2deploy.report import Curve, CurvePoint, Floor, Report
from kd2deploy.stages.field import Field
from kd2deploy.stages.telling.worth import worth_learning_from

FACTS = Report("", task=job().task_info, floors=(Floor("words", Estimate(0.93), 50), Floor("most", Estimate(0.5), 50)))


def told(facts: Report, field: Field, limit: float | None = 0.001) -> list[str]:
    return [one.sentence for one in worth_learning_from(facts, field, TASK.metric, limit)]


def test_a_teacher_ahead_of_all_is_not_spoken_of(field: Field) -> None:
    ahead = changed(changed(field, "teacher (eager)", scores=scores(0.95)), "onnx", scores=scores(0.94))
    assert told(FACTS, ahead) == []


def test_a_linear_model_that_beats_teacher_and_student(field: Field) -> None:
    behind = changed(changed(field, "teacher (eager)", scores=scores(0.92)), "onnx", scores=scores(0.9))
    assert told(FACTS, behind) == [
        "The teacher (92.00 %) is behind words (93.00 %, fitted on 50 labelled rows).",
        "The deployed file (90.00 %) is behind words (93.00 %, fitted on 50 labelled rows).",
    ]


def test_what_is_had_without_learning_is_said_to_be_fitted_on_nothing(field: Field) -> None:
    facts = replace(FACTS, floors=(Floor("interpolation", Estimate(0.93), 0),))
    behind = changed(changed(field, "teacher (eager)", scores=scores(0.92)), "onnx", scores=scores(0.95))
    assert told(facts, behind) == ["The teacher (92.00 %) is behind interpolation (93.00 %)."]


def test_a_teacher_behind_the_control(field: Field) -> None:
    facts = replace(FACTS, floors=())
    (said,) = told(facts, changed(field, "teacher (eager)", scores=scores(0.5)))
    assert said.startswith("The teacher (50.00 %) is behind the control, which had no teacher (")


def test_a_teacher_whose_loss_had_not_settled(field: Field) -> None:
    def ended(*losses: float) -> Report:
        points = tuple(CurvePoint(at + 1.0, {"loss": loss}) for at, loss in enumerate(losses))
        return replace(FACTS, floors=(), curves=(Curve("fine-tuning", "teacher", points),))

    assert told(ended(1.0, 0.5, 0.49), field) == []
    assert told(ended(1.0, 0.5, 0.3), field) == [
        "The teacher's training loss was still falling at its end (0.5, then 0.3)."
    ]
    assert told(ended(1.0), field) == []
    assert told(ended(1.0, 0.02, 0.01), field) == []


def test_a_limit_that_needs_no_network_proves_nothing(field: Field) -> None:
    ahead = changed(changed(field, "teacher (eager)", scores=scores(0.95)), "onnx", scores=scores(0.94))
    assert told(FACTS, ahead, None) == told(FACTS, ahead, 0.01) == []
    assert told(FACTS, ahead, 0.02) == [
        "The drop that is allowed (2.00 points) is no less than what the teacher has over words (2.00 points), so what "
        "needs no network would hold that limit too."
    ]
    behind = changed(field, "teacher (eager)", scores=scores(0.92))
    assert not [one for one in told(FACTS, behind, 0.02) if "allowed" in one], "that it is behind is said already"
