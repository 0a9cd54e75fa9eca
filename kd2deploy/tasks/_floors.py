"""What any network must beat: the commonest answer, and a linear model that is fitted in seconds, by scikit-learn.

Answers have the shape and scale of a network's `logits`, so that the task's own metric scores them.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core import Array, Row
from kd2deploy.core.figures import count_of
from kd2deploy.tasks._targets import ClassTarget, SetTarget, Target

Inputs = tuple[Any, Any]
"""Features of the rows to fit on and of those to answer, arrays or sparse matrices [n, D]."""
LEAST_SHARE = 1e-6
"""A class that a model never saw has this probability: its logit stays finite."""
MOST_FITTED = 10_000
"""Rows that a linear model is fitted on, at most: more would take minutes, and it gains little."""
SIDE = 28
"""Pictures are averaged down to about this many pixels a side."""


def commonest(target: Target, train: Sequence[Row], asked: int) -> Array:
    """[asked, K] the same for every row: shares of the classes or labels, or the mean value."""
    truth = target.of(train)
    if isinstance(target, ClassTarget):
        one = np.log(np.maximum(np.bincount(truth, minlength=len(target.labels)) / len(truth), LEAST_SHARE))
    elif isinstance(target, SetTarget):
        share = np.clip(truth.mean(axis=0), LEAST_SHARE, 1 - LEAST_SHARE)
        one = np.log(share / (1 - share))
    else:
        one = np.array([truth.mean()])
    return np.tile(one, (asked, 1))


def linear(target: Target, train: Sequence[Row], inputs: Inputs) -> Array | None:
    """[asked, K] what a linear model answers; None where the rows to fit on hold a single class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    known, asked = inputs
    truth = target.of(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* is present in all training examples")
        if isinstance(target, SetTarget):
            found: Array = OneVsRestClassifier(LogisticRegression(C=10.0)).fit(known, truth).decision_function(asked)
            return np.clip(found, -50.0, 50.0).reshape(asked.shape[0], truth.shape[1])
        if not isinstance(target, ClassTarget):
            values: Array = Ridge().fit(known, truth).predict(asked).reshape(-1, 1)
            return values
        if len(np.unique(truth)) < 2:
            return None
        model = LogisticRegression(C=10.0).fit(known, truth)
    answered = np.full((asked.shape[0], len(target.labels)), np.log(LEAST_SHARE))
    answered[:, model.classes_] = np.log(np.maximum(model.predict_proba(asked), LEAST_SHARE))
    return answered


def floors(
    target: Target, name: str, inputs_of: Callable[[Sequence[Row]], Inputs | None], train: Sequence[Row], asked: int
) -> dict[str, Mapping[str, Array]]:
    """Both, by name: `name` is the linear model's, and `inputs_of` reads the rows that it is fitted on and asked."""
    found: dict[str, Mapping[str, Array]] = {"the commonest answer": {"logits": commonest(target, train, asked)}}
    if len(train) > MOST_FITTED:
        places = np.random.default_rng(0).choice(len(train), MOST_FITTED, replace=False)
        train = [train[place] for place in sorted(places)]
        name = f"{name}, {count_of(MOST_FITTED, 'row')}"
    inputs = inputs_of(train)
    fitted = linear(target, train, inputs) if inputs is not None else None
    if fitted is not None:
        found[name] = {"logits": fitted}
    return found


def weighted_words(known: Sequence[str], asked: Sequence[str]) -> Inputs | None:
    """Texts as the weighted frequencies of their words; None where no text to fit on has a word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True)
    try:
        fitted = words.fit_transform(known)
    except ValueError:  # an empty vocabulary
        return None
    return fitted, words.transform(asked)


def coarse(pictures: Array) -> Array:
    """[n, D] of pictures [n, C, H, W], uint8: the values of their pixels, 0..1, averaged down where they are large."""
    height, width = pictures.shape[-2:]
    step = max(1, min(height, width) // SIDE)
    cut = pictures[..., : height // step * step, : width // step * step]
    blocks = cut.reshape(*cut.shape[:-2], height // step, step, width // step, step)
    flat: Array = blocks.mean(axis=(-3, -1), dtype=np.float32).reshape(len(pictures), -1) / 255
    return flat
