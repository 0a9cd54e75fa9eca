import numpy as np
import pytest

from kd2deploy.core import Scores
from kd2deploy.core.estimate import needs
from kd2deploy.errors import MeasureError
from kd2deploy.measure.class_drops import LEAST_ROWS, class_drops, too_few, worst_drop
from kd2deploy.measure.intervals import Interval, TooFew, shown
from kd2deploy.measure.paired import paired_difference
from kd2deploy.tasks._class_metric import ClassMetric


def scored(truth: np.ndarray, right: np.ndarray) -> Scores:
    """Scores of answers [N] that are right where `right` is: a wrong one names the next class."""
    classes = int(truth.max()) + 1
    answers = np.where(right, truth, (truth + 1) % classes)
    metric = ClassMetric(tuple(f"class {place}" for place in range(classes)), "accuracy")
    return metric.scores({"truth": truth, "answers": answers})


def test_a_class_that_is_lost_stands_first_with_its_paired_interval() -> None:
    """Of 500 rows each, one class keeps 415 of 415 right answers and the other 345 of 415."""
    truth = np.repeat([0, 1], 500)
    at = np.tile(np.arange(500), 2)
    teacher = scored(truth, at < 415)
    student = scored(truth, (at < 415) & ((truth == 1) | (at < 345)))
    worst, kept = class_drops(teacher, student)
    assert (worst.label, worst.rows) == ("class 0", 500)
    assert (worst.before, worst.after) == pytest.approx((0.83, 0.69))
    assert worst.drop == shown(paired_difference(teacher.hits["class 0"], student.hits["class 0"]))
    assert worst.sure_from > 0.10
    assert kept.lost == 0
    assert kept.sure_from < 0


def test_of_a_class_with_few_rows_nothing_is_told() -> None:
    truth = np.repeat([0, 1, 2], [200, 200, LEAST_ROWS - 1])
    right = np.ones(len(truth), dtype=bool)
    drops = class_drops(scored(truth, right), scored(truth, right & (truth < 2)))
    assert drops[-1].label == "class 2"
    assert drops[-1].drop == needs(LEAST_ROWS)
    assert too_few(drops) == ["class 2"]
    worst = worst_drop(drops)
    assert isinstance(worst, Interval)
    assert (worst.estimate, worst.high) == (0.0, 1.0), "what may have lost all does not pass"


def test_without_classes_there_is_no_worst_one_and_few_rows_in_all_of_them_are_told() -> None:
    values = Scores({"spearman": 1.0}, {"answers": np.ones(5)}, "the same")
    assert worst_drop(class_drops(values, values)) is None
    few = scored(np.array([0, 0, 1]), np.ones(3, dtype=bool))
    assert worst_drop(class_drops(few, few)) == TooFew(needs=LEAST_ROWS, has=2)


def test_the_worst_of_one_class_is_that_class() -> None:
    truth = np.zeros(300, dtype=int)
    hits = np.arange(300) < 250
    one = Scores({}, {"answers": truth}, "the same", hits={"only": np.ones(300, dtype=int)})
    other = Scores({}, {"answers": truth}, "the same", hits={"only": hits.astype(int)})
    (only,) = class_drops(one, other)
    worst = worst_drop((only,))
    assert isinstance(worst, Interval)
    assert shown(worst) == only.drop


def test_different_examples_are_not_compared() -> None:
    right = np.ones(20, dtype=bool)
    with pytest.raises(MeasureError, match="different examples"):
        class_drops(scored(np.repeat([0, 1], 10), right), scored(np.repeat([0, 1], [11, 9]), right))


@pytest.mark.parametrize(
    ("drops", "rows"),
    [
        ((0.0,) * 12, 60),
        ((0.05,) * 8 + (0.0,) * 4, 60),
        ((0.2,) + (0.0,) * 5, 60),
        ((0.1, 0.0), LEAST_ROWS),
    ],
    ids=["none of 12", "8 of 12 alike", "one of 6", "one of 2 with few rows"],
)
def test_the_worst_ones_interval_covers_the_truth_however_many_classes_there_are(
    drops: tuple[float, ...], rows: int
) -> None:
    """400 evaluation sets; in every class the teacher alone is right in `drop` + 5 %, the student alone in 5 %."""
    rng = np.random.default_rng(0)
    found = [worst_drop(class_drops(*drawn(drops, rows, rng))) for _ in range(400)]
    intervals = [one for one in found if isinstance(one, Interval)]
    assert len(intervals) == 400
    truth = max(drops)
    assert np.mean([one.high < truth for one in intervals]) <= 0.045, "a class that lost more must not pass"
    assert np.mean([one.low > truth for one in intervals]) <= 0.045, "one of many looks bad by chance"
    assert np.mean([one.holds(truth) for one in intervals]) >= 0.93


def drawn(drops: tuple[float, ...], rows: int, rng: np.random.Generator) -> tuple[Scores, Scores]:
    """Teacher and student on `rows` rows of every class."""
    truth = np.repeat(np.arange(len(drops)), rows)
    teacher_alone = np.repeat(drops, rows) + 0.05
    at = rng.random(len(truth))
    both = at > teacher_alone + 0.05
    return scored(truth, both | (at < teacher_alone)), scored(truth, both | ((at >= teacher_alone) & ~both))
