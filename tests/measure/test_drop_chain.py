from kd2deploy.core.estimate import Estimate
from kd2deploy.core.losses import DropLink
from kd2deploy.measure.drop_chain import where_it_drops
from kd2deploy.measure.intervals import Interval

WHOLE = Interval(-0.08, -0.10, -0.06)


def chain(*changes: tuple[float, float, float]) -> list[DropLink]:
    names = ("teacher", "student", "onnx", "int8")
    later = (DropLink(name, None, Estimate(*one)) for name, one in zip(names[1:], changes, strict=False))
    return [DropLink("teacher", None), *later]


def test_the_step_that_surely_loses_most_is_named() -> None:
    links = chain((-0.09, -0.2, 0.02), (0.0, -0.001, 0.001), (-0.07, -0.09, -0.05))
    assert where_it_drops(links, WHOLE) == (
        "most of the metric is lost from onnx to int8: -7.00 points [-9.00, -5.00]; -8.00 points [-10.00, -6.00] in all"
    )


def test_a_loss_whose_interval_holds_zero_is_not_told_as_one() -> None:
    links = chain((0.0055, -0.002, 0.013), (-0.0009, -0.004, 0.002))
    told = where_it_drops(links, Interval(0.0046, -0.0007, 0.0098))
    assert told == (
        "no step loses anything for sure: the largest change enters from student to onnx: -0.09 points [-0.40, +0.20], "
        "an interval that holds zero; +0.46 points [-0.07, +0.98] in all"
    )


def test_a_chain_without_a_loss_says_so_and_a_number_has_no_points() -> None:
    assert where_it_drops(chain((0.01, 0.005, 0.02)), WHOLE).startswith("no step loses anything;")
    assert "-0.080 [-0.100, -0.060] in all" in where_it_drops(chain((0.01, 0.0, 0.02)), WHOLE, "number")
    assert where_it_drops([DropLink("teacher", None)], None) == "there is only one score, so no step to blame"
