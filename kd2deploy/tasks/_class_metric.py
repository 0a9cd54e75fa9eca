"""Metrics, agreement and answers of classes that exclude each other (logits [N, C]) and of values ([N, 1])."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core import Array, Metric, Row, Scores, mark_of
from kd2deploy.core.figures import count_of
from kd2deploy.errors import DataError
from kd2deploy.tasks._targets import ClassTarget, ValueTarget

CLASS_METRICS = ("accuracy", "macro_f1", "matthews")
VALUE_METRICS = ("spearman", "pearson", "rmse")
SHARES = frozenset({"accuracy", "macro_f1"})
"""Metrics that are shares of one; the others are correlations, -1..1, and errors in the values' own unit."""


class ClassMetric(Metric):
    """One class of several, the one with the largest logit."""

    tells_probability = True

    def __init__(self, labels: tuple[str, ...], name: str, top: int = 0) -> None:
        """`top`: the accuracy among so many likeliest classes is told too, where there are more; 0 tells none."""
        self.labels, self.target, self.name = labels, ClassTarget(labels), name
        self.unit = "share" if name in SHARES else "number"
        self.top = top if len(labels) > top else 0

    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        logits, truth = outputs["logits"], self.target.of(rows)
        check_outputs(logits, rows)
        check_labelled(truth >= 0, rows)
        found = {"truth": truth, "answers": logits.argmax(-1)}
        return {**found, "likelier": likelier(logits, truth)} if self.top else found

    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        truth, answers = statistics["truth"], statistics["answers"]
        ranks = statistics.get("likelier")  # older records have none
        top = {} if ranks is None else {f"top{self.top}_accuracy": float(np.mean(ranks < self.top))}
        correct = (truth == answers).astype(np.int64)
        return Scores(
            metrics={name: METRICS[name](truth, answers) for name in CLASS_METRICS} | top,
            statistics=statistics,
            examples=mark_of(truth),
            correct=correct if self.name == "accuracy" else None,
            answered=np.stack([truth, answers], axis=1),
            hits={name: correct[truth == c] for c, name in enumerate(self.labels) if (truth == c).any()},
        )

    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        return METRICS[self.name](statistics["truth"][places], statistics["answers"][places])

    def sure(self, outputs: Mapping[str, Array], least_probability: float) -> list[Any]:
        shares = shares_of(outputs["logits"])
        return [int(row.argmax()) if row.max() >= least_probability else None for row in shares]

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return agreement_of(one["logits"], other["logits"])

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return answers_of(outputs["logits"], self.labels)


class ValueMetric(Metric):
    """A number, the network's only output."""

    def __init__(self, name: str) -> None:
        self.name, self.target = name, ValueTarget()
        self.higher_is_better = name != "rmse"

    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        values, truth = outputs["logits"], self.target.of(rows)
        check_outputs(values, rows)
        check_labelled(~np.isnan(truth), rows)
        return {"truth": truth, "answers": values[:, 0].astype(np.float64)}

    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        truth, answers = statistics["truth"], statistics["answers"]
        return Scores({name: METRICS[name](truth, answers) for name in VALUE_METRICS}, statistics, mark_of(truth))

    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        return METRICS[self.name](statistics["truth"][places], statistics["answers"][places])

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return agreement_of(one["logits"], other["logits"])

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return [{"value": float(value)} for value in outputs["logits"][:, 0]]


