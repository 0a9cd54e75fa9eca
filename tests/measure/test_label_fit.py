"""Whether a teacher and the labels belong together: one planted fault after the other, and none where there is none."""

import numpy as np
import pytest

from kd2deploy.measure.label_fit import Fit, best_order, label_doubts

NAMES = [str(number) for number in (1, 2, 3, 10)]


def fit(right: float, *, order: tuple[int, ...] = (0, 1, 2, 3), rows: int = 200, seed: int = 0) -> Fit:
    """A teacher that is right on a share of the rows, and answers class `order[c]` where it means class c."""
    drawn = np.random.default_rng(seed)
    truth = drawn.integers(len(order), size=rows)
    meant = np.where(drawn.random(rows) < right, truth, drawn.integers(len(order), size=rows))
    return Fit(truth, np.array(order)[meant])


def test_a_teacher_that_fits_raises_no_doubt() -> None:
    assert label_doubts(fit(0.9), fit(0.85, seed=1), NAMES, named=False) == []
    assert label_doubts(fit(0.4), fit(0.3, seed=1), NAMES, named=False) == []


def test_classes_in_the_order_of_texts_are_found_and_the_line_is_printed() -> None:
    # trained on folders in the order 1, 10, 2, 3; the data say 1, 2, 3, 10
    by_text = (0, 2, 3, 1)
    (said,) = label_doubts(fit(0.95, order=by_text), fit(0.95, order=by_text, seed=1), NAMES, named=False)
    assert "write `labels: [1, 10, 2, 3]` under `task`" in said
    assert said.startswith("the teacher agrees with 2")
    assert "and with 9" in said


def test_the_baseline_is_named_where_there_is_no_teacher() -> None:
    moved, constant = fit(0.97), Fit(np.array([0, 1, 1, 1] * 50), np.ones(200, dtype=int))
    moved = Fit(np.roll(moved.truth, 1), moved.answers)
    flipped = fit(0.9, order=(1, 0)), fit(0.9, order=(1, 0), seed=1)
    for train, judged, names in ((*flipped, NAMES[:2]), (moved, fit(0.97, seed=1), NAMES), (constant, constant, NAMES)):
        (said,) = label_doubts(train, judged, names, named=False, who="baseline")
        assert said.startswith("the baseline agrees with")
        assert "teacher" not in said


def test_a_teacher_that_names_its_classes_is_told_where_the_names_stand() -> None:
    flipped = (1, 0)
    (said,) = label_doubts(fit(0.9, order=flipped), fit(0.9, order=flipped, seed=1), ["neg", "pos"], named=True)
    assert "config.json names them (neg, pos); correct `id2label` there" in said


def test_labels_moved_by_one_row_ask_whether_they_are_in_step() -> None:
    moved = fit(0.97)
    moved = Fit(np.roll(moved.truth, 1), moved.answers)
    (said,) = label_doubts(moved, fit(0.97, seed=1), NAMES, named=True)
    assert "are rows and labels of the training data in step?" in said
    assert "of 200 training labels and with 9" in said
    (said,) = label_doubts(fit(0.97), moved, NAMES, named=True)
    assert "of the evaluation data in step?" in said


def test_a_teacher_no_better_than_the_commonest_class_is_told() -> None:
    truth = np.array([0] * 150 + [1] * 50)
    constant = Fit(truth, np.zeros(200, dtype=int))
    (said,) = label_doubts(constant, constant, ["no", "yes"], named=True)
    assert "agrees with 75 % of 200 training labels, which is no better than always answering" in said
    assert "('no', 75 %)" in said
    assert label_doubts(fit(0.0), fit(0.0, seed=1), NAMES, named=False)[0].count("commonest class") == 1


@pytest.mark.parametrize("classes", [2, 7, 60])
def test_chance_finds_no_other_order(classes: int) -> None:
    for seed in range(20):
        guesses = [fit(0.0, order=tuple(range(classes)), seed=2 * seed + at) for at in (0, 1)]
        said = label_doubts(*guesses, [str(number) for number in range(classes)], named=False)
        assert not any("`labels:" in sentence for sentence in said)


def test_the_best_order_is_the_assignment_itself_and_the_present_one_among_equals() -> None:
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(6)
        assert best_order(fit(1.0, order=tuple(order), seed=seed), 6)[order].tolist() == list(range(6))
    nothing = Fit(np.array([0, 0]), np.array([0, 0]))
    assert best_order(nothing, 5).tolist() == list(range(5))
