"""Whether a teacher's answers and the labels belong together: asked of a few hundred rows, before anything is trained.

What is found is said and never refused: labels may be noisy, and a teacher may be worth its logits all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kd2deploy.core import Scores
from kd2deploy.core.figures import count_of, percent

Array = np.ndarray[Any, Any]
FAR_BETTER = 0.2
"""Share of the answers that another assignment of names must fit beyond the present one. Ours."""
OUT_OF_STEP = 0.3
"""Share of the answers by which training and evaluation labels may differ in agreement. Ours."""


@dataclass(frozen=True)
class Fit:
    """How a teacher's answers to some rows fit their labels, as classes by number."""

    truth: Array
    """[N]"""
    answers: Array
    """[N]"""

    @classmethod
    def of(cls, scores: Scores) -> "Fit":
        assert scores.answered is not None, "asked of classes alone"
        return cls(scores.answered[:, 0], scores.answered[:, 1])

    @property
    def agreement(self) -> float:
        return float(np.mean(self.truth == self.answers))

    @property
    def commonest(self) -> tuple[int, float]:
        """The class that most labels say, and its share: what always answering it agrees with."""
        counts = np.bincount(self.truth)
        return int(counts.argmax()), float(counts.max() / len(self.truth))

    def under(self, order: Array) -> float:
        """The agreement if answer `a` meant class `order[a]`."""
        return float(np.mean(self.truth == order[self.answers]))


def best_order(fit: Fit, classes: int) -> Array:
    """[C]: the class that each answer stands for where the two fit best; of equal ones the present assignment.

    The assignment problem on the confusion matrix, solved exactly.
    """
    from scipy.optimize import linear_sum_assignment

    counts = np.bincount(fit.answers * classes + fit.truth, minlength=classes**2).reshape(classes, classes)
    _, order = linear_sum_assignment(counts + 0.5 / classes * np.eye(classes), maximize=True)
    return np.asarray(order)


def other_order(train: Fit, judged: Fit, classes: int) -> Array | None:
    """[C]: the class that each answer stands for, where the two fit far better so than in the present order."""
    order = best_order(train, classes)
    fits_better = min(fit.under(order) - fit.agreement for fit in (train, judged)) > FAR_BETTER
    return order if fits_better and train.under(order) > train.commonest[1] else None


def label_doubts(
    train: Fit, judged: Fit, labels: Sequence[str], *, named: bool, who: Literal["teacher", "baseline"] = "teacher"
) -> list[str]:
    """What a person should know before training, at most one sentence. `who` was asked; `named`: it names its own
    classes."""
    order = other_order(train, judged, len(labels))
    of_train = f"{percent(train.agreement)} of {count_of(len(train.truth), 'training label')}"
    if order is not None:
        line = f"`labels: [{', '.join(labels[place] for place in order)}]`"
        remedy = (
            f"its config.json names them ({', '.join(labels)}); correct `id2label` there, or the labels in the data"
            if named
            else f"write {line} under `task`"
        )
        return [
            f"the {who} agrees with {of_train}, and with {percent(train.under(order))} if its classes were {line}: "
            f"{remedy}"
        ]
    apart = judged.agreement - train.agreement
    if abs(apart) > OUT_OF_STEP:
        which = "training" if apart > 0 else "evaluation"
        return [
            f"the {who} agrees with {of_train} and with {percent(judged.agreement)} of "
            f"{count_of(len(judged.truth), 'evaluation label')}: are rows and labels of the {which} data in step?"
        ]
    common, share = train.commonest
    if train.agreement <= share:
        return [
            f"the {who} agrees with {of_train}, which is no better than always answering the commonest class "
            f"({labels[common]!r}, {percent(share)}): is it trained on this task, and are its classes in this order?"
        ]
    return []
