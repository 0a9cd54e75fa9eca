"""The mathematics of labels that do not exclude each other, against scikit-learn and by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from kd2deploy.errors import DataError
from kd2deploy.methods.logit import softened_kl
from kd2deploy.tasks._losses import binary_cross_entropy, yes_or_no
from kd2deploy.tasks._set_metric import (
    average_precision,
    best_threshold,
    candidates,
    f1_by_label,
    macro_f1,
    margins_of,
    micro_f1,
    score_sets,
    subset_accuracy,
)
from kd2deploy.tasks._targets import label_set

LABELS = ("plot", "sound", "cast")


def drawn(seed: int, rows: int = 60, labels: int = 5, digits: int = 1) -> tuple[Any, Any]:
    """Truth in which every label occurs, and logits with many ties."""
    random = np.random.default_rng(seed)
    truth = (random.random((rows, labels)) < 0.3).astype(np.int64)
    truth[:labels] |= np.eye(labels, dtype=np.int64)
    return truth, (random.normal(size=(rows, labels)) + truth).round(digits)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    truth, logits = drawn(seed)
    answers = logits >= 0
    assert micro_f1(truth, logits) == pytest.approx(f1_score(truth, answers, average="micro"))
    assert macro_f1(truth, logits) == pytest.approx(f1_score(truth, answers, average="macro", zero_division=0))
    assert average_precision(truth, logits) == pytest.approx(average_precision_score(truth, logits, average="macro"))
    assert subset_accuracy(truth, logits) == accuracy_score(truth, answers)
    by_label = f1_score(truth, answers, average=None, zero_division=0)
    np.testing.assert_allclose(f1_by_label(truth, logits), by_label)


def test_what_never_occurs_does_not_count() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 0]])
    margins = np.array([[1.0, -1, -1], [-1, -1, -1]])
    assert macro_f1(truth, margins) == pytest.approx((1 + 0) / 2)
    assert average_precision(truth, margins) == pytest.approx((1 + 1 / 2) / 2)
    assert np.isnan(average_precision(np.zeros_like(truth), margins))
    assert micro_f1(np.zeros_like(truth), -np.ones((2, 3))) == 0


def test_loss_is_the_mean_over_labels_of_labelled_rows() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    labels = torch.tensor([[1, 0], [-100, -100], [0, 0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[[0, 2]], torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    )
    torch.testing.assert_close(binary_cross_entropy(logits, labels), expected)
    nothing = binary_cross_entropy(logits, torch.full((3, 2), -100))
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_softened_classes_of_yes_and_no_are_the_binary_divergence(temperature: float) -> None:
    student, teacher = torch.randn(2, 4, 3).unbind()
    found = softened_kl(yes_or_no(student), yes_or_no(teacher), temperature)
    s, t = (torch.sigmoid(logits / temperature) for logits in (student, teacher))
    expected = t * (t / s).log() + (1 - t) * ((1 - t) / (1 - s)).log()
    torch.testing.assert_close(found, expected * temperature**2, atol=1e-5, rtol=1e-4)


def test_threshold_is_the_best_of_all_and_the_nearest_to_a_half_of_equals() -> None:
    truth, logits = drawn(0, rows=40, digits=6)
    for metric, measure in (("micro_f1", micro_f1), ("macro_f1", macro_f1), ("subset_accuracy", subset_accuracy)):
        threshold = best_threshold(logits, truth, metric)
        best = max(measure(truth, margins_of(logits, one)) for one in np.linspace(0.005, 0.995, 199))
        assert measure(truth, margins_of(logits, threshold)) >= best - 0.02
    right = np.where(truth > 0, 3.0, -3.0)
    assert best_threshold(right, truth, "micro_f1") == 0.5
    shy = right - 4  # every probability lies below a half
    threshold = best_threshold(shy, truth, "micro_f1")
    assert micro_f1(truth, margins_of(shy, threshold)) == 1
    assert threshold < 0.5
    assert best_threshold(logits, truth, "average_precision") == best_threshold(logits, truth, "micro_f1")


def test_thresholds_are_few_and_as_they_are_written_down() -> None:
    _, logits = drawn(1, rows=2000, digits=9)
    found = candidates(logits)
    assert len(found) <= 201
    assert all(one == round(one, 4) and 0 < one < 1 for one in found)


def test_scores_keep_hits_and_f1_of_each_label() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    logits = np.array([[2.0, -1, -1], [-2, 3, -1], [-1, -1, 2]])
    found = score_sets(truth, margins_of(logits, 0.5), LABELS, "subset_accuracy")
    assert {name: hits.tolist() for name, hits in found.hits.items()} == {"plot": [1, 0], "sound": [1]}
    assert found.classes == {"plot": 0.5, "sound": 1.0}
    assert found.by_class["F1"] == {"plot": pytest.approx(2 / 3), "sound": 1.0}
    assert found.correct.tolist() == [1, 0, 0]
    assert found.metrics["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    lower = score_sets(truth, margins_of(logits, 0.1), LABELS, "micro_f1")
    assert lower.correct is None
    assert lower.metrics["average_precision"] == found.metrics["average_precision"]
    assert (lower.statistics["margins"] > found.statistics["margins"]).all()


@pytest.mark.parametrize(
    ("given_label", "hot"),
    [(["sound", "plot"], [1, 1, 0]), ([], [0, 0, 0]), ([0, 1, 1], [0, 1, 1]), (None, [-100] * 3)],
)
def test_sets_are_read_as_names_and_as_zeros_and_ones(given_label: Any, hot: list[int]) -> None:
    assert label_set({"label": given_label}, LABELS) == hot


@pytest.mark.parametrize("given_label", ["plot", 1, ["odd"], [1, 0], [2, 0, 0]])
def test_what_is_no_set_is_refused(given_label: Any) -> None:
    with pytest.raises(DataError, match="row 3"):
        label_set({"label": given_label, "index": 3}, LABELS)
