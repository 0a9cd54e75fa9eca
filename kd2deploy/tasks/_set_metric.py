"""Labels that do not exclude each other: loss, metrics, threshold and answers, of logits [N, K] and truth [N, K].

A label is answered where its probability, the logit's sigmoid, reaches the threshold. Predictions are kept as margins:
how far a logit lies above the threshold's, so that their sign is the answer and their order the probabilities'.

The metrics are computed here and not by scikit-learn, with which the tests compare them: intervals take thousands of
resamples, and a call of scikit-learn's on a few hundred rows takes tens of milliseconds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd2deploy.core import Array, Metric, Row, Scores, mark_of
from kd2deploy.errors import DataError
from kd2deploy.tasks._class_metric import check_labelled, check_outputs, cosine_of
from kd2deploy.tasks._targets import SetTarget

Doubles = NDArray[np.float64]
CANDIDATES = 200
"""Thresholds that are tried, at most. Ours."""
DIGITS = 4
"""A threshold is a probability of so many decimals: what is written down is what is used."""


class SetMetric(Metric):
    """Each label answered from `threshold` on, a probability; where none is `given`, one is chosen for each network."""

    unit = "share"
    tells_probability = True

    def __init__(self, labels: tuple[str, ...], name: str, given: float | None, chosen: float | None) -> None:
        self.labels, self.target, self.name = labels, SetTarget(labels), name
        self.chooses = given is None
        self.threshold, self.best = given or chosen or 0.5, chosen

    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        logits, truth = outputs["logits"], self.target.of(rows)
        check_outputs(logits, rows)
        check_labelled(np.all(truth >= 0, axis=-1), rows)
        return {"truth": truth, "margins": margins_of(logits, self.threshold)}

    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        return score_sets(statistics["truth"], statistics["margins"], self.labels, self.name)

    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        return METRICS[self.name](statistics["truth"][places], statistics["margins"][places])

    def chosen(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Any]:
        if not self.chooses:
            return {}
        return {"chosen": best_threshold(outputs["logits"], self.target.of(rows), self.name)}

    def sure(self, outputs: Mapping[str, Array], least_probability: float) -> list[Any]:
        """A set of labels where the network is sure of every label, that it is there or that it is not."""
        shares = 1 / (1 + np.exp(-outputs["logits"].astype(np.float64)))
        least_sure = np.maximum(shares, 1 - shares).min(-1)
        return [
            (row >= 0.5).astype(int).tolist() if least >= least_probability else None
            for row, least in zip(shares, least_sure, strict=True)
        ]

    def choices(self) -> Mapping[str, float]:
        return {} if self.best is None else {"threshold": self.best}

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return agreement_of_sets(one["logits"], other["logits"], self.threshold)

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return answers_of_sets(outputs["logits"], self.labels, self.threshold)


# metrics --------------------------------------------------------------------------------------------------------


def micro_f1(truth: Array, margins: Array) -> float:
    """F1 of all labels of all rows together, 0..1; 0 where there is nothing to find and nothing was answered."""
    answered, wanted = margins >= 0, truth > 0
    return _over(
        2.0 * np.count_nonzero(answered & wanted), float(np.count_nonzero(answered) + np.count_nonzero(wanted))
    )


def f1_by_label(truth: Array, margins: Array) -> Doubles:
    """[K] F1 of each label, 0..1; NaN for one that neither occurs nor is answered."""
    answered, wanted = margins >= 0, truth > 0
    hits, all_ = (answered & wanted).sum(0), answered.sum(0) + wanted.sum(0)
    found: Doubles = np.where(all_ > 0, 2.0 * hits / np.maximum(all_, 1), np.nan)
    return found


def macro_f1(truth: Array, margins: Array) -> float:
    """Mean F1 over the labels that occur in truth or answers, 0..1."""
    each = f1_by_label(truth, margins)
    return float(np.nanmean(each)) if not np.isnan(each).all() else 0.0


def average_precision(truth: Array, margins: Array) -> float:
    """Mean over the labels that occur of the average precision, 0..1: no threshold is read. NaN where none occurs."""
    order = np.argsort(-margins, axis=0, kind="stable")
    ranked, wanted = (np.take_along_axis(values, order, 0) for values in (margins, truth > 0))
    precision = np.cumsum(wanted, 0) / np.arange(1, len(ranked) + 1)[:, None]
    # equal margins are one step: each counts at the precision where the last of them stands
    last = np.vstack([ranked[1:] != ranked[:-1], np.ones((1, ranked.shape[1]), dtype=bool)])
    places = np.where(last, np.arange(len(ranked))[:, None], len(ranked))
    ends = np.minimum.accumulate(places[::-1], axis=0)[::-1]
    occurs = wanted.sum(0)
    found = (wanted * np.take_along_axis(precision, ends, 0)).sum(0)
    return float(np.mean(found[occurs > 0] / occurs[occurs > 0])) if occurs.any() else float("nan")


def subset_accuracy(truth: Array, margins: Array) -> float:
    """Share of the rows whose every label is right, 0..1."""
    return float(np.mean(all_right(truth, margins)))


def all_right(truth: Array, margins: Array) -> Array:
    right: Array = ((margins >= 0) == (truth > 0)).all(-1)
    return right


METRICS = {
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
    "average_precision": average_precision,
    "subset_accuracy": subset_accuracy,
}


def _over(one: float, other: float) -> float:
    return float(one / other) if other else 0.0


# threshold ------------------------------------------------------------------------------------------------------


def margins_of(logits: Array, threshold: float) -> Doubles:
    """How far each logit lies above the threshold's: at least 0 where the label is answered."""
    found: Doubles = logits.astype(np.float64) - logit(threshold)
    return found


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def best_threshold(logits: Array, truth: Array, metric: str) -> float:
    """The probability from which on a label is best answered, one for all labels; the nearest to 0.5 among equals.

    One for each label would suit each better and rest on few rows where it is rare. Average precision reads no
    threshold; it is then chosen for micro F1.
    """
    measure = METRICS["micro_f1" if metric == "average_precision" else metric]
    scored = [(measure(truth, margins_of(logits, one)), -abs(one - 0.5), one) for one in candidates(logits)]
    return max(scored)[2]