def confusion(truth: Array, predictions: Array) -> Array:
    """[C, C] counts, rows by truth; C is what occurs.

    Counted here and not by scikit-learn, whose checks take forty times as long: an interval takes 2,000 of them. A test
    holds the two metrics below to scikit-learn's.
    """
    classes = int(max(truth.max(initial=0), predictions.max(initial=0))) + 1
    return np.bincount(truth * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def accuracy(truth: Array, predictions: Array) -> float:
    """Share of right answers, 0..1."""
    return float(np.mean(truth == predictions))


def likelier(logits: Array, truth: Array) -> Array:
    """[N]: how many classes have a larger logit than the right one."""
    own = np.take_along_axis(logits, truth[:, None], axis=-1)
    found: Array = (logits > own).sum(-1)
    return found


def macro_f1(truth: Array, predictions: Array) -> float:
    """Mean F1 over the classes that occur in truth or predictions, 0..1."""
    counts = confusion(truth, predictions)
    support = counts.sum(1) + counts.sum(0)
    return float(np.mean(2 * np.diag(counts)[support > 0] / support[support > 0]))


def matthews(truth: Array, predictions: Array) -> float:
    """Matthews correlation (for several classes Gorodkin's R_K), -1..1; 0 where one side is constant."""
    counts = confusion(truth, predictions).astype(np.float64)
    total, right = counts.sum(), np.trace(counts)
    of_truth, of_predictions = counts.sum(1), counts.sum(0)
    spread = (total**2 - of_predictions @ of_predictions) * (total**2 - of_truth @ of_truth)
    return float((right * total - of_truth @ of_predictions) / np.sqrt(spread)) if spread > 0 else 0.0


def pearson(truth: Array, predictions: Array) -> float:
    """Linear correlation, -1..1; 0 where one side is constant."""
    from scipy.stats import pearsonr

    return 0.0 if constant(truth) or constant(predictions) else float(pearsonr(truth, predictions).statistic)


def spearman(truth: Array, predictions: Array) -> float:
    """Rank correlation, ties by their mean rank, -1..1; 0 where one side is constant."""
    from scipy.stats import spearmanr

    return 0.0 if constant(truth) or constant(predictions) else float(spearmanr(truth, predictions).statistic)


def rmse(truth: Array, predictions: Array) -> float:
    """Root of the mean squared error, in the values' own unit; lower is better."""
    return float(np.sqrt(np.mean((truth - predictions) ** 2)))


def constant(values: Array) -> bool:
    """Whether there is nothing to correlate with."""
    return len(values) == 0 or bool((values == values[0]).all())


METRICS = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "rmse": rmse,
}


def resolve_metric(metric: str | None, classes: int) -> str:
    """The headline metric's name; by default accuracy, and spearman for regression. Raises ValueError."""
    allowed = CLASS_METRICS if classes else VALUE_METRICS
    if metric is None:
        return allowed[0]
    if metric not in allowed:
        kind = "classification" if classes else "regression"
        raise ValueError(f"metric {metric!r} does not fit {kind}; choose one of {', '.join(allowed)}")
    return metric


def check_outputs(logits: Array, rows: Sequence[Row]) -> None:
    """Raises DataError unless there are finite outputs for every row."""
    if len(logits) != len(rows) or not len(rows):
        raise DataError(f"{count_of(len(logits), 'output')} cannot be scored against {count_of(len(rows), 'row')}")
    if not np.isfinite(logits).all():
        row = rows[int(np.argmin(np.isfinite(logits).all(-1)))].get("index", "?")
        raise DataError(f"the output for row {row} is not finite; the network or its conversion is broken")


def check_labelled(labelled: Array, rows: Sequence[Row]) -> None:
    """Raises DataError for the first row that is not."""
    if not labelled.all():
        row = rows[int(np.argmin(labelled))].get("index", "?")
        raise DataError(f"row {row} has no label, and only labelled rows can be scored")


def agreement_of(one: Array, other: Array) -> dict[str, float]:
    """`top1`: share of equal answers; values are equal within 1 % of `other`'s standard deviation.
    `cosine`: mean over rows of the logits' cosine; for values the cosine of the two whole vectors."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    if one.shape != other.shape:
        raise DataError(f"outputs of shape {one.shape} and {other.shape} cannot be compared")
    if one.shape[-1] == 1:
        same = np.abs(one - other) <= 0.01 * other.std()
        one, other = one.T, other.T
    else:
        same = one.argmax(-1) == other.argmax(-1)
    return {"top1": float(same.mean()), "cosine": float(cosine_of(one, other).mean())}


def cosine_of(one: Array, other: Array) -> Array:
    """Cosine over the last axis, -1..1, in float64."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine: Array = (one * other).sum(-1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return cosine


def answers_of(logits: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The likeliest label and its probability, row by row."""
    return [
        {"label": labels[place], "probability": float(row[place])}
        for place, row in zip(logits.argmax(-1).tolist(), shares_of(logits), strict=True)
    ]


def shares_of(logits: Array) -> Array:
    """The classes' probabilities [N, C], the softmax of their logits, in float64."""
    exact = logits.astype(np.float64)
    shares = np.exp(exact - exact.max(-1, keepdims=True))
    found: Array = shares / shares.sum(-1, keepdims=True)
    return found