def candidates(logits: Array) -> list[float]:
    """0.5 and probabilities between those that occur, at most `CANDIDATES`, evenly spaced by how many lie below."""
    shares = np.unique(1 / (1 + np.exp(-logits.astype(np.float64).ravel())))
    between = (shares[1:] + shares[:-1]) / 2
    if len(between) > CANDIDATES:
        between = between[np.linspace(0, len(between) - 1, CANDIDATES).round().astype(int)]
    rounded = {round(float(one), DIGITS) for one in between} | {0.5}
    return sorted(one for one in rounded if 0 < one < 1)


# judging --------------------------------------------------------------------------------------------------------


def score_sets(truth: Array, margins: Array, labels: Sequence[str], headline: str) -> Scores:
    """Scores of margins [N, K] against 0/1 [N, K]."""
    found = {
        name: (margins[truth[:, place] > 0, place] >= 0).astype(np.int64)
        for place, name in enumerate(labels)
        if (truth[:, place] > 0).any()
    }
    each = dict(zip(labels, f1_by_label(truth, margins).tolist(), strict=True))
    return Scores(
        metrics={name: measure(truth, margins) for name, measure in METRICS.items()},
        statistics={"truth": truth, "margins": margins},
        examples=mark_of(truth),
        correct=all_right(truth, margins).astype(np.int64) if headline == "subset_accuracy" else None,
        hits=found,
        by_class={"F1": {name: each[name] for name in found}},
    )


def agreement_of_sets(one: Array, other: Array, threshold: float) -> dict[str, float]:
    """`top1`: share of labels, over all rows, that both answer alike; `cosine`: mean over rows of the logits'."""
    if one.shape != other.shape:
        raise DataError(f"outputs of shape {one.shape} and {other.shape} cannot be compared")
    same = (margins_of(one, threshold) >= 0) == (margins_of(other, threshold) >= 0)
    return {"top1": float(same.mean()), "cosine": float(cosine_of(one, other).mean())}


def answers_of_sets(logits: Array, labels: Sequence[str], threshold: float) -> list[dict[str, Any]]:
    """The labels that reach the threshold, the likeliest first, and every label's probability, row by row."""
    shares = 1 / (1 + np.exp(-logits.astype(np.float64)))
    answered = margins_of(logits, threshold) >= 0
    return [
        {
            "labels": [labels[place] for place in np.argsort(-row, kind="stable") if yes[place]],
            "probabilities": dict(zip(labels, row.tolist(), strict=True)),
        }
        for row, yes in zip(shares, answered, strict=True)
    ]
